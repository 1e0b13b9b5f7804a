"""What can be done to a job: made, read, corrected, begun, worked at, cancelled, swept. Called by vibecode.jobs' doors.

A job's rows are done in chunks, each one message and one transaction, all sent when the job begins: never a chain, for
Lambda ends chains of messages from a function to itself after about 16.
"""

import json
import secrets
from collections.abc import Iterable, Iterator, Mapping
from datetime import timedelta
from itertools import batched
from typing import Any

import structlog
from django.conf import settings
from django.contrib.auth import get_user_model
from django.db import transaction
from django.db.models import Case, F, Q, Value, When
from django.db.models.functions import Now

from vibecode import aws, bucket
from vibecode.acting import acting
from vibecode.errors import Away, Conflict, Denied, DomainError
from vibecode.jobs.kinds import ImportKind, Kind, import_kinds, kind_of
from vibecode.jobs.tables import BEYOND, LARGEST_FILE, MOST_ROWS, TableRefused, check_size, plain, read_table
from vibecode.models import Job, JobRow
from vibecode.resources import JOBS, UPLOAD_SECONDS, UPLOADS
from vibecode.rights import Actor

WRITTEN = 1000  # rows a statement
ANY_FILE = "application/octet-stream"  # what a file is, is seen in it: browsers disagree about CSV
READ_WITHIN = timedelta(hours=1)  # then a file is given up
ABANDONED = timedelta(days=1)
TRIES = 12  # of the sweep, about an hour of them, without a row settled in between
NUMBER, ERROR = "row", "error"  # the columns of a file of bad rows beside their own
STANDS = (
    "It did not move in {tries} attempts: the shop's log says why, under job {job}. What is done stays done; the rest can "
    "be begun anew."
)

log = structlog.stdlib.get_logger("vibecode.jobs")


class NotNow(Conflict):
    """The job's state does not allow it."""

    code = "job-not-now"
    title = "The job cannot do that now"


# --- making ----------------------------------------------------------------------------------------------------------
def make_job(
    *,
    kind: str,
    rows: Iterable[Mapping[str, Any]],
    note: str = "",
    params: Mapping[str, Any] | None = None,
    actor: Actor,
) -> Job:
    """A job that is ready to begin; ``note`` says what each row will do.

    Raises Denied, or NotNow for no rows or too many.
    """
    actor.must(kind_of(kind).right)
    with transaction.atomic():
        job = Job.objects.create(kind=kind, params=dict(params or {}), asked_by=actor.name)
        count = 0
        for batch in batched(rows, WRITTEN):
            JobRow.objects.bulk_create(
                JobRow(job=job, number=count + place, data=data, note=note) for place, data in enumerate(batch, start=1)
            )
            count += len(batch)
            if count > MOST_ROWS:
                raise NotNow(f"That is more than {MOST_ROWS:,} at once: narrow the list first.")
        if not count:
            raise NotNow("There is nothing to do: the list is empty.")
        job.rows = count
        job.save(update_fields=["rows"])
    return job


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
        _send([{"job": job.pk}])
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
    reading = Job.objects.filter(pk=job.pk, state=Job.State.READING)
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


# --- running ---------------------------------------------------------------------------------------------------------
def begin_job(*, job: Job, actor: Actor) -> None:
    """Do what waits, in the background and in the name of ``actor``. Twice is harmless. Raises Denied or NotNow."""
    kind = kind_of(job.kind)
    actor.must(kind.right)
    unfinished = Q(rows__gt=F("done") + F("bad"))
    if kind.makes_file:
        unfinished |= Q(rows__gt=0, result="")
    begun = (
        Job.objects.at_rest()
        .filter(unfinished, pk=job.pk)
        .update(state=Job.State.RUNNING, asked_by=actor.name, began_at=Now(), moved_at=Now(), ended_at=None, failure="")
    )
    if begun:
        _send(_chunks(job, kind))
    elif not Job.objects.filter(pk=job.pk, state=Job.State.RUNNING).exists():
        raise NotNow("No row waits to be done.")


def cancel_job(*, job: Job, actor: Actor) -> None:
    """Begin no further chunk; what was done stays done. Twice is harmless. Raises Denied or NotNow."""
    actor.must(kind_of(job.kind).right)
    open_states = [Job.State.UPLOADING, Job.State.READING, Job.State.READY, Job.State.RUNNING]
    rows = Job.objects.filter(pk=job.pk)
    cancelled = rows.filter(state__in=open_states).update(state=Job.State.CANCELLED, ended_at=Now())
    if not cancelled and not rows.filter(state=Job.State.CANCELLED).exists():
        raise NotNow("The job is over: there is nothing to cancel.")


def work(*, job: Job, first: int, last: int) -> None:
    """Do the rows of a chunk that still wait: all of them, or after a crash none. Twice or side by side is harmless.

    A row that a service refuses is bad, with its sentence, and holds up no other.
    """
    kind = kind_of(job.kind)
    actor = person_now(job.asked_by)
    if not actor.may(kind.right):
        _fail(job, f"Whoever began it may no longer {kind.right}: somebody else who may can go on.")
        return
    with acting(job.asked_by), transaction.atomic():
        if not Job.objects.filter(pk=job.pk, state=Job.State.RUNNING).exists():
            return
        waiting = job.lines.waiting().filter(number__range=(first, last)).order_by("number")
        rows = list(waiting.select_for_update(skip_locked=True))
        if rows:
            _do(kind, rows, actor)
            _count(job, rows, kind)
    settle(job)


def _do(kind: Kind, rows: list[JobRow], actor: Actor) -> None:
    found = kind.prepare(rows)
    for row in rows:
        try:
            with transaction.atomic():
                row.note = kind.do(row, found, actor)[:300]
            row.state = JobRow.State.DONE
        except (Away, Denied):
            raise  # of all rows, not of this one
        except DomainError as refusal:
            row.state, row.errors, row.note = JobRow.State.BAD, {"": refusal.detail}, ""
    JobRow.objects.bulk_update(rows, ["state", "data", "errors", "note"])


def _count(job: Job, rows: list[JobRow], kind: Kind) -> None:
    """Add a chunk to its job; the one that settles the last row ends a job that makes no file."""
    done = sum(row.state == JobRow.State.DONE for row in rows)
    is_last = Q(rows__lte=F("done") + F("bad") + len(rows), state=Job.State.RUNNING)
    ends = {} if kind.makes_file else {
        "state": Case(When(is_last, then=Value(Job.State.DONE)), default=F("state")),
        "ended_at": Case(When(is_last, then=Now()), default=F("ended_at")),
    }  # fmt: skip
    Job.objects.filter(pk=job.pk).update(done=F("done") + done, bad=F("bad") + len(rows) - done, moved_at=Now(), **ends)


def settle(job: Job) -> None:
    """Make the file of a job whose rows are all settled. Network, so outside of any transaction; twice is harmless."""
    kind = kind_of(job.kind)
    settled = Job.objects.filter(pk=job.pk, state=Job.State.RUNNING, rows__lte=F("done") + F("bad"))
    if not kind.makes_file or not settled.exists():
        return
    key = kind.finish(job)  # one of its own for each attempt: a later one has no parts to read any more
    with transaction.atomic():
        counts = settled.update(state=Job.State.DONE, result=key, ended_at=Now(), moved_at=Now())
        if counts:
            job.lines.all().delete()  # what they held lies in the file
    if not counts:
        bucket.delete(key)


def person_now(sub: str) -> Actor:
    """Somebody with the rights of the groups that they are in now, none once they are shut out."""
    users = get_user_model()
    user = users.objects.filter(**{users.USERNAME_FIELD: sub}, is_active=True, is_staff=True).first()
    return Actor.person(sub, user.groups.values_list("name", flat=True) if user else ())


def _fail(job: Job, reason: str) -> None:
    running = Job.objects.filter(pk=job.pk, state=Job.State.RUNNING)
    running.update(state=Job.State.FAILED, failure=reason[:500], ended_at=Now())


# --- messages, and what became of them -------------------------------------------------------------------------------
def take_message(message: Mapping[str, Any]) -> None:
    """A chunk, or a job to look after. Of one that was forgotten meanwhile nothing is left to do."""
    job = Job.objects.filter(pk=message["job"]).first()
    if job is None:
        return
    if "first" in message:
        work(job=job, first=message["first"], last=message["last"])
    elif job.state == Job.State.READING:
        read_file(job)
    else:
        settle(job)


def sweep_jobs() -> None:
    """Send anew what the messages of jobs that do not move were to do; give up files; forget what is old."""
    Job.objects.filter(state=Job.State.READING, began_at__lt=Now() - READ_WITHIN).update(
        state=Job.State.FAILED, failure="The file could not be read within an hour: upload it again.", ended_at=Now()
    )
    stuck = Job.objects.stuck(settings.JOB_STUCK_SECONDS)
    for job in stuck:
        tries = _tries(job)
        if not stuck.filter(pk=job.pk).update(moved_at=Now(), params=job.params | {"tries": tries}):
            continue  # it has moved meanwhile, or another sweep has it
        if job.state == Job.State.RUNNING and tries["times"] > TRIES:
            log.error("job given up", job=job.pk, kind=job.kind, waiting=job.waiting)
            _fail(job, STANDS.format(tries=TRIES, job=job.pk))
        else:
            log.warning("job goes on", job=job.pk, kind=job.kind, waiting=job.waiting)
            _send([{"job": job.pk}] if job.state == Job.State.READING else _chunks(job, kind_of(job.kind)))
    _forget_parts()
    Job.objects.filter(state=Job.State.UPLOADING, created_at__lt=Now() - ABANDONED).delete()
    Job.objects.filter(created_at__lt=Now() - timedelta(days=settings.JOB_KEEP_DAYS)).delete()


def _tries(job: Job) -> dict[str, Any]:
    """How many times the sweep has sent it, this one too, since it was begun and since a row of it was settled."""
    since, before = f"{job.began_at} {job.done + job.bad}", job.params.get("tries", {})
    return {"since": since, "times": before["times"] + 1 if before.get("since") == since else 1}


def _forget_parts() -> None:
    """Of a file that was given up, what its rows hold of people goes as soon as the file would have."""
    kinds = [key for key in JOBS if kind_of(key).makes_file]
    given_up = Job.objects.filter(kind__in=kinds, state__in=[Job.State.CANCELLED, Job.State.FAILED], rows__gt=0)
    with transaction.atomic():
        old = list(given_up.filter(ended_at__lt=Now() - ABANDONED).select_for_update())
        JobRow.objects.filter(job__in=old).delete()
        Job.objects.filter(pk__in=[job.pk for job in old]).update(rows=0, done=0, bad=0)


def _chunks(job: Job, kind: Kind) -> Iterator[dict[str, int]]:
    """A message for each chunk of what waits; one to look after the job where nothing does."""
    numbers = list(job.lines.waiting().order_by("number").values_list("number", flat=True))
    if not numbers:
        yield {"job": job.pk}
    for chunk in batched(numbers, kind.chunk):
        yield {"job": job.pk, "first": chunk[0], "last": chunk[-1]}


def _send(messages: Iterable[Mapping[str, int]]) -> None:
    """Put messages into the queue. What SQS does not take, the sweep sends again: while it is away, asking once will do."""
    for batch in batched(messages, 10):
        entries = [{"Id": str(place), "MessageBody": json.dumps(message)} for place, message in enumerate(batch)]
        try:
            answer = aws.client("sqs").send_message_batch(
                QueueUrl=settings.RESOURCES.queue_url("jobs"),
                Entries=entries,  # type: ignore[arg-type]  # a list of such dicts, which the stubs want one by one
            )
        except aws.service_errors() as error:
            log.warning("job waits for the sweep", error=str(error))
            return
        if failed := answer.get("Failed"):
            log.warning("job waits for the sweep", error=str(failed))


def _import_kind(job: Job) -> ImportKind:
    kind = kind_of(job.kind)
    if not isinstance(kind, ImportKind):
        raise NotNow("This job has no file.")
    return kind
