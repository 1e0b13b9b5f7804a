"""Which release was before this one: by the tags, else by the history, and an error where git cannot tell."""

import os
import subprocess
from pathlib import Path

import pytest

from vibecode.local import previous_release
from vibecode.local.folder import REPOSITORY
from vibecode.local.previous_release import LEFT_OUT, MIGRATIONS, THEIR_TOOLS, CannotTell, checked_out, folders_of, main
from vibecode.local.previous_release import previous_release as found_release

NOBODY = {
    "GIT_CONFIG_GLOBAL": os.devnull,
    "GIT_CONFIG_SYSTEM": os.devnull,
    **{f"GIT_{who}_{what}": "me@shop.example" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")},
}


class Shop:
    """A small repository, which has the folders of ours."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.moment = 1_700_000_000

    def git(self, *words: str) -> str:
        """What git says of it."""
        self.moment += 60
        when = f"{self.moment} +0000"
        environment = {**os.environ, **NOBODY, "GIT_AUTHOR_DATE": when, "GIT_COMMITTER_DATE": when}
        command = ["git", "-c", "protocol.file.allow=always", *words]
        return subprocess.run(
            command, cwd=self.folder, env=environment, check=True, capture_output=True, text=True
        ).stdout.strip()

    def commit(self, **files: str) -> str:
        """One more commit, with what is in ``code`` or in ``migration``."""
        for name, text in files.items():
            for place in ("code.py", *THEIR_TOOLS) if name == "code" else [f"{app}/0001.py" for app in MIGRATIONS]:
                (self.folder / place).parent.mkdir(parents=True, exist_ok=True)
                (self.folder / place).write_text(text)
        self.git("add", ".")
        self.git("commit", "--message", str(files))
        return self.git("rev-parse", "HEAD")


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Shop:
    """Three commits: all is new, a migration is changed, code is changed."""
    (tmp_path / "shop").mkdir()
    made = Shop(tmp_path / "shop")
    monkeypatch.setattr(previous_release, "REPOSITORY", made.folder)
    made.git("init", "--quiet", "--initial-branch", "main")
    made.commit(code="first", migration="first")
    made.commit(migration="second")
    made.commit(code="second")
    return made


def clone(shop: Shop, monkeypatch: pytest.MonkeyPatch, *words: str) -> Shop:
    """Another checkout of it, as a pipeline might make one."""
    made = Shop(shop.folder.with_name("clone"))
    shop.git("clone", "--quiet", *words, f"file://{shop.folder}", str(made.folder))
    monkeypatch.setattr(previous_release, "REPOSITORY", made.folder)
    return made


def test_it_is_the_last_tag_and_never_what_is_checked_out(shop: Shop) -> None:
    shop.git("tag", "release-1", "HEAD~2")
    shop.git("tag", "release-10", "HEAD~1")
    shop.git("tag", "nightly", "HEAD~1")
    shop.git("tag", "release-11")
    shop.git("switch", "--quiet", "--orphan", "elsewhere")
    shop.commit(code="of somebody else")
    shop.git("tag", "release-12")
    shop.git("switch", "--quiet", "main")

    assert found_release() == "release-10"


def test_a_tag_on_the_merged_side_of_a_merge_counts(shop: Shop) -> None:
    shop.git("tag", "release-1", "HEAD~2")
    shop.git("switch", "--quiet", "--create", "mended", "HEAD~1")
    (shop.folder / "mended.py").write_text("mended")
    shop.git("add", ".")
    shop.git("commit", "--message", "mended")
    shop.git("tag", "release-2")
    shop.git("switch", "--quiet", "main")
    shop.git("merge", "--no-ff", "--message", "merged", "mended")

    assert found_release() == "release-2"


def test_without_a_tag_it_is_the_commit_before_the_last_migration(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    assert found_release() == shop.git("rev-parse", "HEAD~2")
    clone(shop, monkeypatch)
    assert found_release() == shop.git("rev-parse", "HEAD~2")


def test_where_no_migration_was_ever_changed_there_is_none(shop: Shop, capsys: pytest.CaptureFixture[str]) -> None:
    shop.git("switch", "--quiet", "--detach", "HEAD~2")
    shop.commit(code="second")

    assert main() == 0
    assert "there is no release before this one" in capsys.readouterr().out


@pytest.mark.parametrize("depth", [1, 2])
def test_a_shallow_clone_without_a_tag_is_an_error(
    shop: Shop, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], depth: int
) -> None:
    clone(shop, monkeypatch, "--depth", str(depth))

    with pytest.raises(CannotTell):
        found_release()
    assert main() == 1
    assert "The release before cannot be tried" in capsys.readouterr().err


def test_a_shallow_clone_that_has_the_tag_will_do(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    shop.git("tag", "release-1", "HEAD~1")
    clone(shop, monkeypatch, "--depth", "2").git("fetch", "--quiet", "--depth", "2", "--tags")

    assert found_release() == "release-1"


def test_where_git_refuses_it_is_an_error(
    shop: Shop, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (shop.folder / ".git" / "HEAD").write_text("no reference")
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(shop.folder.parent))

    assert main() == 1
    assert "not a git repository" in capsys.readouterr().err


def test_every_folder_of_its_tests_runs_that_is_not_left_out_with_a_reason(tmp_path: Path) -> None:
    for test in ("of_tomorrow/test_it.py", "orders/desk/test_lists.py", "journeys/test_an_order_moves.py", "data/a.py"):
        (tmp_path / "tests" / test).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "tests" / test).touch()

    assert folders_of(tmp_path) == ["tests/journeys", "tests/of_tomorrow", "tests/orders"]
    for path, _, test in (name.partition("::") for name in LEFT_OUT):
        there = REPOSITORY / "tests" / path
        found = f"def {test}(" in there.read_text() if test else there.exists()
        assert found, f"{path}: it goes from LEFT_OUT, or gets its new name there, when the release before has it so"
    assert {"tests/accounts", "tests/admin", "tests/faults", "tests/journeys", "tests/platform"} < set(
        folders_of(REPOSITORY)
    )


def test_its_code_meets_the_migrations_of_today(shop: Shop) -> None:
    shop.commit(code="today")
    (shop.folder / MIGRATIONS[0] / "0002.py").write_text("not yet committed")

    with checked_out(shop.git("rev-parse", "HEAD~3")) as code:
        assert (code / "code.py").read_text() == "first"
        assert [(code / tool).read_text() for tool in THEIR_TOOLS] == ["today"] * len(THEIR_TOOLS)
        assert (code / MIGRATIONS[0] / "0001.py").read_text() == "second"
        assert (code / MIGRATIONS[0] / "0002.py").exists()
    assert shop.git("worktree", "list").count("\n") == 0
    with pytest.raises(CannotTell), checked_out("release-that-never-was"):
        pass
