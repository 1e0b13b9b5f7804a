"""The workflow's steps: each does the right thing first, twice, late and after a cancellation."""

import time
from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.db import connection, transaction
from django.utils import timezone

from orders import services, workflow
from orders.models import IllegalTransition, Order, Payment
from orders.payments import Charge, Intent, PaymentError
from orders.payments.demo import DemoProvider
from orders.services import OrderIsOver, PaymentDeclined, PaymentExpired, PaymentRequiresAction, audit_stock
from orders.status import PaymentState
from tests.books import Books
from tests.in_process import Caller, shelf
from tests.platform.logs import read_log
from vibecode.models import OutboxEvent
from vibecode.rights import Actor

type Placed = Callable[..., Order]


def run(step: Callable[[dict[str, Any], object], dict[str, str]], order: Order, **more: Any) -> str:
    """Run a step as the workflow does; the status it answers."""
    return step({"orderId": order.number, **more}, None)["status"]


def facts(order: Order) -> list[str]:
    """The facts published about an order, in order."""
    return list(OutboxEvent.objects.filter(subject=order.number).order_by("id").values_list("detail_type", flat=True))


def versions(order: Order) -> list[int]:
    """The versions those facts tell of."""
    rows = OutboxEvent.objects.filter(subject=order.number).order_by("id")
    return [row.detail["orderVersion"] for row in rows]


def all_the_way(order: Order) -> str:
    """Every step in order."""
    for step in (workflow.validate_order, workflow.process_payment, workflow.deduct_stock, workflow.send_notification):
        run(step, order)
    return run(workflow.complete_order, order)


def test_an_order_goes_all_the_way(placed: Placed, books: Books) -> None:
    order = placed()

    assert all_the_way(order) == "completed"

    order = Order.objects.get(pk=order.pk)
    product = order.lines.get().product
    assert (order.payment_status, order.fulfilment_status) == ("paid", "deducted")
    assert shelf(product) == (8, 0)
    assert books.of(order.number) == {"captured": ["5.00"], "voided": False, "refunded": []}
    assert facts(order) == ["Order Created", "Order Paid", "Order Confirmed", "Order Completed"]
    assert audit_stock() == []


def test_every_step_may_run_twice(placed: Placed, books: Books) -> None:
    order = placed()
    steps = (workflow.validate_order, workflow.process_payment, workflow.deduct_stock, workflow.send_notification)
    for step in (*steps, workflow.complete_order):
        run(step, order)
        version = Order.objects.get(pk=order.pk).version
        run(step, order)
        assert Order.objects.get(pk=order.pk).version == version

    assert all_the_way(order) == "completed"
    assert books.of(order.number)["captured"] == ["5.00"]
    assert facts(order) == ["Order Created", "Order Paid", "Order Confirmed", "Order Completed"]
    assert versions(order) == sorted(versions(order))
    assert audit_stock() == []


@pytest.mark.parametrize(
    "step", [workflow.validate_order, workflow.process_payment, workflow.send_notification, workflow.complete_order]
)
def test_a_step_after_a_cancellation_says_so_and_moves_nothing(
    placed: Placed, books: Books, step: Callable[[dict[str, Any], object], dict[str, str]]
) -> None:
    order = placed()
    services.cancel_order(order=order, reason="changed my mind", actor=Actor.part("me"))
    before = Order.objects.values().get(pk=order.pk)

    with pytest.raises(OrderIsOver), transaction.atomic():
        run(step, order)

    assert Order.objects.values().get(pk=order.pk) == before
    assert books.of(order.number) == {"captured": [], "voided": False, "refunded": []}


def test_stock_is_not_deducted_after_a_cancellation(placed: Placed) -> None:
    order = placed()
    services.cancel_order(order=order, reason="", actor=Actor.part("me"))

    with pytest.raises(OrderIsOver), transaction.atomic():
        run(workflow.deduct_stock, order)

    assert shelf(order.lines.get().product) == (10, 0)


def test_an_order_is_not_complete_before_it_is_paid_and_off_the_shelf(placed: Placed) -> None:
    order = placed()
    off_the_shelf = placed()
    run(workflow.deduct_stock, off_the_shelf)
    for unpaid in (order, off_the_shelf):
        with pytest.raises(IllegalTransition, match="payment is pending"), transaction.atomic():
            run(workflow.complete_order, unpaid)
    run(workflow.process_payment, order)
    with pytest.raises(IllegalTransition, match="fulfilment is reserved"), transaction.atomic():
        run(workflow.complete_order, order)

    assert Order.objects.get(pk=order.pk).status == "paid"


# --- payment ---------------------------------------------------------------------------------------------------------
def test_a_declined_payment_ends_cancelled_with_its_stock_back(placed: Placed, books: Books) -> None:
    order = placed("demo_decline")
    with pytest.raises(PaymentDeclined):
        run(workflow.process_payment, order)
    with pytest.raises(PaymentDeclined):  # again: the provider is not asked a second time
        run(workflow.process_payment, order)

    assert run(workflow.cancel_order, order, error={"Error": "PaymentDeclined"}) == "cancelled"

    order = Order.objects.get(pk=order.pk)
    assert (order.payment_status, order.cancel_reason) == ("declined", "payment-declined")
    assert shelf(order.lines.get().product) == (10, 0)
    assert books.of(order.number) == {"captured": [], "voided": True, "refunded": []}


def test_a_provider_that_fails_twice_is_paid_the_third_time(placed: Placed, books: Books) -> None:
    order = placed("demo_flaky")
    for _ in range(2):
        with pytest.raises(PaymentError):
            run(workflow.process_payment, order)
    assert Payment.objects.get(order=order).state == PaymentState.UNKNOWN

    assert run(workflow.process_payment, order) == "paid"
    assert books.of(order.number)["captured"] == ["5.00"]


def test_a_payment_that_is_with_another_provider_is_not_asked_for_here(placed: Placed, books: Books) -> None:
    order = placed("demo_flaky")
    with pytest.raises(PaymentError):
        run(workflow.process_payment, order)
    Payment.objects.filter(order=order).update(provider="stripe")
    attempts = books.attempts(order.number)

    with pytest.raises(PaymentError, match="is with stripe, and PAYMENT_PROVIDER is demo"):
        run(workflow.process_payment, order)

    assert books.attempts(order.number) == attempts


def test_a_lost_answer_is_found_and_not_charged_again(placed: Placed, books: Books) -> None:
    order = placed("demo_lost")
    with pytest.raises(PaymentError):
        run(workflow.process_payment, order)

    assert run(workflow.process_payment, order) == "paid"
    assert books.of(order.number)["captured"] == ["5.00"]
    assert books.attempts(order.number) == ["lost"]  # looked up: a provider forgets its keys one day


def test_a_time_out_that_comes_late_does_not_make_a_known_capture_unknown(placed: Placed, books: Books) -> None:
    order = placed()
    payment = services.paying._intend(order)
    run(workflow.process_payment, order)

    services.paying._note_unknown(payment, PaymentError("no answer"))

    assert Payment.objects.get(order=order).state == PaymentState.CAPTURED


@pytest.mark.parametrize(
    ("known", "late"),
    [
        (known, late)
        for known, newer in services.paying.LATER.items()
        for late in PaymentState
        if known in {PaymentState.CAPTURED, PaymentState.VOIDED, PaymentState.DECLINED} and late not in newer
    ],
)
def test_an_old_answer_of_the_provider_undoes_no_newer_one(
    placed: Placed, known: PaymentState, late: PaymentState
) -> None:
    order = placed()
    services.paying._intend(order)
    captured = Decimal("5.00") if known == PaymentState.CAPTURED else Decimal(0)
    services.record_charge(order=order, charge=Charge(known, captured=captured))
    before = Payment.objects.values().get(order=order)
    moved = Order.objects.values().get(pk=order.pk)

    services.record_charge(order=order, charge=Charge(late, reason="old news"))

    assert Payment.objects.values().get(order=order) == before
    assert Order.objects.values().get(pk=order.pk) == moved


def test_an_order_that_is_cancelled_while_the_provider_is_asked_goes_no_further(
    placed: Placed, books: Books, monkeypatch: pytest.MonkeyPatch
) -> None:
    order = placed()
    capture = DemoProvider.capture

    def overtaken(self: DemoProvider, intent: Intent) -> Charge:
        services.cancel_order(order=order, reason="", actor=Actor.part("me"))
        return capture(self, intent)

    monkeypatch.setattr(DemoProvider, "capture", overtaken)
    with pytest.raises(OrderIsOver):
        run(workflow.process_payment, order)

    services.settle_money(order=Order.objects.get(pk=order.pk))
    assert books.of(order.number)["refunded"] == ["5.00"]


def test_a_provider_that_never_answers_is_voided_and_charges_nothing(
    placed: Placed, books: Books, settings: Any
) -> None:
    settings.PAYMENT_TIMEOUT_SECONDS = 0.3
    order = placed("demo_down")
    with pytest.raises(PaymentError):
        run(workflow.process_payment, order)

    assert run(workflow.cancel_order, order, error={"Error": "PaymentError"}) == "cancelled"

    order = Order.objects.get(pk=order.pk)
    assert (order.cancel_reason, Payment.objects.get(order=order).state) == ("payment-failed", PaymentState.VOIDED)
    assert books.of(order.number) == {"captured": [], "voided": True, "refunded": []}
    assert shelf(order.lines.get().product) == (10, 0)


def test_what_was_captured_in_spite_of_an_error_is_refunded_before_the_stock_goes_back(
    placed: Placed, books: Books
) -> None:
    order = placed("demo_lost")
    with pytest.raises(PaymentError):
        run(workflow.process_payment, order)

    assert run(workflow.cancel_order, order, error={"Error": "PaymentError"}) == "cancelled"

    assert books.of(order.number) == {"captured": ["5.00"], "voided": True, "refunded": ["5.00"]}
    order = Order.objects.get(pk=order.pk)
    assert (order.payment_status, order.status) == ("refunded", "cancelled")
    told = facts(order)
    assert told.index("Order Refunded") < told.index("Order Cancelled")
    assert audit_stock() == []


def test_a_capture_that_is_answered_after_the_void_is_refunded(placed: Placed, books: Books) -> None:
    order = placed()
    payment = services.paying._intend(order)
    services.cancel_order(order=order, reason="", actor=Actor.part("me"))
    services.settle_money(order=Order.objects.get(pk=order.pk))
    assert Payment.objects.get(pk=payment.pk).state == PaymentState.VOIDED

    late = Charge(PaymentState.CAPTURED, provider_id="late", captured=Decimal("5.00"))
    services.record_charge(order=order, charge=late)

    payment.refresh_from_db()
    assert (payment.state, payment.captured, payment.refunded) == (PaymentState.CAPTURED, Decimal(5), Decimal(5))
    assert Order.objects.get(pk=order.pk).status == "cancelled"
    assert facts(order)[-2:] == ["Order Paid", "Refund Requested"]


def test_a_provider_that_captures_in_spite_of_its_void_is_found_out_and_refunded(
    placed: Placed, books: Books, settings: Any
) -> None:
    settings.PAYMENT_TIMEOUT_SECONDS = 0.3
    settings.ORDER_STUCK_SECONDS = 0
    order = placed("demo_late")
    with pytest.raises(PaymentError):
        run(workflow.process_payment, order)
    run(workflow.cancel_order, order, error={"Error": "PaymentError"})
    wait_for(lambda: books.of(order.number)["captured"] == ["5.00"])

    services.sweep_orders()

    assert books.of(order.number) == {"captured": ["5.00"], "voided": True, "refunded": ["5.00"]}
    assert Order.objects.get(pk=order.pk).payment_status == "refunded"


def wait_for(ask: Callable[[], bool]) -> None:
    """Until it is so, for ten seconds."""
    deadline = time.monotonic() + 10
    while not ask():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_no_provider_is_called_inside_a_transaction(
    transactional_db: None, placed: Placed, monkeypatch: pytest.MonkeyPatch
) -> None:
    open_blocks: list[bool] = []
    asked = DemoProvider._ask

    def spy(self: Any, *args: Any, **named: Any) -> Any:
        open_blocks.append(connection.in_atomic_block)
        return asked(self, *args, **named)

    monkeypatch.setattr(DemoProvider, "_ask", spy)
    order = placed()
    run(workflow.process_payment, order)
    services.cancel_order(order=order, reason="", actor=Actor.part("me"))
    services.settle_money(order=Order.objects.get(pk=order.pk))
    run(workflow.cancel_order, order)

    assert len(open_blocks) >= 2
    assert not any(open_blocks)


def test_a_free_order_is_paid_without_asking_anybody(
    shopper: Caller, books: Books, product: Callable[..., Any]
) -> None:
    gift = product(price="0.00", on_hand=3)
    answer = shopper.post("/orders", {"items": [{"sku": gift.sku, "quantity": 1}]})
    order = Order.objects.get(number=answer.json()["orderId"])

    assert all_the_way(order) == "completed"
    assert books.of(order.number) == {"captured": [], "voided": False, "refunded": []}


# --- the bank asks ---------------------------------------------------------------------------------------------------
def test_an_order_waits_while_the_bank_asks_and_only_its_owner_sees_the_secret(
    placed: Placed, shopper: Caller, staff: Caller
) -> None:
    order = placed("demo_action")

    with pytest.raises(PaymentRequiresAction):
        run(workflow.process_payment, order)

    mine, theirs = (who.get(f"/orders/{order.number}").json() for who in (shopper, staff))
    assert mine["paymentStatus"] == theirs["paymentStatus"] == "requires_action"
    assert mine["payment"]["clientSecret"]
    assert theirs["payment"]["clientSecret"] is None
    over = shopper.post(f"/orders/{order.number}/cancel", {}).json()
    assert over["payment"]["clientSecret"] is None, "nobody should confirm the payment of a cancelled order"
    assert shelf(order.lines.get().product) == (10, 0)


def test_a_customer_who_does_not_come_back_in_time_loses_the_order_and_pays_nothing(
    placed: Placed, books: Books
) -> None:
    order = placed("demo_action")
    with pytest.raises(PaymentRequiresAction):
        run(workflow.process_payment, order)
    Payment.objects.filter(order=order).update(action_deadline=timezone.now() - timedelta(seconds=1))

    with pytest.raises(PaymentExpired):
        run(workflow.process_payment, order)
    run(workflow.cancel_order, order, error={"Error": "PaymentExpired"})

    order = Order.objects.get(pk=order.pk)
    assert (order.status, order.cancel_reason, order.payment_status) == ("cancelled", "payment-expired", "declined")
    assert books.of(order.number) == {"captured": [], "voided": True, "refunded": []}


# --- giving up -------------------------------------------------------------------------------------------------------
def test_an_order_whose_compensation_does_not_finish_is_failed_and_keeps_what_it_holds(
    placed: Placed, settings: Any
) -> None:
    settings.PAYMENT_TIMEOUT_SECONDS = 0.3
    order = placed("demo_down")
    with pytest.raises(PaymentError):
        run(workflow.process_payment, order)

    assert run(workflow.fail_order, order) == "failed"
    assert run(workflow.fail_order, order) == "failed"

    order = Order.objects.get(pk=order.pk)
    assert (order.payment_status, order.fulfilment_status) == ("unknown", "reserved")
    assert facts(order).count("Order Failed") == 1


def test_a_cancellation_that_comes_late_leaves_a_complete_order_alone(placed: Placed, books: Books) -> None:
    order = placed()
    all_the_way(order)

    assert run(workflow.cancel_order, order, error={"Error": "States.Timeout"}) == "completed"
    assert run(workflow.fail_order, order) == "completed"
    assert books.of(order.number)["refunded"] == []


def test_an_order_that_failed_is_cancelled_by_the_sweep_once_its_money_is_settled(
    placed: Placed, books: Books, settings: Any
) -> None:
    settings.PAYMENT_TIMEOUT_SECONDS = 0.3
    settings.ORDER_STUCK_SECONDS = 0
    order = placed("demo_down")
    with pytest.raises(PaymentError):
        run(workflow.process_payment, order)
    run(workflow.fail_order, order)

    services.sweep_orders()

    order = Order.objects.get(pk=order.pk)
    assert (order.status, order.cancel_reason) == ("cancelled", "workflow-failed")
    assert books.of(order.number) == {"captured": [], "voided": True, "refunded": []}
    assert shelf(order.lines.get().product) == (10, 0)
    assert audit_stock() == []


def test_a_paid_order_that_failed_before_its_refund_was_written_is_refunded_by_the_sweep(
    placed: Placed, books: Books, settings: Any
) -> None:
    settings.ORDER_STUCK_SECONDS = 0
    order = placed()
    run(workflow.process_payment, order)
    run(workflow.fail_order, order)

    services.sweep_orders()

    order = Order.objects.get(pk=order.pk)
    assert (order.status, order.payment_status) == ("cancelled", "refunded")
    assert books.of(order.number)["refunded"] == ["5.00"]
    assert shelf(order.lines.get().product) == (10, 0)


def test_an_order_that_has_shipped_is_not_marked_failed_and_keeps_its_money(
    placed: Placed, books: Books, settings: Any
) -> None:
    settings.ORDER_STUCK_SECONDS = 0
    order = placed()
    all_the_way(order)
    Order.objects.filter(pk=order.pk).update(completed_at=None, fulfilment_status="shipped")
    run(workflow.fail_order, order)

    services.sweep_orders()

    assert Order.objects.get(pk=order.pk).status == "shipped"
    assert books.of(order.number)["refunded"] == []


def test_an_order_that_failed_before_anybody_was_asked_for_money_is_cancelled_by_the_sweep(
    placed: Placed, settings: Any
) -> None:
    settings.ORDER_STUCK_SECONDS = 0
    order = placed()
    run(workflow.fail_order, order)

    services.sweep_orders()

    assert Order.objects.get(pk=order.pk).status == "cancelled"
    assert shelf(order.lines.get().product) == (10, 0)


def test_an_order_that_failed_keeps_its_stock_while_its_money_is_not_where_it_belongs(
    placed: Placed, books: Books, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.ORDER_STUCK_SECONDS = 0
    order = placed()
    run(workflow.process_payment, order)
    run(workflow.fail_order, order)

    def away(*_: object, **__: object) -> None:
        raise PaymentError("no answer")

    monkeypatch.setattr(DemoProvider, "refund", away)
    services.sweep_orders()

    assert Order.objects.get(pk=order.pk).status == "failed"
    assert shelf(order.lines.get().product) == (10, 2)


def test_an_order_that_was_given_up_goes_forward_no_more(
    placed: Placed, books: Books, monkeypatch: pytest.MonkeyPatch
) -> None:
    order = placed()
    run(workflow.process_payment, order)

    def dies(**_: object) -> None:
        raise RuntimeError

    monkeypatch.setattr("orders.services.cancelling.cancel_order", dies)  # after the refund, before the cancellation
    with pytest.raises(RuntimeError):
        run(workflow.cancel_order, order, error={"Error": "States.Timeout"})
    monkeypatch.undo()
    for step in (workflow.validate_order, workflow.process_payment, workflow.deduct_stock, workflow.complete_order):
        with pytest.raises(OrderIsOver), transaction.atomic():
            run(step, order)

    assert run(workflow.cancel_order, order, error={"Error": "OrderIsOver"}) == "cancelled"
    assert Order.objects.get(pk=order.pk).cancel_reason == "workflow-failed", "it was paid: it was not the payment"
    assert books.of(order.number)["refunded"] == ["5.00"]


def test_what_has_shipped_is_not_refunded_by_a_compensation(placed: Placed, books: Books) -> None:
    order = placed()
    all_the_way(order)
    Order.objects.filter(pk=order.pk).update(completed_at=None, fulfilment_status="shipped")

    with pytest.raises(IllegalTransition), transaction.atomic():
        run(workflow.cancel_order, order, error={"Error": "States.Timeout"})

    assert books.of(order.number)["refunded"] == []


def test_each_end_of_an_order_is_counted_once_whoever_brought_it(placed: Placed, shopper: Caller) -> None:
    done, called_off, declined = placed(), placed(), placed("demo_decline")
    with read_log() as lines:
        all_the_way(done)
        run(workflow.complete_order, done)
        for _ in range(2):
            assert shopper.post(f"/orders/{called_off.number}/cancel", {}).status_code == 200
            run(workflow.cancel_order, declined, error={"Error": "PaymentDeclined"})

    ends = [line["outcome"] for line in lines if "OrdersByOutcome" in line]
    assert ends == ["completed", "cancelled", "cancelled"]
