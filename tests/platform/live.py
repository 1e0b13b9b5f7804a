"""A websocket for tests: the local gateway in a process of its own, customers on real sockets, the table."""

import os
import signal
import subprocess
import time
import uuid
from collections.abc import Callable
from typing import Any, cast

from django.conf import settings
from websockets.sync.client import ClientConnection, connect

from vibecode import aws
from vibecode.local import child, websocket_gateway
from vibecode.local.folder import REPOSITORY
from vibecode.local.ports import HOST, answers, free_port

HOUR = 3600


def wait_until[T](ask: Callable[[], T], seconds: float = 20) -> T:
    """Ask again and again until the answer is true."""
    deadline = time.monotonic() + seconds
    while not (answer := ask()):
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.05)
    return answer


def rows(user_id: str = "") -> list[dict[str, Any]]:
    """What the table holds, or what it holds of one user."""
    found = aws.client("dynamodb").scan(TableName=settings.RESOURCES.connections_table, ConsistentRead=True)["Items"]
    return [dict(row) for row in found if user_id in {"", row["userId"]["S"]}]


def change_row(row: dict[str, Any], **values: float) -> None:
    """Set numbers of a row."""
    changed = row | {name: {"N": str(value)} for name, value in values.items()}
    aws.client("dynamodb").put_item(TableName=settings.RESOURCES.connections_table, Item=changed)


def forget_clients() -> None:
    """Let the next call read the settings' addresses again."""
    cast("Any", aws.client).cache_clear()


def somebody() -> str:
    """The sub of a person whom nobody has seen before."""
    return str(uuid.uuid4())


class Gateway:
    """A running local gateway."""

    def __init__(self, runtime_url: str, *options: str) -> None:
        self.port, self.api_port = free_port(), free_port()
        self.url = f"ws://{HOST}:{self.port}"
        self.api_url = f"http://{HOST}:{self.api_port}"
        self.process = child.start(
            [*websocket_gateway.command(self.port, self.api_port), *options],
            output=subprocess.DEVNULL,
            environment={**os.environ, "LAMBDA_RUNTIME_URL": runtime_url},
            folder=REPOSITORY,
        )
        wait_until(lambda: answers(self.api_port, "/healthz"))

    def connect(self, ticket: str = "", **options: Any) -> ClientConnection:
        """A customer's socket."""
        query = f"/?token={ticket}" if ticket else "/"
        socket: ClientConnection = connect(self.url + query, proxy=None, compression=None, **options)
        return socket

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """End it; gives its exit status."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        return self.process.wait(timeout=10)
