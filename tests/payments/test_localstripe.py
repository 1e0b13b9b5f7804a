"""Our side against localstripe, a Stripe that others wrote, where it is faithful.

It has the states of PaymentIntents, declines, the bank's questions, cancelling, refunds and signed webhooks. It has no
idempotency keys, no searches, no limit for refunds, no error codes: those are the stand-in's.
"""

import queue
import threading
from collections.abc import Iterator
from decimal import Decimal
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx
import pytest
from pytest_django import Settings

from orders.payments.stripe import StripeProvider
from orders.payments.webhook import read_event
from orders.status import PaymentState
from tests.payments.conftest import Served
from tests.payments.intents import known, stripe_intent

API_KEY = "sk_test_localstripe"
ASKS_THE_CUSTOMER = "4000002500003155"  # https://docs.stripe.com/testing#regulatory-cards


@pytest.fixture
def ours(localstripe: Served, settings: Settings) -> StripeProvider:
    settings.PAYMENT_TIMEOUT_SECONDS = 5
    return StripeProvider(API_KEY, localstripe.url)


@pytest.fixture
def http(localstripe: Served) -> Iterator[httpx.Client]:
    """Somebody else's hands on it: the browser's, the administrator's."""
    with httpx.Client(base_url=localstripe.url, auth=(API_KEY, ""), trust_env=False) as client:
        yield client


def test_a_payment_is_captured_found_and_given_back(ours: StripeProvider) -> None:
    paying = stripe_intent("pm_card_visa")

    charge = ours.capture(paying)

    assert charge.state == PaymentState.CAPTURED
    assert charge.captured == Decimal("12.30")
    paid = known(paying, charge)
    assert ours.look_up(paid) == ours.capture(paid) == ours.void(paid) == charge
    first = ours.refund(paid, reference=f"{paid.reference}-R1", amount=Decimal("2.30"))
    assert ours.refund(paid, reference=f"{paid.reference}-R1", amount=Decimal("2.30")) == first
    assert ours.refund(paid, reference=f"{paid.reference}-R2", amount=Decimal("10.00")) != first


def test_a_declined_card_is_declined(ours: StripeProvider) -> None:
    paying = stripe_intent("pm_card_chargeCustomerFail")

    charge = ours.capture(paying)

    assert (charge.state, charge.reason, charge.captured) == (PaymentState.DECLINED, "card_declined", Decimal("0.00"))
    assert ours.look_up(known(paying, charge)) == charge
    assert ours.void(known(paying, charge)).state == PaymentState.VOIDED


@pytest.mark.parametrize(("well", "state"), [(True, PaymentState.CAPTURED), (False, PaymentState.DECLINED)])
def test_a_bank_that_asks_is_answered_by_its_customer(
    ours: StripeProvider, http: httpx.Client, well: bool, state: PaymentState
) -> None:
    card = {"number": ASKS_THE_CUSTOMER, "exp_month": 12, "exp_year": 2099, "cvc": "123"}
    method = http.post("/v1/payment_methods", json={"type": "card", "card": card}).json()["id"]
    paying = stripe_intent(method)

    asked = ours.capture(paying)

    assert asked.state == PaymentState.REQUIRES_ACTION
    answer = {"client_secret": asked.client_secret, "success": well}
    http.post(f"/v1/payment_intents/{asked.provider_id}/_authenticate", json=answer).raise_for_status()
    charge = ours.look_up(known(paying, asked))
    assert charge.state == state


def test_what_waits_for_the_customer_can_be_voided(ours: StripeProvider, http: httpx.Client) -> None:
    card = {"number": ASKS_THE_CUSTOMER, "exp_month": 12, "exp_year": 2099, "cvc": "123"}
    paying = stripe_intent(http.post("/v1/payment_methods", json={"type": "card", "card": card}).json()["id"])
    asked = ours.capture(paying)

    assert ours.void(known(paying, asked)).state == PaymentState.VOIDED
    assert ours.void(known(paying, asked)).state == PaymentState.VOIDED
    assert ours.look_up(known(paying, asked)).state == PaymentState.VOIDED


def test_its_signed_news_are_understood(ours: StripeProvider, http: httpx.Client) -> None:
    heard: queue.Queue[tuple[bytes, str]] = queue.Queue()

    class Ear(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            heard.put((body, self.headers["Stripe-Signature"]))
            self.send_response(204)
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 -- the library's name
            pass

    ear = ThreadingHTTPServer(("127.0.0.1", 0), Ear)
    threading.Thread(target=ear.serve_forever, args=[0.02], daemon=True).start()
    try:
        hook = {"url": f"http://127.0.0.1:{ear.server_port}/", "secret": "whsec_local"}
        http.post("/_config/webhooks/ours", json=hook).raise_for_status()
        paying = stripe_intent("pm_card_visa")
        charge = ours.capture(paying)

        # payments of the tests before may still be told of
        news = next(
            news
            for news in iter(lambda: read_event(*heard.get(timeout=10), "whsec_local"), None)
            if news.reference == paying.reference
        )
        assert (news.kind, news.charge) == ("payment_intent.succeeded", charge)
    finally:
        ear.shutdown()
        ear.server_close()
