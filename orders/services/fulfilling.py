"""What moves an order forward once it is paid: stock leaves, the customer is told, it is complete. By the workflow."""

from django.db import transaction

from catalog.services import deduct_stock
from orders.events import OrderCompleted, OrderConfirmed
from orders.models import IllegalTransition, Order
from orders.status import WAS_PAID, FulfilmentStatus, Mark
from vibecode.errors import Conflict
from vibecode.observability import metric
from vibecode.outbox import publish


class OrderIsOver(Conflict):
    """The order was cancelled, or it failed: nothing moves it forward any more."""

    code = "order-is-over"
    title = "The order is cancelled or failed"


def check_open(order: Order) -> Order:
    """Give the order back while it can still move forward. Raises OrderIsOver."""
    if order.mark in {Mark.CANCELLED, Mark.FAILED}:
        raise OrderIsOver(f"{order.number} is {order.mark}.")
    if order.given_up_at:
        raise OrderIsOver(f"{order.number} is being cancelled.")
    return order


def deduct_held_stock(*, order: Order) -> Order:
    """What was held leaves the shelf. Twice or late is harmless.

    Raises OrderIsOver when the order was cancelled meanwhile.
    """
    with transaction.atomic(savepoint=False):
        order = check_open(Order.objects.locked().select_related("user").get(pk=order.pk))
        if order.fulfilment_status == FulfilmentStatus.RESERVED:
            order.move_to(fulfilment=FulfilmentStatus.DEDUCTED)
            deduct_stock(lines=order.line_stock(), reference=order.number, actor="workflow")
            order.tell("Stock Deducted", actor="workflow")
    return order


def confirm_order(*, order: Order) -> Order:
    """Publish that the order stands, once: the mail to the customer and the news to partners follow from it.

    Raises OrderIsOver when the order was cancelled meanwhile.
    """
    with transaction.atomic(savepoint=False):
        order = check_open(Order.objects.locked().select_related("user").get(pk=order.pk))
        if not order.timeline.filter(type=OrderConfirmed.detail_type).exists():
            publish(OrderConfirmed.of(order))
            order.tell(OrderConfirmed.detail_type, actor="workflow")
    return order


def complete_order(*, order: Order) -> Order:
    """Paid, and off the shelf: the order is complete. Twice is harmless.

    Raises OrderIsOver when it was cancelled meanwhile, IllegalTransition when it is not paid or still on the shelf.
    """
    with transaction.atomic(savepoint=False):
        order = check_open(Order.objects.locked().select_related("user").get(pk=order.pk))
        on_the_shelf = order.fulfilment_status == FulfilmentStatus.RESERVED  # an open order without goods: all refunded
        if on_the_shelf or order.payment_status not in WAS_PAID:
            raise IllegalTransition(
                f"{order.number} cannot be complete: payment is {order.payment_status}, fulfilment is "
                f"{order.fulfilment_status}."
            )
        completed = order.move_to(mark=Mark.COMPLETED)
        if completed:
            publish(OrderCompleted.of(order))
            order.tell(OrderCompleted.detail_type, actor="workflow")
    if completed:
        metric("OrdersByOutcome", 1, outcome="completed")
    return order
