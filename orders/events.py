"""Facts about orders, as they go over the bus. Never a name, an address or an e-mail: who needs one asks us for it."""

from dataclasses import dataclass
from decimal import Decimal
from typing import Any, ClassVar, Self

from orders.models import Order
from vibecode.outbox import Event


@dataclass(frozen=True, kw_only=True)
class OrderEvent(Event):
    """What every fact about an order says."""

    source: ClassVar[str] = "vibecode.orders"

    order_id: str
    order_version: int
    user_id: str
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
            total=order.total,
            currency=order.currency,
            **more,
        )


@dataclass(frozen=True, kw_only=True)
class OrderCreated(OrderEvent):
    """An order was placed and its stock is held."""

    detail_type: ClassVar[str] = "Order Created"

    items: tuple[dict[str, object], ...]  # sku, quantity, unit_price


@dataclass(frozen=True, kw_only=True)
class OrderCancelled(OrderEvent):
    """An order was cancelled and its stock given back."""

    detail_type: ClassVar[str] = "Order Cancelled"
