"""The local AWS drives functions as AWS does: facts, queues, dead letters, clocks, mails, and the workflow's tasks.

One long file, because one local AWS is started for all of it.
"""

import contextlib
import hashlib
import json
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import boto3
import httpx
import pytest

from tests.local.conftest import clean_environment, wait_until
from tests.plain import PLAIN
from vibecode.local import aws
from vibecode.local.lambda_runtime import Server
from vibecode.local.ports import answers, connects, free_port
from vibecode.resources import LOCAL_ACCOUNT, Resources

SMALL_FUNCTION = Path(__file__).with_name("small_function.py")


class Cloud:
    """A local AWS of these tests alone, its clients, and the port where it looks for the runtime."""

    def __init__(self, state: Path) -> None:
        self.state = state
        self.port, self.runtime_port = free_port(), free_port()
        self.endpoint = f"http://127.0.0.1:{self.port}"
        self.names = Resources(stage="local", region="us-east-1", account=LOCAL_ACCOUNT, endpoint=self.endpoint)
        self.start()

    def start(self) -> None:
        environment = clean_environment(
            LAMBDA_RUNTIME_URL=f"http://127.0.0.1:{self.runtime_port}",
            MOTO_SQS_ENFORCE_STRICT_QUEUE_PURGE_BEHAVIOUR="false",  # more than once a minute, between the tests
        )
        self.process = subprocess.Popen(aws.command(self.port, self.state), env=environment)
        wait_until(lambda: answers(self.port, aws.JWKS_PATH))

    def kill_and_restart(self) -> None:
        self.process.kill()
        self.process.wait()
        self.start()

    def client(self, service: str) -> Any:
        keys = {"aws_access_key_id": "local", "aws_secret_access_key": "local", "region_name": "us-east-1"}
        return boto3.client(service, endpoint_url=self.endpoint, **keys)  # type: ignore[call-overload]  # any service

    def send(self, queue: str, *bodies: str, delay: int = 0) -> None:
        url, sqs = self.names.queue_url(queue), self.client("sqs")
        for body in bodies:
            sqs.send_message(QueueUrl=url, MessageBody=body, DelaySeconds=delay)

    def put(self, detail_type: str, detail: dict[str, Any]) -> str:
        entry = {"Source": "vibecode.orders", "DetailType": detail_type, "Detail": json.dumps(detail)}
        answer = self.client("events").put_events(Entries=[entry | {"EventBusName": self.names.bus}])
        return str(answer["Entries"][0]["EventId"])

    def mail(self, subject: str) -> str:
        message = f"From: orders@vibecode.example\nTo: ada@example.com\nSubject: {subject}\n\nyour order"
        answer = self.client("sesv2").send_email(
            FromEmailAddress="Vibecode <orders@vibecode.example>",
            Destination={"ToAddresses": ["ada@example.com"]},
            Content={"Raw": {"Data": message.encode()}},
            EmailTags=[{"Name": "letter", "Value": "letter-7"}],
            ConfigurationSetName=self.names.mail_configuration,
        )
        return str(answer["MessageId"])

    def waiting(self, queue: str, *, dead: bool = False) -> int:
        names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
        url = self.names.queue_url(queue, dead=dead)
        found = self.client("sqs").get_queue_attributes(QueueUrl=url, AttributeNames=names)["Attributes"]
        return sum(int(found[name]) for name in names)

    def look(self, page: str) -> Any:
        return httpx.get(self.endpoint + page, **PLAIN).json()

    def look_at(self, page: str) -> str:
        """As a browser does."""
        return httpx.get(self.endpoint + page, headers={"Accept": "text/html"}, **PLAIN).text


def handle_all(_: dict[str, Any]) -> Any:
    return {"batchItemFailures": []}


class Function:
    """What the runtime runs in these tests: it notes each event, and answers as the test says."""

    def __init__(self) -> None:
        self.events: list[tuple[float, dict[str, Any]]] = []
        self.answer: Callable[[dict[str, Any]], Any] = handle_all

    def __call__(self, event: dict[str, Any], _: object) -> Any:
        if event.get("source") != "aws.events":
            self.events.append((time.monotonic(), event))
        return self.answer(event)

    def records(self, queue: str = "") -> list[dict[str, Any]]:
        found = [record for _, event in self.events for record in event.get("Records", [])]
        return [record for record in found if record["eventSourceARN"].endswith(queue)]

    def bodies(self, queue: str = "") -> list[str]:
        return [record["body"] for record in self.records(queue)]


@contextlib.contextmanager
def running(function: Function, port: int) -> Iterator[Function]:
    """The local runtime's server over a function of this process."""
    server = Server(port, function, 16)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
    try:
        yield function
    finally:
        server.shutdown()
        server.server_close()
        wait_until(lambda: not connects("127.0.0.1", port))


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    started = Cloud(tmp_path_factory.mktemp("aws") / "state")
    try:
        yield started
    finally:
        started.process.send_signal(signal.SIGTERM)
        assert started.process.wait(timeout=10) == 0


@pytest.fixture
def empty(cloud: Cloud) -> Cloud:
    """No message of the test before is on its way."""
    for key in cloud.names.queues:
        for dead in (False, True):
            cloud.client("sqs").purge_queue(QueueUrl=cloud.names.queue_url(key, dead=dead))
    return cloud


@pytest.fixture
def function(empty: Cloud) -> Iterator[Function]:
    with running(Function(), empty.runtime_port) as made:
        yield made


# --- facts and messages ----------------------------------------------------------------------------------------------
def test_a_fact_on_the_bus_reaches_the_function_behind_each_queue_that_wants_it(
    cloud: Cloud, function: Function
) -> None:
    identity = cloud.put("Order Created", {"orderId": "ORD-1", "note": "<time> <detail>"})

    wait_until(lambda: len(function.records()) == 4)
    assert Counter(record["eventSourceARN"] for record in function.records()) == {
        cloud.names.queue_arn(key): 1 for key in ("workflow", "announce", "live", "figures")
    }
    fact = json.loads(function.bodies("workflow")[0])
    assert list(fact) == [
        "version", "id", "detail-type", "source", "account", "time", "region", "resources", "detail",
    ]  # fmt: skip
    assert (fact["id"], fact["account"], fact["detail-type"]) == (identity, LOCAL_ACCOUNT, "Order Created")
    assert fact["detail"] == {"orderId": "ORD-1", "note": "<time> <detail>"}
    [noted] = [found for found in cloud.look("/_local/events") if found["id"] == identity]
    assert (noted["bus"], noted["detail"]["orderId"]) == (cloud.names.bus, "ORD-1")
    assert "abc" in cloud.look("/_local/events?last=abc")["message"]


def test_a_message_is_worked_on_at_once(cloud: Cloud, function: Function) -> None:
    waits = []
    for number in range(5):
        cloud.send("relay", f'"{number}"')
        wait_until(lambda: f'"{number}"' in function.bodies())  # noqa: B023 -- asked before the next one
        arrived, event = function.events[-1]
        waits.append(time.monotonic() - arrived)
        sent = int(event["Records"][0]["attributes"]["SentTimestamp"]) / 1000
        waits.append(time.time() - (time.monotonic() - arrived) - sent)

    print("seconds from send to function:", sorted(round(wait, 3) for wait in waits[1::2]))
    assert sorted(waits[1::2])[2] < 0.2


def test_a_message_has_the_form_that_lambda_gives_it(cloud: Cloud, function: Function) -> None:
    cloud.send("relay", '{"ä": 1}')

    [record] = wait_until(function.records)
    assert record["eventSource"] == "aws:sqs"
    assert record["eventSourceARN"] == cloud.names.queue_arn("relay")
    assert record["awsRegion"] == "us-east-1"
    assert record["md5OfBody"] == hashlib.md5('{"ä": 1}'.encode(), usedforsecurity=False).hexdigest()
    assert record["attributes"]["ApproximateReceiveCount"] == "1"
    assert abs(int(record["attributes"]["SentTimestamp"]) / 1000 - time.time()) < 30
    assert record["messageAttributes"] == {}


def test_only_the_bad_message_of_a_batch_comes_back_and_ends_in_the_dead_letters(
    cloud: Cloud, function: Function
) -> None:
    sqs, url = cloud.client("sqs"), cloud.names.queue_url("relay")

    def answer(event: dict[str, Any]) -> Any:
        bad = [record for record in event.get("Records", []) if record["body"] == '"bad"']
        for record in bad:  # as lambda_entry does, only sooner
            sqs.change_message_visibility(QueueUrl=url, ReceiptHandle=record["receiptHandle"], VisibilityTimeout=0)
        return {"batchItemFailures": [{"itemIdentifier": record["messageId"]} for record in bad]}

    function.answer = answer
    entries = [{"Id": str(n), "MessageBody": '"bad"' if n == 4 else f'"{n}"'} for n in range(9)]
    sqs.send_message_batch(QueueUrl=url, Entries=entries)

    wait_until(lambda: cloud.waiting("relay", dead=True) == 1)
    counted = Counter(function.bodies())
    assert counted.pop('"bad"') == cloud.names.queues["relay"].tries
    assert set(counted.values()) == {1}
    assert len(counted) == 8
    assert cloud.waiting("relay") == 0


def test_a_batch_of_a_failed_invocation_comes_back_whole_after_a_moment(cloud: Cloud, function: Function) -> None:
    def fail_once(event: dict[str, Any]) -> Any:
        if event.get("Records", [{}])[0].get("attributes", {}).get("ApproximateReceiveCount") == "1":
            raise ValueError("not this time")
        return {"batchItemFailures": []}

    function.answer = fail_once
    cloud.send("relay", '"a"')

    wait_until(lambda: len(function.records()) == 2)
    first, second = function.records()
    assert [r["attributes"]["ApproximateReceiveCount"] for r in (first, second)] == ["1", "2"]
    assert 0.9 < function.events[1][0] - function.events[0][0] < 5
    wait_until(lambda: cloud.waiting("relay") == 0)


def test_while_nobody_listens_a_message_waits_and_no_receive_is_counted(empty: Cloud) -> None:
    empty.send("relay", '"patient"')
    time.sleep(1)

    with running(Function(), empty.runtime_port) as function:
        [record] = wait_until(function.records)

    assert record["attributes"]["ApproximateReceiveCount"] == "1"


def test_a_delayed_message_comes_when_its_time_has_come(cloud: Cloud, function: Function) -> None:
    begun = time.monotonic()
    cloud.send("relay", '"later"', delay=2)

    wait_until(function.records)
    assert 1.9 < function.events[0][0] - begun < 4


def test_a_bank_s_question_is_held_back_for_as_long_as_the_customer_has(cloud: Cloud, function: Function) -> None:
    cloud.put("Payment Requires Action", {"orderId": "ORD-1"})

    wait_until(lambda: function.records("live"))
    shown = cloud.client("sqs").get_queue_attributes(
        QueueUrl=cloud.names.queue_url("overdue"), AttributeNames=["DelaySeconds", "ApproximateNumberOfMessagesDelayed"]
    )["Attributes"]
    assert shown == {"DelaySeconds": "900", "ApproximateNumberOfMessagesDelayed": "1"}
    assert function.records("overdue") == []


def test_no_more_invocations_run_side_by_side_than_the_queue_allows(cloud: Cloud, function: Function) -> None:
    busy, most, lock = 0, 0, threading.Lock()

    def slow(event: dict[str, Any]) -> Any:
        nonlocal busy, most
        if "Records" not in event:
            return None
        with lock:
            busy += 1
            most = max(most, busy)
        time.sleep(0.2)
        with lock:
            busy -= 1
        return {"batchItemFailures": []}

    function.answer = slow
    cloud.send("payments", *(f'"{number}"' for number in range(12)))

    wait_until(lambda: cloud.waiting("payments") == 0)
    assert most == cloud.names.queues["payments"].most_at_once
    assert sorted(len(event["Records"]) for _, event in function.events) == [1] * 12


def test_messages_sent_and_deleted_side_by_side_are_neither_lost_nor_doubled(cloud: Cloud, function: Function) -> None:
    def send(sender: int) -> None:
        cloud.send("workflow", *(f'"{sender}-{number}"' for number in range(50)))

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(send, range(8)))

    wait_until(lambda: len(function.records()) >= 400)
    wait_until(lambda: cloud.waiting("workflow") == 0)
    assert Counter(function.bodies("workflow")) == {f'"{s}-{n}"': 1 for s in range(8) for n in range(50)}


def test_two_receivers_never_get_the_same_message(empty: Cloud) -> None:
    empty.send("relay", *(f'"{number}"' for number in range(60)))
    url = empty.names.queue_url("relay")

    def receive(_: int) -> list[str]:
        sqs = empty.client("sqs")
        answers = [sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=3) for _ in range(5)]
        return [message["Body"] for answer in answers for message in answer.get("Messages", [])]

    with ThreadPoolExecutor(4) as pool:
        got = Counter(body for bodies in pool.map(receive, range(4)) for body in bodies)

    assert got == {f'"{number}"': 1 for number in range(60)}


# --- the clock -------------------------------------------------------------------------------------------------------
def test_a_schedule_fires_as_eventbridge_does_and_never_twice_at_once(cloud: Cloud, function: Function) -> None:
    ticks: list[tuple[float, float, dict[str, Any]]] = []

    def slow(event: dict[str, Any]) -> Any:
        begun = time.monotonic()
        if event.get("resources") == [cloud.names.rule_arn("sweep-outbox")]:
            time.sleep(2.5)  # longer than its two seconds
            ticks.append((begun, time.monotonic(), event))
        return None

    function.answer = slow
    wait_until(lambda: len(ticks) >= 2)

    (_, ended, event), (begun, _, _) = ticks[:2]
    assert begun > ended
    assert (event["source"], event["detail-type"], event["detail"]) == ("aws.events", "Scheduled Event", {})


# --- mail ------------------------------------------------------------------------------------------------------------
def test_a_mail_is_kept_and_its_outcome_carries_its_tags_also_after_a_kill(cloud: Cloud, function: Function) -> None:
    identity = cloud.mail("Thank you for your order")

    def outcomes() -> list[dict[str, Any]]:
        details = [json.loads(body)["detail"] for body in function.bodies("mail-outcomes")]
        return [detail for detail in details if detail["mail"]["messageId"] == identity]

    [outcome] = wait_until(outcomes)
    assert outcome["eventType"] == "Send"
    assert outcome["mail"]["tags"]["letter"] == ["letter-7"]
    assert outcome["mail"]["destination"] == ["ada@example.com"]

    cloud.kill_and_restart()

    [mail] = [mail for mail in cloud.look("/_local/mail") if mail["messageId"] == identity]
    assert (mail["to"], mail["subject"], mail["text"].strip()) == (
        ["ada@example.com"], "Thank you for your order", "your order",
    )  # fmt: skip
    wait_until(lambda: len(outcomes()) == 2)
    shown = cloud.look_at("/_local/mail")
    assert "<small>ada@example.com, " in shown
    assert "&lt;pre&gt;your order" in shown
    assert any(found["source"] == "aws.ses" for found in cloud.look("/_local/events"))


def test_nothing_in_a_mail_is_run_or_fetched_by_who_reads_it(cloud: Cloud) -> None:
    cloud.mail("<script>alert(1)</script>")

    shown = cloud.look_at("/_local/mail")

    assert "<summary>&lt;script&gt;alert(1)&lt;/script&gt;<" in shown
    assert "<script>" not in shown
    assert shown.count("<iframe ") == shown.count('<iframe sandbox loading="lazy"') > 0
    assert "Content-Security-Policy&quot; content=&quot;default-src &#x27;none&#x27;" in shown


@pytest.mark.parametrize("last", ["-1", "x", "1000001", "9" * 30])
def test_so_many_facts_as_nobody_asks_for_are_refused(cloud: Cloud, last: str) -> None:
    answer = httpx.get(f"{cloud.endpoint}/_local/events?last={last}", **PLAIN)

    assert (answer.status_code, "last must be a whole number up to" in answer.text) == (400, True)


@pytest.mark.parametrize(("origin", "status"), [("http://localhost:3000", 200), ("https://evil.example", 403)])
def test_only_pages_of_this_machine_may_use_the_local_aws(cloud: Cloud, origin: str, status: int) -> None:
    headers = {"X-Amz-Target": "AWSCognitoIdentityProviderService.ListUserPools", "Origin": origin}
    headers |= {"Content-Type": "application/x-amz-json-1.1"}

    answer = httpx.post(cloud.endpoint, content='{"MaxResults": 1}', headers=headers, **PLAIN)

    assert answer.status_code == status


# --- the workflow's tasks --------------------------------------------------------------------------------------------
def run_workflow(cloud: Cloud, payload: dict[str, Any], *, resource: str = "", **task: Any) -> str:
    """Begin one execution of a workflow of one task; give its ARN."""
    states = cloud.client("stepfunctions")
    call = {
        "Resource": "arn:aws:states:::lambda:invoke",
        "Parameters": {"FunctionName": cloud.names.worker_arn, "Payload": payload},
    }
    if resource:
        call = {"Resource": resource, "Parameters": payload}
    definition = {
        "StartAt": "Only",
        "States": {"Only": {"Type": "Task", "End": True, "TimeoutSeconds": 300, **call, **task}},
    }
    machine = states.create_state_machine(
        name=f"test-{time.time_ns()}",
        definition=json.dumps(definition),
        roleArn=f"arn:aws:iam::{LOCAL_ACCOUNT}:role/any",
    )
    begun = states.start_execution(stateMachineArn=machine["stateMachineArn"], input="{}")
    return str(begun["executionArn"])


def end_of(cloud: Cloud, execution: str) -> dict[str, Any]:
    states = cloud.client("stepfunctions")

    def ended() -> dict[str, Any] | None:
        found: dict[str, Any] = states.describe_execution(executionArn=execution)
        return found if found["status"] != "RUNNING" else None

    return wait_until(ended) or {}


def errors_of(cloud: Cloud, execution: str) -> list[str]:
    events = cloud.client("stepfunctions").get_execution_history(executionArn=execution, maxResults=1000)["events"]
    details = [detail for event in events for name, detail in event.items() if name.endswith("EventDetails")]
    return [detail["error"] for detail in details if isinstance(detail, dict) and "error" in detail]


class SmallFunction:
    """The small function in a process of its own."""

    def __init__(self, port: int, folder: Path) -> None:
        self.port, self.folder = port, folder
        self.start()

    def start(self) -> None:
        command = [sys.executable, str(SMALL_FUNCTION), str(self.port), str(self.folder)]
        self.process = subprocess.Popen(command, env=clean_environment())
        wait_until(lambda: answers(self.port, "/healthz"))
        assert self.process.poll() is None, "somebody else answers on its port"

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def seen(self) -> int:
        path = self.folder / "seen"
        return len(path.read_text().splitlines()) if path.exists() else 0


@pytest.fixture
def small(empty: Cloud, tmp_path: Path) -> Iterator[SmallFunction]:
    started = SmallFunction(empty.runtime_port, tmp_path)
    yield started
    started.kill()


RETRY = [{"ErrorEquals": ["Lambda.ServiceException"], "IntervalSeconds": 1, "MaxAttempts": 6, "BackoffRate": 1}]


@pytest.mark.parametrize("direct", [False, True])
def test_a_task_whose_runtime_is_killed_in_the_middle_is_tried_again(
    cloud: Cloud, small: SmallFunction, direct: bool
) -> None:
    resource = cloud.names.worker_arn if direct else ""
    execution = run_workflow(cloud, {"hang_once": True, "orderId": "ORD-1"}, resource=resource, Retry=RETRY)
    wait_until(lambda: small.seen() == 1)
    small.kill()
    time.sleep(1.5)  # one retry finds nobody
    small.start()

    ended = end_of(cloud, execution)

    assert ended["status"] == "SUCCEEDED"
    assert '"ORD-1"' in ended["output"]
    assert set(errors_of(cloud, execution)) == {"Lambda.ServiceException"}
    assert len(errors_of(cloud, execution)) >= 2
    assert small.seen() == 2


def test_an_error_of_a_task_has_the_name_of_its_class(cloud: Cloud, small: SmallFunction) -> None:
    execution = run_workflow(cloud, {"decline": True})

    assert end_of(cloud, execution)["status"] == "FAILED"
    assert "CardDeclined" in errors_of(cloud, execution)


def test_a_task_that_takes_too_long_is_timed_out(cloud: Cloud, small: SmallFunction) -> None:
    execution = run_workflow(cloud, {"sleep": 6}, TimeoutSeconds=1)

    ended = end_of(cloud, execution)

    assert ended["status"] == "FAILED"
    assert "States.Timeout" in errors_of(cloud, execution)
    assert (ended["stopDate"] - ended["startDate"]).total_seconds() < 4


def test_an_invocation_without_a_runtime_is_lambdas_service_exception(empty: Cloud) -> None:
    functions = empty.client("lambda")

    with pytest.raises(functions.exceptions.ServiceException):
        functions.invoke(FunctionName=empty.names.worker, Payload=b"{}")


# --- what is there ---------------------------------------------------------------------------------------------------
def test_everything_that_is_declared_is_there(cloud: Cloud) -> None:
    queues = cloud.client("sqs").list_queues()["QueueUrls"]
    mappings = cloud.client("lambda").list_event_source_mappings()["EventSourceMappings"]
    rules = cloud.client("events").list_rules(EventBusName=cloud.names.bus)["Rules"]
    topics = cloud.client("sns").list_topics()["Topics"]
    table = cloud.client("dynamodb").describe_table(TableName=cloud.names.connections_table)["Table"]

    assert {cloud.names.queue_url(key, dead=dead) for key in cloud.names.queues for dead in (False, True)} <= set(
        queues
    )
    assert {mapping["EventSourceArn"] for mapping in mappings} == set(map(cloud.names.queue_arn, cloud.names.queues))
    fed = {cloud.names.queue_name(q.key) for q in cloud.names.queues.values() if q.detail_types}
    assert fed <= {rule["Name"] for rule in rules}
    assert topics == [{"TopicArn": cloud.names.topic_arn}]
    assert [key["AttributeName"] for key in table["KeySchema"]] == ["userId", "connectionId"]
    assert cloud.client("events").describe_archive(ArchiveName=cloud.names.archive)["RetentionDays"] == 14
    machines = cloud.client("stepfunctions").list_state_machines()["stateMachines"]
    assert cloud.names.state_machine_arn in {machine["stateMachineArn"] for machine in machines}
