"""The doorbell: how the relay is woken without boto3, held against boto3's own signature and against SQS."""

import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import httpx
import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from pytest_django import Settings

from tests.platform.bus import make_queues, pointed_to, waiting
from tests.platform.fronts import Front
from tests.platform.logs import read_log
from vibecode import doorbell, sigv4
from vibecode.doorbell import ring

KEYS = ("AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY")


class Keeping(BaseHTTPRequestHandler):
    """Passes requests on to the local SQS and, as the real one does, keeps its clients' connections."""

    protocol_version = "HTTP/1.1"
    target = ""

    def do_POST(self) -> None:
        """Ask the local SQS the same."""
        body = self.rfile.read(int(self.headers["Content-Length"]))
        with httpx.Client() as client:
            answer = client.post(self.target, content=body, headers=dict(self.headers))
        self.send_response(answer.status_code)
        self.send_header("Content-Length", str(len(answer.content)))
        self.end_headers()
        self.wfile.write(answer.content)

    def log_message(self, *_: object) -> None:
        """Nothing: the front counts."""


@pytest.fixture
def front(settings: Settings) -> Iterator[Front]:
    """What stands between us and an SQS that keeps connections, with queues of a stage of its own."""
    handler = type("Handler", (Keeping,), {"target": settings.AWS_ENDPOINT_URL})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, args=[0.05], daemon=True).start()
        with Front(server.server_port) as opened, pointed_to(settings, opened.port):
            yield opened
        server.shutdown()


@pytest.mark.parametrize("session", ["", "FwoGZXIvYXdzE+/=="], ids=["a user's keys", "a role's keys"])
def test_the_signature_is_the_one_that_boto3_makes(session: str, monkeypatch: pytest.MonkeyPatch) -> None:
    moment = datetime(2026, 11, 24, 10, 11, 12, tzinfo=UTC)
    monkeypatch.setattr("botocore.auth.get_current_datetime", lambda: moment.replace(tzinfo=None))
    for name, value in zip(("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"), KEYS, strict=True):
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("AWS_SESSION_TOKEN", session)
    headers = {"content-type": "application/x-amz-json-1.0", "x-amz-target": "AmazonSQS.SendMessageBatch"}
    body = '{"é": 1}'.encode()
    theirs = AWSRequest("POST", "https://sqs.eu-north-1.amazonaws.com/", headers=headers, data=body)
    SigV4Auth(Credentials(*KEYS, session or None), "sqs", "eu-north-1").add_auth(theirs)

    ours = sigv4.signed("sqs.eu-north-1.amazonaws.com", "sqs", "eu-north-1", headers, body, moment=moment)

    assert ours["authorization"] == theirs.headers["Authorization"]
    assert ours.get("x-amz-security-token") == (session or None)


def test_a_connection_is_kept_and_replaced_when_aws_has_closed_it(settings: Settings, front: Front) -> None:
    queue = make_queues(settings)("relay")
    before = front.met  # clients of boto3
    ring(0)
    ring(0)
    assert front.met == before + 1

    front.hang_up()
    ring(0, 5)

    assert front.met == before + 2
    assert waiting(queue) == (3, 1)


def test_what_sqs_says_no_to_is_logged_once_and_left_alone_for_a_while(settings: Settings, front: Front) -> None:
    make_queues(settings)
    with read_log() as lines:
        ring(*range(11))  # SQS takes ten
        ring(0)

    [line] = [line for line in lines if line["logger"] == "vibecode.doorbell"]
    assert "You have sent 11" in line["error"]


def test_the_longest_pause_is_what_sqs_takes(settings: Settings, front: Front) -> None:
    queue = make_queues(settings)("relay")

    ring(0.2, 99_999)

    assert waiting(queue) == (0, 2)
    assert doorbell.MOST_DELAY == 900
