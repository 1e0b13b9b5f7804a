"""`make check` fails where one of its checks does, names it, and runs the others all the same: by checks of paper."""

import shutil
import subprocess
from pathlib import Path

import pytest

from vibecode.local.folder import REPOSITORY

# By what it is called: the command, or the beginning of it that no other has.
GATES = {
    "format": "ruff format --check",
    "lint": "ruff check",
    "types": "mypy",
    "import contracts": "lint-imports",
    "dependencies": "deptry",
    "dead code": "python -m vibecode.local.dead_code",
    "schemas of the events": "python manage.py write_event_schemas --check",
    "deployment, migrations": "python -m vibecode.local.checks",
    "templates of the infrastructure": "python -m infrastructure.app",
    "pictures of the infrastructure": "python -m infrastructure.diagrams --check",
}
# It says what it was told, and fails where it was told what FAILS says.
PAPER = '#!/bin/sh\nsaid="$(basename "$0") $*"\necho "$said"\ncase "$said" in "$FAILS"*) exit 1 ;; esac\n'


def test_everything_at_full_scale_is_recorded_compared_and_tried_on_the_release_before() -> None:
    done = subprocess.run(
        ["make", "--dry-run", "test-full"], cwd=REPOSITORY, capture_output=True, text=True, check=True
    )

    said = [line for line in done.stdout.splitlines() if ".venv/bin/python" in line]
    whole, recorder, recorded, before = [line.partition(".venv/bin/python ")[2] for line in said[-4:]]
    assert "TEST_SCALE=full LOCAL_TRAIL=" in said[-4]
    assert whole.startswith("-m pytest ")
    assert whole.endswith('-m "not recorded"')
    assert recorder.startswith("-m infrastructure.privilege.recorder tests ")
    assert recorded.endswith(" -m recorded tests/infrastructure")
    assert before == "-m vibecode.local.previous_release"


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """One with the script alone, and with tools that do nothing."""
    (tmp_path / ".ci").mkdir()
    shutil.copy(REPOSITORY / ".ci" / "check", tmp_path / ".ci" / "check")
    tools = tmp_path / ".venv" / "bin"
    tools.mkdir(parents=True)
    for command in GATES.values():
        tool = tools / command.partition(" ")[0]
        tool.write_text(PAPER)
        tool.chmod(0o755)
    return tmp_path


def check(checkout: Path, fails: str) -> subprocess.CompletedProcess[str]:
    command = ["sh", str(checkout / ".ci" / "check")]
    environment = {"PATH": "/usr/bin:/bin", "FAILS": fails}
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


def test_where_every_check_passes_all_have_passed(checkout: Path) -> None:
    done = check(checkout, "nothing")

    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[-1] == "All checks passed."


@pytest.mark.parametrize("gate", GATES)
def test_one_check_that_fails_fails_all_and_the_others_are_run(checkout: Path, gate: str) -> None:
    done = check(checkout, GATES[gate])

    assert (done.returncode, done.stderr) == (1, f"\nFailed: {gate}\n")
    assert "All checks passed." not in done.stdout
    assert [line.removeprefix("==> ") for line in done.stdout.splitlines() if line.startswith("==> ")] == [*GATES]
