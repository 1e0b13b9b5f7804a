"""The outbox and the dead letters at the desk: seen as they are, sent again on request."""

import json
import uuid
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.db import OperationalError
from django.db.models.functions import Now
from pytest_django import Settings

from tests.admin.conftest import Desk, desk_of
from tests.platform.bus import Noted, make_queues, note, pointed_to
from vibecode import aws
from vibecode.local.ports import free_port
from vibecode.models import Change, OutboxEvent, OutboxState, ProcessedMessage
from vibecode.resources import QUEUES

LIST, PAGE = "vibecode_outboxevent_changelist", "vibecode_outboxevent_change"
AGAIN = "vibecode_outboxevent_send_again"
LETTERS, LETTERS_AGAIN = "vibecode_dead_letters", "vibecode_dead_letters_send_again"


def fact(thing: str, **values: Any) -> OutboxEvent:
    note((thing, 1))
    OutboxEvent.objects.filter(subject=thing).update(**values)
    return OutboxEvent.objects.with_state().get(subject=thing)


@pytest.fixture
def facts(db: None) -> dict[str, OutboxEvent]:
    """One of each state."""
    return {
        OutboxState.WAITING: fact("a", attempts=2, last_error="ThrottlingException: slowly"),
        OutboxState.SENDING: fact("b", lease=uuid.uuid4(), due_at=Now() + timedelta(minutes=1)),
        OutboxState.SENT: fact("c", sent_at=Now()),
        OutboxState.PARKED: fact("d", parked_at=Now(), attempts=10, refusals=10, last_error="MalformedDetail: no"),
    }


# --- the outbox ------------------------------------------------------------------------------------------------------
def test_the_list_shows_where_each_fact_is_and_is_narrowed_to_one_state(
    desk: Desk, facts: dict[str, OutboxEvent]
) -> None:
    html = desk.open(LIST).content.decode()

    for said in ("Waiting", "Being sent", "Sent", "Parked", "MalformedDetail: no", "ThrottlingException: slowly"):
        assert said in html
    for state, event in facts.items():
        found = desk.open(LIST, state=state).context["cl"].result_list
        assert [row.pk for row in found if row.source == Noted.source] == [event.pk], state


def test_a_facts_page_shows_its_troubles_and_who_has_handled_it(staff: Desk, facts: dict[str, OutboxEvent]) -> None:
    sent = facts[OutboxState.SENT]
    ProcessedMessage.objects.create(consumer="mail", event_id=sent.event_id, claimed_until=Now(), handled_at=Now())
    ProcessedMessage.objects.create(consumer="live", event_id=sent.event_id, claimed_until=Now())

    parked = staff.open(PAGE, facts[OutboxState.PARKED].pk).content.decode()
    handled = staff.open(PAGE, sent.pk).content.decode()

    assert "MalformedDetail: no" in parked
    assert "<div>mail, " in handled
    assert "live" not in handled.partition("handled by")[2].partition("event id")[0].lower()


@pytest.mark.parametrize("state", [OutboxState.PARKED, OutboxState.SENT])
def test_a_fact_is_sent_again_from_its_page(desk: Desk, facts: dict[str, OutboxEvent], state: str) -> None:
    event = facts[state]
    assert "Send again" in desk.open(PAGE, event.pk).content.decode()

    answer = desk.dialog(AGAIN, event.pk)

    event = OutboxEvent.objects.with_state().get(pk=event.pk)
    assert answer.headers["HX-Refresh"] == "true"
    assert (event.state, event.attempts, event.refusals, event.last_error) == ("waiting", 0, 0, "")  # type: ignore[attr-defined]  # annotated
    assert [(change.name, [*change.after]) for change in desk.changes()] == [(event.subject, ["queued_at"])]


def test_opening_the_dialog_sends_nothing(staff: Desk, facts: dict[str, OutboxEvent]) -> None:
    parked = facts[OutboxState.PARKED]

    page = staff.open(AGAIN, parked.pk)

    assert "under the same id" in page.content.decode()
    assert OutboxEvent.objects.parked().get() == parked


@pytest.mark.parametrize("state", [OutboxState.WAITING, OutboxState.SENDING])
def test_what_leaves_by_itself_is_not_sent_again(staff: Desk, facts: dict[str, OutboxEvent], state: str) -> None:
    event = facts[state]

    answer = staff.dialog(AGAIN, event.pk)

    assert "Send again" not in staff.open(PAGE, event.pk).content.decode()
    assert "waits to be sent anyway" in answer.content.decode()
    assert OutboxEvent.objects.filter(pk=event.pk, attempts=event.attempts, lease=event.lease).exists()
    assert staff.changes() == []


def test_chosen_facts_are_sent_again_and_the_others_are_left_alone(staff: Desk, facts: dict[str, OutboxEvent]) -> None:
    chosen = [event.pk for event in facts.values()]

    answer = staff.send(LIST, action="send_all_again", _selected_action=chosen)

    facts_now = OutboxEvent.objects.filter(source=Noted.source).with_state().order_by("subject")
    states = [event.state for event in facts_now]  # type: ignore[attr-defined]  # annotated
    assert answer.status_code == 302
    assert states == ["waiting", "sending", "waiting", "waiting"]
    assert "Sent again: 2. The others wait anyway." in staff.open(LIST).content.decode()
    assert len(staff.changes()) == 2


def test_somebody_without_the_right_sends_nothing_again(facts: dict[str, OutboxEvent]) -> None:
    reader = desk_of("nobody")
    reader.user.is_staff = True
    reader.user.save()
    parked = facts[OutboxState.PARKED]

    answers = [
        reader.dialog(AGAIN, parked.pk),
        reader.send(LIST, action="send_all_again", _selected_action=[parked.pk]),
        reader.open(LETTERS),
        reader.dialog(LETTERS_AGAIN, "mail"),
    ]

    assert [answer.status_code for answer in answers] == [403] * 4
    assert OutboxEvent.objects.parked().get() == parked


# --- dead letters ----------------------------------------------------------------------------------------------------
@pytest.fixture
def queues(settings: Settings) -> Callable[..., str]:
    """The address of each queue, all of them empty."""
    return make_queues(settings)


def letter(url: str, number: int = 1, **more: object) -> None:
    body: dict[str, object] = {"detail-type": "Order Paid", "detail": {"orderId": f"ORD-{number}"}} | more
    aws.client("sqs").send_message(QueueUrl=url, MessageBody=json.dumps(body))


def bodies(url: str) -> list[dict[str, Any]]:
    found = []
    while messages := aws.client("sqs").receive_message(QueueUrl=url, MaxNumberOfMessages=10).get("Messages"):
        found += [json.loads(message["Body"]) for message in messages]
    return found


def test_every_queue_shows_what_waits_and_its_dead_letters_stay_where_they_are(
    desk: Desk, queues: Callable[..., str]
) -> None:
    letter(queues("live"))
    letter(queues("mail", dead=True), 7)
    letter(queues("mail-outcomes", dead=True), detail={"mail": {"destination": ["jane@example.com"]}})
    aws.client("sqs").send_message(QueueUrl=queues("workflow", dead=True), MessageBody="<not json>")

    pages = [desk.open(LETTERS).content.decode() for _ in range(3)]

    for html in pages:
        assert [queue.key for queue in QUEUES if f'id="queue-{queue.key}"' not in html] == []
        for said in ("Order Paid", "ORD-7", "Not JSON", "1 waiting, 0 at work", "1 dead"):
            assert said in html
        assert "jane@example.com" not in html
    assert len(bodies(queues("mail", dead=True))) == 1


def test_dead_letters_are_given_back_to_their_queue_alone(desk: Desk, queues: Callable[..., str]) -> None:
    for number in range(23):
        letter(queues("mail", dead=True), number)
    letter(queues("live", dead=True))

    opened = desk.open(LETTERS_AGAIN, "mail")
    nothing = bodies(queues("mail"))
    answer = desk.dialog(LETTERS_AGAIN, "mail")

    assert "Send the dead letters of mail again?" in opened.content.decode()
    assert nothing == []
    assert answer.headers["HX-Refresh"] == "true"
    assert sorted(int(b["detail"]["orderId"][4:]) for b in bodies(queues("mail"))) == list(range(23))
    assert bodies(queues("mail", dead=True)) == []
    assert len(bodies(queues("live", dead=True))) == 1
    assert [(change.name, change.after) for change in desk.changes()] == [("Dead letters of mail", {"letters": 23})]


def test_a_letter_is_in_its_queue_before_it_leaves_the_dead_ones(
    staff: Desk, queues: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    letter(queues("mail", dead=True))
    sqs = aws.client("sqs", seconds=2, tries=1)

    def die(**_: Any) -> None:
        raise SystemExit

    monkeypatch.setattr(sqs, "delete_message", die)
    with pytest.raises(SystemExit):
        staff.dialog(LETTERS_AGAIN, "mail")

    assert len(bodies(queues("mail"))) == 1
    shown = sqs.get_queue_attributes(QueueUrl=queues("mail", dead=True), AttributeNames=["All"])["Attributes"]
    assert shown["ApproximateNumberOfMessagesNotVisible"] == "1"
    assert [(change.name, change.after) for change in staff.changes()] == [("Dead letters of mail", {"letters": 1})]


def test_no_letter_is_sent_that_the_trail_was_not_told_of(
    staff: Desk, queues: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    letter(queues("mail", dead=True))

    def away(**_: Any) -> None:
        raise OperationalError

    monkeypatch.setattr(Change.objects, "create", away)
    with pytest.raises(OperationalError):
        staff.dialog(LETTERS_AGAIN, "mail")

    assert bodies(queues("mail")) == []


def test_while_aws_is_away_the_page_says_so_and_sends_nothing(staff: Desk, settings: Settings) -> None:
    with pointed_to(settings, free_port()):
        page = staff.open(LETTERS)
        dialog = staff.dialog(LETTERS_AGAIN, "mail")

    assert (page.status_code, dialog.status_code) == (200, 200)
    assert "SQS does not answer" in page.content.decode()
    assert "SQS does not answer" in dialog.content.decode()
    assert staff.changes() == []


def test_a_queue_that_does_not_exist_is_named_and_hides_no_other(staff: Desk, queues: Callable[..., str]) -> None:
    aws.client("sqs").delete_queue(QueueUrl=queues("announce"))
    letter(queues("live", dead=True))

    html = staff.open(LETTERS).content.decode()

    assert "This queue does not exist" in html.partition('id="queue-announce"')[2][:700]
    assert "1 dead" in html


def test_a_queue_of_nobody_is_not_found(staff: Desk) -> None:
    assert staff.open(LETTERS_AGAIN, "nonsense").status_code == 404


def test_the_sidebar_and_the_index_lead_there(staff: Desk) -> None:
    assert staff.open("index").content.decode().count('href="/admin/vibecode/outboxevent/dead-letters/"') >= 2
