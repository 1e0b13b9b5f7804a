"""Stripe's signed news, verified and in our words. Called by the webhook's door, which lets each count once.

Stripe sends an event again until it is answered, and in any order: what an event says was true when it happened.
https://docs.stripe.com/webhooks#handle-events
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from orders.payments import Charge
from orders.status import PaymentState, RefundState
from vibecode.errors import Malformed

TOLERANCE = 300  # seconds that a signature is good for, against replays
PAYMENTS = frozenset({
    "payment_intent.succeeded", "payment_intent.payment_failed", "payment_intent.canceled",
    "payment_intent.requires_action",
})  # fmt: skip
REFUNDS = frozenset({"refund.updated", "refund.failed", "charge.refund.updated"})
# https://docs.stripe.com/api/refunds/object#refund_object-status
REFUND_STATE_OF = {
    "pending": RefundState.PENDING,
    "requires_action": RefundState.PENDING,
    "succeeded": RefundState.SETTLED,
    "failed": RefundState.FAILED,
    "canceled": RefundState.FAILED,
}


class NotSigned(Malformed):
    """It does not come from Stripe, or not as Stripe sent it, or it is too old."""

    code = "signature-invalid"
    title = "The signature does not fit"


@dataclass(frozen=True, slots=True)
class RefundNews:
    """What became of one refund."""

    reference: str  # ours, of the refund
    provider_id: str
    amount: Decimal
    state: RefundState
    reason: str = ""  # why it failed, in Stripe's word


@dataclass(frozen=True, slots=True)
class StripeEvent:
    """One piece of news about a payment of ours: of the charge, or of a refund."""

    event_id: str
    reference: str  # ours, of the payment
    kind: str  # Stripe's type of event
    charge: Charge | None = None
    refund: RefundNews | None = None
    refunded: Decimal = Decimal("0.00")  # with charge.refunded: all that was given back so far, by whomever


def read_event(payload: bytes, signature: str, secret: str) -> StripeEvent | None:
    """What Stripe says, from the raw body, its Stripe-Signature header and the endpoint's secret.

    None for what is not about a payment of ours. Raises NotSigned; Malformed for a body that is no event.
    https://docs.stripe.com/webhooks#verify-manually
    """
    import stripe  # slow to import: only where news come

    try:
        stripe.WebhookSignature.verify_header(payload, signature, secret, TOLERANCE)
    except (stripe.SignatureVerificationError, ValueError):
        raise NotSigned("The Stripe-Signature header does not fit the body, or is too old.") from None
    try:
        event = json.loads(payload)
        return _translate(str(event["id"]), str(event["type"]), event["data"]["object"])
    except (ValueError, KeyError, TypeError, AttributeError, ArithmeticError) as error:
        raise Malformed("The body is no event of Stripe's.") from error


def _translate(event_id: str, kind: str, about: Mapping[str, Any]) -> StripeEvent | None:
    from orders.payments.stripe import charge_of, from_minor_units

    ours = about.get("metadata") or {}
    if kind in PAYMENTS and "reference" in ours:
        return StripeEvent(event_id, ours["reference"], kind, charge=charge_of(about))
    if kind == "charge.refunded" and "reference" in ours:  # a charge carries its PaymentIntent's metadata
        captured = from_minor_units(about["amount_captured"], about["currency"])
        return StripeEvent(
            event_id,
            ours["reference"],
            kind,
            charge=Charge(PaymentState.CAPTURED, provider_id=about["payment_intent"], captured=captured),
            refunded=from_minor_units(about["amount_refunded"], about["currency"]),
        )
    if kind in REFUNDS and {"reference", "payment"} <= ours.keys():
        refund = RefundNews(
            reference=ours["reference"],
            provider_id=about["id"],
            amount=from_minor_units(about["amount"], about["currency"]),
            state=REFUND_STATE_OF[about["status"]],
            reason=about.get("failure_reason") or "",
        )
        return StripeEvent(event_id, ours["payment"], kind, refund=refund)
    return None
