"""The panel that `make run` shows when everything answers. Drawn for the supervisor."""

import io
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

from rich import box
from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from vibecode.local.aws import EVENTS_PATH, MAIL_PATH
from vibecode.local.folder import REPOSITORY, LocalFolder
from vibecode.local.names import DEMO_PASSWORD, DEMO_USERS

WIDEST = 96


def panel(
    folder: LocalFolder,
    environment: Mapping[str, str],
    processes: Mapping[str, Mapping[str, int | None]],
    *,
    width: int = 80,
    colourful: bool = True,
) -> str:
    """Draw it as text: where things are, what runs, who may sign in, what to try first."""
    console = Console(
        file=io.StringIO(),
        width=max(60, min(width, WIDEST)),
        force_terminal=colourful,
        no_color=not colourful,
        color_system="standard" if colourful else None,
        highlight=False,
        emoji=False,
    )
    origin = environment["PUBLIC_URL"].rstrip("/")
    place = folder.path.relative_to(REPOSITORY) if folder.path.is_relative_to(REPOSITORY) else folder.path
    parts: list[RenderableType] = [
        _heading("Open"),
        _pairs(
            ("Shop API", f"{origin}/api/v1"),
            ("API docs", f"{origin}/api/docs"),
            ("Admin", f"{origin}/admin/"),
            ("Health", f"{origin}/healthz"),
            ("Database", environment.get("DATABASE_URL", "-")),
            ("Local AWS", environment.get("AWS_ENDPOINT_URL", "-")),
            *_pages(environment),
        ),
        _heading("Runs", "each is started again when it dies"),
        _pairs(*((name, _where(entry)) for name, entry in processes.items())),
        _heading("Sign in", f"password {DEMO_PASSWORD}"),
        _pairs(*((email, groups[0] if groups else "customer") for email, groups in DEMO_USERS.items())),
        _heading("Try"),
        _commands(
            f"curl '{origin}/api/v1/products?pageSize=3'",
            f"TOKEN=$({python()} manage.py token shopper@example.com)",
            f'curl -H "Authorization: Bearer $TOKEN" {origin}/api/v1/me',
        ),
        _heading("Keep"),
        _pairs(
            ("Data", f"{place}/  (stays; `make reset` erases it)"),
            ("Logs", f"{place}/logs/"),
            ("Stop", "Ctrl-C"),
        ),
    ]
    frame = Panel(
        Group(*parts),
        title=Text(" Vibecode is open ", style="bold green"),
        title_align="left",
        box=box.ROUNDED,
        border_style="green",
        padding=(0, 1, 1, 1),
    )
    console.print()
    console.print(frame)
    assert isinstance(console.file, io.StringIO)  # noqa: S101 - for the type checker: made above
    return console.file.getvalue().rstrip("\n")


def python() -> str:
    """How to call the project's Python from the repository's folder."""
    path = Path(sys.executable)
    return str(path.relative_to(REPOSITORY) if path.is_relative_to(REPOSITORY) else path)


def _pages(environment: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """What of the machinery can be looked at."""
    if endpoint := environment.get("AWS_ENDPOINT_URL"):
        yield "Mailbox", endpoint + MAIL_PATH
        yield "Facts", endpoint + EVENTS_PATH
    if provider := environment.get("DEMO_PAYMENTS_URL"):
        yield "Payments", f"{provider}/"
    if gateway := environment.get("WEBSOCKET_URL"):
        yield "Websocket", gateway


def _where(process: Mapping[str, int | None]) -> str:
    port = process["port"]
    return f"pid {process['pid']}" + (f", port {port}" if port else "")


def _heading(text: str, beside: str = "") -> RenderableType:
    return Text.assemble("\n", (text, "bold cyan"), ("   " + beside if beside else "", "bold"))


def _pairs(*pairs: tuple[str, str]) -> RenderableType:
    table = Table.grid(padding=(0, 3, 0, 0))
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for left, right in pairs:
        table.add_row(Text(left, style="dim" if ":" in right else ""), Text(right))
    return Padding(table, (0, 0, 0, 2))


def _commands(*commands: str) -> RenderableType:
    return Padding(Group(*(Text(command, overflow="fold") for command in commands)), (0, 0, 0, 2))
