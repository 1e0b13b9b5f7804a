"""The tests of the release before, against the schema of today: what a deploy and a way back lean on.

`make test-full` runs it. The release before is the last tag `release-*`; where there is none, the commit before the
last one that changed a migration. Its code is checked out beside this one, with the migrations of today in the place of
its own.
"""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from vibecode.local.expanding import OURS
from vibecode.local.folder import REPOSITORY

MIGRATIONS = tuple(f"{app}/migrations" for app in OURS)
# What migrations import of the code: theirs of today, too.
THEIR_TOOLS = ("vibecode/indexing.py", "vibecode/tracking.py")
# Tests that ask the database through the code. Left out: how it is migrated, what runs packages and processes.
TESTS = ("accounts", "admin", "catalog", "jobs", "orders", "payments", "platform")
LEFT_OUT = ("platform/test_migrations.py", "platform/test_expanding.py")


def previous_release() -> str:
    """The tag or the commit of the release before; empty where this history has none."""
    tag = _git("describe", "--tags", "--match", "release-*", "--abbrev=0", "HEAD^")  # not this one
    if tag:
        return tag
    changed = _git("log", "-1", "--format=%H", "--", *MIGRATIONS)
    return _git("rev-parse", "--verify", "--short", f"{changed}^") if changed else ""


@contextmanager
def checked_out(release: str) -> Iterator[Path]:
    """Its code in a folder of its own, with the migrations of today."""
    with tempfile.TemporaryDirectory(prefix="vibecode-release-") as folder:
        code = Path(folder) / "code"
        _git("worktree", "add", "--quiet", "--detach", "--force", str(code), release)
        try:
            for name in MIGRATIONS:
                shutil.rmtree(code / name, ignore_errors=True)
                shutil.copytree(REPOSITORY / name, code / name, ignore=shutil.ignore_patterns("__pycache__"))
            for name in THEIR_TOOLS:
                shutil.copyfile(REPOSITORY / name, code / name)
            yield code
        finally:
            _git("worktree", "remove", "--force", str(code))


def run_tests(code: Path, *more: str) -> int:
    """Its tests, in two processes; pytest's own code."""
    tests = [f"tests/{name}" for name in TESTS if (code / "tests" / name).exists()]
    ignored = [f"--ignore=tests/{name}" for name in LEFT_OUT]
    command = [sys.executable, "-m", "pytest", "-q", "-n", "2", *ignored, *tests, *more]
    environment = {name: value for name, value in os.environ.items() if name != "DJANGO_SETTINGS_MODULE"}
    return subprocess.run(command, cwd=code, env=environment | {"TEST_SCALE": "small"}, check=False).returncode  # noqa: S603 -- our own command


def _git(*words: str) -> str:
    """What git says; empty where it refuses."""
    done = subprocess.run(["git", *words], cwd=REPOSITORY, capture_output=True, text=True, check=False)  # noqa: S603, S607 -- our own words, whichever git there is
    return done.stdout.strip() if done.returncode == 0 else ""


def main() -> int:
    """Say which release it is, and run its tests; 1 where one fails."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that the checkout goes
    release = previous_release()
    if not release:
        print("No release before this one is in this history: nothing to try today's schema on.")  # noqa: T201 -- the output of a command
        return 0
    with checked_out(release) as code:
        print(f"The tests of {release}, against the schema of today:", flush=True)  # noqa: T201 -- its output
        return run_tests(code, *sys.argv[1:])


if __name__ == "__main__":
    sys.exit(main())
