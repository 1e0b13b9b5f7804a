"""The local gateway speaks API Gateway's websocket protocol: three routes, @connections, its limits."""

import json
import signal
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import boto3
import httpx
import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection

from tests.platform.live import Gateway, wait_until
from vibecode.local.ports import HOST, free_port


class Runtime:
    """Stands where the Lambda runtime does: keeps the events, answers what a test wants."""

    def __init__(self) -> None:
        self.events: list[dict[str, Any]] = []
        self.paths: set[str] = set()
        self.inside: set[str] = set()  # who was let in and has not left
        self.answer: Callable[[dict[str, Any]], Any] = lambda _: {"statusCode": 200}
        self.error = ""
        outer = self

        class Invocation(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                event = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                outer.events.append(event)
                outer.paths.add(self.path)
                answer = outer.answer(event)
                outer.count(event, answer == {"statusCode": 200} and not outer.error)
                body = json.dumps(answer).encode()
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                if outer.error:
                    self.send_header("X-Amz-Function-Error", outer.error)
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        self.server = ThreadingHTTPServer((HOST, free_port()), Invocation)
        self.url = f"http://{HOST}:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()

    def count(self, event: dict[str, Any], let_in: bool) -> None:
        """Keep track of who is inside."""
        where = event["requestContext"]
        if where["routeKey"] == "$connect" and let_in:
            self.inside.add(where["connectionId"])
        if where["routeKey"] == "$disconnect":
            self.inside.discard(where["connectionId"])

    def heard(self, route: str) -> list[dict[str, Any]]:
        """The events of one route."""
        return [event for event in self.events if event["requestContext"]["routeKey"] == route]

    def the(self, route: str) -> dict[str, Any]:
        """The one event of a route, which is waited for."""
        [event] = wait_until(lambda: self.heard(route))
        return event

    def stop(self) -> None:
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture(scope="module")
def served_runtime() -> Iterator[Runtime]:
    started = Runtime()
    yield started
    started.stop()


@pytest.fixture(scope="module")
def gateway(served_runtime: Runtime) -> Iterator[Gateway]:
    started = Gateway(served_runtime.url)
    yield started
    started.stop()


@pytest.fixture
def runtime(gateway: Gateway, served_runtime: Runtime) -> Iterator[Runtime]:
    """With no event yet, and letting everybody in."""
    served_runtime.answer, served_runtime.error = lambda _: {"statusCode": 200}, ""
    served_runtime.events.clear()
    yield served_runtime
    wait_until(lambda: not served_runtime.inside)


@pytest.fixture
def api(gateway: Gateway) -> Any:
    """boto3's client of @connections."""
    return client_of(gateway.api_url)


def client_of(address: str) -> Any:
    keys = {"aws_access_key_id": "local", "aws_secret_access_key": "local"}
    return boto3.client("apigatewaymanagementapi", endpoint_url=address, region_name="us-east-1", **keys)  # type: ignore[call-overload]  # keys as one dict


def refusal(gateway: Gateway) -> int:
    """The status of a handshake that is refused."""
    with pytest.raises(InvalidStatus) as refused:
        gateway.connect("x")
    return refused.value.response.status_code


def end_of(socket: ClientConnection) -> int:
    """The code with which a socket is closed."""
    with pytest.raises(ConnectionClosed):
        socket.recv(timeout=10)
    return int(socket.close_code or 0)


# --- $connect --------------------------------------------------------------------------------------------------------
def test_the_handshake_is_an_event_as_api_gateway_sends_it(gateway: Gateway, runtime: Runtime) -> None:
    with gateway.connect("a%2Bb&more=1&more=2", user_agent_header="a browser"):
        event = runtime.the("$connect")

    where = event["requestContext"]
    assert runtime.paths == {"/2015-03-31/functions/vibecode-local-worker/invocations"}
    assert event["queryStringParameters"] == {"token": "a+b", "more": "2"}
    assert event["multiValueQueryStringParameters"] == {"token": ["a+b"], "more": ["1", "2"]}
    assert event["headers"]["User-Agent"] == "a browser"
    assert event["multiValueHeaders"]["User-Agent"] == ["a browser"]
    assert event["isBase64Encoded"] is False
    assert (where["eventType"], where["stage"], where["messageDirection"]) == ("CONNECT", "local", "IN")
    assert where["identity"] == {"sourceIp": HOST, "userAgent": "a browser"}
    assert where["domainName"] == f"{HOST}:{gateway.port}"
    assert abs(where["connectedAt"] / 1000 - time.time()) < 10
    assert abs(where["requestTimeEpoch"] / 1000 - time.time()) < 10
    assert where.keys() >= {"connectionId", "requestId", "extendedRequestId", "requestTime", "apiId"}
    assert len(where["connectionId"]) == 16
    assert where["connectionId"].endswith("=")


def test_a_handshake_without_a_query_has_none_in_its_event(gateway: Gateway, runtime: Runtime) -> None:
    with gateway.connect():
        assert not {"queryStringParameters", "multiValueQueryStringParameters"} & runtime.the("$connect").keys()


@pytest.mark.parametrize("status", [401, 403, 500])
def test_what_the_function_refuses_is_refused_with_its_status(gateway: Gateway, runtime: Runtime, status: int) -> None:
    runtime.answer = lambda _: {"statusCode": status}

    assert refusal(gateway) == status
    time.sleep(0.2)
    assert len(runtime.events) == 1, "who was never in does not leave"


@pytest.mark.parametrize("nonsense", [None, [], {}, {"statusCode": "200"}, "ok"])
def test_a_function_that_answers_nonsense_lets_nobody_in(gateway: Gateway, runtime: Runtime, nonsense: Any) -> None:
    runtime.answer = lambda _: nonsense

    assert refusal(gateway) == 502


def test_a_function_that_fails_lets_nobody_in(gateway: Gateway, runtime: Runtime) -> None:
    runtime.error = "Unhandled"

    assert refusal(gateway) == 502


def test_without_a_runtime_nobody_is_let_in() -> None:
    gateway = Gateway(f"http://{HOST}:{free_port()}")
    try:
        assert refusal(gateway) == 503
    finally:
        gateway.stop()


# --- $default and $disconnect ----------------------------------------------------------------------------------------
def test_a_message_is_an_event_whose_answer_goes_nowhere(gateway: Gateway, runtime: Runtime) -> None:
    with gateway.connect() as socket:
        runtime.answer = lambda _: {"statusCode": 200, "body": "hello"}
        socket.send('{"type": "ping"}')
        event = runtime.the("$default")

        assert event["body"] == '{"type": "ping"}'
        assert event["requestContext"]["eventType"] == "MESSAGE"
        assert event["requestContext"]["messageId"]
        assert event["requestContext"]["connectionId"] == connection_id(runtime)
        assert "headers" not in event
        with pytest.raises(TimeoutError):
            socket.recv(timeout=0.2)


def test_a_message_that_the_function_fails_on_is_told(gateway: Gateway, runtime: Runtime) -> None:
    with gateway.connect() as socket:
        runtime.error = "Unhandled"
        socket.send("x")

        told = json.loads(socket.recv(timeout=5))
        assert told["message"] == "Internal server error"
        assert told["connectionId"] == connection_id(runtime)


def test_whoever_leaves_is_told_of(gateway: Gateway, runtime: Runtime) -> None:
    with gateway.connect():
        pass
    event = runtime.the("$disconnect")

    assert event["requestContext"]["connectionId"] == connection_id(runtime)
    assert event["requestContext"]["eventType"] == "DISCONNECT"
    assert event["requestContext"]["disconnectStatusCode"] == 1000
    assert event["headers"]["Host"] == f"{HOST}:{gateway.port}"


def test_a_socket_that_breaks_is_told_of_too(gateway: Gateway, runtime: Runtime) -> None:
    with gateway.connect() as socket:
        socket.socket.shutdown(2)

    assert runtime.the("$disconnect")["requestContext"]["disconnectStatusCode"] == 1006


def connection_id(runtime: Runtime) -> str:
    """Whose events these are."""
    return str(runtime.the("$connect")["requestContext"]["connectionId"])


# --- limits ----------------------------------------------------------------------------------------------------------
def test_binary_and_too_large_messages_end_the_connection(gateway: Gateway, runtime: Runtime) -> None:
    with gateway.connect() as socket:
        socket.send(b"\x00")
        assert end_of(socket) == 1003
    with gateway.connect() as socket:
        socket.send("x" * (32 * 1024 + 1))
        assert end_of(socket) == 1009
    with gateway.connect() as socket:
        socket.send(["x" * 32 * 1024] * 5)
        assert end_of(socket) == 1009
    assert runtime.heard("$default") == []


def test_a_message_of_128_kb_in_frames_of_32_is_taken(gateway: Gateway, runtime: Runtime) -> None:
    with gateway.connect() as socket:
        socket.send(["x" * 32 * 1024] * 4)
        assert len(runtime.the("$default")["body"]) == 128 * 1024


def test_silence_ends_a_connection_and_a_word_or_a_push_keeps_it(runtime: Runtime) -> None:
    gateway = Gateway(runtime.url, "--idle-seconds", "1.2")
    try:
        with gateway.connect() as silent, gateway.connect() as talker, gateway.connect() as pushed:
            name = runtime.heard("$connect")[2]["requestContext"]["connectionId"]
            for _ in range(4):
                time.sleep(0.6)
                talker.send("x")
                client_of(gateway.api_url).post_to_connection(ConnectionId=name, Data=b"{}")
            assert end_of(silent) == 1001
            assert [pushed.recv(timeout=1) for _ in range(4)] == ["{}"] * 4
            talker.send("x")
            assert end_of(pushed) == end_of(talker) == 1001
    finally:
        gateway.stop()


def test_nobody_stays_longer_than_allowed(runtime: Runtime) -> None:
    gateway = Gateway(runtime.url, "--most-seconds", "1")
    try:
        with gateway.connect() as socket:
            socket.send("x")
            assert end_of(socket) == 1001
        assert runtime.the("$disconnect")["requestContext"]["disconnectStatusCode"] == 1001
    finally:
        gateway.stop()


# --- @connections ----------------------------------------------------------------------------------------------------
def test_what_is_posted_arrives_as_text(gateway: Gateway, runtime: Runtime, api: Any) -> None:
    with gateway.connect() as socket:
        api.post_to_connection(ConnectionId=connection_id(runtime), Data='{"é": 1}'.encode())
        assert socket.recv(timeout=5) == '{"é": 1}'

        client_of(f"{gateway.api_url}/local").post_to_connection(ConnectionId=connection_id(runtime), Data=b"2")
        assert socket.recv(timeout=5) == "2", "below a stage's name too"


def test_a_connection_is_described(gateway: Gateway, runtime: Runtime, api: Any) -> None:
    with gateway.connect(user_agent_header="a browser"):
        described = api.get_connection(ConnectionId=connection_id(runtime))

    assert abs(described["ConnectedAt"].timestamp() - time.time()) < 10
    assert abs(described["LastActiveAt"].timestamp() - time.time()) < 10
    assert described["Identity"] == {"SourceIp": HOST, "UserAgent": "a browser"}


def test_deleting_closes(gateway: Gateway, runtime: Runtime, api: Any) -> None:
    with gateway.connect() as socket:
        api.delete_connection(ConnectionId=connection_id(runtime))

        assert end_of(socket) == 1000
    runtime.the("$disconnect")


def test_who_is_not_there_is_gone(gateway: Gateway, runtime: Runtime, api: Any) -> None:
    with gateway.connect():
        left = connection_id(runtime)
    runtime.the("$disconnect")

    for name in (left, "AAAAAAAAAAAAAAA=", "a/b c?"):
        with pytest.raises(api.exceptions.GoneException):
            api.post_to_connection(ConnectionId=name, Data=b"{}")
        with pytest.raises(api.exceptions.GoneException):
            api.get_connection(ConnectionId=name)
        with pytest.raises(api.exceptions.GoneException):
            api.delete_connection(ConnectionId=name)


def test_a_push_has_128_kb_at_most(gateway: Gateway, runtime: Runtime, api: Any) -> None:
    with gateway.connect() as socket:
        api.post_to_connection(ConnectionId=connection_id(runtime), Data=b"x" * 128 * 1024)
        assert len(socket.recv(timeout=5)) == 128 * 1024
        with pytest.raises(api.exceptions.PayloadTooLargeException):
            api.post_to_connection(ConnectionId=connection_id(runtime), Data=b"x" * (128 * 1024 + 1))


# --- the process -----------------------------------------------------------------------------------------------------
def test_it_says_goodbye_and_ends_quickly(runtime: Runtime) -> None:
    gateway = Gateway(runtime.url)
    assert httpx.get(f"{gateway.api_url}/healthz").json() == {"status": "ok"}
    with gateway.connect() as socket:
        started = time.monotonic()
        assert gateway.stop(signal.SIGTERM) == 0

        assert time.monotonic() - started < 3
        assert end_of(socket) == 1001
    runtime.the("$disconnect")


def test_it_ends_quickly_without_a_runtime_too() -> None:
    runtime = Runtime()
    gateway = Gateway(runtime.url)
    with gateway.connect():
        runtime.stop()
        started = time.monotonic()
        gateway.stop(signal.SIGTERM)
        assert time.monotonic() - started < 5
