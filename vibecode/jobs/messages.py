"""What a job's messages are to do, and those that were lost. Called by the queue `jobs`, the schedule `sweep-jobs`."""

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import structlog
from django.conf import settings
from django.db import transaction
from django.db.models.functions import Now

from vibecode.jobs.files import read_file
from vibecode.jobs.kinds import kind_of
from vibecode.jobs.running import chunks_of, fail, send, settle, work
from vibecode.models import Job, JobRow
from vibecode.resources import JOBS

READ_WITHIN = timedelta(hours=1)  # then a file is given up
ABANDONED = timedelta(days=1)
TRIES = 12  # of the sweep, about an hour of them, without a row settled in between
STANDS = (
    "It did not move in {tries} attempts: the shop's log says why, under job {job}. What is done stays done; the rest "
    "can be begun anew."
)

log = structlog.stdlib.get_logger("vibecode.jobs")


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
            fail(job, STANDS.format(tries=TRIES, job=job.pk))
        else:
            log.warning("job goes on", job=job.pk, kind=job.kind, waiting=job.waiting)
            send([{"job": job.pk}] if job.state == Job.State.READING else chunks_of(job, kind_of(job.kind)))
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
