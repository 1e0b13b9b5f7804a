"""The demo provider's books: one charge for each key, whoever asks at once, and nothing forgotten in a kill."""

import http.client
import json
import signal
import threading
import time
from collections import Counter
from decimal import Decimal
from functools import partial
from typing import Any

import pytest
from pytest_django import Settings

from orders.payments import Intent, PaymentError, RefundRefused
from orders.payments.demo import DemoProvider
from orders.status import PaymentState
from tests.over_http import together
from tests.payments.call import call, until
from tests.payments.conftest import Demo
from tests.payments.intents import intent
from vibecode.local import ports
from vibecode.local.payments import books_page


def wish(paying: Intent) -> dict[str, str]:
    return {"reference": paying.reference, "amount": str(paying.amount), "currency": "GBP", "method": paying.method}


def test_sixteen_at_once_with_one_key_are_one_charge(demo: Demo, settings: Settings) -> None:
    settings.PAYMENT_TIMEOUT_SECONDS = 10
    shop, paying = DemoProvider(demo.url), intent()

    charges = together([lambda: shop.capture(paying)] * 16)

    assert len(set(charges)) == 1
    assert demo.captured(paying.reference) == ["12.30"]
    assert Counter(demo.books(paying.reference)["attempts"]) == {"captured": 1, "replayed": 15}


def test_sixteen_at_once_with_keys_of_their_own_are_sixteen_charges(demo: Demo) -> None:
    paying = intent()

    answers = together([partial(call, demo.url, "POST", "/charges", wish(paying), key=f"own-{n}") for n in range(16)])

    assert Counter(status for status, _ in answers) == {201: 16}
    assert demo.captured(paying.reference) == ["12.30"] * 16  # the books show what went wrong


def test_without_a_key_every_request_is_another_charge(demo: Demo) -> None:
    paying = intent()

    for _ in range(2):
        assert call(demo.url, "POST", "/charges", wish(paying))[0] == 201

    assert demo.captured(paying.reference) == ["12.30", "12.30"]


def test_sixteen_refunds_at_once_give_back_no_more_than_was_taken(demo: Demo, settings: Settings) -> None:
    settings.PAYMENT_TIMEOUT_SECONDS = 10
    shop, paying = DemoProvider(demo.url), intent(amount="10.00")
    shop.capture(paying)

    def refund(number: int) -> bool:
        try:
            shop.refund(paying, reference=f"{paying.reference}-R{number}", amount=Decimal("3.00"))
        except RefundRefused:
            return False
        return True

    assert Counter(together([partial(refund, n) for n in range(16)])) == {True: 3, False: 13}
    assert len(demo.books(paying.reference)["refunds"]) == 3


def test_one_key_for_two_things_is_refused(demo: Demo) -> None:
    paying = intent()
    call(demo.url, "POST", "/charges", wish(paying), key="one-key")

    status, answer = call(demo.url, "POST", "/charges", wish(paying) | {"amount": "1.00"}, key="one-key")

    assert (status, answer) == (422, {"code": "idempotency_key_reused"})
    assert demo.captured(paying.reference) == ["12.30"]


@pytest.mark.parametrize(
    ("changed", "code"),
    [
        ({"amount": "1.234"}, "invalid_amount"),
        ({"amount": "-1.00"}, "invalid_amount"),
        ({"amount": 1.5}, "invalid_amount"),
        ({"currency": "pounds"}, "invalid_currency"),
        ({"reference": ""}, "invalid_reference"),
        ({"method": "demo_free"}, "invalid_method"),
    ],
)
def test_nonsense_is_refused_by_name(demo: Demo, changed: dict[str, Any], code: str) -> None:
    paying = intent()

    assert call(demo.url, "POST", "/charges", wish(paying) | changed) == (400, {"code": code})
    assert demo.books(paying.reference)["charges"] == []


def test_what_is_no_json_is_refused(demo: Demo) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", demo.port)
    connection.request("POST", "/charges", "{")
    assert connection.getresponse().status == 400
    connection.close()
    assert call(demo.url, "POST", "/charges", [1])[0] == 400
    assert call(demo.url, "GET", "/nothing")[0] == 404


def test_people_can_read_the_books(demo: Demo, shop: DemoProvider) -> None:
    paying = intent()
    shop.capture(paying)
    connection = http.client.HTTPConnection("127.0.0.1", demo.port)
    connection.request("GET", "/")

    page = connection.getresponse().read().decode()

    connection.close()
    assert paying.reference in page


def test_the_books_show_what_they_hold_and_run_none_of_it() -> None:
    charge = {"reference": "<script>1</script>", "state": "requires_action", "method": "<b>"}

    page = books_page({"charges": [charge], "voids": [], "refunds": []})

    assert "<td>&lt;script&gt;1&lt;/script&gt;<" in page
    assert "/charges/&lt;script&gt;1&lt;/script&gt;/confirm" in page
    assert "<script>" not in page
    assert "<b>" not in page


def test_a_page_of_another_site_can_ask_for_nothing(demo: Demo) -> None:
    body = json.dumps({"reference": "ORD-1"})
    connection = http.client.HTTPConnection("127.0.0.1", demo.port)
    connection.request("POST", "/voids", body, {"Origin": "https://evil.example"})

    answer = connection.getresponse()

    assert (answer.status, json.loads(answer.read())) == (403, {"code": "foreign_page"})
    connection.close()
    assert call(demo.url, "GET", "/books")[1]["voids"] == []


def test_nobody_there_is_a_payment_error(settings: Settings) -> None:
    settings.PAYMENT_TIMEOUT_SECONDS = 1
    with pytest.raises(PaymentError, match="ConnectionRefusedError"):
        DemoProvider(f"http://127.0.0.1:{ports.free_port()}").capture(intent())


def test_the_books_outlive_a_kill_at_any_moment(tmp_path: Any, settings: Settings) -> None:
    settings.PAYMENT_TIMEOUT_SECONDS = 5
    served = Demo(tmp_path)
    try:
        shop, told, stop = DemoProvider(served.url), dict[str, str](), threading.Event()

        def buy() -> None:
            while not stop.is_set():
                paying = intent()
                try:
                    told[paying.reference] = shop.capture(paying).provider_id
                except PaymentError:
                    time.sleep(0.01)

        buyers = [threading.Thread(target=buy) for _ in range(4)]
        for buyer in buyers:
            buyer.start()
        for _ in range(3):
            time.sleep(0.4)
            served.end(signal.SIGKILL)
            served.start()
        stop.set()
        for buyer in buyers:
            buyer.join()

        known = {charge["reference"]: charge["id"] for charge in call(served.url, "GET", "/books")[1]["charges"]}
        assert len(told) > 20
        assert told.items() <= known.items()  # whatever was answered is written
    finally:
        served.end()


def test_attempts_charges_and_voids_survive_a_kill(tmp_path: Any, settings: Settings) -> None:
    settings.PAYMENT_TIMEOUT_SECONDS = 2
    served = Demo(tmp_path)
    try:
        shop = DemoProvider(served.url)
        flaky, lost, voided, slow = intent("demo_flaky"), intent("demo_lost"), intent(), intent("demo_slow")
        with pytest.raises(PaymentError):
            shop.capture(flaky)
        with pytest.raises(PaymentError):
            shop.capture(lost)
        shop.void(voided)
        settings.PAYMENT_TIMEOUT_SECONDS = 0.1
        with pytest.raises(PaymentError):
            shop.capture(slow)
        settings.PAYMENT_TIMEOUT_SECONDS = 2
        until(lambda: served.books(slow.reference)["attempts"] == ["held"])

        served.end(signal.SIGKILL)
        served.start()

        with pytest.raises(PaymentError, match="503"):
            shop.capture(flaky)
        assert shop.capture(flaky).state == PaymentState.CAPTURED
        assert shop.capture(lost).state == PaymentState.CAPTURED
        assert served.captured(lost.reference) == ["12.30"]
        assert shop.capture(voided).state == PaymentState.VOIDED
        until(lambda: shop.look_up(slow).state == PaymentState.CAPTURED)
    finally:
        served.end()


def test_it_ends_at_once_while_it_holds_callers(tmp_path: Any, settings: Settings) -> None:
    settings.PAYMENT_TIMEOUT_SECONDS = 20
    served, held = Demo(tmp_path), intent("demo_down")
    failures = list[PaymentError]()

    def wait_for_nothing() -> None:
        try:
            DemoProvider(served.url).capture(held)
        except PaymentError as error:
            failures.append(error)

    waiting = [threading.Thread(target=wait_for_nothing) for _ in range(8)]
    for thread in waiting:
        thread.start()
    until(lambda: served.books(held.reference)["attempts"] == ["held"] * 8)

    started = time.monotonic()
    served.end()

    assert served.process.returncode == 0
    assert time.monotonic() - started < 1
    for thread in waiting:
        thread.join(timeout=5)
    assert len(failures) == 8
