"""POST /products/{sku}/stock: one request, one movement in the ledger."""

from collections.abc import Callable
from typing import Any

import pytest

from catalog.models import Product, StockMovement
from orders.services import audit_stock
from tests.in_process import Caller, order_body, shelf
from tests.platform.answers import assert_refused, pointers
from vibecode.models import IdempotencyKey

type Make = Callable[..., Product]


def move(caller: Caller, delta: Any, key: str = "k", reason: Any = "delivery") -> Any:
    """Ask for a movement of the lamp."""
    return caller.post("/products/lamp/stock", {"delta": delta, "reason": reason}, Idempotency_Key=key)


@pytest.mark.parametrize(("delta", "kind", "after"), [(5, "receive", 15), (-4, "adjust", 6), (-10, "adjust", 0)])
def test_staff_move_stock_and_the_ledger_knows(staff: Caller, product: Make, delta: int, kind: str, after: int) -> None:
    lamp = product("LAMP", on_hand=10)

    answer = move(staff, delta)

    assert (answer.status_code, answer.json()) == (
        200,
        {"sku": "LAMP", "onHand": after, "reserved": 0, "available": after},
    )
    entry = StockMovement.objects.latest("id")
    assert (entry.kind, entry.on_hand_delta, entry.reserved_delta, entry.cause) == (kind, delta, 0, "request")
    assert (entry.reason, entry.actor) == ("delivery", staff.sub)
    assert shelf(lamp) == (after, 0)
    assert audit_stock() == []


def test_a_key_is_required(staff: Caller, product: Make) -> None:
    lamp = product("LAMP")

    for key in ("", "   "):
        assert_refused(move(staff, 5, key=key), 400, "idempotency-key-missing")
    assert_refused(staff.post("/products/LAMP/stock", {"delta": 5, "reason": "x"}), 400, "idempotency-key-missing")
    assert shelf(lamp) == (10, 0)


def test_the_same_request_twice_is_one_movement(staff: Caller, product: Make) -> None:
    lamp = product("LAMP")
    first, again = move(staff, 5), move(staff, 5)

    assert first.content == again.content
    assert again.headers["Idempotent-Replayed"] == "true"
    assert shelf(lamp) == (15, 0)
    assert_refused(move(staff, 6), 422, "idempotency-key-reused")
    assert shelf(lamp) == (15, 0)


def test_what_orders_hold_cannot_be_taken_away(staff: Caller, shopper: Caller, product: Make) -> None:
    lamp = product("LAMP", on_hand=10)
    shopper.post("/orders", order_body(("LAMP", 7)))
    written = StockMovement.objects.count()

    refusal = assert_refused(move(staff, -4), 409, "stock-reserved")

    assert (refusal["onHand"], refusal["reserved"]) == (10, 7)
    assert shelf(lamp) == (10, 7)
    assert StockMovement.objects.count() == written
    assert not IdempotencyKey.objects.exists()
    assert move(staff, -3).json() == {"sku": "LAMP", "onHand": 7, "reserved": 7, "available": 0}
    assert_refused(move(staff, -1, key="k2"), 409, "stock-reserved")
    assert audit_stock() == []


def test_there_is_an_end_to_what_a_shelf_holds(staff: Caller, product: Make) -> None:
    lamp = product("LAMP", on_hand=10)

    assert_refused(move(staff, 10**9), 422, "stock-too-large")
    assert shelf(lamp) == (10, 0)
    assert move(staff, 10**9 - 10).json()["onHand"] == 10**9


@pytest.mark.parametrize(
    ("delta", "reason", "where"),
    [
        (0, "x", "/delta"),
        (1.5, "x", "/delta"),
        ("5", "x", "/delta"),
        (True, "x", "/delta"),
        (None, "x", "/delta"),
        (10**12, "x", "/delta"),
        (-(10**12), "x", "/delta"),
        (1, "", "/reason"),
        (1, None, "/reason"),
        (1, "r" * 201, "/reason"),
        (1, 5, "/reason"),
    ],
)
def test_a_movement_that_is_none_is_told_where(
    staff: Caller, product: Make, delta: Any, reason: Any, where: str
) -> None:
    lamp = product("LAMP")

    assert pointers(assert_refused(move(staff, delta, reason=reason), 400, "invalid")) == [where]
    assert shelf(lamp) == (10, 0)
    assert StockMovement.objects.count() == 1
