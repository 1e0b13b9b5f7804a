"""Tables as files, and formulas defused in both directions."""

import csv
import io
import re
import zipfile
from decimal import Decimal

import pytest
from openpyxl import Workbook, load_workbook

from tests.in_process import make_product
from tests.jobs.clerks import Clerk
from vibecode.jobs.files import correct_row
from vibecode.jobs.tables import Cell, TableRefused, defuse, is_formula, plain, read_table, write_table

BOMB = """<?xml version="1.0"?><!DOCTYPE x [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;">]>
<worksheet xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main"><sheetData><row r="1">
<c r="A1" t="inlineStr"><is><t>&b;</t></is></c></row></sheetData></worksheet>"""
DANGEROUS = ["=1+1", "+44 20", "-- said", "@SUM(A1)", "\t=1", "\r=1", "＝1+1", "'=1", "''=1", "-a;=1\t@b\n'+c\nd"]


def read(content: bytes) -> dict[int, dict[str, str]]:
    return read_table(content, columns=["sku", "price"], required=["sku"])


@pytest.mark.parametrize("text", DANGEROUS)
@pytest.mark.parametrize("form", ["csv", "xlsx"])
def test_a_text_that_a_spreadsheet_would_run_is_defused_and_comes_back_as_it_was(text: str, form: str) -> None:
    content = write_table(form, ["sku", "price"], [[text, Decimal("-1.50")]])

    [(number, row)] = read(content).items()
    assert (number, row["price"]) == (2, "-1.50" if form == "csv" else "-1.5")
    assert plain(row["sku"]) == (text if form == "csv" else text.replace("\r", "\n"))  # XML knows one end of lines
    assert not is_formula(row["sku"])


def test_numbers_stay_numbers_and_harmless_texts_what_they_are() -> None:
    rows: list[list[Cell]] = [["plain, text", Decimal("-1.50")], ["it's", 3]]

    as_csv = list(csv.reader(io.StringIO(write_table("csv", ["sku", "price"], rows).decode("utf-8-sig"))))
    book = load_workbook(io.BytesIO(write_table("xlsx", ["sku", "price"], rows)))

    assert as_csv[1:] == [["plain, text", "-1.50"], ["it's", "3"]]
    assert [cell.data_type for cell in book.active[2]] == ["s", "n"]
    assert defuse("it's") == "it's"


@pytest.mark.parametrize("text", DANGEROUS)
def test_what_is_written_begins_with_no_sign_that_runs(text: str) -> None:
    content = write_table("csv", ["a"], [[text]]).decode("utf-8-sig")
    [cell] = list(csv.reader(io.StringIO(content)))[1]
    assert cell.startswith("'")

    [[value]] = load_workbook(io.BytesIO(write_table("xlsx", ["a"], [[text]]))).active.iter_rows(
        min_row=2, values_only=True
    )
    assert str(value).startswith("'")


def test_nothing_runs_where_another_sign_parts_the_cells() -> None:
    cell = "Ada;=1+1;\t@SUM(A1)\nthen\n=2+2"
    content = write_table("csv", ["name"], [[cell]]).decode("utf-8-sig")

    parted = [part for line in content.splitlines() for part in re.split("[;\t]", line)]
    assert [part for part in parted if part.lstrip('"').startswith(("=", "@"))] == []
    assert plain(read(content.replace("name", "sku").encode())[2]["sku"]) == cell


def test_a_formula_in_a_file_is_a_bad_row_and_the_same_words_as_text_are_none(clerk: Clerk) -> None:
    book, out = Workbook(), io.BytesIO()
    make_product("A")
    make_product("B")
    book.active.append(("sku", "name"))
    book.active.append(("A", "=1+1"))  # openpyxl makes a formula of it
    book.active.append(("B", "x"))
    book.active["B3"].value = "=1+1"
    book.active["B3"].data_type = "s"
    book.save(out)

    spread = clerk.uploads("import-products", out.getvalue())
    comma = clerk.uploads("import-products", "sku,name\nA,=1+1\nB,'=1+1\n")

    for job in (spread, comma):
        assert {row.number for row in job.lines.bad()} == {2}, job.file_name
        assert "This is a formula" in job.lines.bad().get().errors["name"]
        clerk.runs(job)
        assert job.lines.done().get().note in {"Changes name", "Stays as it is"}
    from catalog.models import Product

    assert set(Product.objects.values_list("name", flat=True)) == {"Product A", "=1+1"}


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_a_csv_of_any_delimiter_with_quoted_line_ends(delimiter: str) -> None:
    text = f'price{delimiter}sku\r\n1.50{delimiter}"A\r\nB"\r\n\r\n2{delimiter}C\r\n'

    assert read(b"\xef\xbb\xbf" + text.encode()) == {
        2: {"price": "1.50", "sku": "A\r\nB"},
        4: {"price": "2", "sku": "C"},
    }
    assert read(text.encode("utf-16")) == read(text.encode())


def test_a_comma_too_many_is_a_bad_row_and_no_price(clerk: Clerk) -> None:
    lamp = make_product("LAMP", price="2.50")
    make_product("MUG")

    job = clerk.uploads("import-prices", "sku,price,,\nLAMP,12,50\nMUG,3.00,,\nMUG,,,note\n")

    errors = {row.number: row.errors[""] for row in job.lines.bad()}
    assert set(errors) == {2, 4}
    assert errors[2].startswith("'50' stands under no column's name")
    job = clerk.runs(job)
    lamp.refresh_from_db()
    assert (lamp.price, job.done, job.bad) == (Decimal("2.50"), 1, 2)
    assert correct_row(job=job, number=2, written={"sku": "LAMP", "price": "12.50"}, actor=clerk.actor)


def test_a_spreadsheet_is_read_to_its_end_however_its_rows_stand_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vibecode.jobs.tables.MOST_ROWS", 200)
    sheet = (("sku", "price"), *(row for n in range(150) for row in ((f"P{n}", n), ())))
    wide = (("sku", "price"), ("A", 1), ("B", 2, *[None] * 60, "note"))

    rows = read(a_sheet(*sheet))

    assert (len(rows), max(rows)) == (150, 300)
    assert rows[300] == {"sku": "P149", "price": "149"}
    assert read(a_sheet(*wide)) == {2: {"sku": "A", "price": "1"}, 3: {"sku": "B", "price": "2", "": "note"}}
    with pytest.raises(TableRefused, match="more than 200 rows"):
        read(a_sheet(("sku",), *(row for _ in range(201) for row in (("P",), ()))))
    with pytest.raises(TableRefused, match="Row 2 goes on to column 16,384"):
        read(a_sheet(("sku",), ("P", *[None] * 16_382, "x")))


def a_sheet(*rows: tuple[object, ...]) -> bytes:
    """An XLSX of these rows, which says nothing of its size."""
    book, out = Workbook(write_only=True), io.BytesIO()
    page = book.create_sheet()
    for row in rows:
        page.append(row)
    book.save(out)
    return out.getvalue()


def packed(sheet: str) -> bytes:
    """An XLSX whose sheet is this XML."""
    out = io.BytesIO()
    book = Workbook()
    book.save(out)
    made = io.BytesIO()
    with zipfile.ZipFile(out) as before, zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as after:
        for name in before.namelist():
            after.writestr(name, sheet if name == "xl/worksheets/sheet1.xml" else before.read(name))
    return made.getvalue()


def test_an_xml_bomb_is_refused() -> None:
    with pytest.raises(TableRefused, match="no XLSX that can be read"):
        read(packed(BOMB))


def test_a_zip_that_unpacks_to_more_than_a_table_is_refused() -> None:
    content = packed(" " * (90 * 2**20))

    assert len(content) < 2**20
    with pytest.raises(TableRefused, match="Unpacked, the file has 90 MB"):
        read(content)


def test_a_cell_a_thousand_million_rows_below_costs_no_more_than_the_rows_that_are_taken() -> None:
    sheet = (
        '<worksheet xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main"><sheetData>'
        '<row r="1"><c r="A1" t="inlineStr"><is><t>sku</t></is></c></row>'
        '<row r="1000000000"><c r="A1000000000" t="inlineStr"><is><t>X</t></is></c></row></sheetData></worksheet>'
    )

    with pytest.raises(TableRefused, match="no row below"):
        read(packed(sheet))
