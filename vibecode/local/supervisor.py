"""The supervisor: starts the local cloud, restarts what dies, stops it all. `make run` runs it.

`python -m vibecode.local.supervisor`
One class, and so one long file: starting, restarting and stopping share the list of children.
"""

import contextlib
import errno
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType

from vibecode.local import child as children
from vibecode.local import ports
from vibecode.local.engines import check_real_engines
from vibecode.local.folder import REPOSITORY, CannotStart, LocalFolder, read_json, write_json
from vibecode.local.guard import Guard
from vibecode.local.output import Output, how
from vibecode.local.panel import panel
from vibecode.local.shop import CARRIED, Process, Shop, Task, shop, starting_environment
from vibecode.local.terminal import Terminal

PATIENCE = 12.0  # seconds a child has to end by itself
SETTLED_AFTER = 10.0  # a child that lived this long is restarted at once
LONGEST_PAUSE = 10.0
TRIES_AT_START = 3
TRIES_OF_ERRANDS = 6
METRIC = '{"_aws"'  # a line for CloudWatch, which people read in the log if anywhere


class Leaving(Exception):
    """Raised at the next pause after Ctrl-C or SIGTERM."""


@dataclass
class Child:
    """A process or task that was started, and how it fares."""

    row: Process | Task
    port: int
    process: subprocess.Popen[bytes]
    output: Output
    started: float = field(default_factory=time.monotonic)
    wanted: float = field(default_factory=time.monotonic)  # when it was first started
    ready: bool = False
    deaths: int = 0  # in a row, without settling in between
    restart_at: float | None = None

    @property
    def name(self) -> str:
        """As in processes.json."""
        return self.row.name

    @property
    def reason(self) -> str:
        """Why it ended, in its own words if it had any."""
        return self.output.reason() or how(self.process.returncode)


class Supervisor:
    """Runs the rows of a shop, each as soon as what it needs is ready, until told to stop."""

    def __init__(
        self, rows: Shop, folder: LocalFolder, environment: Mapping[str, str], terminal: Terminal, lock: int
    ) -> None:
        self.rows = rows
        self.folder = folder
        self.environment = dict(environment)
        self.terminal = terminal
        self.children: list[Child] = []
        self.serving = False
        self._ports: dict[str, int] = {}
        self._guard = Guard(keep_open=[lock])
        self._asked_to_leave = 0
        self._wake, self._waker = os.pipe()
        self._maker = os.getppid() if os.environ.get("MAKELEVEL") else None

    def run(self) -> None:
        """Start everything, show the panel, keep everything running; return when asked to stop."""
        self._listen_to_signals()
        try:
            self._check_ports()
            self._choose_ports()
            self._start_all()
            self._announce()
            self._keep_running()
        except Leaving:
            pass
        finally:
            self._stop_all()

    # --- starting -------------------------------------------------------------------------------------------
    def _check_ports(self) -> None:
        """Say at once, before anything starts, that a wanted port is taken."""
        for row in self.rows:
            if isinstance(row, Process) and row.port is not None and not ports.is_free(row.port):
                raise CannotStart(f"port {row.port} is taken by another program: stop it, or choose another with PORT=")

    def _choose_ports(self) -> None:
        """Before anything starts, so that each process knows where every other one will be."""
        for row in self.rows:
            if isinstance(row, Process):
                if row.listens:
                    self._ports[row.name] = row.port or self.folder.kept_port(row.name)
                with contextlib.suppress(FileNotFoundError):  # PostgreSQL's password is made with its first database
                    self.environment.update(row.gives(self._port(row)))

    def _port(self, row: Process) -> int:
        return self._ports.get(row.name, 0)

    def _start_all(self) -> None:
        """Start each row as soon as what it needs is ready; return when all are."""
        waiting, done = list(self.rows), set[str]()
        names = {row.name for row in self.rows}  # what is not in the table is not ours to wait for
        while waiting or not {child.name for child in self.children} <= done:
            for row in waiting.copy():
                if names.intersection(row.needs) <= done:
                    waiting.remove(row)
                    self._begin(row)
            for child in self.children.copy():
                if child.name in done:
                    self._look_after(child)
                elif self._has_begun(child):
                    done.add(child.name)
            if waiting or not {child.name for child in self.children} <= done:
                self._pause(0.05)

    def _begin(self, row: Process | Task) -> None:
        self.terminal.step(row.doing)
        self.children.append(self._start(row, self._port(row) if isinstance(row, Process) else 0))
        self._write_processes()

    def _has_begun(self, child: Child) -> bool:
        """Tell whether a process is ready, or a task has ended. Raises CannotStart."""
        if isinstance(child.row, Task):
            return self._has_ended(child)
        row = child.row
        if not row.is_ready(child.process.pid, child.port):
            if child.process.poll() is not None:
                self._start_again(child)
                if child.deaths >= TRIES_AT_START:
                    raise CannotStart(f"{row.name} does not start: {child.reason} ({self._log_path(row.name)})")
            if time.monotonic() > child.wanted + row.ready_within:
                raise CannotStart(
                    f"{row.name} is not ready after {row.ready_within:.0f} s ({self._log_path(row.name)})"
                )
            return False
        child.ready = True
        child.deaths = 0
        self.environment.update(row.gives(child.port))
        self._write_environment()
        return True

    def _has_ended(self, child: Child) -> bool:
        if child.process.poll() is None:
            return False
        self._bury(child)
        self.children.remove(child)
        if child.process.returncode:
            raise CannotStart(f"{child.name} failed: {child.reason} ({self._log_path(child.name)})")
        return True

    def _start_again(self, child: Child) -> None:
        """Try anew what died before it was ready: what it needs may come free in a moment."""
        self._bury(child)
        child.deaths += 1
        if child.deaths < TRIES_AT_START:
            self._pause(0.7)
            self._replace(child)
            self._write_processes()

    def _start(self, row: Process | Task, port: int) -> Child:
        command = row.command if isinstance(row, Task) else row.command(port)
        stop_signal = row.stop_signal if isinstance(row, Process) else signal.SIGTERM
        alone = row.alone if isinstance(row, Process) else {}
        process = children.start(
            command,
            output=subprocess.PIPE,
            environment={**self.environment, **alone},
            folder=REPOSITORY,
            stop_signal=stop_signal,
        )
        self._guard.watch(process.pid, stop_signal)
        return Child(row, port, process, self._listen(row, process))

    def _listen(self, row: Process | Task, process: subprocess.Popen[bytes]) -> Output:
        """Keep a child's lines in its log; show them once we serve, a task's at once but for its stack trace."""
        crashed = False

        def show(line: str) -> None:
            nonlocal crashed
            crashed = crashed or line.startswith("Traceback")
            if line.startswith(METRIC):
                return
            if self.serving or (isinstance(row, Task) and not crashed):
                self.terminal.relay(row.name, line)

        assert process.stdout is not None  # noqa: S101 - for the type checker: started with PIPE
        return Output(process.stdout, self._log_path(row.name), show)

    def _announce(self) -> None:
        web = next((child for child in self.children if child.name == "web"), self.children[-1])
        width = os.get_terminal_size().columns if sys.stdout.isatty() else 80
        drawn = panel(self.folder, self.environment, self._table(), width=width, colourful=self.terminal.colourful)
        self.terminal.say(drawn)
        self.terminal.say(f"ready http://{ports.HOST}:{web.port}")
        self.serving = True
        for child in self.children.copy():
            self._send_errand(child.row)

    # --- keeping it running ---------------------------------------------------------------------------------
    def _keep_running(self) -> None:
        while True:
            self._guard.revive()
            for child in self.children.copy():
                self._look_after(child)
            busy = any(not child.ready for child in self.children)
            self._pause(0.1 if busy else 1.0)

    def _look_after(self, child: Child) -> None:
        row = child.row
        if isinstance(row, Task):
            self._look_after_errand(child)
            return
        now = time.monotonic()
        if child.restart_at is not None:
            if now >= child.restart_at:
                self._replace(child)
                self._write_processes()
        elif child.process.poll() is not None:
            self._bury(child)
            child.deaths = 1 if now - child.started > SETTLED_AFTER else child.deaths + 1
            pause = 0.0 if child.deaths == 1 else min(0.5 * 2 ** (child.deaths - 2), LONGEST_PAUSE)
            child.restart_at = now + pause
            child.ready = False
            when = f"starting it again in {pause:g} s" if pause else "starting it again"
            self.terminal.step(f"{child.name} ended ({how(child.process.returncode)}): {when}")
        elif not child.ready and row.is_ready(child.process.pid, child.port):
            child.ready = True
            self.terminal.step(f"{child.name} is back")
            self._send_errand(row)

    def _send_errand(self, row: Process | Task) -> None:
        """Begin what is to be done now that a process is there; an errand that still runs for its last return ends."""
        if isinstance(row, Process) and row.on_return and self.serving:
            for child in self.children.copy():
                if child.row is row.on_return:
                    self._bury(child)
                    self.children.remove(child)
            self._begin(row.on_return)
            self.children[-1].ready = True

    def _look_after_errand(self, child: Child) -> None:
        """An errand that failed is sent again: what it needs may be on its way back too."""
        now = time.monotonic()
        if child.restart_at is not None:
            if now >= child.restart_at:
                self._replace(child)
        elif child.process.poll() is not None:
            self._bury(child)
            child.deaths += 1
            if child.process.returncode and child.deaths < TRIES_OF_ERRANDS:
                child.restart_at = now + min(2.0**child.deaths, LONGEST_PAUSE)
                return
            self.children.remove(child)
            if child.process.returncode:
                self.terminal.step(f"{child.name} failed: {child.reason}")

    def _replace(self, child: Child) -> None:
        fresh = self._start(child.row, child.port)
        child.process, child.output = fresh.process, fresh.output
        child.started, child.restart_at = fresh.started, None

    def _bury(self, child: Child) -> None:
        """What a dead leader left of its group (gunicorn's workers hold its port) ends with it."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(child.process.pid, signal.SIGKILL)
        child.process.wait()
        self._guard.forget(child.process.pid)
        child.output.wait()

    # --- stopping -------------------------------------------------------------------------------------------
    def _stop_all(self) -> None:
        if self.serving:
            self.terminal.step("Stopping")
            self.serving = False  # how each child says goodbye is in its log
        for child in reversed(self.children):
            stop_signal = child.row.stop_signal if isinstance(child.row, Process) else signal.SIGTERM
            if child.process.poll() is None:
                child.process.send_signal(stop_signal)
                deadline = time.monotonic() + PATIENCE
                asked = self._asked_to_leave
                while child.process.poll() is None and time.monotonic() < deadline and self._asked_to_leave == asked:
                    time.sleep(0.02)  # a second Ctrl-C ends the patience
            self._bury(child)
        self.children.clear()
        self.folder.processes.unlink(missing_ok=True)
        self.folder.environment.unlink(missing_ok=True)
        self._guard.close()

    # --- signals and waiting --------------------------------------------------------------------------------
    def _listen_to_signals(self) -> None:
        os.set_blocking(self._wake, False)
        os.set_blocking(self._waker, False)
        signal.set_wakeup_fd(self._waker, warn_on_full_buffer=False)
        for name in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(name, self._leave)
        signal.signal(signal.SIGCHLD, lambda *_: None)  # a death wakes the pause below

    def _leave(self, _number: int, _frame: FrameType | None) -> None:
        self._asked_to_leave += 1

    def _pause(self, seconds: float) -> None:
        """Wait, less when a child dies or a signal comes. Raises Leaving when it is time to go."""
        if not self._asked_to_leave:
            select.select([self._wake], [], [], seconds)
            with contextlib.suppress(BlockingIOError):
                os.read(self._wake, 4096)
        if self._maker is not None and os.getppid() != self._maker:
            self._asked_to_leave += 1  # the `make` that started us is gone, and with it whoever could press Ctrl-C
        if self._asked_to_leave:
            raise Leaving

    # --- files and output -----------------------------------------------------------------------------------
    def _write_processes(self) -> None:
        write_json(self.folder.processes, self._table())

    def _table(self) -> dict[str, dict[str, int | None]]:
        running = [child for child in self.children if isinstance(child.row, Process)]
        return {child.name: {"pid": child.process.pid, "port": child.port or None} for child in running}

    def _write_environment(self) -> None:
        write_json(
            self.folder.environment,
            {name: self.environment[name] for name in CARRIED if name in self.environment},
        )

    def _log_path(self, name: str) -> Path:
        return self.folder.logs / f"{name}.log"


def hold_lock(stack: contextlib.ExitStack, folder: LocalFolder) -> int:
    """Become the one that runs this folder; wait for a killed predecessor's guard to finish."""
    deadline = time.monotonic() + 20
    while True:
        try:
            return stack.enter_context(folder.lock())
        except BlockingIOError:
            if runner := folder.runner():
                web = read_json(folder.processes).get("web", {}).get("port")
                where = f" at http://{ports.HOST}:{web}" if web else ""
                raise CannotStart(f"already running{where} (pid {runner}): stop it first") from None
            if time.monotonic() > deadline:
                raise CannotStart(f"the last run is still ending; see {folder.path}") from None
            time.sleep(0.1)


def supervise(folder: LocalFolder, rows: Shop | None = None, environment: Mapping[str, str] | None = None) -> int:
    """Run the shop (or the given rows) until stopped; give the exit code."""
    terminal = Terminal()
    try:
        with contextlib.ExitStack() as stack:
            folder.make()
            lock = hold_lock(stack, folder)
            folder.processes.unlink(missing_ok=True)
            folder.environment.unlink(missing_ok=True)
            complete = starting_environment(folder, environment)
            chosen = shop(folder, complete) if rows is None else rows
            check_real_engines(complete)
            Supervisor(chosen, folder, complete, terminal, lock).run()
    except CannotStart as error:
        terminal.close()
        print(f"Cannot start: {error}", file=sys.stderr, flush=True)  # noqa: T201 - the one line of a failed start
        return 1
    except OSError as error:
        terminal.close()
        full = error.errno in {errno.ENOSPC, errno.EDQUOT}
        reason = f"no space left on the disk of {folder.path}" if full else str(error)
        print(f"Cannot start: {reason}", file=sys.stderr, flush=True)  # noqa: T201 -- the one clear line of a command
        return 1
    terminal.close()
    return 0


if __name__ == "__main__":
    # no interpreter shutdown: it would wait for the terminal's thread, which a reader that stopped reading may block
    os._exit(supervise(LocalFolder()))
