"""What can be done to an order. Called by views, the workflow, the consumers, the admin and the commands.

What the desk alone calls is imported from its own module: packing, with the layout of slips.
"""

from orders.services.auditing import audit_figures, audit_stock
from orders.services.cancelling import cancel_order, compensate, fail_order
from orders.services.counting import Place, count_order, rebuild_figures, recount_lately
from orders.services.fulfilling import OrderIsOver, check_open, complete_order, confirm_order, deduct_held_stock
from orders.services.noting import add_note
from orders.services.paying import (
    PaymentDeclined,
    PaymentExpired,
    PaymentRequiresAction,
    pay,
    record_charge,
    settle_money,
)
from orders.services.picking import NotInOrder, TooMany
from orders.services.placing import Basket, TotalMismatch, UnknownPaymentMethod, place_order
from orders.services.refunding import (
    NotProposed,
    NotRefundable,
    approve_refund,
    reject_refund,
    request_refund,
    return_items,
)
from orders.services.running import (
    await_customer,
    continue_order,
    customer_answered,
    execution_name,
    payment_news,
    start_order,
    sweep_orders,
    time_for_the_bank_over,
)
from orders.services.shipping import deliver_order, ship_order

__all__ = [
    "Basket",
    "NotInOrder",
    "NotProposed",
    "NotRefundable",
    "OrderIsOver",
    "PaymentDeclined",
    "PaymentExpired",
    "PaymentRequiresAction",
    "Place",
    "TooMany",
    "TotalMismatch",
    "UnknownPaymentMethod",
    "add_note",
    "approve_refund",
    "audit_figures",
    "audit_stock",
    "await_customer",
    "cancel_order",
    "check_open",
    "compensate",
    "complete_order",
    "confirm_order",
    "continue_order",
    "count_order",
    "customer_answered",
    "deduct_held_stock",
    "deliver_order",
    "execution_name",
    "fail_order",
    "pay",
    "payment_news",
    "place_order",
    "rebuild_figures",
    "record_charge",
    "recount_lately",
    "reject_refund",
    "request_refund",
    "return_items",
    "settle_money",
    "ship_order",
    "start_order",
    "sweep_orders",
    "time_for_the_bank_over",
]
