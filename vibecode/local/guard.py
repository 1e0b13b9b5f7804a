"""A tiny process that outlives whoever started children, to end them. Used by the supervisor, Postgres and manage.py.

It reads "+PID SIGNAL" and "-PID" from a pipe. When the pipe ends, because its writer stopped or was killed, it ends
every process group still on its list, youngest first. PR_SET_PDEATHSIG covers direct children on Linux only; this
covers grandchildren, and macOS.
"""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import IO

PATIENCE = 8.0  # seconds between asking a process to end and killing its group


class Guard:
    """A handle on one guard process. `keep_open` are file descriptors (a lock) it holds until it is done."""

    def __init__(self, keep_open: Sequence[int] = ()) -> None:
        self._keep_open = tuple(keep_open)
        self._watched: dict[int, int] = {}
        self._process = self._start()

    def watch(self, pid: int, stop_signal: int) -> None:
        """End this process group when we are gone."""
        self._watched[pid] = stop_signal
        self._tell(f"+{pid} {stop_signal}")

    def forget(self, pid: int) -> None:
        """It has ended by itself."""
        if self._watched.pop(pid, None) is not None:
            self._tell(f"-{pid}")

    def revive(self) -> None:
        """Start the guard again if somebody killed it."""
        if self._process.poll() is not None:
            self._pipe.close()
            self._process = self._start()
            for pid, stop_signal in self._watched.items():
                self._tell(f"+{pid} {stop_signal}")

    def close(self) -> None:
        """Let the guard finish: it ends what is still on its list."""
        with contextlib.suppress(OSError):
            self._pipe.close()
        self._process.wait()

    @property
    def pid(self) -> int:
        """The guard's own process id."""
        return self._process.pid

    @property
    def _pipe(self) -> IO[bytes]:
        assert self._process.stdin is not None  # noqa: S101 - for the type checker: opened as PIPE below
        return self._process.stdin

    def _start(self) -> subprocess.Popen[bytes]:
        return subprocess.Popen(  # noqa: S603 - our own file
            [sys.executable, "-I", "-S", __file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            pass_fds=self._keep_open,
        )

    def _tell(self, line: str) -> None:
        with contextlib.suppress(OSError):  # a dead guard is revived and told everything again
            self._pipe.write(line.encode() + b"\n")
            self._pipe.flush()


def group_lives(pid: int) -> bool:
    """Tell whether any process of the group led by `pid` is left, zombies aside where we can tell."""
    if not Path("/proc/self/stat").exists():
        with contextlib.suppress(OSError):
            os.killpg(pid, 0)
            return True
        return False
    for name in filter(str.isdigit, os.listdir("/proc")):  # noqa: PTH208 -- names are all that is wanted
        with contextlib.suppress(OSError):
            stat = Path(f"/proc/{name}/stat").read_text(errors="replace")
            state, _, group = stat.rpartition(")")[2].split()[:3]
            if int(group) == pid and state not in "ZX":
                return True
    return False


def end_group(pid: int, stop_signal: int) -> None:
    """Ask the leader to end, wait, then kill whatever is left of its group."""
    with contextlib.suppress(OSError):
        os.kill(pid, stop_signal)
    deadline = time.monotonic() + PATIENCE
    while group_lives(pid) and time.monotonic() < deadline:
        time.sleep(0.05)
    with contextlib.suppress(OSError):
        os.killpg(pid, signal.SIGKILL)


def main() -> None:
    """Keep the list while the pipe is open; then end everything on it."""
    watched: dict[int, int] = {}
    for line in sys.stdin:
        if line.startswith("+"):
            pid, stop_signal = map(int, line[1:].split())
            watched[pid] = stop_signal
        else:
            watched.pop(int(line[1:]), None)
    for pid, stop_signal in reversed(watched.items()):
        end_group(pid, stop_signal)


if __name__ == "__main__":
    main()
