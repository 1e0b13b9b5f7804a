"""What can be done to a job: made, begun, worked at, cancelled. Called by the jobs of apps, vibecode.jobs' doors.

A job's rows are done in chunks, each one message and one transaction, all sent when the job begins: never a chain, for
Lambda ends chains of messages from a function to itself after about 16.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
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
from vibecode.jobs.kinds import Kind, kind_of
from vibecode.jobs.tables import MOST_ROWS
from vibecode.models import Job, JobRow
from vibecode.rights import Actor

WRITTEN = 1000  # rows a statement

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
        send(chunks_of(job, kind))
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
        fail(job, f"Whoever began it may no longer {kind.right}: somebody else who may can go on.")
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


def fail(job: Job, reason: str) -> None:
    """Stop a job that runs, and say why; what waits can be begun anew."""
    running = Job.objects.filter(pk=job.pk, state=Job.State.RUNNING)
    running.update(state=Job.State.FAILED, failure=reason[:500], ended_at=Now())


# --- messages --------------------------------------------------------------------------------------------------------
def chunks_of(job: Job, kind: Kind) -> Iterator[dict[str, int]]:
    """A message for each chunk of what waits; one to look after the job where nothing does."""
    numbers = list(job.lines.waiting().order_by("number").values_list("number", flat=True))
    if not numbers:
        yield {"job": job.pk}
    for chunk in batched(numbers, kind.chunk):
        yield {"job": job.pk, "first": chunk[0], "last": chunk[-1]}


def send(messages: Iterable[Mapping[str, int]]) -> None:
    """Put messages into the queue. What SQS does not take the sweep sends again: while it is away, one call will do."""
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
