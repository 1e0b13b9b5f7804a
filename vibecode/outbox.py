"""The outbox: facts written beside the change that made them, and what sends them on.

Called by services (publish), the queue `relay` (on_wake_up), schedules (sweep, purge), staff and commands (send_again).
"""

import math
import uuid
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from io import StringIO
from typing import Any, ClassVar

import structlog
from django.conf import settings
from django.core.management import call_command
from django.db import connection, models, transaction
from django.db.models.functions import Now

from vibecode import resources
from vibecode.doorbell import ring
from vibecode.models import OutboxEvent, OutboxEventQuerySet, ProcessedMessage
from vibecode.observability import metric
from vibecode.relay import Passed, relay
from vibecode.rights import Actor, Right

PURGED = 1000  # rows a statement

log = structlog.stdlib.get_logger("vibecode.outbox")


@dataclass(frozen=True, kw_only=True)
class Event:
    """A fact in the past tense. Subclasses name their source and type and add camelCase-able fields.

    ``subject`` is what the fact is about: facts of one subject leave in the order in which they were published.
    A field that is added to a released fact has a default: those that wait, and those replayed, do not have it.
    """

    source: ClassVar[str]
    detail_type: ClassVar[str]
    schema_version: ClassVar[int] = 1

    event_id: uuid.UUID = field(default_factory=uuid.uuid4)
    timestamp: datetime = field(default_factory=lambda: datetime.now(UTC))

    @property
    def subject(self) -> str:
        """What the fact is about, such as an order's number."""
        raise NotImplementedError  # each fact says what it is about

    def detail(self) -> dict[str, Any]:
        """The fact as it goes over the wire: camelCase names, decimal strings, UTC times."""
        wire = {camel(name): _wire(value) for name, value in asdict(self).items()}
        return {"schemaVersion": self.schema_version, **wire}


def publish(*events: Event) -> None:
    """Write facts to the outbox, in one statement and in the transaction of the change that they tell of.

    The caller holds the lock of each event's subject, so that the rows' order is the facts' order. After the commit the
    relay is woken, once a transaction. Raises RuntimeError outside a transaction: a fact could survive a change that
    did not happen.
    """
    if not connection.in_atomic_block:
        raise RuntimeError(f"{events[0].detail_type} was published outside a transaction.")
    OutboxEvent.objects.bulk_create(
        OutboxEvent(
            event_id=event.event_id,
            source=event.source,
            detail_type=event.detail_type,
            subject=event.subject,
            detail=event.detail(),
        )
        for event in events
    )
    _wake_after_commit()


def camel(name: str) -> str:
    """A field's name as it goes over the wire."""
    head, *tail = name.split("_")
    return head + "".join(word.capitalize() for word in tail)


def _wire(value: Any) -> Any:
    match value:
        case datetime():
            return value.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        case Decimal() | uuid.UUID():
            return str(value)
        case dict():
            return {camel(name): _wire(item) for name, item in value.items()}
        case list() | tuple():
            return [_wire(item) for item in value]
    return value


# --- waking the relay ------------------------------------------------------------------------------------------------
def _wake_after_commit() -> None:
    if not any(hook[1] is _ring for hook in connection.run_on_commit):
        transaction.on_commit(_ring, robust=True)


def _ring() -> None:
    """Wake the relay now, and once more when the lease of a relay that died with our facts has run out."""
    ring(0, settings.OUTBOX_LEASE_SECONDS + 2)


# --- what the queue and the schedules call ---------------------------------------------------------------------------
def on_wake_up(message: dict[str, Any]) -> None:  # noqa: ARG001 -- what a queue's handler is given; all say the same
    """Something is due: send it."""
    _follow_up(relay())


def sweep() -> None:
    """Send what no wake-up spoke of; measure how long the oldest fact has waited (seconds), and how many are parked."""
    _follow_up(relay())
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT coalesce(extract(epoch FROM statement_timestamp() - min(queued_at)), 0)::float8
            FROM vibecode_outboxevent WHERE sent_at IS NULL AND parked_at IS NULL
            """
        )
        [oldest] = cursor.fetchone()
    metric("OldestUnsentSeconds", round(max(oldest, 0), 3), "Seconds")
    metric("EventsParked", OutboxEvent.objects.parked().count())


def _follow_up(passed: Passed) -> None:
    """Wake the relay again where this pass could not end its work: by a message, never by invoking ourselves.

    Lambda ends a chain of messages from a function to itself after about 16; then the sweep begins another.
    https://docs.aws.amazon.com/lambda/latest/dg/invocation-recursion.html
    """
    if passed.out_of_time:
        ring(0)
    elif passed.pauses:
        ring(*{math.ceil(min(passed.pauses)), math.ceil(max(passed.pauses))})


def purge() -> None:
    """Forget facts that left OUTBOX_KEEP_DAYS ago, what consumers remember of them, old keys and ended sessions."""
    keep = timedelta(days=settings.OUTBOX_KEEP_DAYS)
    facts = _delete_in_batches(OutboxEvent.objects.sent().filter(sent_at__lt=Now() - keep).order_by("sent_at"))
    # A consumer's memory must outlive every way in which a fact may come again: a replay, its queue, a dead letter.
    longest = max(queue.keep_days + queue.keep_dead_days for queue in resources.QUEUES)
    known = OutboxEvent.objects.filter(event_id=models.OuterRef("event_id"))
    forgotten = ProcessedMessage.objects.filter(
        ~models.Exists(known), claimed_until__lt=Now() - keep - timedelta(days=longest)
    )
    handled = _delete_in_batches(forgotten.order_by("claimed_until"))
    call_command("purge_idempotency_keys", stdout=(said := StringIO()))
    call_command("clearsessions")
    log.info("purged", facts=facts, handled=handled, idempotency_keys=said.getvalue().strip())


def _delete_in_batches(rows: models.QuerySet[Any]) -> int:
    """Delete rows a thousand at a time, each only if it still is what it was chosen for."""
    deleted = 0
    while chosen := list(rows.values_list("pk", flat=True)[:PURGED]):
        deleted += rows.order_by().filter(pk__in=chosen).delete()[0]
    return deleted


# --- what staff and commands call ------------------------------------------------------------------------------------
def send_again(events: OutboxEventQuerySet, *, actor: Actor) -> int:
    """Put parked and sent facts into the queue anew, as if they had never been tried; returns how many. Raises Denied.

    They keep their event ids, so that consumers that have handled one drop it. Those that wait anyway are left alone.
    """
    actor.must(Right.MACHINERY)
    with transaction.atomic():
        count = events.filter(models.Q(sent_at__isnull=False) | models.Q(parked_at__isnull=False)).update(
            sent_at=None,
            parked_at=None,
            lease=None,
            attempts=0,
            refusals=0,
            last_error="",
            queued_at=Now(),
            due_at=Now(),
        )
        _wake_after_commit()
    return count


__all__ = ["Event", "Passed", "camel", "on_wake_up", "publish", "purge", "relay", "send_again", "sweep"]
