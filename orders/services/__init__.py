"""What can be done to an order. Called by views, the workflow, the consumers, the admin and the commands."""

from orders.services.auditing import audit_figures, audit_stock
from orders.services.cancelling import cancel_order, compensate, fail_order
from orders.services.counting import count_order, rebuild_figures, recount_lately
from orders.services.fulfilling import OrderIsOver, check_open, complete_order, confirm_order, deduct_held_stock
from orders.services.paying import (
    PaymentDeclined,
    PaymentExpired,
    PaymentRequiresAction,
    pay,
    record_charge,
    settle_money,
)
from orders.services.placing import Basket, TotalMismatch, UnknownPaymentMethod, place_order
from orders.services.refunding import NotRefundable, request_refund
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

__all__ = [
    "Basket",
    "NotRefundable",
    "OrderIsOver",
    "PaymentDeclined",
    "PaymentExpired",
    "PaymentRequiresAction",
    "TotalMismatch",
    "UnknownPaymentMethod",
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
    "execution_name",
    "fail_order",
    "pay",
    "payment_news",
    "place_order",
    "rebuild_figures",
    "record_charge",
    "recount_lately",
    "request_refund",
    "settle_money",
    "start_order",
    "sweep_orders",
    "time_for_the_bank_over",
]
