"""The Lambda entry through its handler: what it admits and does, and that whatever else is sent runs nothing."""

import json
import os
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from django.db import IntegrityError

from tests.platform import doors
from tests.platform.logs import read_log
from vibecode import aws, lambda_entry, resources
from vibecode.errors import DatabaseAway
from vibecode.lambda_entry import LEAST_LEFT, Refused, handler
from vibecode.local.folder import REPOSITORY
from vibecode.local.lambda_runtime import Context
from vibecode.local.lambda_runtime import invoke as invoke_through_runtime
from vibecode.resources import LOCAL_ACCOUNT, QUEUES, REDELIVERY_SECONDS, Queue, Resources, Schedule

HERE = "tests.platform.doors"
STEP = f"{HERE}.step"


@pytest.fixture(autouse=True)
def _doors(monkeypatch: pytest.MonkeyPatch, settings: Any) -> Iterator[None]:
    """Our own functions behind each kind of event, and no call counted yet."""
    schedules = (Schedule(key="tick", handler=f"{HERE}.{doors.tick.__name__}", minutes=1, local_seconds=1),)
    monkeypatch.setattr(resources, "SCHEDULES", schedules)
    monkeypatch.setattr(resources, "STEPS", (STEP, f"{HERE}.away", f"{HERE}.query"))
    monkeypatch.setattr(resources, "ROUTES", {"$connect": STEP})
    monkeypatch.setattr(resources, "TRIGGERS", {"PostConfirmation_ConfirmSignUp": STEP})
    queues = {"tests": Queue(key="tests", handler=f"{HERE}.on_message")}
    endpoint = settings.AWS_ENDPOINT_URL
    settings.RESOURCES = Resources(
        stage="local", region="us-east-1", account=LOCAL_ACCOUNT, endpoint=endpoint, queues=queues
    )
    doors.CALLS.clear()
    yield
    doors.CALLS.clear()


def invoke(event: Any) -> Any:
    """As AWS does it."""
    return handler(event, Context("worker"))


def record(body: str, **values: Any) -> dict[str, Any]:
    return {
        "messageId": str(uuid.uuid4()),
        "receiptHandle": "handle",
        "body": body,
        "attributes": {"ApproximateReceiveCount": "1"},
        "eventSource": "aws:sqs",
        "eventSourceARN": f"arn:aws:sqs:us-east-1:{LOCAL_ACCOUNT}:vibecode-local-tests",
        **values,
    }


CLOCK = {
    "source": "aws.events",
    "detail-type": "Scheduled Event",
    "resources": [f"arn:aws:events:us-east-1:{LOCAL_ACCOUNT}:rule/vibecode-local-tick"],
    "detail": {},
}
SOCKET = {"requestContext": {"eventType": "CONNECT", "routeKey": "$connect", "connectionId": "abc="}}
TRIGGER = {"triggerSource": "PostConfirmation_ConfirmSignUp", "userPoolId": "us-east-1_VibecodeLocal", "request": {}}
REQUEST = {
    "resource": "/{proxy+}",
    "path": "/healthz",
    "httpMethod": "GET",
    "headers": {"Host": "127.0.0.1"},
    "multiValueHeaders": {"Host": ["127.0.0.1"]},
    "queryStringParameters": None,
    "multiValueQueryStringParameters": None,
    "pathParameters": {"proxy": "healthz"},
    "stageVariables": None,
    "requestContext": {"stage": "local", "identity": {"sourceIp": "203.0.113.7"}},
    "body": None,
    "isBase64Encoded": False,
}
SNS = {"EventSource": "aws:sns", "Sns": {"Message": json.dumps({"command": STEP})}, "command": STEP}


# --- what it admits --------------------------------------------------------------------------------------------------
def test_a_message_goes_to_its_queues_function() -> None:
    assert invoke({"Records": [record('{"a": 1}')]}) == {"batchItemFailures": []}

    assert doors.CALLS == [("message", {"a": 1})]


def test_a_schedule_runs_its_function() -> None:
    invoke(CLOCK)

    assert doors.CALLS == [("tick", None)]


@pytest.mark.parametrize("event", [{"command": STEP, "orderId": "ORD-1"}, SOCKET, TRIGGER])
def test_steps_routes_and_triggers_get_the_event_and_give_their_answer(event: dict[str, Any]) -> None:
    answer = invoke(event)

    [call] = doors.CALLS
    assert call == ("step", event)
    assert answer["request"]


def test_a_request_of_the_gateway_is_answered_by_django_through_zappa() -> None:
    code = """
import json, sys, types
packaged = types.ModuleType("zappa_settings")
packaged.__dict__.update(
    LOG_LEVEL="INFO", PROJECT_NAME="vibecode", API_STAGE="local", ENVIRONMENT_VARIABLES={}, DEBUG=False, DOMAIN="",
    DJANGO_SETTINGS="vibecode.settings", BINARY_SUPPORT=True, CONTEXT_HEADER_MAPPINGS={}, BASE_PATH=None,
    EXCEPTION_HANDLER=None, AWS_EVENT_MAPPING={}, COGNITO_TRIGGER_MAPPING={}, AWS_BOT_EVENT_MAPPING={},
)
sys.modules["zappa_settings"] = packaged
from vibecode.lambda_entry import handler
from vibecode.local.lambda_runtime import Context
print("ANSWER", json.dumps(handler(json.loads(sys.argv[1]), Context("web"))))
"""
    environment = {**os.environ, "DJANGO_SETTINGS_MODULE": "vibecode.settings"}
    result = subprocess.run(
        [sys.executable, "-c", code, json.dumps(REQUEST)],
        cwd=REPOSITORY,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )

    [answer] = [line for line in result.stdout.splitlines() if line.startswith("ANSWER")] or [result.stderr]
    assert json.loads(answer.removeprefix("ANSWER "))["statusCode"] == 200


# --- what it refuses -------------------------------------------------------------------------------------------------
REFUSED: dict[str, Any] = {
    "an unlisted command": {"command": "os.system", "orderId": "ORD-1"},
    "a command that is no name": {"command": [STEP]},
    "raw_command": {"raw_command": "open('/tmp/x', 'w')"},
    "raw_command beside a step": {"raw_command": "1", "command": STEP},
    "manage": {"manage": "flush --no-input"},
    "manage beside a step": {"manage": "flush", "command": STEP},
    "an SNS record with a command": {"Records": [SNS]},
    "an SNS record beside a command": {"Records": [SNS], "command": STEP},
    "an S3 record": {"Records": [{"eventSource": "aws:s3", "s3": {}}]},
    "a DynamoDB record": {"Records": [record("{}", eventSource="aws:dynamodb")]},
    "a Kinesis record": {"Records": [record("{}", eventSource="aws:kinesis")]},
    "an unmapped queue": {"Records": [record("{}", eventSourceARN="arn:aws:sqs:us-east-1:1:theirs")]},
    "records of two queues": {"Records": [record("{}"), record("{}", eventSourceARN="arn:aws:sqs:us-east-1:1:theirs")]},
    "messages and something else": {"Records": [record("{}"), SNS]},
    "no records": {"Records": []},
    "records that are none": {"Records": "all"},
    "messages beside a command": {"Records": [record("{}")], "command": STEP},
    "a custom EventBridge event": {"source": "vibecode.orders", "detail-type": "Order Created", "detail": {}},
    "a custom event with a command": {"source": "x", "detail-type": "Order Created", "detail": {}, "command": STEP},
    "somebody else's schedule": CLOCK | {"resources": ["arn:aws:events:us-east-1:1:rule/vibecode-local-tick"]},
    "a schedule that somebody made up": CLOCK | {"source": "vibecode.orders"},
    "an AppSync event": {
        "arguments": {"command": STEP},
        "identity": None,
        "info": {"fieldName": "run"},
        "source": None,
    },
    "a request with a command": REQUEST | {"command": STEP},
    "a request with raw_command": REQUEST | {"raw_command": "1"},
    "a request with manage": REQUEST | {"manage": "flush"},
    "a request with records": REQUEST | {"Records": [record("{}")]},
    "a request with a false version": REQUEST | {"version": "2.0"},
    "a request with stage variables": REQUEST | {"stageVariables": {"DATABASE_URL": "postgresql://theirs"}},
    "a request of a load balancer": REQUEST | {"requestContext": {"elb": {"targetGroupArn": "arn"}}},
    "a request without its context": {"httpMethod": "GET", "path": "/healthz"},
    "an unknown route": {"requestContext": SOCKET["requestContext"] | {"routeKey": "run"}},
    "an unknown websocket event": {"requestContext": SOCKET["requestContext"] | {"eventType": "RUN"}},
    "a trigger of another pool": TRIGGER | {"userPoolId": "us-east-1_Theirs"},
    "an unknown trigger": TRIGGER | {"triggerSource": "PreSignUp_SignUp"},
    "nothing": {},
    "a list": [{"command": STEP}],
    "a text": STEP,
    "null": None,
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_we_do_not_answer_is_refused_and_nothing_runs(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    imported: list[str] = []
    monkeypatch.setattr(lambda_entry, "import_string", imported.append)
    before = os.environ.copy()

    with read_log() as lines, pytest.raises(Refused):
        invoke(REFUSED[name])

    assert doors.CALLS == []
    assert imported == []
    assert os.environ == before
    assert "zappa.handler" not in sys.modules
    assert [(line["event"], line["level"]) for line in lines] == [("event refused", "error")]


# --- messages --------------------------------------------------------------------------------------------------------
def test_only_the_messages_that_failed_come_back_and_soon() -> None:
    sqs = aws.client("sqs")
    url = sqs.create_queue(QueueName="vibecode-local-tests", Attributes={"VisibilityTimeout": "720"})["QueueUrl"]
    bodies = ['{"n": 1}', '{"fail": true}', "no JSON", '{"n": 2}']
    for body in bodies:
        sqs.send_message(QueueUrl=url, MessageBody=body)
    received = sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10, MessageSystemAttributeNames=["All"])[
        "Messages"
    ]
    records = [
        record(m["Body"], messageId=m["MessageId"], receiptHandle=m["ReceiptHandle"], attributes=m["Attributes"])
        for m in received
    ]

    answer = invoke({"Records": records})

    failed = {item["itemIdentifier"] for item in answer["batchItemFailures"]}
    assert failed == {m["MessageId"] for m in received if m["Body"] in bodies[1:3]}
    assert doors.CALLS == [("message", {"n": 1}), ("message", {"n": 2})]
    back: set[str] = set()
    deadline = time.monotonic() + 5
    while back != failed and time.monotonic() < deadline:
        again = sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10, WaitTimeSeconds=1).get("Messages", [])
        back |= {m["MessageId"] for m in again}
    assert back == failed
    sqs.delete_queue(QueueUrl=url)


def test_a_queue_that_cannot_be_told_when_still_gets_its_failures() -> None:
    with read_log() as lines:
        answer = invoke({"Records": [record('{"fail": true}', messageId="m-1")]})  # no such queue

    assert answer == {"batchItemFailures": [{"itemIdentifier": "m-1"}]}
    assert "messages come back only after the queue's time-out" in {line["event"] for line in lines}


def test_the_wait_doubles_to_two_minutes_with_jitter(settings: Any) -> None:
    settings.REDELIVERY_SECONDS = REDELIVERY_SECONDS
    waits = {receives: {lambda_entry._wait(receives) for _ in range(2000)} for receives in (1, 2, 3, 6, 400)}

    assert {n: (min(found), max(found)) for n, found in waits.items()} == {
        1: (1, 2), 2: (2, 4), 3: (4, 8), 6: (32, 64), 400: (60, 120),
    }  # fmt: skip


def test_what_may_not_be_done_in_time_is_not_begun_and_comes_back() -> None:
    class NearlyOver(Context):
        def get_remaining_time_in_millis(self) -> int:
            return LEAST_LEFT - len(doors.CALLS)  # after the first message it is below

    records = [record('{"n": 1}'), record('{"n": 2}'), record('{"n": 3}')]

    answer = handler({"Records": records}, NearlyOver("worker"))

    assert doors.CALLS == [("message", {"n": 1})]
    assert [item["itemIdentifier"] for item in answer["batchItemFailures"]] == [r["messageId"] for r in records[1:]]


# --- what leaves of an error -----------------------------------------------------------------------------------------
ROW = "DETAIL: Failing row contains (7, jane.doe@example.com, 12 High Street)"


@pytest.mark.parametrize("event", [{"command": STEP}, SOCKET, TRIGGER, CLOCK])
def test_of_an_error_that_is_not_ours_only_the_name_leaves(event: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise IntegrityError(ROW) from LookupError(ROW)

    monkeypatch.setattr(doors, "step", fail)
    monkeypatch.setattr(doors, "tick", fail)

    with read_log() as lines:
        payload, headers = invoke_through_runtime(handler, "worker", json.dumps(event).encode())

    assert json.loads(payload)["errorType"] == "IntegrityError"
    assert headers == {"X-Amz-Function-Error": "Unhandled"}
    assert b"jane" not in payload
    assert b"High Street" not in payload
    assert [line["error"] for line in lines] == ["IntegrityError"]


def test_a_refusal_of_ours_leaves_with_its_text_and_not_with_what_it_came_from(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise DatabaseAway("The database does not answer.") from LookupError(ROW)

    monkeypatch.setattr(doors, "step", fail)

    with read_log() as lines:
        payload, _ = invoke_through_runtime(handler, "worker", json.dumps({"command": STEP}).encode())

    told = json.loads(payload)
    assert (told["errorType"], told["errorMessage"]) == ("DatabaseAway", "The database does not answer.")
    assert b"jane" not in payload
    assert [line["cause"] != "" for line in lines] == [True]


# --- the log and the database ----------------------------------------------------------------------------------------
def test_each_invocation_has_one_line_that_says_what_and_how_long() -> None:
    with read_log() as lines:
        answer = invoke({"command": STEP})

    [line] = lines
    assert (line["event"], line["kind"], line["command"]) == ("invocation", "step", STEP)
    assert line["request"] == answer["request"]
    assert line["ms"] >= 0


def test_a_database_that_is_away_is_named_so_for_the_workflow() -> None:
    with read_log() as lines, pytest.raises(DatabaseAway):
        invoke({"command": f"{HERE}.away"})

    assert [(line["event"], line["error"]) for line in lines] == [("invocation failed", "DatabaseAway")]


@pytest.mark.django_db(transaction=True)
def test_a_step_whose_rows_others_hold_is_retried_as_if_the_database_were_away(monkeypatch: pytest.MonkeyPatch) -> None:
    from django.db import connection

    def step(event: object, context: object) -> None:
        with connection.cursor() as cursor:
            cursor.execute("SET statement_timeout = 50")
            try:
                cursor.execute("SELECT pg_sleep(5)")
            finally:
                cursor.execute("RESET statement_timeout")

    monkeypatch.setattr(doors, "step", step)

    with pytest.raises(DatabaseAway):
        invoke({"command": STEP})


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("statement", ["SELECT slip FROM orders_order", "SELECT 1 FROM orders_slip"])
def test_a_step_that_finds_its_schema_not_there_yet_is_retried_too(
    statement: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from django.db import connection

    def step(event: object, context: object) -> None:
        with connection.cursor() as cursor:
            cursor.execute(statement)

    monkeypatch.setattr(doors, "step", step)

    with pytest.raises(DatabaseAway, match="a deploy migrates it now"):
        invoke({"command": STEP})


@pytest.mark.django_db(transaction=True)
def test_a_connection_is_kept_between_invocations_and_a_dead_one_is_replaced() -> None:
    first = invoke({"command": f"{HERE}.query"})["pid"]
    assert invoke({"command": f"{HERE}.query"})["pid"] == first
    with psycopg.connect(os.environ["DATABASE_URL"], autocommit=True) as admin:
        admin.execute("SELECT pg_terminate_backend(%s)", [first])

    assert invoke({"command": f"{HERE}.query"})["pid"] != first


def test_a_message_comes_back_for_longer_than_any_lease_it_may_wait_for() -> None:
    def shortest(queue: Queue) -> int:
        """Seconds until it is given up, should every pause be as short as can be."""
        pauses: list[int] = [min(REDELIVERY_SECONDS, 2 ** min(receives, 10)) // 2 for receives in range(1, queue.tries)]
        return sum(pauses)

    assert min(map(shortest, QUEUES)) > 300  # MAIL_OUTCOME_SECONDS of a real stage, the longest of them


def test_what_no_sweep_looks_after_outlives_an_outage_of_an_hour() -> None:
    for key in ("mail", "mail-outcomes", "announce", "figures"):
        (queue,) = (queue for queue in QUEUES if queue.key == key)
        assert REDELIVERY_SECONDS // 2 * (queue.tries - 10) > 3600
