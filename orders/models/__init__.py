"""The orders' tables: the order with its lines and story, its payment and refunds, the letters about it."""

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
    "IllegalTransition",
    "Letter",
    "Order",
    "OrderLine",
    "OrderQuerySet",
    "Payment",
    "Refund",
    "TimelineEntry",
    "Wishes",
    "new_order_number",
]
