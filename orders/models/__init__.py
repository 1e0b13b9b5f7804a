"""The orders' tables: the order with its lines and story, its payment and refunds, the letters about it."""

from orders.models.letter import Letter
from orders.models.note import OrderNote
from orders.models.order import (
    NUMBER_PATTERN,
    Counts,
    IllegalTransition,
    Order,
    OrderLine,
    OrderQuerySet,
    TimelineEntry,
    Wishes,
    new_order_number,
)
from orders.models.payment import Payment, Refund, RefundLine
from orders.models.shipment import Shipment, ShipmentLine

__all__ = [
    "NUMBER_PATTERN",
    "Counts",
    "IllegalTransition",
    "Letter",
    "Order",
    "OrderLine",
    "OrderNote",
    "OrderQuerySet",
    "Payment",
    "Refund",
    "RefundLine",
    "Shipment",
    "ShipmentLine",
    "TimelineEntry",
    "Wishes",
    "new_order_number",
]
