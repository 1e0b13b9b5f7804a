"""Running pieces of the local cloud for the tests beside this file; each ends with its test or module."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from vibecode.local.folder import LocalFolder, read_json
from vibecode.local.ports import free_port

SMALL_SHOP = Path(__file__).with_name("small_shop.py")
REPOSITORY = SMALL_SHOP.parents[2]
LOCAL_VARIABLES = (
    "DATABASE_URL",
    "CACHE_URL",
    "PORT",
    "PUBLIC_URL",
    "SECRET_KEY",
    "STAGE",
    "MEDIA_BUCKET",
    "RUN_MAIN",
)


def clean_environment(**values: str) -> dict[str, str]:
    """Our environment without what a running local cloud or conftest put there."""
    foreign = {name for name in os.environ if name.startswith(("AWS_", "COGNITO_")) or name in LOCAL_VARIABLES}
    kept = {name: value for name, value in os.environ.items() if name not in foreign | {"MAKELEVEL"}}
    return {**kept, "PYTHONPATH": str(REPOSITORY), **values}


def wait_until[T](ask: Callable[[], T], seconds: float = 90) -> T:
    """Ask again and again until the answer is true."""
    deadline = time.monotonic() + seconds
    while not (answer := ask()):
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.05)
    return answer


def running() -> dict[int, int]:
    """Every living process of this machine: pid and parent."""
    shown = subprocess.run(["ps", "-A", "-o", "pid=,ppid=,stat="], capture_output=True, text=True, check=True)
    rows = [line.split() for line in shown.stdout.splitlines()]
    return {int(pid): int(parent) for pid, parent, state in rows if not state.startswith("Z")}


def descendants(pid: int) -> set[int]:
    """The living children of a process, and theirs."""
    parents = running()
    found: set[int] = set()
    young = {pid}
    while young:
        young = {child for child, parent in parents.items() if parent in young} - found
        found |= young
    return found


@dataclass
class RunningShop:
    """A supervisor over the small shop."""

    folder: LocalFolder
    port: int
    process: subprocess.Popen[str]
    lines: list[str] = field(default_factory=list)

    def wait_until_ready(self) -> None:
        """Read its output up to the ready line."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.append(line.rstrip("\n"))
            if line.startswith("ready "):
                return
        raise AssertionError("\n".join(self.lines))

    def processes(self) -> dict[str, Any]:
        """What processes.json says."""
        return read_json(self.folder.processes)

    def kill(self, name: str) -> int:
        """SIGKILL one process, wait for another in its place, give the new pid."""
        old = self.processes()[name]["pid"]
        os.kill(old, signal.SIGKILL)
        wait_until(lambda: self.processes()[name]["pid"] != old)
        return int(self.processes()[name]["pid"])


def start_shop(
    path: Path, *arguments: str, port: int | None = None, variables: dict[str, str] | None = None
) -> RunningShop:
    """Start a supervisor; its output is one stream."""
    port = port or free_port()
    process = subprocess.Popen(
        [sys.executable, str(SMALL_SHOP), str(path), *arguments],
        env=clean_environment(PORT=str(port), **(variables or {})),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    return RunningShop(LocalFolder(path), port, process)


def end(shop: RunningShop) -> None:
    """Stop it if it still runs."""
    if shop.process.poll() is None:
        shop.process.send_signal(signal.SIGTERM)
    try:
        shop.process.wait(timeout=30)
    except subprocess.TimeoutExpired:
        shop.process.kill()
        shop.process.wait()
    if shop.process.stdout:
        shop.process.stdout.close()


def output_of(shop: RunningShop) -> str:
    """Wait for a supervisor that should end by itself; give all it printed."""
    try:
        return shop.process.communicate(timeout=30)[0]
    finally:
        end(shop)


def run_python(code: str, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run a few lines in a process of their own."""
    command: Sequence[str] = [sys.executable, "-c", code, *arguments]
    environment = clean_environment(**variables)
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=60)


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningShop]:
    """A running shop for the tests of one module."""
    started = start_shop(tmp_path_factory.mktemp("shop") / "local", "print('nothing to migrate')")
    try:
        started.wait_until_ready()
        yield started
    finally:
        end(started)
