"""`make bench-scale`: what the pages of staff and the lists of the API cost in a shop of a million orders.

For each list the dearest of all its pages (`--all` prints every one): its statements, the busiest node of any plan with
the rows that it looked at, the blocks of 8 kB that all of its statements read and the milliseconds that PostgreSQL
worked on them, and the median of three requests in milliseconds, in this process and without a network.
A shop of another size: `make bench-scale ORDERS=200000`.
"""

import argparse
import logging
import os
import statistics
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING, Any

import django
from django.test.utils import setup_test_environment
from rich.console import Console
from rich.table import Table

from vibecode.local.scratch import scratch_cloud

if TYPE_CHECKING:
    from tests.scale.plans import Cost

type Page = tuple[str, str, Callable[[], Any]]  # its list, what of it, and how it is asked for
ROUNDS = 3


def main() -> None:
    """Start the engines, fill a shop, measure, print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scale", description=__doc__)
    parser.add_argument("--orders", type=int, default=1_000_000)
    parser.add_argument("--products", type=int, default=20_000)
    parser.add_argument("--all", action="store_true", help="every page, not the dearest of each list")
    asked = parser.parse_args()
    os.environ.pop("DJANGO_SETTINGS_MODULE", None)
    with scratch_cloud():
        os.environ["LOG_LEVEL"] = "ERROR"
        django.setup()
        from django.core.management import call_command

        call_command("migrate", verbosity=0)
        call_command("seed_shop", orders=asked.orders, products=asked.products)
        run(f"{asked.orders:,} orders, {asked.products:,} products", everything=asked.all)


def run(title: str, *, everything: bool) -> None:
    """Ask for every page, and print what each costs."""
    setup_test_environment()  # the test client's host name
    logging.getLogger("vibecode.metric").disabled = True  # its lines come whatever the level
    table = Table(title=f"{title}; medians of {ROUNDS}")
    for column in ("list", "pages", "dearest", "statements", "busiest node", "rows", "blocks", "SQL, ms", "page, ms"):
        table.add_column(column, justify="left" if column in {"list", "dearest", "busiest node"} else "right")
    measured: dict[str, list[tuple[str, Cost, float]]] = {}
    for name, query, ask in _pages():
        measured.setdefault(name, []).append((query, *_measure(ask)))
    for name, pages in measured.items():
        shown = pages if everything else [max(pages, key=lambda page: page[1].at_work)]
        for query, cost, milliseconds in shown:
            worst = cost.worst
            numbers = (f"{worst.looked_at:,}", f"{cost.blocks:,}", f"{cost.at_work:.0f}", f"{milliseconds:.0f}")
            table.add_row(name, str(len(pages)), query, str(len(cost.statements)), worst.node, *numbers)
    Console(width=180).print(table)


def _measure(ask: Callable[[], Any]) -> "tuple[Cost, float]":
    from tests.scale.plans import cost_of

    cost = cost_of(ask)
    took = []
    for _ in range(ROUNDS):
        started = time.perf_counter()
        ask()
        took.append((time.perf_counter() - started) * 1000)
    return cost, statistics.median(took)


def _pages() -> Iterator[Page]:
    """Those that the tests of tests/scale open."""
    from django.contrib import admin

    from tests.admin.conftest import desk_of
    from tests.in_process import Caller, sign_in
    from tests.scale.pages import api_lists, known_things, queries_of

    boss, known = desk_of("admin"), known_things()
    staff = Caller(sign_in("staff@example.com", "staff")["AccessToken"])
    for span in ("today", "30-days"):
        yield f"home, {span}", "", partial(boss.open, "index", range=span)
    lists = sorted(admin.site._registry.values(), key=lambda desk: desk.opts.label_lower)  # noqa: SLF001 -- there is no other way
    for desk in lists:
        page = f"{desk.opts.label_lower.replace('.', '_')}_changelist"
        for query in queries_of(desk, boss.open(page), known):
            written = " ".join(f"{key}={value}" for key, value in query.items())
            yield str(desk.opts.verbose_name_plural), written, partial(boss.open, page, **query)
    for address in api_lists():
        asked = address.format(**known)
        yield f"API {address.partition('?')[0]}", asked.partition("?")[2], partial(staff.get, asked)


if __name__ == "__main__":
    main()
