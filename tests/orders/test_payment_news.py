"""POST /payments/stripe/webhook: what the provider tells of its own accord, signed, once for each event."""

import hashlib
import hmac
import json
import time
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest

from orders import services, workflow
from orders.models import Order, Payment, Refund
from orders.services import PaymentRequiresAction
from orders.status import PaymentState
from tests.in_process import Caller
from tests.platform.answers import assert_refused
from vibecode.executions import execution_status
from vibecode.models import OutboxEvent, ProcessedMessage
from vibecode.rights import Actor

type Placed = Callable[..., Order]
SECRET = "whsec_of_this_test"
ADDRESS = "/payments/stripe/webhook"


@pytest.fixture(autouse=True)
def _stripe_is_set_up(settings: Any) -> None:
    settings.STRIPE_WEBHOOK_SECRET = SECRET


def tell(stranger: Caller, kind: str, about: dict[str, Any], *, event_id: str = "evt_1", secret: str = SECRET) -> Any:
    """Send an event as Stripe does: https://docs.stripe.com/webhooks#verify-manually."""
    body = json.dumps({"id": event_id, "object": "event", "type": kind, "data": {"object": about}})
    moment = int(time.time())
    signature = hmac.new(secret.encode(), f"{moment}.{body}".encode(), hashlib.sha256).hexdigest()
    return stranger.post(ADDRESS, body, Stripe_Signature=f"t={moment},v1={signature}")


def paid(order: Order) -> dict[str, Any]:
    """A PaymentIntent of an order that has succeeded."""
    return {
        "id": "pi_1", "object": "payment_intent", "status": "succeeded", "amount": 500, "amount_received": 500,
        "currency": "gbp", "client_secret": None, "metadata": {"reference": order.number},
        "last_payment_error": None, "latest_charge": "ch_1",
    }  # fmt: skip


@pytest.fixture
def waiting(placed: Placed) -> Order:
    """An order whose bank asks its customer something."""
    order = placed("demo_action")
    with pytest.raises(PaymentRequiresAction):
        workflow.process_payment({"orderId": order.number}, None)
    return order


def test_a_payment_that_succeeded_is_written_down_once(stranger: Caller, waiting: Order) -> None:
    first = tell(stranger, "payment_intent.succeeded", paid(waiting))
    version = Order.objects.get(pk=waiting.pk).version
    second = tell(stranger, "payment_intent.succeeded", paid(waiting))
    other = tell(stranger, "payment_intent.succeeded", paid(waiting), event_id="evt_2")

    assert {answer.status_code for answer in (first, second, other)} == {200}
    order = Order.objects.get(pk=waiting.pk)
    assert (order.status, order.version) == ("paid", version)
    assert OutboxEvent.objects.filter(subject=order.number, detail_type="Order Paid").count() == 1
    assert ProcessedMessage.objects.filter(consumer="payment-news").count() == 2
    assert execution_status(order.number), "the workflow goes on"
    assert workflow.process_payment({"orderId": order.number}, None)["status"] == "paid"


def test_the_provider_s_news_is_under_no_rate(stranger: Caller, waiting: Order, settings: Any) -> None:
    settings.API_RATES = {"anonymous": (1, 60), "signed_in": (1, 60)}

    answers = [tell(stranger, "payment_intent.succeeded", paid(waiting), event_id=f"evt_{n}") for n in range(3)]

    assert {answer.status_code for answer in answers} == {200}


def test_a_capture_of_an_order_that_was_cancelled_meanwhile_goes_back(stranger: Caller, waiting: Order) -> None:
    services.cancel_order(order=waiting, reason="", actor=Actor.part("me"))

    assert tell(stranger, "payment_intent.succeeded", paid(waiting)).status_code == 200

    payment = Payment.objects.get(order=waiting)
    assert (payment.state, payment.refundable) == (PaymentState.CAPTURED, Decimal(0))
    assert Refund.objects.get().amount == payment.captured


def test_a_refund_that_the_bank_sent_back_can_be_given_again_and_is_told(stranger: Caller, waiting: Order) -> None:
    tell(stranger, "payment_intent.succeeded", paid(waiting))
    refund = services.request_refund(order=waiting, amount=waiting.total, reason="broken", actor=Actor.part("staff"))
    about = {
        "id": "re_1", "object": "refund", "status": "failed", "amount": 500, "currency": "gbp",
        "failure_reason": "expired_or_canceled_card",
        "metadata": {"reference": refund.reference, "payment": waiting.number},
    }  # fmt: skip

    for event in ("evt_3", "evt_3", "evt_8"):
        assert tell(stranger, "refund.failed", about, event_id=event).status_code == 200

    refund.refresh_from_db()
    payment = Payment.objects.get(order=waiting)
    assert (refund.state, refund.last_error) == ("failed", "expired_or_canceled_card")
    assert payment.refundable == payment.captured
    assert waiting.timeline.filter(type="Refund Failed").count() == 1


def test_a_refund_that_the_bank_confirms_is_settled(stranger: Caller, waiting: Order) -> None:
    tell(stranger, "payment_intent.succeeded", paid(waiting))
    refund = services.request_refund(order=waiting, amount=Decimal("2.00"), reason="broken", actor=Actor.part("staff"))
    about = {
        "id": "re_1", "object": "refund", "status": "succeeded", "amount": 200, "currency": "gbp",
        "metadata": {"reference": refund.reference, "payment": waiting.number},
    }  # fmt: skip

    for event in ("evt_4", "evt_5"):
        assert tell(stranger, "refund.updated", about, event_id=event).status_code == 200

    refund.refresh_from_db()
    assert (refund.state, refund.provider_id) == ("settled", "re_1")
    assert OutboxEvent.objects.filter(subject=waiting.number, detail_type="Order Refunded").count() == 1


def test_what_somebody_gave_back_at_stripe_s_own_desk_is_written_down_once(stranger: Caller, waiting: Order) -> None:
    tell(stranger, "payment_intent.succeeded", paid(waiting))
    services.request_refund(order=waiting, amount=Decimal("1.00"), reason="broken", actor=Actor.part("staff"))
    about = {
        "id": "ch_1", "object": "charge", "payment_intent": "pi_1", "currency": "gbp", "amount_captured": 500,
        "amount_refunded": 300, "metadata": {"reference": waiting.number},
    }  # fmt: skip

    for event in ("evt_6", "evt_7"):
        assert tell(stranger, "charge.refunded", about, event_id=event).status_code == 200

    assert Payment.objects.get(order=waiting).refunded == Decimal("3.00")
    amounts = Refund.objects.order_by("id").values_list("amount", "state")
    assert list(amounts) == [(Decimal("1.00"), "pending"), (Decimal("2.00"), "settled")]


def test_old_news_of_a_refund_that_failed_since_is_not_believed(stranger: Caller, waiting: Order) -> None:
    tell(stranger, "payment_intent.succeeded", paid(waiting))
    refund = services.request_refund(order=waiting, amount=Decimal("3.00"), reason="broken", actor=Actor.part("staff"))
    services.settling.fail_refund(order=waiting, reference=refund.reference, reason="sent back")
    about = {
        "id": "ch_1", "object": "charge", "payment_intent": "pi_1", "currency": "gbp", "amount_captured": 500,
        "amount_refunded": 300, "metadata": {"reference": waiting.number},
    }  # fmt: skip

    assert tell(stranger, "charge.refunded", about, event_id="evt_9").status_code == 200

    assert Payment.objects.get(order=waiting).refunded == 0
    assert Refund.objects.count() == 1


def test_what_is_not_signed_with_our_secret_changes_nothing(stranger: Caller, waiting: Order) -> None:
    refused = tell(stranger, "payment_intent.succeeded", paid(waiting), secret="whsec_of_another")

    assert_refused(refused, 400, "signature-invalid")
    assert Order.objects.get(pk=waiting.pk).payment_status == "requires_action"


def test_news_of_somebody_else_s_payment_is_taken_and_dropped(stranger: Caller, waiting: Order) -> None:
    about = paid(waiting) | {"metadata": {"reference": "ORD-01M80000000000000000000000"}}

    assert tell(stranger, "payment_intent.succeeded", about).status_code == 200
    assert tell(stranger, "customer.created", {"id": "cus_1"}).status_code == 200
    assert Order.objects.get(pk=waiting.pk).payment_status == "requires_action"


def test_a_shop_without_stripe_has_no_such_door(stranger: Caller, settings: Any, db: None) -> None:
    settings.STRIPE_WEBHOOK_SECRET = ""

    assert_refused(stranger.post(ADDRESS, {}), 404, "not-found")
