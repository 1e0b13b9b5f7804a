"""The orders' tables: the order with its lines and story, its payment and refunds, letters, and what they add up to."""

from orders.models.figures import (
    ORDERS_NOW,
    PAID,
    REFUNDS_NOW,
    DailyFigures,
    DailySales,
    OrderContribution,
    RefundContribution,
    StatusFigures,
)
from orders.models.letter import Letter
from orders.models.order import (
    NUMBER_PATTERN,
    IllegalTransition,
    Order,
    OrderLine,
    OrderQuerySet,
    TimelineEntry,
    Wishes,
    new_order_number,
)
from orders.models.payment import Payment, Refund

__all__ = [
    "NUMBER_PATTERN",
    "ORDERS_NOW",
    "PAID",
    "REFUNDS_NOW",
    "DailyFigures",
    "DailySales",
    "IllegalTransition",
    "Letter",
    "Order",
    "OrderContribution",
    "OrderLine",
    "OrderQuerySet",
    "Payment",
    "Refund",
    "RefundContribution",
    "StatusFigures",
    "TimelineEntry",
    "Wishes",
    "new_order_number",
]
