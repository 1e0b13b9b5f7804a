"""The demo provider over real HTTP: what each method does, and our side of it."""

import threading
import time
from decimal import Decimal

import httpx
import pytest
from pytest_django import Settings

from orders.payments import Charge, PaymentError, RefundRefused
from orders.payments.demo import METHODS, DemoProvider
from orders.status import PaymentState
from tests.payments.call import call, until
from tests.payments.conftest import LATE, SLOW, Demo
from tests.payments.intents import intent
from vibecode.local import payment_books


def test_our_side_and_the_server_know_the_same_methods(shop: DemoProvider) -> None:
    assert set(payment_books.METHODS) == METHODS
    assert shop.method_for("") == "demo_ok"
    assert {method: shop.method_for(method) for method in METHODS} == {method: method for method in METHODS}
    assert shop.method_for("demo_free") is None
    assert shop.method_for("4242424242424242") is None


def test_a_payment_is_captured_once_however_often_it_is_asked_for(demo: Demo, shop: DemoProvider) -> None:
    paying = intent()

    charges = [shop.capture(paying) for _ in range(3)]

    assert charges[0].state == PaymentState.CAPTURED
    assert charges[0].captured == Decimal("12.30")
    assert charges[0].provider_id
    assert charges[1:] == charges[:1] * 2
    assert shop.look_up(paying) == charges[0]
    assert demo.captured(paying.reference) == ["12.30"]
    assert demo.books(paying.reference)["attempts"] == ["captured", "replayed", "replayed"]


def test_looking_up_takes_no_money(demo: Demo, shop: DemoProvider) -> None:
    paying = intent()

    assert shop.look_up(paying) == Charge(PaymentState.INTENDED)
    assert demo.books(paying.reference) == {"charges": [], "refunds": [], "attempts": []}


def test_a_declined_card_says_why_and_takes_nothing(demo: Demo, shop: DemoProvider) -> None:
    paying = intent("demo_decline")

    for charge in (shop.capture(paying), shop.capture(paying), shop.look_up(paying)):
        assert charge.state == PaymentState.DECLINED
        assert charge.reason == "card_declined"
        assert charge.captured == 0
    assert demo.captured(paying.reference) == []


def test_flaky_fails_twice_and_then_charges_once(demo: Demo, shop: DemoProvider) -> None:
    paying = intent("demo_flaky")

    for _ in range(2):
        with pytest.raises(PaymentError, match="503 unavailable"):
            shop.capture(paying)
    assert demo.captured(paying.reference) == []
    assert shop.capture(paying).state == PaymentState.CAPTURED
    assert demo.captured(paying.reference) == ["12.30"]


def test_down_never_answers_and_never_charges(demo: Demo, shop: DemoProvider) -> None:
    paying = intent("demo_down")

    started = time.monotonic()
    with pytest.raises(PaymentError, match="TimeoutError"):
        shop.capture(paying)

    assert 0.9 < time.monotonic() - started < 3
    assert shop.look_up(paying) == Charge(PaymentState.INTENDED)
    assert shop.void(paying) == Charge(PaymentState.VOIDED)
    assert shop.capture(paying).state == PaymentState.VOIDED
    assert demo.captured(paying.reference) == []


def test_a_lost_answer_is_found_by_looking_up(demo: Demo, shop: DemoProvider) -> None:
    paying = intent("demo_lost")

    with pytest.raises(PaymentError, match="RemoteDisconnected"):
        shop.capture(paying)

    assert shop.look_up(paying).state == PaymentState.CAPTURED
    assert shop.capture(paying).state == PaymentState.CAPTURED
    assert demo.captured(paying.reference) == ["12.30"]


def test_a_slow_charge_arrives_after_our_time_out(demo: Demo, shop: DemoProvider) -> None:
    paying = intent("demo_slow")

    with pytest.raises(PaymentError):
        shop.capture(paying)

    assert shop.look_up(paying).state == PaymentState.UNKNOWN
    until(lambda: shop.look_up(paying).state == PaymentState.CAPTURED)
    assert demo.captured(paying.reference) == ["12.30"]


def test_a_slow_charge_that_is_voided_in_time_never_happens(demo: Demo, shop: DemoProvider) -> None:
    paying = intent("demo_slow")
    with pytest.raises(PaymentError):
        shop.capture(paying)

    assert shop.void(paying) == Charge(PaymentState.VOIDED)

    time.sleep(SLOW + 0.2)
    assert shop.look_up(paying) == Charge(PaymentState.VOIDED)
    assert demo.captured(paying.reference) == []


def test_late_says_voided_and_captures_all_the_same(demo: Demo, settings: Settings) -> None:
    settings.PAYMENT_TIMEOUT_SECONDS = 5
    shop, paying, answers = DemoProvider(demo.url), intent("demo_late"), list[Charge]()
    waiting = threading.Thread(target=lambda: answers.append(shop.capture(paying)))
    waiting.start()
    until(lambda: demo.books(paying.reference)["attempts"] == ["held"])
    time.sleep(LATE + 0.2)
    assert demo.captured(paying.reference) == []  # it waits for a void

    assert shop.void(paying) == Charge(PaymentState.VOIDED)
    assert shop.look_up(paying) == Charge(PaymentState.VOIDED)

    waiting.join()
    assert [charge.state for charge in answers] == [PaymentState.CAPTURED]
    assert shop.look_up(paying).captured == Decimal("12.30")
    assert shop.void(paying).state == PaymentState.CAPTURED


def test_a_bank_that_asks_is_answered_by_its_customer(demo: Demo, shop: DemoProvider) -> None:
    paying = intent("demo_action")

    asked = shop.capture(paying)

    assert asked.state == PaymentState.REQUIRES_ACTION
    assert asked.client_secret
    assert shop.look_up(paying) == asked
    assert demo.captured(paying.reference) == []
    assert call(demo.url, "POST", f"/charges/{paying.reference}/confirm")[0] == 200
    assert shop.look_up(paying).state == PaymentState.CAPTURED
    assert shop.capture(paying).state == PaymentState.CAPTURED
    assert demo.captured(paying.reference) == ["12.30"]


def test_the_provider_s_page_shows_its_books_and_answers_the_bank_by_a_button(demo: Demo, shop: DemoProvider) -> None:
    paying = intent("demo_action")
    shop.capture(paying)
    button = f'<form method="post" action="/charges/{paying.reference}/confirm">'

    assert button in httpx.get(f"{demo.url}/", trust_env=False).text
    pressed = httpx.post(f"{demo.url}/charges/{paying.reference}/confirm", data={}, trust_env=False)

    assert pressed.status_code == 200
    shown = httpx.get(f"{demo.url}/", trust_env=False).text
    assert button not in shown
    assert f"<td>{paying.reference}<td>demo_action<td>12.30<td>{paying.currency}<td>captured" in shown


def test_nothing_is_confirmed_after_a_void(demo: Demo, shop: DemoProvider) -> None:
    paying = intent("demo_action")
    shop.capture(paying)

    assert shop.void(paying) == Charge(PaymentState.VOIDED)

    assert call(demo.url, "POST", f"/charges/{paying.reference}/confirm") == (409, {"code": "voided"})
    assert demo.captured(paying.reference) == []


def test_a_void_before_everything_else_keeps_every_charge_away(demo: Demo, shop: DemoProvider) -> None:
    paying = intent()

    assert [shop.void(paying), shop.void(paying)] == [Charge(PaymentState.VOIDED)] * 2
    assert shop.capture(paying).state == PaymentState.VOIDED
    assert demo.books(paying.reference)["charges"] == []


def test_a_void_after_a_capture_hands_back_the_capture(shop: DemoProvider) -> None:
    paying = intent()
    charge = shop.capture(paying)

    assert shop.void(paying) == charge


def test_refunds_are_given_once_and_never_above_the_capture(demo: Demo, shop: DemoProvider) -> None:
    paying = intent()
    shop.capture(paying)

    first = shop.refund(paying, reference=f"{paying.reference}-R1", amount=Decimal("12.00"))
    again = shop.refund(paying, reference=f"{paying.reference}-R1", amount=Decimal("12.00"))
    with pytest.raises(RefundRefused, match="more_than_captured"):
        shop.refund(paying, reference=f"{paying.reference}-R2", amount=Decimal("0.31"))
    shop.refund(paying, reference=f"{paying.reference}-R3", amount=Decimal("0.30"))

    assert first == again
    assert [refund["amount"] for refund in demo.books(paying.reference)["refunds"]] == ["12.00", "0.30"]


def test_what_was_never_captured_is_not_refunded(demo: Demo, shop: DemoProvider) -> None:
    paying = intent("demo_decline")
    shop.capture(paying)

    with pytest.raises(RefundRefused):
        shop.refund(paying, reference=f"{paying.reference}-R1", amount=Decimal("0.01"))
    assert demo.books(paying.reference)["refunds"] == []
