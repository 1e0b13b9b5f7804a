"""How the worker is asked for operations, and for how long. Exact calls, by stubbed_aws.py."""

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import pytest

from infrastructure.deploying import operations, waiting
from infrastructure.deploying.account import WentWrong
from infrastructure.deploying.functions import Functions
from infrastructure.deploying.operations import Operations
from infrastructure.deploying.record import Lost
from infrastructure.deploying.waiting import Turn
from tests.infrastructure.stubbed_aws import Aws


class Clock:
    """Time that passes only while somebody waits."""

    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        """Seconds."""
        return self.now

    def sleep(self, seconds: float) -> None:
        """They pass."""
        self.now += seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The one by which functions are waited for."""
    made = Clock()
    for module in (operations, waiting):
        monkeypatch.setattr(module, "time", made)
    return made


@pytest.fixture
def answers(aws: Aws, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Let the worker answer an operation."""
    monkeypatch.setattr(waiting, "PAUSE", 0)

    def answer(
        operation: str, payload: dict[str, Any], *, failed: bool = False, of: str = "worker", **arguments: Any
    ) -> None:
        asked = json.dumps({"operation": operation, "arguments": arguments})
        answered = {"Payload": SimpleNamespace(read=lambda: json.dumps(payload).encode())}
        aws("lambda").add_response(
            "invoke",
            answered | ({"FunctionError": "Unhandled"} if failed else {}),
            {"FunctionName": f"vibecode-dev-{of}", "Payload": asked},
        )

    return answer


def asked_of(aws: Aws, is_ours: Callable[[], bool] = lambda: True, **more: Any) -> Operations:
    """The worker, as it is asked for operations."""
    return Operations(Functions(aws.account, Turn(is_ours)), **more)


@contextmanager
def beside(self: Functions, which: str, package: str) -> Iterator[str]:
    """The function beside the worker, where it is not what is looked at."""
    assert (which, package) == ("worker", "releases/new.zip")
    yield "vibecode-dev-next"


def test_migrations_are_called_until_nothing_is_left_and_again_while_the_database_is_busy(
    aws: Aws, answers: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Functions, "beside", beside)
    answers("migrate", {"errorType": "Busy", "errorMessage": "Others"}, failed=True, of="next")
    answers("migrate", {"applied": ["orders.0001"], "left": ["orders.0002"]}, of="next")
    answers("migrate", {"errorMessage": "2026-11-26 Task timed out after 120.00 seconds"}, failed=True, of="next")
    answers("migrate", {"errorType": "MigrationsRun", "errorMessage": "A build"}, failed=True, of="next")
    answers("migrate", {"applied": ["orders.0002"], "left": []}, of="next")

    told: list[Sequence[str]] = []

    asked_of(aws).migrate("releases/new.zip", told.append)

    assert told == [["orders.0001"], ["orders.0002"]], "each as soon as it is applied"


def test_an_index_that_is_built_for_long_is_waited_for_and_told_of(
    aws: Aws, answers: Callable[..., None], clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(waiting, "PAUSE", 5)
    told: list[str] = []
    for _ in range(40 * 60 // 5):
        answers("migrate", {"errorType": "MigrationsRun", "errorMessage": "A build"}, failed=True)
    answers("migrate", {"applied": [], "left": []})

    answer = asked_of(aws, report=told.append).operate("migrate")

    assert answer == {"applied": [], "left": []}
    assert clock.now == 40 * 60
    assert told[-1] == "  migrate, since 39 min: MigrationsRun: A build"
    assert len(told) == 39


@pytest.mark.parametrize(("said", "seconds"), [("MigrationsRun", 3600), ("Busy", 300), ("DatabaseAway", 300)])
def test_what_never_comes_is_not_waited_for_for_ever(
    aws: Aws, answers: Callable[..., None], clock: Clock, monkeypatch: pytest.MonkeyPatch, said: str, seconds: int
) -> None:
    monkeypatch.setattr(waiting, "PAUSE", 20)
    for _ in range(seconds // 20 + 1):
        answers("migrate", {"errorType": said, "errorMessage": "still"}, failed=True)

    with pytest.raises(WentWrong, match=f"migrate: {said}: still"):
        asked_of(aws).operate("migrate")
    assert clock.now == seconds


def test_an_operation_that_fails_for_good_is_not_asked_again(aws: Aws, answers: Callable[..., None]) -> None:
    answers("migrate", {"errorType": "TrailOpen", "errorMessage": "REVOKE it"}, failed=True)

    with pytest.raises(WentWrong, match="migrate: TrailOpen: REVOKE it"):
        asked_of(aws).operate("migrate")


def test_who_lost_the_stage_asks_for_no_operation_more(aws: Aws, answers: Callable[..., None]) -> None:
    ours = iter([True, False])
    answers("migrate", {"errorType": "Busy", "errorMessage": "Others"}, failed=True)

    with pytest.raises(Lost):
        asked_of(aws, lambda: next(ours)).operate("migrate")


def test_figures_are_counted_call_by_call(aws: Aws, answers: Callable[..., None]) -> None:
    answers("rebuild-figures", {"done": False, "goOnAfter": 7, "goOnFrom": "2026-11-01"})
    answers("rebuild-figures", {"done": True}, after=7, day="2026-11-01")

    asked_of(aws).rebuild_figures()
