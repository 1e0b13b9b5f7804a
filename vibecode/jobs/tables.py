"""Tables as files: CSV and XLSX, in and out, with formulas defused both ways. Called by vibecode.jobs and job kinds.

A spreadsheet runs a cell that begins with one of SIGNS. On the way out such a text gets an apostrophe before it, on the
way in it loses that again; numbers stay numbers. The same within a text, after what some spreadsheet may take for the
end of a cell: where a semicolon parts the cells of a file, quotes in the middle of one protect nothing.
"""

import csv
import io
import re
import warnings
import zipfile
from collections.abc import Iterable, Iterator, Sequence
from datetime import date, datetime, time
from decimal import Decimal
from itertools import chain, repeat
from typing import Any

from vibecode.errors import Unprocessable

LARGEST_FILE = 10 * 2**20  # bytes
MOST_ROWS = 20_000
WIDEST = 1_000  # columns: far more than a kind has, for notes beside the table are told of
SHEET_ROWS = 2**20  # no spreadsheet has more: a file can number its rows as it likes
LARGEST_UNPACKED = 80 * 2**20  # bytes of XML in an XLSX: a small file can hold gigabytes of nothing
LONGEST_CELL = 20_000
BEYOND = ""  # the name of what stands under no column's name
# https://owasp.org/www-community/attacks/CSV_Injection, with the full-width signs that some spreadsheets take as well
SIGNS = "=+\\-@＝＋－＠"
RISKY = rf"^(?='*[{SIGNS}\t\r\n])|(?<=[;\t\r\n])(?='*[{SIGNS}])"  # the places where something would run
TYPES = {
    "csv": "text/csv",
    "xlsx": "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
    "pdf": "application/pdf",
}

_risky = re.compile(RISKY)
_defused = re.compile(RISKY.replace("(?='*", "'(?='*"))
_unwritable = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f]")  # XML has no way to write them

type Cell = str | int | Decimal | None
type Rows = Iterator[tuple[int, list[str]]]


class TableRefused(Unprocessable):
    """A file is no table that we can read. The detail says why and how to mend it."""

    code = "table-refused"
    title = "The file cannot be read"


# --- formulas --------------------------------------------------------------------------------------------------------
def defuse(text: str) -> str:
    """A text that no spreadsheet runs."""
    return _risky.sub("'", text)


def plain(text: str) -> str:
    """The text that was meant: without the apostrophes that keep it from being run."""
    return _defused.sub("", text.strip())


def as_kept(text: str) -> str:
    """What is left of a text once it was written to a file and read again: by this, two texts are the same."""
    return _unwritable.sub("", text).replace("\r\n", "\n").replace("\r", "\n").strip()


def is_formula(text: str) -> bool:
    """Whether a spreadsheet would run it: we never do, and take it for nothing else either."""
    return text.lstrip().startswith(("=", "＝"))


# --- reading ---------------------------------------------------------------------------------------------------------
def check_size(size: int) -> None:
    """Refuse a file of too many bytes."""
    if size > LARGEST_FILE:
        raise TableRefused(f"The file has {size / 2**20:.1f} MB; {LARGEST_FILE // 2**20} MB is the most: split it.")


def read_table(content: bytes, *, columns: Sequence[str], required: Iterable[str]) -> dict[int, dict[str, str]]:
    """The rows of a file by their number, each by column, as they are written there. Empty rows are left out.

    A row that has a cell under no column's name has it as BEYOND: it is for the caller to refuse.
    Raises TableRefused for what is no table, too large, or lacks a column.
    """
    check_size(len(content))
    rows = _of_xlsx(content) if content.startswith(b"PK") else _of_csv(content)
    _, head = next(rows, (1, []))
    names = _columns(head, columns, required)
    found: dict[int, dict[str, str]] = {}
    for number, cells in rows:
        if len(cells) > WIDEST:
            raise TableRefused(f"Row {number} goes on to column {len(cells):,}: delete what is beside the table.")
        values = {name: cell for name, cell in zip(chain(names, repeat(BEYOND)), cells, strict=False) if cell.strip()}
        if values:
            found[number] = values
        if len(found) > MOST_ROWS:
            raise TableRefused(f"The file has more than {MOST_ROWS:,} rows: split it.")
        if any(len(cell) > LONGEST_CELL for cell in cells):
            raise TableRefused(f"Row {number} has a cell of more than {LONGEST_CELL:,} characters: shorten it.")
    if not found:
        raise TableRefused("The file has no row below the names of its columns.")
    return found


def _columns(head: list[str], columns: Sequence[str], required: Iterable[str]) -> list[str]:
    names = [cell.strip().lower().replace(" ", "_") for cell in head]
    while names and not names[-1]:
        names.pop()
    if unknown := [name for name in names if name and name not in columns]:
        raise TableRefused(
            f"The first row must name the columns; {', '.join(repr(name[:40]) for name in unknown[:5])} is none of "
            f"{', '.join(columns)}."
        )
    if missing := [name for name in required if name not in names]:
        raise TableRefused(f"The first row must name the columns; it lacks {', '.join(missing)}.")
    if twice := {name for name in names if name and names.count(name) > 1}:
        raise TableRefused(f"The first row names {', '.join(sorted(twice))} more than once.")
    return names


def _of_csv(content: bytes) -> Rows:
    try:
        text = content.decode("utf-16" if content.startswith((b"\xff\xfe", b"\xfe\xff")) else "utf-8-sig")
    except UnicodeDecodeError:
        raise TableRefused("The file is not UTF-8: save it as “CSV UTF-8”, or as XLSX.") from None
    if "\x00" in text:
        raise TableRefused("The file is neither CSV nor XLSX.")
    first = text.partition("\n")[0]
    delimiter = max(",;\t", key=first.count)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    try:
        yield from enumerate(reader, start=1)
    except csv.Error as error:
        raise TableRefused(f"Line {reader.line_num} is no CSV ({error}): are the quotes closed?") from error


def _of_xlsx(content: bytes) -> Rows:
    from openpyxl import load_workbook  # heavy, and seldom needed; reads XML through defusedxml

    try:
        _check_unpacked(content)
        with warnings.catch_warnings(action="ignore"):  # what openpyxl misses of styles
            book = load_workbook(io.BytesIO(content), read_only=True, keep_links=False)
            sheet = book.worksheets[0]
            sheet.reset_dimensions()  # what a file says of its size need not be so
            for number, row in enumerate(sheet.iter_rows(max_row=SHEET_ROWS), start=1):
                if row or number == 1:
                    yield number, [_text(cell.value, formula=cell.data_type == "f") for cell in row]
        book.close()
    except TableRefused:
        raise
    except Exception as error:
        raise TableRefused("The file is no XLSX that can be read: save it anew, or as “CSV UTF-8”.") from error


def _check_unpacked(content: bytes) -> None:
    """By the archive's own list of sizes, beyond which zipfile reads nothing."""
    with zipfile.ZipFile(io.BytesIO(content)) as packed:
        size = sum(part.file_size for part in packed.infolist())
    if size > LARGEST_UNPACKED:
        raise TableRefused(f"Unpacked, the file has {size / 2**20:,.0f} MB: delete what is no part of the table.")


def _text(value: Any, *, formula: bool) -> str:
    """A cell of a spreadsheet as a CSV would have it: a formula begins with =, and a text that does is defused."""
    match value:
        case None:
            return ""
        case bool():
            return str(value).lower()
        case float():
            return f"{value:.15g}"  # as spreadsheets show it
        case datetime() | date() | time():
            return value.isoformat()
        case str() if not formula:
            text = value.replace("\x00", "")
            return f"'{text}" if is_formula(text) else text
    return str(value) if isinstance(value, str | int) else "="  # a formula of many cells has no text


# --- writing ---------------------------------------------------------------------------------------------------------
def write_table(form: str, columns: Sequence[str], rows: Iterable[Sequence[Cell]]) -> bytes:
    """A file of rows in the ``form`` csv or xlsx: texts defused, numbers as numbers."""
    return _as_xlsx(columns, rows) if form == "xlsx" else _as_csv(columns, rows)


def _as_csv(columns: Sequence[str], rows: Iterable[Sequence[Cell]]) -> bytes:
    out = io.StringIO(newline="")
    writer = csv.writer(out)
    writer.writerow(columns)
    writer.writerows([_written(cell) for cell in row] for row in rows)
    return out.getvalue().encode("utf-8-sig")  # by the mark Excel knows that it is UTF-8


def _as_xlsx(columns: Sequence[str], rows: Iterable[Sequence[Cell]]) -> bytes:
    from openpyxl import Workbook

    book = Workbook(write_only=True)
    sheet = book.create_sheet()
    sheet.append(list(columns))
    for row in rows:
        sheet.append([_written(cell) for cell in row])
    out = io.BytesIO()
    book.save(out)
    return out.getvalue()


def _written(cell: Cell) -> str | int | Decimal | None:
    return defuse(_unwritable.sub("", cell)) if isinstance(cell, str) else cell
