"""`manage.py work_queue`: works at a queue in containers and on servers. On Lambda its event source mapping does it."""

import signal
import threading
import time
import uuid
from argparse import ArgumentParser
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import structlog
from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from vibecode import aws
from vibecode.resources import VISIBILITY_TIMEOUT, Queue

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient

WAIT_SECONDS = 10  # for a message to come: no longer, for SIGTERM is heard afterwards
PAUSE_SECONDS = 10.0  # while SQS is away

log = structlog.stdlib.get_logger("vibecode.work_queue")

type Messages = Sequence[Mapping[str, Any]]


@dataclass(slots=True)
class Context:
    """What Lambda would tell of an invocation: here it lasts until SQS gives the messages to somebody else."""

    aws_request_id: str = field(default_factory=lambda: str(uuid.uuid4()))
    began: float = field(default_factory=time.monotonic)

    def get_remaining_time_in_millis(self) -> int:
        """Milliseconds that are left."""
        return round((self.began + VISIBILITY_TIMEOUT - time.monotonic()) * 1000)


class Command(BaseCommand):
    """Until SIGTERM or Ctrl-C, which let it finish the messages in hand; what fails comes back as it does on Lambda."""

    requires_system_checks = ()  # they ask a database that may be starting; a message that comes too early comes back
    help = "Do what the messages of a queue ask for."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Which queue, how long."""
        parser.add_argument("queue", choices=tuple(settings.RESOURCES.queues), metavar="QUEUE")
        parser.add_argument("--until-empty", action="store_true", help="end when no message comes")

    def handle(self, *, queue: str, until_empty: bool, **_options: Any) -> None:
        """Receive, do, delete."""
        ended = threading.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: ended.set())
        worked_at = settings.RESOURCES.queues[queue]
        sqs = aws.client("sqs", seconds=2 * WAIT_SECONDS, tries=2)
        done = 0
        while not ended.is_set():
            try:
                messages = self._receive(sqs, worked_at, 0 if until_empty else WAIT_SECONDS)
                if not messages and until_empty:
                    break
                done += self._do(sqs, worked_at, messages) if messages else 0
            except aws.service_errors() as error:
                if until_empty:
                    raise CommandError(f"SQS does not answer: {error}") from error
                log.warning("SQS away", queue=queue, error=str(error))
                ended.wait(PAUSE_SECONDS)
        self.stdout.write(f"{done:,} done")

    def _receive(self, sqs: "SQSClient", queue: Queue, seconds: int) -> Messages:
        answer = sqs.receive_message(
            QueueUrl=settings.RESOURCES.queue_url(queue.key),
            MaxNumberOfMessages=queue.batch_size,
            MessageSystemAttributeNames=["ApproximateReceiveCount"],
            WaitTimeSeconds=seconds,
        )
        return answer.get("Messages", [])

    def _do(self, sqs: "SQSClient", queue: Queue, messages: Messages) -> int:
        """Have them done by the same door as on Lambda, and delete what was; how many that were."""
        from vibecode.lambda_entry import handler  # it sets Django up where nobody has yet

        records = [
            {
                "messageId": message["MessageId"],
                "receiptHandle": message["ReceiptHandle"],
                "body": message["Body"],
                "attributes": message["Attributes"],
                "eventSource": "aws:sqs",
                "eventSourceARN": settings.RESOURCES.queue_arn(queue.key),
            }
            for message in messages
        ]
        answer = handler({"Records": records}, Context())
        failed = {failure["itemIdentifier"] for failure in answer["batchItemFailures"]}
        finished = [message for message in messages if message["MessageId"] not in failed]
        for message in finished:
            sqs.delete_message(QueueUrl=settings.RESOURCES.queue_url(queue.key), ReceiptHandle=message["ReceiptHandle"])
        return len(finished)
