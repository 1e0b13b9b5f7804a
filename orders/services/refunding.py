"""Money on its way back: written down in the transaction that decides it, carried out later, never twice.

By the views, the workflow, the consumers, the sweep and the webhook.
"""

from decimal import Decimal

import structlog
from django.db import transaction
from django.db.models import F, Sum
from django.db.models.functions import Now

from orders.events import OrderRefunded, RefundFailed, RefundRequested
from orders.models import Order, Payment, Refund
from orders.payments import Intent, PaymentError, RefundRefused, provider_of
from orders.status import CANCELLABLE, FulfilmentStatus, PaymentStatus, RefundState
from vibecode.errors import Conflict
from vibecode.observability import metric
from vibecode.outbox import publish

log = structlog.stdlib.get_logger("vibecode.payments")


class NotRefundable(Conflict):
    """There is less to give back than was asked for."""

    code = "not-refundable"
    title = "So much cannot be refunded"


def request_refund(*, order: Order, amount: Decimal | None, reason: str, actor: str) -> Refund:
    """Write down that money goes back, the whole rest where ``amount`` is None. The consumer carries it out.

    Raises NotRefundable when there is less left of what was captured; then nothing was written.
    """
    with transaction.atomic(savepoint=False):
        order = Order.objects.locked().select_related("user").get(pk=order.pk)
        payment = Payment.objects.locked().filter(order=order).first()
        left = payment.refundable if payment else Decimal("0.00")
        wanted = left if amount is None else amount
        if payment is None or not 0 < wanted <= left:
            raise NotRefundable(
                f"{left} {order.currency} of {order.number} can be refunded, not {wanted}.",
                refundable=str(left),
                currency=order.currency,
            )
        return _write_refund(order, payment, wanted, reason=reason, actor=actor)


def give_back_the_rest(*, order: Order, actor: str, reason: str = "") -> None:
    """Write down the refund of all that is left of the capture of an order that is over; nothing where there is none.

    Nor for what has shipped, nor where one was refused since the order came to this end: another would be refused too,
    and people see that they are needed.
    """
    with transaction.atomic(savepoint=False):
        order = Order.objects.locked().select_related("user").get(pk=order.pk)
        payment = Payment.objects.locked().filter(order=order).first()
        if payment is None or not payment.refundable or FulfilmentStatus(order.fulfilment_status) not in CANCELLABLE:
            return
        if not payment.refunds.filter(state=RefundState.FAILED, created_at__gte=order.over_since).exists():
            _write_refund(order, payment, payment.refundable, reason=reason, actor=actor)


def _write_refund(order: Order, payment: Payment, amount: Decimal, *, reason: str, actor: str) -> Refund:
    number = payment.refunds.count() + 1  # under the payment's lock
    refund = Refund.objects.create(
        payment=payment,
        reference=f"{payment.reference}-R{number}",
        amount=amount,
        reason=reason,
        actor=actor,
    )
    Payment.objects.filter(pk=payment.pk).update(refunded=F("refunded") + amount, updated_at=Now())
    order.move_on()
    publish(RefundRequested.of(order, refund_reference=refund.reference, amount=amount))
    order.tell(RefundRequested.detail_type, actor=actor, refund=refund.reference, amount=str(amount))
    return refund


def settle_refunds(*, payment: Payment) -> None:
    """Carry out the refunds of a payment that are on their way. Calls the provider; may be repeated at any point.

    One that is refused for good has failed, and the others go on. Raises PaymentError while the provider does not
    answer.
    """
    for refund in Refund.objects.filter(payment=payment, state=RefundState.PENDING).order_by("id"):
        try:
            provider_id = provider_of(payment).refund(
                Intent.of(payment), reference=refund.reference, amount=refund.amount
            )
        except PaymentError as error:
            Refund.objects.filter(pk=refund.pk).update(last_error=str(error)[:300])
            raise
        except RefundRefused as refusal:
            fail_refund(order=payment.order, reference=refund.reference, reason=str(refusal))
        else:
            record_refund(refund=refund, provider_id=provider_id)


def record_refund(*, refund: Refund, provider_id: str) -> None:
    """Write down that the provider gave a refund back. Twice is harmless."""
    with transaction.atomic(savepoint=False):
        order = Order.objects.locked().select_related("user").get(payment=refund.payment_id)
        payment = Payment.objects.locked().get(pk=refund.payment_id)
        settled = Refund.objects.filter(pk=refund.pk, state=RefundState.PENDING).update(
            state=RefundState.SETTLED, provider_id=provider_id, settled_at=Now(), last_error=""
        )
        if not settled:
            return  # somebody else was told the same
        if not order.move_to(payment=_status_after_refunds(payment)):
            order.move_on()
        Payment.objects.filter(pk=payment.pk).update(updated_at=Now())
        publish(OrderRefunded.of(order, refund_reference=refund.reference, amount=refund.amount))
        order.tell(OrderRefunded.detail_type, actor="payment", refund=refund.reference, amount=str(refund.amount))
    metric("RefundsByOutcome", 1, outcome="settled")


def _status_after_refunds(payment: Payment) -> PaymentStatus:
    """By what has gone back, not by what is on its way."""
    settled = payment.refunds.filter(state=RefundState.SETTLED).aggregate(sum=Sum("amount"))["sum"]
    if not settled:
        return PaymentStatus.PAID
    return PaymentStatus.REFUNDED if settled == payment.captured else PaymentStatus.PARTLY_REFUNDED


def note_refunds_elsewhere(*, order: Order, refunded: Decimal) -> None:
    """Write down what somebody gave back at the provider's own desk: what ``refunded`` in all has above our refunds.

    Ours are written before the provider is asked, so no answer on its way is counted twice. After a failed one old news
    would say too much, and it is left alone. Twice is harmless.
    """
    with transaction.atomic(savepoint=False):
        order = Order.objects.locked().select_related("user").get(pk=order.pk)
        payment = Payment.objects.locked().get(order=order)
        more = min(refunded, payment.captured) - payment.refunded
        if more <= 0 or payment.refunds.filter(state=RefundState.FAILED).exists():
            return
        refund = _write_refund(order, payment, more, reason="given back at the provider", actor="payment")
        record_refund(refund=refund, provider_id="")


def fail_refund(*, order: Order, reference: str, reason: str) -> None:
    """A refund was refused, or sent back: what it was can be given back again. Twice is harmless.

    Staff see why on the refund; the timeline, which the customer reads too, says only that it failed.
    """
    with transaction.atomic(savepoint=False):
        order = Order.objects.locked().select_related("user").get(pk=order.pk)
        payment = Payment.objects.locked().get(order=order)
        refund = payment.refunds.filter(reference=reference).exclude(state=RefundState.FAILED).first()
        if refund is None:
            return
        Refund.objects.filter(pk=refund.pk).update(state=RefundState.FAILED, last_error=reason[:300])
        Payment.objects.filter(pk=payment.pk).update(refunded=F("refunded") - refund.amount, updated_at=Now())
        if not order.move_to(payment=_status_after_refunds(payment)):
            order.move_on()
        publish(RefundFailed.of(order, refund_reference=reference, amount=refund.amount))
        order.tell(RefundFailed.detail_type, actor="payment", refund=reference, amount=str(refund.amount))
    log.error("refund failed", order=order.number, refund=reference, why=reason)
    metric("RefundsByOutcome", 1, outcome="failed")
