"""How fast facts leave: one relay, two side by side, and a bare PutEvents loop, each on the same bus in turn.

Relays are processes, as they are in the shop.
"""

import json
import logging
import statistics
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context

import django
from rich.console import Console
from rich.table import Table

ROUNDS = 5
FACTS = 2000
SUBJECTS = 1000


def run() -> None:
    """Measure in turn, print medians and the ratios of each round."""
    with _relays(1) as one, _relays(2) as two:
        ways: dict[str, Callable[[], float]] = {
            "bare put_events, ten at a time": bare,
            "one relay": partial(_relayed, one, 1),
            "two relays side by side": partial(_relayed, two, 2),
        }
        for measure in ways.values():
            measure()  # what the first call makes (clients, connections) counts for none
        rounds = [{name: measure() for name, measure in ways.items()} for _ in range(ROUNDS)]
    table = Table(title=f"facts a second, medians of {ROUNDS} rounds of {FACTS} about {SUBJECTS} subjects")
    for column in ("", "facts a second", "of bare"):
        table.add_column(column, justify="right" if column else "left")
    for name in ways:
        rate = statistics.median(FACTS / measured[name] for measured in rounds)
        ratio = statistics.median(measured[next(iter(ways))] / measured[name] for measured in rounds)
        table.add_row(name, f"{rate:,.0f}", f"{ratio:.2f}")
    Console().print(table)


def bare() -> float:
    """Seconds for as many facts, straight to the bus: no database, no order, nothing kept."""
    from django.conf import settings

    from vibecode import aws

    _bus()
    detail = json.dumps({"eventId": "8f14e45f-ceea-467f-a0e6-7f1f0f8d1a52", "schemaVersion": 1, "orderId": "ORD-1"})
    entry = {
        "EventBusName": settings.RESOURCES.bus,
        "Source": "vibecode.bench",
        "DetailType": "Bench",
        "Detail": detail,
    }
    started = time.perf_counter()
    for _ in range(FACTS // 10):
        aws.client("events").put_events(Entries=[entry] * 10)  # type: ignore[list-item]  # a plain dict is what it takes
    return time.perf_counter() - started


def _relays(count: int) -> ProcessPoolExecutor:
    return ProcessPoolExecutor(count, get_context("spawn"), _set_up)


def _set_up() -> None:
    django.setup()
    logging.getLogger("vibecode.metric").disabled = True


def _pass(_: int) -> int:
    from vibecode.relay import relay

    return relay().sent


def _relayed(relays: ProcessPoolExecutor, count: int) -> float:
    """Seconds that so many relays take together."""
    from django.db import connection

    from vibecode.models import OutboxEvent

    _bus()
    OutboxEvent.objects.all().delete()
    OutboxEvent.objects.bulk_create(
        OutboxEvent(
            source="vibecode.bench",
            detail_type="Bench",
            subject=f"ORD-{n % SUBJECTS}",
            detail={"eventId": "8f14e45f-ceea-467f-a0e6-7f1f0f8d1a52", "schemaVersion": 1, "orderId": "ORD-1"},
        )
        for n in range(FACTS)
    )
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE vibecode_outboxevent")
    started = time.perf_counter()
    sent = sum(relays.map(_pass, range(count)))
    took = time.perf_counter() - started
    assert sent == FACTS, f"{sent} of {FACTS} left"  # noqa: S101 -- a benchmark, not a test
    return took


def _bus() -> None:
    """The bus, made if missing."""
    from django.conf import settings

    from vibecode import aws

    events = aws.client("events")
    if settings.RESOURCES.bus not in {bus["Name"] for bus in events.list_event_buses()["EventBuses"]}:
        events.create_event_bus(Name=settings.RESOURCES.bus)
