"""Intents of references that no other test has."""

import itertools
from decimal import Decimal

from orders.payments import Charge, Intent

_numbers = itertools.count(1)


def intent(method: str = "demo_ok", amount: str = "12.30", currency: str = "GBP") -> Intent:
    """Something to pay."""
    return Intent(f"ORD-{next(_numbers):05}", Decimal(amount), currency, method)


def stripe_intent(method: str = "pm_card_visa", amount: str = "12.30", currency: str = "GBP") -> Intent:
    """Something to pay with Stripe."""
    return intent(method, amount, currency)


def known(paying: Intent, charge: Charge) -> Intent:
    """The intent as it is once the provider's id was written down."""
    return Intent(paying.reference, paying.amount, paying.currency, paying.method, charge.provider_id)
