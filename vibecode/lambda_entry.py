"""The one Lambda handler: an allow-list of event kinds, then a function of ours, or Zappa's handler for HTTP.

AWS calls ``handler``; on the laptop vibecode.local.lambda_runtime does. Zappa's own handler would run whatever function
a message names, so nothing but a clean HTTP event reaches it. All of it stands in this one long file, so that whoever
asks what gets in reads it from top to bottom.
"""

import json
import logging
import os
import random
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from types import ModuleType, SimpleNamespace
from typing import Any, Protocol, cast

import django
import structlog
from django.apps import apps
from django.conf import settings
from django.db import OperationalError, ProgrammingError, close_old_connections
from django.utils.module_loading import import_string
from psycopg.errors import UndefinedColumn, UndefinedTable
from structlog.contextvars import bind_contextvars, bound_contextvars, clear_contextvars

from vibecode import aws, resources
from vibecode.acting import act_as, acting
from vibecode.db.refusals import refusal
from vibecode.db.snapshots import keep_out_of_snapshots
from vibecode.errors import DatabaseAway, DomainError
from vibecode.resources import Queue

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "vibecode.settings")
if not apps.ready:
    django.setup()  # once a process, while AWS counts it as the start
keep_out_of_snapshots()

log = structlog.stdlib.get_logger("vibecode.lambda")

# Milliseconds: with less a message is not begun, and comes back. That costs it a try; begun and cut off it would lie
# until the queue's time-out.
LEAST_LEFT = 30_000
# All that API Gateway's REST proxy sends, and nothing else. https://docs.aws.amazon.com/apigateway/latest/
# developerguide/set-up-lambda-proxy-integrations.html#api-gateway-simple-proxy-for-lambda-input-format
HTTP_FIELDS = {
    "resource", "path", "httpMethod", "headers", "multiValueHeaders", "queryStringParameters",
    "multiValueQueryStringParameters", "pathParameters", "stageVariables", "requestContext", "body", "isBase64Encoded",
}  # fmt: skip
RECORD_FIELDS = {"messageId", "receiptHandle", "body", "eventSource", "eventSourceARN"}
# Fields by which Zappa would run code that the event brings along: beside whatever else, never.
FORBIDDEN = {"raw_command", "manage"}

type Event = dict[str, Any]


class LambdaContext(Protocol):
    """What AWS tells about an invocation, as far as we read it."""

    aws_request_id: str

    def get_remaining_time_in_millis(self) -> int:
        """Milliseconds until the function is stopped."""


class Refused(Exception):
    """The event is none that we answer: nothing was run."""


@acting("")
def handler(event: Any, context: LambdaContext) -> Any:
    """Do what one event asks for, if it is of a kind that we admit, and give its answer to AWS.

    Raises Refused for every other event; DatabaseAway where PostgreSQL does not answer, so that the workflow can retry
    it by name; Busy where it is locked (to the workflow DatabaseAway as well); else what the function itself raises:
    a DomainError as it is, of every other error the name alone.
    """
    clear_contextvars()
    bind_contextvars(request=str(getattr(context, "aws_request_id", "")))
    try:
        kind = _kind_of(event)
        bind_contextvars(kind=kind.name)
        work = kind.admit(event)
    except Refused as refused:
        fields = sorted(map(str, event))[:20] if isinstance(event, dict) else type(event).__name__
        log.error("event refused", reason=str(refused), fields=fields)
        raise
    started = time.perf_counter()
    try:
        with _database():
            answer = work(context)
    except Exception as error:  # noqa: BLE001 -- whatever it is, its name goes to AWS
        log.error("invocation failed", kind=kind.name, ms=_ms_since(started), **_told(error))
        raise _for_outside(error) from None
    # a request has a line of its own, and a clock that found nothing to do has no news
    level = logging.DEBUG if kind.name in {"http", "schedule"} else logging.INFO
    log.log(level, "invocation", kind=kind.name, ms=_ms_since(started))
    return answer


def _ms_since(started: float) -> float:
    return round((time.perf_counter() - started) * 1000, 1)


def _told(error: Exception) -> dict[str, Any]:
    """An error for the log, with its trace where it is none of those that we raise by design."""
    if isinstance(error, DomainError):
        cause = {"cause": str(error.__cause__).strip()} if error.__cause__ else {}
        return {"error": type(error).__name__, "reason": str(error), **cause}
    return {"error": type(error).__name__, "reason": str(error), "exc_info": error}


def _for_outside(error: Exception) -> Exception:
    """What AWS is given of an error, and keeps in its own log and in the execution's history, where nothing redacts it.

    The text of an error that is none of ours may quote a row or an answer: it stays in our log.
    """
    if isinstance(error, DomainError):
        return error
    name_only: type[Exception] = type(type(error).__name__, (Exception,), {})
    return name_only("What went wrong stands in the log, under this request's id.")


# --- which kind ------------------------------------------------------------------------------------------------------
type Work = Callable[[LambdaContext], Any]


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of event: how it looks, and ``admit``, which gives the work to do or raises Refused."""

    name: str
    looks_like: Callable[[Event], bool]
    admit: Callable[[Event], Work]


def _kind_of(event: Any) -> Kind:
    if not isinstance(event, dict):
        raise Refused("An event must be a JSON object.")
    if found := FORBIDDEN.intersection(event):
        raise Refused(f"An event with {', '.join(sorted(found))} is never run.")
    kinds = [kind for kind in KINDS if kind.looks_like(event)]
    if len(kinds) != 1:
        names = " and ".join(kind.name for kind in kinds)
        raise Refused(f"The event looks like {names}: one of them is false." if names else "Nobody sends such events.")
    return kinds[0]


def _http(event: Event) -> Work:
    """A request that API Gateway passes on: Zappa makes it a WSGI request."""
    if stray := event.keys() - HTTP_FIELDS:
        raise Refused(f"API Gateway sends no {', '.join(sorted(stray))} with a request.")
    if not isinstance(event.get("requestContext"), dict) or "elb" in event["requestContext"]:
        raise Refused("The request does not come from API Gateway.")
    if event.get("stageVariables"):
        raise Refused("Zappa would make stage variables our environment.")

    for headers in (event.get("headers") or {}, event.get("multiValueHeaders") or {}):
        # Zappa takes _ for -, so that X_Forwarded_For could overwrite what the gateway says.
        for name in [name for name in headers if "_" in name]:
            del headers[name]

    def work(context: LambdaContext) -> Any:
        return _zappas_handler()(event, context)

    return work


@cache
def _zappas_handler() -> Callable[[Event, LambdaContext], Any]:
    """Zappa's own; it is heavy, and only the function behind the gateway needs it.

    Beside it stand Zappa's tools for deployments, which import boto3 for their annotations, at a great cost.
    Whoever uses boto3 here imports it by themselves.
    """
    with _instead(boto3=SimpleNamespace(Session=object), botocore=SimpleNamespace()):
        from zappa.handler import lambda_handler

    return cast("Callable[[Event, LambdaContext], Any]", lambda_handler)


@contextmanager
def _instead(**modules: object) -> Iterator[None]:
    """Something else for whoever imports modules that nobody has imported yet; None: as if they were not installed."""
    missing = {name: ours for name, ours in modules.items() if name not in sys.modules}
    sys.modules.update(cast("dict[str, ModuleType]", missing))
    try:
        yield
    finally:
        for name in missing:
            del sys.modules[name]


def _queue(event: Event) -> Work:
    """A batch of messages of one of our queues: each to the queue's function, the failed ones given back."""
    records = event["Records"]
    if not isinstance(records, list) or not records or not all(isinstance(record, dict) for record in records):
        raise Refused("Records must be a list of records.")
    if any(record.get("eventSource") != "aws:sqs" or not record.keys() >= RECORD_FIELDS for record in records):
        raise Refused("Only records of SQS are handled here.")
    arns = {str(record["eventSourceARN"]) for record in records}
    queue = settings.RESOURCES.queue_of(arns.pop()) if len(arns) == 1 else None
    if queue is None:
        raise Refused("The records are not of one queue of ours.")
    bind_contextvars(queue=queue.key)
    act_as(queue.key)
    return lambda context: _handle_records(queue, records, context)


def _schedule(event: Event) -> Work:
    """The clock of one of our schedules."""
    rules = event.get("resources")
    rule = rules[0] if isinstance(rules, list) and len(rules) == 1 else ""
    schedule = settings.RESOURCES.schedule_of(rule)
    if (event.get("source"), event["detail-type"]) != ("aws.events", "Scheduled Event") or schedule is None:
        raise Refused("EventBridge wakes us by our own schedules only; facts come through queues.")
    bind_contextvars(schedule=schedule.key)
    act_as(schedule.key)
    return lambda _: import_string(schedule.handler)()


def _step(event: Event) -> Work:
    """A task of the workflow, which names one of its steps."""
    command = event["command"]
    if command not in resources.STEPS:
        raise Refused("The command is no step of the workflow.")
    bind_contextvars(command=command)
    act_as("workflow")

    def run(context: LambdaContext) -> Any:
        try:
            return import_string(command)(event, context)
        except OperationalError as error:
            # Rows that others hold come free as a database comes back: the workflow has one name for both, and retries.
            raise DatabaseAway("The database does not answer, or others hold what is needed.") from error
        except ProgrammingError as error:
            # Somebody updated the function by hand, and migrates now: no order is cancelled for that.
            if isinstance(error.__cause__, UndefinedColumn | UndefinedTable):
                raise DatabaseAway("The schema is older than the code: a deploy migrates it now.") from error
            raise

    return run


def _operation(event: Event) -> Work:
    """A deed of the engineer who deploys, by its name."""
    if stray := event.keys() - {"operation", "arguments"}:
        raise Refused(f"An operation has arguments and nothing else, no {', '.join(sorted(stray))}.")
    operation = resources.OPERATIONS.get(str(event["operation"]))
    if operation is None:
        raise Refused(f"There is no such operation; there are {', '.join(resources.OPERATIONS)}.")
    bind_contextvars(operation=event["operation"])
    act_as(f"operation {event['operation']}")

    def work(context: LambdaContext) -> Any:
        from vibecode.operations import run  # for the worker alone

        arguments = event.get("arguments", {})
        return run(import_string(operation), arguments, left=context.get_remaining_time_in_millis)

    return work


def _websocket(event: Event) -> Work:
    """One of the websocket API's three routes."""
    where = event["requestContext"]
    route = resources.ROUTES.get(str(where.get("routeKey")))
    if str(where["eventType"]) not in {"CONNECT", "DISCONNECT", "MESSAGE"} or route is None:
        raise Refused("The websocket has no such route.")
    bind_contextvars(route=where["routeKey"])
    return _with_event(route, event)


def _trigger(event: Event) -> Work:
    """Something that happened in our Cognito pool."""
    trigger = resources.TRIGGERS.get(str(event["triggerSource"]))
    if trigger is None or event.get("userPoolId") != settings.COGNITO_USER_POOL_ID:
        raise Refused("The trigger is not one of our pool's that we answer.")
    bind_contextvars(trigger=event["triggerSource"])
    return _with_event(trigger, event)


def _with_event(path: str, event: Event) -> Work:
    return lambda context: import_string(path)(event, context)


def _is_of_a_websocket(event: Event) -> bool:
    where = event.get("requestContext")
    return isinstance(where, dict) and "eventType" in where


KINDS = (
    Kind("http", lambda event: "httpMethod" in event, _http),
    Kind("queue", lambda event: "Records" in event, _queue),
    Kind("schedule", lambda event: "detail-type" in event, _schedule),
    Kind("step", lambda event: "command" in event, _step),
    Kind("operation", lambda event: "operation" in event, _operation),
    Kind("websocket", _is_of_a_websocket, _websocket),
    Kind("trigger", lambda event: "triggerSource" in event, _trigger),
)


# --- messages --------------------------------------------------------------------------------------------------------
def _handle_records(queue: Queue, records: Sequence[Event], context: LambdaContext) -> Event:
    """Give each message to the queue's function; name those that failed, so that only they come back.

    https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-errorhandling.html#services-sqs-batchfailurereporting
    """
    function: Callable[[Any], object] = import_string(queue.handler)
    failed = [
        record
        for record in records
        if context.get_remaining_time_in_millis() < LEAST_LEFT or not _handled(function, record)
    ]
    if failed:
        _bring_back_soon(queue, failed)
    return {"batchItemFailures": [{"itemIdentifier": record["messageId"]} for record in failed]}


def _handled(function: Callable[[Any], object], record: Event) -> bool:
    with bound_contextvars(message=record["messageId"]):
        try:
            message = json.loads(record["body"])
            with _database():
                function(message)
        except Exception as error:  # noqa: BLE001 -- whatever it is, the other messages go on
            log.error("message failed", receives=_receives(record), **_told(error))
            return False
    return True


def _bring_back_soon(queue: Queue, failed: Sequence[Event]) -> None:
    """Long before the queue's time-out, which is made for invocations that died: each time a little later."""
    entries = [
        {"Id": str(number), "ReceiptHandle": record["receiptHandle"], "VisibilityTimeout": _wait(_receives(record))}
        for number, record in enumerate(failed)
    ]
    try:
        answer = aws.client("sqs").change_message_visibility_batch(
            QueueUrl=settings.RESOURCES.queue_url(queue.key),
            Entries=entries,  # type: ignore[arg-type]  # a list of such dicts, which the stubs want one by one
        )
        refused: object = answer.get("Failed")
    except aws.service_errors() as error:
        refused = error
    if refused:
        log.warning("messages come back only after the queue's time-out", error=str(refused))


def _wait(receives: int) -> int:
    """Seconds: 1 to 2 after the first receive, then twice as long each time, with jitter, up to REDELIVERY_SECONDS."""
    longest = min(settings.REDELIVERY_SECONDS, 2 ** min(receives, 10))
    return random.randint(max(1, longest // 2), longest)  # noqa: S311 -- spreads load, guards nothing


def _receives(record: Mapping[str, Any]) -> int:
    return int(record.get("attributes", {}).get("ApproximateReceiveCount", 1))


# --- the database ----------------------------------------------------------------------------------------------------
@contextmanager
def _database() -> Iterator[None]:
    """The connection outlives the invocation: asked whether it still lives when first used, closed when broken."""
    close_old_connections()
    try:
        yield
    except Exception as error:
        if refused := refusal(error):
            raise refused from error
        raise
    finally:
        close_old_connections()


# --- the start -------------------------------------------------------------------------------------------------------
def _load_what_requests_need() -> None:
    """While AWS counts it as the start: at full speed, and in the snapshot where one is taken."""
    _zappas_handler()
    with _instead(requests=None, yaml=None):  # Django REST framework would import both, for tests and other formats
        import_module(settings.ROOT_URLCONF)


if settings.ON_LAMBDA and os.environ["AWS_LAMBDA_FUNCTION_NAME"] != settings.RESOURCES.worker:
    _load_what_requests_need()
