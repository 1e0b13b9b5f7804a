"""What is asked of a stage in a month, and what one order costs it, as it was measured. Called by bill.py."""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from datetime import date
from decimal import Decimal
from functools import cache
from pathlib import Path

TRACED = Path(__file__).with_name("one_order.toml")
# From this much memory on a function has a whole processor; with less its share of one.
# https://docs.aws.amazon.com/lambda/latest/dg/configuration-memory.html
WHOLE_PROCESSOR = 1769  # MB


def _asked(default: int, what: str) -> int:
    return field(default=default, metadata={"help": what})


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """A month of a stage. Everything beside the orders has a modest default."""

    orders: int = _asked(0, "orders that are placed, paid and completed")
    requests: int = _asked(0, "requests to the API and the desk, those that place orders among them")
    customers: int = _asked(0, "people who sign in at least once")
    websocket_hours: int = _asked(0, "hours that browsers are connected, all together")
    storage: int = _asked(1, "GB in the database")
    pictures: int = _asked(0, "pictures that are uploaded")
    pictures_storage: int = _asked(1, "GB in the buckets")
    delivered: int = _asked(1, "GB that CloudFront delivers")
    delivered_requests: int = _asked(0, "requests for static files and pictures")
    awake_hours: int = _asked(160, "hours in which a database that may sleep is awake")
    batch_hours: int = _asked(0, "hours of a task of the batch service beyond what always runs")
    releases: int = _asked(4, "deployments")

    def __post_init__(self) -> None:
        """Refuse what cannot be."""
        for each in fields(self):
            if getattr(self, each.name) < 0:
                raise ValueError(f"{each.name} must be 0 or more.")
        if self.requests < self.orders:
            raise ValueError(f"requests must be at least as many as orders, which are requests: {self.orders}.")


# A month that the stage is made for, where nobody says another: what config.py's choices are read off.
EXPECTED: Mapping[str, Usage] = {
    "dev": Usage(orders=100, requests=20_000, customers=20, websocket_hours=50, pictures=50),
    "staging": Usage(orders=2_000, requests=100_000, customers=50, websocket_hours=100, storage=5, pictures=100),
    "production": Usage(
        orders=10_000,
        requests=500_000,
        customers=5_000,
        websocket_hours=5_000,
        storage=20,
        pictures=1_000,
        pictures_storage=20,
        delivered=50,
        delivered_requests=1_000_000,
    ),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """What one invocation, or all of them together that one thing asks for, takes: processor and waiting apart."""

    calls: Decimal
    cpu_ms: Decimal
    wait_ms: Decimal

    def gb_seconds(self, memory: int) -> Decimal:
        """What Lambda bills: the processor's part is longer with a smaller share of one, waiting is not."""
        slower = max(Decimal(1), Decimal(WHOLE_PROCESSOR) / memory)
        return (self.cpu_ms * slower + self.wait_ms) / 1000 * memory / 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Calls:
    """Calls of one AWS service, and the bytes both ways."""

    calls: Decimal
    bytes: Decimal


@dataclass(frozen=True, slots=True, kw_only=True)
class Traced:
    """One order from its request to its end, one read, and one run of a schedule; see benchmarks/one_order.py."""

    measured: date
    command: str
    machine: str
    orders: int
    web: Run
    worker: Run
    statements: Decimal
    database_ms: Decimal
    transitions: Decimal
    facts: Decimal
    messages: Decimal
    announcements: Decimal
    letters: Decimal
    pushes: Decimal
    table_reads: Decimal
    table_writes: Decimal
    log_bytes: Decimal
    calls: Mapping[str, Calls]
    read: Run
    read_statements: Decimal
    read_log_bytes: Decimal
    tick: Run


@cache
def traced() -> Traced:
    """As the repository has it."""
    return read_traced(TRACED.read_text())


def read_traced(text: str) -> Traced:
    """From the text of the file that the benchmark writes."""
    table = tomllib.loads(text, parse_float=Decimal)
    order, read = table["order"], table["read"]
    calls = {service: Calls(**values) for service, values in order.pop("calls").items()}
    web, worker = Run(**order.pop("web")), Run(**order.pop("worker"))
    return Traced(
        measured=table["measured"],
        command=table["command"],
        machine=table["machine"],
        orders=table["orders"],
        calls=calls,
        read=Run(**read["web"]),
        read_statements=read["statements"],
        read_log_bytes=read["log_bytes"],
        tick=Run(**table["tick"]),
        web=web,
        worker=worker,
        **order,
    )
