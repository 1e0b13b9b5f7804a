"""The local Lambda runtime: serves vibecode.lambda_entry to the local AWS, one event an invocation. Run by `make run`.

`python -m vibecode.local.lambda_runtime --port PORT`; when the port accepts connections it is ready. It speaks Lambda's
Invoke: POST /2015-03-31/functions/<name>/invocations. Each of its threads is a sandbox: it takes one event at a time
and keeps its database connection between events.
"""

import argparse
import json
import os
import signal
import sys
import time
import traceback
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any
from urllib.parse import unquote

from vibecode.local.ports import HOST
from vibecode.resources import FUNCTION_TIMEOUT, QUEUES, ROUTES, STEPS

FUNCTIONS = "/2015-03-31/functions/"
INVOCATIONS = "/invocations"
SANDBOXES = 32  # as many may wait for the payment provider at once; each holds one connection to the database

type Answer = tuple[bytes, dict[str, str]]


def command(port: int, sandboxes: int) -> list[str]:
    """The command line that runs it."""
    module = [sys.executable, "-m", "vibecode.local.lambda_runtime"]
    return [*module, "--port", str(port), "--sandboxes", str(sandboxes)]


class Context:
    """What AWS tells the handler about one invocation."""

    memory_limit_in_mb = "1024"
    function_version = "$LATEST"

    def __init__(self, function: str) -> None:
        self.function_name = function.rpartition(":")[2]
        self.invoked_function_arn = function
        self.aws_request_id = str(uuid.uuid4())
        self._deadline = time.monotonic() + FUNCTION_TIMEOUT

    def get_remaining_time_in_millis(self) -> int:
        """Milliseconds until AWS would stop it."""
        return max(0, int((self._deadline - time.monotonic()) * 1000))


def invoke(handler: Callable[[Any, Any], Any], function: str, body: bytes) -> Answer:
    """Run one event as AWS's own runtime does; an error becomes a payload with its class's name."""
    try:
        answer = handler(json.loads(body or b"{}"), Context(function))
        return json.dumps(answer).encode(), {}
    except Exception as error:  # noqa: BLE001 -- the caller is told of every error
        trace = traceback.format_exception(error)
        told = {"errorType": type(error).__name__, "errorMessage": str(error), "stackTrace": trace}
        return json.dumps(told).encode(), {"X-Amz-Function-Error": "Unhandled"}


class Server(HTTPServer):
    """Takes connections one by one and hands each to a free sandbox."""

    request_queue_size = 512
    daemon_threads = True

    def __init__(self, port: int, handler: Callable[[Any, Any], Any], sandboxes: int) -> None:
        self.handler = handler
        self._sandboxes = ThreadPoolExecutor(sandboxes, "sandbox")
        super().__init__((HOST, port), Request)

    def process_request(self, request: Any, client_address: Any) -> None:
        """In a sandbox: an idle one, or a new one while there are fewer than allowed."""
        self._sandboxes.submit(self._process, request, client_address)

    def answer(self, function: str, body: bytes) -> Answer:
        """Run one event."""
        return invoke(self.handler, function, body)

    def _process(self, request: Any, client_address: Any) -> None:
        try:
            self.finish_request(request, client_address)
        except OSError:
            return  # the caller went away; its work is done
        finally:
            self.shutdown_request(request)


class Request(BaseHTTPRequestHandler):
    """One call of the local AWS."""

    server: Server

    def do_GET(self) -> None:
        """Say that we are here."""
        self._answer(200 if self.path == "/healthz" else 404, b"")

    def do_POST(self) -> None:
        """Invoke the function."""
        if not (self.path.startswith(FUNCTIONS) and self.path.endswith(INVOCATIONS)):
            self._answer(404, b"")
            return
        length = self.headers.get("Content-Length", "0")
        if not length.isdecimal():
            self._answer(400, b"")
            return
        body = self.rfile.read(int(length))
        function = self.path.removeprefix(FUNCTIONS).removesuffix(INVOCATIONS)
        answer, headers = self.server.answer(unquote(function), body)
        self._answer(200, answer, headers)

    def log_message(self, *_: object) -> None:
        """Say nothing: each invocation has its own line."""

    def _answer(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in {"Content-Type": "application/json", "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)


def _preload() -> None:
    """Load what the first order would: else it is complete before its customer's browser hears that it is paid."""
    from django.utils.module_loading import import_string

    from vibecode import aws

    for path in (*(queue.handler for queue in QUEUES), *STEPS, *ROUTES.values()):
        import_string(path)
    aws.client("dynamodb")
    aws.client("stepfunctions")
    aws.client("sns")


def main() -> None:
    """Load the application, then serve until SIGTERM, which cuts off what runs: all of it may happen again."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--sandboxes", type=int, default=SANDBOXES)
    arguments = parser.parse_args()
    from vibecode.lambda_entry import handler  # sets Django up, before anybody can reach us

    _preload()
    try:
        server = Server(arguments.port, handler, arguments.sandboxes)
    except OSError as error:
        sys.exit(f"the Lambda runtime cannot listen on port {arguments.port}: {error.strerror}")
    for name in (signal.SIGTERM, signal.SIGINT):
        signal.signal(name, lambda *_: os._exit(0))
    server.serve_forever()


if __name__ == "__main__":
    main()
