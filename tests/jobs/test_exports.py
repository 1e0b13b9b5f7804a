"""The catalogue as files: what was exported is imported again and changes nothing, whatever stands in it."""

import csv
import io
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from django.conf import settings
from django.urls import reverse
from openpyxl import load_workbook

from catalog.jobs import export_prices, export_products, export_stock
from catalog.models import Category, Product, Stock, StockMovement
from tests.in_process import make_product
from tests.jobs.clerks import Clerk
from tests.jobs.test_orders_in_bulk import browser_of
from tests.orders.test_consumers import deliver
from vibecode import aws, bucket
from vibecode.errors import Denied
from vibecode.jobs.exports import ExportKind
from vibecode.jobs.running import NotNow, begin_job, cancel_job, settle
from vibecode.models import Job, OutboxEvent

WORDS = (
    "Lamp", "=1+1", "+44", "-5 °C", "@home", "'quoted", "'=quoted twice", "\t=tabbed", " spaces around ", "a;b,c\"d'",
    "Λάμπα", "مصباح (كبير)", "灯 🎉", "007", "1e5", "TRUE", "2026-11-26", "two\nlines", "two\r\nlines", "bell\x07",
)  # fmt: skip
EXPORTS: dict[str, Callable[..., Job]] = {
    "products": lambda **asked: export_products(products=Product.objects.all(), **asked),
    "prices": lambda **asked: export_prices(products=Product.objects.all(), **asked),
    "stock": lambda **asked: export_stock(shelves=Stock.objects.all(), **asked),
}


@pytest.fixture
def shop(db: None) -> list[Product]:
    """Products with everything in their names that a spreadsheet could take for something else."""
    lamps = Category.objects.create(name="Lamps", slug="home-lamps")
    made = [
        make_product(
            f"SKU-{n:02}", name=f"{word} {n}" if word.isalnum() else word, description=word, price=f"{n}.10",
            on_hand=n, status=["published", "draft", "archived"][n % 3], **({"category": lamps.slug} if n % 2 else {}),
        )
        for n, word in enumerate(WORDS)
    ]  # fmt: skip
    return [*made, make_product("A-1", name="-A sum"), make_product("0042", price="9999999999.99")]


def exported(clerk: Clerk, what: str, form: str) -> bytes:
    """The file of an export, as its link gives it."""
    job = clerk.runs(EXPORTS[what](form=form, actor=clerk.actor))
    assert (job.state, job.lines.exists()) == ("done", False)
    return content_of(job, f"{what}-{job.pk}.{form}")


def content_of(job: Job, name: str = "") -> bytes:
    """What its link gives, by this name."""
    answer = httpx.get(bucket.sign_link(job.result, seconds=60), trust_env=False)
    assert name in answer.headers["Content-Disposition"]
    return answer.content


def table(content: bytes, form: str) -> list[list[Any]]:
    """Its lines."""
    if form == "csv":
        return list(csv.reader(io.StringIO(content.decode("utf-8-sig"), newline="")))
    return [list(row) for row in load_workbook(io.BytesIO(content)).active.values]


@pytest.mark.parametrize("form", ["csv", "xlsx"])
@pytest.mark.parametrize("what", EXPORTS)
def test_what_was_exported_is_imported_again_and_changes_nothing(
    clerk: Clerk, shop: list[Product], what: str, form: str
) -> None:
    before = list(Product.objects.order_by("pk").defer("search").values_list())
    facts, movements = OutboxEvent.objects.count(), StockMovement.objects.count()

    job = clerk.uploads(f"import-{what}", exported(clerk, what, form), f"{what}.{form}")

    assert (job.state, job.rows, job.bad) == ("ready", len(shop), 0), [row.errors for row in job.lines.bad()]
    assert all("stays" in row.note.lower() for row in job.lines.all()), {row.note for row in job.lines.all()}
    job = clerk.runs(job)
    assert (job.state, job.done, job.bad) == ("done", len(shop), 0)
    assert list(Product.objects.order_by("pk").defer("search").values_list()) == before
    assert (OutboxEvent.objects.count(), StockMovement.objects.count()) == (facts, movements)


@pytest.mark.parametrize("form", ["csv", "xlsx"])
def test_every_column_is_there_and_no_cell_is_run(clerk: Clerk, shop: list[Product], form: str) -> None:
    products = table(exported(clerk, "products", form), form)
    stock = table(exported(clerk, "stock", form), form)

    assert products[0] == ["sku", "name", "description", "price", "category", "status"]
    assert [row[0] for row in products[1:]] == sorted(product.sku for product in shop)
    by_sku = {row[0]: row for row in products}
    assert by_sku["SKU-01"][1:3] == ["'=1+1", "'=1+1"]
    assert by_sku["SKU-01"][4:] == ["home-lamps", "draft"]
    assert by_sku["SKU-03"][3] == ("3.10" if form == "csv" else 3.1)
    assert stock[0] == ["sku", "name", "reserved", "available", "reorder_point", "on_hand", "reason"]


def test_a_count_is_written_over_the_export_and_becomes_a_movement(clerk: Clerk, shop: list[Product]) -> None:
    [head, *lines] = table(exported(clerk, "stock", "csv"), "csv")
    place = head.index("on_hand")
    [line] = [line for line in lines if line[0] == "SKU-05"]
    line[place] = "3"
    out = io.StringIO()
    csv.writer(out).writerows([head, *lines])

    job = clerk.runs(clerk.uploads("import-stock", out.getvalue()))

    assert (job.done, job.bad) == (len(shop), 0)
    [movement] = StockMovement.objects.filter(actor=clerk.user.cognito_sub)
    assert (movement.product.sku, movement.on_hand_delta, movement.reason) == ("SKU-05", -2, "counted")


def test_a_thousand_lines_are_put_together_in_order(clerk: Clerk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vibecode.jobs.exports.PART", 7)
    monkeypatch.setattr("vibecode.jobs.exports.ExportKind.chunk", 2)
    for number in range(40):
        make_product(f"P{number:03}")

    lines = table(exported(clerk, "prices", "csv"), "csv")

    assert lines == [["sku", "name", "price"], *([f"P{n:03}", f"Product P{n:03}", "2.50"] for n in range(40))]


def test_a_file_that_two_workers_make_at_once_is_the_whole_one(clerk: Clerk, monkeypatch: pytest.MonkeyPatch) -> None:
    make_product("LAMP")
    job = export_prices(products=Product.objects.all(), form="csv", actor=clerk.actor)
    begin_job(job=job, actor=clerk.actor)
    [message] = clerk.messages()
    parts = ExportKind.parts

    with monkeypatch.context() as patch:

        def overtaken(kind: ExportKind, job: Job) -> Any:
            patch.undo()
            settle(job)  # the other worker does all of it before this one reads the first part
            return parts(kind, job)

        patch.setattr(ExportKind, "parts", overtaken)
        assert deliver("jobs", message) == []

    job.refresh_from_db()
    assert job.state == "done"
    assert table(content_of(job), "csv") == [["sku", "name", "price"], ["LAMP", "Product LAMP", "2.50"]]
    kept = aws.client("s3").list_objects_v2(Bucket=settings.MEDIA_BUCKET, Prefix=f"uploads/exports/{job.pk}-")
    assert [each["Key"] for each in kept["Contents"]] == [job.result]


def test_an_export_that_was_cancelled_before_its_file_was_made_can_go_on(
    clerk: Clerk, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_product("LAMP")
    job = export_prices(products=Product.objects.all(), form="csv", actor=clerk.actor)
    begin_job(job=job, actor=clerk.actor)
    [message] = clerk.messages()
    with monkeypatch.context() as patch:
        patch.setattr("vibecode.bucket.keep", lambda *_, **__: 1 / 0)
        assert deliver("jobs", message) == ["0"]
    cancel_job(job=job, actor=clerk.actor)
    page = browser_of(clerk).get(reverse("admin:vibecode_job_change", args=[job.pk])).content.decode()
    assert "Export prices: the file" in page

    job = clerk.runs(job)

    assert (job.state, job.rows, job.done) == ("done", 1, 1)
    assert len(table(content_of(job), "csv")) == 2
    with pytest.raises(NotNow, match="No row waits"):
        begin_job(job=job, actor=clerk.actor)


@pytest.mark.parametrize("group", ["support", "warehouse", "catalogue", "finance"])
def test_whoever_may_write_it_back_may_take_it_out(hire: Callable[..., Clerk], group: str) -> None:
    make_product()
    clerk = hire(group)
    may = {"catalogue": {"products", "prices"}, "warehouse": {"stock"}}.get(group, set())

    for what, export in EXPORTS.items():
        if what in may:
            assert export(form="csv", actor=clerk.actor).kind == f"export-{what}"
        else:
            with pytest.raises(Denied):
                export(form="csv", actor=clerk.actor)
    assert Job.objects.count() == len(may)


def test_the_lists_begin_exports_of_what_is_filtered(clerk: Clerk, shop: list[Product]) -> None:
    browser = browser_of(clerk)
    ticked = {"select_across": "1", "index": "0", "_selected_action": [str(shop[0].pk)]}

    for page, action in (
        ("catalog_product", "export_products_csv"), ("catalog_product", "export_products_xlsx"),
        ("catalog_product", "export_prices_csv"), ("catalog_product", "export_prices_xlsx"),
        ("catalog_stock", "export_csv"), ("catalog_stock", "export_xlsx"),
    ):  # fmt: skip
        query = {"q": "0042"}
        answer = browser.post(reverse(f"admin:{page}_changelist", query=query), {"action": action, **ticked})

        job = Job.objects.latest("pk")
        assert answer.headers["Location"] == reverse("admin:vibecode_job_change", args=[job.pk]), action
        assert len(job.lines.get().data["ids"]) == 1
    with pytest.raises(NotNow):
        export_prices(products=Product.objects.none(), form="csv", actor=clerk.actor)


def test_more_than_one_file_takes_is_refused_before_anything_is_made(
    clerk: Clerk, monkeypatch: pytest.MonkeyPatch
) -> None:
    for sku in "ABC":
        make_product(sku)
    monkeypatch.setattr("vibecode.jobs.exports.MOST_EXPORTED", 2)

    with pytest.raises(NotNow, match="more than 2 in one file"):
        export_prices(products=Product.objects.all(), form="csv", actor=clerk.actor)

    assert not Job.objects.exists()
    assert export_prices(products=Product.objects.exclude(sku="A"), form="csv", actor=clerk.actor).rows == 1
