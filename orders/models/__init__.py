"""The orders' tables: the order with its lines and story, its payment and refunds, letters, and what they add up to."""

from orders.models.figures import (
    ORDERS_NOW,
    REFUNDS_NOW,
    DailyFigures,
    DailySales,
    OrderContribution,
    RefundContribution,
    StatusFigures,
)
from orders.models.letter import Letter
from orders.models.line import Counts, OrderLine
from orders.models.note import OrderNote
from orders.models.order import NUMBER_PATTERN, IllegalTransition, Order, OrderQuerySet, new_order_number
from orders.models.payment import Payment, Refund, RefundLine
from orders.models.placing import Wishes, write_order
from orders.models.shipment import Shipment, ShipmentLine
from orders.models.timeline import TimelineEntry

__all__ = [
    "NUMBER_PATTERN",
    "ORDERS_NOW",
    "REFUNDS_NOW",
    "Counts",
    "DailyFigures",
    "DailySales",
    "IllegalTransition",
    "Letter",
    "Order",
    "OrderContribution",
    "OrderLine",
    "OrderNote",
    "OrderQuerySet",
    "Payment",
    "Refund",
    "RefundContribution",
    "RefundLine",
    "Shipment",
    "ShipmentLine",
    "StatusFigures",
    "TimelineEntry",
    "Wishes",
    "new_order_number",
    "write_order",
]
