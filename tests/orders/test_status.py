"""The matrix of status.py: each cell, in Python and in the database; each move that the tables allow or refuse."""

import itertools
from collections.abc import Callable
from typing import Any

import pytest
from django.db import IntegrityError, transaction
from django.db.models.functions import Now

from catalog.models import Product
from orders.models import IllegalTransition, Order
from orders.status import FULFILMENT_MOVES, PAYMENT_MOVES, FulfilmentStatus, Mark, PaymentStatus, status_of
from tests.in_process import Caller, order_body

type Make = Callable[..., Product]
P, F, M = PaymentStatus, FulfilmentStatus, Mark
MARKS: dict[Mark, tuple[str, ...]] = {
    M.NONE: (),
    M.COMPLETED: ("completed_at",),
    M.CANCELLED: ("completed_at", "cancelled_at"),
    M.FAILED: ("completed_at", "cancelled_at", "failed_at"),
}


@pytest.fixture
def order(shopper: Caller, product: Make) -> Order:
    """An order as it was placed."""
    product("LAMP")
    return Order.objects.get(number=shopper.post("/orders", order_body(("LAMP", 1))).json()["orderId"])


def expected(payment: str, fulfilment: str, mark: Mark) -> str:
    """The status, straight from the contract: cancelled/failed, refunded, the shipment, completed, paid, pending."""
    if mark in {M.CANCELLED, M.FAILED}:
        return mark.value
    if payment == "refunded":
        return "refunded"
    if fulfilment in {"partly_shipped", "shipped", "delivered"}:
        return fulfilment
    if mark == M.COMPLETED:
        return "completed"
    return "paid" if payment in {"paid", "partly_refunded"} else "pending"


def test_every_cell_says_what_the_contract_says_in_python_and_in_the_database(order: Order) -> None:
    row = Order.objects.filter(pk=order.pk)
    allowed = 0
    for payment, fulfilment, mark in itertools.product(P, F, M):
        moments = {
            name: Now() if name in MARKS[mark] else None for name in ("completed_at", "cancelled_at", "failed_at")
        }
        values: dict[str, Any] = {"payment_status": payment, "fulfilment_status": fulfilment, **moments}
        if moments["cancelled_at"] and fulfilment != F.UNFULFILLED:
            with pytest.raises(IntegrityError, match="order_cancelled_holds_nothing"), transaction.atomic():
                row.update(**values)
            continue
        row.update(**values)
        order.refresh_from_db()
        assert order.status == computed(order) == expected(payment, fulfilment, mark), (payment, fulfilment, mark)
        allowed += 1

    assert allowed == 7 * 6 * 2 + 7 * 2


@pytest.mark.parametrize("fulfilment", F)
def test_an_order_that_failed_may_hold_anything(order: Order, fulfilment: FulfilmentStatus) -> None:
    Order.objects.filter(pk=order.pk).update(fulfilment_status=fulfilment, failed_at=Now())

    order.refresh_from_db()
    assert order.status == computed(order) == "failed"


def computed(order: Order) -> str:
    """What status.py makes of an order's stored states."""
    return status_of(P(order.payment_status), F(order.fulfilment_status), order.mark)


def moves_to(order: Order, **move: Any) -> bool | None:
    """Whether an order moved: True, False when it was there, None when the table says no; its row is put back."""
    with transaction.atomic():
        try:
            return order.move_to(**move)
        except IllegalTransition:
            return None
        finally:
            transaction.set_rollback(True)


# Written out once more: whoever adds a way to status.py has to mean it.
PAYMENT_WAYS = {
    "pending": {"requires_action", "paid", "declined", "unknown"},
    "requires_action": {"paid", "declined", "unknown"},
    "unknown": {"paid", "declined"},
    "paid": {"partly_refunded", "refunded"},
    "partly_refunded": {"refunded", "paid"},
    "refunded": {"partly_refunded", "paid"},  # the bank sent a refund back
    "declined": {"paid"},  # a provider that captures after all: it is refunded at once
}
FULFILMENT_WAYS = {
    "unfulfilled": {"reserved"},
    "reserved": {"deducted", "unfulfilled"},
    "deducted": {"partly_shipped", "shipped", "unfulfilled"},
    "partly_shipped": {"shipped", "delivered"},  # the rest was refunded, and what had left has arrived
    "shipped": {"delivered"},
    "delivered": set(),
}


@pytest.mark.parametrize(
    ("field", "states", "table"),
    [("payment", P, PAYMENT_WAYS), ("fulfilment", F, FULFILMENT_WAYS)],
    ids=["payment", "fulfilment"],
)
def test_every_move_of_the_tables_is_allowed_and_no_other(order: Order, field: str, states: Any, table: Any) -> None:
    for start, end in itertools.product(states, states):
        Order.objects.filter(pk=order.pk).update(**{f"{field}_status": start})
        fresh = Order.objects.get(pk=order.pk)
        answer = False if start == end else (True if end in table[start] else None)
        assert moves_to(fresh, **{field: end}) is answer, (start, end)


def test_the_tables_know_every_state_and_nothing_comes_back_from_the_end() -> None:
    assert set(PAYMENT_MOVES) == set(P)
    assert set(FULFILMENT_MOVES) == set(F)
    assert not FULFILMENT_MOVES[F.DELIVERED]
    assert not any(F.UNFULFILLED in FULFILMENT_MOVES[gone] for gone in (F.PARTLY_SHIPPED, F.SHIPPED, F.DELIVERED))


@pytest.mark.parametrize(("first", "second"), list(itertools.permutations([M.CANCELLED, M.FAILED, M.COMPLETED], 2)))
def test_what_is_cancelled_stays_so_and_what_failed_is_only_cancelled(order: Order, first: Mark, second: Mark) -> None:
    order.move_to(fulfilment=F.UNFULFILLED, mark=first)

    assert moves_to(order, mark=second) is (True if first == M.COMPLETED or second == M.CANCELLED else None)


def test_a_move_takes_the_order_one_version_up(order: Order) -> None:
    before = order.updated_at

    assert order.move_to(payment=P.PAID, mark=M.COMPLETED)
    stored = Order.objects.get(pk=order.pk)
    assert (stored.version, stored.status, order.version, order.status) == (2, "completed", 2, "completed")
    assert stored.updated_at >= before
    assert not order.move_to(payment=P.PAID, mark=M.COMPLETED)
    assert Order.objects.get(pk=order.pk).version == 2


def test_a_move_of_a_stale_copy_is_refused(order: Order) -> None:
    stale = Order.objects.get(pk=order.pk)
    order.move_to(payment=P.PAID)

    with pytest.raises(IllegalTransition):
        stale.move_to(payment=P.DECLINED)
    assert Order.objects.get(pk=order.pk).payment_status == "paid"
