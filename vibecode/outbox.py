"""The outbox: facts written beside the change that made them. Called by services (publish); the relay sends them on."""

import uuid
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, ClassVar

from django.db import connection

from vibecode.models import OutboxEvent


@dataclass(frozen=True, kw_only=True)
class Event:
    """A fact in the past tense. Subclasses name their source and type and add camelCase-able fields.

    ``subject`` is what the fact is about: facts of one subject leave in the order in which they were published.
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
        wire = {_camel(name): _wire(value) for name, value in asdict(self).items()}
        return {"schemaVersion": self.schema_version, **wire}


def publish(event: Event) -> None:
    """Write a fact to the outbox, in the transaction of the change that it tells of.

    The caller holds the lock of the event's subject, so that the rows' order is the facts' order.
    Raises RuntimeError outside a transaction: the fact could survive a change that did not happen.
    """
    if not connection.in_atomic_block:
        raise RuntimeError(f"{event.detail_type} was published outside a transaction.")
    OutboxEvent.objects.create(
        event_id=event.event_id,
        source=event.source,
        detail_type=event.detail_type,
        subject=event.subject,
        detail=event.detail(),
    )


def _camel(name: str) -> str:
    head, *tail = name.split("_")
    return head + "".join(word.capitalize() for word in tail)


def _wire(value: Any) -> Any:
    match value:
        case datetime():
            return value.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        case Decimal() | uuid.UUID():
            return str(value)
        case dict():
            return {_camel(name): _wire(item) for name, item in value.items()}
        case list() | tuple():
            return [_wire(item) for item in value]
    return value
