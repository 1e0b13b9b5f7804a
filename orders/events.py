"""Facts about orders, as they go over the bus. Never a name, an address or an e-mail: who needs one asks us for it."""

from dataclasses import dataclass
from decimal import Decimal
from typing import Any, ClassVar, Self, TypedDict

from orders.models import Order
from vibecode.outbox import Event


class Ordered(TypedDict):
    """What was ordered of one product, at its price then."""

    sku: str
    quantity: int
    unit_price: Decimal


class Shipped(TypedDict):
    """What left of one product."""

    sku: str
    quantity: int


@dataclass(frozen=True, kw_only=True)
class OrderEvent(Event):
    """What every fact about an order says."""

    source: ClassVar[str] = "vibecode.orders"

    order_id: str
    order_version: int
    user_id: str
    status: str  # that the fact left it in
    total: Decimal
    currency: str

    @property
    def subject(self) -> str:
        """The order's number."""
        return self.order_id

    @classmethod
    def of(cls, order: Order, **more: Any) -> Self:
        """The fact about an order as it is now; ``more`` are the fields of its own."""
        return cls(
            order_id=order.number,
            order_version=order.version,
            user_id=order.user.cognito_sub,
            status=order.status,
            total=order.total,
            currency=order.currency,
            **more,
        )


@dataclass(frozen=True, kw_only=True)
class OrderCreated(OrderEvent):
    """An order was placed and its stock is held."""

    detail_type: ClassVar[str] = "Order Created"

    items: tuple[Ordered, ...]


@dataclass(frozen=True, kw_only=True)
class PaymentRequiresAction(OrderEvent):
    """The bank asks its customer something: the stock is held until it is answered, or the time for it is over."""

    detail_type: ClassVar[str] = "Payment Requires Action"


@dataclass(frozen=True, kw_only=True)
class OrderPaid(OrderEvent):
    """The money was captured."""

    detail_type: ClassVar[str] = "Order Paid"


@dataclass(frozen=True, kw_only=True)
class OrderConfirmed(OrderEvent):
    """Paid, and on its way through the house: what the customer is told of."""

    detail_type: ClassVar[str] = "Order Confirmed"


@dataclass(frozen=True, kw_only=True)
class OrderCompleted(OrderEvent):
    """Paid, and off the shelf."""

    detail_type: ClassVar[str] = "Order Completed"


@dataclass(frozen=True, kw_only=True)
class OrderShipped(OrderEvent):
    """The whole order, or a part of it, has left the house."""

    detail_type: ClassVar[str] = "Order Shipped"

    items: tuple[Shipped, ...]
    tracking: str | None = None  # the carrier's number of the parcel


@dataclass(frozen=True, kw_only=True)
class OrderDelivered(OrderEvent):
    """All of it has arrived."""

    detail_type: ClassVar[str] = "Order Delivered"


@dataclass(frozen=True, kw_only=True)
class OrderCancelled(OrderEvent):
    """An order was cancelled and its stock given back."""

    detail_type: ClassVar[str] = "Order Cancelled"


@dataclass(frozen=True, kw_only=True)
class OrderFailed(OrderEvent):
    """Compensation did not finish: a person is needed."""

    detail_type: ClassVar[str] = "Order Failed"


@dataclass(frozen=True, kw_only=True)
class RefundRequested(OrderEvent):
    """Money is to go back; the consumer of this fact carries it out."""

    detail_type: ClassVar[str] = "Refund Requested"

    refund_reference: str
    amount: Decimal


@dataclass(frozen=True, kw_only=True)
class OrderRefunded(OrderEvent):
    """Money went back."""

    detail_type: ClassVar[str] = "Order Refunded"

    refund_reference: str
    amount: Decimal


@dataclass(frozen=True, kw_only=True)
class RefundFailed(OrderEvent):
    """Money did not go back after all: it was refused, or came back from the bank after Order Refunded."""

    detail_type: ClassVar[str] = "Refund Failed"

    refund_reference: str
    amount: Decimal
