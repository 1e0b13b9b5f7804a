"""Placing an order. Called by the views."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from decimal import Decimal

from django.conf import settings
from django.db import transaction

from accounts.models import User
from catalog.services import CurrencyMismatch, hold_stock
from orders.events import OrderCreated
from orders.models import Order, Wishes, write_order
from orders.payments import provider
from vibecode.errors import Conflict, Unprocessable
from vibecode.outbox import publish


class UnknownPaymentMethod(Unprocessable):
    """The payment provider of this stage takes no such method."""

    code = "unknown-payment-method"
    title = "The payment method is unknown"


class TotalMismatch(Conflict):
    """The customer saw another total than the one they would pay."""

    code = "total-mismatch"
    title = "The total is another one"


@dataclass(frozen=True, slots=True)
class Basket:
    """What a customer wants: quantities by SKU, equal SKUs added up, SKUs in upper case."""

    quantities: Mapping[str, int]
    currency: str | None = None
    expected_total: Decimal | None = None
    wishes: Wishes = field(default_factory=Wishes)


def place_order(*, customer: User, basket: Basket) -> Order:
    """Place one order: hold its stock, price it, write it down, publish it. All or nothing.

    Raises UnknownPaymentMethod, UnknownSku, OutOfStock (naming every short line), TotalMismatch or CurrencyMismatch;
    then nothing was held or written.
    """
    wishes = replace(basket.wishes, payment_method=_known_method(basket.wishes.payment_method))
    with transaction.atomic(savepoint=False):
        lines = hold_stock(basket.quantities)
        currency = _one_currency({line.currency for line in lines}, basket.currency)
        total = sum((line.price * line.quantity for line in lines), Decimal(0))
        if basket.expected_total is not None and basket.expected_total != total:
            raise TotalMismatch(
                f"The total is {total} {currency}, not {basket.expected_total}.",
                total=str(total),
                currency=currency,
            )
        order = write_order(customer=customer, lines=lines, currency=currency, wishes=wishes)
        publish(
            OrderCreated.of(
                order,
                items=tuple({"sku": line.sku, "quantity": line.quantity, "unit_price": line.price} for line in lines),
            )
        )
    return order


def _known_method(wish: str) -> str:
    method = provider().method_for(wish)
    if method is None:
        said = f"{wish!r} is none that we take" if wish else "there is none"
        raise UnknownPaymentMethod(f"paymentMethod must name a payment method of {provider().name}; {said}.")
    return method


def _one_currency(found: set[str], asked: str | None) -> str:
    if len(found) > 1:
        raise CurrencyMismatch(f"One order has one currency; these products have {', '.join(sorted(found))}.")
    currency = found.pop() if found else settings.SHOP_CURRENCY
    if asked not in {None, currency}:
        raise CurrencyMismatch(f"These products are sold in {currency}, not in {asked}.")
    return currency
