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
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from vibecode.local.expanding import OURS
from vibecode.local.folder import REPOSITORY

MIGRATIONS = tuple(f"{app}/migrations" for app in OURS)
# What migrations import of the code: theirs of today, too.
THEIR_TOOLS = ("vibecode/indexing.py", "vibecode/tracking.py")
# Of the tests all run that ask the database through the code, also by a shop of their own; these do not, and why.
LEFT_OUT: Mapping[str, str] = {
    "accounts/test_websocket_tickets.py::test_a_sleeping_database_fails_no_sign_up": "leaves the next test refused a "
    "connection for a second. Today it does not: it goes from here when the release before has that",
    "browser": "how pages look: what they ask, admin and orders ask too",
    "infrastructure": "makes packages and stacks, which are judged as they are today",
    "journeys/test_an_order_moves.py": "holds a whole shop to seconds, which tells of the machine",
    "local": "the cloud of a laptop, which no release runs on",
    "platform/test_expanding.py": "judges migrations by rules of then",
    "platform/test_migrations.py": "how migrations are made, and not what they leave",
    "platform/test_previous_release.py": "this file, of then",
    "scale": "how lists are planned in a large shop: speed, and no behaviour",
}


class CannotTell(Exception):
    """Git does not say which release was before this one, or does not give its code."""


def previous_release() -> str:
    """The tag or the commit of the release before; empty where no migration was ever changed. Raises CannotTell."""
    newest = ("for-each-ref", "--count=1", "--sort=-creatordate", "--format=%(refname:short)")
    # In its history, by whichever parent of a merge; what is checked out is not its own release before.
    tag = _git(*newest, "--merged=HEAD", "--no-contains=HEAD", "refs/tags/release-*")
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


def folders_of(code: Path) -> list[str]:
    """Every folder of tests that it has, but what is left out: also one that nobody here has heard of."""
    folders = sorted({test.relative_to(code).parts[1] for test in code.glob("tests/*/**/test_*.py")})
    return [f"tests/{folder}" for folder in folders if folder not in LEFT_OUT]


def run_tests(code: Path, *more: str) -> int:
    """Its tests, in two processes; pytest's own code."""
    ignored = [f"--{'deselect' if '::' in name else 'ignore'}=tests/{name}" for name in LEFT_OUT]
    command = [sys.executable, "-m", "pytest", "-q", "-n", "2", *ignored, *folders_of(code), *more]
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
