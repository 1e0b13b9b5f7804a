"""E-mails to customers: a fact is told once, whatever happens in between. Their words and their outcomes: beside."""

import json
import os
import subprocess
import sys
import time
from collections import Counter
from datetime import timedelta
from typing import Any

import pytest
from django.conf import settings as django_settings
from django.db import connections
from django.db.models import F
from pytest_django import Settings

from orders import letters
from orders.letters import NotSent, OutcomeUnknown, note_outcome, send_letter
from orders.models import Letter
from orders.status import LetterState
from tests.orders.ses import (
    Mailbox,
    ScriptedSES,
    fact,
    letter_of,
    mailbox,
    make_order,
    outcome,
    pointed_to,
    refusal,
    ses,
)
from tests.over_http import Shop, together
from vibecode import aws
from vibecode.local import ports
from vibecode.local.folder import REPOSITORY

__all__ = ["mailbox", "ses"]  # pytest finds them here


def let_time_pass(news: dict[str, Any]) -> None:
    """As if the last attempt were so long ago that SES would have said that it took it."""
    long_enough = timedelta(seconds=django_settings.MAIL_OUTCOME_SECONDS)
    Letter.objects.filter(event_id=news["event_id"]).update(tried_at=F("tried_at") - long_enough)


# --- once ------------------------------------------------------------------------------------------------------------
def test_a_fact_that_comes_three_times_is_told_once(db: None, mailbox: Mailbox) -> None:
    news = fact(make_order())

    for _ in range(3):
        send_letter(**news)

    letter = letter_of(news)
    assert (letter.state, letter.attempts, letter.kind) == (LetterState.SENT, 1, "confirmation")
    assert letter.provider_id == mailbox.one(news["event_id"])["messageId"]
    assert letter.sent_at is not None


def test_two_facts_about_one_order_are_two_mails(db: None, mailbox: Mailbox) -> None:
    order = make_order()
    first, second = fact(order), fact(order, "Order Refunded", amount="1.00")

    send_letter(**first)
    send_letter(**second)

    assert mailbox.one(first["event_id"])["subject"] != mailbox.one(second["event_id"])["subject"]
    assert [letter.kind for letter in order.letters.all()] == ["confirmation", "refund"]


def test_eight_deliveries_at_one_moment_send_one_mail(shop: Shop, mailbox: Mailbox) -> None:
    news = fact(make_order())

    def deliver() -> str:
        try:
            send_letter(**news)
        except OutcomeUnknown:
            return "comes back"
        finally:
            connections.close_all()
        return "done"

    answers = Counter(together([deliver] * 8))

    assert answers["done"] >= 1
    assert answers.total() == 8
    assert len(mailbox.about(news["event_id"])) == 1
    assert (letter_of(news).state, letter_of(news).attempts) == (LetterState.SENT, 1)


# --- killed in between -----------------------------------------------------------------------------------------------
DIES_WHEN_SES_HAS_ANSWERED = """
import json, os, signal, sys
import django
django.setup()
from anymail.signals import post_send
from orders.letters import send_letter
def die(**_): os.kill(os.getpid(), signal.SIGKILL)
post_send.connect(die)
send_letter(**json.loads(sys.argv[1]))
"""


def send_and_die(shop: Shop, news: dict[str, Any]) -> None:
    """Send a letter in a process that is killed right after SES's answer."""
    environment = os.environ | {"DATABASE_URL": shop.server.database_url}
    command = [sys.executable, "-c", DIES_WHEN_SES_HAS_ANSWERED, json.dumps(news)]
    died = subprocess.run(command, cwd=REPOSITORY, env=environment, capture_output=True, check=False, timeout=60)
    assert died.returncode == -9, died.stderr.decode()


def outcomes_in_the_queue(news: dict[str, Any], *, seconds: float = 15) -> list[dict[str, Any]]:
    """What SES said of a letter, as it lies in our queue on the local AWS."""
    sqs, url = aws.client("sqs"), django_settings.RESOURCES.queue_url("mail-outcomes")
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        for message in sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10, WaitTimeSeconds=1).get("Messages", []):
            sqs.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
            event = json.loads(message["Body"])
            if event["detail"]["mail"]["tags"].get("event-id") == [news["event_id"]]:
                return [event]
    return []


def test_who_is_killed_after_ses_took_it_leaves_a_letter_that_is_not_sent_again(shop: Shop, mailbox: Mailbox) -> None:
    news = fact(make_order())
    send_and_die(shop, news)
    taken = mailbox.one(news["event_id"])
    assert letter_of(news).state == LetterState.SENDING

    with pytest.raises(OutcomeUnknown):
        send_letter(**news)
    (event,) = outcomes_in_the_queue(news)
    note_outcome(event)
    let_time_pass(news)
    send_letter(**news)

    letter = letter_of(news)
    assert (letter.state, letter.provider_id, letter.attempts) == (LetterState.SENT, taken["messageId"], 1)
    assert mailbox.about(news["event_id"]) == [taken]


def test_without_a_word_of_ses_a_letter_that_was_cut_off_is_sent_anew_once_its_time_is_over(
    shop: Shop, mailbox: Mailbox
) -> None:
    news = fact(make_order())
    send_and_die(shop, news)

    for _ in range(3):
        with pytest.raises(OutcomeUnknown):
            send_letter(**news)
    assert len(mailbox.about(news["event_id"])) == 1

    let_time_pass(news)
    send_letter(**news)
    send_letter(**news)

    assert len(mailbox.about(news["event_id"])) == 2
    assert (letter_of(news).state, letter_of(news).attempts) == (LetterState.SENT, 2)


def test_an_outcome_that_overtakes_our_own_mark_stands(shop: Shop, ses: ScriptedSES) -> None:
    news = fact(make_order())

    def consume_the_outcome() -> None:
        note_outcome(outcome(news["event_id"], "Email Delivered"))
        connections.close_all()

    ses.before_answer = consume_the_outcome
    send_letter(**news)

    assert (letter_of(news).state, letter_of(news).provider_id) == (LetterState.DELIVERED, "ses-1")


# --- SES says no, or nothing -----------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("status", "code"),
    [(429, "TooManyRequestsException"), (400, "MessageRejected"), (400, "SendingPausedException")],
)
def test_a_refused_letter_is_sent_at_once_when_the_queue_brings_it_back(
    db: None, ses: ScriptedSES, status: int, code: str
) -> None:
    news = fact(make_order())
    ses.answer = refusal(status, code)

    with pytest.raises(NotSent, match=code):
        send_letter(**news)

    letter = letter_of(news)
    assert (letter.state, letter.last_error, letter.attempts) == (LetterState.WAITING, code, 1)
    assert len(ses.calls) == 1, "the client must not try again by itself"

    ses.answer = (200, {"MessageId": "ses-2"})
    send_letter(**news)
    letter = letter_of(news)
    assert (letter.state, letter.last_error, letter.attempts) == (LetterState.SENT, "", 2)
    assert letter.provider_id == "ses-2"


def test_the_local_ses_refuses_a_sender_whom_it_does_not_know(db: None, mailbox: Mailbox, settings: Settings) -> None:
    settings.DEFAULT_FROM_EMAIL = "Somebody <somebody@unknown.example>"
    news = fact(make_order())

    with pytest.raises(NotSent, match="MessageRejected"):
        send_letter(**news)
    assert mailbox.about(news["event_id"]) == []
    assert letter_of(news).state == LetterState.WAITING


def test_an_ses_that_cannot_be_reached_has_taken_nothing(db: None, settings: Settings) -> None:
    pointed_to(settings, ports.free_port())
    news = fact(make_order())

    with pytest.raises(NotSent, match="EndpointConnectionError"):
        send_letter(**news)
    assert letter_of(news).state == LetterState.WAITING


@pytest.mark.parametrize(
    ("answer", "seconds", "why"),
    [(refusal(500, "InternalServiceError"), 0, "InternalServiceError"), (refusal(200, "-"), 2, "ReadTimeoutError")],
)
def test_where_ses_fails_or_does_not_answer_the_letter_may_have_gone_out(
    db: None, ses: ScriptedSES, answer: Any, seconds: float, why: str
) -> None:
    news = fact(make_order())
    ses.answer, ses.seconds = answer, seconds

    for _ in range(2):
        with pytest.raises(OutcomeUnknown):
            send_letter(**news)
    letter = letter_of(news)
    assert (letter.state, letter.last_error, letter.attempts) == (LetterState.SENDING, why, 1)
    assert len(ses.calls) == 1

    note_outcome(outcome(news["event_id"]))
    send_letter(**news)
    assert letter_of(news).state == LetterState.SENT
    assert len(ses.calls) == 1


def test_a_lost_answer_does_not_overwrite_that_ses_has_said_it_went_out(shop: Shop, ses: ScriptedSES) -> None:
    news = fact(make_order())
    ses.answer = refusal(500, "InternalServiceError")

    def consume_the_outcome() -> None:
        note_outcome(outcome(news["event_id"], "Email Delivered"))
        connections.close_all()

    ses.before_answer = consume_the_outcome
    with pytest.raises(OutcomeUnknown):
        send_letter(**news)

    assert letter_of(news).state == LetterState.DELIVERED


def test_a_refusal_that_comes_late_does_not_free_a_letter_that_another_attempt_sends(
    db: None, ses: ScriptedSES
) -> None:
    news = fact(make_order())
    ses.answer = refusal(400, "MessageRejected")
    with pytest.raises(NotSent):
        send_letter(**news)
    # The first attempt's answer comes when the second is at work.
    first = letter_of(news)
    Letter.objects.filter(pk=first.pk).update(state=LetterState.SENDING, attempts=2)
    letters._note_failure(first, LetterState.WAITING, NotSent("MessageRejected"))

    assert letter_of(news).state == LetterState.SENDING
