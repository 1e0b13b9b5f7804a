"""Facts leave with the change that made them, or not at all."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any, ClassVar

import pytest
from django.db import transaction

from accounts.events import UserRegistered
from catalog.models import Product
from orders.events import OrderCreated
from tests.in_process import Caller, order_body
from tests.over_http import Shop
from vibecode.models import OutboxEvent
from vibecode.outbox import Event, publish

type Make = Callable[..., Product]


@dataclass(frozen=True, kw_only=True)
class ThingHappened(Event):
    """A fact with a value of every kind."""

    source: ClassVar[str] = "vibecode.tests"
    detail_type: ClassVar[str] = "Thing Happened"

    how_much: Decimal
    when_it_was: datetime
    some_lines: tuple[dict[str, object], ...]
    count: int

    @property
    def subject(self) -> str:
        """The one thing."""
        return "thing-1"


def test_a_fact_cannot_be_published_outside_a_transaction(shop: Shop) -> None:
    fact = UserRegistered(user_id="nobody")

    with pytest.raises(RuntimeError, match="outside a transaction"):
        publish(fact)
    assert not OutboxEvent.objects.filter(event_id=fact.event_id).exists()


def test_a_fact_goes_with_the_change_that_is_rolled_back(db: None) -> None:
    with transaction.atomic():
        publish(UserRegistered(user_id="nobody"))
        transaction.set_rollback(True)

    assert not OutboxEvent.objects.exists()


def test_a_fact_on_the_wire_is_camel_case_with_decimal_strings_and_utc(db: None) -> None:
    moment = datetime(2026, 7, 1, 12, 0, 0, 123_456, timezone(timedelta(hours=2)))
    lines: tuple[dict[str, object], ...] = ({"unit_price": Decimal("2.50")},)
    fact = ThingHappened(how_much=Decimal("1.10"), when_it_was=moment, some_lines=lines, count=3, timestamp=moment)

    with transaction.atomic():
        publish(fact)

    row = OutboxEvent.objects.get()
    assert (row.source, row.detail_type, row.subject, row.sent_at) == (
        "vibecode.tests",
        "Thing Happened",
        "thing-1",
        None,
    )
    assert row.detail == {
        "schemaVersion": 1,
        "eventId": str(fact.event_id),
        "timestamp": "2026-07-01T10:00:00.123Z",
        "howMuch": "1.10",
        "whenItWas": "2026-07-01T10:00:00.123Z",
        "someLines": [{"unitPrice": "2.50"}],
        "count": 3,
    }


def test_an_order_created_says_what_the_contract_says(shopper: Caller, product: Make) -> None:
    product("LAMP", price="2.50")
    answer = shopper.post("/orders", order_body(("LAMP", 2), note="ring twice")).json()

    detail: dict[str, Any] = OutboxEvent.objects.get(detail_type=OrderCreated.detail_type).detail

    assert datetime.fromisoformat(detail.pop("timestamp")).tzinfo == UTC
    assert detail.pop("eventId")
    assert detail == {
        "schemaVersion": 1,
        "orderId": answer["orderId"],
        "orderVersion": 1,
        "userId": shopper.sub,
        "status": "pending",
        "total": "5.00",
        "currency": "GBP",
        "items": [{"sku": "LAMP", "quantity": 2, "unitPrice": "2.50"}],
    }
