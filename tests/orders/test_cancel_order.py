"""POST /orders/{orderId}/cancel: called off while nothing has shipped."""

from collections.abc import Callable
from typing import Any

import pytest
from django.db import transaction

from catalog.models import Product, StockMovement
from orders.models import Order, TimelineEntry
from orders.services import OrderIsOver, audit_stock, cancel_order, deduct_held_stock
from orders.status import FulfilmentStatus, Mark, PaymentStatus
from tests.in_process import Caller, order_body, shelf
from tests.platform.answers import assert_refused, pointers
from vibecode.models import IdempotencyKey, OutboxEvent
from vibecode.rights import Actor

type Make = Callable[..., Product]


def place(caller: Caller, sku: str = "LAMP", quantity: int = 3) -> Order:
    """An order of somebody."""
    return Order.objects.get(number=caller.post("/orders", order_body((sku, quantity))).json()["orderId"])


def facts(order: Order) -> list[str]:
    """What the outbox says of an order, in order."""
    return list(OutboxEvent.objects.filter(subject=order.number).order_by("id").values_list("detail_type", flat=True))


def kinds() -> list[str]:
    """The ledger's movements for orders."""
    return list(StockMovement.objects.exclude(cause="request").order_by("id").values_list("kind", flat=True))


def test_held_stock_is_released(shopper: Caller, product: Make) -> None:
    lamp = product("LAMP", on_hand=10)
    order = place(shopper)

    answer = shopper.post(f"/orders/{order.number}/cancel", {"reason": "changed my mind"})

    body = answer.json()
    assert answer.status_code == 200
    assert (body["status"], body["fulfilmentStatus"], body["version"]) == ("cancelled", "unfulfilled", 2)
    assert body["cancelReason"] == "changed my mind"
    assert body == shopper.get(f"/orders/{order.number}").json()
    assert shelf(lamp) == (10, 0)
    assert kinds() == ["reserve", "release"]
    assert facts(order) == ["Order Created", "Order Cancelled"]
    assert audit_stock() == []


def test_deducted_stock_returns(shopper: Caller, product: Make) -> None:
    lamp = product("LAMP", on_hand=10)
    order = deduct_held_stock(order=place(shopper))
    assert shelf(lamp) == (7, 0)

    assert shopper.post(f"/orders/{order.number}/cancel").status_code == 200
    assert shelf(lamp) == (10, 0)
    assert kinds() == ["reserve", "deduct", "return"]
    assert audit_stock() == []


def test_what_was_released_can_be_sold_again(shopper: Caller, other: Caller, product: Make) -> None:
    product("LAMP", on_hand=3)
    order = place(shopper)

    assert_refused(other.post("/orders", order_body(("LAMP", 1))), 409, "out-of-stock")
    shopper.post(f"/orders/{order.number}/cancel")
    assert other.post("/orders", order_body(("LAMP", 3))).status_code == 201


def test_staff_may_cancel_for_a_customer(shopper: Caller, staff: Caller, product: Make) -> None:
    product("LAMP")
    order = place(shopper)

    assert staff.post(f"/orders/{order.number}/cancel").json()["status"] == "cancelled"
    assert TimelineEntry.objects.get(type="Order Cancelled").actor == staff.sub
    assert OutboxEvent.objects.get(detail_type="Order Cancelled").detail["userId"] == shopper.sub


def test_a_stranger_and_another_customer_cannot_cancel(
    stranger: Caller, shopper: Caller, other: Caller, product: Make
) -> None:
    lamp = product("LAMP")
    order = place(shopper)

    assert_refused(stranger.post(f"/orders/{order.number}/cancel"), 401, "not-authenticated")
    assert_refused(other.post(f"/orders/{order.number}/cancel", Idempotency_Key="k"), 404, "not-found")
    assert shelf(lamp) == (10, 3)
    assert facts(order) == ["Order Created"]
    assert not IdempotencyKey.objects.exists()


@pytest.mark.parametrize("key", ["", "k"])
def test_cancelling_twice_releases_once(shopper: Caller, product: Make, key: str) -> None:
    lamp = product("LAMP", on_hand=10)
    order = place(shopper)

    first, again = (shopper.post(f"/orders/{order.number}/cancel", Idempotency_Key=key) for _ in range(2))

    assert (first.status_code, again.status_code) == (200, 200)
    assert first.json() == again.json()
    assert again.headers.get("Idempotent-Replayed") == ("true" if key else None)
    assert shelf(lamp) == (10, 0)
    assert kinds() == ["reserve", "release"]
    assert facts(order) == ["Order Created", "Order Cancelled"]


@pytest.mark.parametrize(
    "gone", [FulfilmentStatus.PARTLY_SHIPPED, FulfilmentStatus.SHIPPED, FulfilmentStatus.DELIVERED]
)
def test_what_has_shipped_cannot_be_cancelled(shopper: Caller, product: Make, gone: FulfilmentStatus) -> None:
    lamp = product("LAMP", on_hand=10)
    order = deduct_held_stock(order=place(shopper))
    for step in (FulfilmentStatus.PARTLY_SHIPPED, FulfilmentStatus.SHIPPED, FulfilmentStatus.DELIVERED):
        order.move_to(fulfilment=step)
        if step == gone:
            break

    refusal = assert_refused(
        shopper.post(f"/orders/{order.number}/cancel", Idempotency_Key="k"), 409, "illegal-transition"
    )

    assert refusal["orderStatus"] == gone.value
    assert shelf(lamp) == (7, 0)
    assert facts(order) == ["Order Created"]
    order.refresh_from_db()
    assert order.status == gone.value
    assert not IdempotencyKey.objects.exists()


def test_a_completed_order_that_has_not_shipped_can_be_cancelled(shopper: Caller, product: Make) -> None:
    lamp = product("LAMP", on_hand=10)
    order = deduct_held_stock(order=place(shopper))
    order.move_to(payment=PaymentStatus.PAID, mark=Mark.COMPLETED)

    assert shopper.post(f"/orders/{order.number}/cancel").json()["status"] == "cancelled"
    assert shelf(lamp) == (10, 0)
    assert audit_stock() == []


def test_an_order_that_was_cancelled_meanwhile_is_not_deducted(shopper: Caller, product: Make) -> None:
    lamp = product("LAMP", on_hand=10)
    order = place(shopper)
    cancel_order(order=order, reason="", actor=Actor.part("tests"))

    with pytest.raises(OrderIsOver), transaction.atomic():
        deduct_held_stock(order=order)
    assert shelf(lamp) == (10, 0)


def test_deducting_twice_deducts_once(shopper: Caller, product: Make) -> None:
    lamp = product("LAMP", on_hand=10)
    order = place(shopper)

    for _ in range(2):
        deduct_held_stock(order=order)
    assert shelf(lamp) == (7, 0)
    assert kinds() == ["reserve", "deduct"]


@pytest.mark.parametrize(
    ("body", "where"),
    [
        ({"reason": 5}, "/reason"),
        ({"reason": "r" * 201}, "/reason"),
        ({"reason": None}, "/reason"),
        ({"why": "x"}, "/why"),
    ],
)
def test_a_reason_is_a_short_text(shopper: Caller, product: Make, body: dict[str, Any], where: str) -> None:
    lamp = product("LAMP")
    order = place(shopper)

    refusal = assert_refused(shopper.post(f"/orders/{order.number}/cancel", body), 400, "invalid")

    assert pointers(refusal) == [where]
    assert shelf(lamp) == (10, 3)


def test_the_words_of_a_customer_stay_with_the_order(shopper: Caller, product: Make) -> None:
    product("LAMP")
    number = shopper.post("/orders", order_body(("LAMP", 1))).json()["orderId"]

    answer = shopper.post(f"/orders/{number}/cancel", {"reason": "write to jane@example.com"})

    assert answer.json()["cancelReason"] == "write to jane@example.com"
    assert OutboxEvent.objects.filter(detail_type="Order Cancelled").count() == 1
    assert "jane" not in str(list(OutboxEvent.objects.values("detail")))
    assert "jane" not in str(list(StockMovement.objects.values()))


def test_a_late_deduction_leaves_a_shipped_order_alone(shopper: Caller, product: Make) -> None:
    lamp = product("LAMP")
    number = shopper.post("/orders", order_body(("LAMP", 1))).json()["orderId"]
    deduct_held_stock(order=Order.objects.get(number=number))
    Order.objects.filter(number=number).update(fulfilment_status="shipped")

    deduct_held_stock(order=Order.objects.get(number=number))

    assert shelf(lamp) == (9, 0)
    assert Order.objects.get(number=number).status == "shipped"


def test_letters_that_only_look_like_a_sku_buy_nothing(shopper: Caller, product: Make) -> None:
    product("SS-1")

    answer = shopper.post("/orders", order_body(("\u00df-1", 1)))

    assert_refused(answer, 400, "invalid")
    assert not Order.objects.exists()
