"""Every verb of fulfilment and of money back against every other, through HTTP, released at one moment."""

import functools
import itertools
import uuid
from collections import Counter
from collections.abc import Callable
from decimal import Decimal

import httpx
import pytest
from django.db.models import Sum

from orders import services
from orders.models import Order, OrderLine, Payment, Refund, ShipmentLine
from orders.services import audit_stock
from orders.workflow import process_payment
from tests.books import Books
from tests.in_process import shelf
from tests.over_http import Buyer, Shop, together
from vibecode.rights import Actor

type Act = Callable[[], httpx.Response]
UNITS = 6


class Desk:
    """An order of six units at 2.50, paid and off the shelf, and two people who work on it."""

    def __init__(self, shop: Shop) -> None:
        self.product = shop.product(on_hand=UNITS, price="2.50")
        self.number = shop.buyer().order((self.product, UNITS)).json()["orderId"]
        process_payment({"orderId": self.number}, None)
        services.deduct_held_stock(order=self.order)
        services.complete_order(order=self.order)
        self.people = [
            Buyer(shop.server.url, "staff@example.com", "staff"),
            Buyer(shop.server.url, "admin@example.com"),
        ]
        for person in self.people:
            shop.open.callback(person.http.close)
            person.http.get("/me").raise_for_status()
        self.turns = itertools.cycle(self.people)

    @property
    def order(self) -> Order:
        """As it is now."""
        return Order.objects.select_related("user").get(number=self.number)

    def act(self, verb: str, units: int = 0, **body: object) -> Act:
        """One request of one of the two, each under a key of its own."""
        if units:
            body["items"] = [{"sku": self.product.sku, "quantity": units}]
        if verb in {"refunds", "returns"}:
            body["reason"] = "late"
        key = {"Idempotency-Key": uuid.uuid4().hex}
        person = next(self.turns)
        return functools.partial(person.http.post, f"/orders/{self.number}/{verb}", json=body, headers=key)

    def check(self) -> OrderLine:
        """What holds after any race: nothing twice, the books right, the ledger right."""
        line = OrderLine.objects.get(order__number=self.number)
        assert line.shipped + line.withdrawn <= UNITS
        parcels = ShipmentLine.objects.filter(line=line).aggregate(sum=Sum("quantity"))["sum"] or 0
        assert parcels == line.shipped
        payment = Payment.objects.get(order__number=self.number)
        alive = Refund.objects.filter(payment=payment).exclude(state__in=["failed", "rejected"])
        given = payment.refunded + payment.proposed
        assert given == (alive.aggregate(sum=Sum("amount"))["sum"] or 0) <= payment.captured
        assert audit_stock() == []
        return line


@pytest.fixture
def desk(shop: Shop, books: Books) -> Desk:
    """The order, and who works on it."""
    return Desk(shop)


def codes(answers: list[httpx.Response]) -> Counter[int]:
    """How often each status was answered."""
    return Counter(answer.status_code for answer in answers)


def test_whole_against_whole_ships_once(desk: Desk) -> None:
    answers = together([desk.act("shipments") for _ in range(8)])

    assert codes(answers) == {201: 1, 409: 7}
    assert desk.check().shipped == UNITS


def test_parcels_of_two_ship_three_times(desk: Desk) -> None:
    answers = together([desk.act("shipments", 2) for _ in range(8)])

    assert codes(answers) == {201: 3, 409: 5}
    assert desk.check().shipped == UNITS
    assert sorted(answer.json()["number"] for answer in answers if answer.status_code == 201) == [1, 2, 3]


def test_a_cancellation_against_a_parcel_has_one_winner(desk: Desk) -> None:
    answers = together([desk.act("cancel"), desk.act("shipments")] * 4)

    won = {answer.request.url.path.rpartition("/")[2] for answer in answers if answer.is_success}
    assert len(won) == 1
    line = desk.check()
    assert (line.shipped, shelf(desk.product)) == ((UNITS, (0, 0)) if won == {"shipments"} else (0, (UNITS, 0)))
    assert desk.order.status == ("shipped" if won == {"shipments"} else "cancelled")


def test_refunds_of_the_same_items_are_given_once(desk: Desk) -> None:
    answers = together([desk.act("refunds", 4, restock=True) for _ in range(8)])

    assert codes(answers) == {201: 1, 409: 7}
    assert desk.check().restocked == 4
    assert shelf(desk.product) == (4, 0)


def test_refunds_by_amount_and_by_item_give_back_no_more_than_was_captured(desk: Desk) -> None:
    together([desk.act("refunds", 2) for _ in range(4)] + [desk.act("refunds", amount="4.00") for _ in range(4)])

    desk.check()
    assert Payment.objects.get(order__number=desk.number).refundable < Decimal("4.00")


def test_a_unit_either_ships_or_is_refunded(desk: Desk) -> None:
    together([desk.act("shipments", 1) for _ in range(6)] + [desk.act("refunds", 1, restock=True) for _ in range(6)])

    line = desk.check()
    assert line.shipped + line.withdrawn == UNITS
    assert line.refunded == UNITS  # a unit that had shipped before its refund came is a return


def test_a_cancellation_against_refunds_gives_every_penny_back_once(desk: Desk) -> None:
    answers = together([desk.act("refunds", 1, restock=True) for _ in range(6)] + [desk.act("cancel")] * 2)

    assert codes(answers)[200] == 2
    assert desk.check().shipped == 0
    assert Payment.objects.get(order__number=desk.number).refunded == Decimal("15.00")
    assert shelf(desk.product) == (UNITS, 0)


def test_returns_against_returns_and_deliveries_take_back_what_was_sent(desk: Desk) -> None:
    desk.act("shipments", 4)().raise_for_status()

    answers = together([desk.act("returns", 3) for _ in range(4)] + [desk.act("delivery", 1) for _ in range(6)])

    assert codes(answers) == {201: 1, 200: 4, 409: 5}
    assert desk.check().restocked == 3


def test_a_proposal_is_either_approved_or_rejected(desk: Desk) -> None:
    answer = desk.act("refunds", amount="600.00")()
    assert answer.status_code == 409  # no more than was captured, limit or not
    refund = services.request_refund(order=desk.order, amount=Decimal("5.00"), reason="late", actor=_somebody())
    Refund.objects.filter(pk=refund.pk).update(state="proposed")
    Payment.objects.filter(order__number=desk.number).update(refunded=0, proposed=refund.amount)

    address = f"refunds/{refund.reference}"
    answers = together([desk.act(f"{address}/approve"), desk.act(f"{address}/reject", reason="no")] * 4)

    assert codes(answers) == {200: 4, 409: 4}
    refund.refresh_from_db()
    assert (refund.state, bool(refund.approved_by)) in {("pending", True), ("rejected", False)}
    desk.check()


def _somebody() -> Actor:
    return Actor.part("somebody")
