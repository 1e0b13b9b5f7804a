"""The local websocket API: what API Gateway does between a browser and our three routes. Run by the supervisor.

`python -m vibecode.local.websocket_gateway --port PORT --api-port PORT`, with LAMBDA_RUNTIME_URL in the environment.
Customers connect to the first port; the second answers `@connections` for boto3's client, and /healthz. Both sides
stand in this one long file, as they are one service.
https://docs.aws.amazon.com/apigateway/latest/developerguide/apigateway-websocket-api.html
"""

import argparse
import asyncio
import base64
import contextlib
import json
import logging
import os
import signal
import sys
import threading
import time
import uuid
from collections.abc import Coroutine
from datetime import UTC, datetime
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import httpx
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response

from vibecode.local.names import REGION
from vibecode.local.ports import HOST
from vibecode.local.trail import Trail
from vibecode.resources import LOCAL_ACCOUNT, Resources

IDLE_SECONDS = 10 * 60
MOST_SECONDS = 2 * 3600
LARGEST_MESSAGE = 128 * 1024
LARGEST_FRAME = 32 * 1024
INTEGRATION_SECONDS = 29
LAST_SECONDS = 3  # for the $disconnects when we are told to end
STAGE = os.environ.get("STAGE") or "local"

type Event = dict[str, Any]


def command(port: int, api_port: int) -> list[str]:
    """The command line that runs it."""
    module = [sys.executable, "-m", "vibecode.local.websocket_gateway"]
    return [*module, "--port", str(port), "--api-port", str(api_port)]


class Open:
    """One connection: its socket, and what API Gateway tells of it in every event."""

    def __init__(self, socket: ServerConnection) -> None:
        assert socket.request is not None  # noqa: S101 -- for the type checker: the handshake was read
        self.socket = socket
        self.id = identify(socket)
        self.opened_at = self.active_at = time.time()
        self.headers = socket.request.headers
        self.address = str(socket.remote_address[0])

    def event(self, route: str, kind: str, told: Event | None = None, **more: Any) -> Event:
        """The event of one route; ``told`` goes into its context, the rest beside it."""
        now = datetime.now(UTC)
        context = {
            "routeKey": route,
            "eventType": kind,
            "extendedRequestId": uuid.uuid4().hex[:16],
            "requestId": str(uuid.uuid4()),
            "requestTime": now.strftime("%d/%b/%Y:%H:%M:%S +0000"),
            "requestTimeEpoch": int(now.timestamp() * 1000),
            "messageDirection": "IN",
            "stage": STAGE,
            "connectedAt": int(self.opened_at * 1000),
            "connectionId": self.id,
            "identity": {"sourceIp": self.address, "userAgent": self.headers.get("User-Agent")},
            "domainName": self.headers.get("Host", ""),
            "apiId": "local",
        }
        return {"requestContext": context | (told or {}), **more, "isBase64Encoded": False}

    def described(self) -> dict[str, Any]:
        """The answer of GET @connections/{id}."""
        return {
            "connectedAt": datetime.fromtimestamp(self.opened_at, UTC).isoformat(),
            "lastActiveAt": datetime.fromtimestamp(self.active_at, UTC).isoformat(),
            "identity": {"sourceIp": self.address, "userAgent": self.headers.get("User-Agent", "")},
        }


def identify(socket: ServerConnection) -> str:
    """An id that looks like API Gateway's: 15 characters and an equals sign."""
    return base64.urlsafe_b64encode(socket.id.bytes[:11]).decode()


class Gateway:
    """The open connections and the three routes. Everything in here runs on one event loop."""

    def __init__(self, runtime_url: str, *, idle: float = IDLE_SECONDS, most: float = MOST_SECONDS) -> None:
        worker = Resources(stage=STAGE, region=REGION, account=LOCAL_ACCOUNT).worker
        self.invocations = f"{runtime_url.rstrip('/')}/2015-03-31/functions/{worker}/invocations"
        self.idle, self.most = idle, most
        self.open: dict[str, Open] = {}
        self.http = httpx.AsyncClient(timeout=INTEGRATION_SECONDS, trust_env=False)

    async def invoke(self, event: Event) -> int:
        """The status that our function answers an event with; 503 when it is not there, 502 when it fails."""
        try:
            answer = await self.http.post(self.invocations, json=event)
            result = answer.json()
        except (httpx.HTTPError, ValueError):
            return HTTPStatus.SERVICE_UNAVAILABLE
        status = result.get("statusCode") if isinstance(result, dict) else None
        failed = answer.status_code != HTTPStatus.OK or "X-Amz-Function-Error" in answer.headers
        return status if isinstance(status, int) and not failed else HTTPStatus.BAD_GATEWAY

    async def admit(self, socket: ServerConnection, request: Request) -> Response | None:
        """$connect, before the handshake is answered: the function's 2xx lets in, all else is the client's answer."""
        event = Open(socket).event("$connect", "CONNECT", **_handshake(request))
        status = await self.invoke(event)
        if 200 <= status < 300:
            return None
        return socket.respond(HTTPStatus(status), json.dumps({"message": HTTPStatus(status).phrase}) + "\n")

    async def converse(self, socket: ServerConnection) -> None:
        """From the handshake to the end, whoever ends it; then $disconnect."""
        connection = self.open[identify(socket)] = Open(socket)
        try:
            while (seconds := self.seconds_left(connection)) > 0:
                with contextlib.suppress(TimeoutError):  # a push may have lengthened its life meanwhile
                    message = await asyncio.wait_for(socket.recv(), seconds)
                    connection.active_at = time.time()
                    await self.take(connection, message)
            await socket.close(1001, "Going away")
        except ConnectionClosed:
            pass
        finally:
            del self.open[connection.id]
            why = {"disconnectStatusCode": socket.close_code or 1006, "disconnectReason": socket.close_reason or ""}
            headers = {"Host": [connection.headers.get("Host", "")], "X-Forwarded-For": [connection.address]}
            await self.invoke(connection.event("$disconnect", "DISCONNECT", why, **_both("headers", headers)))

    def seconds_left(self, connection: Open) -> float:
        """Until API Gateway would end it: too long silent, or too long open."""
        return min(connection.active_at + self.idle, connection.opened_at + self.most) - time.time()

    async def take(self, connection: Open, message: str | bytes) -> None:
        """$default. The function's answer goes nowhere (no route response is configured); a failure is told."""
        if isinstance(message, bytes):
            await connection.socket.close(1003, "Unsupported data")  # as API Gateway does
            return
        event = connection.event("$default", "MESSAGE", {"messageId": uuid.uuid4().hex[:16]}, body=message)
        status = await self.invoke(event)
        if status >= 500:
            told = {"message": "Internal server error", "connectionId": connection.id}
            await connection.socket.send(json.dumps(told | {"requestId": event["requestContext"]["requestId"]}))

    # --- @connections ------------------------------------------------------------------------------------------------
    async def post(self, connection_id: str, data: bytes) -> bool:
        """Send; False when there is no such connection."""
        connection = self.open.get(connection_id)
        if connection is None:
            return False
        try:
            await connection.socket.send(data, text=True)
        except ConnectionClosed:
            return False
        connection.active_at = time.time()
        return True

    async def delete(self, connection_id: str) -> bool:
        """Close; False when there is no such connection."""
        connection = self.open.get(connection_id)
        if connection is None:
            return False
        await connection.socket.close(1000)
        return True


def _handshake(request: Request) -> Event:
    headers: dict[str, list[str]] = {}
    for name, value in request.headers.raw_items():
        headers.setdefault(name, []).append(value)
    query = parse_qs(urlsplit(request.path).query, keep_blank_values=True)
    # API Gateway leaves the query out where there is none.
    return _both("headers", headers) | (_both("queryStringParameters", query) if query else {})


def _both(name: str, values: dict[str, list[str]]) -> Event:
    """What may come more than once, as API Gateway tells it: the last of each, and all."""
    last = {key: several[-1] for key, several in values.items()}
    return {name: last, f"multiValue{name[0].upper()}{name[1:]}": values}


# --- the HTTP side ---------------------------------------------------------------------------------------------------
class Api(ThreadingHTTPServer):
    """`@connections` for boto3's client; its threads ask the gateway on its loop."""

    daemon_threads = True

    def __init__(self, port: int, gateway: Gateway, loop: asyncio.AbstractEventLoop) -> None:
        self.gateway, self.loop, self.trail = gateway, loop, Trail.wanted()
        super().__init__((HOST, port), ApiRequest)

    def ask[T](self, question: Coroutine[Any, Any, T]) -> T:
        """The gateway's answer."""
        return asyncio.run_coroutine_threadsafe(question, self.loop).result(timeout=INTEGRATION_SECONDS)


class ApiRequest(BaseHTTPRequestHandler):
    """`/@connections/{id}`, also below a stage's name, and /healthz."""

    server: Api
    protocol_version = "HTTP/1.1"
    wbufsize = -1  # head and body leave together

    def do_GET(self) -> None:
        """What is known of a connection."""
        if self.path == "/healthz":
            self._answer(HTTPStatus.OK, {"status": "ok"})
        elif connection := self.server.gateway.open.get(self._connection_id()):
            self._answer(HTTPStatus.OK, connection.described())
        else:
            self._refuse(HTTPStatus.GONE, "GoneException")

    def do_POST(self) -> None:
        """Send what the body holds."""
        length = self.headers.get("Content-Length", "0")
        if not length.isdecimal() or int(length) > LARGEST_MESSAGE:
            self.close_connection = True
            self._refuse(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "PayloadTooLargeException")
            return
        data = self.rfile.read(int(length))
        if self.server.ask(self.server.gateway.post(self._connection_id(), data)):
            self._answer(HTTPStatus.OK)
        else:
            self._refuse(HTTPStatus.GONE, "GoneException")

    def do_DELETE(self) -> None:
        """Close the connection."""
        if self.server.ask(self.server.gateway.delete(self._connection_id())):
            self._answer(HTTPStatus.NO_CONTENT)
        else:
            self._refuse(HTTPStatus.GONE, "GoneException")

    def log_request(self, *_: object) -> None:
        """Say nothing: the application logs its own."""

    def _connection_id(self) -> str:
        return unquote(self.path.rpartition("/@connections/")[2])

    def _refuse(self, status: HTTPStatus, kind: str) -> None:
        self._answer(status, {"message": status.phrase}, kind)

    def _answer(self, status: HTTPStatus, body: Any = None, error: str = "") -> None:
        data = b"" if body is None else json.dumps(body).encode()
        if trail := self.server.trail:
            headers = {name.lower(): value for name, value in self.headers.items()}
            trail.tell(self.command, self.path, headers, bytes, status)
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        if error:
            self.send_header("x-amzn-ErrorType", error)
        if status != HTTPStatus.NO_CONTENT:
            self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


async def run(port: int, api_port: int, gateway: Gateway) -> None:
    """Serve both ports until SIGTERM or SIGINT; then say goodbye to everybody, briefly."""
    loop = asyncio.get_running_loop()
    ended = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, ended.set)
    server = await serve(
        gateway.converse,
        HOST,
        port,
        process_request=gateway.admit,
        open_timeout=INTEGRATION_SECONDS + 1,
        ping_interval=None,
        close_timeout=1,
        max_size=(LARGEST_MESSAGE, LARGEST_FRAME),
        compression=None,
    )
    api = Api(api_port, gateway, loop)
    threading.Thread(target=api.serve_forever, daemon=True).start()
    await ended.wait()
    server.close()
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(server.wait_closed(), LAST_SECONDS)


def main() -> None:
    """Read the command line and serve."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--api-port", type=int, required=True)
    parser.add_argument("--idle-seconds", type=float, default=IDLE_SECONDS)
    parser.add_argument("--most-seconds", type=float, default=MOST_SECONDS)
    arguments = parser.parse_args()
    runtime = os.environ.get("LAMBDA_RUNTIME_URL", "")
    if not runtime:
        sys.exit("the websocket gateway needs LAMBDA_RUNTIME_URL, the address of the function behind its routes")
    logging.getLogger("websockets").setLevel(logging.CRITICAL)  # who knocks and runs away is worth no trace
    gateway = Gateway(runtime, idle=arguments.idle_seconds, most=arguments.most_seconds)
    try:
        asyncio.run(run(arguments.port, arguments.api_port, gateway))
    except OSError as error:
        sys.exit(f"the websocket gateway cannot listen on {arguments.port} and {arguments.api_port}: {error}")


if __name__ == "__main__":
    main()
