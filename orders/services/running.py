"""An order's way through the workflow: begun once, continued when it got lost. By consumers, webhook and sweep.

Executions are named after the order; the n-th one is ``<number>-<n>``, n claimed by a conditional update.
"""

import time
import uuid
from collections import Counter
from collections.abc import Callable
from datetime import timedelta

import structlog
from django.conf import settings
from django.db.models import F
from django.db.models.functions import Now
from django.utils import timezone

from orders.models import IllegalTransition, Order, Payment
from orders.payments import Intent, PaymentError, RefundRefused, provider_of
from orders.payments.webhook import RefundNews, StripeEvent
from orders.services.cancelling import compensate, fail_order, finish_failed_order
from orders.services.paying import look_at_void, payment_of, record_charge, settle_money
from orders.services.settling import fail_refund, note_refunds_elsewhere, record_refund
from orders.status import Mark, PaymentState, RefundState
from vibecode.executions import WorkflowAway, answer_task, execution_status, start_execution
from vibecode.inbox import handle_once

log = structlog.stdlib.get_logger("vibecode.workflow")

type Look = tuple[Order, Callable[[Order], str], str]

# A sweep ends before its function does. It takes whom it finds by chance, so that the hopeless starve nobody.
MOST_AT_ONCE = 100
MOST_SECONDS = 60.0


def execution_name(order: Order) -> str:
    """The name of the execution that the order is in, or was in last."""
    return order.number if order.workflow_runs == 1 else f"{order.number}-{order.workflow_runs}"


def start_order(*, order: Order) -> bool:
    """Begin the order's first execution; False where Step Functions has it already. Raises WorkflowAway."""
    return start_execution(name=order.number, data={"orderId": order.number})


def continue_order(*, order: Order) -> str:
    """See to it that an order that is not over has a running execution. Gives what was done: running, begun, over.

    A name that was never begun (its fact was lost, or whoever claimed it died) is begun; after one that has ended, the
    next number is claimed. Raises WorkflowAway.
    """
    order = Order.objects.get(pk=order.pk)
    if order.mark != Mark.NONE:
        return "over"
    status = execution_status(execution_name(order))
    if status == "RUNNING":
        return "running"
    if status:
        claimed = Order.objects.filter(pk=order.pk, workflow_runs=order.workflow_runs).update(
            workflow_runs=F("workflow_runs") + 1
        )
        if not claimed:
            return "running"  # somebody else has just claimed the next
        order.refresh_from_db(fields=["workflow_runs"])
    start_execution(name=execution_name(order), data={"orderId": order.number})
    return "begun"


# --- waiting for the customer ----------------------------------------------------------------------------------------
def await_customer(*, order: Order, token: str) -> None:
    """Keep the token of the execution that waits until the customer has answered the bank.

    The answer may have come before the token, or the time for it be over: then the execution goes on at once. Raises
    WorkflowAway.
    """
    Payment.objects.filter(order=order).update(task_token=token, updated_at=Now())
    if not Payment.objects.filter(
        order=order, state=PaymentState.REQUIRES_ACTION, action_deadline__gt=timezone.now()
    ).exists():
        answer_task(token=token, data={"orderId": order.number})


def customer_answered(*, order: Order) -> None:
    """Let the order's workflow look at the payment again: wake the execution that waits, or see that there is one.

    Raises WorkflowAway.
    """
    payment = payment_of(order)
    token = payment.task_token if payment else ""
    if payment is not None and token:
        woken = answer_task(token=token, data={"orderId": order.number})
        Payment.objects.filter(pk=payment.pk, task_token=token).update(task_token="", updated_at=Now())
        if woken:
            return
    continue_order(order=order)


def time_for_the_bank_over(*, order: Order) -> None:
    """Let the workflow of an order whose payment still waits for its customer look at it: it voids and cancels.

    The deadline is now, or clocks that differ could have it wait once more. Nothing where the payment was decided
    meanwhile. Raises WorkflowAway.
    """
    waiting = Payment.objects.filter(order=order, state=PaymentState.REQUIRES_ACTION)
    if waiting.update(action_deadline=timezone.now(), updated_at=Now()):
        customer_answered(order=order)


def payment_news(news: StripeEvent) -> None:
    """Write down what the provider tells of its own accord, once for each of its events; let the workflow go on.

    News of a payment that is none of ours is dropped. Raises WorkflowAway, and BeingHandled while another delivery of
    it is at work: the provider sends it again.
    """
    payment = Payment.objects.filter(reference=news.reference).select_related("order").first()
    if payment is None:
        log.warning("payment news of nobody", reference=news.reference)
        return
    order = payment.order

    def take_note() -> None:
        if news.charge is not None:
            record_charge(order=order, charge=news.charge)
            customer_answered(order=order)
        if news.refunded:
            note_refunds_elsewhere(order=order, refunded=news.refunded)
        if news.refund is not None:
            _follow_refund(payment, news.refund)

    handle_once(
        consumer="payment-news", event_id=uuid.uuid5(uuid.NAMESPACE_URL, f"stripe:{news.event_id}"), effect=take_note
    )


def _follow_refund(payment: Payment, news: RefundNews) -> None:
    refund = payment.refunds.filter(reference=news.reference).first()
    if refund is None:
        log.warning("news of a refund of nobody", reference=news.reference)
    elif news.state == RefundState.SETTLED:
        record_refund(refund=refund, provider_id=news.provider_id)
    elif news.state == RefundState.FAILED:
        fail_refund(order=payment.order, reference=news.reference, reason=news.reason)


# --- the sweep -------------------------------------------------------------------------------------------------------
def sweep_orders(*, say: Callable[[str], object] = lambda _: None, dry_run: bool = False) -> Counter[str]:
    """Look after orders that have not moved for ORDER_STUCK_SECONDS, and after money that is not where it belongs.

    ``say`` hears one sentence for each order. Gives how many were begun, left running, cancelled, settled, away. One
    order's trouble stops no other.
    """
    before = timezone.now() - timedelta(seconds=settings.ORDER_STUCK_SECONDS)
    done: Counter[str] = Counter()
    late = Payment.objects.waiting_too_long(timezone.now()).select_related("order").order_by("?")[:MOST_AT_ONCE]
    work: list[Look] = [(payment.order, _wake, "waits too long") for payment in late]
    stuck = Order.objects.stuck(before).order_by("?")[:MOST_AT_ONCE]
    work += [(order, _unstick, "is stuck") for order in stuck]
    unsettled = Order.objects.unsettled(before).order_by("?")[:MOST_AT_ONCE]
    work += [(order, _settle, "has money to settle") for order in unsettled]
    deadline = time.monotonic() + MOST_SECONDS
    for order, look_after, trouble in work:
        if time.monotonic() > deadline:
            break
        outcome = trouble if dry_run else _try(order, look_after)
        done[outcome] += 1
        if outcome != "running":
            say(f"{order.number}: {outcome}")
    return done


def _try(order: Order, look_after: Callable[[Order], str]) -> str:
    try:
        return look_after(order)
    except (PaymentError, WorkflowAway, IllegalTransition) as error:
        log.warning("sweep", order=order.number, error=type(error).__name__, why=str(error))
    except Exception:  # whatever it is, the other orders are looked after
        log.exception("sweep", order=order.number)
    return "left for the next sweep"


def _wake(order: Order) -> str:
    customer_answered(order=order)
    return "woken"


def _unstick(order: Order) -> str:
    if order.workflow_runs >= settings.ORDER_MOST_RUNS and execution_status(execution_name(order)) != "RUNNING":
        try:
            order = compensate(order=order, reason="workflow-gave-up")
        except RefundRefused:
            order = fail_order(order=order)
        return str(order.status)
    payment = payment_of(order)
    if payment is not None and payment.state == PaymentState.REQUIRES_ACTION:
        charge = provider_of(payment).look_up(Intent.of(payment))
        if charge.state != payment.state:  # the provider's news of it was lost
            record_charge(order=order, charge=charge)
            return _wake(order)
    elif payment is not None and payment.task_token:
        return _wake(order)  # whoever wrote down what the customer answered died before the execution was told
    return continue_order(order=order)


def _settle(order: Order) -> str:
    look_at_void(order=order)
    settle_money(order=order)
    finish_failed_order(order=Order.objects.select_related("user").get(pk=order.pk))
    return "settled"
