"""What the supervisor prints: step lines, the children's lines with their names, the panel. Used by the supervisor.

One thread writes; everybody else only queues. A reader of our output that stops reading loses lines, which the log
files have; it never holds up the shop.
"""

import contextlib
import os
import queue
import sys
import threading
from typing import TextIO

COLOURS = {"postgres": 34, "aws": 33, "web": 32, "migrate": 35, "demo": 35}
OTHER_COLOURS = (36, 95, 94, 92, 93, 96)
LINES_IN_FLIGHT = 2000


def is_colourful(stream: TextIO) -> bool:
    """Tell whether to colour: a terminal, and nobody said NO_COLOR."""
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


class Terminal:
    """A queue of lines to stdout."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = stream or sys.stdout
        self.colourful = is_colourful(self._stream)
        self._lines: queue.Queue[str | None] = queue.Queue(LINES_IN_FLIGHT)
        self._writer = threading.Thread(target=self._write, daemon=True)
        self._writer.start()

    def say(self, text: str) -> None:
        """Print a line of our own (or a whole panel)."""
        with contextlib.suppress(queue.Full):
            self._lines.put(text, timeout=1)

    def step(self, text: str) -> None:
        """Print what is being done."""
        self.say(f"\033[2m·\033[0m {text}" if self.colourful else f"- {text}")

    def relay(self, name: str, line: str) -> None:
        """Print a child's line behind its name; drop it when nobody reads."""
        prefix = f"{name:<8} |"
        if self.colourful:
            colour = COLOURS.get(name) or OTHER_COLOURS[sum(map(ord, name)) % len(OTHER_COLOURS)]
            prefix = f"\033[{colour}m{prefix}\033[0m"
        with contextlib.suppress(queue.Full):
            self._lines.put_nowait(f"{prefix} {line}")

    def close(self) -> None:
        """Print what is queued, for two seconds at most."""
        with contextlib.suppress(queue.Full):
            self._lines.put(None, timeout=1)
        self._writer.join(timeout=2)

    def _write(self) -> None:
        while (line := self._lines.get()) is not None:
            with contextlib.suppress(OSError, ValueError):  # the reader went away; the shop stays
                encoding = self._stream.encoding or "utf-8"
                self._stream.write(line.encode(encoding, "replace").decode(encoding) + "\n")
                if self._lines.empty() or line.startswith("ready "):
                    self._stream.flush()
