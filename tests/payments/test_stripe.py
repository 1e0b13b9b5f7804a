"""Stripe behind the port, against a stand-in that keeps its rules: money is taken once, whatever answer is lost."""

from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest

from orders import services
from orders.models import Order, Payment
from orders.payments import Charge, Intent, PaymentError
from orders.payments.stripe import StripeProvider, from_minor_units, minor_units
from orders.status import PaymentState
from tests.over_http import together
from tests.payments.intents import known, stripe_intent
from tests.payments.stripe_stand_in import API_KEY, StandIn


# --- what may be named -----------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("wish", "method"),
    [
        ("pm_card_visa", "pm_card_visa"),
        ("pm_1NO0qQLkdIwHu7ixraBm864S", "pm_1NO0qQLkdIwHu7ixraBm864S"),
        ("", None),
        ("demo_ok", None),
        ("tok_visa", None),
        ("pm_", None),
        ("pm_x; drop", None),
        ("pm_" + "x" * 60, None),
        ("4242424242424242", None),
        ("pm_4242424242424242", None),
        ("pm_card_visa\n", None),
    ],
)
def test_only_ids_of_payment_methods_are_taken(our_stripe: StripeProvider, wish: str, method: str | None) -> None:
    assert our_stripe.method_for(wish) == method


# --- amounts ---------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("amount", "currency", "units"),
    [
        ("12.30", "GBP", 1230),
        ("0.01", "EUR", 1),
        ("99999999999.99", "USD", 9999999999999),
        ("500.00", "JPY", 500),
        ("500.00", "KRW", 500),
        ("5.12", "KWD", 5120),
        ("5.00", "ISK", 500),
        ("5.00", "UGX", 500),
        ("10.45", "HUF", 1045),
    ],
)
def test_amounts_are_counted_in_the_smallest_unit(amount: str, currency: str, units: int) -> None:
    assert minor_units(Decimal(amount), currency) == units
    assert minor_units(Decimal(amount), currency.lower()) == units
    assert from_minor_units(units, currency.lower()) == Decimal(amount)
    assert from_minor_units(units, currency).as_tuple().exponent == -2


@pytest.mark.parametrize(
    ("amount", "currency"), [("500.50", "JPY"), ("5.50", "ISK"), ("1.001", "GBP"), ("1.0015", "KWD")]
)
def test_an_amount_that_the_currency_does_not_have_is_never_rounded(amount: str, currency: str) -> None:
    with pytest.raises(ValueError, match=currency):
        minor_units(Decimal(amount), currency)


def test_an_amount_that_cannot_be_charged_is_declined_and_never_sent(
    our_stripe: StripeProvider, stand_in: StandIn
) -> None:
    paying = stripe_intent(amount="500.50", currency="JPY")

    assert our_stripe.capture(paying) == Charge(PaymentState.DECLINED, reason="amount_invalid")
    assert our_stripe.void(paying) == Charge(PaymentState.VOIDED)
    assert stand_in.intents == {}


# --- taking money ----------------------------------------------------------------------------------------------------
def test_a_payment_is_captured_once_however_often_it_is_asked_for(
    our_stripe: StripeProvider, stand_in: StandIn
) -> None:
    paying = stripe_intent()

    charge = our_stripe.capture(paying)

    assert charge.state == PaymentState.CAPTURED
    assert charge.captured == Decimal("12.30")
    assert stand_in.calls == {"create": 1, "confirm": 1}
    assert [our_stripe.capture(paying), our_stripe.capture(known(paying, charge))] == [charge, charge]
    assert our_stripe.look_up(paying) == our_stripe.look_up(known(paying, charge)) == charge
    assert stand_in.taken(paying.reference) == [1230]
    (made,) = stand_in.of(paying.reference)
    assert made["currency"] == "gbp"
    assert made["payment_method"] == "pm_card_visa"


def test_sixteen_at_once_take_the_money_once(our_stripe: StripeProvider, stand_in: StandIn) -> None:
    paying = stripe_intent()

    charges = together([lambda: our_stripe.capture(paying)] * 16)

    assert {charge.state for charge in charges} == {PaymentState.CAPTURED}
    assert stand_in.taken(paying.reference) == [1230]
    assert len(stand_in.of(paying.reference)) == 1


def test_a_declined_card_says_why(our_stripe: StripeProvider, stand_in: StandIn) -> None:
    paying = stripe_intent("pm_card_chargeDeclinedInsufficientFunds")

    charge = our_stripe.capture(paying)

    assert charge.state == PaymentState.DECLINED
    assert charge.reason == "insufficient_funds"
    assert charge.captured == 0
    assert charge.client_secret == ""
    assert our_stripe.capture(paying) == our_stripe.look_up(paying) == charge
    assert our_stripe.void(paying).state == PaymentState.VOIDED
    assert stand_in.taken(paying.reference) == []


@pytest.mark.parametrize(
    ("paying", "reason"),
    [(stripe_intent("pm_card_missing"), "resource_missing"), (stripe_intent(amount="0.10"), "amount_too_small")],
)
def test_what_stripe_will_never_make_is_declined_with_its_reason(
    our_stripe: StripeProvider, stand_in: StandIn, paying: Intent, reason: str
) -> None:
    for charge in (our_stripe.capture(paying), our_stripe.look_up(paying)):
        assert charge == Charge(PaymentState.DECLINED, reason=reason)
    assert our_stripe.void(paying) == Charge(PaymentState.VOIDED)
    assert stand_in.intents == {}


def test_a_bank_that_asks_is_answered_by_its_customer(our_stripe: StripeProvider, stand_in: StandIn) -> None:
    paying = stripe_intent("pm_card_authenticationRequired")

    asked = our_stripe.capture(paying)

    assert asked.state == PaymentState.REQUIRES_ACTION
    assert asked.client_secret.startswith(f"{asked.provider_id}_secret_")
    assert our_stripe.capture(paying) == our_stripe.look_up(paying) == asked
    stand_in.answer_the_bank(asked.provider_id)
    # the kept answer to the confirmation is older than the customer's
    assert our_stripe.capture(paying).state == PaymentState.CAPTURED
    assert our_stripe.look_up(paying).captured == Decimal("12.30")
    assert stand_in.taken(paying.reference) == [1230]


def test_a_customer_who_fails_at_the_bank_is_declined(our_stripe: StripeProvider, stand_in: StandIn) -> None:
    paying = stripe_intent("pm_card_authenticationRequired")
    asked = our_stripe.capture(paying)

    stand_in.answer_the_bank(asked.provider_id, well=False)

    charge = our_stripe.look_up(paying)
    assert charge.state == PaymentState.DECLINED
    assert charge.reason == "payment_intent_authentication_failure"


def test_a_bank_that_has_not_decided_is_unknown_and_cannot_be_voided(
    our_stripe: StripeProvider, stand_in: StandIn
) -> None:
    paying = stripe_intent("pm_card_slowBank")

    assert our_stripe.capture(paying).state == PaymentState.UNKNOWN
    assert our_stripe.look_up(paying).state == PaymentState.UNKNOWN
    with pytest.raises(PaymentError, match="processing"):
        our_stripe.void(paying)
    assert stand_in.taken(paying.reference) == []


# --- lost answers ----------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("call", ["create", "confirm"])
@pytest.mark.parametrize("how", ["lost", "slow", "429", "409", "html", "500", "done-500"])
def test_whatever_answer_is_lost_the_money_is_taken_once_at_most(
    our_stripe: StripeProvider, stand_in: StandIn, call: str, how: str
) -> None:
    paying = stripe_intent()
    stand_in.breaks(call, how)

    with pytest.raises(PaymentError) as lost:
        our_stripe.capture(paying)

    assert "In words" not in str(lost.value)
    assert API_KEY not in str(lost.value)
    charge = our_stripe.look_up(paying)
    if charge.state == PaymentState.INTENDED:
        charge = our_stripe.capture(paying)
    if (call, how) in {("create", "500"), ("create", "done-500")}:
        # Stripe keeps its own failure for a day: nothing can be charged, and voiding says so at once
        assert charge == Charge(PaymentState.DECLINED, reason="api_error")
        assert our_stripe.void(paying) == Charge(PaymentState.VOIDED)
        assert stand_in.taken(paying.reference) == []
    else:
        assert charge.state == PaymentState.CAPTURED
        assert stand_in.taken(paying.reference) == [1230]


def test_looking_up_takes_no_money_and_finds_it_later(our_stripe: StripeProvider, stand_in: StandIn) -> None:
    paying = stripe_intent()

    seen = our_stripe.look_up(paying)

    assert seen.state == PaymentState.INTENDED
    assert stand_in.taken(paying.reference) == []
    assert our_stripe.capture(paying).provider_id == seen.provider_id


def test_after_a_day_the_id_is_enough(our_stripe: StripeProvider, stand_in: StandIn) -> None:
    paying = stripe_intent()
    charge = our_stripe.capture(paying)

    stand_in.a_day_later()

    assert our_stripe.look_up(known(paying, charge)) == our_stripe.capture(known(paying, charge)) == charge
    assert stand_in.taken(paying.reference) == [1230]


@pytest.mark.parametrize("how", ["lost", "slow"])
def test_after_a_day_without_the_id_a_search_finds_what_was_taken(
    our_stripe: StripeProvider, stand_in: StandIn, how: str
) -> None:
    paying = stripe_intent()
    stand_in.breaks("confirm", how)
    with pytest.raises(PaymentError):
        our_stripe.capture(paying)

    stand_in.a_day_later()

    charge = our_stripe.look_up(paying)
    assert charge.state == PaymentState.CAPTURED
    assert our_stripe.void(paying) == charge
    assert stand_in.taken(paying.reference) == [1230]


def test_a_key_that_was_used_for_something_else_leads_to_a_search(
    our_stripe: StripeProvider, stand_in: StandIn
) -> None:
    paying = stripe_intent()
    charge = our_stripe.capture(paying)
    changed = Intent(paying.reference, paying.amount, paying.currency, "pm_card_mastercard")

    with pytest.raises(PaymentError, match="IdempotencyError 400 idempotency_key_reused req_"):
        our_stripe.look_up(changed)
    stand_in.indexed.update(stand_in.intents)

    assert our_stripe.look_up(changed) == charge
    assert our_stripe.capture(changed) == charge
    assert stand_in.taken(paying.reference) == [1230]


def test_nobody_there_is_a_payment_error(our_stripe: StripeProvider, stand_in: StandIn) -> None:
    stand_in.server.shutdown()
    stand_in.server.server_close()

    for ask in (our_stripe.capture, our_stripe.look_up, our_stripe.void):
        with pytest.raises(PaymentError, match="APIConnectionError"):
            ask(stripe_intent())


def test_a_wrong_api_key_is_a_payment_error_that_does_not_tell_it(stand_in: StandIn) -> None:
    with pytest.raises(PaymentError) as refused:
        StripeProvider("sk_test_wrong_and_secret", stand_in.url).capture(stripe_intent())

    assert "401" in str(refused.value)
    assert "secret" not in str(refused.value)


# --- with the service ------------------------------------------------------------------------------------------------
@pytest.fixture
def by_card(placed: Callable[..., Order], our_stripe: StripeProvider, monkeypatch: pytest.MonkeyPatch) -> Order:
    """An order that is paid with Stripe."""
    order = placed()
    Order.objects.filter(pk=order.pk).update(payment_method="pm_card_visa")
    for module in ("orders.payments", "orders.services.paying"):
        monkeypatch.setattr(f"{module}.provider", lambda: our_stripe)
    return order


def test_the_next_try_after_a_lost_answer_asks_little_enough_to_end_within_its_task(
    by_card: Order, stand_in: StandIn
) -> None:
    stand_in.breaks("create", "lost")
    stand_in.breaks("confirm", "429")
    for _ in range(2):
        with pytest.raises(PaymentError):
            services.pay(order=by_card)
    assert stand_in.calls == {"create": 2, "retrieve": 2, "search": 1, "confirm": 1}
    stand_in.calls.clear()

    services.pay(order=by_card)

    assert stand_in.calls == {"retrieve": 2, "confirm": 1}, "it is known by its id now"
    assert stand_in.taken(by_card.number) == [500]


def test_a_look_up_that_took_long_leaves_the_capture_to_the_next_try(
    by_card: Order, stand_in: StandIn, settings: Any
) -> None:
    stand_in.breaks("create", "lost")
    with pytest.raises(PaymentError):
        services.pay(order=by_card)
    settings.PAYMENT_TIMEOUT_SECONDS = 0  # whatever it takes is too long

    with pytest.raises(PaymentError, match="so slowly"):
        services.pay(order=by_card)

    assert stand_in.calls["confirm"] == 0
    assert Payment.objects.get(order=by_card).provider_id == stand_in.of(by_card.number)[0]["id"]
    settings.PAYMENT_TIMEOUT_SECONDS = 8
    assert services.pay(order=by_card).state == PaymentState.CAPTURED
