"""A fact that comes again has its effect once."""

import threading
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from django.conf import settings
from django.db import IntegrityError, connection, transaction
from django.db.models.functions import Now
from pytest_django import DjangoDbBlocker

from tests.over_http import looking_into
from tests.platform.test_relays_side_by_side import NAME, relayed_database
from vibecode.inbox import BeingHandled, handle_once
from vibecode.models import ProcessedMessage

__all__ = ["relayed_database"]  # pytest finds it here


class Effects:
    """What happened, and what goes wrong."""

    def __init__(self, failure: BaseException | None = None) -> None:
        self.count = 0
        self.failure = failure

    def __call__(self) -> None:
        self.count += 1
        if self.failure:
            raise self.failure


def deliver(event_id: uuid.UUID, effect: Callable[[], None], consumer: str = "mail") -> bool:
    return handle_once(consumer=consumer, event_id=str(event_id), effect=effect)


def test_a_fact_that_comes_three_times_has_its_effect_once(db: None) -> None:
    fact, effects = uuid.uuid4(), Effects()

    assert [deliver(fact, effects) for _ in range(3)] == [True, False, False]
    assert effects.count == 1


def test_each_consumer_handles_a_fact_for_itself_and_each_fact_counts(db: None) -> None:
    fact, effects = uuid.uuid4(), Effects()

    assert deliver(fact, effects, "mail")
    assert deliver(fact, effects, "live")
    assert deliver(uuid.uuid4(), effects, "mail")
    assert effects.count == 3


@pytest.mark.parametrize("failure", [ValueError("no"), KeyboardInterrupt()])
def test_an_effect_that_fails_is_tried_again_by_the_next_delivery(failure: BaseException, db: None) -> None:
    fact, failing, effects = uuid.uuid4(), Effects(failure), Effects()

    with pytest.raises(type(failure)):
        deliver(fact, failing)
    assert ProcessedMessage.objects.get().handled_at is None
    assert deliver(fact, effects)
    assert (failing.count, effects.count) == (1, 1)


def test_a_second_delivery_while_the_first_is_at_work_is_brought_back(db: None) -> None:
    fact, effects = uuid.uuid4(), Effects()

    def at_work() -> None:
        with pytest.raises(BeingHandled, match=f"mail works on {fact}"):
            deliver(fact, effects)

    assert deliver(fact, at_work)
    assert effects.count == 0
    assert not deliver(fact, effects)


def test_a_claim_of_one_that_died_ends_with_its_lease_by_the_databases_clock(
    db: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    fact, effects = uuid.uuid4(), Effects()
    claim = ProcessedMessage.objects.create(
        consumer="mail", event_id=fact, claimed_until=Now() + timedelta(seconds=settings.INBOX_LEASE_SECONDS)
    )
    monkeypatch.setattr("time.time", lambda: 4e9)  # our own clock says that it is long over

    with pytest.raises(BeingHandled):
        deliver(fact, effects)
    ProcessedMessage.objects.filter(pk=claim.pk).update(claimed_until=Now() - timedelta(seconds=1))

    assert deliver(fact, effects)
    assert effects.count == 1


def test_one_that_fails_after_its_lease_ended_does_not_release_the_next_ones_claim(db: None) -> None:
    fact = uuid.uuid4()

    def too_slow() -> None:
        ProcessedMessage.objects.update(claimed_until=Now() + timedelta(minutes=9))  # another one's, by now
        raise ValueError

    with pytest.raises(ValueError):  # noqa: PT011 -- it has no words
        deliver(fact, too_slow)
    with pytest.raises(BeingHandled):
        deliver(fact, Effects())


def test_a_fact_is_claimed_once_by_each_consumer(db: None) -> None:
    fact = uuid.uuid4()
    ProcessedMessage.objects.create(consumer="mail", event_id=fact, claimed_until=Now())

    with pytest.raises(IntegrityError, match="processed_message_is_claimed_once"), transaction.atomic():
        ProcessedMessage.objects.create(consumer="mail", event_id=fact, claimed_until=Now())


def test_of_sixteen_deliveries_at_once_one_has_the_effect_and_no_transaction_is_open_in_it(
    relayed_database: str, django_db_blocker: DjangoDbBlocker
) -> None:
    fact, effects, open_transactions = uuid.uuid4(), Effects(), []
    barrier = threading.Barrier(16)

    def work() -> None:
        effects()
        open_transactions.append(connection.in_atomic_block)

    def one(_: int) -> str:
        barrier.wait(timeout=30)
        try:
            return "had it" if deliver(fact, work) else "knew it"
        except BeingHandled:
            return "comes back"
        finally:
            connection.close()

    with looking_into(NAME, django_db_blocker):
        with ThreadPoolExecutor(16) as pool:
            answers = list(pool.map(one, range(16)))
        late = deliver(fact, effects)

    assert (answers.count("had it"), late) == (1, False)
    assert effects.count == 1
    assert open_transactions == [False]
