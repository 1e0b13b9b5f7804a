"""E-mails to customers: one for each fact that they hear of, through SES. Called by orders/consumers.py.

SES knows no idempotency key. So a letter is written down before it is sent and again after; of one that was cut off in
between, SES itself says through EventBridge whether it took it, and only its silence lets it be sent anew.
"""

import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from email.utils import parseaddr
from typing import Any

from django.conf import settings
from django.core.exceptions import ValidationError
from django.core.validators import validate_email
from django.db.models import F
from django.db.models.functions import Coalesce, Now
from django.template.loader import render_to_string
from django.utils.dateformat import format as format_date
from django.utils.timezone import get_default_timezone, localtime

from orders.models import Letter, Order, OrderLine, Payment
from orders.status import LetterState, OrderStatus, PaymentState, RefundState
from vibecode import aws
from vibecode.desk import money

type Detail = Mapping[str, Any]
type Words = dict[str, Any]

TAG = "event-id"  # on the mail, and on each of its outcomes

# What SES says became of a mail, by the name of its event.
# https://docs.aws.amazon.com/ses/latest/dg/monitoring-eventbridge.html#eventbridge-events
OUTCOMES = {
    "Email Sent": LetterState.SENT,
    "Email Delivered": LetterState.DELIVERED,
    "Email Bounced": LetterState.BOUNCED,
    "Email Rejected": LetterState.BOUNCED,  # taken, and then found unfit to be passed on
    "Email Complaint Received": LetterState.COMPLAINED,
}

# Why an order was cancelled, by our own codes. What people wrote is theirs, and never quoted.
REASONS = {
    "payment-declined": "Your bank declined the payment.",
    "payment-failed": "The payment could not be taken.",
    "payment-expired": "The payment was not confirmed in time.",
    "workflow-failed": "We could not carry it out.",
    "workflow-gave-up": "We could not carry it out.",
}
CALLED_OFF = "It was called off before anything was shipped."
ADDRESS = ("name", "line1", "line2", "city", "region", "postalCode", "country")


class NotSent(Exception):
    """SES refused the letter or was not reached; the queue brings the fact back."""


class OutcomeUnknown(Exception):
    """The letter may have gone out; the queue brings the fact back, and by then SES has said so or time has passed."""


def send_letter(*, event_id: uuid.UUID | str, detail_type: str, order_number: str, detail: Detail) -> None:
    """Write to the customer about a fact, once however often and from wherever it is asked. Calls SES.

    ``detail`` is the fact's own. Without an e-mail (a guest, an erased customer) the letter is skipped.
    Raises NotSent when SES surely did not take it, OutcomeUnknown while it may have; both are worth another try.
    """
    kind = KINDS[detail_type]
    order = Order.objects.with_lines().get(number=order_number)
    letter, _ = Letter.objects.get_or_create(event_id=event_id, defaults={"order": order, "kind": kind.name})
    if not _is_address(order.user.email):
        Letter.objects.filter(pk=letter.pk, state=LetterState.WAITING).update(state=LetterState.SKIPPED)
        return
    message = _compose(letter, kind, order, detail)
    if not _claim(letter):
        return
    try:
        provider_id = _hand_over(message)
    except NotSent as refusal:
        _note_failure(letter, LetterState.WAITING, refusal)
        raise
    except OutcomeUnknown as doubt:
        _note_failure(letter, LetterState.SENDING, doubt)
        raise
    _move(letter.event_id, LetterState.SENT, provider_id)


def note_outcome(event: Detail) -> None:
    """Write down what SES says became of a letter: an event of EventBridge's default bus. Only ever moves forward.

    Mails of others (no tag of ours, or another stage's) and news that change nothing are passed over.
    """
    state = OUTCOMES.get(event["detail-type"])
    mail = event["detail"].get("mail", {})
    for tag in mail.get("tags", {}).get(TAG, []):
        if state is not None and _is_uuid(tag):
            _move(tag, state, mail["messageId"])


def _is_address(text: str) -> bool:
    """Whether it is one address and nothing else, such as a line break with another header behind it."""
    try:
        validate_email(text)
    except ValidationError:
        return False
    return True


def _is_uuid(text: str) -> bool:
    try:
        uuid.UUID(text)
    except ValueError:
        return False
    return True


# --- once ------------------------------------------------------------------------------------------------------------
def _claim(letter: Letter) -> bool:
    """Take the letter for this attempt; of two deliveries side by side one gets it. False when it has gone out.

    Raises OutcomeUnknown while another attempt may have sent it.
    """
    claimed = (
        Letter.objects.filter(pk=letter.pk)
        .sendable()
        .update(state=LetterState.SENDING, tried_at=Now(), attempts=F("attempts") + 1)
    )
    letter.refresh_from_db()
    if not claimed and letter.state == LetterState.SENDING:
        raise OutcomeUnknown(f"the {letter.kind} of {letter.event_id} may have gone out")
    return bool(claimed)


def _note_failure(letter: Letter, state: LetterState, failure: Exception) -> None:
    """Unless SES has said meanwhile that it went out, or a later attempt is at work."""
    Letter.objects.filter(pk=letter.pk, state=LetterState.SENDING, attempts=letter.attempts).update(
        state=state, last_error=str(failure)[:300]
    )


def _move(event_id: uuid.UUID | str, state: LetterState, provider_id: str) -> None:
    Letter.objects.filter(event_id=event_id, state__in=LetterState.before(state)).update(
        state=state, provider_id=provider_id, sent_at=Coalesce("sent_at", Now()), last_error=""
    )


def _hand_over(message: Any) -> str:
    """Give the message to SES; its id for it. The errors name a code only: SES's sentences quote addresses."""
    from anymail.exceptions import AnymailAPIError  # slow to import: only where a mail is sent

    try:
        message.send()
    except AnymailAPIError as error:
        cause = error.__cause__ or error
        why = aws.error_code(cause) or type(cause).__name__
        raise (NotSent if aws.was_refused(cause) else OutcomeUnknown)(why) from None
    return message.anymail_status.message_id or ""


# --- what it says ----------------------------------------------------------------------------------------------------
@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of letter: its templates' name, and what it says beside what every letter says."""

    name: str
    words: Callable[[Order, Detail], Words]


@dataclass(frozen=True, slots=True)
class Line:
    """One line as it is shown."""

    name: str
    sku: str
    quantity: str
    unit_price: str
    total: str


def _compose(letter: Letter, kind: Kind, order: Order, detail: Detail) -> Any:
    from anymail.message import AnymailMessage

    shop, sender = parseaddr(settings.DEFAULT_FROM_EMAIL)
    words = {
        "shop": shop,
        "number": order.number,
        "placed": format_date(localtime(order.created_at, get_default_timezone()), "j F Y, H:i T"),
        "lines": [_line(line, line.quantity, order.currency) for line in order.items],
        "total": money(order.total, order.currency),
        **kind.words(order, detail),
    }
    message = AnymailMessage(
        subject=words["subject"],
        body=render_to_string(f"orders/letters/{kind.name}.txt", words),
        to=[order.user.email],
        reply_to=[settings.MAIL_REPLY_TO],
        headers={
            # Django's own asks the network for this machine's name.
            "Message-ID": f"<{letter.event_id}@{sender.rpartition('@')[2]}>",
            "Auto-Submitted": "auto-generated",  # RFC 3834: absence notes need not answer
        },
        esp_extra={"EmailTags": [{"Name": TAG, "Value": str(letter.event_id)}]},
    )
    message.attach_alternative(render_to_string(f"orders/letters/{kind.name}.html", words), "text/html")
    return message


def _line(line: OrderLine, quantity: int, currency: str) -> Line:
    return Line(
        name=line.name,
        sku=line.sku,
        quantity=f"{quantity:,}",
        unit_price=money(line.unit_price, currency),
        total=money(line.unit_price * quantity, currency),
    )


def _confirmation(order: Order, _: Detail) -> Words:
    kept = order.shipping_address or {}
    extras = {"Shipping": order.shipping_total, "Tax": order.tax_total}
    return {
        "subject": f"Order {order.number} is confirmed",
        "subtotal": money(order.subtotal, order.currency),
        "extras": {name: money(amount, order.currency) for name, amount in extras.items() if amount},
        "address": [kept[name] for name in ADDRESS if kept.get(name)],
    }


def _shipment(order: Order, detail: Detail) -> Words:
    """All of it, or the quantities that the fact names."""
    shipped = {item["sku"]: item["quantity"] for item in detail.get("items") or ()}
    lines = [line for line in order.items if not shipped or line.sku in shipped]
    part = detail.get("status") == OrderStatus.PARTLY_SHIPPED
    return {
        "subject": f"{'Part of order' if part else 'Order'} {order.number} is on its way",
        "part": part,
        "lines": [_line(line, shipped.get(line.sku, line.quantity), order.currency) for line in lines],
        "tracking": detail.get("tracking") or "",
    }


def _cancellation(order: Order, _: Detail) -> Words:
    payment = Payment.objects.filter(order=order).first()
    back, kept = (payment.refunded, payment.refundable) if payment else (Decimal(0), Decimal(0))
    return {
        "subject": f"Order {order.number} is cancelled",
        "reason": REASONS.get(order.cancel_reason, CALLED_OFF),
        "back": money(back, order.currency) if back else "",
        "in_all": payment is not None and payment.refunds.exclude(state=RefundState.FAILED).count() > 1,
        "kept": money(kept, order.currency) if kept else "",  # a refund was refused: people look after it
        "open": payment is not None and _may_still_be_charged(payment),
    }


def _may_still_be_charged(payment: Payment) -> bool:
    """Nobody knows yet; or an answer was lost before the void, and the provider is to be asked once more."""
    unsure = payment.state == PaymentState.VOIDED and payment.attempts > 1 and payment.void_checked_at is None
    return unsure or payment.state in PaymentState.undecided()


def _refund(order: Order, detail: Detail) -> Words:
    amount = money(Decimal(detail["amount"]), detail["currency"])
    return {"subject": f"Refund of {amount} for order {order.number}", "amount": amount}


KINDS: Mapping[str, Kind] = {
    "Order Confirmed": Kind("confirmation", _confirmation),
    "Order Shipped": Kind("shipment", _shipment),
    "Order Cancelled": Kind("cancellation", _cancellation),
    "Order Refunded": Kind("refund", _refund),
}
