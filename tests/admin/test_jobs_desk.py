"""The pages of imports and exports: what each shows, refuses and leads to."""

import csv
import html
import io
import re
from typing import Any

import httpx
import pytest
from django.urls import reverse

from catalog.models import Product
from tests.admin.conftest import Desk, a_product, desk_of
from vibecode.jobs.running import begin_job, make_job
from vibecode.models import Job, JobRow
from vibecode.rights import Actor


def said(page: Any) -> str:
    """The words of a page."""
    return re.sub(r"\s+", " ", html.unescape(re.sub(r"<[^>]+>", " ", page.content.decode())))


@pytest.fixture
def job(db: None) -> Job:
    """Prices of two products: one sound, one bad."""
    a_product("LAMP")
    a_product("MUG")
    rows = [{"sku": "LAMP", "price": "3.00"}, {"sku": "MUGG", "price": "<b>"}]
    made = make_job(kind="import-prices", rows=rows, actor=Actor.part("tests"))
    made.lines.filter(number=2).update(state=JobRow.State.BAD, errors={"sku": "No such product."})
    Job.objects.filter(pk=made.pk).update(bad=1)
    return made


def test_the_start_page_names_the_columns_and_gives_an_empty_file(staff: Desk) -> None:
    page = said(staff.open("vibecode_job_start", kind="import-stock"))
    template = staff.open("vibecode_job_template", "import-stock")

    assert "Units to add (24) or to take away (-3)" in page
    assert template.content.decode("utf-8-sig") == "sku,delta,on_hand,reason\r\n"


def test_the_page_of_a_job_says_what_will_happen_and_what_is_wrong(staff: Desk, job: Job) -> None:
    page = staff.open("vibecode_job_change", job.pk)

    assert "Import prices: 1 row" in said(page)
    assert "Row 2, sku: No such product." in said(page)
    assert 'value="&lt;b&gt;"' in page.content.decode()
    assert "3.00" in said(page)


def test_a_row_is_corrected_in_the_page_and_then_done(staff: Desk, job: Job) -> None:
    wrong = staff.client.post(reverse("admin:vibecode_job_correct", args=[job.pk, 2]), {"sku": "MUG", "price": "x"})
    assert wrong.headers["Location"].endswith(f"/{job.pk}/change/#row-2")
    assert "Row 2, price: A price is a number" in said(staff.open("vibecode_job_change", job.pk))

    staff.client.post(reverse("admin:vibecode_job_correct", args=[job.pk, 2]), {"sku": "MUG", "price": "4.50"})

    page = said(staff.open("vibecode_job_change", job.pk))
    assert "Row 2 is right now" in page
    assert "Import prices: 2 rows" in page


def test_the_bad_rows_are_a_file_in_which_nothing_runs(staff: Desk, job: Job) -> None:
    job.lines.filter(number=2).update(data={"sku": "=1+1", "price": "1", "": "50"})

    answer = staff.open("vibecode_job_not_done", job.pk)

    content = httpx.get(answer.headers["Location"], trust_env=False).content.decode("utf-8-sig")
    assert content.splitlines() == ["row,sku,price,error", "2,'=1+1,1,sku: No such product.,50"]


def test_cells_as_long_as_a_book_make_no_page_and_no_answer_that_is_too_large(staff: Desk, job: Job) -> None:
    book = "&" * 20_000
    JobRow.objects.bulk_create(
        JobRow(job=job, number=n, data={"sku": f"S{n}", "price": book}, state=state, errors=errors)
        for n, state, errors in [
            *((n, JobRow.State.BAD, {"price": "x"}) for n in range(3, 30)),
            *((n, JobRow.State.DONE, {}) for n in range(30, 60)),
            *((n, JobRow.State.WAITING, {}) for n in range(60, 90)),
        ]
    )
    Job.objects.filter(pk=job.pk).update(rows=89, bad=28, done=30)

    page = staff.open("vibecode_job_change", job.pk)
    answer = staff.open("vibecode_job_results", job.pk)

    assert len(page.content) < 2**18
    assert "Row 3 is too long to be corrected here" in said(page)
    assert 'aria-label="price of row 2"' in page.content.decode()
    assert len(answer.content) < 2**12
    stored = httpx.get(answer.headers["Location"], trust_env=False)
    assert stored.headers["Content-Disposition"] == f'attachment; filename="results-{job.pk}.csv"'
    lines = list(csv.reader(io.StringIO(stored.content.decode("utf-8-sig"))))
    assert [line[0] for line in lines] == ["row", *map(str, range(1, 90))]
    assert lines[45][2] == book


def test_files_that_the_storage_does_not_take_are_said_on_the_page(staff: Desk, job: Job, settings: Any) -> None:
    settings.MEDIA_BUCKET = "no-such-bucket"

    answer = staff.open("vibecode_job_results", job.pk)

    assert answer.headers["Location"].endswith(f"/{job.pk}/change/")
    assert "S3 does not do what we ask" in said(staff.open("vibecode_job_change", job.pk))


def test_each_table_says_what_will_happen_or_what_was_done(staff: Desk, job: Job) -> None:
    JobRow.objects.create(job=job, number=3, data={"sku": "S", "price": "1"}, state=JobRow.State.DONE)

    heads = re.findall(r'<th scope="col">(What [^<]+)</th>', staff.open("vibecode_job_change", job.pk).content.decode())

    assert heads == ["What will happen", "What was done"]


def test_the_progress_is_asked_for_while_it_works_and_the_page_comes_anew_when_it_rests(staff: Desk, job: Job) -> None:
    begin_job(job=job, actor=Actor.part("tests"))
    page = staff.open("vibecode_job_change", job.pk).content.decode()
    assert 'hx-trigger="every 2s"' in page
    assert 'aria-live="polite"' in page
    assert "0 of 2 done, 1 waiting, 1 not done" in said(staff.open("vibecode_job_watch", job.pk))

    staff.send("vibecode_job_cancel", job.pk)

    assert staff.open("vibecode_job_watch", job.pk).headers["HX-Refresh"] == "true"
    assert "Cancelled" in said(staff.open("vibecode_job_change", job.pk))
    assert "Cancelled" in said(staff.open("vibecode_job_history", job.pk))


def test_what_cannot_be_done_now_is_said(staff: Desk, job: Job) -> None:
    Job.objects.filter(pk=job.pk).update(state="done", done=1)

    staff.send("vibecode_job_begin", job.pk)
    staff.send("vibecode_job_cancel", job.pk)

    page = said(staff.open("vibecode_job_change", job.pk))
    assert "No row waits to be done." in page
    assert "there is nothing to cancel" in page
    assert Product.objects.get(sku="LAMP").price != 3


def test_a_job_of_a_kind_that_somebody_has_no_right_to_is_not_there(job: Job) -> None:
    warehouse, support = desk_of("warehouse"), desk_of("support")

    for page in ("change", "watch", "not_done"):
        assert warehouse.open(f"vibecode_job_{page}", job.pk).status_code == 404, page
    for page in ("begin", "cancel", "stored", "correction"):
        assert warehouse.send(f"vibecode_job_{page}", job.pk).status_code == 404, page
    assert warehouse.open("vibecode_job_template", "import-prices").status_code == 404
    assert support.open("vibecode_job_changelist").status_code == 403
    assert warehouse.open("vibecode_job_changelist").status_code == 200
    assert warehouse.send("vibecode_job_upload", kind="import-prices", name="x", size=1).status_code == 422
    assert Job.objects.count() == 1
    assert Job.objects.get().state == "ready"
