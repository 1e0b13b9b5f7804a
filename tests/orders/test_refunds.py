"""POST /orders/{orderId}/refunds: staff give money back, the whole or a part, never more than was captured."""

import uuid
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest
from django.db import IntegrityError, transaction
from django.db.models import F

from orders import services, workflow
from orders.models import Order, Payment, Refund
from orders.payments import Intent, RefundRefused
from orders.payments.demo import DemoProvider
from tests.books import Books
from tests.in_process import Caller, shelf
from tests.platform.answers import assert_refused
from tests.platform.logs import read_log
from vibecode.models import OutboxEvent

type Placed = Callable[..., Order]


@pytest.fixture
def paid(placed: Placed) -> Order:
    """An order of 5.00 that was paid."""
    order = placed()
    workflow.process_payment({"orderId": order.number}, None)
    return order


def ask(who: Caller, order: Order, key: str = "", **body: Any) -> Any:
    """Ask for a refund under a fresh key, or this one."""
    body.setdefault("reason", "broken lamp")
    return who.post(f"/orders/{order.number}/refunds", body, Idempotency_Key=key or uuid.uuid4().hex)


def settle(order: Order) -> None:
    """What the consumer does."""
    services.settle_money(order=Order.objects.get(pk=order.pk))


def test_a_refund_is_answered_as_pending_and_settled_by_the_consumer(staff: Caller, paid: Order, books: Books) -> None:
    answer = ask(staff, paid, amount="2.00")

    assert answer.status_code == 201
    body = answer.json()
    assert (body["status"], body["amount"], body["currency"], body["orderId"]) == (
        "pending",
        "2.00",
        "GBP",
        paid.number,
    )
    assert books.of(paid.number)["refunded"] == []
    assert OutboxEvent.objects.filter(subject=paid.number).latest("id").detail_type == "Refund Requested"

    settle(paid)
    settle(paid)

    assert books.of(paid.number)["refunded"] == ["2.00"]
    assert Order.objects.get(pk=paid.pk).payment_status == "partly_refunded"


def test_parts_add_up_to_the_whole(staff: Caller, paid: Order, books: Books) -> None:
    for amount in ("2.00", "1.00"):
        assert ask(staff, paid, amount=amount).status_code == 201
        settle(paid)
    services.deduct_held_stock(order=paid)
    assert ask(staff, paid).json()["amount"] == "2.00"  # all that is left
    settle(paid)

    order = Order.objects.get(pk=paid.pk)
    assert (order.payment_status, order.status) == ("refunded", "refunded")
    assert books.of(paid.number)["refunded"] == ["2.00", "1.00", "2.00"]
    told = OutboxEvent.objects.filter(subject=paid.number, detail_type="Order Refunded").order_by("id")
    assert [row.detail["amount"] for row in told] == ["2.00", "1.00", "2.00"]
    versions = [row.detail["orderVersion"] for row in told]
    assert versions == sorted(set(versions))


@pytest.mark.parametrize("amount", ["5.01", "1000000.00"])
def test_more_than_was_captured_is_refused_and_nothing_is_written(staff: Caller, paid: Order, amount: str) -> None:
    staff.get("/me")  # the first sight of somebody is a fact too
    before = OutboxEvent.objects.count()

    assert_refused(ask(staff, paid, amount=amount), 409, "not-refundable")

    assert not Refund.objects.exists()
    assert OutboxEvent.objects.count() == before


def test_what_is_on_its_way_cannot_be_given_back_again(staff: Caller, paid: Order) -> None:
    assert ask(staff, paid, amount="3.00").status_code == 201

    problem = ask(staff, paid, amount="3.00")

    assert_refused(problem, 409, "not-refundable")
    assert problem.json()["refundable"] == "2.00"


def test_the_database_has_the_last_word_on_giving_back_too_much(paid: Order) -> None:
    with pytest.raises(IntegrityError, match="payment_refunds_no_more_than_it_captured"), transaction.atomic():
        Payment.objects.filter(order=paid).update(refunded=F("captured") + Decimal("0.01"))


def test_an_unpaid_order_has_nothing_to_give_back(staff: Caller, placed: Placed) -> None:
    assert_refused(ask(staff, placed()), 409, "not-refundable")


def test_one_key_makes_one_refund(staff: Caller, paid: Order) -> None:
    key = uuid.uuid4().hex
    first, second = (ask(staff, paid, key, amount="1.00") for _ in range(2))

    assert first.json() == second.json()
    assert second["Idempotent-Replayed"] == "true"
    assert Refund.objects.count() == 1


def test_a_refund_needs_a_key_a_reason_and_a_sound_amount(staff: Caller, paid: Order) -> None:
    address = f"/orders/{paid.number}/refunds"
    assert_refused(staff.post(address, {"reason": "x"}), 400, "idempotency-key-missing")
    assert_refused(staff.post(address, {}, Idempotency_Key="a"), 400, "invalid")
    for amount in ("0", "-1.00", "1.001", "much"):
        refused = staff.post(address, {"reason": "x", "amount": amount}, Idempotency_Key="a")
        assert refused.status_code in {400, 409}
    assert not Refund.objects.exists()


def test_customers_and_strangers_give_nothing_back(
    shopper: Caller, other: Caller, stranger: Caller, paid: Order
) -> None:
    assert_refused(ask(shopper, paid), 403, "forbidden")
    assert_refused(ask(other, paid), 403, "forbidden")
    assert_refused(ask(stranger, paid), 401, "not-authenticated")
    assert not Refund.objects.exists()


def test_cancelling_a_paid_order_gives_all_of_it_back(shopper: Caller, paid: Order, books: Books) -> None:
    answer = shopper.post(f"/orders/{paid.number}/cancel", {})

    assert (answer.status_code, answer.json()["status"]) == (200, "cancelled")
    assert answer.json()["payment"] == {"captured": "5.00", "refunded": "5.00", "clientSecret": None}
    assert books.of(paid.number)["refunded"] == []
    settle(paid)
    assert books.of(paid.number) == {"captured": ["5.00"], "voided": False, "refunded": ["5.00"]}
    assert Order.objects.get(pk=paid.pk).payment_status == "refunded"


def test_what_the_provider_refuses_for_good_has_failed_and_the_next_goes_on(
    staff: Caller, paid: Order, books: Books
) -> None:
    ask(staff, paid, amount="1.00")
    books.give_back(paid.number, "4.50")  # at the provider's own desk
    ask(staff, paid, amount="0.50")

    settle(paid)

    assert states() == ["failed", "settled"]
    assert "more_than_captured" in Refund.objects.earliest("id").last_error
    assert paid.timeline.filter(type="Refund Failed").count() == 1
    payment = Payment.objects.get(order=paid)
    assert (payment.refunded, payment.refundable) == (Decimal("0.50"), Decimal("4.50"))
    assert Order.objects.get(pk=paid.pk).payment_status == "partly_refunded"


def refuse(patch: pytest.MonkeyPatch) -> None:
    """The provider refuses every refund for good, as Stripe does where its balance is empty."""

    def refused(self: DemoProvider, intent: Intent, *, reference: str, amount: Decimal) -> str:
        raise RefundRefused("Stripe: InvalidRequestError 400 balance_insufficient")

    patch.setattr(DemoProvider, "refund", refused)


def states() -> list[str]:
    """Of every refund, oldest first."""
    return list(Refund.objects.order_by("id").values_list("state", flat=True))


def test_a_compensation_whose_refund_is_refused_fails_and_people_end_it(
    paid: Order, books: Books, staff: Caller, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The stock stays held and the alarm rings; the sweep asks once more and not again; staff's word asks anew."""
    settings.ORDER_STUCK_SECONDS = 0
    product = paid.lines.get().product
    with monkeypatch.context() as patch, read_log() as lines:
        refuse(patch)
        for _ in range(2):
            with pytest.raises(RefundRefused, match=r"5\.00 GBP could not be given back"):
                workflow.cancel_order({"orderId": paid.number, "error": {"Error": "PaymentError"}}, None)
        assert states() == ["failed"]
        assert workflow.fail_order({"orderId": paid.number}, None)["status"] == "failed"
        for _ in range(3):
            services.sweep_orders()
    assert states() == ["failed", "failed"]
    assert Order.objects.get(pk=paid.pk).status == "failed"
    assert shelf(product) == (10, 2)
    assert [line["outcome"] for line in lines if "OrdersByOutcome" in line] == ["failed"]
    assert [line["outcome"] for line in lines if "RefundsByOutcome" in line] == ["failed", "failed"]

    assert staff.post(f"/orders/{paid.number}/cancel", {}).json()["status"] == "cancelled"
    settle(paid)

    assert states() == ["failed", "failed", "settled"]
    assert books.of(paid.number)["refunded"] == ["5.00"]
    assert shelf(product) == (10, 0)


@pytest.mark.parametrize("amount", ["1.00", "5.00"])
def test_a_refund_that_failed_earlier_keeps_nobody_from_their_money_when_they_cancel(
    staff: Caller, shopper: Caller, paid: Order, books: Books, amount: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    ask(staff, paid, amount=amount)
    with monkeypatch.context() as patch:
        refuse(patch)
        settle(paid)
    assert states() == ["failed"]

    assert shopper.post(f"/orders/{paid.number}/cancel", {}).json()["payment"]["refunded"] == "5.00"
    settle(paid)

    assert books.of(paid.number)["refunded"] == ["5.00"]
    assert Order.objects.get(pk=paid.pk).payment_status == "refunded"


def test_a_cancelled_order_whose_refund_is_refused_is_not_asked_for_again(
    shopper: Caller, paid: Order, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.ORDER_STUCK_SECONDS = 0
    refuse(monkeypatch)
    shopper.post(f"/orders/{paid.number}/cancel", {})

    for _ in range(2):
        settle(paid)
        services.sweep_orders()

    assert states() == ["failed"]
    assert Order.objects.get(pk=paid.pk).status == "cancelled"
    assert Payment.objects.get(order=paid).refundable == Decimal("5.00")


def test_the_first_of_two_refunds_fails_while_the_second_is_on_its_way(staff: Caller, paid: Order) -> None:
    ask(staff, paid, amount="1.00")
    ask(staff, paid, amount="2.00")

    services.settling.fail_refund(order=paid, reference=Refund.objects.earliest("id").reference, reason="no")

    assert Order.objects.get(pk=paid.pk).payment_status == "paid", "nothing has gone back yet"


def test_the_provider_s_words_are_staff_s_and_not_the_customer_s(
    staff: Caller, shopper: Caller, paid: Order, monkeypatch: pytest.MonkeyPatch
) -> None:
    refuse(monkeypatch)
    ask(staff, paid, amount="5.00")
    settle(paid)

    told = shopper.get(f"/orders/{paid.number}/timeline")

    assert told.json()["results"][-1]["type"] == "Refund Failed"
    assert "balance_insufficient" not in told.text
    assert "balance_insufficient" in Refund.objects.get().last_error


def test_a_refund_whose_answer_was_not_written_down_is_given_once(
    staff: Caller, paid: Order, books: Books, monkeypatch: pytest.MonkeyPatch
) -> None:
    ask(staff, paid, amount="2.00")

    def dies(**_: object) -> None:
        raise RuntimeError

    monkeypatch.setattr("orders.services.settling.record_refund", dies)  # after the provider's answer
    with pytest.raises(RuntimeError):
        settle(paid)
    monkeypatch.undo()
    settle(paid)

    assert books.of(paid.number)["refunded"] == ["2.00"]
    assert Refund.objects.get().state == "settled"


def test_a_refund_that_failed_is_not_asked_for_again(staff: Caller, paid: Order, books: Books) -> None:
    ask(staff, paid, amount="2.00")
    services.settling.fail_refund(order=paid, reference=Refund.objects.get().reference, reason="sent back")

    settle(paid)

    assert books.of(paid.number)["refunded"] == []
    assert Payment.objects.get(order=paid).refundable == Decimal("5.00")
