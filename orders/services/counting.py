"""What orders add up to, kept right by their facts. Called by the consumer of facts, the nightly recount, the rebuild.

How an order is counted, and why twice changes nothing, stands in orders/models/figures.py.
"""

import math
import time
from collections.abc import Callable, Iterable
from datetime import date, timedelta
from itertools import batched

from django.db import transaction
from django.db.models import Max, Q
from django.utils import timezone

from orders.models import (
    DailyFigures,
    DailySales,
    Order,
    OrderContribution,
    Refund,
    RefundContribution,
    StatusFigures,
)
from orders.status import RefundState

AT_ONCE = 500  # orders a transaction: whoever counts one of them waits for it
LATELY = timedelta(days=2)


def count_order(*, number: str) -> None:
    """Bring the figures to what an order is now. Repeats, and facts that come late or in any order, are harmless."""
    _count([Order.objects.values_list("pk", flat=True).get(number=number)])


def recount_lately() -> int:
    """Count the orders of the last two days anew, and those with refunds of these days: facts that got lost.

    Returns how many. What is right already costs a look, and no row is written.
    """
    since = timezone.now() - LATELY
    placed = Order.objects.filter(created_at__gte=since).values_list("pk", flat=True)
    settled = Refund.objects.filter(Q(state=RefundState.SETTLED) | Q(state=RefundState.FAILED), settled_at__gte=since)
    orders = sorted({*placed, *settled.values_list("payment__order", flat=True)})
    for some in batched(orders, AT_ONCE):
        _count(some)
    return len(orders)


def rebuild_figures(
    *, after: int = 0, seconds: float = math.inf, say: Callable[[str], object] = lambda _: None
) -> int | None:
    """Make the figures anew from the orders, beside whoever counts meanwhile.

    First what each order contributes, in the order of their ids from ``after`` on, then each day and each status as the
    sum of these.

    ``say`` hears how far it is. Returns None at the end, and where to go on when ``seconds`` are over before.
    """
    until = time.monotonic() + seconds
    last = Order.objects.aggregate(last=Max("pk"))["last"] or 0
    while some := list(Order.objects.filter(pk__gt=after).order_by("pk").values_list("pk", flat=True)[:AT_ONCE]):
        if time.monotonic() > until:
            return after
        _count(some)
        after = some[-1]
        say(f"orders: {after:,} of {max(last, after):,}")
    for number, day in enumerate(days := _days(), start=1):
        if time.monotonic() > until:
            return after
        with transaction.atomic(savepoint=False):
            DailyFigures.objects.settle(day)
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
