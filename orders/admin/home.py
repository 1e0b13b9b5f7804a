"""The admin's home for those who may see orders: what the shop earned, what needs somebody. Called by unfold's index.

Figures come from the sums that facts keep (orders/models/figures.py); what needs somebody is looked at through partial
indexes, and no further than a hundred. What only the network knows is loaded by the page afterwards.
"""

from collections import Counter
from datetime import date
from typing import Any

from django.conf import settings
from django.db import models
from django.db.models import Value
from django.http import HttpRequest
from django.urls import reverse
from django.utils import timezone

from catalog.models import Stock
from orders.admin.cards import CHART_OPTIONS, SPANS, earned
from orders.admin.orders import STATUS
from orders.models import DailySales, StatusFigures
from orders.models.needs import Need, orders_in_need
from orders.status import OrderStatus
from vibecode.desk import money
from vibecode.models import OutboxEvent
from vibecode.unfold import may_see

MOST_COUNTED = 100  # of what needs somebody: more are "100+"
SHOWN = 10  # products of a list


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
        str(need): (orders_in_need(need), str(need.label), f"{orders}?view={need}") for need in Need
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
