"""Facts on the SNS topic: a subscribed queue gets JSON, a subscriber by e-mail gets words."""

import contextlib
import json
import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from django.conf import settings as django_settings
from django.db import transaction

from orders.models import Order
from orders.services import cancel_order
from tests.orders.ses import ADDRESS, make_order
from vibecode import announcements, aws
from vibecode.announcements import announce
from vibecode.models import OutboxEvent
from vibecode.rights import Actor

type Envelope = dict[str, Any]


class Subscriber:
    """A queue behind the topic, as a partner has one."""

    def __init__(self, filter_policy: dict[str, list[str]] | None = None) -> None:
        sqs, sns = aws.client("sqs"), aws.client("sns")
        self.url = sqs.create_queue(QueueName=f"partner-{uuid.uuid4().hex[:8]}")["QueueUrl"]
        arn = sqs.get_queue_attributes(QueueUrl=self.url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
        self.topic = django_settings.RESOURCES.topic_arn
        sns.create_topic(Name=self.topic.rpartition(":")[2])  # gives the one that is there
        attributes = {"FilterPolicy": json.dumps(filter_policy)} if filter_policy else {}
        subscribed = sns.subscribe(
            TopicArn=self.topic, Protocol="sqs", Endpoint=arn, Attributes=attributes, ReturnSubscriptionArn=True
        )
        self.arn = subscribed["SubscriptionArn"]

    def got(self) -> list[Envelope]:
        """What has come."""
        found = aws.client("sqs").receive_message(QueueUrl=self.url, MaxNumberOfMessages=10)
        return [json.loads(message["Body"]) for message in found.get("Messages", [])]

    def close(self) -> None:
        """End the subscription."""
        aws.client("sns").unsubscribe(SubscriptionArn=self.arn)
        aws.client("sqs").delete_queue(QueueUrl=self.url)


@pytest.fixture
def subscriber() -> Iterator[Subscriber]:
    """Somebody who hears everything."""
    with contextlib.closing(Subscriber()) as made:
        yield made


def fact_of(order: Order, detail_type: str) -> dict[str, Any]:
    """A fact about an order as it goes over the bus."""
    detail: dict[str, Any] = OutboxEvent.objects.get(subject=order.number, detail_type=detail_type).detail
    return detail


def test_a_fact_reaches_a_subscribed_queue_as_json(db: None, subscriber: Subscriber) -> None:
    detail = fact_of(make_order(("Lamp", "2.50", 2)), "Order Created")

    announce(source="vibecode.orders", detail_type="Order Created", detail=detail)

    (envelope,) = subscriber.got()
    assert json.loads(envelope["Message"]) == detail
    assert envelope["Subject"] == f"Order Created {detail['orderId']} (local)"
    assert {name: value["Value"] for name, value in envelope["MessageAttributes"].items()} == {
        "detailType": "Order Created",
        "eventId": detail["eventId"],
        "stage": "local",
        "source": "vibecode.orders",
    }


def test_a_subscriber_hears_only_what_it_asked_for(db: None) -> None:
    order = make_order()
    with transaction.atomic():
        cancel_order(order=order, reason="changed my mind", actor=Actor.part("tests"))

    with contextlib.closing(Subscriber({"detailType": ["Order Cancelled"]})) as partner:
        for name in ("Order Created", "Order Cancelled"):
            announce(source="vibecode.orders", detail_type=name, detail=fact_of(order, name))
        (envelope,) = partner.got()

    assert json.loads(envelope["Message"])["status"] == "cancelled"


def test_nothing_personal_is_announced(db: None, subscriber: Subscriber) -> None:
    order = make_order(email="ada@example.com", address=ADDRESS, note="ring twice")
    with transaction.atomic():
        cancel_order(order=order, reason="Ada Lovelace called", actor=Actor.part("tests"))
    detail = fact_of(order, "Order Cancelled")

    announce(source="vibecode.orders", detail_type="Order Cancelled", detail=detail)

    said = json.dumps(subscriber.got()) + announcements._words("Order Cancelled", detail)
    for secret in ("ada@", "Ada", "Lovelace", "St James", "SW1Y ", "ring twice", "7946 0000"):
        assert secret not in said


def test_people_get_words() -> None:
    detail = {
        "schemaVersion": 1,
        "eventId": "7f6c",
        "timestamp": "2026-11-23T22:00:00.000Z",
        "orderId": "ORD-1",
        "orderVersion": 3,
        "userId": "5d1b",
        "total": "12.50",
        "currency": "GBP",
        "items": [{"sku": "LAMP", "quantity": 1}],
    }

    assert announcements._words("Order Created", detail).splitlines() == [
        "Order Created (local)",
        "",
        "Event id: 7f6c",
        "Timestamp: 2026-11-23T22:00:00.000Z",
        "Order id: ORD-1",
        "Total: 12.50",
        "Currency: GBP",
        "Items: 1",
    ]


def test_a_subject_is_what_sns_takes(subscriber: Subscriber) -> None:
    announce(source="vibecode.catalog", detail_type="Stock Low", detail={"eventId": "7f6c", "sku": "S" * 200})

    (envelope,) = subscriber.got()
    assert len(envelope["Subject"]) == 100
    assert envelope["Subject"].startswith("Stock Low SSS")
    assert envelope["Subject"].endswith(" (local)")


def test_a_topic_that_is_not_there_raises_so_that_the_queue_tries_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(type(django_settings.RESOURCES), "topic_arn", "arn:aws:sns:us-east-1:123456789012:nowhere")

    with pytest.raises(aws.service_errors()) as refused:
        announce(source="vibecode.catalog", detail_type="Stock Low", detail={"eventId": "7f6c", "sku": "LAMP"})
    assert aws.error_code(refused.value) == "NotFound"
