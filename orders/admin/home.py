"""The admin's home for those who may see orders: what the shop earned, what needs somebody. Called by unfold's index.

Figures come from the sums that facts keep (orders/models/figures.py); what needs somebody is looked at through partial
indexes, and no further than a hundred. What only the network knows is loaded by the page afterwards.
"""

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from decimal import Decimal
from typing import Any

from django.conf import settings
from django.db import models
from django.db.models import Value
from django.http import HttpRequest
from django.urls import reverse
from django.utils import timezone
from django.utils.formats import date_format, localize_input

from catalog.models import Stock
from orders.admin.filters import PAID_FOR
from orders.admin.orders import STATUS
from orders.models import DailyFigures, DailySales, StatusFigures
from orders.models.needs import Need, orders_in_need
from orders.status import OrderStatus
from vibecode.desk import money
from vibecode.models import OutboxEvent
from vibecode.unfold import may_see

MOST_COUNTED = 100  # of what needs somebody: more are "100+"
SHOWN = 10  # products of a list
CHART_DAYS = 7  # at least, or a single day would be a single bar


# --- which days ------------------------------------------------------------------------------------------------------
@dataclass(frozen=True, slots=True)
class Span:
    """Days that end today or some days ago, and what they are compared with."""

    key: str
    title: str
    days: int
    before: str
    ago: int = 0

    def last(self) -> date:
        """Its last day, by the shop's clock."""
        return timezone.localdate() - timedelta(days=self.ago)


SPANS = (
    Span("today", "Today", 1, "the whole of yesterday"),
    Span("yesterday", "Yesterday", 1, "the day before", ago=1),
    Span("7-days", "7 days", 7, "the 7 days before"),
    Span("30-days", "30 days", 30, "the 30 days before"),
)


@dataclass(slots=True)
class Sums:
    """The figures of one day, or of some together."""

    first: date
    last: date
    placed: int = 0
    paid: int = 0
    revenue: Decimal = field(default_factory=Decimal)
    refunds: int = 0
    refunded: Decimal = field(default_factory=Decimal)

    @classmethod
    def of(cls, rows: Sequence[DailyFigures], first: date, last: date) -> "Sums":
        """The sum of the rows that lie between two days, both included."""
        sums = cls(first, last)
        for row in rows:
            if first <= row.day <= last:
                for name in ("placed", "paid", "revenue", "refunds", "refunded"):
                    setattr(sums, name, getattr(sums, name) + getattr(row, name))
        return sums

    @property
    def average(self) -> Decimal:
        """Revenue by paid order; 0 where there is none."""
        return (self.revenue / self.paid).quantize(Decimal("0.01")) if self.paid else Decimal("0.00")

    def list_of(self, column: str, **more: str) -> str:
        """The address of the orders behind a figure."""
        days = {f"{column}_from": localize_input(self.first), f"{column}_to": localize_input(self.last)}
        return reverse("admin:orders_order_changelist", query={**more, **days})

    @property
    def orders_list(self) -> str:
        """The orders placed in these days."""
        return self.list_of("created_at")

    @property
    def paid_list(self) -> str:
        """Those of them that were paid."""
        return self.list_of("created_at", about=PAID_FOR)

    @property
    def refunds_list(self) -> str:
        """The orders of the refunds settled in these days."""
        return self.list_of("refunded")


# --- the four cards --------------------------------------------------------------------------------------------------
@dataclass(frozen=True, slots=True)
class Trend:
    """How a figure compares: an arrow, a sign and words; the tone only underlines them."""

    arrow: str
    change: str
    words: str
    tone: str = ""

    @classmethod
    def of(cls, now: Decimal | int, before: Decimal | int, span: Span, *, fewer: str, more_is_good: bool) -> "Trend":
        """From one figure to the next."""
        if now == before:
            return cls("→", "", f"the same as {span.before}")
        up = now > before
        tone = "shop-up" if up == more_is_good else "shop-down"
        if not before:
            return cls("↑", "", f"more than {span.before}, which had none", tone)
        change = (Decimal(now) - Decimal(before)) / Decimal(before) * 100
        shown = f"{change:+,.0f} %" if abs(change) >= 1 else f"{change:+.1f} %"
        return cls("↑" if up else "↓", shown.replace("-", "−"), f"{'more' if up else fewer} than {span.before}", tone)


@dataclass(frozen=True, slots=True)
class Card:
    """One figure: what it is now, what stands behind it, how it compares, and its days as a chart."""

    title: str
    value: str
    note: str
    link: str
    trend: Trend
    chart: str


CHART_OPTIONS = json.dumps(
    {
        "animation": False,
        "responsive": True,
        "maintainAspectRatio": False,
        "locale": "en-GB",
        "plugins": {"legend": {"display": False}},
        "scales": {"x": {"display": False, "grid": {}}, "y": {"display": False, "beginAtZero": True, "grid": {}}},
    }
)


def cards(span: Span, now: Sums, before: Sums, days: Sequence[Sums]) -> list[Card]:
    """Revenue, orders, the average order, refunds."""

    def shown(amount: Decimal) -> str:
        return money(amount, settings.SHOP_CURRENCY)

    def chart(title: str, values: Sequence[Decimal | int]) -> str:
        inside = [now.first <= day.first <= now.last for day in days]
        colours = ["var(--color-primary-500)" if each else "var(--color-base-400)" for each in inside]
        dataset = {
            "label": title,
            "data": [float(value) for value in values],
            "backgroundColor": colours,
            "borderRadius": 3,
            "maxBarThickness": 28,
        }
        return json.dumps({"labels": [day_name(day.first) for day in days], "datasets": [dataset]})

    currency = settings.SHOP_CURRENCY
    return [
        Card(
            "Revenue", shown(now.revenue), "captured, before refunds", now.paid_list,
            Trend.of(now.revenue, before.revenue, span, fewer="less", more_is_good=True),
            chart(f"Revenue, {currency}", [day.revenue for day in days]),
        ),
        Card(
            "Orders", f"{now.placed:,}", f"{now.paid:,} of them paid", now.orders_list,
            Trend.of(now.placed, before.placed, span, fewer="fewer", more_is_good=True),
            chart("Orders", [day.placed for day in days]),
        ),
        Card(
            "Average order", shown(now.average) if now.paid else "-", "revenue by paid order", now.paid_list,
            Trend.of(now.average, before.average, span, fewer="less", more_is_good=True),
            chart(f"Average order, {currency}", [day.average for day in days]),
        ),
        Card(
            "Refunds", shown(now.refunded), "1 refund" if now.refunds == 1 else f"{now.refunds:,} refunds",
            now.refunds_list, Trend.of(now.refunded, before.refunded, span, fewer="less", more_is_good=False),
            chart(f"Refunds, {currency}", [day.refunded for day in days]),
        ),
    ]  # fmt: skip


def day_name(day: date) -> str:
    """A day as people say it: Wed 25 Nov."""
    return date_format(day, "D j M")


def earned(span: Span) -> dict[str, Any]:
    """The cards and the table behind their charts: one statement."""
    last = span.last()
    first = last - timedelta(days=span.days - 1)
    start = last - timedelta(days=max(span.days, CHART_DAYS) - 1)
    before_first = first - timedelta(days=span.days)
    rows = list(DailyFigures.objects.between(min(start, before_first), last))
    now, before = Sums.of(rows, first, last), Sums.of(rows, before_first, first - timedelta(days=1))
    days = [Sums.of(rows, day, day) for day in (start + timedelta(days=n) for n in range((last - start).days + 1))]
    table = [
        {
            "name": day_name(day.first),
            "sums": day,
            "placed": f"{day.placed:,}",
            "paid": f"{day.paid:,}",
            "revenue": money(day.revenue, settings.SHOP_CURRENCY),
            "average": money(day.average if day.paid else None, settings.SHOP_CURRENCY),
            "refunded": money(day.refunded, settings.SHOP_CURRENCY),
        }
        for day in reversed(days)
    ]
    shown = day_name(first) if first == last else f"{day_name(first)} to {day_name(last)}"
    return {"cards": cards(span, now, before, days), "days": table, "now": now, "shown": shown}


# --- orders, and what needs somebody ---------------------------------------------------------------------------------
def statuses() -> list[dict[str, Any]]:
    """Every status with its number, in the order of an order's life: one statement."""
    found = dict(StatusFigures.objects.values_list("status", "orders"))
    most = max([1, *found.values()])
    return [
        {
            "status": status,
            "label": status.label,
            "tone": STATUS[status],
            "count": found.get(status, 0),
            "shown": f"{found.get(status, 0):,}",
            "share": max(0, round(100 * found.get(status, 0) / most)),
            "link": reverse("admin:orders_order_changelist", query={"status__exact": str(status)}),
        }
        for status in OrderStatus
    ]


def needs(request: HttpRequest) -> list[dict[str, Any]]:
    """What waits for somebody who looks here, each with how many, at most a hundred: one statement for all of them."""
    orders, outbox = reverse("admin:orders_order_changelist"), reverse("admin:vibecode_outboxevent_changelist")
    asked: dict[str, tuple[models.QuerySet[Any], str, str]] = {
        str(need): (orders_in_need(need), str(need.label), f"{orders}?about={need}") for need in Need
    }
    if may_see("vibecode.outboxevent")(request):
        asked["parked"] = (OutboxEvent.objects.parked(), "Facts parked", f"{outbox}?state=parked")
    if may_see("catalog.stock")(request):
        asked["low"] = (Stock.objects.low(), "Low stock", low_stock_list())
    first, *others = (
        rows.order_by()
        .annotate(kind=Value(kind, output_field=models.CharField()))
        .values_list("kind")[: MOST_COUNTED + 1]
        for kind, (rows, _, _) in asked.items()
    )
    counts = Counter(kind for (kind,) in first.union(*others, all=True))
    return [
        {
            "kind": kind,
            "label": label,
            "link": link,
            "count": counts[kind],
            "shown": f"{MOST_COUNTED}+" if counts[kind] > MOST_COUNTED else str(counts[kind]),
        }
        for kind, (_, label, link) in asked.items()
    ]


# --- products --------------------------------------------------------------------------------------------------------
def low_stock_list() -> str:
    """The address of the list of what should be ordered anew."""
    return reverse("admin:catalog_stock_changelist", query={"shelf": "low", "product__status__exact": "published"})


def low_stock() -> list[dict[str, Any]]:
    """The first of what should be ordered anew, the emptiest shelf first: one statement."""
    low = Stock.objects.low().select_related("product").order_by("available", "product_id")[:SHOWN]
    return [{"stock": stock, "left": f"{stock.available:,}", "reorder_at": f"{stock.reorder_point:,}"} for stock in low]


def best_sellers(first: date, last: date) -> list[dict[str, Any]]:
    """What sold most in these days: one statement."""
    best = DailySales.objects.best(first, last)[:SHOWN]
    return [{**row, "shown": f"{row['sold']:,}", "taken": money(row["taken"], settings.SHOP_CURRENCY)} for row in best]


# --- the page --------------------------------------------------------------------------------------------------------
def home(request: HttpRequest, context: dict[str, Any]) -> dict[str, Any]:
    """What the index shows to somebody; for those who may not see orders it stays what it was."""
    if not may_see("orders.order")(request):
        return context
    span = next((each for each in SPANS if each.key == request.GET.get("range")), SPANS[0])
    figures = earned(span)
    page: dict[str, Any] = {
        "spans": SPANS,
        "span": span,
        "zone": settings.TIME_ZONE,
        "chart_options": CHART_OPTIONS,
        "statuses": statuses(),
        "needs": needs(request),
        "best": best_sellers(figures["now"].first, figures["now"].last),
        "sees_products": may_see("catalog.product")(request),
        "sees_stock": may_see("catalog.stock")(request),
        "sees_machinery": may_see("vibecode.outboxevent")(request),
        **figures,
    }
    page["calm"] = not any(need["count"] for need in page["needs"] if need["kind"] in Need.values)
    page["failed"] = next(row for row in page["statuses"] if row["status"] == OrderStatus.FAILED)
    if page["sees_stock"]:
        page |= {"low": low_stock(), "low_list": low_stock_list()}
    if page["sees_machinery"]:
        since = OutboxEvent.objects.longest_wait()
        page["lag"] = None if since is None else max(0, round((timezone.now() - since).total_seconds()))
    return {**context, "title": "Home", "home": page, "home_template": "orders/home.html"}
