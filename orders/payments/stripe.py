"""Stripe behind the port: one PaymentIntent for each reference, created unconfirmed, then confirmed. By provider().

Creating takes no money. So after a lost answer the creation is repeated under its idempotency key, which tells the
PaymentIntent's id, and the PaymentIntent tells the rest: it succeeds once at most, whoever confirms it how often.
https://docs.stripe.com/payments/paymentintents/lifecycle

What Stripe keeps for an idempotency key is the first answer, errors and 500s too, for at least 24 hours; other
parameters are refused; a 429 and a conflict with a running request are not kept. A kept answer is as old as its
request, so it is never taken for news. https://docs.stripe.com/api/idempotent_requests
"""

from collections.abc import Mapping
from decimal import Decimal
from re import fullmatch, search
from typing import Any

import stripe
from django.conf import settings

from orders.payments import Charge, Intent, PaymentError, RefundRefused
from orders.status import PaymentState

# https://docs.stripe.com/currencies#zero-decimal and #three-decimal
NO_DECIMALS = frozenset({
    "BIF", "CLP", "DJF", "GNF", "JPY", "KMF", "KRW", "MGA", "PYG", "RWF", "VND", "VUV", "XAF", "XOF", "XPF",
})  # fmt: skip
THREE_DECIMALS = frozenset({"BHD", "JOD", "KWD", "OMR", "TND"})
# Whole units only, and yet written with two decimals. https://docs.stripe.com/currencies#special-cases
WHOLE = frozenset({"ISK", "UGX"})

# https://docs.stripe.com/payments/paymentintents/lifecycle
STATE_OF = {
    "requires_confirmation": PaymentState.INTENDED,
    "requires_payment_method": PaymentState.INTENDED,  # DECLINED after a failed attempt
    "requires_action": PaymentState.REQUIRES_ACTION,
    "processing": PaymentState.UNKNOWN,
    "succeeded": PaymentState.CAPTURED,
    "canceled": PaymentState.VOIDED,
}

type Values = Mapping[str, Any]


class NeverMade(Exception):
    """Stripe refuses to make a PaymentIntent of this reference, and would refuse again: nothing can be charged."""


class StripeProvider:
    """A Provider. Two requests a call where Stripe's id is known, else three; four where Stripe forgot the key."""

    name = "stripe"

    def __init__(self, api_key: str, api_url: str = "") -> None:
        self.api = stripe.StripeClient(
            api_key,
            base_addresses={"api": api_url} if api_url else None,
            max_network_retries=0,  # the workflow retries
            http_client=stripe.RequestsClient(timeout=settings.PAYMENT_TIMEOUT_SECONDS),
        ).v1

    def method_for(self, wish: str) -> str | None:
        """The id of a Stripe PaymentMethod as it is; None for every other wish, and for what holds a card's number."""
        return wish if fullmatch(r"pm_[A-Za-z0-9_]{3,47}", wish) and not search(r"\d{12}", wish) else None

    def capture(self, intent: Intent) -> Charge:
        """Take the money, once for each reference. After an earlier attempt, look up first. Raises PaymentError.

        A declined card is DECLINED with Stripe's decline code (https://docs.stripe.com/declines/codes); a bank that
        asks its customer is REQUIRES_ACTION with the client secret for the browser.
        """
        try:
            known = self._retrieve(intent.provider_id) if intent.provider_id else self._create(intent)
        except NeverMade as refusal:
            return Charge(PaymentState.DECLINED, reason=str(refusal))
        if known["status"] == "requires_confirmation":
            known = self._confirm(known["id"], key=f"{intent.reference}-confirm")
        return charge_of(known)

    def look_up(self, intent: Intent) -> Charge:
        """What became of a reference. Never takes money. Raises PaymentError."""
        try:
            return charge_of(self._find(intent))
        except NeverMade as refusal:
            return Charge(PaymentState.DECLINED, reason=str(refusal))

    def void(self, intent: Intent) -> Charge:
        """Cancel the PaymentIntent: CAPTURED if it has succeeded before, else VOIDED. Raises PaymentError.

        One that was never asked for is made to be cancelled, so that a capture on its way finds it so.
        """
        try:
            known = self._find(intent)
        except NeverMade:
            return Charge(PaymentState.VOIDED)
        if known["status"] not in {"succeeded", "canceled"}:
            known = self._cancel(known["id"])
        charge = charge_of(known)
        if charge.state not in {PaymentState.CAPTURED, PaymentState.VOIDED}:
            raise PaymentError(f"Stripe cannot cancel {charge.provider_id} while it is {known['status']}")
        return charge

    def refund(self, intent: Intent, *, reference: str, amount: Decimal) -> str:
        """Give back ``amount``, once for each refund ``reference``: older refunds are searched for it first.

        Raises RefundRefused where Stripe says no (more than was captured) or the refund has failed, else PaymentError.
        """
        try:
            units = minor_units(amount, intent.currency)
            paid = intent.provider_id or str(self._find(intent)["id"])
            values = self._refund_of(paid, reference)
            if values is None:
                values = self.api.refunds.create(
                    {
                        "payment_intent": paid,
                        "amount": units,
                        "metadata": {"reference": reference, "payment": intent.reference},
                    },
                    {"idempotency_key": reference},
                ).to_dict()
        except (NeverMade, ValueError) as refusal:
            raise RefundRefused(f"Stripe cannot refund {reference} of {intent.reference}: {refusal}") from refusal
        except stripe.InvalidRequestError as error:
            raise RefundRefused(_in_short(error)) from error
        except stripe.StripeError as error:
            raise _payment_error(error) from error
        if values["status"] in {"failed", "canceled"}:
            raise RefundRefused(f"Stripe's refund {values['id']} is {values['status']}")
        return str(values["id"])

    def _refund_of(self, paid: str, reference: str) -> Values | None:
        """The refund that carries our reference, however long ago it was asked for."""
        for refund in self.api.refunds.list({"payment_intent": paid, "limit": 100}).auto_paging_iter():
            values = refund.to_dict()
            if (values["metadata"] or {}).get("reference") == reference:
                return values
        return None

    # --- one PaymentIntent ----------------------------------------------------------------------------------
    def _find(self, intent: Intent) -> Values:
        """The PaymentIntent of a reference as it is now, made if there is none. Raises NeverMade, PaymentError.

        Where Stripe has forgotten the key, or keeps another request under it, a search tells what was there before:
        at that age the index of searches is true. https://docs.stripe.com/search#data-freshness
        """
        if intent.provider_id:
            return self._retrieve(intent.provider_id)
        try:
            made = self._create(intent)
        except NeverMade:
            if older := self._search(intent.reference):
                return older
            raise
        # One that nobody has confirmed may stand before another that took the money days ago.
        return self._search(intent.reference, made) or made if made["status"] == "requires_confirmation" else made

    def _create(self, intent: Intent) -> Values:
        """The PaymentIntent under a reference's key as it is now, made if there is none. Raises NeverMade."""
        try:
            amount = minor_units(intent.amount, intent.currency)
        except ValueError as error:
            raise NeverMade("amount_invalid") from error
        try:
            made = self.api.payment_intents.create(
                {
                    "amount": amount,
                    "currency": intent.currency.lower(),
                    "payment_method": intent.method,
                    # payment_method_types is refused since API version 2026-09-30.
                    "allowed_payment_method_types": ["card"],
                    "metadata": {"reference": intent.reference},
                },
                {"idempotency_key": f"{intent.reference}-create"},
            )
        except (stripe.InvalidRequestError, stripe.CardError) as error:
            raise NeverMade(_reason(error)) from error
        except stripe.IdempotencyError as error:
            if older := self._search(intent.reference):
                return older
            raise _payment_error(error) from error
        except stripe.StripeError as error:
            if _is_replay(error.headers):  # kept: nobody has ever learned an id that could be confirmed
                raise NeverMade(_reason(error)) from error
            raise _payment_error(error) from error
        return self._as_it_is_now(made)

    def _confirm(self, made: str, *, key: str | None) -> Values:
        """Ask the bank for the money."""
        try:
            confirmed = self.api.payment_intents.confirm(made, {}, {"idempotency_key": key} if key else {})
        except (stripe.CardError, stripe.InvalidRequestError) as error:
            return self._after(error, made)
        except stripe.StripeError as error:
            # Stripe keeps a failure of its own. Without a key the PaymentIntent's state guards us, and that is enough.
            if key and _is_replay(error.headers):
                return self._confirm(made, key=None)
            raise _payment_error(error) from error
        return self._as_it_is_now(confirmed)

    def _cancel(self, made: str) -> Values:
        """No key: cancelling is harmless, and a kept failure would stay in the way."""
        try:
            return self.api.payment_intents.cancel(made).to_dict()
        except stripe.InvalidRequestError as error:
            return self._after(error, made)
        except stripe.StripeError as error:
            raise _payment_error(error) from error

    def _retrieve(self, made: str) -> Values:
        try:
            return self.api.payment_intents.retrieve(made).to_dict()
        except stripe.StripeError as error:
            raise _payment_error(error) from error

    def _search(self, reference: str, known: Values | None = None) -> Values | None:
        """A PaymentIntent of a reference other than the known one, the one that took the money if any did."""
        try:
            found = self.api.payment_intents.search({"query": f"metadata['reference']:'{reference}'"}).data
        except stripe.StripeError as error:
            raise _payment_error(error) from error
        found = sorted(found, key=lambda made: made.status != "succeeded")
        return next((self._retrieve(made.id) for made in found if not known or made.id != known["id"]), None)

    def _as_it_is_now(self, answer: stripe.PaymentIntent) -> Values:
        response = answer.last_response
        return self._retrieve(answer.id) if response and _is_replay(response.headers) else answer.to_dict()

    def _after(self, error: stripe.StripeError, made: str) -> Values:
        """The PaymentIntent that an error speaks of; it comes with the error where its state is the reason."""
        if _is_replay(error.headers):
            return self._retrieve(made)
        values: Values | None = _details(error).get("payment_intent")
        return values or self._retrieve(made)


def charge_of(made: Values) -> Charge:
    """What a PaymentIntent, as Stripe writes it in answers and in events, says of the money."""
    state = STATE_OF.get(made["status"], PaymentState.UNKNOWN)
    failure = made.get("last_payment_error") or {}
    if made["status"] == "requires_payment_method" and failure:
        state = PaymentState.DECLINED
    taken = made["amount_received"] if state == PaymentState.CAPTURED else 0
    return Charge(
        state=state,
        provider_id=made["id"],
        captured=from_minor_units(taken, made["currency"]),
        reason=(failure.get("decline_code") or failure.get("code") or "") if state == PaymentState.DECLINED else "",
        client_secret=made["client_secret"] if state == PaymentState.REQUIRES_ACTION else "",
    )


def minor_units(amount: Decimal, currency: str) -> int:
    """An amount as Stripe counts it: in the smallest unit, which three-decimal currencies round to tens.

    Raises ValueError for what the currency does not have, such as half a yen: prices are never rounded here.
    https://docs.stripe.com/currencies#minor-units
    """
    units = amount.scaleb(_places(currency))
    step = 100 if currency.upper() in WHOLE else 10 if currency.upper() in THREE_DECIMALS else 1
    if units % step:
        raise ValueError(f"{amount} {currency} is no amount that can be charged")
    return int(units)


def from_minor_units(units: int, currency: str) -> Decimal:
    """What Stripe counts as an amount of ours."""
    return Decimal(units).scaleb(-_places(currency)).quantize(Decimal("0.01"))


def _places(currency: str) -> int:
    return 0 if currency.upper() in NO_DECIMALS else 3 if currency.upper() in THREE_DECIMALS else 2


def _is_replay(headers: Mapping[str, str] | None) -> bool:
    """Whether it is an answer that Stripe kept. The names of headers are found in any case."""
    return (headers or {}).get("Idempotent-Replayed") == "true"


def _details(error: stripe.StripeError) -> Values:
    body = error.json_body
    return body["error"] if isinstance(body, dict) and isinstance(body.get("error"), dict) else {}


def _reason(error: stripe.StripeError) -> str:
    details = _details(error)
    return str(details.get("decline_code") or details.get("code") or details.get("type") or "refused")


def _payment_error(error: stripe.StripeError) -> PaymentError:
    return PaymentError(_in_short(error))


def _in_short(error: stripe.StripeError) -> str:
    """An error without Stripe's own words: they may quote what was sent."""
    known = [str(part) for part in (error.http_status, _details(error).get("code"), error.request_id) if part]
    return " ".join(["Stripe:", type(error).__name__, *known])
