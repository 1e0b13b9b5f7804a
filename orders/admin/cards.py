"""The four figures of the home page, for the days that somebody asked for: sums, trends, charts. Called by home.py."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from decimal import Decimal
from typing import Any

from django.conf import settings
from django.urls import reverse
from django.utils import timezone
from django.utils.formats import date_format, localize_input

from orders.admin.filters import PAID_FOR
from orders.models import DailyFigures
from vibecode.desk import money

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
        return self.list_of("created_at", view=PAID_FOR)

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
