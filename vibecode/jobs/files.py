"""A job's file: taken, read, checked, its bad rows corrected. Called by vibecode.jobs' admin and its messages."""

import secrets
from collections.abc import Mapping

from django.db import transaction
from django.db.models import F, Q
from django.db.models.functions import Now

from vibecode import bucket
from vibecode.jobs.kinds import ImportKind, import_kinds, kind_of
from vibecode.jobs.running import WRITTEN, NotNow, send
from vibecode.jobs.tables import BEYOND, LARGEST_FILE, TableRefused, check_size, plain, read_table
from vibecode.models import Job, JobRow
from vibecode.resources import UPLOAD_SECONDS, UPLOADS
from vibecode.rights import Actor

ANY_FILE = "application/octet-stream"  # what a file is, is seen in it: browsers disagree about CSV
NUMBER, ERROR = "row", "error"  # the columns of a file of bad rows beside their own


# --- taking ----------------------------------------------------------------------------------------------------------
def begin_import(*, kind: str, file_name: str, size: int, actor: Actor) -> tuple[Job, bucket.Form]:
    """A job that waits for its file, and the form with which a browser stores that. No network.

    Raises Denied, or TableRefused for a file that is too large.
    """
    actor.must(import_kinds()[kind].right)
    key, form = _place_for_file(size)
    job = Job.objects.create(
        kind=kind, state=Job.State.UPLOADING, upload=key, file_name=file_name[:200], asked_by=actor.name
    )
    return job, form


def begin_correction(*, job: Job, size: int, actor: Actor) -> bucket.Form:
    """A form for a file of corrected rows. Raises Denied, NotNow, TableRefused."""
    actor.must(_import_kind(job).right)
    key, form = _place_for_file(size)
    if not Job.objects.at_rest().filter(pk=job.pk, bad__gt=0).update(upload=key):
        raise NotNow("Rows can be corrected while the job rests and some are bad.")
    return form


def _place_for_file(size: int) -> tuple[str, bucket.Form]:
    check_size(size)
    key = f"{UPLOADS}jobs/{secrets.token_hex(16)}"
    return key, bucket.sign_form(key, content_type=ANY_FILE, most=LARGEST_FILE, seconds=UPLOAD_SECONDS)


def take_file(*, job: Job, actor: Actor) -> None:
    """The file was stored: read it, in the background. Twice is harmless. Raises Denied or NotNow."""
    actor.must(_import_kind(job).right)
    waits = Job.objects.filter(pk=job.pk).filter(
        Q(state=Job.State.UPLOADING) | Q(pk__in=Job.objects.at_rest().values("pk"), bad__gt=0)
    )
    if waits.exclude(upload="").update(state=Job.State.READING, began_at=Now(), moved_at=Now(), failure=""):
        send([{"job": job.pk}])
    elif not Job.objects.filter(pk=job.pk, state__in=[Job.State.READING, Job.State.READY]).exists():
        raise NotNow("The job does not wait for a file.")


# --- reading ---------------------------------------------------------------------------------------------------------
def read_file(job: Job) -> None:
    """Read the file of a job and check every row: a new one's rows, or corrections of bad ones. Twice is harmless."""
    kind = _import_kind(job)
    correcting = job.rows > 0
    try:
        table = _table_of(job, kind, correcting=correcting)
    except TableRefused as refusal:
        _refuse_file(job, refusal.detail, correcting=correcting)
        return
    if correcting:
        with transaction.atomic():
            if _ends_reading(job):
                _write_corrections(job, kind, table)
        return
    checked = kind.check(table)
    with transaction.atomic():
        if not _ends_reading(job):
            return
        rows = [_row(job, number, table[number], *checked[number]) for number in table]
        JobRow.objects.bulk_create(rows, batch_size=WRITTEN)
        bad = sum(row.state == JobRow.State.BAD for row in rows)
        Job.objects.filter(pk=job.pk).update(rows=len(rows), bad=bad)


def _table_of(job: Job, kind: ImportKind, *, correcting: bool) -> dict[int, dict[str, str]]:
    stored = bucket.read(job.upload, most=LARGEST_FILE)
    if stored is None:
        raise TableRefused("The file did not arrive: choose it again.")
    check_size(stored.size)
    required = [name for name, column in kind.columns.items() if column.required]
    if not correcting:
        table = read_table(stored.content, columns=[*kind.columns, *kind.told], required=required)
        ours = [*kind.columns, BEYOND]
        return {number: {name: row[name] for name in ours if name in row} for number, row in table.items()}
    names = [NUMBER, ERROR, *kind.columns]
    return _corrections(job, read_table(stored.content, columns=names, required=[NUMBER, *required]))


def _ends_reading(job: Job) -> bool:
    """Whether this reader is the one whose rows count."""
    reading = Job.objects.filter(pk=job.pk, state=Job.State.READING, upload=job.upload)
    return bool(reading.update(state=Job.State.READY, upload="", moved_at=Now()))


def _refuse_file(job: Job, reason: str, *, correcting: bool) -> None:
    """A file that cannot be read ends a new job; one that has rows rests as before, and says why."""
    state = Job.State.READY if correcting else Job.State.FAILED
    reading = Job.objects.filter(pk=job.pk, state=Job.State.READING, upload=job.upload)
    reading.update(state=state, failure=reason[:500], upload="", ended_at=None if correcting else Now())


def _row(job: Job, number: int, written: Mapping[str, str], errors: dict[str, str], note: str) -> JobRow:
    state = JobRow.State.BAD if errors else JobRow.State.WAITING
    return JobRow(job=job, number=number, state=state, data=dict(written), errors=errors, note=note[:300])


# --- correcting ------------------------------------------------------------------------------------------------------
def correct_row(*, job: Job, number: int, written: Mapping[str, str], actor: Actor) -> bool:
    """Write a bad row anew and check it; whether it can be done now. Raises Denied, or NotNow if it is not bad."""
    kind = _import_kind(job)
    actor.must(kind.right)
    with transaction.atomic():
        if not Job.objects.at_rest().select_for_update().filter(pk=job.pk).exists():
            raise NotNow("Rows can be corrected while the job rests.")
        typed = {name: text.replace("\x00", "") for name, text in written.items()}  # PostgreSQL's JSON has no NUL
        if not _write_corrections(job, kind, {number: typed}):
            raise NotNow(f"Row {number} is not bad any more.")
        return job.lines.waiting().filter(number=number).exists()


def _corrections(job: Job, table: Mapping[int, dict[str, str]]) -> dict[int, dict[str, str]]:
    """The rows of a file by the number that each names. Raises TableRefused where one names none of the bad ones."""
    bad = set(job.lines.bad().values_list("number", flat=True))
    found: dict[int, dict[str, str]] = {}
    for line, written in table.items():
        text = written.pop(NUMBER, "").strip()
        number = int(text) if text.isascii() and text.isdigit() else 0
        if number not in bad or number in found:
            raise TableRefused(f"Line {line}: {text[:20]!r} in the column {NUMBER} is the number of no bad row.")
        written.pop(ERROR, None)
        found[number] = written
    return found


def _write_corrections(job: Job, kind: ImportKind, table: Mapping[int, dict[str, str]]) -> int:
    """Check rows anew that are bad, and count them; returns how many. The caller holds the job's lock."""
    rows = list(job.lines.bad().filter(number__in=list(table)))
    others = job.lines.exclude(state=JobRow.State.BAD).values_list(f"data__{kind.once}", "number") if kind.once else ()
    taken = {plain(text or "").upper(): number for text, number in others}
    checked = kind.check({row.number: table[row.number] for row in rows}, taken)
    for row in rows:
        row.data = table[row.number]
        row.errors, note = checked[row.number]
        row.note = note[:300]
        row.state = JobRow.State.BAD if row.errors else JobRow.State.WAITING
    JobRow.objects.bulk_update(rows, ["data", "errors", "note", "state"], batch_size=WRITTEN)
    mended = sum(not row.errors for row in rows)
    Job.objects.filter(pk=job.pk).update(bad=F("bad") - mended, failure="")
    return len(rows)


def _import_kind(job: Job) -> ImportKind:
    kind = kind_of(job.kind)
    if not isinstance(kind, ImportKind):
        raise NotNow("This job has no file.")
    return kind
