"""The port to whoever moves the money: capture, void, look up, refund, all by our own references.

Called by services outside of any transaction; settings choose the provider. Nobody here ever sees a card number.
"""

import functools
from dataclasses import dataclass
from decimal import Decimal
from typing import Protocol, Self

from django.conf import settings

from orders.models import Payment
from orders.status import PaymentState
from vibecode.errors import Away


class PaymentError(Away):
    """The provider failed, or its answer was lost: what happened is unknown until it is looked up. Trying again helps.

    Step Functions retries it by this name.
    """

    code = "payment-provider-away"
    title = "The payment provider does not answer right now"


class RefundRefused(Exception):
    """The provider refuses a refund for good: asking again would not help, and people have to look."""


@dataclass(frozen=True, slots=True)
class Intent:
    """What we want of the provider. ``reference`` is ours, and makes a repeat harmless."""

    reference: str
    amount: Decimal
    currency: str
    method: str
    provider_id: str = ""  # where an earlier answer told it

    @classmethod
    def of(cls, payment: Payment) -> Self:
        """What the provider is told of a payment of ours."""
        return cls(
            reference=payment.reference,
            amount=payment.amount,
            currency=payment.currency,
            method=payment.method,
            provider_id=payment.provider_id,
        )


@dataclass(frozen=True, slots=True)
class Charge:
    """What the provider says of a payment now."""

    state: PaymentState  # INTENDED: it has taken nothing, and still could
    provider_id: str = ""
    captured: Decimal = Decimal("0.00")
    reason: str = ""  # why it was declined, in the provider's word
    client_secret: str = ""  # for the owner's browser, where the bank asks


class Provider(Protocol):
    """A payment provider. Every method may raise PaymentError; every one may be called again."""

    name: str

    def method_for(self, wish: str) -> str | None:
        """The payment method for what a customer named ("" for nothing); None where it takes no such method."""

    def capture(self, intent: Intent) -> Charge:
        """Take the money, once for each reference, however often it is asked."""

    def look_up(self, intent: Intent) -> Charge:
        """What became of a reference. Never takes money."""

    def void(self, intent: Intent) -> Charge:
        """Make any later capture impossible. What was captured before comes back as CAPTURED: refund it."""

    def refund(self, intent: Intent, *, reference: str, amount: Decimal) -> str:
        """Give back ``amount``, once for each refund ``reference``. Gives the provider's id of it.

        Raises RefundRefused where the provider will never do it.
        """


def provider_of(payment: Payment) -> Provider:
    """The provider of this stage, which knows this payment. Raises PaymentError where another one was asked for it."""
    ours = provider()
    if payment.provider != ours.name:
        raise PaymentError(
            f"{payment.reference} is with {payment.provider}, and PAYMENT_PROVIDER is {ours.name}: set it back until"
            f" the payments of {payment.provider} are over."
        )
    return ours


@functools.cache
def provider() -> Provider:
    """The provider of this stage, made once a process."""
    if settings.PAYMENT_PROVIDER == "demo":
        from orders.payments.demo import DemoProvider

        return DemoProvider(settings.DEMO_PAYMENTS_URL)
    from orders.payments.stripe import StripeProvider  # slow to import: only where it is used

    return StripeProvider(settings.STRIPE_API_KEY, settings.STRIPE_API_URL)
