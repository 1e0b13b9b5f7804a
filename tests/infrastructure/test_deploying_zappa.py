"""A `zappa` that never ends, a script here, and what its stack says then, by stubbed_aws.py."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from infrastructure.deploying import zappa
from infrastructure.deploying.account import WentWrong
from infrastructure.deploying.functions import Functions
from infrastructure.deploying.record import Lost
from infrastructure.deploying.waiting import Turn
from infrastructure.deploying.zappa import Zappa
from tests.infrastructure.stubbed_aws import Aws, has_api


@pytest.fixture
def endless(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path]:
    """A `zappa` that never ends: it says by a file when it has begun, and by another when it was told to end."""
    begun, ended = tmp_path / "begun", tmp_path / "ended"
    script = f"#!/bin/sh\ntrap 'touch {ended}; exit' TERM\necho Waiting\ntouch {begun}\nsleep 60 & wait\n"
    (tmp_path / "zappa").write_text(script)
    (tmp_path / "zappa").chmod(0o755)
    monkeypatch.setattr(zappa, "sys", SimpleNamespace(executable=str(tmp_path / "python")))
    monkeypatch.setattr(zappa, "LOOKED", 0.05)
    monkeypatch.setattr(Zappa, "settings", lambda _: {})
    return begun, ended


def test_zappa_is_ended_when_the_stage_is_no_longer_ours(aws: Aws, endless: tuple[Path, Path]) -> None:
    begun, ended = endless

    with pytest.raises(Lost):
        Zappa(aws.account, Turn(lambda: not begun.exists())).run("update", "dev")

    assert ended.exists()


def test_zappa_is_ended_when_it_waits_for_what_never_comes_and_its_stack_says_why(
    aws: Aws, endless: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, ended = endless
    now = iter([0.0, 0.0])  # when it begins; then time passes when it has begun
    monkeypatch.setattr(
        zappa, "time", SimpleNamespace(monotonic=lambda: next(now, zappa.ENDED * float(begun.exists())))
    )
    has_api(aws, "UPDATE_COMPLETE", api="id")
    aws.is_now("UPDATE_ROLLBACK_COMPLETE", "vibecode-dev")
    why = ("Method", "UPDATE_FAILED", "Too many requests")
    aws.has_events(why, ("vibecode-dev", "UPDATE_IN_PROGRESS", "User Initiated"), of="vibecode-dev")

    said = (
        r"update dev has not ended within 1800 s:\nWaiting\n+vibecode-dev is UPDATE_ROLLBACK_COMPLETE: Method: Too many"
    )
    with pytest.raises(WentWrong, match=said):
        Functions(aws.account, Turn()).put("web", "releases/x.zip")

    assert ended.exists()
