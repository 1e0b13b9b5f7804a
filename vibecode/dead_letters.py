"""Messages that their consumer failed on too often: look at them, send them again. Called by the admin."""

import itertools
import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from django.conf import settings

from vibecode import aws
from vibecode.errors import Away
from vibecode.models import Change, OutboxEvent
from vibecode.resources import Queue
from vibecode.rights import Actor, Right

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient

SHOWN = 10  # what one look at SQS gives
COUNT_SECONDS = 3.0  # what the home page waits for all counts together
MOVE_SECONDS = 10.0  # what somebody waits for a page
HIDDEN_SECONDS = 30  # of a message that is being moved: nobody else moves it meanwhile


class QueuesAway(Away):
    """SQS does not answer."""

    code = "queues-away"
    title = "The queues do not answer right now"


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """What is known of one message without showing what is in it."""

    fact: str
    about: str  # an order's number, a SKU; "" where it says none
    sent_at: datetime


@dataclass(frozen=True, slots=True)
class QueueState:
    """A queue and what lies dead beside it. The counts are SQS's, which calls them approximate."""

    queue: Queue
    missing: bool = False
    waiting: int = 0
    at_work: int = 0
    dead: int = 0
    letters: list[DeadLetter] = field(default_factory=list)


def look() -> list[QueueState]:
    """Every queue of ours, with the first of its dead letters, which stay where they are. Raises QueuesAway."""
    return [_state(queue) for queue in settings.RESOURCES.queues.values()]


def count() -> list[QueueState]:
    """Every queue of ours with its counts alone, all asked at once: within two seconds or so. Raises QueuesAway."""
    pool = ThreadPoolExecutor(max_workers=8)
    try:
        states = pool.map(_counted, settings.RESOURCES.queues.values(), timeout=COUNT_SECONDS)
        return list(states)
    except TimeoutError as error:
        raise _away(error) from error
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def send_again(queue: Queue, *, actor: Actor) -> tuple[int, int]:
    """Give a queue its dead letters back: (how many, how many are left). Raises Denied or QueuesAway.

    The trail is told before the first is sent, of at least as many as SQS counts, which is about right: it is never
    silent about what was sent. Each is sent before it is deleted: who dies in between leaves it in both, and the inbox
    makes that harmless. Network, so outside of any transaction.
    """
    actor.must(Right.MACHINERY)
    source = settings.RESOURCES.queue_url(queue.key, dead=True)
    target = settings.RESOURCES.queue_url(queue.key)
    until = time.monotonic() + MOVE_SECONDS
    moved = 0
    try:
        sqs = _sqs()
        there = sum(_counts(sqs, source))
        while time.monotonic() < until:
            messages = sqs.receive_message(
                QueueUrl=source, MaxNumberOfMessages=SHOWN, VisibilityTimeout=HIDDEN_SECONDS
            ).get("Messages", [])
            if not messages:
                break
            if not moved:
                _tell(queue, max(there, len(messages)), actor)
            for message in messages:
                sqs.send_message(QueueUrl=target, MessageBody=message["Body"])
                sqs.delete_message(QueueUrl=source, ReceiptHandle=message["ReceiptHandle"])
                moved += 1
        left = sum(_counts(sqs, source))
    except aws.service_errors() as error:
        raise _away(error) from error
    return moved, left


def _tell(queue: Queue, count: int, actor: Actor) -> None:
    """No row of ours is changed, so that no trigger tells it."""
    facts = OutboxEvent._meta.label_lower  # noqa: SLF001 -- Django's documented name for it
    Change.objects.create(
        actor=actor.name,
        deed=Change.Deed.CHANGED,
        kind=facts,
        name=f"Dead letters of {queue.key}",
        page_kind=facts,
        after={"letters": count},
    )


def _sqs() -> "SQSClient":
    return aws.client("sqs", seconds=2, tries=1)


def _counted(queue: Queue) -> QueueState:
    return _state(queue, shown=0)


def _state(queue: Queue, shown: int = SHOWN) -> QueueState:
    try:
        sqs = _sqs()
        waiting, at_work = _counts(sqs, settings.RESOURCES.queue_url(queue.key))
        source = settings.RESOURCES.queue_url(queue.key, dead=True)
        dead = sum(_counts(sqs, source))
        letters = list(itertools.islice(_peek(sqs, source), shown)) if dead and shown else []
    except aws.service_errors() as error:
        if aws.error_code(error) in {"AWS.SimpleQueueService.NonExistentQueue", "QueueDoesNotExist"}:
            return QueueState(queue, missing=True)
        raise _away(error) from error
    return QueueState(queue, waiting=waiting, at_work=at_work, dead=dead, letters=letters)


def _counts(sqs: "SQSClient", url: str) -> tuple[int, int]:
    """(waiting, at work): what is delayed waits too."""
    counts = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["All"])["Attributes"]
    waiting = int(counts["ApproximateNumberOfMessages"]) + int(counts["ApproximateNumberOfMessagesDelayed"])
    return waiting, int(counts["ApproximateNumberOfMessagesNotVisible"])


def _peek(sqs: "SQSClient", url: str) -> Iterator[DeadLetter]:
    """A look that takes nothing: the messages are visible again at once."""
    answer = sqs.receive_message(
        QueueUrl=url, MaxNumberOfMessages=SHOWN, VisibilityTimeout=0, MessageSystemAttributeNames=["SentTimestamp"]
    )
    for message in answer.get("Messages", []):
        fact, about = _told(message["Body"])
        sent = int(message["Attributes"]["SentTimestamp"]) / 1000
        yield DeadLetter(fact, about, datetime.fromtimestamp(sent, UTC))


def _told(body: str) -> tuple[str, str]:
    """What fact a message is, and about what. Never more: a report of a mail holds addresses."""
    try:
        message: Any = json.loads(body)
    except ValueError:
        return "Not JSON", ""
    if not isinstance(message, dict):
        return "No fact", ""
    detail = message.get("detail")
    known = detail if isinstance(detail, dict) else {}
    about = next((str(known[name]) for name in ("orderId", "sku", "userId") if known.get(name)), "")
    return str(message.get("detail-type") or "No fact")[:64], about[:64]


def _away(error: Exception) -> QueuesAway:
    return QueuesAway(f"SQS does not answer ({aws.error_code(error) or type(error).__name__}). Try again in a moment.")
