"""Imports from the file to the shop: checked, corrected, done in chunks, each row once, whatever happens."""

import io
from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal

import pytest
from django.db import IntegrityError, connection, transaction
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from openpyxl import Workbook
from pytest_django import Settings
from structlog.testing import capture_logs

from catalog.jobs import imports
from catalog.models import Category, Product, StockMovement
from catalog.services import audit_counters
from tests.in_process import make_product, shelf
from tests.jobs.clerks import Clerk
from tests.orders.test_consumers import deliver
from vibecode import aws
from vibecode.errors import Denied
from vibecode.jobs import sweep
from vibecode.jobs.files import begin_correction, begin_import, correct_row, take_file
from vibecode.jobs.running import NotNow, begin_job, cancel_job
from vibecode.jobs.tables import TableRefused
from vibecode.models import Job, JobRow


def prices(count: int, price: str = "9.00") -> str:
    """A file of new prices for products that this makes."""
    Product.objects.bulk_create(
        Product(sku=f"P{n}", name=f"Thing {n}", slug=f"p{n}", price="1.00", currency="GBP", status="published")
        for n in range(count)
    )
    return "sku,price\n" + "".join(f"P{n},{price}\n" for n in range(count))


def states(job: Job) -> tuple[str, int, int, int]:
    """State, and the counts: all, done, bad."""
    job.refresh_from_db()
    return job.state, job.rows, job.done, job.bad


def sheet(*rows: tuple[object, ...]) -> bytes:
    """An XLSX."""
    book, out = Workbook(), io.BytesIO()
    for row in rows:
        book.active.append(row)
    book.save(out)
    return out.getvalue()


# --- each kind -------------------------------------------------------------------------------------------------------
def test_prices_change_after_the_preview_and_not_before(clerk: Clerk) -> None:
    lamp, mug = make_product("LAMP", price="2.50"), make_product("MUG", price="4.00")

    job = clerk.uploads("import-prices", "\ufeffprice;SKU\r\n3.00;lamp\r\n4.00;MUG\r\n")

    assert states(job) == ("ready", 2, 0, 0)
    assert list(job.lines.values_list("note", flat=True)) == ["Price 2.50 → 3.00", "Price stays 4.00"]
    lamp.refresh_from_db()
    assert lamp.price == Decimal("2.50")
    clerk.runs(job)
    lamp.refresh_from_db()
    mug.refresh_from_db()
    assert (lamp.price, lamp.version, mug.version) == (Decimal("3.00"), 2, 1)
    assert states(job) == ("done", 2, 2, 0)


def test_products_are_made_and_changed_from_a_spreadsheet(clerk: Clerk) -> None:
    Category.objects.create(name="Lamps", slug="lamps")
    make_product("LAMP", price="2.50", name="Old lamp")
    head = ("sku", "name", "description", "price", "category", "status")
    rows = (("LAMP", None, None, 3, "lamps", None), ("NEW-1", "New", "'-- said Ada", 1.25, None, "published"))

    job = clerk.runs(clerk.uploads("import-products", sheet(head, *rows), "things.xlsx"))

    assert states(job) == ("done", 2, 2, 0)
    lamp, new = Product.objects.get(sku="LAMP"), Product.objects.get(sku="NEW-1")
    assert (lamp.name, lamp.price, lamp.category and lamp.category.slug) == ("Old lamp", Decimal("3.00"), "lamps")
    assert (new.name, new.description, new.status) == ("New", "-- said Ada", "published")
    assert list(job.lines.values_list("note", flat=True)) == ["Changes price, category", "New"]


def test_stock_moves_by_a_difference_or_to_what_was_counted(clerk: Clerk) -> None:
    lamp, mug = make_product("LAMP", on_hand=10), make_product("MUG", on_hand=10)
    text = "sku,delta,on_hand,reason\nLAMP,5,,delivery\nMUG,,7,counted\nLAMP,-1,,broken\nMUG,,7,counted twice\n"

    job = clerk.runs(clerk.uploads("import-stock", text))

    assert states(job) == ("done", 4, 4, 0)
    assert (shelf(lamp), shelf(mug)) == ((14, 0), (7, 0))
    movements = StockMovement.objects.filter(reference__startswith=f"job {job.pk} ").order_by("id")
    assert list(movements.values_list("on_hand_delta", "reason")) == [(5, "delivery"), (-3, "counted"), (-1, "broken")]
    assert {movement.actor for movement in movements} == {clerk.user.cognito_sub}
    assert audit_counters() == []


# --- what is bad -----------------------------------------------------------------------------------------------------
def test_each_bad_row_says_which_column_is_wrong_and_none_of_them_begins(clerk: Clerk) -> None:
    make_product("LAMP", price="2.50")
    text = "sku,price\nLAMP,3.00\nlamp,4.00\nNONE,1.00\nLAMP 2,1\nMUG,£3\n,2.00\n"

    job = clerk.uploads("import-prices", text)

    assert states(job) == ("ready", 6, 0, 5)
    errors = {row.number: row.errors for row in job.lines.bad()}
    assert {number: set(said) for number, said in errors.items()} == {
        3: {"sku"}, 4: {"sku"}, 5: {"sku"}, 6: {"price"}, 7: {"sku"},
    }  # fmt: skip
    assert "Row 2 has LAMP already" in errors[3]["sku"]
    assert "a number with a dot" in errors[6]["price"]
    clerk.runs(job)
    assert states(job) == ("done", 6, 1, 5)
    assert Product.objects.get(sku="LAMP").price == Decimal("3.00")


def test_a_bad_row_is_corrected_and_only_that_is_tried_again(clerk: Clerk) -> None:
    lamp, mug = make_product("LAMP"), make_product("MUG")
    job = clerk.runs(clerk.uploads("import-stock", "sku,delta,reason\nLAMP,1,found\nMUGG,2,found\n"))
    assert states(job) == ("done", 2, 1, 1)

    assert not correct_row(job=job, number=3, written={"sku": "MUG\x00", "reason": "found"}, actor=clerk.actor)
    assert job.lines.get(number=3).data["sku"] == "MUG"
    assert correct_row(job=job, number=3, written={"sku": "MUG", "delta": "2", "reason": "found"}, actor=clerk.actor)
    clerk.runs(job)

    assert states(job) == ("done", 2, 2, 0)
    assert (shelf(lamp), shelf(mug)) == ((11, 0), (12, 0))
    with pytest.raises(NotNow):
        correct_row(job=job, number=3, written={"sku": "MUG"}, actor=clerk.actor)
    with pytest.raises(NotNow):
        begin_job(job=job, actor=clerk.actor)


def test_a_correction_is_held_against_the_rows_that_are_right(clerk: Clerk) -> None:
    make_product("LAMP")
    job = clerk.uploads("import-prices", "sku,price\nLAMP,3.00\nLAMB,4.00\n")

    assert not correct_row(job=job, number=3, written={"sku": "LAMP", "price": "4.00"}, actor=clerk.actor)

    assert "Row 2 has LAMP already" in job.lines.get(number=3).errors["sku"]


def test_a_file_of_bad_rows_comes_back_corrected(clerk: Clerk) -> None:
    make_product("LAMP")
    make_product("MUG")
    job = clerk.runs(clerk.uploads("import-prices", "sku,price\nLAMP,3.00\nMUG,x\nCUP,1\n"))
    form = begin_correction(job=job, size=100, actor=clerk.actor)
    clerk.stores(form, b"row,sku,price,error\n3,MUG,5.00,\n4,CUP,1,sku: none\n")
    take_file(job=job, actor=clerk.actor)
    clerk.works()

    assert states(job) == ("ready", 3, 1, 1)
    clerk.runs(job)
    assert states(job) == ("done", 3, 2, 1)
    assert Product.objects.get(sku="MUG").price == Decimal("5.00")

    form = begin_correction(job=job, size=100, actor=clerk.actor)
    clerk.stores(form, b"row,sku,price\n2,LAMP,99.00\n")
    take_file(job=job, actor=clerk.actor)
    clerk.works()
    assert "is the number of no bad row" in Job.objects.get(pk=job.pk).failure
    assert Product.objects.get(sku="LAMP").price == Decimal("3.00")


def test_what_a_service_refuses_at_run_time_is_one_bad_row(clerk: Clerk) -> None:
    lamp, mug = make_product("LAMP", on_hand=3), make_product("MUG", on_hand=3)

    job = clerk.runs(clerk.uploads("import-stock", "sku,delta,reason\nLAMP,-5,broken\nMUG,1,found\n"))

    assert states(job) == ("done", 2, 1, 1)
    assert "at most 3 can be taken away" in job.lines.bad().get().errors[""]
    assert (shelf(lamp), shelf(mug)) == ((3, 0), (4, 0))


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "it lacks sku, price"),
        (b"sku,price\n", "no row below"),
        (b"sku\nLAMP\n", "it lacks price"),
        (b"sku,prize\nLAMP,1\n", "'prize' is none of sku, price"),
        (b"sku,sku,price\nA,B,1\n", "names sku more than once"),
        (b"sku,price\nLAMP\xff,1\n", "not UTF-8"),
        (b'sku,price\n"LAMP,1\n', "are the quotes closed?"),
        (b"PK\x03\x04 no zip", "no XLSX that can be read"),
        (b"\x89PNG\x00", "not UTF-8"),
        (b"sku,price\n" + b"A,1\n" * 20_001, "more than 20,000 rows"),
    ],
)
def test_a_file_that_is_no_such_table_is_refused_with_a_way_to_mend_it(clerk: Clerk, content: bytes, said: str) -> None:
    job = clerk.uploads("import-prices", content)

    assert job.state == "failed"
    assert said in job.failure
    assert not job.lines.exists()


def test_a_file_that_is_too_large_is_refused_before_it_is_sent(clerk: Clerk) -> None:
    with pytest.raises(TableRefused, match="10 MB is the most"):
        begin_import(kind="import-prices", file_name="x", size=10 * 2**20 + 1, actor=clerk.actor)
    assert not Job.objects.exists()


# --- chunks ----------------------------------------------------------------------------------------------------------
def test_2000_rows_run_in_chunks_whose_statements_do_not_grow_with_the_file(clerk: Clerk) -> None:
    job = clerk.uploads("import-prices", prices(2000))
    begin_job(job=job, actor=clerk.actor)
    messages = clerk.messages()
    costs = []

    for message in messages:
        with CaptureQueriesContext(connection) as statements:
            assert deliver("jobs", message) == []
        costs.append(len(statements))

    assert len(messages) == 2000 // imports.ImportPrices.chunk == 10
    assert max(costs) - min(costs) <= 2
    assert max(costs) <= 5 * imports.ImportPrices.chunk
    assert states(job) == ("done", 2000, 2000, 0)
    assert Product.objects.filter(price="9.00", version=2).count() == 2000


def test_the_check_of_2000_rows_costs_the_statements_of_20(clerk: Clerk) -> None:
    kind = imports.ImportPrices()
    rows = {n: {"sku": f"X{n}", "price": "1"} for n in range(2000)}

    with CaptureQueriesContext(connection) as statements:
        kind.check(rows)

    assert len(statements) == 1


def test_the_same_message_twice_does_each_row_once(clerk: Clerk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(imports.ImportStock, "chunk", 1)
    lamp = make_product("LAMP", on_hand=10)
    job = clerk.uploads("import-stock", "sku,delta,reason\nLAMP,5,delivery\nLAMP,7,delivery\n")
    begin_job(job=job, actor=clerk.actor)
    begin_job(job=job, actor=clerk.actor)  # a double click
    first, second = clerk.messages()

    assert deliver("jobs", first, first, first) == []
    assert shelf(lamp) == (15, 0)
    assert states(job) == ("running", 2, 1, 0)
    assert deliver("jobs", second, first, second) == []

    assert shelf(lamp) == (22, 0)
    assert states(job) == ("done", 2, 2, 0)


def test_a_chunk_that_crashes_leaves_nothing_and_is_done_when_it_comes_again(
    clerk: Clerk, monkeypatch: pytest.MonkeyPatch
) -> None:
    lamp = make_product("LAMP", on_hand=10)
    job = clerk.uploads("import-stock", "sku,delta,reason\nLAMP,5,delivery\nLAMP,7,delivery\n")
    begin_job(job=job, actor=clerk.actor)
    [message] = clerk.messages()
    with monkeypatch.context() as patch:
        patch.setattr(imports, "said_change", lambda *_: 1 / 0 if shelf(lamp)[0] > 15 else "")
        assert deliver("jobs", message) == ["0"]
    assert shelf(lamp) == (10, 0)
    assert states(job) == ("running", 2, 0, 0)

    assert deliver("jobs", message) == []

    assert shelf(lamp) == (22, 0)
    assert states(job) == ("done", 2, 2, 0)


def test_a_cancelled_job_begins_no_further_chunk_and_can_go_on(clerk: Clerk) -> None:
    job = clerk.uploads("import-prices", prices(500))
    begin_job(job=job, actor=clerk.actor)
    first, *rest = clerk.messages()
    deliver("jobs", first)

    cancel_job(job=job, actor=clerk.actor)
    deliver("jobs", *rest)

    assert states(job) == ("cancelled", 500, 200, 0)
    assert Product.objects.filter(price="9.00").count() == 200
    clerk.runs(job)
    assert states(job) == ("done", 500, 500, 0)
    assert set(Product.objects.values_list("version", flat=True)) == {2}
    with pytest.raises(NotNow):
        cancel_job(job=job, actor=clerk.actor)


def test_what_lost_its_messages_goes_on_with_the_sweep(clerk: Clerk, settings: Settings) -> None:
    settings.JOB_STUCK_SECONDS = -1
    make_product("LAMP")
    job, form = begin_import(kind="import-prices", file_name="f.csv", size=20, actor=clerk.actor)
    clerk.stores(form, b"sku,price\nLAMP,3.00\n")
    take_file(job=job, actor=clerk.actor)
    assert clerk.messages() == [{"job": job.pk}]  # and is lost

    sweep()
    clerk.works()
    assert states(job) == ("ready", 1, 0, 0)
    begin_job(job=job, actor=clerk.actor)
    lost = clerk.messages()
    sweep()
    assert clerk.messages() == lost
    settings.JOB_STUCK_SECONDS = 60
    sweep()
    assert clerk.messages() == []


def test_a_job_that_never_moves_is_given_up_with_a_reason_and_can_be_begun_anew(
    clerk: Clerk, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.JOB_STUCK_SECONDS = -1
    monkeypatch.setattr("vibecode.jobs.messages.TRIES", 3)
    job = clerk.uploads("import-prices", prices(500))
    begin_job(job=job, actor=clerk.actor)
    for _ in range(3):
        sweep()
    assert deliver("jobs", clerk.messages()[0]) == []  # it moves: what was tried before does not count
    for _ in range(3):
        sweep()
    assert states(job) == ("running", 500, 200, 0)
    clerk.messages()

    sweep()

    assert states(job) == ("failed", 500, 200, 0)
    assert "did not move in 3 attempts" in job.failure
    assert clerk.messages() == []
    begin_job(job=job, actor=clerk.actor)
    sweep()
    clerk.works()
    assert states(job) == ("done", 500, 500, 0)


def test_while_the_queue_is_away_a_job_asks_it_once_and_waits_for_the_sweep(
    clerk: Clerk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(imports.ImportPrices, "chunk", 1)
    job = clerk.uploads("import-prices", prices(30))
    aws.client("sqs").delete_queue(QueueUrl=clerk.queue)

    with capture_logs() as logs:
        begin_job(job=job, actor=clerk.actor)

    assert [each["event"] for each in logs if "sweep" in each["event"]] == ["job waits for the sweep"]
    assert states(job) == ("running", 30, 0, 0)


def test_a_file_that_cannot_be_read_within_an_hour_is_given_up_however_old_its_job_is(clerk: Clerk) -> None:
    make_product("LAMP")
    job = clerk.uploads("import-prices", "sku,price\nLAMP,x\n")
    yesterday = timezone.now() - timedelta(days=1)
    Job.objects.filter(pk=job.pk).update(created_at=yesterday, began_at=yesterday)
    form = begin_correction(job=job, size=20, actor=clerk.actor)
    clerk.stores(form, b"row,sku,price\n2,LAMP,3\n")
    take_file(job=job, actor=clerk.actor)

    sweep()
    assert states(job) == ("reading", 1, 0, 1)
    Job.objects.filter(pk=job.pk).update(began_at=yesterday)
    sweep()

    assert states(job) == ("failed", 1, 0, 1)
    assert "upload it again" in job.failure
    clerk.works()
    assert states(job) == ("failed", 1, 0, 1)


# --- rights ----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("group", "may"),
    [
        ("catalogue", {"import-products", "import-prices"}),
        ("warehouse", {"import-stock"}),
        ("finance", set()),
        ("support", set()),
    ],
)
def test_only_who_may_imports(hire: Callable[..., Clerk], group: str, may: set[str]) -> None:
    who = hire(group)

    for kind in ("import-products", "import-prices", "import-stock"):
        if kind in may:
            begin_import(kind=kind, file_name="f.csv", size=1, actor=who.actor)
        else:
            with pytest.raises(Denied):
                begin_import(kind=kind, file_name="f.csv", size=1, actor=who.actor)
    assert set(Job.objects.values_list("kind", flat=True)) == may


def test_who_lost_the_right_meanwhile_stops_the_job_and_a_colleague_goes_on(hire: Callable[..., Clerk]) -> None:
    who, colleague = hire("catalogue"), hire("staff")
    job = who.uploads("import-prices", prices(3))
    begin_job(job=job, actor=who.actor)
    who.leaves("catalogue")

    who.works()

    assert states(job) == ("failed", 3, 0, 0)
    assert "may no longer change the catalogue" in job.failure
    assert not Product.objects.filter(price="9.00").exists()
    colleague.runs(job)
    assert states(job) == ("done", 3, 3, 0)


# --- what the database has the last word about -----------------------------------------------------------------------
def test_the_database_refuses_a_row_twice_and_counts_beyond_the_rows(clerk: Clerk) -> None:
    make_product("LAMP")
    job = clerk.uploads("import-prices", "sku,price\nLAMP,3.00\n")

    for wrong, name in (
        (lambda: JobRow.objects.create(job=job, number=2, data={}), "job_row_has_its_number"),
        (lambda: JobRow.objects.create(job=job, number=3, data={}, state="bad"), "job_row_says_why_it_is_bad"),
        (lambda: Job.objects.filter(pk=job.pk).update(done=2), "job_counts_each_row_once"),
        (lambda: Job.objects.filter(pk=job.pk).update(state="failed"), "job_says_why_it_failed"),
    ):
        with pytest.raises(IntegrityError, match=name), transaction.atomic():
            wrong()
