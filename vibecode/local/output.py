"""What a child prints: kept in its log file, passed on line by line, remembered for the reason of its end.

Used by the supervisor.
"""

import contextlib
import signal
import threading
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import IO

LOG_SIZE = 20 * 2**20
REMEMBERED = 50


class Output:
    """Reads a child's output in a thread until it ends."""

    def __init__(self, stream: IO[bytes], log: Path, show: Callable[[str], None]) -> None:
        self._stream = stream
        self._log = log
        self._show = show
        self._lines: list[str] = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def reason(self) -> str:
        """The line that says why the child ended."""
        return why(self._lines)

    def wait(self) -> None:
        """Give what a dead child said last a moment to arrive."""
        self._reader.join(timeout=2)

    def _read(self) -> None:
        with contextlib.suppress(OSError):
            if self._log.exists() and self._log.stat().st_size > LOG_SIZE:
                self._log.replace(self._log.with_suffix(".log.1"))
        with self._stream:
            for raw in self._stream:
                line = raw.decode(errors="replace").rstrip()
                self._lines.append(line)
                del self._lines[:-REMEMBERED]
                with contextlib.suppress(OSError), self._log.open("a") as log:  # a full disk stops no child
                    log.write(line + "\n")
                self._show(line)


def why(printed: Iterable[str]) -> str:
    """The line that says why a process ended: PostgreSQL's FATAL, else the last that is not empty; "" without any."""
    lines = [line.strip() for line in printed if line.strip()]
    fatal = [line.partition("FATAL:")[2].strip() for line in lines if "FATAL:" in line]
    return (fatal or lines or [""])[-1]


def how(code: int | None) -> str:
    """How a process ended, for people."""
    return signal.Signals(-code).name if code is not None and code < 0 else f"exit {code}"
