"""The relay: everything that was published reaches the bus, in order by subject, whatever the bus answers."""

import os
import time
import uuid
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.conf import settings
from django.core.management import CommandError, call_command
from django.db import IntegrityError, connection, transaction
from django.db.models.functions import Now
from pytest_django import DjangoCaptureOnCommitCallbacks, Settings

from tests.in_process import Caller, order_body
from tests.platform.bus import (
    Listener,
    ScriptedBus,
    accept,
    fail,
    listener,
    make_queues,
    note,
    pointed_to,
    refuse,
    scripted_bus,
    waiting,
)
from tests.platform.logs import read_log
from vibecode import doorbell, outbox
from vibecode.local.ports import free_port
from vibecode.models import OutboxEvent, ProcessedMessage
from vibecode.outbox import on_wake_up, purge, send_again, sweep
from vibecode.relay import MOST_BYTES, Passed, relay
from vibecode.rights import Actor

__all__ = ["listener", "scripted_bus"]  # pytest finds them here

pytestmark = pytest.mark.django_db


def only(thing: str, number: int = 1) -> OutboxEvent:
    return OutboxEvent.objects.with_state().get(subject=thing, detail__number=number)


def make_due() -> None:
    """The pause of whatever waits is over."""
    OutboxEvent.objects.waiting().update(due_at=Now())


# --- what reaches the bus --------------------------------------------------------------------------------------------
def test_a_published_fact_reaches_the_bus_as_it_was_written(listener: Listener) -> None:
    note(("lämp", 1))

    passed = relay()

    [message] = listener.heard(at_least=1, seconds=5)
    row = only("lämp")
    assert (passed.sent, passed.parked, passed.pauses) == (1, 0, [])
    assert (message["source"], message["detail-type"]) == ("vibecode.tests", "Thing Noted")
    assert message["detail"] == row.detail
    assert (row.state, row.lease, row.attempts) == ("sent", None, 0)  # type: ignore[attr-defined]  # annotated


def test_what_was_sent_is_not_sent_again(scripted_bus: ScriptedBus) -> None:
    note(("lamp", 1))

    assert (relay().sent, relay().sent) == (1, 0)
    assert scripted_bus.said() == [("lamp", 1)]


def test_facts_of_one_subject_leave_in_order_and_never_two_in_one_request(scripted_bus: ScriptedBus) -> None:
    note(*((thing, number) for number in range(4) for thing in ("a", "b", "c")))

    relay()

    for thing in ("a", "b", "c"):
        assert [number for name, number in scripted_bus.said() if name == thing] == [0, 1, 2, 3]
    for call in scripted_bus.calls:
        things = [entry["Detail"]["thing"] for entry in call]
        assert len(things) == len(set(things))


def test_a_request_has_ten_entries_at_most_and_stays_below_the_bytes_of_one(scripted_bus: ScriptedBus) -> None:
    note(*((f"small-{n}", 1) for n in range(25)))
    note(*((f"large-{n}", 1) for n in range(12)), ballast="ü" * 30_000)

    assert relay().sent == 37

    assert max(len(call) for call in scripted_bus.calls) == 10
    for call in scripted_bus.calls:
        assert sum(len(entry["Detail"]["ballast"].encode()) for entry in call) < MOST_BYTES


def test_a_fact_that_no_request_can_hold_is_parked_at_once_and_stops_no_other(scripted_bus: ScriptedBus) -> None:
    note(("giant", 1), ballast="x" * 300_000)
    note(("lamp", 1))

    passed = relay()

    giant = only("giant")
    assert (passed.sent, passed.parked) == (1, 1)
    assert (giant.state, giant.attempts) == ("parked", 1)  # type: ignore[attr-defined]  # annotated
    assert "bytes; the bus takes less than 262,144" in giant.last_error
    assert scripted_bus.said() == [("lamp", 1)]


# --- what the bus answers --------------------------------------------------------------------------------------------
def test_only_what_the_bus_accepted_counts_as_sent(scripted_bus: ScriptedBus) -> None:
    scripted_bus.script = refuse("b", "MalformedDetail")
    note(("a", 1), ("b", 1), ("c", 1))

    relay(stop=lambda: bool(scripted_bus.calls))

    refused = only("b")
    assert [only(thing).state for thing in "abc"] == ["sent", "waiting", "sent"]  # type: ignore[attr-defined]  # annotated
    assert (refused.attempts, refused.refusals, refused.lease) == (1, 1, None)
    assert refused.last_error == "MalformedDetail: No."


def test_a_fact_refused_too_often_is_parked_and_holds_back_its_own_subject_alone(
    scripted_bus: ScriptedBus, settings: Settings
) -> None:
    settings.OUTBOX_TRIES = 3
    scripted_bus.script = refuse("b", "InvalidArgument")
    note(("a", 1), ("b", 1), ("b", 2), ("a", 2))

    for _ in range(6):
        relay()
        make_due()

    parked = only("b")
    assert (parked.state, parked.refusals) == ("parked", 3)  # type: ignore[attr-defined]  # annotated
    assert only("b", 2).attempts == 0
    assert scripted_bus.said() == [("a", 1), ("b", 1), ("a", 2), ("b", 1), ("b", 1)]


def nobody(entries: list[dict[str, Any]]) -> tuple[int, dict[str, Any]]:
    time.sleep(4)
    return 500, {}


@pytest.mark.parametrize(
    "script",
    [
        fail(500, "InternalException"),
        fail(503, "ServiceUnavailable"),
        fail(400, "ThrottlingException"),
        fail(400, "ResourceNotFoundException"),
        fail(400, "AccessDeniedException"),
        refuse("a", "ThrottlingException"),
        refuse("a", "InternalFailure"),
        refuse("a", "NotAuthorizedForSourceException"),
    ],
)
def test_trouble_of_the_bus_puts_a_fact_off_and_never_parks_it(
    script: Callable[..., Any], scripted_bus: ScriptedBus, settings: Settings
) -> None:
    settings.OUTBOX_TRIES = 2
    scripted_bus.script = script
    note(("a", 1))

    for _ in range(5):
        assert relay().bus_away
        make_due()

    row = only("a")
    assert (row.state, row.attempts, row.refusals) == ("waiting", 5, 0)  # type: ignore[attr-defined]  # annotated
    assert row.last_error
    assert len(scripted_bus.calls) == 5


def test_a_bus_that_never_answers_is_away_and_one_that_is_not_there_too(
    scripted_bus: ScriptedBus, settings: Settings
) -> None:
    scripted_bus.script = nobody
    note(("a", 1))

    started = time.monotonic()
    assert relay().bus_away
    assert time.monotonic() - started < settings.OUTBOX_LEASE_SECONDS
    make_due()
    with pointed_to(settings, free_port()):
        assert relay().bus_away

    row = only("a")
    assert (row.attempts, row.refusals, row.lease) == (2, 0, None)


def test_when_a_whole_request_is_refused_for_one_entry_the_others_leave(scripted_bus: ScriptedBus) -> None:
    def script(entries: list[dict[str, Any]]) -> tuple[int, dict[str, Any]]:
        if any(entry["Detail"]["thing"] == "bad" for entry in entries):
            return 400, {"__type": "ValidationException", "message": "One of them."}
        return 200, {"FailedEntryCount": 0, "Entries": [{"EventId": "1"}] * len(entries)}

    scripted_bus.script = script
    note(("a", 1), ("bad", 1), ("c", 1))

    assert relay(stop=lambda: bool(scripted_bus.calls)).sent == 2

    assert (only("bad").refusals, only("bad").sent_at) == (1, None)


def test_a_pause_grows_with_the_failures_and_is_never_the_same(scripted_bus: ScriptedBus) -> None:
    scripted_bus.script = fail(500, "InternalException")
    note(*((f"a-{n}", 1) for n in range(10)))
    with connection.cursor() as cursor:
        cursor.execute("UPDATE vibecode_outboxevent SET attempts = 3")

    pauses = relay().pauses

    assert len(set(pauses)) == 10
    assert all(0 <= pause <= 8 for pause in pauses)
    assert not OutboxEvent.objects.filter(due_at__gt=Now() + timedelta(seconds=8)).exists()


def test_when_the_bus_is_away_a_pass_ends_and_gives_back_what_it_did_not_try(scripted_bus: ScriptedBus) -> None:
    scripted_bus.script = fail(500, "InternalException")
    note(*((f"a-{n}", 1) for n in range(15)))

    relay()

    assert len(scripted_bus.calls) == 1
    assert OutboxEvent.objects.filter(attempts=1).count() == 10
    assert OutboxEvent.objects.filter(attempts=0, lease=None, due_at__lte=Now()).count() == 5


# --- leases and clocks -----------------------------------------------------------------------------------------------
def test_what_is_being_sent_is_nobody_elses_until_the_lease_ends(scripted_bus: ScriptedBus) -> None:
    note(("a", 1), ("a", 2))
    seen: list[str] = []

    OutboxEvent.objects.filter(detail__number=1).update(lease=uuid.uuid4(), due_at=Now() + timedelta(seconds=60))
    seen.append(only("a").state)  # type: ignore[attr-defined]  # annotated

    assert relay().sent == 0  # the one that died has it
    OutboxEvent.objects.filter(detail__number=1).update(due_at=Now() - timedelta(seconds=1))
    seen.append(only("a").state)  # type: ignore[attr-defined]  # annotated
    assert relay().sent == 2
    assert seen == ["sending", "waiting"]
    assert scripted_bus.said() == [("a", 1), ("a", 2)]


@pytest.mark.parametrize("answer", ["accepted", "refused", "away"])
def test_a_slow_relay_leaves_alone_what_another_one_has_taken_meanwhile(
    answer: str, scripted_bus: ScriptedBus, monkeypatch: pytest.MonkeyPatch
) -> None:
    note(("a", 1))
    others = uuid.uuid4()
    put = outbox.relay.__globals__["_put"]

    def slow(facts: Any, enough: float) -> Any:
        outcomes = put(facts, enough)
        OutboxEvent.objects.update(lease=others)  # our lease ran out while we waited, and somebody else took it
        return outcomes

    monkeypatch.setitem(outbox.relay.__globals__, "_put", slow)
    if answer != "accepted":
        scripted_bus.script = refuse("a", "InvalidArgument") if answer == "refused" else fail(500, "InternalException")

    assert relay().sent == 0

    row = only("a")
    assert (row.lease, row.sent_at, row.attempts, row.state) == (others, None, 0, "sending")  # type: ignore[attr-defined]  # annotated


@pytest.mark.parametrize("jump", [-86_400, 86_400])
def test_a_clock_of_ours_that_jumps_changes_nothing(
    jump: int, scripted_bus: ScriptedBus, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = time.time
    monkeypatch.setattr(time, "time", lambda: real() + jump)
    scripted_bus.script = refuse("a", "InvalidArgument")
    note(("a", 1), ("b", 1))

    relay(stop=lambda: bool(scripted_bus.calls))

    assert only("b").sent_at is not None
    assert OutboxEvent.objects.filter(
        subject="a", due_at__lte=Now() + timedelta(seconds=1), queued_at__lte=Now(), due_at__gt=Now() - timedelta(1)
    ).exists()


def test_a_pass_ends_in_time_and_the_relay_wakes_itself_by_a_message(
    scripted_bus: ScriptedBus, monkeypatch: pytest.MonkeyPatch
) -> None:
    note(("a", 1))

    assert relay(seconds=-1).out_of_time
    assert scripted_bus.calls == []
    woken: list[tuple[float, ...]] = []
    monkeypatch.setattr(outbox, "ring", lambda *delays: woken.append(delays))
    for passed in (Passed(out_of_time=True), Passed(pauses=[0.2, 5.5, 2]), Passed(pauses=[3]), Passed(sent=4)):
        monkeypatch.setattr(outbox, "relay", lambda passed=passed: passed)
        on_wake_up({})
    assert [set(delays) for delays in woken] == [{0}, {1, 6}, {3}]


def test_a_fact_is_never_both_sent_and_parked(db: None) -> None:
    note(("a", 1))

    with pytest.raises(IntegrityError, match="outbox_event_parked_was_not_sent"), transaction.atomic():
        OutboxEvent.objects.update(sent_at=Now(), parked_at=Now())


# --- waking it -------------------------------------------------------------------------------------------------------
def test_a_transaction_wakes_the_relay_once_now_and_once_after_the_lease(
    settings: Settings, django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks
) -> None:
    queue = make_queues(settings)("relay")
    doorbell.forget()

    with django_capture_on_commit_callbacks(execute=True) as callbacks:
        note(("a", 1), ("b", 1))
        note(("c", 1))

    assert len(callbacks) == 1
    assert waiting(queue) == (1, 1)


def test_what_is_rolled_back_wakes_nobody_and_what_stays_does(
    django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks,
) -> None:
    with django_capture_on_commit_callbacks() as nothing, transaction.atomic():
        note(("a", 1))
        transaction.set_rollback(True)
    with django_capture_on_commit_callbacks() as something, transaction.atomic():
        with transaction.atomic():
            note(("a", 1))
            transaction.set_rollback(True)
        note(("b", 1))

    assert (len(nothing), len(something)) == (0, 1)


@pytest.mark.parametrize("trouble", ["not there", "silent", "without the queue"])
def test_a_queue_that_is_away_fails_no_request_and_is_left_alone_for_a_while(
    trouble: str,
    shopper: Caller,  # signed in before AWS goes
    product: Callable[..., Any],
    scripted_bus: ScriptedBus,
    settings: Settings,
    django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks,
) -> None:
    product("LAMP")
    scripted_bus.script = nobody if trouble == "silent" else fail(400, "AWS.SimpleQueueService.NonExistentQueue")
    port = free_port() if trouble == "not there" else int(settings.AWS_ENDPOINT_URL.rpartition(":")[2])
    with pointed_to(settings, int(os.environ["AWS_ENDPOINT_URL"].rpartition(":")[2])):
        shopper.get("/me")  # seen before: a stranger is looked up at Cognito
    connection.run_on_commit.clear()  # the wake-up of that, which this test's transaction never sends

    with pointed_to(settings, port), read_log() as lines:
        started = time.monotonic()
        with django_capture_on_commit_callbacks(execute=True):
            first = shopper.post("/orders", order_body(("LAMP", 1)))
        took = time.monotonic() - started
        connection.run_on_commit.clear()
        with django_capture_on_commit_callbacks(execute=True):
            second = shopper.post("/orders", order_body(("LAMP", 1)))

    assert (first.status_code, second.status_code) == (201, 201)
    assert took < 2
    assert [line["event"] for line in lines if line["logger"] == "vibecode.doorbell"] == ["relay not woken"]
    assert len(scripted_bus.calls) == (0 if trouble == "not there" else 1)


# --- what the schedules do -------------------------------------------------------------------------------------------
def test_the_sweep_sends_what_waits_and_measures_what_it_could_not(scripted_bus: ScriptedBus) -> None:
    scripted_bus.script = refuse("late", "ThrottlingException")
    note(("early", 1), ("late", 1), ("never", 1))
    OutboxEvent.objects.filter(subject="late").update(queued_at=Now() - timedelta(seconds=90))
    OutboxEvent.objects.filter(subject="never").update(parked_at=Now())

    with read_log() as lines:
        sweep()

    figures = {name: line[name] for line in lines for name in FIGURES & set(line)}
    assert only("early").sent_at
    assert 90 <= figures["OldestUnsentSeconds"] < 100
    assert (figures["EventsSent"], figures["EventsParked"]) == (1, 1)


FIGURES = {"OldestUnsentSeconds", "EventsParked", "EventsSent"}


def test_what_left_long_ago_is_forgotten_with_what_consumers_know_of_it(db: None) -> None:
    note(("old", 1), ("new", 1), ("unsent", 1))
    OutboxEvent.objects.update(sent_at=Now(), created_at=Now() - timedelta(days=99))
    OutboxEvent.objects.filter(subject="old").update(sent_at=Now() - timedelta(days=15))
    OutboxEvent.objects.filter(subject="unsent").update(sent_at=None)
    long_ago = Now() - timedelta(days=99)
    kept = OutboxEvent.objects.get(subject="new").event_id
    for event_id in (kept, uuid.uuid4()):
        ProcessedMessage.objects.create(consumer="mail", event_id=event_id, claimed_until=long_ago, handled_at=long_ago)
    fresh = ProcessedMessage.objects.create(consumer="mail", event_id=uuid.uuid4(), claimed_until=Now())

    with read_log() as lines:
        purge()

    assert set(OutboxEvent.objects.values_list("subject", flat=True)) == {"new", "unsent"}
    assert set(ProcessedMessage.objects.values_list("event_id", flat=True)) == {kept, fresh.event_id}
    assert (lines[-1]["facts"], lines[-1]["handled"]) == (1, 1)


# --- staff and commands ----------------------------------------------------------------------------------------------
def test_a_parked_fact_that_is_sent_again_leaves_before_the_later_ones_it_held_back(
    scripted_bus: ScriptedBus, settings: Settings
) -> None:
    settings.OUTBOX_TRIES = 1
    scripted_bus.script = refuse("a", "InvalidArgument")
    note(("a", 1), ("a", 2))
    relay()
    scripted_bus.script = accept
    scripted_bus.calls.clear()

    assert relay().sent == 0
    assert (
        send_again(OutboxEvent.objects.filter(subject="a"), actor=Actor.part("tests")) == 1
    )  # the second waits anyway
    assert (only("a").attempts, only("a").last_error) == (0, "")

    assert relay().sent == 2
    assert scripted_bus.said() == [("a", 1), ("a", 2)]


def test_the_command_relays_what_is_due_and_says_how_much(
    scripted_bus: ScriptedBus, capsys: pytest.CaptureFixture[str]
) -> None:
    scripted_bus.script = refuse("b", "ThrottlingException")
    note(("a", 1), ("b", 1))

    call_command("relay", "--once")

    assert "1 sent, " in capsys.readouterr().out
    with pytest.raises(CommandError, match="--poll must be"):
        call_command("relay", "--poll", "0")


class TestReplay:
    """manage.py replay_events."""

    def send_facts(self) -> None:
        """Three facts that left, one of them days ago."""
        note(("a", 1), ("b", 1), ("a", 2))
        OutboxEvent.objects.update(sent_at=Now() - timedelta(hours=1))
        OutboxEvent.objects.filter(subject="b").update(detail_type="Order Paid", sent_at=Now() - timedelta(days=2))

    def say(self, *options: str, capsys: pytest.CaptureFixture[str]) -> str:
        call_command("replay_events", *options)
        return capsys.readouterr().out

    def test_sends_again_in_order_with_the_same_ids(
        self, scripted_bus: ScriptedBus, capsys: pytest.CaptureFixture[str]
    ) -> None:
        self.send_facts()
        ids = {str(row.event_id) for row in OutboxEvent.objects.filter(subject="a")}

        said = self.say("--since", "2020-01-01", capsys=capsys)
        assert relay().sent == 3

        assert "3 facts queued to be sent again" in said
        assert [number for thing, number in scripted_bus.said() if thing == "a"] == [1, 2]
        assert {e["Detail"]["eventId"] for call in scripted_bus.calls for e in call} >= ids

    def test_a_dry_run_counts_and_sends_nothing(self, capsys: pytest.CaptureFixture[str]) -> None:
        self.send_facts()
        said = self.say("--since", "2020-01-01", "--dry-run", capsys=capsys)

        assert "1 Order Paid" in said
        assert "2 Thing Noted" in said
        assert "3 facts would be sent again; none was" in said
        assert not OutboxEvent.objects.waiting().exists()

    def test_is_narrowed_by_time_type_and_subject(self, capsys: pytest.CaptureFixture[str]) -> None:
        self.send_facts()
        day_ago = str(only("a").created_at - timedelta(days=1))
        for options, expected in (
            (("--since", day_ago), 2),
            (("--since", "2020-01-01", "--until", day_ago), 1),
            (("--since", "2020-01-01", "--detail-type", "Order Paid"), 1),
            (("--subject", "a"), 2),
        ):
            assert f"{expected} facts would" in self.say(*options, "--dry-run", capsys=capsys), options

    def test_the_unsettled_are_what_one_of_its_consumers_has_not_handled(
        self, capsys: pytest.CaptureFixture[str]
    ) -> None:
        self.send_facts()
        paid = OutboxEvent.objects.get(subject="b")
        assert "1 facts would" in self.say("--unsettled", "--dry-run", capsys=capsys)  # nobody waits for the others

        consumers = [queue.key for queue in settings.RESOURCES.queues.values() if "Order Paid" in queue.detail_types]
        for consumer in consumers:
            assert "1 facts would" in self.say("--unsettled", "--dry-run", capsys=capsys)
            ProcessedMessage.objects.create(
                consumer=consumer, event_id=paid.event_id, claimed_until=Now(), handled_at=Now()
            )
        assert len(consumers) >= 2
        assert "0 facts would" in self.say("--unsettled", "--dry-run", capsys=capsys)

    @pytest.mark.parametrize(
        ("options", "sentence"),
        [
            ((), "Say which"),
            (("--since", "yesterday"), "--since must be a time such as"),
            (("--since", "2026-13-45"), "--since must be a time such as"),
            (("--since", "2026-02-02", "--until", "2026-02-01"), "--until must be later"),
            (
                ("--since", "2026-02-02", "--detail-type", "Order Payed"),
                "There is no fact Order Payed; there are Order",
            ),
        ],
    )
    def test_bad_input_is_refused_in_a_sentence(self, options: tuple[str, ...], sentence: str) -> None:
        self.send_facts()
        with pytest.raises(CommandError, match=sentence):
            call_command("replay_events", *options)
        assert not OutboxEvent.objects.waiting().exists()
