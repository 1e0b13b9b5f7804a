"""What one order costs, traced on this machine: `python -m benchmarks.one_order --write` for infrastructure/costs.

Orders of one line, paid at once, one after the other, each followed to its end by a browser that is connected: the web
request and every invocation of the worker run in this process, where statements, calls of AWS and time are counted. A
read and the schedules are measured beside. Counts hold anywhere; milliseconds are those of this machine. One long
file, as nothing else runs it: what is followed, and what is written of it.
"""

import argparse
import io
import logging
import os
import platform
import re
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import django
from django.conf import settings
from websockets.sync.client import connect

from infrastructure.costs.usage import TRACED
from vibecode.local.folder import LocalFolder
from vibecode.local.lambda_runtime import Server
from vibecode.local.parts import Parts
from vibecode.local.scratch import scratch_cloud
from vibecode.local.shop import payments, websocket

if TYPE_CHECKING:
    from tests.in_process import Caller

COMMAND = "python -m benchmarks.one_order"
HEADERS = 500  # bytes of the headers of a call that goes past botocore, both ways
# Seconds. The relay is woken a second time when a lease has run out and two more have passed: what has been quiet for
# longer is over.
LEASE, QUIET = 4, 8.0
SIGNED_FOR = re.compile(r"Credential=[^,]*/([a-z0-9-]+)/aws4_request")
TABLE_READS = {"Query", "GetItem", "Scan"}
COUNTS = ("statements", "messages", "announcements", "letters", "pushes", "table_reads", "table_writes")
HEAD = f"""# What one order costs: written by `{COMMAND} --write`, not by hand.
# Milliseconds are the quickest order's on the machine named here, with PostgreSQL and the local AWS beside; all else
# are counts, an order on average.

"""


@dataclass
class Spent:
    """Time of one side."""

    calls: int = 0
    cpu: float = 0.0
    wall: float = 0.0


@dataclass
class Trace:
    """What happens while it is on, in this process."""

    spent: dict[str, Spent] = field(default_factory=dict)
    counts: Counter[str] = field(default_factory=Counter)
    calls: Counter[str] = field(default_factory=Counter)  # by service
    bytes: Counter[str] = field(default_factory=Counter)
    database_seconds: float = 0.0
    last: float = 0.0  # when something happened
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @contextmanager
    def of(self, side: str) -> Iterator[None]:
        """Count what this thread does as that of a side."""
        wall, cpu = time.perf_counter(), time.thread_time()
        _now.trace = self
        try:
            yield
        finally:
            _now.trace = None
            with self._lock:
                spent = self.spent.setdefault(side, Spent())
                spent.calls += 1
                spent.cpu += time.thread_time() - cpu
                spent.wall += time.perf_counter() - wall
                self.last = time.monotonic()

    def settle(self) -> None:
        """Wait until nothing has happened for a while."""
        while time.monotonic() - self.last < QUIET:
            time.sleep(0.1)

    def call(self, service: str, operation: str, size: int) -> None:
        """One call of AWS."""
        with self._lock:
            self.calls[service] += 1
            self.bytes[service] += size
            if service == "dynamodb":
                self.counts["table_reads" if operation in TABLE_READS else "table_writes"] += 1
            self.counts["announcements"] += service == "sns"
            self.counts["letters"] += service in {"ses", "email"}
            self.counts["pushes"] += service == "execute-api"

    def statement(self, seconds: float) -> None:
        """One statement."""
        with self._lock:
            self.counts["statements"] += 1
            self.database_seconds += seconds


class _Now(threading.local):
    """The trace of this thread, while it does what is traced."""

    trace: Trace | None = None


_now = _Now()


def main() -> None:
    """Trace, and write the file or print it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--orders", type=int, default=10)
    parser.add_argument("--write", action="store_true", help="keep it for the estimator")
    arguments = parser.parse_args()
    os.environ.pop("DJANGO_SETTINGS_MODULE", None)
    with tempfile.TemporaryDirectory(prefix="vibecode-order-") as parent, scratch_cloud():
        folder = LocalFolder(Path(parent) / "local")
        folder.make()
        with Parts([payments(folder.payments), websocket(folder)], folder, os.environ) as parts:
            parts.start("payments", "websocket")
            os.environ.update(parts.environment, OUTBOX_LEASE_SECONDS=str(LEASE))
            django.setup()
            settings.ALLOWED_HOSTS = [*settings.ALLOWED_HOSTS, "testserver"]  # what the test client calls us
            text = HEAD + as_toml(measure(arguments.orders))
    if arguments.write:
        TRACED.write_text(text)
    print(text)  # noqa: T201 -- the output of a command


def measure(orders: int) -> dict[str, Any]:
    """The table of the file, in plain numbers."""
    from django.core.management import call_command
    from django.utils.module_loading import import_string

    from tests.in_process import Caller, make_product, order_body, sign_in
    from vibecode.models import OutboxEvent
    from vibecode.resources import SCHEDULES

    call_command("migrate", verbosity=0)
    log = _listen()
    shopper = Caller(sign_in("shopper@example.com")["AccessToken"])
    skus = [make_product(on_hand=1000, price="12.50").sku for _ in range(50)]

    def order(trace: Trace) -> str:
        with trace.of("web"):
            answer = shopper.post(
                "/orders", order_body((skus[0], 1), paymentMethod="demo_ok"), Idempotency_Key=str(time.time_ns())
            )
        assert answer.status_code == 201, answer.content  # noqa: S101 -- a benchmark, not a test
        return str(answer.json()["orderId"])

    with _worker() as worker, _browser(shopper):
        for _ in range(3):
            order(worker.trace)  # what the first ones make (clients, connections, caches) counts for none
        worker.trace.settle()
        traces, started, numbers = [], log.tell(), []
        for _ in range(orders):
            traces.append(worker.begin())
            numbers.append(order(traces[-1]))
            traces[-1].settle()
        order_log = log.tell() - started
        facts = OutboxEvent.objects.filter(subject__in=numbers).count()
        transitions = sum(map(_transitions, numbers))

        started, reads = log.tell(), [worker.begin() for _ in range(50)]
        for trace in reads:
            with trace.of("web"):
                shopper.get("/products")
        read_log = (log.tell() - started) / len(reads)
        often = [import_string(schedule.handler) for schedule in SCHEDULES if schedule.minutes < 60]
        ticks = [worker.begin() for _ in range(10)]
        for trace in ticks:
            for run in often:
                with trace.of("worker"):
                    run()

    def every(values: Iterable[float]) -> float:
        return round(sum(values) / orders, 3)

    return {
        "measured": datetime.now(UTC).date(),
        "command": f"{COMMAND} --orders {orders} --write",
        "machine": f"{platform.machine()}, Python {platform.python_version()}, {os.cpu_count()} processors",
        "orders": orders,
        "order": {
            **{name: every(trace.counts[name] for trace in traces) for name in COUNTS},
            "database_ms": round(min(trace.database_seconds for trace in traces) * 1000, 2),
            "facts": every([facts]),
            "transitions": every([transitions]),
            "log_bytes": every([order_log]),
            "web": _quickest(traces, "web"),
            "worker": _quickest(traces, "worker"),
            "calls": {
                service: {
                    "calls": every(trace.calls[service] for trace in traces),
                    "bytes": every(trace.bytes[service] for trace in traces),
                }
                for service in sorted({service for trace in traces for service in trace.calls})
            },
        },
        "read": {
            "statements": sum(trace.counts["statements"] for trace in reads) / len(reads),
            "log_bytes": round(read_log, 1),
            "web": _quickest(reads[1:], "web"),  # the first one makes what the others have
        },
        "tick": _quickest(ticks, "worker", times=len(often)),
    }


def _quickest(traces: Sequence[Trace], side: str, *, times: int = 1) -> dict[str, float]:
    """The quickest of them: in all others something else on this machine had its part."""
    spent = min((trace.spent[side] for trace in traces), key=lambda spent: spent.wall)
    figures = {
        "calls": float(spent.calls),
        "cpu_ms": spent.cpu * 1000,
        "wait_ms": max(spent.wall - spent.cpu, 0) * 1000,
    }
    return {name: round(value / times, 2) for name, value in figures.items()}


def _transitions(number: str) -> int:
    """Every state that an order's execution entered, and its start."""
    from vibecode import aws

    arn = settings.RESOURCES.execution_arn(number)
    history = aws.client("stepfunctions").get_execution_history(executionArn=arn, maxResults=1000)["events"]
    assert history[-1]["type"] == "ExecutionSucceeded", history[-1]  # noqa: S101 -- as above
    return 1 + sum(event["type"].endswith("StateEntered") for event in history)


# --- where it is counted ----------------------------------------------------------------------------------------------
class _Worker(Server):
    """The worker function, in threads of this process: what it does counts for the trace at hand."""

    def __init__(self, port: int) -> None:
        from vibecode.lambda_entry import handler

        self.trace = Trace()

        def traced(event: Any, context: Any) -> Any:
            if event.get("detail-type") == "Scheduled Event":
                return None  # the local clock's, which would never let it be quiet; schedules are measured apart
            trace = self.trace
            trace.counts["messages"] += sum(
                record.get("eventSource") == "aws:sqs" for record in event.get("Records", ())
            )
            with trace.of("worker"):
                return handler(event, context)

        super().__init__(port, traced, sandboxes=8)

    def begin(self) -> Trace:
        """A new trace."""
        self.trace = Trace()
        return self.trace


@contextmanager
def _worker() -> Iterator[_Worker]:
    """Start it where the local AWS looks for it, with every statement and every call of AWS counted."""
    from botocore.httpsession import URLLib3Session
    from django.db import connection
    from django.db.backends.signals import connection_created

    from vibecode import doorbell

    def counted(execute: Callable[..., Any], *arguments: Any) -> Any:
        started = time.perf_counter()
        try:
            return execute(*arguments)
        finally:
            if _now.trace:
                _now.trace.statement(time.perf_counter() - started)

    def count(connection: Any, **_: object) -> None:
        if counted not in connection.execute_wrappers:
            connection.execute_wrappers.append(counted)

    send, exchange = URLLib3Session.send, doorbell._exchange  # noqa: SLF001 -- the one call of AWS beside botocore

    def sent(session: Any, request: Any) -> Any:
        answer = send(session, request)
        if _now.trace:
            signed = SIGNED_FOR.search(_text(request.headers.get("Authorization", "")))
            operation = _text(request.headers.get("X-Amz-Target", "")).rpartition(".")[2]
            size = _size(request.headers, request.body) + _size(answer.headers, answer.content)
            _now.trace.call(signed[1] if signed else urlsplit(request.url).netloc, operation, size)
        return answer

    def rung(connection: Any, action: str, body: bytes) -> tuple[int, bytes]:
        status, content = exchange(connection, action, body)
        if _now.trace:
            _now.trace.call("sqs", action, len(body) + len(content) + HEADERS)
        return status, content

    connection_created.connect(count)
    count(connection)
    URLLib3Session.send, doorbell._exchange = sent, rung  # type: ignore[method-assign, assignment]  # noqa: SLF001 -- as above
    server = _Worker(int(urlsplit(os.environ["LAMBDA_RUNTIME_URL"]).port or 0))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        connection_created.disconnect(count)
        URLLib3Session.send, doorbell._exchange = send, exchange  # type: ignore[method-assign]  # noqa: SLF001 -- as above


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


def _size(headers: Mapping[str, Any], body: Any) -> int:
    """Bytes of a message, as HTTP writes it."""
    lines = sum(len(name) + len(_text(value)) + 4 for name, value in headers.items())
    return lines + (len(body) if isinstance(body, bytes | str | bytearray) else 0)


def _listen() -> io.StringIO:
    """Everything that is logged from now on, instead of on the screen."""
    heard = io.StringIO()
    for handler in logging.getLogger().handlers:
        if isinstance(handler, logging.StreamHandler):
            handler.setStream(heard)
    return heard


@contextmanager
def _browser(shopper: "Caller") -> Iterator[None]:
    """A browser of the customer, connected by websocket, that reads whatever it is told."""
    ticket = shopper.post("/me/websocket-tickets").json()["ticket"]
    done = threading.Event()
    with connect(f"{os.environ['WEBSOCKET_URL']}?token={ticket}", open_timeout=10, proxy=None) as socket:

        def read() -> None:
            while not done.is_set():
                with suppress(TimeoutError):
                    socket.recv(timeout=0.2)

        reader = threading.Thread(target=read, daemon=True)
        reader.start()
        yield
        done.set()
        reader.join()


# --- the file ---------------------------------------------------------------------------------------------------------
def as_toml(table: Mapping[str, Any], name: str = "") -> str:
    """A table of texts, numbers, a day and tables; numbers of single orders as decimals."""
    lines = [f"[{name}]"] if name else []
    tables = []
    for key, value in table.items():
        if isinstance(value, Mapping):
            tables.append(as_toml(value, f"{name}.{key}" if name else key))
        else:
            shown = f'"{value}"' if isinstance(value, str) else str(value)
            lines.append(f"{key} = {shown}")
    return "\n".join(["\n".join(lines) + "\n", *tables]) if len(lines) > bool(name) else "\n".join(tables)


if __name__ == "__main__":
    main()
    sys.stdout.flush()
    os._exit(0)  # threads of the worker hold connections to what is stopped
