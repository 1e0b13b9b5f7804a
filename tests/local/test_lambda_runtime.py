"""The local Lambda runtime: Invoke over HTTP as AWS answers it, and the real entry behind the local AWS's queues."""

import json
import os
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import boto3
import httpx
import pytest

from tests.local.conftest import wait_until
from vibecode.local.lambda_runtime import Context, Server, invoke
from vibecode.local.parts import Parts
from vibecode.local.ports import answers, connects, free_port
from vibecode.local.scratch import scratch_parts
from vibecode.resources import FUNCTION_TIMEOUT, LOCAL_ACCOUNT, Resources

PATH = "/2015-03-31/functions/vibecode-local-worker/invocations"


@pytest.fixture(scope="module")
def parts() -> Iterator[Parts]:
    """The real runtime and a local AWS of its own; the database is empty, and nothing here asks it."""
    with scratch_parts(os.environ["DATABASE_URL"]) as made:
        made.start("aws", "lambda")
        yield made


def post(parts: Parts, event: Any) -> httpx.Response:
    return httpx.post(parts.environment["LAMBDA_RUNTIME_URL"] + PATH, json=event, trust_env=False, timeout=30)


def test_an_event_that_is_refused_comes_back_as_lambda_tells_errors(parts: Parts) -> None:
    answer = post(parts, {"raw_command": "1"})

    assert (answer.status_code, answer.headers["X-Amz-Function-Error"]) == (200, "Unhandled")
    assert set(answer.json()) == {"errorType", "errorMessage", "stackTrace"}
    assert answer.json()["errorType"] == "Refused"


def test_a_killed_runtime_is_there_again_at_its_address(parts: Parts) -> None:
    port = parts.ports["lambda"]
    parts.kill("lambda")
    assert not connects("127.0.0.1", port)

    parts.start("lambda")

    assert answers(port, "/healthz")
    assert post(parts, {}).json()["errorType"] == "Refused"


def test_a_message_that_the_entry_cannot_read_ends_in_the_dead_letters(parts: Parts) -> None:
    endpoint = parts.environment["AWS_ENDPOINT_URL"]
    names = Resources(stage="local", region="us-east-1", account=LOCAL_ACCOUNT, endpoint=endpoint)
    keys = {"aws_access_key_id": "local", "aws_secret_access_key": "local", "region_name": "us-east-1"}
    sqs = boto3.client("sqs", endpoint_url=endpoint, **keys)  # type: ignore[call-overload]  # keys as one dict
    redrive = {"deadLetterTargetArn": names.queue_arn("relay", dead=True), "maxReceiveCount": 3}  # a test waits less
    sqs.set_queue_attributes(QueueUrl=names.queue_url("relay"), Attributes={"RedrivePolicy": json.dumps(redrive)})
    sqs.send_message(QueueUrl=names.queue_url("relay"), MessageBody="no JSON")

    dead = names.queue_url("relay", dead=True)
    [message] = wait_until(
        lambda: sqs.receive_message(
            QueueUrl=dead, MessageSystemAttributeNames=["ApproximateReceiveCount"], WaitTimeSeconds=2
        ).get("Messages")
    )

    assert message["Body"] == "no JSON"
    assert int(message["Attributes"]["ApproximateReceiveCount"]) == 3 + 1  # and ours


# --- the server ------------------------------------------------------------------------------------------------------
def test_the_context_says_who_is_called_and_how_long_there_is() -> None:
    context = Context("arn:aws:lambda:us-east-1:123456789012:function:worker")

    assert context.function_name == "worker"
    assert context.invoked_function_arn.endswith(":worker")
    assert (FUNCTION_TIMEOUT - 1) * 1000 < context.get_remaining_time_in_millis() <= FUNCTION_TIMEOUT * 1000
    assert context.aws_request_id != Context("worker").aws_request_id


def test_an_error_has_the_name_of_its_class() -> None:
    def function(_event: object, _context: object) -> None:
        raise LookupError("nobody of this name")

    body, headers = invoke(function, "worker", b"{}")

    told = json.loads(body)
    assert (told["errorType"], told["errorMessage"]) == ("LookupError", "nobody of this name")
    assert "LookupError" in told["stackTrace"][-1]
    assert headers == {"X-Amz-Function-Error": "Unhandled"}


def test_as_many_events_run_side_by_side_as_there_are_sandboxes_each_in_a_thread_that_stays() -> None:
    busy, most, lock, threads = 0, 0, threading.Lock(), set[int]()

    def function(_event: object, _context: object) -> None:
        nonlocal busy, most
        with lock:
            busy += 1
            most = max(most, busy)
            threads.add(threading.get_ident())
        time.sleep(0.1)
        with lock:
            busy -= 1

    server = Server(free_port(), function, 3)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
    try:
        url = f"http://127.0.0.1:{server.server_port}{PATH}"
        with ThreadPoolExecutor(9) as pool:
            codes = list(pool.map(lambda _: httpx.post(url, json={}, trust_env=False).status_code, range(9)))
    finally:
        server.shutdown()
        server.server_close()

    assert codes == [200] * 9
    assert most == 3
    assert len(threads) == 3
