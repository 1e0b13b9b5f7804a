"""Start a child process that cannot be orphaned. Used by the supervisor, Postgres and manage.py's environment."""

import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

LAUNCH = Path(__file__).with_name("launch.py")


@dataclass(frozen=True)
class Account:
    """The system user a child becomes; `keep_access` lets it pass folders closed to that user (Linux)."""

    uid: int
    gid: int
    keep_access: bool = False


def launch_command(
    command: Sequence[str], *, parent: int, stop_signal: signal.Signals, account: Account | None = None
) -> list[str]:
    """The command line that ends with its parent, becomes `account`, and then is `command`, under one pid."""
    user = account or Account(-1, -1)
    words = (int(stop_signal), parent, user.uid, user.gid, int(user.keep_access))
    return [sys.executable, "-I", "-S", str(LAUNCH), *map(str, words), "--", *command]


def start(
    command: Sequence[str],
    *,
    output: int | IO[bytes],
    environment: Mapping[str, str] | None = None,
    folder: Path | None = None,
    stop_signal: signal.Signals = signal.SIGTERM,
    account: Account | None = None,
) -> subprocess.Popen[bytes]:
    """Start a command in a session of its own. Call it in a thread that lives: the child ends with it (Linux)."""
    return subprocess.Popen(  # noqa: S603 - our own command lines
        launch_command(command, parent=os.getpid(), stop_signal=stop_signal, account=account),
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=subprocess.STDOUT,
        env=environment,
        cwd=folder,
        start_new_session=True,
    )
