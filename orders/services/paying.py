"""An order's money: taken once, and brought to where it belongs. By the workflow, consumers, sweep and webhook.

The intent is written before the provider is called, and its answer after: no network inside a transaction.
"""

import time
from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta

import structlog
from django.conf import settings
from django.db import transaction
from django.db.models import F
from django.db.models.functions import Now
from django.utils import timezone

from orders import events
from orders.models import Order, Payment
from orders.payments import Charge, Intent, PaymentError, provider, provider_of
from orders.services.fulfilling import check_open
from orders.services.refunding import give_back_the_rest
from orders.services.settling import settle_refunds
from orders.status import Mark, PaymentState, PaymentStatus
from vibecode.errors import Conflict
from vibecode.observability import metric
from vibecode.outbox import publish

_S = PaymentState
# What an answer may still change, by what is known: one that comes late never undoes a newer one.
LATER: Mapping[PaymentState, frozenset[PaymentState]] = {
    **dict.fromkeys((_S.INTENDED, _S.REQUIRES_ACTION, _S.UNKNOWN), frozenset(_S) - {_S.INTENDED}),
    _S.DECLINED: frozenset({_S.CAPTURED, _S.VOIDED}),
    _S.VOIDED: frozenset({_S.CAPTURED}),
    _S.CAPTURED: frozenset(),
}
log = structlog.stdlib.get_logger("vibecode.payments")


class PaymentDeclined(Conflict):
    """The bank said no; asking again would not help."""

    code = "payment-declined"
    title = "The payment was declined"


class PaymentRequiresAction(Conflict):
    """The bank asks its customer something; the workflow waits for the answer."""

    code = "payment-requires-action"
    title = "The payment waits for the customer"


class PaymentExpired(Conflict):
    """The customer did not answer the bank in time."""

    code = "payment-expired"
    title = "The payment was not confirmed in time"


def pay(*, order: Order) -> Payment:
    """Take the money of an order, once however often and from wherever it is asked. Calls the provider.

    An earlier attempt whose answer was lost is looked up first, and every attempt carries the same idempotency key.
    Raises PaymentError (worth another try), PaymentDeclined, PaymentRequiresAction, PaymentExpired or OrderIsOver.
    """
    payment = _intend(order)
    if payment.state in PaymentState.undecided():
        try:
            charge = _ask(payment)
        except PaymentError as error:
            _note_unknown(payment, error)
            raise
        payment = record_charge(order=order, charge=charge)
    check_open(Order.objects.get(pk=order.pk))
    match payment.state:
        case PaymentState.CAPTURED:
            return payment
        case PaymentState.REQUIRES_ACTION:
            if payment.action_deadline and payment.action_deadline <= timezone.now():
                raise PaymentExpired(f"{order.number}: nobody answered the bank by {payment.action_deadline:%H:%M:%S}.")
            raise PaymentRequiresAction(f"{order.number} waits until the customer has answered the bank.")
        case PaymentState.INTENDED | PaymentState.UNKNOWN:
            raise PaymentError(f"{order.number}: the provider has not decided yet.")
    raise PaymentDeclined(f"{order.number}: {payment.last_error or payment.state}.")


def _ask(payment: Payment) -> Charge:
    intent = Intent.of(payment)
    if not payment.amount:
        return Charge(PaymentState.CAPTURED)  # nothing to pay
    if payment.attempts > 1:
        began = time.monotonic()
        known = provider_of(payment).look_up(intent)
        if known.state != PaymentState.INTENDED:
            return known
        if known.provider_id:  # from now on it is found by one request
            Payment.objects.filter(pk=payment.pk).update(provider_id=known.provider_id)
            intent = replace(intent, provider_id=known.provider_id)
        if time.monotonic() - began > settings.PAYMENT_TIMEOUT_SECONDS:
            raise PaymentError(f"{payment.reference}: the provider answers so slowly that the task would end first.")
    return provider_of(payment).capture(intent)


def payment_of(order: Order) -> Payment | None:
    """The payment of an order as it is now; None while the provider was never asked."""
    return Payment.objects.filter(order=order).first()


def _intend(order: Order) -> Payment:
    """Write down that the provider is about to be asked. Raises OrderIsOver for an order that was never asked for."""
    with transaction.atomic(savepoint=False):
        order = check_open(Order.objects.locked().get(pk=order.pk))
        payment, _ = Payment.objects.get_or_create(
            order=order,
            defaults={
                "provider": provider().name,
                "reference": order.number,
                "method": order.payment_method,
                "amount": order.total,
                "currency": order.currency,
            },
        )
        Payment.objects.filter(pk=payment.pk).update(attempts=F("attempts") + 1, updated_at=Now())
        payment.refresh_from_db()
    return payment


def _note_unknown(payment: Payment, error: PaymentError) -> None:
    """The answer was lost, or there was none: from now on it is looked up, whatever comes."""
    Payment.objects.filter(pk=payment.pk, state__in=PaymentState.undecided()).update(
        state=PaymentState.UNKNOWN, last_error=str(error)[:300], updated_at=Now()
    )
    metric("PaymentsByOutcome", 1, outcome="unknown")


def record_charge(*, order: Order, charge: Charge) -> Payment:
    """Write down what the provider says of an order's payment, and what follows from it. Twice or late is harmless.

    A capture of an order that is over already is on its way back in the same transaction.
    """
    with transaction.atomic(savepoint=False):
        order = Order.objects.locked().select_related("user").get(pk=order.pk)
        payment = Payment.objects.locked().get(order=order)
        before = payment.state
        if charge.state not in LATER[PaymentState(before)]:
            return payment
        payment.state = charge.state
        payment.provider_id = charge.provider_id or payment.provider_id
        payment.captured = charge.captured
        payment.last_error = charge.reason[:300]
        payment.client_secret = charge.client_secret
        if charge.state == PaymentState.REQUIRES_ACTION and payment.action_deadline is None:
            payment.action_deadline = timezone.now() + timedelta(seconds=settings.PAYMENT_ACTION_SECONDS)
        payment.updated_at = timezone.now()
        payment.save()
        if before != charge.state:
            metric("PaymentsByOutcome", 1, outcome=str(charge.state))
        _follow(order, payment)
    return payment


def _follow(order: Order, payment: Payment) -> None:
    """What a payment's new state means for its order."""
    match payment.state:
        case PaymentState.CAPTURED:
            if order.move_to(payment=PaymentStatus.PAID):
                publish(paid := events.OrderPaid.of(order))
                order.tell(paid.detail_type, actor="payment")
            if order.mark in {Mark.CANCELLED, Mark.FAILED}:
                give_back_the_rest(order=order, actor="payment")
        case PaymentState.DECLINED:
            if order.move_to(payment=PaymentStatus.DECLINED):
                order.tell("Payment Declined", actor="payment", reason=payment.last_error)
        case PaymentState.REQUIRES_ACTION:
            if order.mark == Mark.NONE and order.move_to(payment=PaymentStatus.REQUIRES_ACTION):
                publish(asked := events.PaymentRequiresAction.of(order))
                order.tell(asked.detail_type, actor="payment")
        case PaymentState.VOIDED if order.payment_status in {PaymentStatus.UNKNOWN, PaymentStatus.REQUIRES_ACTION}:
            order.move_to(payment=PaymentStatus.DECLINED)


def settle_money(*, order: Order) -> None:
    """Bring an order's money to where it belongs.

    Of an order that is over it voids what the provider could still capture, and what was captured is on its way back;
    then it carries out the refunds. Calls the provider; may be repeated at any point. Raises PaymentError while it does
    not answer.
    """
    payment = payment_of(order)
    if payment is None:
        return
    if order.mark in {Mark.CANCELLED, Mark.FAILED}:
        if payment.state in PaymentState.voidable():
            payment = record_charge(order=order, charge=provider_of(payment).void(Intent.of(payment)))
        give_back_the_rest(order=order, actor="workflow")
    settle_refunds(payment=payment)


def look_at_void(*, order: Order) -> None:
    """Ask once more, some time after the provider confirmed a void: one that captured in spite of it is found out.

    Calls the provider. Raises PaymentError while it does not answer.
    """
    payment = payment_of(order)
    if payment is not None and payment.state == PaymentState.VOIDED:
        payment = record_charge(order=order, charge=provider_of(payment).look_up(Intent.of(payment)))
        Payment.objects.filter(pk=payment.pk).update(void_checked_at=Now(), updated_at=Now())
