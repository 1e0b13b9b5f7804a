"""Packing slips: what is on paper of an order and of a parcel, in any script, over any number of pages, for whom."""

import io
import unicodedata
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from django.test import override_settings
from pypdf import PdfReader

from orders.models import Order, Shipment
from orders.services import cancel_order, request_refund, ship_order
from orders.services.packing import NothingToPack, pack_orders, pack_parcel
from orders.slips import LACKING, MORE, Slip, SlipLine, print_slips
from orders.slips.writing import _wrapped, as_seen
from vibecode.errors import Denied
from vibecode.rights import GROUPS, Actor

PACKER = Actor.person("packer", ["warehouse"])
HOME = {
    "name": "Ada Lovelace", "line1": "12 St James Square", "city": "London", "postalCode": "SW1Y 4JH",
    "country": "GB", "phone": "+44 20 7946 0000",
}  # fmt: skip


def pages(content: bytes) -> list[str]:
    """The words of each page, Arabic in its plain letters."""
    read = PdfReader(io.BytesIO(content)).pages
    return [unicodedata.normalize("NFKC", page.extract_text()) for page in read]


def a_slip(*lines: SlipLine, address: tuple[str, ...] = ("Ada",), note: str = "") -> Slip:
    heads = ("Ordered", "Shipped", "To ship")
    return Slip("Vibecode", "ORD-1", ("Placed 1 May 2026",), address, note, heads, lines or (a_line(),))


def a_line(name: str = "Lamp", number: int = 1) -> SlipLine:
    return SlipLine(f"SKU-{number}", name, ("3", "1", "2"))


@pytest.fixture
def order(completed: Callable[..., Order]) -> Order:
    """Two lamps and three mugs for Ada, paid and off the shelf."""
    order = completed(("LAMP", 2), ("MUG", 3))
    order.shipping_address, order.note = HOME, "Ring twice"
    order.created_at = datetime(2026, 6, 30, 23, 30, tzinfo=UTC)
    order.save(update_fields=["shipping_address", "note", "created_at"])
    return order


def one(order: Order) -> Slip:
    [slip] = pack_orders(orders=Order.objects.filter(pk=order.pk), actor=PACKER)
    return slip


def test_a_slip_says_what_is_to_ship_and_where_and_neither_prices_nor_telephone(order: Order) -> None:
    [page] = pages(print_slips([one(order)]))

    for wanted in (
        "Vibecode", order.number, "Placed 1 July 2026", "Parcel 1 of 1, not shipped yet", "Ada Lovelace", "SW1Y 4JH",
        "Ring twice", "LAMP", "Product MUG", "Ordered", "To ship", "page 1 of 1",
    ):  # fmt: skip
        assert wanted in page, wanted
    for unwanted in ("2.50", "£", "7946", order.user.email):
        assert unwanted not in page, unwanted


@override_settings(TIME_ZONE="America/New_York")
def test_the_date_is_by_the_shops_clock(order: Order) -> None:
    assert one(order).facts[0] == "Placed 30 June 2026"


def test_what_has_shipped_is_on_its_parcels_slip_and_the_rest_on_the_orders(order: Order) -> None:
    ship_order(order=order, items={"LAMP": 2, "MUG": 1}, tracking="RM1", actor=PACKER)

    slip = one(order)

    assert [(line.sku, line.figures) for line in slip.lines] == [("MUG", ("3", "1", "2"))]
    assert slip.facts[1] == "Parcel 2 of 2, not shipped yet"
    sent = pack_parcel(parcel=Shipment.objects.get(), actor=PACKER)
    assert {line.sku: line.figures for line in sent.lines} == {"LAMP": ("2", "-", "2"), "MUG": ("3", "2", "1")}
    assert sent.facts[1].startswith("Parcel 1 of 1 so far, shipped ")
    assert sent.facts[2] == "Tracking number RM1"
    ship_order(order=order, actor=PACKER)
    assert (
        pack_parcel(parcel=Shipment.objects.get(number=1), actor=PACKER).facts[1].startswith("Parcel 1 of 2, shipped ")
    )
    with pytest.raises(NothingToPack):
        one(order)


def test_units_that_were_refunded_are_not_packed_and_said(order: Order) -> None:
    request_refund(order=order, items={"MUG": 1}, reason="broken", restock=True, actor=Actor.part("tests"))

    lines = {line.sku: line for line in one(order).lines}

    assert lines["MUG"].figures == ("3", "-", "2")
    assert lines["MUG"].remark == "Refunded and not sent: 1"


def test_what_is_not_paid_or_called_off_is_never_packed(order: Order) -> None:
    cancel_order(order=order, reason="no", actor=Actor.part("tests"))

    with pytest.raises(NothingToPack):
        one(order)


@pytest.mark.parametrize("group", GROUPS)
def test_only_who_ships_gets_slips(order: Order, group: str) -> None:
    actor = Actor.person("somebody", [group])
    ship_order(order=order, items={"MUG": 1}, actor=PACKER)

    if group in {"warehouse", "staff", "admin"}:
        assert pack_orders(orders=Order.objects.all(), actor=actor)
        assert pack_parcel(parcel=Shipment.objects.get(), actor=actor).lines
    else:
        with pytest.raises(Denied):
            pack_orders(orders=Order.objects.all(), actor=actor)
        with pytest.raises(Denied):
            pack_parcel(parcel=Shipment.objects.get(), actor=actor)


def test_the_slips_of_two_orders_cost_the_statements_of_one(
    completed: Callable[..., Order], order: Order, django_assert_num_queries: Any
) -> None:
    completed(("VASE", 1))

    with django_assert_num_queries(2):
        assert len(pack_orders(orders=Order.objects.all(), actor=PACKER)) == 2


def test_a_long_table_breaks_between_rows_and_each_page_has_its_head() -> None:
    lines = [a_line(f"Name {number}, " + "long " * (number % 20), number) for number in range(1, 61)]

    found = pages(print_slips([a_slip(*lines), a_slip()]))

    *slip, last = found
    assert len(slip) > 2
    for number, page in enumerate(slip, start=1):
        assert "SKU\nItem\nOrdered\nShipped\nTo ship" in page
        assert f"page {number} of {len(slip)}" in page
        assert "ORD-1" in page
    assert [page.count("SKU-") for page in slip].count(0) == 0
    assert [word for page in slip for word in page.split() if word.startswith("SKU-")] == [line.sku for line in lines]
    assert "page 1 of 1" in last


def test_greek_and_cyrillic_stay_and_hebrew_and_arabic_run_from_right_to_left() -> None:
    names = ["Λάμπα", "Лампа", "מנורה", "مصباح"]

    [page] = pages(print_slips([a_slip(*map(a_line, names), address=("محمد عبد الله",))]))

    assert all(name in page for name in [*names, "محمد عبد الله"])
    assert LACKING not in page
    # From left to right as it is seen: the words turned round, the number not, the brackets mirrored.
    assert as_seen("מנורה (גדולה) 40W", ["מנורה (גדולה) 40W"]) == ["40W (הלודג) הרונמ"]
    assert as_seen("Lamp (גדולה) 40W", ["Lamp (גדולה) 40W"]) == ["Lamp (הלודג) 40W"]
    assert as_seen("אב [Lamp (4) x] גד", ["אב [Lamp (4)", "x] גד"]) == ["Lamp (4)] בא", "דג [x"]
    assert as_seen("f(()) אב", ["f(()) אב"]) == ["f(()) בא"]
    assert as_seen("אב (())", ["אב (())"]) == ["(()) בא"]


def test_arabic_letters_are_joined() -> None:
    drawn = PdfReader(io.BytesIO(print_slips([a_slip(a_line("بيت"))]))).pages[0].extract_text()

    assert "بيت" not in drawn
    assert {"\ufe91", "\ufef4", "\ufe96"} <= set(drawn)  # its first, middle and last forms


def test_a_sign_that_the_font_lacks_is_a_box_and_the_foot_says_so() -> None:
    [first, second] = pages(print_slips([a_slip(a_line("台灯 lamp 🎉"), address=("李雷",)), a_slip()]))

    assert "□□ lamp □" in first
    assert LACKING in first
    assert LACKING not in second


@pytest.mark.parametrize(
    "text", ["", " ", "\x00\u200f\u202e", "a" * 1000, "\n" * 1000, "e\u0301\u0301", "\ufffd\U000e0001", "( [ <אב 1,2"]
)
def test_nothing_that_somebody_writes_breaks_a_slip(text: str) -> None:
    slip = a_slip(a_line(text), address=(text, "London"), note=text)

    [page, *_] = pages(print_slips([slip]))

    assert "London" in page
    assert "SKU-1" in page


def test_the_same_slip_is_the_same_file_and_none_at_all_says_so() -> None:
    assert print_slips([a_slip()]) == print_slips([a_slip()])
    assert "Nothing of these orders is left to ship." in pages(print_slips([]))[0]


def test_a_note_that_would_fill_the_page_ends_where_it_says_so() -> None:
    [page] = pages(print_slips([a_slip(note="First words\n" + "word " * 5000)]))

    assert "First words" in page
    assert unicodedata.normalize("NFKC", MORE) in " ".join(page.split())


def test_a_word_without_an_end_is_broken_in_few_looks() -> None:
    looks = []

    def fits(part: str) -> bool:
        looks.append(part)
        return len(part) <= 27

    lines = list(_wrapped("W" * 1000, fits))

    assert "".join(lines) == "W" * 1000
    assert {len(line) for line in lines[:-1]} == {27}
    assert len(looks) < 20 * len(lines)
