"""E-mails to customers: whom nobody writes to, and what SES says became of a mail."""

import json
import logging
import uuid

import pytest
from django.conf import settings as django_settings
from django.db import connection

from accounts.models import User
from orders.letters import NotSent, note_outcome, send_letter
from orders.models import Letter
from orders.status import LetterState
from tests.orders.ses import ScriptedSES, fact, letter_of, make_order, outcome, refusal, ses
from tests.platform.logs import read_log
from vibecode.resources import Resources

__all__ = ["ses"]  # pytest finds it here


# --- nobody to write to ----------------------------------------------------------------------------------------------
def test_a_customer_without_an_e_mail_is_not_written_to(db: None, ses: ScriptedSES) -> None:
    news = fact(make_order(email=""))

    send_letter(**news)
    send_letter(**news)

    assert (letter_of(news).state, letter_of(news).attempts) == (LetterState.SKIPPED, 0)
    assert ses.calls == []


def test_a_customer_who_is_erased_while_the_letter_waits_is_not_written_to(db: None, ses: ScriptedSES) -> None:
    order = make_order()
    news = fact(order)
    ses.answer = refusal(429, "TooManyRequestsException")
    with pytest.raises(NotSent):
        send_letter(**news)
    User.objects.filter(pk=order.user_id).update(email="")

    send_letter(**news)

    assert letter_of(news).state == LetterState.SKIPPED
    assert len(ses.calls) == 1


@pytest.mark.parametrize(
    "address", ["ada@example.com\nBcc: eve@example.com", "ada@example.com, eve@example.com", "ada"]
)
def test_what_is_no_address_or_more_than_one_is_not_written_to(db: None, ses: ScriptedSES, address: str) -> None:
    news = fact(make_order(email=address))

    send_letter(**news)

    assert letter_of(news).state == LetterState.SKIPPED
    assert ses.calls == []


# --- what became of it -----------------------------------------------------------------------------------------------
def test_outcomes_only_move_a_letter_forward(db: None, ses: ScriptedSES) -> None:
    news = fact(make_order())
    send_letter(**news)
    told = []

    for name in [
        "Email Delivered",
        "Email Sent",
        "Email Bounced",
        "Email Delivered",
        "Email Complaint Received",
        "Email Bounced",
    ]:
        note_outcome(outcome(news["event_id"], name))
        told.append(letter_of(news).state)

    assert told == ["delivered", "delivered", "bounced", "bounced", "complained", "complained"]


def test_an_outcome_proves_that_a_letter_went_out_whatever_a_later_attempt_was_told(db: None, ses: ScriptedSES) -> None:
    news = fact(make_order())
    ses.answer = refusal(429, "TooManyRequestsException")
    with pytest.raises(NotSent):
        send_letter(**news)

    note_outcome(outcome(news["event_id"], message_id="ses-0"))
    send_letter(**news)

    assert (letter_of(news).state, letter_of(news).provider_id) == (LetterState.SENT, "ses-0")
    assert len(ses.calls) == 1


def test_outcomes_of_others_change_nothing(db: None, ses: ScriptedSES) -> None:
    news = fact(make_order())
    send_letter(**news)
    before = letter_of(news).__dict__ | {"_state": None}
    strange = outcome(uuid.uuid4(), "Email Bounced")
    nameless = outcome("order-7", "Email Bounced")
    untagged = outcome(news["event_id"], "Email Bounced")
    del untagged["detail"]["mail"]["tags"]["event-id"]
    other = outcome(news["event_id"], "Email Opened")
    advice = {"detail-type": "Advisor Recommendation Status Open", "source": "aws.ses", "detail": {"version": "1.0.0"}}

    for event in (strange, nameless, untagged, other, advice):
        note_outcome(event)

    assert letter_of(news).__dict__ | {"_state": None} == before
    assert Letter.objects.count() == 1


def test_no_error_no_row_and_no_line_of_the_log_names_the_address(db: None, ses: ScriptedSES) -> None:
    news = fact(make_order(email="ada@example.com"))
    ses.answer = refusal(400, "MessageRejected")

    with read_log() as lines:
        try:
            send_letter(**news)
        except NotSent:
            logging.getLogger("vibecode.tests").exception("not sent")

    assert "NotSent: MessageRejected" in json.dumps(lines)
    assert "ada@" not in json.dumps(lines)
    with connection.cursor() as cursor:
        cursor.execute("SELECT orders_letter::text FROM orders_letter")
        assert "ada@" not in cursor.fetchone()[0]


def test_the_configuration_set_and_the_tag_go_with_the_mail(db: None, ses: ScriptedSES) -> None:
    news = fact(make_order())

    send_letter(**news)

    (call,) = ses.calls
    resources: Resources = django_settings.RESOURCES
    assert call["ConfigurationSetName"] == resources.mail_configuration
    assert call["EmailTags"] == [{"Name": "event-id", "Value": news["event_id"]}]
