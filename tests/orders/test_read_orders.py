"""GET /orders, one of them, and its timeline."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.utils.dateparse import parse_datetime

from catalog.models import Product
from orders.models import Order
from orders.services import deduct_held_stock
from tests.in_process import Caller, order_body
from tests.platform.answers import assert_refused

type Make = Callable[..., Product]


def place(caller: Caller, *skus: str) -> str:
    """The number of an order of one of each."""
    answer = caller.post("/orders", order_body(*((sku, 1) for sku in skus)))
    assert answer.status_code == 201, answer.content
    return str(answer.json()["orderId"])


def numbers(caller: Caller, query: str = "") -> list[str]:
    """The orders of a list."""
    answer = caller.get(f"/orders{query}")
    assert answer.status_code == 200, answer.content
    return [row["orderId"] for row in answer.json()["results"]]


def days_ago(number: str, days: int) -> str:
    """Move an order into the past; the moment it was placed then, for a query."""
    order = Order.objects.get(number=number)
    order.created_at -= timedelta(days=days)
    order.save(update_fields=["created_at"])
    return order.created_at.isoformat().replace("+00:00", "Z")


def test_somebody_sees_their_own_orders_and_staff_see_all(
    shopper: Caller, other: Caller, staff: Caller, product: Make
) -> None:
    product("LAMP")
    mine, theirs = place(shopper, "LAMP"), place(other, "LAMP")

    assert (numbers(shopper), numbers(other), numbers(staff)) == ([mine], [theirs], [theirs, mine])
    assert shopper.get(f"/orders/{mine}").json() == staff.get(f"/orders/{mine}").json()
    assert shopper.get("/orders").json()["results"] == [shopper.get(f"/orders/{mine}").json()]


def test_a_stranger_sees_no_order(stranger: Caller, shopper: Caller, product: Make) -> None:
    product("LAMP")
    number = place(shopper, "LAMP")

    for path in ("/orders", f"/orders/{number}", f"/orders/{number}/timeline"):
        assert_refused(stranger.get(path), 401, "not-authenticated")


def test_somebody_elses_order_is_not_there(shopper: Caller, other: Caller, product: Make) -> None:
    product("LAMP")
    number = place(shopper, "LAMP")

    for path in (f"/orders/{number}", f"/orders/{number}/timeline"):
        assert_refused(other.get(path), 404, "not-found")


def test_an_orders_tag_is_its_version(shopper: Caller, product: Make) -> None:
    product("LAMP")
    number = place(shopper, "LAMP")
    shopper.post(f"/orders/{number}/cancel")

    answer = shopper.get(f"/orders/{number}")

    assert (answer.headers["ETag"], answer.json()["version"]) == ('"2"', 2)


def test_times_are_utc(shopper: Caller, product: Make) -> None:
    product("LAMP")
    order = shopper.get(f"/orders/{place(shopper, 'LAMP')}").json()
    timeline = shopper.get(f"/orders/{order['orderId']}/timeline").json()["results"]

    for text in (order["createdAt"], order["updatedAt"], timeline[0]["timestamp"]):
        assert text.endswith("Z")
        assert parse_datetime(text)


# --- filters ---------------------------------------------------------------------------------------------------------
def test_the_list_by_status(shopper: Caller, product: Make) -> None:
    product("LAMP")
    kept, called_off = place(shopper, "LAMP"), place(shopper, "LAMP")
    shopper.post(f"/orders/{called_off}/cancel")

    assert numbers(shopper, "?status=pending") == [kept]
    assert numbers(shopper, "?status=cancelled") == [called_off]
    assert numbers(shopper, "?status=shipped") == []


def test_the_list_by_time_has_its_beginning_and_not_its_end(shopper: Caller, product: Make) -> None:
    product("LAMP")
    old, new = place(shopper, "LAMP"), place(shopper, "LAMP")
    moment = days_ago(old, 3)

    assert numbers(shopper, f"?createdAfter={moment}") == [new, old]
    assert numbers(shopper, f"?createdBefore={moment}") == []
    assert numbers(shopper, f"?createdBefore={moment[:10]}T23:59:59Z") == [old]
    assert numbers(shopper, f"?createdAfter={moment[:10]}T23:59:59Z") == [new]


def test_staff_find_orders_by_customer_number_sku_and_email(
    shopper: Caller, other: Caller, staff: Caller, product: Make
) -> None:
    product("LAMP"), product("MUG")
    mine, theirs = place(shopper, "LAMP", "MUG"), place(other, "MUG")
    shopper.patch("/me", {"name": "Ada Lovelace"})

    assert numbers(staff, f"?user={shopper.sub}") == [mine]
    assert numbers(staff, "?user=nobody") == []
    for words, found in {
        mine: [mine],
        theirs[:-2].lower(): [theirs],
        "lamp": [mine],
        "MUG": [theirs, mine],
        "shopper@": [mine],
        "lovelace": [mine],
        "LAM": [],
        "%25": [],
    }.items():
        assert numbers(staff, f"?search={words}") == found, words


def test_customers_have_no_such_filters(shopper: Caller, other: Caller, product: Make) -> None:
    product("LAMP")
    mine = place(shopper, "LAMP")
    place(other, "LAMP")

    assert numbers(shopper, f"?user={other.sub}") == [mine]
    assert numbers(shopper, "?search=other") == [mine]


# --- the timeline ----------------------------------------------------------------------------------------------------
def test_the_timeline_tells_every_fact_in_order(shopper: Caller, staff: Caller, product: Make) -> None:
    product("LAMP")
    number = place(shopper, "LAMP")
    deduct_held_stock(order=Order.objects.get(number=number))
    shopper.post(f"/orders/{number}/cancel", {"reason": "too late"})

    answer = shopper.get(f"/orders/{number}/timeline")

    facts: list[dict[str, Any]] = answer.json()["results"]
    assert [(fact["type"], fact["orderVersion"]) for fact in facts] == [
        ("Order Created", 1),
        ("Stock Deducted", 2),
        ("Order Cancelled", 3),
    ]
    assert facts[2]["reason"] == "too late"
    assert [fact["timestamp"] for fact in facts] == sorted(fact["timestamp"] for fact in facts)
    assert staff.get(f"/orders/{number}/timeline").json() == answer.json()


@pytest.mark.parametrize("price", ["9999999999.99"])
def test_the_dearest_basket_is_placed_and_its_total_may_be_sent(shopper: Caller, product: Make, price: str) -> None:
    product("GOLD", price=price, on_hand=100_000)

    answer = shopper.post("/orders", order_body(("GOLD", 100_000), total="999999999999000.00"))

    assert (answer.status_code, answer.json()["total"]) == (201, "999999999999000.00")


def test_a_moment_without_a_zone_is_utc(shopper: Caller, product: Make, settings: Any) -> None:
    settings.TIME_ZONE = "Pacific/Honolulu"  # ten hours behind: its noon is our late evening
    product("LAMP")
    placed = shopper.post("/orders", order_body(("LAMP", 1))).json()
    moment = placed["createdAt"].removesuffix("Z")

    assert len(shopper.get(f"/orders?createdAfter={moment}").json()["results"]) == 1
    assert shopper.get(f"/orders?createdBefore={moment}").json()["results"] == []
