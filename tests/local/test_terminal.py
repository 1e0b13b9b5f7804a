"""What make run prints: colour on a terminal only, and a reader that stops reading holds nobody up."""

import io
import os
import time

import pytest

from vibecode.local.folder import LocalFolder
from vibecode.local.panel import panel
from vibecode.local.terminal import Terminal

ENVIRONMENT = {
    "PUBLIC_URL": "http://127.0.0.1:8000",
    "DATABASE_URL": "postgresql://vibecode:0123456789ab@127.0.0.1:23451/vibecode",
    "AWS_ENDPOINT_URL": "http://127.0.0.1:23112",
    "WEBSOCKET_URL": "ws://127.0.0.1:23113",
}
PROCESSES: dict[str, dict[str, int | None]] = {"web": {"pid": 4711, "port": 8000}, "relay": {"pid": 4712, "port": None}}


def test_each_line_of_a_child_stands_behind_its_name() -> None:
    stream = io.StringIO()
    terminal = Terminal(stream)

    terminal.relay("web", "hello")
    terminal.close()

    assert stream.getvalue() == "web      | hello\n"


def test_a_reader_that_stops_reading_holds_up_nobody() -> None:
    reader, writer = os.pipe()
    with os.fdopen(reader, "rb"), os.fdopen(writer, "w") as stream:
        terminal = Terminal(stream)
        begun = time.monotonic()

        for number in range(50_000):  # far more than a pipe holds
            terminal.relay("web", f"line {number}")

        assert time.monotonic() - begun < 5
        os.set_blocking(writer, False)  # lets the writer thread go
        os.read(reader, 65536)
        terminal.close()
        os.set_blocking(writer, True)
        os.read(reader, 65536)


@pytest.mark.parametrize("width", [80, 120])
def test_the_panel_is_plain_without_colour_and_breaks_no_address(width: int) -> None:
    drawn = panel(LocalFolder(), ENVIRONMENT, PROCESSES, width=width, colourful=False)

    assert "\033" not in drawn
    assert max(map(len, drawn.splitlines())) <= width
    for address in (*ENVIRONMENT.values(), "http://127.0.0.1:23112/_local/mail", "pid 4711, port 8000", "pid 4712"):
        assert address in drawn


def test_the_panel_has_colour_on_a_terminal() -> None:
    assert "\033[" in panel(LocalFolder(), ENVIRONMENT, PROCESSES, width=80, colourful=True)
