"""`make bench`: what a request costs in CPU and statements, and how fast facts leave, side by side.

Nothing here passes or fails.
"""

import logging
import os
import statistics
import time
from collections.abc import Callable
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import django
from django.test.utils import setup_test_environment
from rich.console import Console
from rich.table import Table

from benchmarks import relay
from vibecode.local.scratch import scratch_cloud

if TYPE_CHECKING:
    from tests.in_process import Caller

ROUNDS = 15


def main() -> None:
    """Start the engines, fill a shop, measure, print."""
    os.environ.pop("DJANGO_SETTINGS_MODULE", None)
    with scratch_cloud():
        os.environ["LOG_LEVEL"] = "ERROR"
        django.setup()
        setup_test_environment()  # the test client's host name
        logging.getLogger("vibecode.metric").disabled = True  # its lines come whatever the level
        from django.core.management import call_command

        call_command("migrate", verbosity=0)
        run()
        relay.run()


def run() -> None:
    """Measure every pair."""
    from tests.in_process import Caller, make_product, order_body, sign_in

    shopper = Caller(sign_in("shopper@example.com")["AccessToken"])
    skus = [make_product(on_hand=10**6, price="1.25").sku for _ in range(500)]
    table = Table(title=f"medians of {ROUNDS} rounds, A and B in turn")
    for column in ("A", "B", "CPU of A, ms", "CPU of B, ms", "A / B", "SQL of A", "SQL of B"):
        table.add_column(column, justify="left" if len(column) == 1 else "right")

    def order(lines: int) -> Callable[[], Any]:
        body = order_body(*((sku, 1) for sku in skus[:lines]))
        return lambda: shopper.post("/orders", body, Idempotency_Key=str(time.time_ns()))

    def replay() -> Any:
        return shopper.post("/orders", order_body((skus[0], 1)), Idempotency_Key="replay")

    compare(table, "order of 500 lines", order(500), "order of 1 line", order(1))
    compare(table, "replayed order", replay, "order of 1 line", order(1))

    fill(20_000)
    last = last_page(shopper)
    compare(table, "last page of 20,000", lambda: shopper.get(last), "first page", lambda: shopper.get("/products"))
    compare(
        table,
        "list of 200",
        lambda: shopper.get("/products?pageSize=200"),
        "list of 1",
        lambda: shopper.get("/products?pageSize=1"),
    )
    Console().print(table)


def compare(table: Table, one: str, a: Callable[[], Any], other: str, b: Callable[[], Any]) -> None:
    """One row: CPU of this process and statements of either side."""
    assert a().status_code < 300 and b().status_code < 300, "what is refused measures nothing"  # noqa: S101, PT018 -- a benchmark, not a test
    rounds = [(cpu(a), cpu(b)) for _ in range(ROUNDS)]
    ratio = statistics.median(x / y for x, y in rounds)
    sides = [f"{statistics.median(side) * 1000:.1f}" for side in zip(*rounds, strict=True)]
    table.add_row(one, other, *sides, f"{ratio:.2f}", str(statements(a)), str(statements(b)))


def cpu(action: Callable[[], Any]) -> float:
    """Seconds of CPU that this process spends."""
    started = time.process_time()
    action()
    return time.process_time() - started


def statements(action: Callable[[], Any]) -> int:
    """SQL statements, BEGIN and COMMIT apart."""
    from django.db import connection
    from django.test.utils import CaptureQueriesContext

    with CaptureQueriesContext(connection) as captured:
        action()
    return sum(not query["sql"].startswith(("BEGIN", "COMMIT")) for query in captured)


def fill(count: int) -> None:
    """So many products, for the lists."""
    from catalog.models import Product, Stock

    made = Product.objects.bulk_create(
        Product(
            sku=f"FILL-{n}",
            name=f"Filler {n}",
            slug=f"filler-{n}",
            price=Decimal(1),
            currency="GBP",
            status="published",
        )
        for n in range(count)
    )
    Stock.objects.bulk_create(Stock(product=product) for product in made)


def last_page(caller: "Caller") -> str:
    """The address of the last page, by walking there."""
    address = "/products?pageSize=200"
    while following := caller.get(address).json()["next"]:
        address = following.partition("/api/v1")[2]
    return address.replace("pageSize=200", "pageSize=50")


if __name__ == "__main__":
    main()
