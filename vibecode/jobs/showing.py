"""What people see of a job's rows: the first of them on its page, all of them as files. Called by vibecode.jobs.admin.

Cells are as long as somebody has made them, and an answer carries 6 MB: the page cuts them, and files go by way of S3.
"""

from collections.abc import Iterator, Sequence

from django.db.models import QuerySet

from vibecode import bucket
from vibecode.jobs.exports import keep_export
from vibecode.jobs.files import ERROR, NUMBER
from vibecode.jobs.kinds import ImportKind, kind_of
from vibecode.jobs.tables import BEYOND, Cell, plain, write_table
from vibecode.models import Job, JobRow

SHOWN = 20  # rows of the preview and of the results
CELL = 200  # characters of their cells
MENDED = 25  # bad rows with fields, on one page
MENDABLE = 12_000  # characters of a row with fields: the longest description, and the rest
LINK_SECONDS = 600


def columns_of(job: Job) -> list[str]:
    """What a job's rows have to show: of a file that is being written, nothing."""
    kind = kind_of(job.kind)
    if isinstance(kind, ImportKind):
        return list(kind.columns)
    return [] if kind.makes_file else ["order"]


def first_rows(rows: QuerySet[JobRow], columns: Sequence[str]) -> list[tuple[JobRow, list[str]]]:
    """The first rows, each with its cells as they will be, cut to what a page can show."""
    first = rows.order_by("number") if columns else rows.order_by("number").defer("data")
    return [(row, [_cut(cell) for cell in _cells(row, columns)]) for row in first[:SHOWN]]


def first_bad_rows(job: Job, columns: Sequence[str]) -> list[tuple[JobRow, list[tuple[str, str, str]]]]:
    """The first bad rows, each with its fields: (column, what stands there, what is wrong with it).

    A row that is too long for a page has none.
    """
    return [(row, _fields(row, columns)) for row in job.lines.bad().order_by("number")[:MENDED]]


def sign_link(key: str) -> str:
    """An address at which a file can be read for ten minutes."""
    return bucket.sign_link(key, seconds=LINK_SECONDS)


def link_to_bad_rows(job: Job) -> str:
    """A link to the bad rows as a file: with what is wrong, to be corrected and uploaded again. Raises StorageAway."""
    columns = columns_of(job)

    def lines() -> Iterator[Sequence[Cell]]:
        for row in job.lines.bad().order_by("number").iterator():
            # What stood under no column comes last: a row that comes back as it went is as bad as before.
            yield [row.number, *_cells(row, columns), _sentence(row), *filter(None, [row.data.get(BEYOND)])]

    return _link_to(job, "not-done", [NUMBER, *columns, ERROR], lines())


def link_to_results(job: Job) -> str:
    """A link to every row with what became of it, as a file. Raises StorageAway."""
    columns = columns_of(job)
    lines: Iterator[Sequence[Cell]] = (
        [row.number, *_cells(row, columns), row.get_state_display(), _sentence(row) or row.note]
        for row in job.lines.order_by("number").iterator()
    )
    return _link_to(job, "results", [NUMBER, *columns, "state", "result"], lines)


def _link_to(job: Job, name: str, columns: Sequence[str], lines: Iterator[Sequence[Cell]]) -> str:
    return sign_link(keep_export(job, name, write_table("csv", columns, lines), form="csv"))


def _cells(row: JobRow, columns: Sequence[str]) -> list[str]:
    return [plain(str(row.data.get(name, ""))) for name in columns]


def _cut(text: str) -> str:
    return f"{text[:CELL]}…" if len(text) > CELL else text


def _fields(row: JobRow, columns: Sequence[str]) -> list[tuple[str, str, str]]:
    fields = [(name, row.data.get(name, ""), row.errors.get(name, "")) for name in columns]
    return fields if sum(len(value) for _, value, _ in fields) <= MENDABLE else []


def _sentence(row: JobRow) -> str:
    return " ".join(f"{name}: {said}" if name else said for name, said in row.errors.items())
