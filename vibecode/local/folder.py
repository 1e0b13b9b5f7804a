"""The .local folder: where each part of the local cloud keeps its things, and the lock of the one that runs it."""

import contextlib
import fcntl
import json
import os
import secrets
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from vibecode.local.ports import free_port

REPOSITORY = Path(__file__).resolve().parents[2]


class CannotStart(Exception):
    """The local cloud cannot start; its text is one line that says why and what to do."""


class LocalFolder:
    """Paths and small files of one checkout's local cloud."""

    def __init__(self, path: Path = REPOSITORY / ".local") -> None:
        self.path = path
        self.postgres = path / "postgres"
        self.aws = path / "aws"
        self.payments = path / "payments"
        self.logs = path / "logs"
        self.processes = path / "processes.json"
        self.environment = path / "environment.json"
        self.ports = path / "ports.json"

    def make(self) -> None:
        """Create the folder, or say why that cannot be."""
        try:
            self.logs.mkdir(parents=True, exist_ok=True)
            self.payments.mkdir(exist_ok=True)
            with tempfile.NamedTemporaryFile(dir=self.path) as probe:
                probe.write(b"\0" * 65536)
        except OSError as error:
            raise CannotStart(f"cannot write to {self.path}: {error.strerror}") from error

    def secret_key(self) -> str:
        """Django's SECRET_KEY of this checkout: made once, readable by its owner only."""
        path = self.path / "secret-key"
        with contextlib.suppress(FileNotFoundError):
            if key := path.read_text().strip():
                return key
        self.path.mkdir(parents=True, exist_ok=True)
        key = secrets.token_urlsafe(48)
        write_atomically(path, key + "\n")
        return key

    def kept_port(self, name: str) -> int:
        """A free port for a listener of this name, the same as last time if it can be."""
        kept = read_json(self.ports)
        port = free_port(kept.get(name))
        if kept.get(name) != port:
            self.path.mkdir(parents=True, exist_ok=True)
            write_json(self.ports, kept | {name: port})
        return port

    @contextlib.contextmanager
    def lock(self) -> Iterator[int]:
        """Hold the right to run the local cloud; BlockingIOError if somebody has it. Gives the file descriptor."""
        descriptor = os.open(self.path / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, str(os.getpid()).encode(), 0)
            yield descriptor
        finally:
            os.close(descriptor)

    def runner(self) -> int | None:
        """Name the process that runs the local cloud now, if one does."""
        try:
            descriptor = os.open(self.path / "lock", os.O_RDONLY)
        except OSError:
            return None
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            pid = os.pread(descriptor, 20, 0).decode()
            return int(pid) if pid and is_alive(int(pid)) else None
        finally:
            os.close(descriptor)
        return None


def is_alive(pid: int) -> bool:
    """Tell whether a process of this id exists, ours or not."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def write_atomically(path: Path, text: str) -> None:
    """Write a file whole or not at all, readable by its owner only."""
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-")  # mode 0600
    try:
        with os.fdopen(descriptor, "w") as file:
            file.write(text)
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def write_json(path: Path, content: object) -> None:
    """Write JSON atomically, for people too."""
    write_atomically(path, json.dumps(content, indent=2) + "\n")


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object; empty when there is none or it cannot be read."""
    try:
        content = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}
