"""The steps of infrastructure/order_workflow.asl.json, called by Step Functions through vibecode.lambda_entry.

Each loads the order, calls one service and answers small; each may run twice, late, or after the order was cancelled.
An error goes to the workflow by its class's name: what may be tried again is PaymentError and DatabaseAway.
"""

from typing import Any

import structlog

from orders import services
from orders.models import Order
from orders.status import PaymentStatus
from vibecode.observability import note

RECOUNT_SECONDS = 60.0  # half of what the function has

log = structlog.stdlib.get_logger("vibecode.workflow")

type StepEvent = dict[str, Any]
type StepResult = dict[str, str]

# What an order is cancelled for, by the name of the error that the workflow gave up at.
REASONS = {
    "PaymentDeclined": "payment-declined",
    "PaymentError": "payment-failed",
    "PaymentExpired": "payment-expired",
    "States.Timeout": "payment-failed",
}


def validate_order(event: StepEvent, context: object) -> StepResult:
    """ValidateOrder: there is such an order, and it is still open."""
    return _answer(services.check_open(_order(event)))


def process_payment(event: StepEvent, context: object) -> StepResult:
    """ProcessPayment: the money is captured, or it says why not."""
    services.pay(order=_order(event))
    return _answer(_order(event))


def await_customer(event: StepEvent, context: object) -> StepResult:
    """AwaitCustomer: keep the task token until the bank's question is answered."""
    order = _order(event)
    services.await_customer(order=order, token=event["taskToken"])
    return _answer(order)


def deduct_stock(event: StepEvent, context: object) -> StepResult:
    """UpdateInventory / DeductStock: what was held leaves the shelf."""
    return _answer(services.deduct_held_stock(order=_order(event)))


def send_notification(event: StepEvent, context: object) -> StepResult:
    """UpdateInventory / SendNotification: publish that the order stands; mail and news follow from the fact."""
    return _answer(services.confirm_order(order=_order(event)))


def complete_order(event: StepEvent, context: object) -> StepResult:
    """OrderComplete: paid, and off the shelf."""
    return _answer(services.complete_order(order=_order(event)))


def cancel_order(event: StepEvent, context: object) -> StepResult:
    """CancelOrder: void at the provider, refund what was captured, give the stock back."""
    error = str(event.get("error", {}).get("Error", ""))
    order = _order(event)
    paid = order.payment_status == PaymentStatus.PAID  # whatever went wrong then, it was not the payment
    reason = "workflow-failed" if paid else REASONS.get(error, "workflow-failed")
    log.warning("compensation", error=error, reason=reason)
    return _answer(services.compensate(order=order, reason=reason))


def fail_order(event: StepEvent, context: object) -> StepResult:
    """FailOrder: compensation did not finish; its metric rings an alarm."""
    return _answer(services.fail_order(order=_order(event)))


def sweep() -> None:
    """The schedule sweep-orders."""
    done = services.sweep_orders()
    if done:
        log.info("sweep", **done)


def recount() -> None:
    """The schedule recount: figures whose facts got lost."""
    counted, left = services.recount_lately(seconds=RECOUNT_SECONDS)
    log.info("recount", orders=counted, left=left)


def _order(event: StepEvent) -> Order:
    number = str(event["orderId"])
    note(order=number)
    return Order.objects.select_related("user").get(number=number)


def _answer(order: Order) -> StepResult:
    return {"orderId": order.number, "status": order.status}
