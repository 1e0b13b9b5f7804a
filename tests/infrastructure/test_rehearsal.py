"""`make rehearse` from beginning to end: every step passes, and nothing is left of it, even when it is interrupted."""

import contextlib
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.in_process import FULL
from tests.whole_shop import until
from vibecode.local.folder import REPOSITORY
from vibecode.local.shop import CARRIED

MOMENTS = ["the infrastructure hands over", "a picture, uploaded and shown"][: 2 if FULL else 1]
# A run in the background of a shell ignores Ctrl-C, and what it starts would ignore it too.
HEEDING = "import os, signal, sys; signal.signal(signal.SIGINT, signal.SIG_DFL); os.execv(sys.argv[1], sys.argv[1:])"
COMMAND = [sys.executable, "-m", "infrastructure.rehearsal", *([] if FULL else ["--small"])]


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """That of a terminal in which nobody has set anything of the shop's, with a folder for what is temporary."""
    kept = {name: value for name, value in os.environ.items() if name not in CARRIED and not name.startswith("PYTEST_")}
    return kept | {"TMPDIR": str(tmp_path), "COLUMNS": "160"}


def left_of(folder: Path) -> list[str]:
    """The processes that were started with this folder for what is temporary, or with something in it."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # it has ended meanwhile
            told = (process / "environ").read_bytes() + (process / "cmdline").read_bytes()
            if str(folder).encode() in told:
                found.append(f"{process.name} {(process / 'cmdline').read_bytes()!r}")
    return found


def test_the_deployment_is_rehearsed_and_leaves_nothing(
    environment: dict[str, str], tmp_path: Path, archive: Path
) -> None:
    command = COMMAND if FULL else [*COMMAND, "--package", str(archive)]
    done = subprocess.run(command, cwd=REPOSITORY, env=environment, capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-2000:]
    print(done.stdout[done.stdout.index("The rehearsal") :])
    steps = re.findall(r"^│ (\S.*?)\s*│\s+[\d.]+ │ ok", done.stdout, re.MULTILINE)
    assert len(steps) == (25 if FULL else 22)
    assert "FAILED" not in done.stdout
    assert left_of(tmp_path) == []
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("step", MOMENTS)
def test_a_rehearsal_that_is_interrupted_leaves_nothing(environment: dict[str, str], tmp_path: Path, step: str) -> None:
    log = tmp_path.with_suffix(".log")
    with log.open("wb") as output:
        command = [sys.executable, "-c", HEEDING, *COMMAND]
        process = subprocess.Popen(command, cwd=REPOSITORY, env=environment, stdout=output, stderr=subprocess.STDOUT)
        until(lambda: step in log.read_text(), 240, step)
        assert len(left_of(tmp_path)) > 4
        process.send_signal(signal.SIGINT)
        until(lambda: process.poll() is not None, 180, "it ends")
        assert process.returncode != 0

    until(lambda: not left_of(tmp_path), 30, "its processes end")
    assert list(tmp_path.iterdir()) == []
