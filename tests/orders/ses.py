"""SES for the tests of letters: the local AWS's own with its mailbox, and one that answers by a script."""

import base64
import contextlib
import copy
import email
import email.policy
import json
import os
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from decimal import Decimal
from email.message import EmailMessage
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx
import pytest
from pytest_django import Settings

from accounts.models import User
from orders.letters import TAG
from orders.models import Letter, Order, Payment, Wishes
from orders.services import Basket, place_order
from tests.in_process import make_product
from tests.plain import PLAIN
from vibecode import settings as shop_settings

ADDRESS = {
    "name": "Ada Lovelace",
    "line1": "12 St James's Square",
    "line2": "",
    "city": "London",
    "region": "",
    "postalCode": "SW1Y 4JH",
    "country": "GB",
    "phone": "+44 20 7946 0000",
}


def make_order(
    *lines: tuple[str, str, int], email: str | None = None, address: dict[str, Any] | None = None, note: str = ""
) -> Order:
    """An order of (product's name, price, quantity) by a customer of its own."""
    wanted = lines or (("Lamp", "2.50", 2),)
    products = [
        make_product(f"MAIL-{uuid.uuid4().hex[:12].upper()}", name=name, price=price, on_hand=quantity)
        for name, price, quantity in wanted
    ]
    sub = str(uuid.uuid4())
    customer = User.objects.create(cognito_sub=sub, email=f"{sub}@example.com" if email is None else email)
    quantities = {product.sku: line[2] for product, line in zip(products, wanted, strict=True)}
    wishes = Wishes(shipping_address=address, note=note)
    order = place_order(customer=customer, basket=Basket(quantities=quantities, wishes=wishes))
    return Order.objects.with_lines().get(pk=order.pk)


def owe(order: Order, state: str, captured: str = "0.00", refunded: str = "0.00") -> Payment:
    """The order's payment as it is now."""
    return Payment.objects.create(
        order=order,
        provider="demo",
        reference=order.number,
        amount=order.total,
        currency=order.currency,
        state=state,
        captured=Decimal(captured),
        refunded=Decimal(refunded),
    )


def fact(order: Order, detail_type: str = "Order Confirmed", **more: Any) -> dict[str, Any]:
    """The arguments of send_letter for a fact about an order, of an event of its own."""
    detail = {"orderId": order.number, "status": order.status, "currency": order.currency, **more}
    return {
        "event_id": str(uuid.uuid4()),
        "detail_type": detail_type,
        "order_number": order.number,
        "detail": detail,
    }


def letter_of(news: dict[str, Any]) -> Letter:
    """The letter about a fact as it is now."""
    return Letter.objects.get(event_id=news["event_id"])


def outcome(event_id: object, name: str = "Email Sent", message_id: str = "ses-1", **tags: list[str]) -> dict[str, Any]:
    """An event as SES puts it on EventBridge's default bus, about a mail with our tag.

    https://docs.aws.amazon.com/ses/latest/dg/monitoring-eventbridge.html
    """
    kind = {"Email Sent": "Send", "Email Delivered": "Delivery", "Email Bounced": "Bounce"}.get(name, "Complaint")
    mail = {
        "timestamp": "2026-11-23T22:00:00.000Z",
        "source": "Vibecode <orders@vibecode.example>",
        "sendingAccountId": "123456789012",
        "messageId": message_id,
        "destination": ["ada@example.com"],
        "headersTruncated": False,
        "commonHeaders": {"from": ["Vibecode <orders@vibecode.example>"], "to": ["ada@example.com"], "subject": "…"},
        "tags": {"ses:configuration-set": ["vibecode-local-mail"], TAG: [str(event_id)], **tags},
    }
    return {
        "version": "0",
        "id": str(uuid.uuid4()),
        "detail-type": name,
        "source": "aws.ses",
        "account": "123456789012",
        "time": "2026-11-23T22:00:01Z",
        "region": "us-east-1",
        "resources": ["arn:aws:ses:us-east-1:123456789012:configuration-set/vibecode-local-mail"],
        "detail": {"eventType": kind, "mail": mail, kind.lower(): {}},
    }


# --- the local AWS's SES ---------------------------------------------------------------------------------------------
class Mailbox:
    """The mails that the local AWS's SES has accepted."""

    def about(self, event_id: object) -> list[dict[str, Any]]:
        """Those that tell of a fact, oldest first."""
        answer = httpx.get(f"{os.environ['AWS_ENDPOINT_URL']}/_local/mail", timeout=30, **PLAIN)
        return [mail for mail in answer.json() if mail["tags"].get(TAG) == [str(event_id)]]

    def one(self, event_id: object) -> dict[str, Any]:
        """The one mail that tells of a fact."""
        (mail,) = self.about(event_id)
        return mail


@pytest.fixture
def mailbox(settings: Settings) -> Mailbox:
    """Mails leave through anymail's own backend, as they do outside of tests."""
    settings.MAILERS = shop_settings.MAILERS
    return Mailbox()


# --- an SES by a script ----------------------------------------------------------------------------------------------
type Answer = tuple[int, dict[str, str]]
ACCEPTED: Answer = (200, {"MessageId": "ses-1"})


def refusal(status: int, code: str) -> Answer:
    """No, in the words of SES, which quote addresses."""
    return status, {"__type": code, "message": "Email address is not verified: ada@example.com"}


@dataclass
class ScriptedSES:
    """Speaks SendEmail over HTTP, and answers as it is told after so many seconds."""

    answer: Answer = ACCEPTED
    seconds: float = 0
    calls: list[dict[str, Any]] = field(default_factory=list)
    before_answer: Callable[[], object] = lambda: None

    def message(self) -> EmailMessage:
        """The one message that came, with its headers as they were."""
        (call,) = self.calls
        raw = base64.b64decode(call["Content"]["Raw"]["Data"])
        message = email.message_from_bytes(raw, policy=email.policy.default)
        assert isinstance(message, EmailMessage)
        return message


def pointed_to(settings: Settings, port: int) -> None:
    """Let mails leave for another port."""
    settings.MAILERS = copy.deepcopy(shop_settings.MAILERS)
    settings.MAILERS["default"]["OPTIONS"]["client_params"]["endpoint_url"] = f"http://127.0.0.1:{port}"
    settings.MAILERS["default"]["OPTIONS"]["client_params"]["config"]["read_timeout"] = 1


@pytest.fixture
def ses(settings: Settings) -> Iterator[ScriptedSES]:
    """In place of the local AWS's SES, for this test."""
    script = ScriptedSES()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            call = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            script.calls.append(call)
            script.before_answer()
            time.sleep(script.seconds)
            status, said = script.answer
            body = json.dumps(said).encode()
            with contextlib.suppress(OSError):  # who asked may have gone
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                if "__type" in said:
                    self.send_header("x-amzn-ErrorType", said["__type"])
                self.end_headers()
                self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    pointed_to(settings, server.server_address[1])
    yield script
    server.shutdown()
    server.server_close()
