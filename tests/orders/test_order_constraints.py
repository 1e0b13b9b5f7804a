"""What the database itself refuses of orders, whatever the code above believes."""

from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest
from django.db import IntegrityError, transaction
from django.db.models import ProtectedError
from django.db.models.functions import Now

from catalog.models import Product
from orders.models import Order, OrderLine, TimelineEntry, new_order_number
from tests.catalog.test_ledger import refused_by
from tests.in_process import Caller, order_body

type Make = Callable[..., Product]


@pytest.fixture
def order(shopper: Caller, product: Make) -> Order:
    """An order of two lamps at 2.50."""
    product("LAMP")
    return Order.objects.get(number=shopper.post("/orders", order_body(("LAMP", 2))).json()["orderId"])


@pytest.mark.parametrize(
    ("change", "constraint"),
    [
        ({"total": Decimal("5.01")}, "order_total_adds_up"),
        ({"shipping_total": Decimal("1.00")}, "order_total_adds_up"),
        ({"tax_total": Decimal("-1.00"), "total": Decimal("4.00")}, "order_totals_are_not_negative"),
        ({"shipping_total": Decimal("-1.00"), "total": Decimal("4.00")}, "order_totals_are_not_negative"),
        ({"subtotal": Decimal("-5.00"), "total": Decimal("-5.00")}, "order_totals_are_not_negative"),
        ({"payment_status": "free"}, "order_payment_status_is_known"),
        ({"fulfilment_status": "lost"}, "order_fulfilment_status_is_known"),
        ({"cancelled_at": Now()}, "order_cancelled_holds_nothing"),
    ],
)
def test_an_order_that_cannot_be_is_refused(order: Order, change: dict[str, Any], constraint: str) -> None:
    with refused_by(constraint), transaction.atomic():
        Order.objects.filter(pk=order.pk).update(**change)


@pytest.mark.parametrize(
    ("change", "constraint"),
    [
        ({"quantity": 0}, "order_line_quantity_is_1_to_100000"),
        ({"quantity": 100_001}, "order_line_quantity_is_1_to_100000"),
        ({"unit_price": Decimal("-0.01")}, "order_line_price_is_not_negative"),
    ],
)
def test_a_line_that_cannot_be_is_refused(order: Order, change: dict[str, Any], constraint: str) -> None:
    with refused_by(constraint), transaction.atomic():
        OrderLine.objects.filter(order=order).update(**change)


def test_a_sku_stands_once_in_an_order(order: Order) -> None:
    line = OrderLine.objects.get(order=order)
    line.pk, line.position = None, 2

    with refused_by("order_line_sku_stands_once"), transaction.atomic():
        line.save(force_insert=True)


def test_a_fact_is_told_once_for_each_version(order: Order) -> None:
    with refused_by("timeline_entry_is_told_once"), transaction.atomic():
        TimelineEntry.objects.create(order=order, type="Order Created", version=1)
    TimelineEntry.objects.create(order=order, type="Order Created", version=2)


def test_a_number_is_given_once(order: Order) -> None:
    copy = Order.objects.get(pk=order.pk)
    copy.pk = None

    with pytest.raises(IntegrityError, match="orders_order_number"), transaction.atomic():
        copy.save(force_insert=True)


def test_nothing_that_an_order_stands_on_can_be_deleted(order: Order) -> None:
    for row in (order, order.user, Product.objects.get(sku="LAMP")):
        with pytest.raises(ProtectedError):
            row.delete()


def test_a_line_total_is_what_the_database_multiplied(order: Order) -> None:
    OrderLine.objects.filter(order=order).update(quantity=3)

    assert OrderLine.objects.get(order=order).line_total == Decimal("7.50")


def test_numbers_sort_by_time_and_cannot_be_guessed() -> None:
    made = [new_order_number() for _ in range(1000)]

    assert len(set(made)) == 1000
    assert [number[:14] for number in made] == sorted(number[:14] for number in made)
    assert len({number[14:] for number in made}) == 1000
    assert {len(number) for number in made} == {30}
