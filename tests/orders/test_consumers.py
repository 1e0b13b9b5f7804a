"""What comes out of a queue three times has its effect once. Through the real Lambda entry, queues and services."""

import itertools
import json
import uuid
from collections.abc import Callable
from typing import Any

import pytest
from django.conf import settings

from orders.models import Letter, Order
from orders.payments import Charge
from orders.status import PaymentState
from tests.books import Books
from vibecode import aws
from vibecode.models import OutboxEvent, ProcessedMessage
from vibecode.rights import Actor

type Placed = Callable[..., Order]
_numbers = itertools.count(1)


def deliver(queue: str, *messages: Any) -> list[str]:
    """Give messages to the queue's consumer as SQS does; the ids of those that failed."""
    from vibecode.lambda_entry import handler

    records = [
        {
            "messageId": str(number),
            "receiptHandle": str(number),
            "body": body if isinstance(body, str) else json.dumps(body),
            "attributes": {"ApproximateReceiveCount": "1"},
            "eventSource": "aws:sqs",
            "eventSourceARN": settings.RESOURCES.queue_arn(queue),
        }
        for number, body in enumerate(messages)
    ]

    class Context:
        aws_request_id = uuid.uuid4().hex

        def get_remaining_time_in_millis(self) -> int:
            return 120_000

    failed = handler({"Records": records}, Context())["batchItemFailures"]
    return [failure["itemIdentifier"] for failure in failed]


def wrapped(fact: OutboxEvent) -> dict[str, Any]:
    """A fact as EventBridge gives it to a queue."""
    return {"id": "1", "detail-type": fact.detail_type, "source": fact.source, "detail": fact.detail}


@pytest.fixture(autouse=True)
def _one_transaction(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each test is one transaction that is rolled back: its connection must not be closed in the middle."""
    monkeypatch.setattr("vibecode.lambda_entry.close_old_connections", lambda: None)


@pytest.fixture
def created(placed: Placed) -> dict[str, Any]:
    """The first fact of an order."""
    order = placed()
    return wrapped(OutboxEvent.objects.get(subject=order.number))


def test_an_order_created_three_times_begins_one_execution(created: dict[str, Any]) -> None:
    assert deliver("workflow", created, created, created) == []

    number = created["detail"]["orderId"]
    assert executions_of(number) == [number]
    assert ProcessedMessage.objects.filter(consumer="workflow", event_id=created["detail"]["eventId"]).count() == 1


def executions_of(number: str) -> list[str]:
    """The names of an order's executions."""
    known = aws.client("stepfunctions").list_executions(
        stateMachineArn=settings.RESOURCES.state_machine_arn, maxResults=1000
    )["executions"]
    return sorted(execution["name"] for execution in known if execution["name"].startswith(number))


def test_an_order_whose_bank_was_not_answered_in_time_goes_on_without_a_sweep(placed: Placed) -> None:
    from orders import services, workflow

    asked, confirmed = placed("demo_action"), placed("demo_action")
    for order in (asked, confirmed):
        with pytest.raises(services.PaymentRequiresAction):
            workflow.process_payment({"orderId": order.number}, None)
    services.record_charge(order=confirmed, charge=Charge(PaymentState.CAPTURED, captured=confirmed.total))
    over = [
        wrapped(OutboxEvent.objects.get(subject=order.number, detail_type="Payment Requires Action"))
        for order in (asked, confirmed)
    ]

    assert deliver("overdue", *over, *over) == []

    assert executions_of(asked.number) == [asked.number]
    with pytest.raises(services.PaymentExpired):
        workflow.process_payment({"orderId": asked.number}, None)
    assert executions_of(confirmed.number) == []
    assert workflow.process_payment({"orderId": confirmed.number}, None)["status"] == "paid"


def test_step_functions_itself_refuses_a_second_execution_where_the_inbox_forgot(created: dict[str, Any]) -> None:
    deliver("workflow", created)
    ProcessedMessage.objects.all().delete()

    assert deliver("workflow", created) == []


def test_one_bad_message_of_a_batch_comes_back_and_no_other(created: dict[str, Any]) -> None:
    unknown = created | {"detail": created["detail"] | {"orderId": "ORD-NONE", "eventId": str(uuid.uuid4())}}

    assert deliver("announce", created, "no JSON", created) == ["1"]
    assert deliver("workflow", unknown, created) == ["0"]


@pytest.mark.parametrize("queue", ["workflow", "payments", "mail", "announce", "live", "figures"])
def test_every_consumer_of_a_fact_writes_down_that_it_has_handled_it(placed: Placed, books: Books, queue: str) -> None:
    from orders import services

    order = placed()
    services.cancel_order(order=order, reason="", actor=Actor.part("me"))
    fact = wrapped(OutboxEvent.objects.get(subject=order.number, detail_type="Order Cancelled"))

    assert deliver(queue, fact, fact) == []

    handled = ProcessedMessage.objects.get(event_id=fact["detail"]["eventId"])
    assert (handled.consumer, handled.handled_at is not None) == (queue, True)


def test_partners_hear_of_a_fact_once(created: dict[str, Any]) -> None:
    sqs, sns = aws.client("sqs"), aws.client("sns")
    url = sqs.create_queue(QueueName=f"partner-{next(_numbers)}-{uuid.uuid4().hex[:8]}")["QueueUrl"]
    arn = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    sns.subscribe(TopicArn=settings.RESOURCES.topic_arn, Protocol="sqs", Endpoint=arn)

    assert deliver("announce", created, created, created) == []

    messages = sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10).get("Messages", [])
    heard = [json.loads(json.loads(message["Body"])["Message"])["eventId"] for message in messages]
    assert heard == [created["detail"]["eventId"]]


def test_a_customer_is_written_to_once(placed: Placed, books: Books) -> None:
    from orders import services

    order = placed()
    services.cancel_order(order=order, reason="", actor=Actor.part("me"))
    fact = wrapped(OutboxEvent.objects.get(subject=order.number, detail_type="Order Cancelled"))

    assert deliver("mail", fact, fact, fact) == []

    letter = Letter.objects.get(order=order)
    assert (letter.kind, letter.state, letter.attempts) == ("cancellation", "sent", 1)


def test_money_is_settled_once_whatever_the_order_of_the_facts(placed: Placed, books: Books) -> None:
    from orders import services, workflow

    order = placed()
    workflow.process_payment({"orderId": order.number}, None)
    services.cancel_order(order=order, reason="", actor=Actor.part("me"))
    facts = OutboxEvent.objects.filter(subject=order.number, detail_type__in=["Order Cancelled", "Refund Requested"])
    backwards = [wrapped(fact) for fact in facts.order_by("-id")]

    assert deliver("payments", *backwards, *backwards) == []

    assert books.of(order.number)["refunded"] == ["5.00"]
    assert Order.objects.get(pk=order.pk).payment_status == "refunded"
