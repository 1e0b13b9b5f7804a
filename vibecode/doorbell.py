"""How the relay is woken: by a message on its queue, sent by every request that published something.

Called by the outbox. It speaks SQS's own protocol: in a new sandbox the client of boto3 would cost its first order more
than all the rest of it. https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-making-api-requests-json.html
"""

import contextlib
import json
import math
import threading
import time
from datetime import UTC, datetime
from http import HTTPStatus
from http.client import HTTPConnection, HTTPException
from typing import Any
from urllib.parse import urlsplit

import structlog
from django.conf import settings

from vibecode import sigv4
from vibecode.connections import connection_to

WAIT_SECONDS = 0.5  # what a request may wait for SQS, to connect and again to be answered
QUIET_SECONDS = 5.0  # after a failure no request of this process waits for SQS
MOST_DELAY = 900  # https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_SendMessage.html
LARGEST_ANSWER = 65_536

log = structlog.stdlib.get_logger("vibecode.doorbell")


class NotRung(Exception):
    """SQS was not reached, or did not take the messages."""


class _Kept(threading.local):
    """A thread's connection to SQS, and where it leads."""

    connection: HTTPConnection | None = None
    address = ""


_kept = _Kept()
_quiet_until = 0.0  # by the monotonic clock


def ring(*delays: float) -> None:
    """Send the relay a message for each delay, in seconds. Never fails, never waits long: the sweep finds the rest."""
    global _quiet_until  # noqa: PLW0603 -- what this process remembers of SQS
    if time.monotonic() < _quiet_until:
        return
    entries = [
        {
            "Id": str(number),
            "MessageBody": json.dumps({"wakeUp": "relay"}),
            "DelaySeconds": min(MOST_DELAY, math.ceil(delay)),
        }
        for number, delay in enumerate(delays)
    ]
    try:
        _send({"QueueUrl": settings.RESOURCES.queue_url("relay"), "Entries": entries})
    except NotRung as error:
        _quiet_until = time.monotonic() + QUIET_SECONDS
        log.warning("relay not woken", error=str(error))


def forget() -> None:
    """Begin anew, with no connection and no failure remembered: for tests that move SQS."""
    global _quiet_until  # noqa: PLW0603 -- as above
    _quiet_until = 0.0
    _hang_up()


def _send(messages: dict[str, Any]) -> None:
    try:
        status, content = _asked("SendMessageBatch", json.dumps(messages).encode())
        answer = json.loads(content)
        failed = answer.get("Failed", ()) if status == HTTPStatus.OK else [{"Message": answer.get("message")} | answer]
    except (OSError, HTTPException, ValueError) as error:
        raise NotRung(str(error) or type(error).__name__) from None
    if failed:
        raise NotRung("; ".join(str(entry.get("Message") or entry.get("__type") or entry) for entry in failed))


def _asked(action: str, body: bytes) -> tuple[int, bytes]:
    """Status and body of SQS's answer. What AWS closed meanwhile is connected anew: to ring twice does no harm."""
    address = settings.AWS_ENDPOINT_URL or f"https://sqs.{settings.AWS_REGION}.amazonaws.com"
    if _kept.connection and _kept.address == address:
        with contextlib.suppress(ConnectionError, HTTPException):
            return _exchange(_kept.connection, action, body)
    _kept.connection, _kept.address = connection_to(address, seconds=WAIT_SECONDS), address
    return _exchange(_kept.connection, action, body)


def _exchange(connection: HTTPConnection, action: str, body: bytes) -> tuple[int, bytes]:
    headers = {"content-type": "application/x-amz-json-1.0", "x-amz-target": f"AmazonSQS.{action}"}
    host = urlsplit(_kept.address).netloc
    headers = sigv4.signed(host, "sqs", settings.AWS_REGION, headers, body, moment=datetime.now(UTC))
    try:
        connection.request("POST", "/", body, headers)
        answer = connection.getresponse()
        return answer.status, answer.read(LARGEST_ANSWER)
    except BaseException:
        _hang_up()
        raise


def _hang_up() -> None:
    if _kept.connection:
        _kept.connection.close()
    _kept.connection = None
