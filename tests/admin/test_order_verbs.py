"""The dialogs of an order's page: each calls its service once, bears a stale page and a double click, obeys rights."""

import html
import re
from collections.abc import Callable
from typing import Any

import pytest

from orders.models import Order, OrderNote, Refund, Shipment
from orders.services import request_refund, ship_order
from tests.admin.conftest import Desk, desk_of
from tests.in_process import shelf
from vibecode.rights import Actor

SOMEBODY = Actor.part("somebody")


@pytest.fixture
def order(completed: Callable[..., Order]) -> Order:
    """Two lamps and three mugs, paid and off the shelf."""
    return completed(("LAMP", 2), ("MUG", 3))


def fields(order: Order, **units: int) -> dict[str, Any]:
    """What a dialog about units sends: so many of each SKU, at the order's version as it was read."""
    lines = {line.sku: line.pk for line in order.lines.all()}
    return {"version": order.version, **{f"units_{lines[sku]}": count for sku, count in units.items()}}


def said(page: Any) -> str:
    """The words of a dialog."""
    return html.unescape(re.sub(r"<[^>]+>", " ", page.content.decode()))


def test_a_parcel_is_sent_with_what_is_left_by_default(staff: Desk, order: Order) -> None:
    page = staff.open("orders_order_ship", order.pk).content.decode()
    assert re.findall(r'name="units_\d+" value="(\d)"', page) == ["2", "3"]

    answer = staff.dialog("orders_order_ship", order.pk, **fields(order, LAMP=2, MUG=1), tracking="RM1")

    assert answer.headers["HX-Refresh"] == "true"
    parcel = Shipment.objects.get()
    assert (parcel.tracking, parcel.actor) == ("RM1", staff.user.cognito_sub)
    assert Order.objects.get(pk=order.pk).status == "partly_shipped"
    shown = staff.open("orders_order_change", order.pk).content.decode()
    assert "1 of 3" in said(staff.open("orders_order_change", order.pk))
    assert "RM1" in shown
    assert "Partly shipped" in said(staff.open("orders_order_history", order.pk))


def test_a_double_click_sends_one_parcel_and_the_second_is_told_why(staff: Desk, order: Order) -> None:
    sent = fields(order, MUG=1) | {"tracking": "RM1"}
    staff.dialog("orders_order_ship", order.pk, **sent)

    again = staff.dialog("orders_order_ship", order.pk, **sent)

    assert Shipment.objects.count() == 1
    assert "somebody else has changed it" in said(again)


def test_a_stale_dialog_keeps_what_was_typed_and_goes_on_from_the_new_version(staff: Desk, order: Order) -> None:
    ship_order(order=order, items={"LAMP": 1}, actor=SOMEBODY)

    page = staff.dialog("orders_order_ship", order.pk, **fields(order, LAMP=2, MUG=1), tracking="typed with care")

    text = page.content.decode()
    assert "somebody else has changed it" in said(page)
    assert 'value="typed with care"' in text
    assert "1 of 2 to ship" in said(page)
    version = int(re.findall(r'name="version" value="(\d+)"', text)[0])
    order.refresh_from_db()
    assert version == order.version
    refused = staff.dialog("orders_order_ship", order.pk, **fields(order, LAMP=2))
    assert "LAMP: 2 asked for, 1 left to ship" in said(refused)
    staff.dialog("orders_order_ship", order.pk, **fields(order, LAMP=1, MUG=3))
    assert Order.objects.get(pk=order.pk).status == "shipped"


def test_nothing_chosen_is_said_and_nothing_ships(staff: Desk, order: Order) -> None:
    page = staff.dialog("orders_order_ship", order.pk, **fields(order, LAMP=0))

    assert "Choose at least one unit." in said(page)
    assert not Shipment.objects.exists()


def test_a_parcel_arrives(staff: Desk, order: Order) -> None:
    ship_order(order=order, items={"LAMP": 1}, tracking="A", actor=SOMEBODY)
    ship_order(order=order, tracking="B", actor=SOMEBODY)
    order.refresh_from_db()

    staff.dialog("orders_order_deliver", order.pk, version=order.version, parcel="A")

    assert [bool(parcel.delivered_at) for parcel in Shipment.objects.order_by("number")] == [True, False]
    order.refresh_from_db()
    staff.dialog("orders_order_deliver", order.pk, version=order.version, parcel="")
    assert Order.objects.get(pk=order.pk).status == "delivered"


def test_items_are_refunded_and_put_back(staff: Desk, order: Order) -> None:
    answer = staff.dialog(
        "orders_order_refund", order.pk, **fields(order, MUG=2), what="items", amount="", restock="on", reason="broken"
    )

    assert answer.headers["HX-Refresh"] == "true"
    refund = Refund.objects.get()
    assert (str(refund.amount), refund.reason, refund.actor) == ("5.00", "broken", staff.user.cognito_sub)
    assert shelf(order.lines.get(sku="MUG").product) == (2, 0)
    page = said(staff.open("orders_order_change", order.pk))
    assert "£5.00" in page
    assert "2 × MUG · broken" in page


@pytest.mark.parametrize(
    ("sent", "refusal"),
    [
        ({"what": "items", "amount": "1.00"}, "Choose at least one unit."),
        ({"what": "amount", "amount": ""}, "Say how much."),
        ({"what": "amount", "amount": "0"}, "Say how much."),
        ({"what": "amount", "amount": "-1"}, "greater than or equal to 0"),
        ({"what": "amount", "amount": "12.51"}, "12.50 GBP of"),
    ],
)
def test_a_refund_that_makes_no_sense_is_explained_and_nothing_goes_back(
    staff: Desk, order: Order, sent: dict[str, str], refusal: str
) -> None:
    page = staff.dialog("orders_order_refund", order.pk, version=order.version, reason="typed", **sent)

    assert refusal in said(page)
    assert 'value="typed"' in page.content.decode()
    assert not Refund.objects.exists()


def test_everything_is_refunded_at_once(staff: Desk, order: Order) -> None:
    staff.dialog("orders_order_refund", order.pk, version=order.version, what="all", restock="on", reason="sorry")

    assert str(Refund.objects.get().amount) == "12.50"
    assert Order.objects.get(pk=order.pk).fulfilment_status == "unfulfilled"


def test_shipped_goods_are_taken_back(staff: Desk, order: Order) -> None:
    ship_order(order=order, actor=SOMEBODY)
    order.refresh_from_db()

    staff.dialog("orders_order_take_back", order.pk, **fields(order, LAMP=1), restock="on", reason="too bright")

    assert str(Refund.objects.get().amount) == "2.50"
    assert shelf(order.lines.get(sku="LAMP").product) == (1, 0)


def test_a_large_refund_is_decided_by_somebody_else(staff: Desk, boss: Desk, order: Order, settings: Any) -> None:
    settings.REFUND_LIMIT = 4
    staff.dialog("orders_order_refund", order.pk, version=order.version, what="amount", amount="5", reason="late")
    refund = Refund.objects.get()
    assert refund.state == "proposed"
    order.refresh_from_db()
    decision = {"version": order.version, "refund": refund.pk, "decision": "approve", "reason": ""}

    own = staff.dialog("orders_order_decide", order.pk, **decision)
    assert "you asked for it yourself" in said(own)
    assert "Say why." in said(boss.dialog("orders_order_decide", order.pk, **decision | {"decision": "reject"}))
    boss.dialog("orders_order_decide", order.pk, **decision)

    refund.refresh_from_db()
    assert (refund.state, refund.approved_by) == ("pending", boss.user.cognito_sub)
    assert "Decide on refund" not in boss.open("orders_order_change", order.pk).content.decode()


def test_a_note_is_kept_in_the_writers_words(staff: Desk, order: Order) -> None:
    staff.dialog("orders_order_note", order.pk, version=order.version, text="Rings <b>twice</b>\nat noon")

    assert OrderNote.objects.get().actor == staff.user.cognito_sub
    page = staff.open("orders_order_change", order.pk).content.decode()
    assert "Rings &lt;b&gt;twice&lt;/b&gt;" in page


OFFERS = {
    "support": {"Note", "Cancel order"},
    "warehouse": {"Ship"},
    "finance": {"Refund"},
    "staff": {"Ship", "Refund", "Note", "Cancel order"},
}


@pytest.mark.parametrize("group", OFFERS)
def test_each_group_is_offered_its_own_verbs_and_refused_the_others_by_forged_requests(
    group: str, order: Order
) -> None:
    desk = desk_of(group)
    page = said(desk.open("orders_order_change", order.pk))
    offered = {verb for verb in OFFERS["staff"] if re.search(rf"\s{verb}\s", page)}
    assert offered >= OFFERS[group]

    version = order.version
    forged = {
        "ship": fields(order, LAMP=1),
        "refund": {"version": version, "what": "amount", "amount": "1", "reason": "x"},
        "note": {"version": version, "text": "x"},
        "cancel": {"version": version, "reason": "x"},
    }
    words = {"ship": "Ship", "refund": "Refund", "note": "Note", "cancel": "Cancel order"}
    for verb, form in forged.items():
        if words[verb] not in OFFERS[group]:
            assert desk.dialog(f"orders_order_{verb}", order.pk, **form).status_code == 403, verb
    assert not Shipment.objects.exists()
    assert not Refund.objects.exists()
    assert not OrderNote.objects.exists()
    assert Order.objects.get(pk=order.pk).status == "completed"


def test_only_what_can_be_done_is_offered(staff: Desk, order: Order) -> None:
    def offers() -> set[str]:
        page = staff.open("orders_order_change", order.pk).content.decode()
        return set(re.findall(rf"/orders/order/{order.pk}/([a-z-]+)/", page)) - {"change", "history"}

    assert offers() == {"ship", "packing-slip", "refund", "note", "cancel"}
    ship_order(order=order, items={"LAMP": 1}, actor=SOMEBODY)
    assert offers() == {"ship", "packing-slip", "parcels", "deliver", "refund", "return", "note"}
    order.refresh_from_db()
    request_refund(order=order, reason="", actor=SOMEBODY)
    assert offers() == {"parcels", "deliver", "note"}


def test_a_dialog_of_no_order_is_a_404(staff: Desk, order: Order) -> None:
    assert staff.open("orders_order_ship", 10**9).status_code == 404


def test_a_long_order_ships_whole_from_the_desk(staff: Desk, completed: Callable[..., Order]) -> None:
    order = completed(*((f"PART-{n}", 1) for n in range(41)))
    assert "units_" not in staff.open("orders_order_ship", order.pk).content.decode()

    assert "All 41 units of 41 lines" in said(staff.dialog("orders_order_ship", order.pk, version=order.version))
    assert not Shipment.objects.exists()
    staff.dialog("orders_order_ship", order.pk, version=order.version, everything="on")

    assert Order.objects.get(pk=order.pk).status == "shipped"
