"""An order moves by itself, as its customer sees it: every process of `make run`, nobody touches anything."""

import json
from collections.abc import Iterator

import httpx
import pytest

from tests.whole_shop import HASTY, Customer, Listener, WholeShop, until


@pytest.fixture(scope="module")
def customer(whole_shop: WholeShop) -> Customer:
    """Who buys."""
    return whole_shop.customer()


@pytest.fixture(scope="module")
def sku(whole_shop: WholeShop) -> str:
    """What is bought."""
    return whole_shop.product(on_hand=1000)


@pytest.fixture(scope="module", autouse=True)
def unanswered(whole_shop: WholeShop, customer: Customer) -> dict[str, tuple[str, str]]:
    """Orders that take their time, placed before all others: number and SKU by payment method."""
    skus = {method: whole_shop.product(on_hand=5) for method in ("demo_down", "demo_late")}
    return {method: (customer.order(sku, method), sku) for method, sku in skus.items()}


@pytest.fixture
def browsers(whole_shop: WholeShop, customer: Customer) -> Iterator[tuple[Listener, Listener]]:
    """The customer's websocket, and another customer's."""
    pair = Listener(customer), Listener(whole_shop.customer())
    for browser in pair:
        assert browser.connected.wait(30)
    yield pair
    for browser in pair:
        browser.close()


def books_of(shop: WholeShop, number: str) -> tuple[list[str], bool, list[str]]:
    """Captured, voided, refunded: what the provider's books say of an order."""
    books = shop.books()
    return (
        [c["amount"] for c in books["charges"] if c["reference"] == number and c["state"] == "captured"],
        any(void["reference"] == number for void in books["voids"]),
        [refund["amount"] for refund in books["refunds"] if refund["reference"] == number],
    )


def shelf(shop: WholeShop, sku: str) -> tuple[int, int]:
    """On hand and reserved."""
    row = shop.rows(
        "SELECT on_hand, reserved FROM catalog_stock s JOIN catalog_product p ON p.id = s.product_id WHERE sku = %s",
        sku,
    )[0]
    return row["on_hand"], row["reserved"]


def test_an_order_is_paid_and_completed_within_ten_seconds_and_its_owner_sees_it_live(
    whole_shop: WholeShop, customer: Customer, sku: str, browsers: tuple[Listener, Listener]
) -> None:
    mine, theirs = browsers
    number = customer.order(sku, "demo_ok")

    order = customer.wait_for(number, "completed", seconds=10)

    assert (order["paymentStatus"], order["fulfilmentStatus"]) == ("paid", "deducted")
    until(lambda: "completed" in {news["status"] for news in mine.news(number)}, 5, "completed is pushed")
    counted = (
        "SELECT FROM orders_ordercontribution c JOIN orders_order o ON o.id = order_id WHERE number = %s AND c.paid"
    )
    until(lambda: whole_shop.rows(f"{counted} AND c.status = 'completed'", number), 10, "the figures count it")
    news = mine.news(number)
    statuses = [item["status"] for item in news]
    assert statuses.index("paid") < statuses.index("completed")
    assert [item["version"] for item in news] == sorted(item["version"] for item in news)
    assert {frozenset(item) for item in news} == {frozenset({"type", "orderId", "status", "version", "timestamp"})}
    assert theirs.news(number) == []
    assert books_of(whole_shop, number) == (["2.50"], False, [])
    until(lambda: [m for m in whole_shop.mails() if number in m["subject"] + m["text"]], 10, "the mail")


def test_a_declined_order_is_cancelled_with_its_stock_back(whole_shop: WholeShop, customer: Customer) -> None:
    sku = whole_shop.product(on_hand=5)
    number = customer.order(sku, "demo_decline", quantity=2)

    order = customer.wait_for(number, "cancelled", seconds=10)

    assert (order["paymentStatus"], order["cancelReason"]) == ("declined", "payment-declined")
    assert shelf(whole_shop, sku) == (5, 0)
    assert books_of(whole_shop, number)[0] == []


def test_a_flaky_payment_completes_after_two_retries_that_the_history_shows(
    whole_shop: WholeShop, customer: Customer, sku: str
) -> None:
    number = customer.order(sku, "demo_flaky")

    customer.wait_for(number, "completed", seconds=30)

    steps = whole_shop.aws("stepfunctions")
    arn = f"arn:aws:states:us-east-1:123456789012:execution:vibecode-local-orders:{number}"
    history = steps.get_execution_history(executionArn=arn, maxResults=1000)["events"]
    failed = [event["taskFailedEventDetails"] for event in history if event["type"] == "TaskFailed"]
    assert [failure["error"] for failure in failed] == ["PaymentError", "PaymentError"]
    assert books_of(whole_shop, number) == (["2.50"], False, [])


def test_a_lost_answer_completes_with_one_charge(whole_shop: WholeShop, customer: Customer, sku: str) -> None:
    number = customer.order(sku, "demo_lost")

    customer.wait_for(number, "completed", seconds=30)

    assert books_of(whole_shop, number) == (["2.50"], False, [])


def test_a_customer_s_own_cancellation_gives_the_money_back(
    whole_shop: WholeShop, customer: Customer, sku: str
) -> None:
    number = customer.order(sku, "demo_ok")
    customer.wait_for(number, "completed", seconds=10)

    assert customer.ask("POST", f"/orders/{number}/cancel", {}).json()["status"] == "cancelled"

    until(lambda: customer.look(number)["paymentStatus"] == "refunded", 15, "the refund")
    assert books_of(whole_shop, number) == (["2.50"], False, ["2.50"])


def test_staff_refund_a_part_and_the_workers_settle_it(whole_shop: WholeShop, customer: Customer, sku: str) -> None:
    number = customer.order(sku, "demo_ok")
    customer.wait_for(number, "completed", seconds=10)
    staff = whole_shop.customer("staff@example.com")

    answer = staff.ask("POST", f"/orders/{number}/refunds", {"amount": "1.00", "reason": "scratched"})

    assert (answer.status_code, answer.json()["status"]) == (201, "pending")
    until(lambda: customer.look(number)["paymentStatus"] == "partly_refunded", 15, "the refund")
    assert books_of(whole_shop, number) == (["2.50"], False, ["1.00"])


def test_a_command_in_another_shell_has_the_settings_of_the_shop_that_runs(whole_shop: WholeShop) -> None:
    asked = "from django.conf import settings; print(settings.ORDER_STUCK_SECONDS, settings.PAYMENT_PROVIDER)"

    assert whole_shop.manage("shell", "-v", "0", "-c", asked).split() == [HASTY["ORDER_STUCK_SECONDS"], "demo"]


def test_a_bank_that_asks_is_waited_for_and_the_order_goes_on(
    whole_shop: WholeShop, customer: Customer, sku: str, browsers: tuple[Listener, Listener]
) -> None:
    number = customer.order(sku, "demo_action")
    until(lambda: customer.look(number)["paymentStatus"] == "requires_action", 15, "the bank asks")
    shown = customer.look(number)
    assert shown["payment"]["clientSecret"]
    until(
        lambda: shown["version"] in {news["version"] for news in browsers[0].news(number)},
        10,
        "the bank is pushed",
    )

    address = f"{whole_shop.environment['DEMO_PAYMENTS_URL']}/charges/{number}/confirm"
    assert httpx.post(address, json={}, trust_env=False).status_code == 200

    order = customer.wait_for(number, "completed", seconds=60)
    assert json.dumps(order["payment"]) == json.dumps({"captured": "2.50", "refunded": "0.00", "clientSecret": None})


def test_a_provider_that_never_answers_is_voided_and_charges_nothing(
    whole_shop: WholeShop, customer: Customer, unanswered: dict[str, tuple[str, str]]
) -> None:
    number, sku = unanswered["demo_down"]

    order = customer.wait_for(number, "cancelled", seconds=150)

    assert order["cancelReason"] == "payment-failed"
    assert books_of(whole_shop, number) == ([], True, [])
    assert shelf(whole_shop, sku) == (5, 0)


def test_a_capture_after_the_void_is_refunded(
    whole_shop: WholeShop, customer: Customer, unanswered: dict[str, tuple[str, str]]
) -> None:
    number, sku = unanswered["demo_late"]

    customer.wait_for(number, "cancelled", seconds=150)

    until(lambda: books_of(whole_shop, number) == (["2.50"], True, ["2.50"]), 60, "the late capture is refunded")
    assert shelf(whole_shop, sku) == (5, 0)
