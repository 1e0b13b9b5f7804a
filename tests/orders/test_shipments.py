"""POST /orders/{orderId}/shipments and /delivery: goods leave the house and arrive, whole or in part."""

import uuid
from collections.abc import Callable
from typing import Any

import pytest
from django.db import IntegrityError, transaction
from django.db.models import F

from orders.models import Order, OrderLine, Shipment, ShipmentLine
from orders.services import audit_stock, cancel_order
from orders.workflow import process_payment
from tests.in_process import Caller, shelf
from tests.platform.answers import assert_refused
from vibecode.models import OutboxEvent
from vibecode.rights import Actor

type Make = Callable[..., Order]


def ship(who: Caller, order: Order, key: str = "", **body: Any) -> Any:
    """Ask for a parcel under a fresh key, or this one; ``version`` goes into If-Match."""
    headers = {"If_Match": f'"{body.pop("version")}"'} if "version" in body else {}
    return who.post(f"/orders/{order.number}/shipments", body, Idempotency_Key=key or uuid.uuid4().hex, **headers)


def items(**units: int) -> list[dict[str, Any]]:
    """Units by SKU, as a body has them."""
    return [{"sku": sku, "quantity": quantity} for sku, quantity in units.items()]


def facts(order: Order, kind: str) -> list[dict[str, Any]]:
    """What the outbox holds of one kind."""
    return [row.detail for row in OutboxEvent.objects.filter(subject=order.number, detail_type=kind).order_by("id")]


def test_a_whole_order_ships_and_arrives(staff: Caller, shopper: Caller, completed: Make) -> None:
    order = completed(("LAMP", 2), ("MUG", 1))

    answer = ship(staff, order, tracking="RM123")

    assert answer.status_code == 201, answer.content
    parcel = answer.json()
    assert (parcel["number"], parcel["tracking"], parcel["deliveredAt"]) == (1, "RM123", None)
    assert parcel["items"] == items(LAMP=2, MUG=1)
    [fact] = facts(order, "Order Shipped")
    assert (fact["items"], fact["tracking"], fact["status"]) == (items(LAMP=2, MUG=1), "RM123", "shipped")
    assert shopper.get(f"/orders/{order.number}").json()["status"] == "shipped"

    arrived = staff.post(f"/orders/{order.number}/delivery", {})

    assert (arrived.status_code, arrived.json()["status"]) == (200, "delivered")
    assert facts(order, "Order Delivered")[0]["orderVersion"] == arrived.json()["version"]
    [seen] = shopper.get(f"/orders/{order.number}/shipments").json()["results"]
    assert seen["deliveredAt"] is not None
    again = staff.post(f"/orders/{order.number}/delivery", {})
    assert (again.status_code, again.json()["version"]) == (200, arrived.json()["version"])
    assert audit_stock() == []


def test_parcels_add_up_to_the_order(staff: Caller, completed: Make) -> None:
    order = completed(("LAMP", 3), ("MUG", 1))

    first = ship(staff, order, items=items(lamp=1, LAMP=1), tracking="A")
    assert first.json()["items"] == items(LAMP=2)
    assert Order.objects.get(pk=order.pk).status == "partly_shipped"
    second = ship(staff, order)

    assert (second.json()["number"], second.json()["items"]) == (2, items(LAMP=1, MUG=1))
    assert Order.objects.get(pk=order.pk).status == "shipped"
    assert [fact["status"] for fact in facts(order, "Order Shipped")] == ["partly_shipped", "shipped"]
    refused = ship(staff, order)
    assert_refused(refused, 409, "too-many-units")
    assert Shipment.objects.filter(order=order).count() == 2


def test_an_order_is_delivered_when_all_its_parcels_are(staff: Caller, completed: Make) -> None:
    order = completed(("LAMP", 3), ("MUG", 2))
    ship(staff, order, items=items(LAMP=2), tracking="A")
    ship(staff, order, tracking="B")
    arrive = f"/orders/{order.number}/delivery"

    assert staff.post(arrive, {"tracking": "B", "items": items(MUG=1)}).json()["status"] == "shipped"
    assert_refused(staff.post(arrive, {"tracking": "B", "items": items(MUG=2)}), 409, "too-many-units")
    assert_refused(staff.post(arrive, {"tracking": "C"}), 409, "too-many-units")
    for _ in range(2):
        assert staff.post(arrive, {"tracking": "A"}).json()["status"] == "shipped"
    assert [bool(parcel.delivered_at) for parcel in Shipment.objects.order_by("number")] == [True, False]

    assert staff.post(arrive, {}).json()["status"] == "delivered"
    assert len(facts(order, "Order Delivered")) == 1


def test_more_than_is_left_is_refused_by_line_and_nothing_ships(staff: Caller, completed: Make) -> None:
    order = completed(("LAMP", 2), ("MUG", 1))
    staff.get("/me")  # the first sight of somebody is a fact too
    before = OutboxEvent.objects.count()

    answer = ship(staff, order, items=items(LAMP=3, MUG=2))

    assert_refused(answer, 409, "too-many-units")
    assert answer.json()["lines"] == [
        {"sku": "LAMP", "requested": 3, "left": 2},
        {"sku": "MUG", "requested": 2, "left": 1},
    ]
    stranger = ship(staff, order, items=items(LAMP=1, SOFA=1))
    assert_refused(stranger, 422, "not-in-order")
    assert stranger.json()["skus"] == ["SOFA"]
    assert not Shipment.objects.exists()
    assert OutboxEvent.objects.count() == before


def test_one_key_makes_one_parcel(staff: Caller, completed: Make) -> None:
    order = completed(("LAMP", 2))

    first, second = (ship(staff, order, key="parcel", items=items(LAMP=1)) for _ in range(2))

    assert first.content == second.content
    assert second["Idempotent-Replayed"] == "true"
    assert Shipment.objects.count() == 1
    assert_refused(staff.post(f"/orders/{order.number}/shipments", {}), 400, "idempotency-key-missing")


def test_a_stale_version_ships_nothing(staff: Caller, completed: Make) -> None:
    order = completed(("LAMP", 2))
    assert ship(staff, order, items=items(LAMP=1), version=order.version).status_code == 201

    answer = ship(staff, order, items=items(LAMP=1), version=order.version)

    assert_refused(answer, 412, "stale")
    assert Shipment.objects.count() == 1


def test_what_is_not_paid_or_still_on_the_shelf_or_over_does_not_ship(
    staff: Caller, placed: Callable[..., Order], completed: Make
) -> None:
    unpaid = placed()
    assert_refused(ship(staff, unpaid), 409, "illegal-transition")
    process_payment({"orderId": unpaid.number}, None)
    assert_refused(ship(staff, unpaid), 409, "illegal-transition")
    gone = completed(("LAMP", 2))
    cancel_order(order=gone, reason="", actor=Actor.part("tests"))
    assert_refused(ship(staff, gone), 409, "order-is-over")
    assert_refused(staff.post(f"/orders/{gone.number}/delivery", {}), 409, "too-many-units")
    assert not Shipment.objects.exists()


def test_what_has_shipped_is_not_cancelled(staff: Caller, shopper: Caller, completed: Make) -> None:
    order = completed(("LAMP", 2))
    ship(staff, order, items=items(LAMP=1))

    for who in (staff, shopper):
        assert_refused(who.post(f"/orders/{order.number}/cancel", {}), 409, "illegal-transition")


def test_customers_and_strangers_ship_nothing_and_see_their_own_parcels_only(
    stranger: Caller, shopper: Caller, other: Caller, staff: Caller, completed: Make
) -> None:
    order = completed(("LAMP", 2))

    assert_refused(ship(stranger, order), 401, "not-authenticated")
    assert_refused(ship(shopper, order), 403, "forbidden")
    assert ship(staff, order).status_code == 201
    assert shopper.get(f"/orders/{order.number}/shipments").status_code == 200
    assert_refused(other.get(f"/orders/{order.number}/shipments"), 404, "not-found")


@pytest.mark.parametrize(
    "body",
    [
        {"items": []},
        {"items": items(LAMP=0)},
        {"items": "LAMP"},
        {"parcel": "A"},
        {"tracking": "x" * 101},
        {"items": None},
    ],
)
def test_nonsense_is_a_400_and_ships_nothing(staff: Caller, completed: Make, body: dict[str, Any]) -> None:
    order = completed(("LAMP", 2))

    assert ship(staff, order, **body).status_code == 400
    assert not Shipment.objects.exists()


def test_the_database_has_the_last_word_on_what_leaves(staff: Caller, completed: Make) -> None:
    order = completed(("LAMP", 2))
    ship(staff, order)
    lines = OrderLine.objects.filter(order=order)

    for change, name in (
        ({"shipped": F("quantity") + 1}, "order_line_ships_no_more_than_ordered"),
        ({"withdrawn": 1, "refunded": 1}, "order_line_ships_no_more_than_ordered"),
        ({"shipped": 1, "withdrawn": 1}, "order_line_withdraws_no_more_than_refunded"),
        ({"shipped": 1, "refunded": 2}, "order_line_refunded_has_left_or_stays"),
        ({"restocked": 1}, "order_line_restocks_no_more_than_refunded"),
    ):
        with pytest.raises(IntegrityError, match=name), transaction.atomic():
            lines.update(**change)
    with pytest.raises(IntegrityError, match="shipment_line_delivers_no_more_than_it_holds"), transaction.atomic():
        ShipmentLine.objects.update(delivered=F("quantity") + 1)
    with pytest.raises(IntegrityError, match="shipment_number_stands_once"), transaction.atomic():
        Shipment.objects.create(order=order, number=1, actor="me")


def test_shipping_moves_no_stock_and_is_told_to_the_customer(staff: Caller, shopper: Caller, completed: Make) -> None:
    order = completed(("LAMP", 2))
    lamp = order.lines.get().product
    before = shelf(lamp)

    ship(staff, order, tracking="RM1")

    assert shelf(lamp) == before
    story = shopper.get(f"/orders/{order.number}/timeline").json()["results"]
    assert (story[-1]["type"], story[-1]["tracking"], story[-1]["items"]) == ("Order Shipped", "RM1", {"LAMP": 2})


def test_a_thousand_lines_ship_in_as_many_statements_as_one(
    staff: Caller, completed: Make, django_assert_max_num_queries: Any
) -> None:
    many = completed(*((f"PART-{n}", 1) for n in range(40)))
    ship(staff, completed(("ONE", 1)))

    with django_assert_max_num_queries(26):
        answer = ship(staff, many)

    assert len(answer.json()["items"]) == 40
