"""Stripe's news: only what Stripe signed lately counts, and it comes out in our words."""

import hashlib
import hmac
import json
import re
import time
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest

from orders.payments import Charge
from orders.payments.webhook import NotSigned, RefundNews, StripeEvent, read_event
from orders.status import PaymentState, RefundState
from vibecode.errors import Malformed

SECRET = "whsec_of_the_tests"


def signature(payload: bytes, *, at: float | None = None, secret: str = SECRET) -> str:
    """As https://docs.stripe.com/webhooks#verify-manually writes it, without the library."""
    moment = int(time.time() if at is None else at)
    mac = hmac.new(secret.encode(), f"{moment}.".encode() + payload, hashlib.sha256).hexdigest()
    return f"t={moment},v1={mac},v0=0123"


def event(kind: str, about: Any) -> bytes:
    return json.dumps({"id": "evt_1", "object": "event", "type": kind, "data": {"object": about}}).encode()


def intent(status: str, **more: Any) -> dict[str, Any]:
    return {
        "id": "pi_1",
        "object": "payment_intent",
        "amount": 1230,
        "amount_received": 0,
        "client_secret": "pi_1_secret_2",
        "currency": "gbp",
        "last_payment_error": None,
        "metadata": {"reference": "ORD-1"},
        "status": status,
        **more,
    }


def refund(status: str, **more: Any) -> dict[str, Any]:
    ours = {"reference": "ORD-1-R1", "payment": "ORD-1"}
    return {
        "id": "re_1",
        "object": "refund",
        "amount": 500,
        "currency": "gbp",
        "metadata": ours,
        "status": status,
        **more,
    }


def read(payload: bytes) -> StripeEvent | None:
    return read_event(payload, signature(payload), SECRET)


@pytest.mark.parametrize(
    ("kind", "about", "charge"),
    [
        (
            "payment_intent.succeeded",
            intent("succeeded", amount_received=1230),
            Charge(PaymentState.CAPTURED, "pi_1", Decimal("12.30")),
        ),
        (
            "payment_intent.payment_failed",
            intent(
                "requires_payment_method", last_payment_error={"code": "card_declined", "decline_code": "lost_card"}
            ),
            Charge(PaymentState.DECLINED, "pi_1", reason="lost_card"),
        ),
        ("payment_intent.canceled", intent("canceled"), Charge(PaymentState.VOIDED, "pi_1")),
        (
            "payment_intent.requires_action",
            intent("requires_action"),
            Charge(PaymentState.REQUIRES_ACTION, "pi_1", client_secret="pi_1_secret_2"),
        ),
    ],
)
def test_news_of_a_payment_are_a_charge(kind: str, about: dict[str, Any], charge: Charge) -> None:
    assert read(event(kind, about)) == StripeEvent("evt_1", "ORD-1", kind, charge=charge)


def test_news_in_yen_are_not_divided() -> None:
    news = read(event("payment_intent.succeeded", intent("succeeded", amount_received=500, currency="jpy")))

    assert news is not None
    assert news.charge is not None
    assert news.charge.captured == Decimal("500.00")


def test_a_refunded_charge_says_what_was_given_back_by_whomever() -> None:
    about = {
        "id": "ch_1",
        "object": "charge",
        "amount_captured": 1230,
        "amount_refunded": 700,
        "currency": "gbp",
        "metadata": {"reference": "ORD-1"},
        "payment_intent": "pi_1",
    }

    assert read(event("charge.refunded", about)) == StripeEvent(
        "evt_1",
        "ORD-1",
        "charge.refunded",
        charge=Charge(PaymentState.CAPTURED, "pi_1", Decimal("12.30")),
        refunded=Decimal("7.00"),
    )


@pytest.mark.parametrize(
    ("kind", "about", "state", "reason"),
    [
        ("refund.updated", refund("pending"), RefundState.PENDING, ""),
        ("refund.updated", refund("succeeded"), RefundState.SETTLED, ""),
        ("charge.refund.updated", refund("canceled"), RefundState.FAILED, ""),
        (
            "refund.failed",
            refund("failed", failure_reason="lost_or_stolen_card"),
            RefundState.FAILED,
            "lost_or_stolen_card",
        ),
    ],
)
def test_news_of_a_refund_name_both_our_references(
    kind: str, about: dict[str, Any], state: RefundState, reason: str
) -> None:
    news = RefundNews("ORD-1-R1", "re_1", Decimal("5.00"), state, reason)

    assert read(event(kind, about)) == StripeEvent("evt_1", "ORD-1", kind, refund=news)


@pytest.mark.parametrize(
    ("kind", "about"),
    [
        ("payment_intent.succeeded", intent("succeeded", metadata={})),
        ("payment_intent.succeeded", intent("succeeded", metadata=None)),
        ("payment_intent.created", intent("requires_confirmation")),
        ("refund.updated", refund("succeeded", metadata={"reference": "ORD-1-R1"})),
        ("charge.refunded", {"id": "ch_1", "metadata": {}}),
        ("customer.created", {"id": "cus_1"}),
    ],
)
def test_what_is_not_about_us_is_nothing(kind: str, about: dict[str, Any]) -> None:
    assert read(event(kind, about)) is None


PAYLOAD = event("payment_intent.succeeded", intent("succeeded", amount_received=1230))


@pytest.mark.parametrize(
    "forge",
    [
        lambda: (PAYLOAD, "", SECRET),
        lambda: (PAYLOAD, "nonsense", SECRET),
        lambda: (PAYLOAD, "t=now,v1=00", SECRET),
        lambda: (PAYLOAD, signature(PAYLOAD).replace("v1=", "v2="), SECRET),
        lambda: (PAYLOAD, signature(PAYLOAD, secret="whsec_of_somebody_else"), SECRET),
        lambda: (PAYLOAD, signature(PAYLOAD, at=time.time() - 310), SECRET),
        lambda: (PAYLOAD, re.sub(r"t=\d+", f"t={time.time() + 5:.0f}", signature(PAYLOAD)), SECRET),
        lambda: (PAYLOAD, signature(PAYLOAD, secret=""), ""),
        lambda: (PAYLOAD.replace(b"1230", b"9999"), signature(PAYLOAD), SECRET),
        lambda: (b"\xff" + PAYLOAD, signature(b"\xff" + PAYLOAD), SECRET),
    ],
)
def test_what_stripe_did_not_sign_lately_is_refused(forge: Callable[[], tuple[bytes, str, str]]) -> None:
    payload, header, secret = forge()

    with pytest.raises(NotSigned) as refused:
        read_event(payload, header, secret)
    assert isinstance(refused.value, Malformed)  # a 400
    assert SECRET not in str(refused.value)


def test_a_signature_is_good_for_five_minutes_and_with_one_of_several_secrets() -> None:
    assert read_event(PAYLOAD, signature(PAYLOAD, at=time.time() - 290), SECRET) is not None
    rolled = signature(PAYLOAD, secret="whsec_old") + "," + signature(PAYLOAD).split(",")[1]  # while a secret is rolled
    assert read_event(PAYLOAD, rolled, SECRET) is not None


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b'"text"',
        b"{}",
        json.dumps({"id": "evt_1", "type": "payment_intent.succeeded"}).encode(),
        event("payment_intent.succeeded", None),
        event("payment_intent.succeeded", intent("succeeded", amount_received="many")),
        event("payment_intent.succeeded", {"metadata": {"reference": "ORD-1"}}),
        event("refund.updated", refund("strange")),
    ],
)
def test_what_is_signed_and_yet_no_event_is_malformed(payload: bytes) -> None:
    with pytest.raises(Malformed) as refused:
        read(payload)
    assert not isinstance(refused.value, NotSigned)
