"""The states of an order and every way between them. Pure: read by models, services, serializers and tests.

Two states are stored, payment and fulfilment, with three marks (cancelled, failed, completed); ``status`` follows.
"""

from collections.abc import Mapping
from enum import StrEnum

from django.db.models import TextChoices


class PaymentStatus(TextChoices):
    """Where the money is."""

    PENDING = "pending", "Pending"
    REQUIRES_ACTION = "requires_action", "Waits for the customer"
    PAID = "paid", "Paid"
    PARTLY_REFUNDED = "partly_refunded", "Partly refunded"
    REFUNDED = "refunded", "Refunded"
    DECLINED = "declined", "Declined"
    UNKNOWN = "unknown", "Unknown"


class FulfilmentStatus(TextChoices):
    """Where the goods are."""

    UNFULFILLED = "unfulfilled", "Nothing held"
    RESERVED = "reserved", "Reserved"
    DEDUCTED = "deducted", "Deducted"
    PARTLY_SHIPPED = "partly_shipped", "Partly shipped"
    SHIPPED = "shipped", "Shipped"
    DELIVERED = "delivered", "Delivered"


class OrderStatus(TextChoices):
    """What a customer is told."""

    PENDING = "pending", "Pending"
    PAID = "paid", "Paid"
    COMPLETED = "completed", "Completed"
    PARTLY_SHIPPED = "partly_shipped", "Partly shipped"
    SHIPPED = "shipped", "Shipped"
    DELIVERED = "delivered", "Delivered"
    REFUNDED = "refunded", "Refunded"
    CANCELLED = "cancelled", "Cancelled"
    FAILED = "failed", "Failed"


class PaymentState(TextChoices):
    """What is known of the payment at the provider."""

    INTENDED = "intended", "Intended"
    REQUIRES_ACTION = "requires_action", "Waits for the customer"
    CAPTURED = "captured", "Captured"
    DECLINED = "declined", "Declined"
    VOIDED = "voided", "Voided"
    UNKNOWN = "unknown", "Unknown"

    @classmethod
    def undecided(cls) -> list[str]:
        """While it is one of these, nobody knows whether it will be captured."""
        return [cls.INTENDED, cls.REQUIRES_ACTION, cls.UNKNOWN]

    @classmethod
    def voidable(cls) -> list[str]:
        """While it is one of these, a later capture is possible: a declined one may be tried with another card."""
        return [*cls.undecided(), cls.DECLINED]


class RefundState(TextChoices):
    """Where a refund is."""

    PROPOSED = "proposed", "Waits for a second person"
    PENDING = "pending", "On its way"
    SETTLED = "settled", "Settled"
    FAILED = "failed", "Failed"
    REJECTED = "rejected", "Rejected"

    @classmethod
    def dead(cls) -> list[str]:
        """In these nothing goes back, and nothing will."""
        return [cls.FAILED, cls.REJECTED]


class LetterState(TextChoices):
    """Where an e-mail is, in the order in which it can only go forward; skipped stands aside."""

    WAITING = "waiting", "Waits to be sent"  # surely not sent: never tried, or refused
    SENDING = "sending", "Being sent"  # it may have gone out
    SENT = "sent", "Sent"
    DELIVERED = "delivered", "Delivered"
    BOUNCED = "bounced", "Came back"
    COMPLAINED = "complained", "Called spam"
    SKIPPED = "skipped", "No address"

    @classmethod
    def before(cls, state: "LetterState") -> list[str]:
        """The states that may still become this one."""
        return cls.values[: cls.values.index(state)]


class Mark(StrEnum):
    """What happened to an order as a whole; each is a moment in its own column."""

    NONE = "none"
    COMPLETED = "completed"
    CANCELLED = "cancelled"
    FAILED = "failed"


_P, _F = PaymentStatus, FulfilmentStatus

# From each state, the states that may follow. What is not here cannot happen.
PAYMENT_MOVES: Mapping[PaymentStatus, frozenset[PaymentStatus]] = {
    _P.PENDING: frozenset({_P.REQUIRES_ACTION, _P.PAID, _P.DECLINED, _P.UNKNOWN}),
    _P.REQUIRES_ACTION: frozenset({_P.PAID, _P.DECLINED, _P.UNKNOWN}),
    _P.UNKNOWN: frozenset({_P.PAID, _P.DECLINED}),
    _P.PAID: frozenset({_P.PARTLY_REFUNDED, _P.REFUNDED}),
    # Back where the bank sent a refund back.
    _P.PARTLY_REFUNDED: frozenset({_P.REFUNDED, _P.PAID}),
    _P.REFUNDED: frozenset({_P.PARTLY_REFUNDED, _P.PAID}),
    # A provider that captures after all, when it had declined or confirmed the void: it is refunded at once.
    _P.DECLINED: frozenset({_P.PAID}),
}
FULFILMENT_MOVES: Mapping[FulfilmentStatus, frozenset[FulfilmentStatus]] = {
    _F.UNFULFILLED: frozenset({_F.RESERVED}),
    _F.RESERVED: frozenset({_F.DEDUCTED, _F.UNFULFILLED}),
    _F.DEDUCTED: frozenset({_F.PARTLY_SHIPPED, _F.SHIPPED, _F.UNFULFILLED}),
    # Delivered at once where all that had left has arrived, and the rest was refunded instead.
    _F.PARTLY_SHIPPED: frozenset({_F.SHIPPED, _F.DELIVERED}),
    _F.SHIPPED: frozenset({_F.DELIVERED}),
    _F.DELIVERED: frozenset(),
}
# A cancellation takes back what is held or deducted, never what has left the house.
CANCELLABLE = frozenset({_F.UNFULFILLED, _F.RESERVED, _F.DEDUCTED})
SHIPPABLE = frozenset({_F.DEDUCTED, _F.PARTLY_SHIPPED})
# An order was paid from its capture on, whatever goes back later: that is a refund.
WAS_PAID = frozenset({_P.PAID, _P.PARTLY_REFUNDED, _P.REFUNDED})
PAID_FOR = WAS_PAID - {_P.REFUNDED}  # some of the money is still ours
SHIPMENT = {
    _F.PARTLY_SHIPPED: OrderStatus.PARTLY_SHIPPED,
    _F.SHIPPED: OrderStatus.SHIPPED,
    _F.DELIVERED: OrderStatus.DELIVERED,
}


def status_of(payment: PaymentStatus, fulfilment: FulfilmentStatus, mark: Mark) -> OrderStatus:
    """The status that follows: cancelled or failed first, then refunded, the shipment, completed, paid, pending."""
    if mark in {Mark.CANCELLED, Mark.FAILED}:
        return OrderStatus(mark.value)
    if payment == PaymentStatus.REFUNDED:
        return OrderStatus.REFUNDED
    if fulfilment in SHIPMENT:
        return SHIPMENT[fulfilment]
    if mark == Mark.COMPLETED:
        return OrderStatus.COMPLETED
    if payment in PAID_FOR:
        return OrderStatus.PAID
    return OrderStatus.PENDING
