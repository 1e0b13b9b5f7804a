"""manage.py work_queue: a container in the function's place, by the function's own door."""

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.conf import settings
from django.core.management import CommandError, call_command
from django.db import connection

from catalog.jobs import export_stock
from catalog.models import Stock
from tests.in_process import make_product, shelf
from tests.jobs.clerks import Clerk
from tests.platform.bus import waiting
from tests.signing_as import BATCH, signing_as
from vibecode import aws, doorbell
from vibecode.jobs.exports import ExportKind
from vibecode.jobs.running import begin_job, settle
from vibecode.management.commands import work_queue
from vibecode.models import Job


@pytest.fixture
def work(capsys: pytest.CaptureFixture[str]) -> Iterator[Callable[..., str]]:
    """The command with its arguments: what it says. What it makes of signals ends with the test."""
    kept = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}

    def work(*arguments: str) -> str:
        call_command("work_queue", *arguments)
        return capsys.readouterr().out

    yield work
    for number, handler in kept.items():
        signal.signal(number, handler)


def test_what_waits_is_done_and_deleted(clerk: Clerk, work: Callable[..., str]) -> None:
    make_product()
    job = export_stock(shelves=Stock.objects.all(), form="csv", actor=clerk.actor)
    begin_job(job=job, actor=clerk.actor)

    said = work("jobs", "--until-empty")

    job.refresh_from_db()
    assert job.state == Job.State.DONE
    assert said == "1 done\n"
    assert waiting(clerk.queue) == (0, 0)


def test_a_file_is_read_and_done_and_the_relay_is_told_of_its_facts(
    clerk: Clerk, work: Callable[..., str], django_capture_on_commit_callbacks: Any
) -> None:
    lamp = make_product("LAMP", on_hand=9)
    Stock.objects.filter(product=lamp).update(reorder_point=5)
    job = clerk.sends("import-stock", "sku,delta,reason\nLAMP,-6,broken\n")
    work("jobs", "--until-empty")
    begin_job(job=job, actor=clerk.actor)

    connection.run_on_commit.clear()  # who was registered has woken the relay already
    doorbell.forget()
    with signing_as(BATCH), django_capture_on_commit_callbacks(execute=True):
        work("jobs", "--until-empty")

    job.refresh_from_db()
    assert (job.state, job.done) == (Job.State.DONE, 1)
    assert shelf(lamp) == (3, 0)
    assert sum(waiting(settings.RESOURCES.queue_url("relay"))) == 2, "of the shelf that is low, and one for later"


def test_a_file_that_is_gone_is_told_from_storage_that_is_away(clerk: Clerk, work: Callable[..., str]) -> None:
    job = clerk.sends("import-stock", "sku,delta,reason\n")
    aws.client("s3").delete_object(Bucket=settings.MEDIA_BUCKET, Key=job.upload)

    assert work("jobs", "--until-empty") == "1 done\n"

    job.refresh_from_db()
    assert job.state == Job.State.FAILED
    assert "did not arrive" in job.failure


def test_the_file_of_who_came_second_is_removed(
    clerk: Clerk, work: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    make_product()
    job = export_stock(shelves=Stock.objects.all(), form="csv", actor=clerk.actor)
    begin_job(job=job, actor=clerk.actor)
    parts = ExportKind.parts

    with monkeypatch.context() as patch:

        def overtaken(kind: ExportKind, job: Job) -> Any:
            patch.undo()
            settle(job)
            return parts(kind, job)

        patch.setattr(ExportKind, "parts", overtaken)
        work("jobs", "--until-empty")

    job.refresh_from_db()
    kept = aws.client("s3").list_objects_v2(Bucket=settings.MEDIA_BUCKET, Prefix=f"uploads/exports/{job.pk}-")
    assert [each["Key"] for each in kept["Contents"]] == [job.result]


def test_a_message_that_fails_stays_and_holds_up_no_other(clerk: Clerk, work: Callable[..., str]) -> None:
    sqs = aws.client("sqs")
    for body in ("no JSON", '{"job": 404}'):
        sqs.send_message(QueueUrl=clerk.queue, MessageBody=body)

    said = work("jobs", "--until-empty")

    assert said == "1 done\n"
    counts = sqs.get_queue_attributes(QueueUrl=clerk.queue, AttributeNames=["All"])["Attributes"]
    left = int(counts["ApproximateNumberOfMessages"]) + int(counts["ApproximateNumberOfMessagesNotVisible"])
    assert left == 1, "it comes back after a pause"


def test_it_ends_when_it_is_told_to(clerk: Clerk, work: Callable[..., str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(work_queue, "WAIT_SECONDS", 1)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # until the command listens itself
    told = threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGTERM))
    told.start()
    began = time.monotonic()

    said = work("jobs")

    assert said == "0 done\n"
    assert time.monotonic() - began < 5
    told.join()


def test_a_queue_of_nobodys_is_refused(work: Callable[..., str]) -> None:
    with pytest.raises(CommandError, match="invalid choice: 'nobodys'"):
        work("nobodys")
