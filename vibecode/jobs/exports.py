"""Kinds of jobs that write rows of a table to a file. Called by the apps' jobs.

A row of the job is a part of the file: first the ids of what is in it, then what is said of them. The last chunk puts
the parts together and lays one private file onto S3.
"""

import secrets
from collections.abc import Iterable, Sequence
from decimal import Decimal
from itertools import batched
from typing import Any, ClassVar

from django.db.models import QuerySet

from vibecode import bucket
from vibecode.jobs.kinds import Kind, kind_of
from vibecode.jobs.running import NotNow, make_job
from vibecode.jobs.tables import TYPES, write_table
from vibecode.models import Job, JobRow
from vibecode.resources import UPLOADS
from vibecode.rights import Actor

PART = 500  # things of one row
MOST_EXPORTED = 100_000  # things of one file, which a request can still name


def make_export(*, kind: str, rows: QuerySet[Any], form: str, actor: Actor, part: int | None = None) -> Job:
    """A job that writes a list to a file of the ``form`` csv, xlsx or pdf, in its order, once it is begun.

    Raises Denied or NotNow.
    """
    actor.must(kind_of(kind).right)
    ids = list(rows.values_list("pk", flat=True)[: MOST_EXPORTED + 1])
    if len(ids) > MOST_EXPORTED:
        raise NotNow(f"That is more than {MOST_EXPORTED:,} in one file: narrow the list, by days for example.")
    parts = ({"ids": list(each)} for each in batched(ids, part or PART))
    return make_job(kind=kind, rows=parts, params={"form": form}, actor=actor)


class ExportKind(Kind):
    """One line of the file for each thing."""

    icon = "download"
    unit = "part"
    chunk = 4
    file: ClassVar[str]  # what the file is called, before the number of its job
    columns: ClassVar[Sequence[str]]
    sums: ClassVar[frozenset[str]] = frozenset()  # columns of money: numbers in the file, texts in between

    def cells(self, ids: Sequence[int]) -> list[list[Any]]:
        """The lines of a part, as JSON has them."""
        raise NotImplementedError

    def parts(self, job: Job) -> Iterable[list[list[Any]]]:
        """The parts in the order of the file."""
        return job.lines.order_by("number").values_list("data__cells", flat=True)

    def prepare(self, rows: Sequence[JobRow]) -> None:
        """Nothing: it changes nothing."""

    def do(self, row: JobRow, found: Any, actor: Actor) -> str:  # noqa: ARG002 -- the platform's signature
        """Look a part up."""
        cells = self.cells(row.data["ids"])
        row.data = {"cells": cells}
        return f"{len(cells)} lines"

    def finish(self, job: Job) -> str:
        """Put the parts together."""
        form = job.params["form"]
        sums = {place for place, name in enumerate(self.columns) if name in self.sums}
        lines = (
            [Decimal(cell) if place in sums else cell for place, cell in enumerate(line)]
            for part in self.parts(job)
            for line in part
        )
        return keep_export(job, self.file, write_table(form, self.columns, lines))


def keep_export(job: Job, name: str, content: bytes, *, form: str = "") -> str:
    """Lay a job's file onto S3, for whoever is given its link; its key, which nobody guesses and no other file gets."""
    form = form or job.params["form"]
    key = f"{UPLOADS}exports/{job.pk}-{secrets.token_hex(16)}.{form}"
    bucket.keep(key, content, content_type=TYPES[form], file_name=f"{name}-{job.pk}.{form}")
    return key
