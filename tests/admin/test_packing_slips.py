"""Packing slips at the desk: from an order's page, from its parcels, from the list, and for those alone who ship."""

import io
from collections.abc import Callable
from typing import Any

import pytest
from django.urls import reverse
from pypdf import PdfReader

from orders.models import Order
from orders.services import ship_order
from tests.admin.conftest import Desk, desk_of
from vibecode.models import Job
from vibecode.rights import Actor


@pytest.fixture
def order(completed: Callable[..., Order]) -> Order:
    """Two lamps and three mugs, paid and off the shelf."""
    return completed(("LAMP", 2), ("MUG", 3))


def words(answer: Any) -> list[str]:
    """Of each page of an answer that is a PDF as it has to be."""
    assert answer.status_code == 200
    assert answer.headers["Content-Type"] == "application/pdf"
    assert "no-store" in answer.headers["Cache-Control"]
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert "object-src 'none'" in answer.headers["Content-Security-Policy"]
    return [page.extract_text() for page in PdfReader(io.BytesIO(answer.content)).pages]


def choose(desk: Desk, *orders: Order, every: bool = False) -> Any:
    """Tick rows of the list, or all that it finds, and print."""
    ticked = [str(order.pk) for order in orders]
    form = {"action": "packing_slips", "index": "0", "select_across": "1" if every else "0", "_selected_action": ticked}
    return desk.send("orders_order_changelist", **form)


def test_an_orders_page_leads_to_its_slip_in_a_new_tab(staff: Desk, order: Order) -> None:
    page = staff.open("orders_order_change", order.pk).content.decode()
    address = reverse("admin:orders_order_slip", args=[order.pk])
    link = next(part for part in page.split("<a ") if f'href="{address}"' in part).partition(">")[0]

    answer = staff.client.get(address)

    assert 'target="_blank"' in link
    assert answer.headers["Content-Disposition"] == f'inline; filename="packing-slip-{order.number}.pdf"'
    [page] = words(answer)
    assert order.number in page


def test_each_parcel_has_a_slip_and_what_is_gone_is_said(staff: Desk, order: Order) -> None:
    ship_order(order=order, actor=Actor.part("tests"))
    address = reverse("admin:orders_order_parcel_slip", args=[order.pk, 1])

    page = staff.open("orders_order_change", order.pk).content.decode()
    answer = staff.client.get(address)
    gone = staff.client.get(reverse("admin:orders_order_slip", args=[order.pk]), follow=True)

    assert f'href="{address}" target="_blank"' in page
    assert answer.headers["Content-Disposition"] == f'inline; filename="packing-slip-{order.number}-1.pdf"'
    assert "Parcel 1 of 1, shipped" in words(answer)[0]
    assert "Nothing is left to ship" in gone.content.decode()
    assert staff.open("orders_order_parcel_slip", order.pk, 2).status_code == 404
    assert staff.open("orders_order_slip", 0).status_code == 404


@pytest.mark.parametrize(
    ("group", "status"), [("support", 403), ("finance", 403), ("catalogue", 403), ("warehouse", 200)]
)
def test_only_who_ships_gets_one(order: Order, group: str, status: int) -> None:
    ship_order(order=order, items={"MUG": 1}, actor=Actor.part("tests"))
    desk = desk_of(group)

    assert desk.open("orders_order_slip", order.pk).status_code == status
    assert desk.open("orders_order_parcel_slip", order.pk, 1).status_code == status
    if group != "catalogue":
        page = desk.open("orders_order_change", order.pk).content.decode()
        assert ("packing-slip" in page) == (status == 200)
        assert (b"%PDF" in choose(desk, order).content) == (status == 200)


def test_a_stranger_signs_in_first(db: None, client: Any, order: Order) -> None:
    for name, more in (("slip", ()), ("parcel_slip", (1,))):
        answer = client.get(reverse(f"admin:orders_order_{name}", args=[order.pk, *more]))
        assert (answer.status_code, answer.headers["Location"].partition("?")[0]) == (302, reverse("admin:login"))


def test_the_list_prints_what_is_to_ship_of_what_was_ticked(
    staff: Desk, order: Order, completed: Callable[..., Order]
) -> None:
    other, gone = completed(("VASE", 1)), completed(("BOWL", 1))
    ship_order(order=gone, actor=Actor.part("tests"))

    answer = choose(staff, order, other, gone)

    pages = words(answer)
    assert answer.headers["Content-Disposition"] == 'inline; filename="packing-slips.pdf"'
    assert [order.number in pages[0], other.number in pages[1], len(pages)] == [True, True, 2]
    assert not Job.objects.exists()
    assert "Nothing is left to ship" in staff.client.get(choose(staff, gone).headers["Location"]).content.decode()


def test_more_than_fit_are_a_job(staff: Desk, order: Order, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("orders.jobs.LINES_AT_ONCE", 1)
    answer = choose(staff, order)

    job = Job.objects.get()
    assert (job.kind, job.rows, job.state) == ("packing-slips", 1, "running")
    assert answer.headers["Location"] == reverse("admin:vibecode_job_change", args=[job.pk])
    monkeypatch.setattr("orders.jobs.MOST_SLIP_LINES", 1)
    refused = staff.client.get(choose(staff, order).headers["Location"]).content.decode()
    assert "narrow the list first" in refused
    assert Job.objects.count() == 1
