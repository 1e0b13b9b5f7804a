"""An import at the desk in a real browser: dropped, previewed, corrected, run; and orders shipped by the dozen."""

from decimal import Decimal
from pathlib import Path

import pytest

from catalog.models import Product, Stock
from orders.models import Order, Shipment
from orders.services import complete_order, deduct_held_stock
from orders.workflow import process_payment
from tests.books import Books
from tests.browser.test_admin import sign_in
from tests.browser.windows import Looker
from tests.in_process import FULL
from tests.over_http import Shop
from vibecode.jobs import on_message
from vibecode.jobs.kinds import kind_of
from vibecode.jobs.running import chunks_of
from vibecode.models import Job


def work(job: Job, *, chunks: int | None = None) -> None:
    """What the worker does with the messages that the page has sent."""
    messages = [{"job": job.pk}] if job.state == Job.State.READING else list(chunks_of(job, kind_of(job.kind)))
    for message in messages[:chunks]:
        on_message(message)
    job.refresh_from_db()


@pytest.mark.parametrize(("width", "scheme", "rows"), [(1400, "light", 5000 if FULL else 1000), (390, "dark", 400)])
def test_a_file_with_seven_bad_rows_is_imported_and_only_those_are_corrected_and_retried(
    look: Looker, shop: Shop, tmp_path: Path, width: int, scheme: str, rows: int
) -> None:
    tag = f"BULK{width}"
    names = [f"{tag}-{n}" for n in range(rows)]
    made = Product.objects.bulk_create(
        Product(sku=name, name=name, slug=name.lower(), price="1.00", currency="GBP") for name in names
    )
    Stock.objects.bulk_create(Stock(product=product) for product in made)
    wrong = dict.fromkeys(range(10, 17), "x")
    lines = [f"{name},{wrong.get(n, '2.00')}\n" for n, name in enumerate(names)]
    (tmp_path / "prices.csv").write_text("sku,price\n" + "".join(lines))
    window = look(width=width, scheme=scheme)
    page = window.page
    sign_in(window)
    window.go("/admin/vibecode/job/")
    if width < 1000:
        page.get_by_role("link", name="More").click()
    page.get_by_role("link", name="Import a file").click()
    page.get_by_role("link", name="Import prices").click()
    page.get_by_text("With a dot, such as 12.50").wait_for()
    assert window.is_clean()

    page.get_by_label("Drop a CSV or XLSX file here").set_input_files(tmp_path / "prices.csv")
    page.get_by_text("The file is being read").wait_for()
    job = Job.objects.latest("pk")
    work(job)

    page.get_by_role("heading", name="7 rows not done").wait_for()
    assert page.get_by_text("Row 12, price:").is_visible()
    assert page.get_by_text("Price 1.00 → 2.00").first.is_visible()
    assert window.is_clean()
    page.get_by_role("button", name=f"Import prices: {rows - 7} rows").click()
    page.get_by_text(f"{rows - 7} waiting").wait_for()
    work(job, chunks=1)
    page.locator("#progress").get_by_text("200", exact=True).wait_for()  # it asks by itself
    work(job)
    page.locator("#state").get_by_text("Done").wait_for()
    assert Product.objects.filter(sku__startswith=tag, price="2.00").count() == rows - 7

    for number in range(12, 18):
        page.get_by_label(f"price of row {number}").fill("2.00")
        page.get_by_role("button", name=f"Correct row {number}", exact=True).click()
        page.get_by_text(f"Row {number} is right now").wait_for()
    page.get_by_role("link", name="Download them as CSV").wait_for()
    (tmp_path / "corrected.csv").write_text(f"row,sku,price,error\n18,{tag}-16,2.00,\n")
    page.get_by_label("Drop the corrected file here").set_input_files(tmp_path / "corrected.csv")
    page.get_by_text("The file is being read").or_(
        page.locator("#state").get_by_text("Reads its file")
    ).first.wait_for()
    job.refresh_from_db()
    work(job)
    page.get_by_role("button", name="Import prices: 7 rows").click()
    page.locator("#state").get_by_text("Running").wait_for()
    job.refresh_from_db()
    work(job)

    page.locator("#state").get_by_text("Done").wait_for()
    assert page.get_by_text("not done").count() == 0
    assert set(Product.objects.filter(sku__startswith=tag).values_list("price", "version")) == {(Decimal(2), 2)}
    assert window.is_clean()


def test_orders_over_two_pages_are_shipped_at_once_each_with_its_result(look: Looker, shop: Shop, books: Books) -> None:
    product, buyer = shop.product(on_hand=60), shop.buyer()
    numbers = [buyer.order((product, 1)).json()["orderId"] for _ in range(60)]
    ours = Order.objects.filter(number__in=numbers)
    for number in numbers[3:]:
        make_shippable(number)
    window = look()
    page = window.page
    sign_in(window)
    window.go(f"/admin/orders/order/?q={product.sku}")
    page.locator("#action-toggle").check()
    page.get_by_text("Select all 60 orders").click()
    page.locator("select[name=action]").select_option("ship_all")
    page.get_by_role("button", name="Run").click()

    page.get_by_text("cannot be taken back").wait_for()
    assert not Shipment.objects.filter(order__in=ours).exists()
    assert window.is_clean()
    page.get_by_role("button", name="Ship orders: 60 orders").click()
    page.locator("#state").get_by_text("Running").wait_for()
    job = Job.objects.latest("pk")
    work(job)

    page.get_by_role("heading", name="3 orders not done").wait_for()
    assert page.get_by_text("cannot ship: its payment is pending").count() == 3
    assert page.get_by_text("Parcel 1 is on its way").first.is_visible()
    assert Shipment.objects.filter(order__in=ours).count() == 57
    with page.expect_download() as results:
        page.get_by_role("link", name="Every row with its result").click()
    assert results.value.suggested_filename == f"results-{job.pk}.csv"
    assert window.is_clean()


def make_shippable(number: str) -> None:
    """Paid, and off the shelf."""
    process_payment({"orderId": number}, None)
    order = Order.objects.get(number=number)
    deduct_held_stock(order=order)
    complete_order(order=order)
