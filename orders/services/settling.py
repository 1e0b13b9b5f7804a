"""Refunds that were decided: carried out at the provider, and what came of each, never twice.

Called by the consumers, the workflow, the sweep and the webhook.
"""

from decimal import Decimal

import structlog
from django.db import transaction
from django.db.models import F, Sum
from django.db.models.functions import Now

from orders.events import OrderRefunded, RefundFailed
from orders.models import Order, Payment, Refund
from orders.payments import Intent, PaymentError, RefundRefused, provider_of
from orders.services.refunding import withdraw_proposals, write_refund
from orders.status import PaymentStatus, RefundState
from vibecode.observability import metric
from vibecode.outbox import publish

log = structlog.stdlib.get_logger("vibecode.payments")


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
        withdraw_proposals(payment)  # there may not be enough left for them
        refund = write_refund(order, payment, more, reason="given back at the provider", actor="payment")
        record_refund(refund=refund, provider_id="")


def fail_refund(*, order: Order, reference: str, reason: str) -> None:
    """A refund was refused, or sent back: what it was can be given back again. Twice is harmless.

    Staff see why on the refund; the timeline, which the customer reads too, says only that it failed.
    """
    with transaction.atomic(savepoint=False):
        order = Order.objects.locked().select_related("user").get(pk=order.pk)
        payment = Payment.objects.locked().get(order=order)
        refund = payment.refunds.filter(reference=reference).exclude(state__in=RefundState.dead()).first()
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
