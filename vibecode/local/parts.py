"""Single processes of the shop table, started, killed and started again by their names. For tests and manage.py."""

import os
import signal
import subprocess
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from vibecode.local import child as children
from vibecode.local import ports
from vibecode.local.folder import REPOSITORY, CannotStart, LocalFolder, read_json
from vibecode.local.guard import Guard
from vibecode.local.output import why
from vibecode.local.shop import Process, Shop

PATIENCE = 15.0  # seconds a process has to end by itself


class Parts:
    """Some rows of a shop table (``shop()`` gives them all), none of them running at first.

    Each has its port from the beginning and keeps it, and ``environment`` says where all of them are. What runs at the
    end of the ``with`` block, or when this process dies, is stopped.
    """

    def __init__(self, rows: Shop, folder: LocalFolder, environment: Mapping[str, str]) -> None:
        self.environment = dict(environment)
        self._folder = folder
        self._rows = {row.name: row for row in rows if isinstance(row, Process)}
        wanted = read_json(folder.ports)
        self.ports = {name: row.port or ports.free_port(wanted.get(name)) for name, row in self._rows.items()}
        for name in self._rows:
            self._learn(name)
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        self._guard = Guard()
        self._starter = ThreadPoolExecutor(1)  # a child ends with the thread that started it (Linux): this one stays

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with ExitStack() as stack:
            stack.callback(self._starter.shutdown)
            stack.callback(self._guard.close)
            for name in self._running.copy():  # the youngest first
                stack.callback(self.stop, name)

    def start(self, *names: str) -> None:
        """Start processes, for the first time or again, one after the other. Raises CannotStart."""
        for name in names:
            self.launch(name)
            self.wait_for(name)

    def launch(self, name: str) -> None:
        """Start one and do not wait until it is ready."""
        row = self._rows[name]
        self._folder.logs.mkdir(parents=True, exist_ok=True)
        with self._log(name).open("ab") as log:
            command = row.command(self.ports[name])
            process = self._starter.submit(
                children.start,
                command,
                output=log,
                environment={**self.environment, **row.alone},
                folder=REPOSITORY,
                stop_signal=row.stop_signal,
            ).result()
        self._guard.watch(process.pid, row.stop_signal)
        self._running[name] = process

    def wait_for(self, name: str) -> None:
        """Wait until a process that was launched is ready. Raises CannotStart."""
        row, process = self._rows[name], self._running[name]
        deadline = time.monotonic() + row.ready_within
        while not row.is_ready(process.pid, self.ports[name]):
            if process.poll() is not None or time.monotonic() > deadline:
                reason = why(self._log(name).read_text(errors="replace").splitlines())
                raise CannotStart(f"{name} does not start: {reason or 'it does not answer'}")
            time.sleep(0.05)
        self._learn(name)

    def kill(self, name: str) -> None:
        """SIGKILL a process and all that it started."""
        process = self._running.pop(name)
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        self._guard.forget(process.pid)

    def stop(self, name: str) -> None:
        """Ask a process to end, and kill what has not ended after a while."""
        process = self._running[name]
        process.send_signal(self._rows[name].stop_signal)
        with suppress(subprocess.TimeoutExpired):
            process.wait(PATIENCE)
        self.kill(name)

    def _learn(self, name: str) -> None:
        with suppress(FileNotFoundError):  # PostgreSQL's password is made with its first database
            self.environment.update(self._rows[name].gives(self.ports[name]))

    def _log(self, name: str) -> Path:
        return self._folder.logs / f"{name}.log"
