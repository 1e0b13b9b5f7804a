"""The tests of the release before, against the schema of today: what a deploy and a way back lean on.

`make test-full` and the pipelines run it. The release before is the last tag `release-*` (docs/deploy.md says who sets
them); before the first one, the commit before the last one that changed a migration. Where git cannot tell, it fails.
Its code is checked out beside this one, with the migrations of today in the place of its own.
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
# Tests that ask the database through the code, also by shops of their own. Left out: how it is migrated, how this file
# works, and what makes packages and stacks.
TESTS = ("accounts", "admin", "catalog", "faults", "jobs", "journeys", "orders", "payments", "platform")
LEFT_OUT = ("platform/test_migrations.py", "platform/test_expanding.py", "platform/test_previous_release.py")


class CannotTell(Exception):
    """Git does not say which release was before this one, or does not give its code."""


def previous_release() -> str:
    """The tag or the commit of the release before; empty where no migration was ever changed. Raises CannotTell."""
    before = _git("rev-parse", "--verify", "HEAD^")  # what is checked out is not its own release before
    newest = ("for-each-ref", "--count=1", "--sort=-creatordate", "--format=%(refname:short)", "--merged", before)
    tag = _git(*newest, "refs/tags/release-*")
    if tag:
        return tag
    if _git("rev-parse", "--is-shallow-repository") != "false":
        raise CannotTell("This clone is shallow and has no tag release-*: git fetch --unshallow --tags.")
    changed = _git("log", "-1", "--format=%H %P", "--", *MIGRATIONS).split()  # itself, then what was before
    if not changed:
        raise CannotTell(f"Nothing in {', '.join(MIGRATIONS)} is known to git.")
    return changed[1] if len(changed) > 1 else ""


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
    """What git says. Raises CannotTell where it refuses."""
    done = subprocess.run(["git", *words], cwd=REPOSITORY, capture_output=True, text=True, check=False)  # noqa: S603, S607 -- our own words, whichever git there is
    if done.returncode:
        raise CannotTell(f"git {' '.join(words)}: {done.stderr.strip() or done.returncode}")
    return done.stdout.strip()


def main() -> int:
    """Say which release it is, and run its tests; 1 where one fails, or nobody can tell which release it is."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that the checkout goes
    try:
        release = previous_release()
        if not release:
            print("The migrations are as they were in the first commit: there is no release before this one.")  # noqa: T201 -- the output of a command
            return 0
        with checked_out(release) as code:
            print(f"The tests of {release}, against the schema of today:", flush=True)  # noqa: T201 -- its output
            return run_tests(code, *sys.argv[1:])
    except CannotTell as error:
        print(f"The release before cannot be tried: {error}", file=sys.stderr)  # noqa: T201 -- its output
        return 1


if __name__ == "__main__":
    sys.exit(main())
