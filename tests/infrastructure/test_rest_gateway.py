"""The local API Gateway and public origin: what they make of requests and answers, over real HTTPS."""

import base64
import contextlib
import dataclasses
import json
import socket
import ssl
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import boto3
import httpx
import pytest
from django.conf import settings as django_settings

from vibecode.local.certificates import Authority
from vibecode.local.public_origin import Origins, PublicOrigin
from vibecode.local.rest_gateway import Api, RestGateway
from vibecode.local.sandboxes import SandboxDied
from vibecode.local.web_server import serving

API = Api("a1b2c3d4e5", "dev", "eu-north-1", "123456789012", "arn:aws:lambda:…:vibecode-dev", is_binary=True)
MEGABYTE = 1024 * 1024

type Answer = Callable[[dict[str, Any]], Any]


class Heard:
    """The function behind the gateway: keeps each event, and answers as a test says."""

    def __init__(self) -> None:
        self.events: list[dict[str, Any]] = []
        self.answer: Answer = lambda _: {"statusCode": 200, "body": "ok"}

    def invoke(self, function: str, event: dict[str, Any]) -> Any:
        assert function == API.function
        self.events.append(event)
        return self.answer(event)


@pytest.fixture
def heard() -> Heard:
    """What the function was given."""
    return Heard()


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    """Who signs both certificates."""
    return Authority(tmp_path, "doors")


@pytest.fixture
def gateway(heard: Heard, authority: Authority) -> Iterator[RestGateway]:
    """API Gateway, which waits for a second at most."""
    server = RestGateway(0, API, heard.invoke, authority.server("127.0.0.1"), seconds=1)
    with serving(server):
        yield server


@pytest.fixture
def ask(gateway: RestGateway, authority: Authority) -> Iterator[Callable[..., httpx.Response]]:
    """A client that trusts it."""
    with httpx.Client(verify=authority.trust(), trust_env=False, timeout=20) as client:

        def asked(method: str, target: str, **more: Any) -> httpx.Response:
            return client.request(method, f"https://127.0.0.1:{gateway.server_address[1]}{target}", **more)

        yield asked


def returning(answer: Any) -> Answer:
    return lambda _: answer


# --- events ----------------------------------------------------------------------------------------------------------
def test_an_event_has_the_fields_of_awss_own(
    ask: Callable[..., httpx.Response], heard: Heard, aws_events: dict[str, Any]
) -> None:
    ask("POST", "/dev/api/v1/orders?a=1&a=2&b=%C3%A4+%26", json={"note": "ä"}, headers={"Host": API.host})

    (event,) = heard.events
    theirs = aws_events["apigateway aws-proxy"]
    assert set(event) == set(theirs)
    assert set(theirs["requestContext"]) <= set(event["requestContext"])
    assert (event["resource"], event["path"], event["requestContext"]["path"]) == (
        "/{proxy+}", "/api/v1/orders", "/dev/api/v1/orders",
    )  # fmt: skip
    assert event["pathParameters"] == {"proxy": "api/v1/orders"}
    assert event["queryStringParameters"] == {"a": "2", "b": "ä &"}
    assert event["multiValueQueryStringParameters"] == {"a": ["1", "2"], "b": ["ä &"]}
    assert event["isBase64Encoded"]
    assert json.loads(base64.b64decode(event["body"])) == {"note": "ä"}
    assert event["headers"]["X-Forwarded-Proto"] == "https"
    assert event["stageVariables"] is None


def test_what_is_not_there_is_null(ask: Callable[..., httpx.Response], heard: Heard) -> None:
    ask("GET", "/dev")

    (event,) = heard.events
    absent = ("queryStringParameters", "multiValueQueryStringParameters", "pathParameters", "body", "stageVariables")
    assert (event["path"], event["resource"]) == ("/", "/")
    assert [event[name] for name in absent] == [None] * 5
    assert not event["isBase64Encoded"]


def test_a_header_that_comes_twice_comes_twice_and_the_senders_address_is_added(
    ask: Callable[..., httpx.Response], heard: Heard
) -> None:
    ask("GET", "/dev/x", headers=[("X-Twice", "1"), ("X-Twice", "2"), ("X-Forwarded-For", "6.6.6.6")])

    (event,) = heard.events
    twice = {name.lower(): values for name, values in event["multiValueHeaders"].items()}["x-twice"]
    assert twice == ["1", "2"]
    assert event["headers"]["X-Forwarded-For"] == "6.6.6.6, 127.0.0.1"
    assert event["requestContext"]["identity"]["sourceIp"] == "127.0.0.1"


# --- answers ---------------------------------------------------------------------------------------------------------
def test_an_answer_becomes_a_response_with_every_value_and_the_names_that_aws_gives(
    ask: Callable[..., httpx.Response], heard: Heard
) -> None:
    heard.answer = returning({
        "statusCode": 401,
        "headers": {"Set-Cookie": "lost", "WWW-Authenticate": "Bearer", "Server": "ours", "Content-Type": "image/png"},
        "multiValueHeaders": {"Set-Cookie": ["a=1", "b=2"]},
        "body": base64.b64encode(b"\x89PNG").decode(),
        "isBase64Encoded": True,
    })  # fmt: skip

    answer = ask("GET", "/dev/x")

    assert (answer.status_code, answer.content) == (401, b"\x89PNG")
    assert answer.headers.get_list("Set-Cookie") == ["a=1", "b=2"]
    assert answer.headers["x-amzn-Remapped-WWW-Authenticate"] == "Bearer"
    assert {"WWW-Authenticate", "Server"}.isdisjoint(answer.headers)


@pytest.mark.parametrize(
    ("answer", "status", "message"),
    [
        ({"errorType": "Refused", "errorMessage": "no"}, 502, "Internal server error"),
        ({"statusCode": 200, "cookies": []}, 502, "Internal server error"),
        (None, 502, "Internal server error"),
        ({"body": "no status"}, 502, "Internal server error"),
        ({"statusCode": 200, "body": "x" * 7 * MEGABYTE}, 502, "Internal server error"),
        ({"statusCode": 200, "body": "no base64!", "isBase64Encoded": True}, 502, "Internal server error"),
        ({"statusCode": 200, "body": {"no": "text"}}, 502, "Internal server error"),
        ({"statusCode": "fine"}, 502, "Internal server error"),
    ],
    ids=["an error", "another form", "nothing", "no status", "seven megabytes", "no base64", "no text", "no number"],
)
def test_what_is_no_answer_is_awss_own_error(
    ask: Callable[..., httpx.Response], heard: Heard, answer: Any, status: int, message: str
) -> None:
    heard.answer = returning(answer)

    got = ask("GET", "/dev/x")

    assert (got.status_code, got.json()) == (status, {"message": message})


def test_a_function_that_dies_or_takes_too_long_is_awss_own_error(
    ask: Callable[..., httpx.Response], heard: Heard
) -> None:
    def die(_: object) -> Any:
        raise SandboxDied("killed")

    heard.answer = die
    assert ask("GET", "/dev/x").status_code == 502
    heard.answer = lambda _: time.sleep(1.5)
    late = ask("GET", "/dev/x")
    assert (late.status_code, late.json()) == (504, {"message": "Endpoint request timed out"})


@pytest.mark.parametrize("megabytes", [5, 11], ids=["an event that is too long", "a body that is too long"])
def test_what_is_too_long_never_reaches_the_function(
    ask: Callable[..., httpx.Response], heard: Heard, megabytes: int
) -> None:
    answer = ask("POST", "/dev/x", content=b"x" * megabytes * MEGABYTE)

    assert (answer.status_code, answer.json()) == (413, {"message": "Request Too Long"})
    assert heard.events == []


def test_without_binary_media_types_bodies_are_text_both_ways(heard: Heard, authority: Authority) -> None:
    heard.answer = returning({"statusCode": 200, "body": "aGVsbG8=", "isBase64Encoded": True})
    api = dataclasses.replace(API, is_binary=False)
    with (
        serving(server := RestGateway(0, api, heard.invoke, authority.server("127.0.0.1"))),
        httpx.Client(verify=authority.trust(), trust_env=False) as client,
    ):
        answer = client.post(f"https://127.0.0.1:{server.server_address[1]}/dev/x", content="ä")

    assert (heard.events[0]["body"], heard.events[0]["isBase64Encoded"]) == ("ä", False)
    assert answer.text == "aGVsbG8="


@pytest.mark.parametrize(
    "head", ["Content-Length: many", "Transfer-Encoding: chunked\r\n\r\nzz", "Transfer-Encoding: chunked\r\n\r\n-5"]
)
def test_a_body_whose_end_nobody_can_tell_is_a_bad_request(
    gateway: RestGateway, authority: Authority, heard: Heard, head: str
) -> None:
    plain = socket.create_connection(("127.0.0.1", gateway.server_address[1]), timeout=10)
    with authority.trust().wrap_socket(plain, server_hostname="127.0.0.1") as client:
        client.sendall(f"POST /dev/x HTTP/1.1\r\nHost: x\r\n{head}\r\n\r\n".encode())
        answer = client.recv(4096)

    assert answer.startswith(b"HTTP/1.1 400 ")
    assert heard.events == []


def test_another_stage_is_none(ask: Callable[..., httpx.Response], heard: Heard) -> None:
    assert ask("GET", "/develop/x").status_code == 403
    assert heard.events == []


def test_a_body_in_chunks_is_put_together_and_head_has_none(ask: Callable[..., httpx.Response], heard: Heard) -> None:
    ask("POST", "/dev/x", content=iter([b"one ", b"two"]))
    head = ask("HEAD", "/dev/x")

    assert base64.b64decode(heard.events[0]["body"]) == b"one two"
    assert (head.status_code, head.content) == (200, b"")


def test_one_who_breaks_off_holds_nobody_up(
    ask: Callable[..., httpx.Response], gateway: RestGateway, authority: Authority
) -> None:
    with contextlib.ExitStack() as stack:
        where = ("127.0.0.1", gateway.server_address[1])
        plain = stack.enter_context(socket.create_connection(where))
        plain.sendall(b"GET / HTTP/1.1\r\n\r\n")  # no TLS
        silent = stack.enter_context(socket.create_connection(where))
        stack.enter_context(authority.trust().wrap_socket(silent, server_hostname="127.0.0.1"))
        stranger = stack.enter_context(socket.create_connection(where))
        with pytest.raises(ssl.SSLError):
            ssl.create_default_context().wrap_socket(stranger, server_hostname="127.0.0.1")

        assert ask("GET", "/dev/x").text == "ok"


# --- the public origin -----------------------------------------------------------------------------------------------
@pytest.fixture
def public(gateway: RestGateway, authority: Authority) -> Iterator[Callable[..., httpx.Response]]:
    """A client of the public origin before that gateway and a bucket."""
    s3 = boto3.client("s3", endpoint_url=django_settings.AWS_ENDPOINT_URL, region_name="us-east-1")
    s3.create_bucket(Bucket="a-stages-static")
    s3.put_object(Bucket="a-stages-static", Key="a/färbe.css", Body=b"body {}", ContentType="text/css")
    origins = Origins(
        gateway_port=gateway.server_address[1],
        stage="dev",
        host=API.host,
        trust=authority.trust(),
        s3=s3,
        buckets={"static": "a-stages-static"},
        secret="only they know",
    )
    server = PublicOrigin(0, origins, authority.server("127.0.0.1"))
    with serving(server), httpx.Client(verify=authority.trust(), trust_env=False, timeout=20) as client:

        def asked(method: str, target: str, **more: Any) -> httpx.Response:
            return client.request(method, f"https://127.0.0.1:{server.server_address[1]}{target}", **more)

        yield asked
    s3.delete_object(Bucket="a-stages-static", Key="a/färbe.css")
    s3.delete_bucket(Bucket="a-stages-static")


def test_the_public_origin_asks_the_api_under_its_stage_with_its_secret_and_the_viewers_address(
    public: Callable[..., httpx.Response], heard: Heard
) -> None:
    heard.answer = returning({"statusCode": 401, "headers": {"WWW-Authenticate": "Bearer"}, "body": ""})

    answer = public("GET", "/api/v1/me?x=1", headers={"X-Forwarded-For": "6.6.6.6"})

    (event,) = heard.events
    assert (event["path"], event["headers"]["Host"]) == ("/api/v1/me", API.host)
    assert event["headers"]["X-Forwarded-For"] == "6.6.6.6, 127.0.0.1, 127.0.0.2"
    assert event["headers"]["X-Origin-Secret"] == "only they know"
    assert answer.headers["WWW-Authenticate"] == "Bearer"
    assert "x-amzn-Remapped-WWW-Authenticate" not in answer.headers


def test_the_public_origin_has_its_files_from_the_bucket(public: Callable[..., httpx.Response], heard: Heard) -> None:
    found = public("GET", "/static/a/f%C3%A4rbe.css")
    missing = public("GET", "/static/none.css")
    refused = public("POST", "/static/a/f%C3%A4rbe.css", content=b"x")

    assert (found.status_code, found.text, found.headers["Content-Type"]) == (200, "body {}", "text/css")
    assert (missing.status_code, refused.status_code) == (404, 403)
    assert heard.events == []
