"""What happens when a fact comes out of a queue. Called by vibecode.lambda_entry, one message at a time.

Each takes an event as EventBridge wraps it. A message may come twice, late or out of order; what raises comes back.
"""

import functools
from typing import Any

from orders import letters, services
from orders.models import Order
from vibecode.announcements import announce
from vibecode.inbox import handle_once
from vibecode.observability import note
from vibecode.websockets import push_to_user

type Message = dict[str, Any]


def on_order_created(message: Message) -> None:
    """Workflow: begin the execution named after the order; Step Functions itself refuses a second one."""
    detail = _detail(message)
    order = Order.objects.get(number=detail["orderId"])
    _once("workflow", detail, functools.partial(services.start_order, order=order))


def on_money_to_settle(message: Message) -> None:
    """Payments: void what could still be captured of a cancelled order, carry out its refunds."""
    detail = _detail(message)
    order = Order.objects.get(number=detail["orderId"])
    _once("payments", detail, functools.partial(services.settle_money, order=order))


def on_time_for_the_bank_over(message: Message) -> None:
    """Overdue: the customer had their time for the bank. An order that still waits for it goes on, to its end."""
    detail = _detail(message)
    order = Order.objects.get(number=detail["orderId"])
    _once("overdue", detail, functools.partial(services.time_for_the_bank_over, order=order))


def on_news_for_the_customer(message: Message) -> None:
    """Mail: one e-mail a fact."""
    detail = _detail(message)
    send = functools.partial(
        letters.send_letter,
        event_id=detail["eventId"],
        detail_type=message["detail-type"],
        order_number=detail["orderId"],
        detail=detail,
    )
    _once("mail", detail, send)


def on_mail_outcome(message: Message) -> None:
    """Mail: what SES says became of one. It only moves forward, so a repeat changes nothing."""
    letters.note_outcome(message)


def on_news_for_partners(message: Message) -> None:
    """Announce: the fact goes to the SNS topic of staff and partners."""
    detail = _detail(message)
    news = {"source": message["source"], "detail_type": message["detail-type"]}
    _once("announce", detail, functools.partial(announce, **news, detail=detail))


def on_order_moved(message: Message) -> None:
    """Live: the owner's browser hears of it; an older version than it has seen is dropped."""
    detail = _detail(message)
    news = {
        "type": "order.updated",
        "orderId": detail["orderId"],
        "status": detail["status"],
        "version": detail["orderVersion"],
        "timestamp": detail["timestamp"],
    }
    push = functools.partial(
        push_to_user,
        user_id=detail["userId"],
        subject=detail["orderId"],
        version=detail["orderVersion"],
        message=news,
    )
    _once("live", detail, push)


def on_order_counts(message: Message) -> None:
    """Figures: what the order adds up to by now. Counting twice changes nothing; the inbox is what a replay asks."""
    detail = _detail(message)
    _once("figures", detail, functools.partial(services.count_order, number=detail["orderId"]))


def _detail(message: Message) -> Message:
    detail: Message = message["detail"]
    if "orderId" in detail:
        note(order=detail["orderId"])
    return detail


def _once(consumer: str, detail: Message, effect: Any) -> None:
    handle_once(consumer=consumer, event_id=detail["eventId"], effect=effect)
