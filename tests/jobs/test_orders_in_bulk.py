"""Orders shipped by the dozen and written to files: over all pages of a filter, each with its own result."""

import csv
import io
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import httpx
import pytest
from django.test import Client
from django.urls import reverse
from django.utils import timezone
from openpyxl import load_workbook
from pypdf import PdfReader

from orders.jobs import export_orders, print_packing_slips, ship_orders
from orders.models import Order, Shipment
from orders.services import cancel_order, complete_order, deduct_held_stock, ship_order
from orders.workflow import process_payment
from tests.in_process import Caller, make_product, order_body
from tests.jobs.clerks import Clerk
from tests.orders.test_consumers import deliver
from vibecode.errors import Denied
from vibecode.jobs import sweep
from vibecode.jobs.running import NotNow, begin_job, cancel_job
from vibecode.models import Job, JobRow
from vibecode.rights import Actor


@pytest.fixture
def paid(shopper: Caller, books: Any) -> Callable[[int], list[Order]]:
    """A maker of orders that are paid and off the shelf."""

    def make(count: int) -> list[Order]:
        product = make_product(on_hand=count)
        made = []
        for _ in range(count):
            number = shopper.post("/orders", order_body((product.sku, 1))).json()["orderId"]
            process_payment({"orderId": number}, None)
            order = Order.objects.get(number=number)
            deduct_held_stock(order=order)
            made.append(complete_order(order=order))
        return made

    return make


def browser_of(clerk: Clerk) -> Client:
    """Their browser."""
    client = Client()
    client.force_login(clerk.user, backend="accounts.authentication.CognitoPasswordBackend")
    return client


def choose_all(browser: Client, action: str, query: str = "") -> Any:
    """Tick the first page's rows, then all that the filter finds, and begin an action."""
    page = reverse("admin:orders_order_changelist") + query
    ticked = [str(Order.objects.values_list("pk", flat=True)[0])]
    return browser.post(page, {"action": action, "select_across": "1", "index": "0", "_selected_action": ticked})


def test_sixty_orders_over_two_pages_ship_but_for_three_that_say_why(
    clerk: Clerk, paid: Callable[[int], list[Order]]
) -> None:
    orders = paid(60)
    for order in orders[:3]:
        cancel_order(order=order, actor=Actor.part("tests"), reason="changed their mind")
    browser = browser_of(clerk)

    answer = choose_all(browser, "ship_all")

    job = Job.objects.get()
    assert answer.headers["Location"] == reverse("admin:vibecode_job_change", args=[job.pk])
    page = browser.get(answer.headers["Location"]).content.decode()
    assert "Ship orders: 60 orders" in page
    assert "cannot be taken back" in page
    assert not Shipment.objects.exists()
    browser.post(reverse("admin:vibecode_job_begin", args=[job.pk]))
    clerk.works()
    job.refresh_from_db()
    assert (job.state, job.rows, job.done, job.bad) == ("done", 60, 57, 3)
    assert Shipment.objects.count() == 57
    assert {parcel.actor for parcel in Shipment.objects.all()} == {clerk.user.cognito_sub}
    refused = {row.data["order"]: row.errors[""] for row in job.lines.bad()}
    assert set(refused) == {order.number for order in orders[:3]}
    assert all("cancelled" in said for said in refused.values())
    page = browser.get(reverse("admin:vibecode_job_change", args=[job.pk])).content.decode()
    assert all(number in page for number in refused)
    assert "Parcel 1 is on its way" in page
    link = browser.get(reverse("admin:vibecode_job_results", args=[job.pk])).headers["Location"]
    results = httpx.get(link, trust_env=False).text.splitlines()
    assert len(results) == 61
    assert sum(line.endswith(",Done,Parcel 1 is on its way") for line in results) == 57


def test_only_what_the_filter_finds_is_shipped(clerk: Clerk, paid: Callable[[int], list[Order]]) -> None:
    first, second = paid(2)

    choose_all(browser_of(clerk), "ship_all", f"?q={second.number}")

    assert [row.data["order"] for row in Job.objects.get().lines.all()] == [second.number]
    assert first.number != second.number


def test_a_list_that_is_sent_twice_makes_one_job(clerk: Clerk, paid: Callable[[int], list[Order]]) -> None:
    [order] = paid(1)
    browser, page = browser_of(clerk), reverse("admin:orders_order_changelist")
    forms = [browser.get(page).context["action_form"] for _ in range(2)]
    first, second = ({"once": form["once"].value(), "_selected_action": order.pk, "index": "0"} for form in forms)

    made = browser.post(page, {"action": "export_csv", **first})
    again = browser.post(page, {"action": "export_csv", **first})

    job = Job.objects.get()
    assert made.headers["Location"] == reverse("admin:vibecode_job_change", args=[job.pk])
    assert again.headers["Location"] == reverse("admin:vibecode_job_changelist")
    assert "begun already" in browser.get(again.headers["Location"]).content.decode()
    browser.post(page, {"action": "ship_all", **first})
    browser.post(page, {"action": "export_csv", **second})
    assert Job.objects.count() == 3


def test_what_a_list_was_refused_can_be_sent_again_from_the_page_that_was_left(
    clerk: Clerk, paid: Callable[[int], list[Order]], monkeypatch: pytest.MonkeyPatch
) -> None:
    orders = paid(2)
    browser, page = browser_of(clerk), reverse("admin:orders_order_changelist")
    once = browser.get(page).context["action_form"]["once"].value()
    form = {"action": "ship_all", "once": once, "index": "0"}
    monkeypatch.setattr("vibecode.jobs.running.MOST_ROWS", 1)

    refused = browser.post(page, {**form, "_selected_action": [order.pk for order in orders]}, follow=True)
    made = browser.post(page, {**form, "_selected_action": orders[0].pk})

    assert "more than 1 at once" in refused.content.decode()
    assert made.headers["Location"] == reverse("admin:vibecode_job_change", args=[Job.objects.get().pk])


def test_shipping_twice_sends_one_parcel_each(clerk: Clerk, paid: Callable[[int], list[Order]]) -> None:
    paid(3)
    one, other = (ship_orders(orders=Order.objects.all(), actor=clerk.actor) for _ in range(2))

    clerk.runs(one)
    other = clerk.runs(other)

    assert Shipment.objects.count() == 3
    assert (other.done, other.bad) == (0, 3)
    assert "is left to ship" in other.lines.bad()[0].errors[""]


def test_only_who_may_ships_and_exports_and_only_something(
    hire: Callable[..., Clerk], paid: Callable[[int], list[Order]]
) -> None:
    paid(1)
    finance, warehouse = hire("finance"), hire("warehouse")

    with pytest.raises(Denied):
        ship_orders(orders=Order.objects.all(), actor=finance.actor)
    with pytest.raises(Denied):
        export_orders(orders=Order.objects.all(), form="csv", actor=warehouse.actor)
    with pytest.raises(NotNow, match="nothing to do"):
        ship_orders(orders=Order.objects.none(), actor=warehouse.actor)
    choose_all(browser_of(finance), "ship_all")
    choose_all(browser_of(warehouse), "export_csv")
    assert not Job.objects.exists()


@pytest.mark.parametrize("form", ["csv", "xlsx"])
def test_an_export_has_each_order_once_and_a_link_that_opens_it(
    clerk: Clerk, paid: Callable[[int], list[Order]], monkeypatch: pytest.MonkeyPatch, form: str
) -> None:
    orders = paid(5)
    customer = orders[0].user
    customer.name = "=HYPERLINK(1)"
    customer.save(update_fields=["name"])
    monkeypatch.setattr("vibecode.jobs.exports.PART", 2)
    monkeypatch.setattr("orders.jobs.ExportOrders.chunk", 1)
    browser = browser_of(clerk)

    answer = choose_all(browser, f"export_{form}")
    clerk.works()

    job = Job.objects.get()
    assert (job.state, job.rows, job.done) == ("done", 3, 3)
    assert not job.lines.exists()
    page = browser.get(answer.headers["Location"])
    link = page.context["link"]
    assert "X-Amz-Expires=600" in link or "Expires=" in link
    stored = httpx.get(link, trust_env=False)
    assert stored.headers["Content-Disposition"] == f'attachment; filename="orders-{job.pk}.{form}"'
    assert job.result.startswith("uploads/exports/")
    table: list[list[Any]] = (
        list(csv.reader(io.StringIO(stored.content.decode("utf-8-sig"))))
        if form == "csv"
        else [list(row) for row in load_workbook(io.BytesIO(stored.content)).active.values]
    )
    assert [row[0] for row in table] == ["order", *(order.number for order in reversed(orders))]
    line = dict(zip(table[0], table[-1], strict=True))
    assert line["customer"] == "'=HYPERLINK(1)"
    assert line["status"] == "completed"
    assert line["units"] == ("1" if form == "csv" else 1)
    assert line["total"] == (str(orders[0].total) if form == "csv" else float(orders[0].total))


def test_an_export_whose_end_was_lost_is_ended_by_the_sweeps_message(
    clerk: Clerk, paid: Callable[[int], list[Order]], monkeypatch: pytest.MonkeyPatch
) -> None:
    paid(1)
    job = export_orders(orders=Order.objects.all(), form="csv", actor=clerk.actor)
    begin_job(job=job, actor=clerk.actor)
    [message] = clerk.messages()
    with monkeypatch.context() as patch:
        patch.setattr("vibecode.bucket.keep", lambda *_, **__: 1 / 0)
        assert deliver("jobs", message) == ["0"]
    job.refresh_from_db()
    assert (job.state, job.done) == ("running", 1)

    assert deliver("jobs", {"job": job.pk}, {"job": job.pk}) == []

    job.refresh_from_db()
    assert (job.state, bool(job.result)) == ("done", True)


def test_what_a_cancelled_export_holds_of_people_is_forgotten_after_a_day(
    clerk: Clerk, paid: Callable[[int], list[Order]], monkeypatch: pytest.MonkeyPatch
) -> None:
    [order, _] = paid(2)
    monkeypatch.setattr("vibecode.jobs.exports.PART", 1)
    monkeypatch.setattr("orders.jobs.ExportOrders.chunk", 1)
    job = export_orders(orders=Order.objects.all(), form="csv", actor=clerk.actor)
    begin_job(job=job, actor=clerk.actor)
    shipping = ship_orders(orders=Order.objects.all(), actor=clerk.actor)
    assert deliver("jobs", clerk.messages()[1]) == []
    for each in (job, shipping):
        cancel_job(job=each, actor=clerk.actor)
    sweep()
    assert order.user.email in str(job.lines.done().get().data)

    Job.objects.update(ended_at=timezone.now() - timedelta(days=1, minutes=1))
    sweep()

    assert [row.job_id for row in JobRow.objects.all()] == [shipping.pk] * 2
    job.refresh_from_db()
    assert (job.state, job.rows, job.done) == ("cancelled", 0, 0)
    page = browser_of(clerk).get(reverse("admin:vibecode_job_change", args=[job.pk]))
    assert not page.context["may_begin"]
    with pytest.raises(NotNow, match="No row waits"):
        begin_job(job=job, actor=clerk.actor)


def test_packing_slips_of_many_are_one_file_without_what_shipped_meanwhile(
    hire: Callable[..., Clerk], paid: Callable[[int], list[Order]], monkeypatch: pytest.MonkeyPatch
) -> None:
    orders, clerk = paid(5), hire("warehouse")
    monkeypatch.setattr("orders.jobs.SLIPS_PART", 2)
    monkeypatch.setattr("orders.jobs.PackingSlips.chunk", 1)
    with pytest.raises(Denied):
        print_packing_slips(orders=Order.objects.all(), actor=hire("finance").actor)

    job = print_packing_slips(orders=Order.objects.all(), actor=clerk.actor)
    ship_order(order=orders[4], actor=clerk.actor)
    job = clerk.runs(job)

    assert (job.state, job.rows, job.done, job.lines.count()) == ("done", 3, 3, 0)
    link = browser_of(clerk).get(reverse("admin:vibecode_job_change", args=[job.pk])).context["link"]
    stored = httpx.get(link, trust_env=False)
    assert stored.headers["Content-Type"] == "application/pdf"
    assert stored.headers["Content-Disposition"] == f'attachment; filename="packing-slips-{job.pk}.pdf"'
    pages = [page.extract_text() for page in PdfReader(io.BytesIO(stored.content)).pages]
    assert len(pages) == 4
    for order, page in zip(orders[:4], pages, strict=True):
        assert order.number in page
