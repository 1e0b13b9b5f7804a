"""Buses for the relay's tests: the local AWS's own, and one that answers by a script."""

import contextlib
import json
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar

import pytest
from django.conf import settings
from django.db import transaction
from pytest_django import Settings

from vibecode import aws, doorbell
from vibecode.outbox import Event, publish


@dataclass(frozen=True, kw_only=True)
class Noted(Event):
    """A fact of the tests: the n-th about a thing."""

    source: ClassVar[str] = "vibecode.tests"
    detail_type: ClassVar[str] = "Thing Noted"

    thing: str
    number: int = 1
    ballast: str = ""

    @property
    def subject(self) -> str:
        """The thing."""
        return self.thing


def note(*pairs: tuple[str, int], ballast: str = "") -> None:
    """Publish facts, in this order."""
    with transaction.atomic():
        publish(*(Noted(thing=thing, number=number, ballast=ballast) for thing, number in pairs))


# --- the local AWS's bus ---------------------------------------------------------------------------------------------
class Listener:
    """A queue of its own behind our bus: what a consumer would see."""

    def __init__(self, source: str = Noted.source) -> None:
        name = f"listener-{uuid.uuid4().hex[:8]}"
        events, sqs = aws.client("events"), aws.client("sqs")
        bus = settings.RESOURCES.bus
        with contextlib.suppress(events.exceptions.ResourceAlreadyExistsException):
            events.create_event_bus(Name=bus)
        self.url = sqs.create_queue(QueueName=name)["QueueUrl"]
        attributes = sqs.get_queue_attributes(QueueUrl=self.url, AttributeNames=["QueueArn"])["Attributes"]
        pattern = json.dumps({"source": [source]})
        self.rule = name
        events.put_rule(Name=name, EventBusName=bus, EventPattern=pattern)
        events.put_targets(Rule=name, EventBusName=bus, Targets=[{"Id": "1", "Arn": attributes["QueueArn"]}])

    def heard(self, *, at_least: int = 0, seconds: float = 0) -> list[dict[str, Any]]:
        """What has come since the last look, in order; waits for so many."""
        found = self._take()
        deadline = time.monotonic() + seconds
        while len(found) < at_least and time.monotonic() < deadline:
            found += self._take()
        return found

    @contextlib.contextmanager
    def listening(self) -> Iterator[list[dict[str, Any]]]:
        """What comes inside the block, taken at once: the local SQS grows slow with what lies in it."""
        found: list[dict[str, Any]] = []
        over = threading.Event()

        def listen() -> None:
            while not over.wait(0.02):
                found.extend(self._take())

        thread = threading.Thread(target=listen, daemon=True)
        thread.start()
        try:
            yield found
        finally:
            over.set()
            thread.join()
            found.extend(self._take())

    def _take(self) -> list[dict[str, Any]]:
        sqs = aws.client("sqs")
        found: list[dict[str, Any]] = []
        while messages := sqs.receive_message(QueueUrl=self.url, MaxNumberOfMessages=10).get("Messages"):
            handles = [{"Id": str(n), "ReceiptHandle": m["ReceiptHandle"]} for n, m in enumerate(messages)]
            sqs.delete_message_batch(QueueUrl=self.url, Entries=handles)  # type: ignore[arg-type]  # as it wants
            found += [json.loads(m["Body"]) for m in messages]
        return found

    def close(self) -> None:
        """Take it off the bus."""
        events = aws.client("events")
        events.remove_targets(Rule=self.rule, EventBusName=settings.RESOURCES.bus, Ids=["1"])
        events.delete_rule(Name=self.rule, EventBusName=settings.RESOURCES.bus)
        aws.client("sqs").delete_queue(QueueUrl=self.url)


@pytest.fixture
def listener() -> Iterator[Listener]:
    """A listener to the facts of the tests."""
    with contextlib.closing(Listener()) as made:
        yield made


def make_queues(settings: Settings) -> Callable[..., str]:
    """Every queue and its dead-letter queue, of a stage of its own, behind which nobody works; gives addresses."""
    settings.RESOURCES = replace(settings.RESOURCES, stage=uuid.uuid4().hex[:8])
    for key in settings.RESOURCES.queues:
        for dead in (False, True):
            aws.client("sqs").create_queue(QueueName=settings.RESOURCES.queue_name(key, dead=dead))
    address: Callable[..., str] = settings.RESOURCES.queue_url
    return address


def waiting(url: str) -> tuple[int, int]:
    """(visible now, delayed) messages of a queue."""
    shown = aws.client("sqs").get_queue_attributes(QueueUrl=url, AttributeNames=["All"])["Attributes"]
    return int(shown["ApproximateNumberOfMessages"]), int(shown["ApproximateNumberOfMessagesDelayed"])


# --- a bus by a script -----------------------------------------------------------------------------------------------
type Entry = dict[str, Any]
type Script = Callable[[list[Entry]], tuple[int, dict[str, Any]]]


def accept(entries: list[Entry]) -> tuple[int, dict[str, Any]]:
    """As a bus that is well."""
    return 200, {"FailedEntryCount": 0, "Entries": [{"EventId": str(uuid.uuid4())} for _ in entries]}


def refuse(thing: str, code: str) -> Script:
    """Take all but what is about one thing."""

    def script(entries: list[Entry]) -> tuple[int, dict[str, Any]]:
        answers = [
            {"ErrorCode": code, "ErrorMessage": "No."} if entry["Detail"]["thing"] == thing else {"EventId": "1"}
            for entry in entries
        ]
        return 200, {"FailedEntryCount": 1, "Entries": answers}

    return script


def fail(status: int, code: str) -> Script:
    """Fail the whole call."""
    return lambda _: (status, {"__type": code, "message": "Not now."})


@dataclass
class ScriptedBus:
    """Speaks PutEvents over HTTP, and answers as it is told."""

    script: Script = accept
    calls: list[list[Entry]] = field(default_factory=list)

    def said(self) -> list[tuple[str, int]]:
        """What came, call by call and entry by entry: (thing, number)."""
        return [(e["Detail"]["thing"], e["Detail"]["number"]) for call in self.calls for e in call]


@pytest.fixture
def scripted_bus(settings: Settings) -> Iterator[ScriptedBus]:
    """In place of the local AWS, for this test."""
    bus = ScriptedBus()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            raw = self.rfile.read(int(self.headers["Content-Length"]))
            entries = json.loads(raw).get("Entries", [])
            for entry in entries:
                if isinstance(entry.get("Detail"), str):
                    entry["Detail"] = json.loads(entry["Detail"])
            bus.calls.append(entries)
            status, answer = bus.script(entries)
            body = json.dumps(answer).encode()
            with contextlib.suppress(OSError):  # who asked may have gone
                self.send_response(status)
                self.send_header("Content-Type", "application/x-amz-json-1.1")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    with pointed_to(settings, server.server_address[1]):
        yield bus
    server.shutdown()
    server.server_close()


@contextlib.contextmanager
def pointed_to(settings: Settings, port: int) -> Iterator[None]:
    """Let the application find AWS on another port; wake-ups begin with a clean memory."""
    endpoint_before, before = settings.AWS_ENDPOINT_URL, settings.RESOURCES
    endpoint = f"http://127.0.0.1:{port}"
    settings.AWS_ENDPOINT_URL = endpoint
    settings.RESOURCES = replace(before, endpoint=endpoint)
    _forget()
    try:
        yield
    finally:
        settings.AWS_ENDPOINT_URL, settings.RESOURCES = endpoint_before, before
        _forget()


def _forget() -> None:
    """Clients of the other address, and what became of the last wake-up."""
    aws.client.cache_clear()  # type: ignore[attr-defined]  # of functools.cache, which the overloads hide
    doorbell.forget()
