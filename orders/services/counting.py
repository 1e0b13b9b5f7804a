"""What orders add up to, kept right by their facts. Called by the consumer of facts, the nightly recount, the rebuild.

How an order is counted, and why twice changes nothing, stands in orders/models/figures.py.
"""

import math
import time
from collections.abc import Callable, Iterable
from datetime import date, timedelta
from itertools import batched
from typing import NamedTuple

from django.db import transaction
from django.db.models import Max
from django.utils import timezone

from orders.models import (
    DailyFigures,
    DailySales,
    Order,
    OrderContribution,
    RefundContribution,
    StatusFigures,
)

AT_ONCE = 500  # orders a transaction: whoever counts one of them waits for it
LATELY = timedelta(days=2)


def count_order(*, number: str) -> None:
    """Bring the figures to what an order is now. Repeats, and facts that come late or in any order, are harmless."""
    _count([Order.objects.values_list("pk", flat=True).get(number=number)])


def recount_lately(*, seconds: float = math.inf) -> tuple[int, int]:
    """Count anew what facts were lost of: orders of the last two days, and those with refunds of these days.

    Looks for what is wrong first, and counts that alone. Returns how many were counted, and how many are left once
    ``seconds`` are over: the next call finds these, and goes on with them.
    """
    until = time.monotonic() + seconds
    wrong = OrderContribution.objects.wrong_since(timezone.now() - LATELY)
    counted = 0
    for some in batched(wrong, AT_ONCE):
        if time.monotonic() > until:
            break
        _count(some)
        counted += len(some)
    return counted, len(wrong) - counted


class Place(NamedTuple):
    """Where a rebuild that ran out of time goes on: after an order, and once all of these are counted, from a day."""

    after: int
    day: date | None = None


def rebuild_figures(
    *, start: Place | None = None, seconds: float = math.inf, say: Callable[[str], object] = lambda _: None
) -> Place | None:
    """Make the figures anew from the orders, beside whoever counts meanwhile.

    First what each order contributes, in the order of their ids, then each day and each status as the sum of these.

    ``say`` hears how far it is. Returns None at the end, and where to go on when ``seconds`` are over before.
    """
    until = time.monotonic() + seconds
    after, day = start or (0, None)
    last = Order.objects.aggregate(last=Max("pk"))["last"] or 0
    while some := list(Order.objects.filter(pk__gt=after).order_by("pk").values_list("pk", flat=True)[:AT_ONCE]):
        if time.monotonic() > until:
            return Place(after, day)
        _count(some)
        after = some[-1]
        say(f"orders: {after:,} of {max(last, after):,}")
    days = [each for each in _days() if day is None or each >= day]
    for number, each in enumerate(days, start=1):
        if time.monotonic() > until:
            return Place(after, each)
        with transaction.atomic(savepoint=False):
            DailyFigures.objects.settle(each)
        if number % 100 == 0 or number == len(days):
            say(f"days: {number:,} of {len(days):,}")
    with transaction.atomic(savepoint=False):
        StatusFigures.objects.settle()
    return None


def _days() -> list[date]:
    """Every day that has a sum, or a part of one."""
    tables = (DailyFigures, DailySales, OrderContribution, RefundContribution)
    first, *others = (table.objects.order_by().values_list("day", flat=True) for table in tables)
    return sorted(day for day in first.union(*others) if day is not None)


def _count(orders: Iterable[int]) -> None:
    with transaction.atomic(savepoint=False):
        OrderContribution.objects.count_anew(list(orders))
