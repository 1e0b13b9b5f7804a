"""The local AWS's trail: who signed what, over real HTTP, with real signatures; and nothing of what was in it."""

import email.message
import json
import threading
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import boto3
import httpx
import pytest
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from botocore.parsers import ResponseParserError
from werkzeug.serving import WSGIRequestHandler, make_server

from tests.plain import PLAIN
from vibecode import sigv4
from vibecode.local.ports import HOST, free_port
from vibecode.local.trail import Trail, watched


class Quiet(WSGIRequestHandler):
    """Says nothing."""

    def log_request(self, *_: object) -> None:
        """Nothing."""


@pytest.fixture
def trail(tmp_path: Path) -> Path:
    """Where it is written."""
    return tmp_path / "trails" / "trail.jsonl"


@pytest.fixture
def endpoint(trail: Path) -> Iterator[str]:
    """A server that is watched; it answers with the body that it was sent, or 404 where the address says so."""

    def application(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        content = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        missing = "missing" in environ["PATH_INFO"]
        start_response("404 NOT FOUND" if missing else "200 OK", [("X-Was-Sent", str(len(content)))])
        return [b"{}"]

    server = make_server(HOST, port := free_port(), watched(application, Trail(trail)), request_handler=Quiet)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://{HOST}:{port}"
    server.shutdown()
    server.server_close()
    thread.join()


def told(trail: Path) -> list[tuple[str, str, dict[str, str]]]:
    """All lines."""
    lines = [json.loads(line) for line in trail.read_text().splitlines()] if trail.exists() else []
    return [(line["who"], line["call"], line["about"]) for line in lines]


def client(service: str, endpoint: str, who: str = "vibecode-dev-worker") -> Any:
    """boto3's, of a function of this name."""
    return boto3.session.Session().client(
        service,  # type: ignore[call-overload]  # the tests name it
        region_name="us-east-1",
        endpoint_url=endpoint,
        aws_access_key_id=who,
        aws_secret_access_key="secret",
        config=Config(s3={"addressing_style": "path"}, signature_version="s3v4" if service == "s3" else None),
    )


def ask(call: Callable[..., Any], **said: Any) -> None:
    """Call; what the server answers is no answer of AWS's."""
    try:
        call(**said)
    except (BotoCoreError, ClientError, ResponseParserError, KeyError):
        return


QUEUE = {"QueueUrl": "http://a/1/q"}
TOPIC = {"TopicArn": "arn:aws:sns:us-east-1:1:t"}
FILE, MISSING = {"Bucket": "b", "Key": "uploads/a"}, {"Bucket": "b", "Key": "missing"}
LISTED = {"Bucket": "b", "Prefix": "a/"}


@pytest.mark.parametrize(
    ("service", "method", "said", "call", "about"),
    [
        ("sqs", "send_message", QUEUE | {"MessageBody": "private"}, "SendMessage", QUEUE),
        ("sns", "publish", TOPIC | {"Message": "private"}, "Publish", TOPIC),
        ("s3", "put_object", FILE | {"Body": b"private"}, "PutObject", FILE),
        ("s3", "get_object", MISSING, "GetObject", MISSING | {"found": "no"}),
        ("s3", "head_object", FILE, "HeadObject", FILE),
        ("s3", "delete_object", FILE, "DeleteObject", FILE),
        ("s3", "copy_object", FILE | {"CopySource": "b/c"}, "CopyObject", FILE),
        ("s3", "put_object_tagging", FILE | {"Tagging": {"TagSet": []}}, "PutObject?tagging", FILE),
        ("s3", "list_objects_v2", LISTED, "ListObjects", LISTED),
        ("secretsmanager", "get_secret_value", {"SecretId": "arn"}, "GetSecretValue", {"SecretId": "arn"}),
        (
            "dynamodb",
            "put_item",
            {"TableName": "t", "Item": {"userId": {"S": "TICKET#private"}, "sub": {"S": "private"}}},
            "PutItem",
            {"TableName": "t", "LeadingKey": "TICKET#"},
        ),
        (
            "dynamodb",
            "delete_item",
            {"TableName": "t", "Key": {"userId": {"S": "private"}}},
            "DeleteItem",
            {"TableName": "t", "LeadingKey": ""},
        ),
        (
            "events",
            "put_events",
            {"Entries": [{"EventBusName": "bus", "Source": "a", "DetailType": "b", "Detail": '{"private": 1}'}]},
            "PutEvents",
            {"EventBusName": "bus"},
        ),
        ("lambda", "list_functions", {}, "GET /2015-03-31/functions", {}),
    ],
)  # fmt: skip
def test_a_call_is_told_by_the_names_of_what_it_is_done_on(
    endpoint: str, trail: Path, service: str, method: str, said: dict[str, Any], call: str, about: dict[str, str]
) -> None:
    ask(getattr(client(service, endpoint), method), **said)

    assert told(trail) == [("vibecode-dev-worker", f"{service}:{call}", about)]
    assert "private" not in trail.read_text()


def test_a_call_that_was_signed_by_hand_is_seen_like_any_other(
    endpoint: str, trail: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "vibecode-dev")
    body = json.dumps({"QueueUrl": "http://a/1/vibecode-dev-relay", "Entries": []}).encode()
    headers = {"content-type": "application/x-amz-json-1.0", "x-amz-target": "AmazonSQS.SendMessageBatch"}
    host = endpoint.removeprefix("http://")
    connection = HTTPConnection(host)
    connection.request(
        "POST", "/", body, sigv4.signed(host, "sqs", "us-east-1", headers, body, moment=datetime.now(UTC))
    )
    answer = connection.getresponse()
    connection.close()

    assert answer.headers["X-Was-Sent"] == str(len(body))  # the application still gets all of it
    assert told(trail) == [("vibecode-dev", "sqs:SendMessageBatch", {"QueueUrl": "http://a/1/vibecode-dev-relay"})]


def test_what_a_browser_does_with_our_signature_is_ours(endpoint: str, trail: Path) -> None:
    web = client("s3", endpoint, "vibecode-dev")
    form = web.generate_presigned_post("b", "uploads/a.png", Fields={"Content-Type": "image/png"})
    httpx.post(form["url"], data=form["fields"], files={"file": ("private.png", b"private", "image/png")}, **PLAIN)
    httpx.get(web.generate_presigned_url("get_object", Params={"Bucket": "b", "Key": "uploads/a.png"}), **PLAIN)

    assert told(trail) == [
        ("vibecode-dev", "s3:PostObject", {"Bucket": "b", "Key": "uploads/a.png"}),
        ("vibecode-dev", "s3:GetObject", {"Bucket": "b", "Key": "uploads/a.png", "signed": "link"}),
    ]
    assert "private" not in trail.read_text()


def test_a_mail_is_told_by_its_sender_alone(endpoint: str, trail: Path) -> None:
    message = email.message.EmailMessage()
    message["From"], message["To"], message["Subject"] = "Shop <orders@shop.example>", "private@example.com", "private"
    message.set_content("private")
    ask(
        client("sesv2", endpoint).send_email,
        Content={"Raw": {"Data": message.as_bytes()}},
        ConfigurationSetName="set",
    )

    about = {"From": "Shop <orders@shop.example>", "ConfigurationSetName": "set", "Raw": "yes"}
    assert told(trail) == [("vibecode-dev-worker", "ses:SendEmail", about)]
    assert "private" not in trail.read_text()


def test_what_nobody_signed_is_no_call_by_iams_rights(endpoint: str, trail: Path) -> None:
    httpx.get(f"{endpoint}/b/a", **PLAIN)
    ask(client("cognito-idp", endpoint).get_user, AccessToken="private")

    assert told(trail) == []


def test_each_kind_of_call_is_written_once(endpoint: str, trail: Path) -> None:
    sqs = client("sqs", endpoint)
    for body in ("a", "b"):
        ask(sqs.send_message, QueueUrl="http://a/1/q", MessageBody=body)

    assert len(told(trail)) == 1
