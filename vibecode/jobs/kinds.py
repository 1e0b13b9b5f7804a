"""What a kind of job knows: whose right it needs, how its rows are checked and done. Called by vibecode.jobs.

Apps derive from Kind or ImportKind and are named in JOBS of vibecode/resources.py: the platform knows none of them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any, ClassVar

from django import forms
from django.utils.module_loading import import_string

from vibecode import resources
from vibecode.errors import Unprocessable
from vibecode.jobs.tables import BEYOND, is_formula, plain
from vibecode.models import Job, JobRow
from vibecode.rights import Actor, Right

LOOSE = "put a cell that has a comma into quotes, write 12.50 with a dot, and leave notes out."

type Values = dict[str, Any]


class RowRefused(Unprocessable):
    """A row cannot be done as it stands."""

    code = "row-refused"
    title = "The row cannot be done"


class RowForm(forms.Form):
    """One row of a file: its fields are the columns. Each is a plain field whose help text says what belongs there."""

    def __init__(self, written: Mapping[str, str]) -> None:
        super().__init__({name: plain(text) for name, text in written.items()})
        self.formulas = [name for name in self.fields if is_formula(written.get(name, ""))]

    def clean(self) -> Values:
        """Refuse formulas: what a spreadsheet would run is no value."""
        cleaned: Values = super().clean() or self.cleaned_data
        for name in self.formulas:
            self.errors.pop(name, None)
            self.add_error(name, "This is a formula: put its value here, or an apostrophe (') first to keep the text.")
        return cleaned


@dataclass(slots=True)
class Findings:
    """What a look at the database says of rows, by their number: sentences by column, and what each will do."""

    errors: dict[int, dict[str, str]] = field(default_factory=dict)
    notes: dict[int, str] = field(default_factory=dict)


class Kind:
    """A kind of job. Its methods run in the one transaction of a chunk."""

    title: ClassVar[str]
    icon: ClassVar[str]
    right: ClassVar[Right]
    promise: ClassVar[str]  # what will happen when it begins, for who decides
    unit: ClassVar[str] = "row"
    chunk: ClassVar[int] = 200  # rows of one transaction, which must end long before the function does

    def prepare(self, rows: Sequence[JobRow]) -> Any:
        """Lock what the rows are about, in the order of its ids; what it gives is handed to ``do``."""
        raise NotImplementedError

    def do(self, row: JobRow, found: Any, actor: Actor) -> str:
        """Do one row, in a savepoint; says what was done. What it refuses by a DomainError is bad, and no other row."""
        raise NotImplementedError

    def finish(self, job: Job) -> str:
        """Make the file of a job whose rows are all settled, outside of any transaction; its key on S3."""
        raise NotImplementedError

    @property
    def makes_file(self) -> bool:
        """Whether there is something to finish."""
        return type(self).finish is not Kind.finish

    def lacks_file(self, job: Job) -> bool:
        """Whether a job has its rows still, and no file of them."""
        return self.makes_file and job.rows > 0 and not job.result


class ImportKind(Kind):
    """A kind whose rows come from a file."""

    form: ClassVar[type[RowForm]]
    once: ClassVar[str] = ""  # the column of which a file has each value once
    told: ClassVar[Sequence[str]] = ()  # columns that an export has for people: an import leaves them out

    @property
    def columns(self) -> dict[str, forms.Field]:
        """The columns of its files."""
        fields: dict[str, forms.Field] = self.form.base_fields
        return fields

    def look_up(self, rows: Mapping[int, Values]) -> Findings:
        """What the database says of well-formed rows, in statements whose number does not grow with them."""
        raise NotImplementedError

    def check(
        self, written: Mapping[int, Mapping[str, str]], taken: Mapping[str, int] | None = None
    ) -> dict[int, tuple[dict[str, str], str]]:
        """For each row what is wrong with it, by column, and else what it will do.

        ``taken`` says which row has a value of the column ``once`` already.
        """
        errors: dict[int, dict[str, str]] = {}
        sound: dict[int, Values] = {}
        seen = dict(taken or {})
        for number, row in written.items():
            if beyond := row.get(BEYOND, ""):  # most often 12,50, of which 12 would be taken
                errors[number] = {"": f"{beyond[:40]!r} stands under no column's name: {LOOSE}"}
                continue
            form = self.form(row)
            if not form.is_valid():
                errors[number] = {
                    "" if name == "__all__" else name: " ".join(map(str, said)) for name, said in form.errors.items()
                }
                continue
            value = str(form.cleaned_data.get(self.once, ""))
            if self.once and (first := seen.setdefault(value, number)) != number:
                errors[number] = {self.once: f"Row {first} has {value} already: keep one of them."}
            else:
                sound[number] = form.cleaned_data
        found = self.look_up(sound)
        errors |= found.errors
        return {number: (errors.get(number, {}), found.notes.get(number, "")) for number in written}

    def texts(self, rows: Sequence[JobRow], column: str) -> set[str]:
        """What stands in a column of these rows, in upper case as keys are."""
        return {plain(row.data.get(column, "")).upper() for row in rows}

    def values(self, row: JobRow) -> Values:
        """A row's values, checked once more. Raises RowRefused."""
        form = self.form(row.data)
        if not form.is_valid():
            raise RowRefused(" ".join(str(sentence) for said in form.errors.values() for sentence in said))
        return form.cleaned_data


@cache
def kind_of(key: str) -> Kind:
    """The kind by its name. Raises KeyError where there is none."""
    made: Kind = import_string(resources.JOBS[key])()
    return made


def import_kinds() -> dict[str, ImportKind]:
    """Every kind whose rows come from a file, by name."""
    kinds = {key: kind_of(key) for key in resources.JOBS}
    return {key: kind for key, kind in kinds.items() if isinstance(kind, ImportKind)}
