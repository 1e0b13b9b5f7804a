"""The figures counted the slow way, from orders, payments, lines and refunds, in Python and with its own time zones."""

from collections import Counter, defaultdict
from collections.abc import Callable
from datetime import date, datetime
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

from django.conf import settings

from accounts.models import User
from catalog.models import Product
from orders.consumers import on_order_counts
from orders.models import DailyFigures, DailySales, Order, Payment, Refund, StatusFigures, Wishes
from orders.payments import Charge
from orders.services import Basket, place_order, record_charge
from orders.status import PaymentState, PaymentStatus, RefundState
from vibecode.models import OutboxEvent

type Figures = dict[str, dict[Any, tuple[Any, ...]]]

UNPAID = {PaymentStatus.PENDING, PaymentStatus.REQUIRES_ACTION, PaymentStatus.DECLINED, PaymentStatus.UNKNOWN}


def recounted() -> Figures:
    """What the figures should say."""
    zone = ZoneInfo(settings.TIME_ZONE)

    def day_of(moment: datetime) -> date:
        return moment.astimezone(zone).date()

    days: dict[date, list[Any]] = defaultdict(lambda: [0, 0, 0, Decimal(0), 0, Decimal(0)])
    sales: dict[tuple[date, int], list[Any]] = defaultdict(lambda: [0, Decimal(0)])
    statuses: Counter[str] = Counter()
    for order in Order.objects.select_related("payment").prefetch_related("lines"):
        day = day_of(order.created_at)
        statuses[order.status] += 1
        days[day][0] += 1
        if order.payment_status in UNPAID:
            continue
        days[day][1] += 1
        days[day][3] += order.payment.captured
        for line in order.lines.all():
            days[day][2] += line.quantity
            sales[day, line.product_id][0] += line.quantity
            sales[day, line.product_id][1] += line.unit_price * line.quantity
    for refund in Refund.objects.filter(state=RefundState.SETTLED):
        assert refund.settled_at is not None
        days[day_of(refund.settled_at)][4] += 1
        days[day_of(refund.settled_at)][5] += refund.amount
    return {
        "days": {day: tuple(sums) for day, sums in days.items()},
        "sales": {key: tuple(sums) for key, sums in sales.items()},
        "statuses": {status: (count,) for status, count in statuses.items()},
    }


def kept() -> Figures:
    """What the figures say, without what is nothing."""
    found: Figures = {
        "days": {
            row.day: (row.placed, row.paid, row.units, row.revenue, row.refunds, row.refunded)
            for row in DailyFigures.objects.all()
        },
        "sales": {(row.day, row.product_id): (row.units, row.revenue) for row in DailySales.objects.all()},
        "statuses": {row.status: (row.orders,) for row in StatusFigures.objects.all()},
    }
    return {name: {key: sums for key, sums in rows.items() if any(sums)} for name, rows in found.items()}


# --- making things happen --------------------------------------------------------------------------------------------
def place(customer: User, *wanted: tuple[Product, int], at: str = "") -> Order:
    """An order of (product, quantity), placed at a moment of the past or now. Nobody has counted it."""
    basket = Basket({product.sku: quantity for product, quantity in wanted}, wishes=Wishes(payment_method="demo_ok"))
    order = place_order(customer=customer, basket=basket)
    if at:
        Order.objects.filter(pk=order.pk).update(created_at=at)
    return Order.objects.select_related("user").get(pk=order.pk)


def charge(order: Order, state: PaymentState = PaymentState.CAPTURED) -> Order:
    """The provider says what became of its payment, which is taken whole or not at all."""
    Payment.objects.get_or_create(
        order=order,
        defaults={"provider": "demo", "reference": order.number, "amount": order.total, "currency": order.currency},
    )
    captured = order.total if state == PaymentState.CAPTURED else Decimal(0)
    record_charge(order=order, charge=Charge(state, captured=captured))
    return Order.objects.select_related("user").get(pk=order.pk)


def facts_since(last: int) -> list[dict[str, Any]]:
    """The facts that the figures hear of and that were published after this one, as a queue has them; with ``id``."""
    heard = settings.RESOURCES.queues["figures"].detail_types
    return [
        {"id": fact.pk, "detail-type": fact.detail_type, "source": fact.source, "detail": fact.detail}
        for fact in OutboxEvent.objects.filter(pk__gt=last, detail_type__in=heard).order_by("pk")
    ]


def deliver_all(deliver: Callable[[dict[str, Any]], None] = on_order_counts) -> None:
    """Give the consumer every fact there is."""
    for fact in facts_since(0):
        deliver(fact)
