"""Calling an order off: by its owner or staff at once, by the workflow when its retries were in vain."""

from django.db import transaction
from django.db.models.functions import Now

from catalog.models import StockMovement
from catalog.services import release_stock, return_stock
from orders.events import OrderCancelled, OrderFailed
from orders.models import IllegalTransition, Order, Payment
from orders.payments import Intent, RefundRefused, provider_of
from orders.services.paying import payment_of, record_charge
from orders.services.refunding import give_back_the_rest, withdraw_proposals
from orders.services.settling import settle_refunds
from orders.status import CANCELLABLE, FulfilmentStatus, Mark, PaymentState, PaymentStatus
from vibecode.observability import metric
from vibecode.outbox import publish
from vibecode.rights import Actor, Right

WORKFLOW = Actor.part("workflow")


def cancel_order(*, order: Order, reason: str, actor: Actor, expected_version: int | None = None) -> Order:
    """Call an order off: held stock is released, deducted stock returns, what was paid is on its way back.

    Answers at once: the refund is an intent, and what the provider could still capture is voided by the consumer of
    Order Cancelled. Twice is harmless and changes nothing. Its owner may, and who has the right to.
    Raises Denied, Stale, or IllegalTransition once something has shipped.
    """
    if actor.name != order.user.cognito_sub:
        actor.must(Right.CANCEL)
    with transaction.atomic(savepoint=False):
        order = Order.objects.locked().select_related("user").get(pk=order.pk)
        if order.mark == Mark.CANCELLED:
            return order
        order.expect(expected_version)
        _check_cancellable(order)
        withdraw_proposals(Payment.objects.locked().filter(order=order).first())
        held = order.fulfilment_status
        order.move_to(fulfilment=FulfilmentStatus.UNFULFILLED, mark=Mark.CANCELLED, reason=reason)
        if held == FulfilmentStatus.RESERVED:
            release_stock(lines=order.line_stock(), reference=order.number, actor=actor.name)
        elif held == FulfilmentStatus.DEDUCTED:
            return_stock(
                lines=order.line_stock(),
                cause=StockMovement.Cause.CANCEL,
                reference=order.number,
                actor=actor.name,
            )
        publish(OrderCancelled.of(order))  # without the reason: people write names and addresses into it
        order.tell(OrderCancelled.detail_type, actor=actor.name, reason=reason)
        give_back_the_rest(order=order, actor=actor.name)
    metric("OrdersByOutcome", 1, outcome="cancelled")
    return order


def compensate(*, order: Order, reason: str) -> Order:
    """The workflow's cancellation: void at the provider, refund what was captured, and only then give the stock back.

    Calls the provider; may be repeated at any point. Of an order that was cancelled already it settles the money; one
    that another execution has completed meanwhile stays what it is. Raises PaymentError while the provider does not
    answer, RefundRefused where it keeps the money for good, IllegalTransition once something has shipped.
    """
    order = _give_up(order, reason)
    if order.mark == Mark.COMPLETED:
        return order
    payment = payment_of(order)
    if payment is not None:
        if payment.state in PaymentState.voidable():
            payment = record_charge(order=order, charge=provider_of(payment).void(Intent.of(payment)))
        give_back_the_rest(order=order, actor="workflow", reason=reason)
        settle_refunds(payment=payment)
        payment.refresh_from_db()
        if order.mark != Mark.CANCELLED and payment.refundable:
            raise RefundRefused(f"{order.number}: {payment.refundable} {payment.currency} could not be given back.")
    return cancel_order(order=order, reason=order.cancel_reason or reason, actor=WORKFLOW)


def _give_up(order: Order, reason: str) -> Order:
    """From now on no step moves the order forward, whatever becomes of this execution. Raises IllegalTransition."""
    with transaction.atomic(savepoint=False):
        order = Order.objects.locked().select_related("user").get(pk=order.pk)
        if order.mark == Mark.NONE:
            _check_cancellable(order)
            Order.objects.filter(pk=order.pk, given_up_at=None).update(given_up_at=Now(), cancel_reason=reason)
            order.refresh_from_db(fields=["given_up_at", "cancel_reason"])
    return order


def _check_cancellable(order: Order) -> None:
    if FulfilmentStatus(order.fulfilment_status) not in CANCELLABLE:
        raise IllegalTransition(
            f"{order.number} is {order.status}: what has shipped cannot be cancelled; refund it instead.",
            orderStatus=order.status,
        )


def finish_failed_order(*, order: Order) -> Order:
    """Cancel an order whose compensation had not finished, once its money is where it belongs; its stock goes back."""
    payment = payment_of(order)
    settled = payment is None or (payment.state not in PaymentState.voidable() and not payment.refundable)
    if order.mark == Mark.FAILED and settled:
        return cancel_order(order=order, reason=order.cancel_reason or "workflow-failed", actor=WORKFLOW)
    return order


def fail_order(*, order: Order) -> Order:
    """Compensation did not finish: a person is needed. What is held stays held. Twice is harmless.

    An order that was cancelled meanwhile, or that went its way after all, stays what it is: what has shipped is not
    held, and another execution completes it.
    """
    with transaction.atomic(savepoint=False):
        order = Order.objects.locked().select_related("user").get(pk=order.pk)
        if order.mark != Mark.NONE or FulfilmentStatus(order.fulfilment_status) not in CANCELLABLE:
            return order
        payment = payment_of(order)
        undecided = payment is not None and payment.state in PaymentState.undecided()
        open_status = order.payment_status in {PaymentStatus.PENDING, PaymentStatus.REQUIRES_ACTION}
        order.move_to(payment=PaymentStatus.UNKNOWN if undecided and open_status else None, mark=Mark.FAILED)
        publish(OrderFailed.of(order))
        order.tell(OrderFailed.detail_type, actor="workflow")
    metric("OrdersByOutcome", 1, outcome="failed")
    return order
