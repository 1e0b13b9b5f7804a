"""What the database itself refuses of products, stock and the ledger, whatever the code above believes."""

from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest
from django.db import IntegrityError, transaction

from catalog.models import Product, Stock, StockMovement
from orders.services import audit_stock

type Make = Callable[..., Product]


def refused_by(constraint: str) -> Any:
    """The block is refused, by that constraint."""
    return pytest.raises(IntegrityError, check=lambda error: error.__cause__.diag.constraint_name == constraint)


def movement(product: Product, **values: Any) -> StockMovement:
    """Write one movement past the services."""
    plain = {"kind": "reserve", "reserved_delta": 1, "cause": "order", "reference": "ORD-1", "order_line": 1}
    with transaction.atomic():
        return StockMovement.objects.create(product=product, **(plain | values))


@pytest.mark.parametrize(
    ("change", "constraint"),
    [
        ({"price": Decimal("-0.01")}, "product_price_is_not_negative"),
        ({"sku": "lamp"}, "product_sku_is_upper_case"),
        ({"sku": ""}, "product_sku_is_upper_case"),
        ({"currency": "gbp"}, "product_currency_is_iso_4217"),
        ({"currency": "GB"}, "product_currency_is_iso_4217"),
    ],
)
def test_a_product_that_cannot_be_is_refused(product: Make, change: dict[str, Any], constraint: str) -> None:
    lamp = product("LAMP")

    with refused_by(constraint), transaction.atomic():
        Product.objects.filter(pk=lamp.pk).update(**change)


@pytest.mark.parametrize("change", [{"reserved": 11}, {"reserved": -1}, {"on_hand": -1}])
def test_no_more_is_reserved_than_is_on_hand(product: Make, change: dict[str, int]) -> None:
    lamp = product("LAMP", on_hand=10)

    with refused_by("stock_reserved_is_on_hand"), transaction.atomic():
        Stock.objects.filter(product=lamp).update(**change)
    Stock.objects.filter(product=lamp).update(reserved=10)
    with refused_by("stock_reserved_is_on_hand"), transaction.atomic():
        Stock.objects.filter(product=lamp).update(on_hand=9)


def test_the_ledger_only_grows(product: Make) -> None:
    product("LAMP")
    entries = StockMovement.objects.all()

    with refused_by("stock_movement_only_grows"), transaction.atomic():
        entries.update(reason="never happened")
    with refused_by("stock_movement_only_grows"), transaction.atomic():
        entries.delete()
    assert entries.get().reason == "opening stock"


DELTAS: dict[str, tuple[list[tuple[int, int]], list[tuple[int, int]]]] = {
    # kind: (deltas that fit, deltas that do not)
    "receive": ([(1, 0), (10**9, 0)], [(0, 0), (-1, 0), (1, 1), (0, 1)]),
    "adjust": ([(-1, 0), (1, 0)], [(0, 0), (0, 1), (-1, -1)]),
    "reserve": ([(0, 1)], [(0, 0), (0, -1), (1, 1), (1, 0)]),
    "release": ([(0, -1)], [(0, 0), (0, 1), (-1, -1), (-1, 0)]),
    "deduct": ([(-1, -1)], [(0, 0), (-1, 0), (0, -1), (1, 1), (-2, -1)]),
    "return": ([], [(0, 0), (-1, 0), (1, 1), (0, 1)]),  # what fits has a rule of its own, below
    "steal": ([], [(-1, 0), (0, 1)]),
}


@pytest.mark.parametrize("kind", DELTAS)
def test_the_deltas_of_a_movement_fit_its_kind(product: Make, kind: str) -> None:
    lamp = product("LAMP")
    fits, fits_not = DELTAS[kind]

    for line, (on_hand, reserved) in enumerate(fits, start=1):
        movement(lamp, kind=kind, on_hand_delta=on_hand, reserved_delta=reserved, order_line=line)
    for line, (on_hand, reserved) in enumerate(fits_not, start=100):
        with refused_by("stock_movement_deltas_fit_its_kind"):
            movement(lamp, kind=kind, on_hand_delta=on_hand, reserved_delta=reserved, order_line=line)


def test_a_movement_happens_once_for_its_cause_and_line(product: Make) -> None:
    lamp = product("LAMP")
    movement(lamp)

    with refused_by("stock_movement_happens_once"):
        movement(lamp, reserved_delta=5)
    for other in ({"reference": "ORD-2"}, {"order_line": 2}, {"cause": "refund"}):
        movement(lamp, **other)


@pytest.mark.parametrize("values", [{"cause": "request"}, {"order_line": None}])
def test_what_moves_for_an_order_names_its_line_and_nothing_else_does(product: Make, values: dict[str, Any]) -> None:
    lamp = product("LAMP")

    with refused_by("stock_movement_names_its_line"):
        movement(lamp, **values)


def test_no_more_returns_than_was_deducted(product: Make) -> None:
    lamp = product("LAMP")
    back = {"kind": "return", "reserved_delta": 0}
    movement(lamp, reserved_delta=3)
    movement(lamp, kind="deduct", on_hand_delta=-3, reserved_delta=-3)

    movement(lamp, **back, on_hand_delta=2, cause="refund", reference="R1")
    with refused_by("stock_movement_returns_what_was_deducted"):
        movement(lamp, **back, on_hand_delta=2, cause="cancel")
    movement(lamp, **back, on_hand_delta=1, cause="refund", reference="R2")
    with refused_by("stock_movement_returns_what_was_deducted"):
        movement(lamp, **back, on_hand_delta=1, cause="refund", reference="R3")
    with refused_by("stock_movement_returns_what_was_deducted"):
        movement(lamp, **back, on_hand_delta=1, order_line=99)


def test_the_audit_names_each_sku_whose_counters_differ(product: Make) -> None:
    lamp, mug = product("LAMP", on_hand=10), product("MUG", on_hand=10)
    product("FINE", on_hand=10)
    Stock.objects.filter(product=lamp).update(on_hand=11)
    Stock.objects.filter(product=mug).update(reserved=1)

    found = audit_stock()

    assert [sentence.partition(":")[0] for sentence in found] == ["LAMP", "MUG"]
    assert "on hand 11, ledger 10" in found[0]
