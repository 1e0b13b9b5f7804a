"""Stripe behind the port, the way back: voids that a capture may overtake, refunds that are given once."""

from decimal import Decimal
from functools import partial
from typing import Any

import pytest

from orders.payments import Charge, PaymentError, RefundRefused
from orders.payments.stripe import StripeProvider
from orders.status import PaymentState
from tests.over_http import together
from tests.payments.intents import known, stripe_intent
from tests.payments.stripe_stand_in import StandIn


# --- voiding ---------------------------------------------------------------------------------------------------------
def test_a_void_before_everything_else_keeps_every_charge_away(our_stripe: StripeProvider, stand_in: StandIn) -> None:
    paying = stripe_intent()

    assert our_stripe.void(paying).state == PaymentState.VOIDED
    assert our_stripe.void(paying).state == PaymentState.VOIDED
    assert our_stripe.capture(paying).state == PaymentState.VOIDED
    assert our_stripe.look_up(paying).state == PaymentState.VOIDED
    assert stand_in.taken(paying.reference) == []


def test_a_void_after_a_capture_hands_back_the_capture(our_stripe: StripeProvider) -> None:
    paying = stripe_intent()
    charge = our_stripe.capture(paying)

    assert our_stripe.void(paying) == our_stripe.void(known(paying, charge)) == charge


@pytest.mark.parametrize("how", ["lost", "slow", "500", "done-500", "429", "409"])
def test_a_void_whose_answer_is_lost_may_be_repeated(our_stripe: StripeProvider, stand_in: StandIn, how: str) -> None:
    paying = stripe_intent("pm_card_authenticationRequired")
    asked = our_stripe.capture(paying)
    stand_in.breaks("cancel", how)

    with pytest.raises(PaymentError):
        our_stripe.void(paying)

    assert our_stripe.void(paying) == Charge(PaymentState.VOIDED, provider_id=asked.provider_id)


def test_a_capture_that_overtakes_the_void_comes_back_as_captured(
    our_stripe: StripeProvider, stand_in: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    paying = stripe_intent("pm_card_authenticationRequired")
    asked = known(paying, our_stripe.capture(paying))
    cancel = stand_in._cancel

    def too_late(made: dict[str, Any]) -> dict[str, Any]:
        stand_in._succeed(made)  # between our look and our cancelling
        return cancel(made)

    monkeypatch.setattr(stand_in, "_cancel", too_late)

    charge = our_stripe.void(asked)

    assert charge.state == PaymentState.CAPTURED
    assert charge.captured == Decimal("12.30")


def test_captures_and_voids_at_once_end_on_one_side(our_stripe: StripeProvider, stand_in: StandIn) -> None:
    for _ in range(5):
        paying = stripe_intent()

        charges = together([partial(our_stripe.capture, paying), partial(our_stripe.void, paying)] * 4)

        assert len({charge.state for charge in charges}) == 1
        taken = stand_in.taken(paying.reference)
        assert taken == ([1230] if charges[0].state == PaymentState.CAPTURED else [])


# --- giving back -----------------------------------------------------------------------------------------------------
def test_refunds_are_given_once_and_never_above_the_capture(our_stripe: StripeProvider, stand_in: StandIn) -> None:
    paying = stripe_intent()
    paid = known(paying, our_stripe.capture(paying))

    first = our_stripe.refund(paid, reference=f"{paying.reference}-R1", amount=Decimal("12.00"))
    again = our_stripe.refund(paid, reference=f"{paying.reference}-R1", amount=Decimal("12.00"))
    with pytest.raises(RefundRefused, match=r"0\.001 GBP is no amount"):
        our_stripe.refund(paid, reference=f"{paying.reference}-R2", amount=Decimal("0.001"))
    with pytest.raises(RefundRefused, match="InvalidRequestError 400 amount_too_large"):
        our_stripe.refund(paid, reference=f"{paying.reference}-R2", amount=Decimal("0.31"))
    our_stripe.refund(paying, reference=f"{paying.reference}-R3", amount=Decimal("0.30"))

    assert first == again
    assert [refund["amount"] for refund in stand_in.refunds.values()] == [1200, 30]
    assert stand_in.refunds[first]["metadata"] == {
        "reference": f"{paying.reference}-R1",
        "payment": paying.reference,
    }


@pytest.mark.parametrize("how", ["lost", "slow", "429", "html", "done-500"])
@pytest.mark.parametrize("days", [0, 1])
def test_a_refund_whose_answer_is_lost_is_given_once(
    our_stripe: StripeProvider, stand_in: StandIn, how: str, days: int
) -> None:
    paying = stripe_intent()
    paid = known(paying, our_stripe.capture(paying))
    stand_in.breaks("refund", how)

    with pytest.raises(PaymentError):
        our_stripe.refund(paid, reference=f"{paying.reference}-R1", amount=Decimal("5.00"))
    for _ in range(days):
        stand_in.a_day_later()
    our_stripe.refund(paid, reference=f"{paying.reference}-R1", amount=Decimal("5.00"))

    assert [refund["amount"] for refund in stand_in.refunds.values()] == [500]


def test_an_old_refund_is_found_behind_many_younger_ones(our_stripe: StripeProvider, stand_in: StandIn) -> None:
    paying = stripe_intent()
    paid = known(paying, our_stripe.capture(paying))
    given = [our_stripe.refund(paid, reference=f"{paying.reference}-R{n}", amount=Decimal("1.00")) for n in range(8)]

    stand_in.a_day_later()

    again = [our_stripe.refund(paid, reference=f"{paying.reference}-R{n}", amount=Decimal("1.00")) for n in range(8)]
    assert again == given
    assert len(stand_in.refunds) == 8


def test_a_refund_that_failed_later_is_not_taken_for_settled(our_stripe: StripeProvider, stand_in: StandIn) -> None:
    paying = stripe_intent()
    paid = known(paying, our_stripe.capture(paying))
    given = our_stripe.refund(paid, reference=f"{paying.reference}-R1", amount=Decimal("5.00"))

    stand_in.refunds[given]["status"] = "failed"

    with pytest.raises(RefundRefused, match=f"{given} is failed"):
        our_stripe.refund(paid, reference=f"{paying.reference}-R1", amount=Decimal("5.00"))
    assert len(stand_in.refunds) == 1


def test_what_was_never_captured_is_not_refunded(our_stripe: StripeProvider, stand_in: StandIn) -> None:
    with pytest.raises(RefundRefused, match="payment_intent_unexpected_state"):
        our_stripe.refund(stripe_intent(), reference="ORD-NONE-R1", amount=Decimal("1.00"))
    assert stand_in.refunds == {}
