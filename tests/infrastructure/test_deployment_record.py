"""The record of a stage's deployments: of two writers one succeeds, and what is kept is what one can go back to."""

import uuid
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from botocore.exceptions import ClientError

from infrastructure.deploying import record as module
from infrastructure.deploying.record import Attempt, Held, Lost, Record, Release
from tests.whole_shop import until
from vibecode import aws


@pytest.fixture
def record() -> Callable[[str], Record]:
    """Somebody's view of one record, in the local AWS."""
    s3: Any = aws.client("s3")
    bucket = f"record-{uuid.uuid4().hex}"
    s3.create_bucket(Bucket=bucket)
    return lambda owner: Record(s3, bucket, owner)


def release(name: str, previous: str = "") -> Release:
    return Release(name=name, source=name, package=f"releases/{name}.zip", previous=previous)


def test_of_two_who_take_the_lock_at_once_one_has_it(record: Callable[[str], Record]) -> None:
    mine, yours = record("me"), record("you")
    mine.take()

    with pytest.raises(Held, match="has just begun"):
        yours.take()
    yours.read()
    with pytest.raises(Held, match="being deployed by me, since"):
        yours.take()
    mine.release()
    yours.read()
    yours.take()


def test_whoever_lost_the_lock_can_write_nothing_more(record: Callable[[str], Record]) -> None:
    mine = record("me")
    mine.take()
    mine.begin(Attempt(kind="deploy", release=release("one")))
    yours = record("you")
    yours.take(break_lock=True)

    with pytest.raises(Lost):
        mine.note("worker", "done")

    yours.note("worker", "begun")
    assert record("me").attempt == Attempt(kind="deploy", release=release("one"), steps={"worker": "begun"})


def test_whoever_lost_the_lock_finds_out_within_a_step(
    record: Callable[[str], Record], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "RENEWED", 0.02)
    mine = record("me")
    assert not mine.still_ours(), "nobody has taken it"
    mine.take()
    assert mine.still_ours()

    yours = record("you")
    yours.take(break_lock=True)

    until(lambda: not mine.still_ours(), 20, "who gives signs of life hears of it")
    assert yours.still_ours()
    yours.release()
    assert not yours.still_ours()


def test_after_a_silence_the_record_tells_whose_the_lock_is(
    record: Callable[[str], Record], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "SURE", 0)  # as after a night in a closed laptop
    mine = record("me")
    mine.take()
    assert mine.still_ours()

    yours = record("you")
    yours.take(break_lock=True)

    assert not mine.still_ours()
    yours.release()


def test_a_record_is_taken_again_after_it_was_released(
    record: Callable[[str], Record], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "RENEWED", 0.02)
    mine = record("me")
    for _ in range(2):
        mine.take()
        written = mine._written
        until(lambda before=written: mine._written != before, 20, "it gives signs of life")  # type: ignore[misc]  # bound
        mine.release()


def test_a_lock_without_a_sign_of_life_may_be_taken(
    record: Callable[[str], Record], monkeypatch: pytest.MonkeyPatch
) -> None:
    record("me").take()
    monkeypatch.setattr(module, "LEASE", -1)

    yours = record("you")

    assert yours.holder() == ""
    yours.take()


def test_a_holder_that_works_gives_signs_of_life(
    record: Callable[[str], Record], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "RENEWED", 0.02)
    mine = record("me")
    writes: list[str] = []
    put = mine._s3.put_object

    def counted(**asked: Any) -> Any:
        writes.append(asked["Key"])
        return put(**asked)

    monkeypatch.setattr(mine._s3, "put_object", counted)
    mine.take()

    until(lambda: len(writes) > 3, 20, "it writes without being told")
    mine.begin(Attempt(kind="deploy", release=release("one")))
    mine.release()

    assert record("you").holder() == ""


def test_what_one_can_go_back_to_is_kept_and_the_oldest_is_forgotten(record: Callable[[str], Record]) -> None:
    mine = record("me")
    mine.take()
    names = [f"r{n}" for n in range(module.KEPT + 3)]
    for previous, name in zip(["", *names], names, strict=False):
        mine.begin(Attempt(kind="deploy", release=release(name)))
        mine.finish(release(name, previous))
        mine.take()

    assert list(mine.kept(release("next", names[-1]))) == [*names[4:], "next"]
    seen = record("you")
    assert (list(seen.releases), seen.current, seen.attempt) == (names[3:], names[-1], None)


def test_an_answer_that_got_lost_is_no_lost_lock(record: Callable[[str], Record]) -> None:
    mine = record("me")
    mine.take()
    before = mine._etag
    mine.begin(Attempt(kind="deploy", release=release("one")))
    mine._etag = before  # as if boto3 sent the same once more, because the answer did not come

    mine.check_ours()
    mine.note("worker", "begun")


@pytest.mark.parametrize("status", [409, 412])
def test_a_write_that_meets_another_of_ours_is_no_lost_lock(
    record: Callable[[str], Record], monkeypatch: pytest.MonkeyPatch, status: int
) -> None:
    monkeypatch.setattr(module, "PAUSE", 0)
    mine = record("me")
    mine.take()
    refused = s3_refuses(mine, status, times=2)
    before = mine._etag
    mine.begin(Attempt(kind="deploy", release=release("one")))
    mine._etag = before  # as if an answer had timed out, and what was asked came about

    mine.note("worker", "begun")

    assert refused == []
    assert record("you").attempt == Attempt(kind="deploy", release=release("one"), steps={"worker": "begun"})


def test_a_conflict_with_whoever_broke_the_lock_is_a_lost_one(record: Callable[[str], Record]) -> None:
    mine, yours = record("me"), record("you")
    mine.take()
    yours.read()
    yours.take(break_lock=True)
    s3_refuses(mine, 409)

    with pytest.raises(Lost):
        mine.begin(Attempt(kind="deploy", release=release("one")))
    assert record("anybody").attempt is None


def test_a_conflict_that_does_not_end_is_said_and_changes_nothing(
    record: Callable[[str], Record], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "PAUSE", 0)
    mine = record("me")
    mine.take()
    s3_refuses(mine, 409, times=module.TRIES)

    with pytest.raises(ClientError, match="409"):
        mine.begin(Attempt(kind="deploy", release=release("one")))
    assert (mine.attempt, record("you").attempt) == (None, None)


def test_what_an_attempt_ends_with_and_that_the_stage_is_free_are_one_write(record: Callable[[str], Record]) -> None:
    mine = record("me")
    mine.take()
    mine.begin(Attempt(kind="deploy", release=release("one")))

    mine.finish(release("one"))

    seen = record("you")
    assert (seen.current, seen.attempt, seen.holder()) == ("one", None, "")
    seen.take()
    mine.release()  # and takes it from nobody
    assert record("anybody").holder().startswith("you")


def test_what_could_not_be_written_did_not_happen(record: Callable[[str], Record]) -> None:
    mine = record("me")
    mine.take()
    attempt = Attempt(kind="rollback", release=release("one"), steps={"worker": "done"})
    mine.begin(attempt)
    s3_refuses(mine, 503)

    with pytest.raises(ClientError, match="503"):
        mine.finish(release("one"))
    mine.release()

    seen = record("you")
    assert (seen.attempt, seen.current, seen.holder()) == (attempt, "", ""), "the next run ends it"


def s3_refuses(mine: Record, status: int, *, times: int = 1) -> list[int]:
    """The next writes are answered so by S3; what is left of it."""
    left, put = [status] * times, mine._s3.put_object

    def refusing(**asked: Any) -> Any:
        if left:
            said = {"Error": {"Code": str(left.pop())}, "ResponseMetadata": {"HTTPStatusCode": status}}
            raise ClientError(said, "PutObject")  # type: ignore[arg-type]  # as much of it as is read
        return put(**asked)

    mine._s3 = SimpleNamespace(put_object=refusing, get_object=mine._s3.get_object)
    return left
