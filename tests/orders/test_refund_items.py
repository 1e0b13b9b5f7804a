"""Refunds and returns by item: what they cost, what ships no more, what is back on the shelf; and a second person."""

import uuid
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest
from django.db import IntegrityError, transaction

from orders import services
from orders.models import Order, OrderLine, Payment, Refund
from orders.services import audit_stock, settling
from tests.books import Books
from tests.in_process import Caller, shelf, sign_in
from tests.platform.answers import assert_refused
from vibecode.models import OutboxEvent

type Make = Callable[..., Order]


@pytest.fixture
def finance(db: None) -> Caller:
    """Somebody of the group finance."""
    return Caller(sign_in("finance@example.com", "finance")["AccessToken"])


@pytest.fixture
def order(completed: Make) -> Order:
    """Two lamps and three mugs at 2.50 each, paid and off the shelf."""
    return completed(("LAMP", 2), ("MUG", 3))


def ask(who: Caller, order: Order, verb: str = "refunds", **body: Any) -> Any:
    """Ask for money back; units by SKU in capitals."""
    units = [{"sku": name, "quantity": body.pop(name)} for name in list(body) if name.isupper()]
    body |= {"items": units} if units else {}
    headers = {"If_Match": f'"{body.pop("version")}"'} if "version" in body else {}
    body.setdefault("reason", "broken")
    return who.post(f"/orders/{order.number}/{verb}", body, Idempotency_Key=uuid.uuid4().hex, **headers)


def ship(who: Caller, order: Order, **units: int) -> Any:
    """Send these units, or all that is left."""
    items = {"items": [{"sku": sku, "quantity": count} for sku, count in units.items()]} if units else {}
    return who.post(f"/orders/{order.number}/shipments", items, Idempotency_Key=uuid.uuid4().hex)


def answer_second(who: Caller, order: Order, refund: Any, verb: str = "approve", **body: Any) -> Any:
    """What the second person says."""
    return who.post(f"/orders/{order.number}/refunds/{refund.json()['refundId']}/{verb}", body)


def line(order: Order, sku: str) -> tuple[int, int, int, int]:
    """(shipped, refunded, withdrawn, restocked) units of a line."""
    found = OrderLine.objects.get(order=order, sku=sku)
    return found.shipped, found.refunded, found.withdrawn, found.restocked


def stock(order: Order, sku: str) -> tuple[int, int]:
    """The shelf of a line's product."""
    return shelf(OrderLine.objects.get(order=order, sku=sku).product)


def status(order: Order) -> tuple[str, str, str]:
    """(status, payment, fulfilment) as they are now."""
    fresh = Order.objects.get(pk=order.pk)
    return fresh.status, fresh.payment_status, fresh.fulfilment_status


def settle(order: Order) -> None:
    """What the consumer does."""
    services.settle_money(order=Order.objects.get(pk=order.pk))


# --- by item ---------------------------------------------------------------------------------------------------------
def test_items_cost_what_they_cost_and_go_back_on_the_shelf(staff: Caller, order: Order, books: Books) -> None:
    answer = ask(staff, order, MUG=2, restock=True)

    assert answer.status_code == 201, answer.content
    body = answer.json()
    assert (body["status"], body["amount"]) == ("pending", "5.00")
    assert body["items"] == [{"sku": "MUG", "quantity": 2, "restocked": 2}]
    assert (line(order, "MUG"), stock(order, "MUG")) == ((0, 2, 2, 2), (2, 0))
    settle(order)
    assert status(order) == ("completed", "partly_refunded", "deducted")
    assert books.of(order.number)["refunded"] == ["5.00"]
    assert staff.get(f"/orders/{order.number}/refunds").json()["results"][0]["status"] == "settled"
    assert audit_stock() == []


def test_what_was_refunded_does_not_ship(staff: Caller, order: Order) -> None:
    ask(staff, order, MUG=2)

    parcel = ship(staff, order).json()

    assert {item["sku"]: item["quantity"] for item in parcel["items"]} == {"LAMP": 2, "MUG": 1}
    assert status(order)[2] == "shipped"
    assert stock(order, "MUG") == (0, 0)
    assert audit_stock() == []


def test_refunding_the_rest_of_a_part_makes_it_shipped_and_what_has_arrived_delivered(
    staff: Caller, order: Order
) -> None:
    ship(staff, order, LAMP=2)
    staff.post(f"/orders/{order.number}/delivery", {})
    assert status(order)[2] == "partly_shipped"

    ask(staff, order, MUG=3, restock=True)

    assert status(order)[2] == "delivered"
    assert OutboxEvent.objects.filter(subject=order.number, detail_type="Order Delivered").count() == 1
    assert audit_stock() == []


def test_units_that_have_not_left_are_refunded_first(staff: Caller, order: Order) -> None:
    ship(staff, order, MUG=1)

    ask(staff, order, MUG=3, restock=True)

    assert (line(order, "MUG"), stock(order, "MUG")) == ((1, 3, 2, 3), (3, 0))
    assert_refused(ask(staff, order, MUG=1), 409, "too-many-units")


def test_a_whole_refund_is_all_money_and_all_goods(staff: Caller, order: Order, books: Books) -> None:
    ask(staff, order, amount="1.00")

    answer = ask(staff, order, restock=True)

    assert answer.json()["amount"] == "11.50"
    settle(order)
    assert status(order) == ("refunded", "refunded", "unfulfilled")
    assert (stock(order, "LAMP"), stock(order, "MUG")) == ((2, 0), (3, 0))
    assert_refused(ship(staff, order), 409, "illegal-transition")
    assert audit_stock() == []


def test_money_alone_moves_no_goods(staff: Caller, order: Order) -> None:
    assert ask(staff, order, amount="2.50").json()["items"] == []

    assert line(order, "MUG") == (0, 0, 0, 0)
    assert len(ship(staff, order).json()["items"]) == 2
    refused = ask(staff, order, amount="2.50", restock=True)
    assert refused.status_code == 400
    assert "Name the items" in refused.content.decode()


def test_an_amount_may_be_another_than_the_items_cost_but_never_more_than_is_left(staff: Caller, order: Order) -> None:
    assert ask(staff, order, MUG=3, amount="1.00").json()["amount"] == "1.00"

    problem = ask(staff, order, LAMP=2, amount="11.51")

    assert_refused(problem, 409, "not-refundable")
    assert line(order, "LAMP") == (0, 0, 0, 0)


def test_what_is_still_held_is_refunded_by_amount_only(staff: Caller, placed: Make) -> None:
    held = placed()
    services.pay(order=held)
    some = [{"sku": held.lines.get().sku, "quantity": 1}]

    assert_refused(ask(staff, held, items=some), 409, "illegal-transition")
    assert_refused(ask(staff, held), 409, "illegal-transition")
    assert ask(staff, held, amount="1.00").status_code == 201


def test_a_cancellation_returns_what_was_not_refunded_by_item(staff: Caller, order: Order, books: Books) -> None:
    ask(staff, order, MUG=2, restock=False)

    assert staff.post(f"/orders/{order.number}/cancel", {}).status_code == 200
    settle(order)

    assert (stock(order, "LAMP"), stock(order, "MUG")) == ((2, 0), (1, 0))
    assert books.of(order.number)["refunded"] == ["5.00", "7.50"]
    assert audit_stock() == []


def test_a_stale_version_gives_nothing_back(staff: Caller, order: Order) -> None:
    assert ask(staff, order, MUG=1, version=order.version).status_code == 201

    assert_refused(ask(staff, order, MUG=1, version=order.version), 412, "stale")

    assert Refund.objects.count() == 1


def test_what_is_wholly_refunded_does_not_ship_and_its_goods_go_back_for_no_money(
    staff: Caller, order: Order, books: Books
) -> None:
    ship(staff, order, LAMP=2)
    ask(staff, order, amount="12.50")

    assert_refused(ship(staff, order), 409, "illegal-transition")
    settle(order)
    assert_refused(ship(staff, order), 409, "illegal-transition")
    goods = ask(staff, order, MUG=3, amount="0.00", restock=True)

    assert (goods.status_code, goods.json()["status"], goods.json()["amount"]) == (201, "settled", "0.00")
    assert (status(order), stock(order, "MUG")) == (("refunded", "refunded", "shipped"), (3, 0))
    assert ask(staff, order, "returns", LAMP=2, amount="0").status_code == 201
    settle(order)
    assert books.of(order.number)["refunded"] == ["12.50"]
    assert audit_stock() == []


# --- returns ---------------------------------------------------------------------------------------------------------
def test_a_return_takes_back_what_was_shipped(staff: Caller, order: Order) -> None:
    ship(staff, order, MUG=2)

    answer = ask(staff, order, "returns", MUG=2)

    assert (answer.status_code, answer.json()["amount"]) == (201, "5.00")
    assert (line(order, "MUG"), stock(order, "MUG")) == ((2, 2, 0, 2), (2, 0))
    assert_refused(ask(staff, order, "returns", MUG=1), 409, "too-many-units")
    assert_refused(ask(staff, order, "returns", LAMP=1), 409, "too-many-units")
    assert {item["sku"] for item in ship(staff, order).json()["items"]} == {"LAMP", "MUG"}
    assert audit_stock() == []


def test_a_return_of_all_that_the_customer_has_may_be_broken(staff: Caller, order: Order) -> None:
    ship(staff, order)

    answer = ask(staff, order, "returns", restock=False)

    assert answer.json()["amount"] == "12.50"
    assert stock(order, "MUG") == (0, 0)
    assert status(order)[2] == "shipped"
    assert audit_stock() == []


# --- a second person -------------------------------------------------------------------------------------------------
def test_above_the_limit_a_refund_waits_for_somebody_else(
    staff: Caller, finance: Caller, shopper: Caller, order: Order, settings: Any, books: Books
) -> None:
    settings.REFUND_LIMIT = 4

    proposed = ask(finance, order, MUG=2, restock=True)

    assert (proposed.status_code, proposed.json()["status"]) == (201, "proposed")
    settle(order)
    assert (books.of(order.number)["refunded"], stock(order, "MUG")) == ([], (0, 0))
    assert not OutboxEvent.objects.filter(subject=order.number, detail_type="Refund Requested").exists()
    assert "Refund Requested" not in shopper.get(f"/orders/{order.number}/timeline").content.decode()
    assert shopper.get(f"/orders/{order.number}").json()["payment"]["refunded"] == "0.00"
    assert {item["sku"]: item["quantity"] for item in ship(staff, order).json()["items"]} == {"LAMP": 2, "MUG": 1}
    assert status(order)[2] == "partly_shipped"  # two may still have to ship
    assert_refused(answer_second(finance, order, proposed), 403, "forbidden")

    for _ in range(2):
        assert answer_second(staff, order, proposed).json()["status"] == "pending"

    settle(order)
    assert books.of(order.number)["refunded"] == ["5.00"]
    assert stock(order, "MUG") == (2, 0)
    assert status(order)[2] == "shipped"
    assert Refund.objects.get().approved_by == staff.sub
    assert audit_stock() == []


def test_a_rejected_refund_leaves_everything_as_it_was(
    staff: Caller, finance: Caller, order: Order, settings: Any
) -> None:
    settings.REFUND_LIMIT = 4
    proposed = ask(finance, order, MUG=2, restock=True)
    assert_refused(ask(staff, order, amount="8.00"), 409, "not-refundable")

    rejected = answer_second(staff, order, proposed, "reject", reason="the customer keeps them")

    assert rejected.json()["status"] == "rejected"
    assert (line(order, "MUG"), stock(order, "MUG")) == ((0, 0, 0, 0), (0, 0))
    assert Payment.objects.get(order=order).refundable == Decimal("12.50")
    assert_refused(answer_second(staff, order, proposed), 409, "refund-not-proposed")
    assert len(ship(staff, order).json()["items"]) == 2
    assert audit_stock() == []


def test_nobody_gets_around_the_limit_in_pieces(finance: Caller, staff: Caller, order: Order, settings: Any) -> None:
    settings.REFUND_LIMIT = 4

    states = [ask(finance, order, amount="2.00").json()["status"] for _ in range(3)]

    assert states == ["pending", "pending", "proposed"]
    assert ask(staff, order, amount="2.00").json()["status"] == "pending"


def test_a_cancellation_makes_an_end_of_proposals(
    finance: Caller, staff: Caller, order: Order, settings: Any, books: Books
) -> None:
    settings.REFUND_LIMIT = 4
    proposed = ask(finance, order, MUG=2, restock=True)

    assert staff.post(f"/orders/{order.number}/cancel", {}).status_code == 200
    settle(order)

    assert_refused(answer_second(staff, order, proposed), 409, "refund-not-proposed")
    assert books.of(order.number)["refunded"] == ["12.50"]
    assert (stock(order, "LAMP"), stock(order, "MUG")) == ((2, 0), (3, 0))
    assert audit_stock() == []


def test_the_database_has_the_last_word_on_the_second_person(finance: Caller, order: Order) -> None:
    ask(finance, order, amount="1.00")

    with pytest.raises(IntegrityError, match="refund_is_approved_by_somebody_else"), transaction.atomic():
        Refund.objects.update(approved_by=finance.sub)


# --- notes -----------------------------------------------------------------------------------------------------------
def test_staff_leave_notes_that_customers_never_see(staff: Caller, shopper: Caller, order: Order) -> None:
    notes = f"/orders/{order.number}/notes"

    written = staff.post(notes, {"text": "Called: wants it on Friday."})

    assert (written.status_code, written.json()["author"]) == (201, staff.sub)
    assert [note["text"] for note in staff.get(notes).json()["results"]] == ["Called: wants it on Friday."]
    assert_refused(shopper.get(notes), 403, "forbidden")
    assert "Friday" not in shopper.get(f"/orders/{order.number}").content.decode()
    assert staff.post(notes, {"text": ""}).status_code == 400


# --- beside the workflow ---------------------------------------------------------------------------------------------
def test_an_order_all_of_whose_goods_were_refunded_still_completes(staff: Caller, placed: Make, books: Books) -> None:
    order = placed()
    services.pay(order=order)
    services.deduct_held_stock(order=order)
    sku = order.lines.get().sku
    assert ask(staff, order, items=[{"sku": sku, "quantity": 2}], amount="4.00", restock=True).status_code == 201

    services.complete_order(order=order)
    settle(order)

    assert status(order) == ("completed", "partly_refunded", "unfulfilled")
    assert books.of(order.number)["refunded"] == ["4.00"]  # nobody gives back what staff kept
    assert audit_stock() == []


def test_what_has_shipped_is_not_marked_failed(staff: Caller, placed: Make) -> None:
    order = placed()
    services.pay(order=order)
    services.deduct_held_stock(order=order)
    ship(staff, order)

    services.fail_order(order=order)

    assert status(order)[0] == "shipped"
    services.complete_order(order=order)
    assert audit_stock() == []


def test_the_sweep_leaves_a_proposal_alone_where_a_refund_failed(finance: Caller, order: Order, settings: Any) -> None:
    settings.REFUND_LIMIT = 4
    services.fail_order(order=order)
    refused = ask(finance, order, amount="1.00").json()["refundId"]
    settling.fail_refund(order=order, reference=refused, reason="account closed")
    assert ask(finance, order, amount="5.00").json()["status"] == "proposed"

    settle(order)

    assert sorted(Refund.objects.values_list("state", flat=True)) == ["failed", "proposed"]
