"""What can be done to an order: place, deduct, cancel. Called by views, the workflow, the admin and the commands."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal

from django.conf import settings
from django.db import connection, transaction

from accounts.models import User
from catalog.models import StockMovement
from catalog.services import (
    CurrencyMismatch,
    audit_counters,
    deduct_stock,
    hold_stock,
    release_stock,
    return_stock,
)
from orders.events import OrderCancelled, OrderCreated
from orders.models import IllegalTransition, Order, TimelineEntry, Wishes
from orders.status import CANCELLABLE, SHIPMENT, FulfilmentStatus, Mark
from vibecode.errors import Conflict
from vibecode.outbox import publish


class TotalMismatch(Conflict):
    """The customer saw another total than the one they would pay."""

    code = "total-mismatch"
    title = "The total is another one"


@dataclass(frozen=True, slots=True)
class Basket:
    """What a customer wants: quantities by SKU, equal SKUs added up, SKUs in upper case."""

    quantities: Mapping[str, int]
    currency: str | None = None
    expected_total: Decimal | None = None
    wishes: Wishes = field(default_factory=Wishes)


def place_order(*, customer: User, basket: Basket) -> Order:
    """Place one order: hold its stock, price it, write it down, publish it. All or nothing.

    Raises UnknownSku, OutOfStock (naming every short line), TotalMismatch or CurrencyMismatch; then nothing was held or
    written.
    """
    with transaction.atomic(savepoint=False):
        lines = hold_stock(basket.quantities)
        currency = _one_currency({line.currency for line in lines}, basket.currency)
        total = sum((line.price * line.quantity for line in lines), Decimal(0))
        if basket.expected_total is not None and basket.expected_total != total:
            raise TotalMismatch(
                f"The total is {total} {currency}, not {basket.expected_total}.",
                total=str(total),
                currency=currency,
            )
        order = Order.objects.write(customer=customer, lines=lines, currency=currency, wishes=basket.wishes)
        publish(
            OrderCreated.of(
                order,
                items=tuple({"sku": line.sku, "quantity": line.quantity, "unit_price": line.price} for line in lines),
            )
        )
    return order


def _one_currency(found: set[str], asked: str | None) -> str:
    if len(found) > 1:
        raise CurrencyMismatch(f"One order has one currency; these products have {', '.join(sorted(found))}.")
    currency = found.pop() if found else settings.SHOP_CURRENCY
    if asked not in {None, currency}:
        raise CurrencyMismatch(f"These products are sold in {currency}, not in {asked}.")
    return currency


def deduct_held_stock(*, order: Order) -> Order:
    """What was held leaves the shelf (the workflow's DeductStock). Twice or late is harmless.

    Raises IllegalTransition when the order was cancelled meanwhile.
    """
    with transaction.atomic(savepoint=False):
        order = Order.objects.locked().select_related("user").get(pk=order.pk)
        left_already = order.fulfilment_status in SHIPMENT
        if not left_already and order.move_to(fulfilment=FulfilmentStatus.DEDUCTED):
            deduct_stock(lines=order.line_stock(), reference=order.number, actor="workflow")
            _tell(order, "Stock Deducted", actor="workflow")
    return order


def cancel_order(*, order: Order, reason: str, actor: str) -> Order:
    """Call an order off: held stock is released, deducted stock returns. Twice is harmless and changes nothing.

    Raises IllegalTransition once something has shipped.
    """
    with transaction.atomic(savepoint=False):
        order = Order.objects.locked().select_related("user").get(pk=order.pk)
        if order.mark == Mark.CANCELLED:
            return order
        if FulfilmentStatus(order.fulfilment_status) not in CANCELLABLE:
            raise IllegalTransition(
                f"{order.number} is {order.status}: what has shipped cannot be cancelled; refund it instead.",
                orderStatus=order.status,
            )
        held = order.fulfilment_status
        order.move_to(fulfilment=FulfilmentStatus.UNFULFILLED, mark=Mark.CANCELLED, reason=reason)
        if held == FulfilmentStatus.RESERVED:
            release_stock(lines=order.line_stock(), reference=order.number, actor=actor)
        elif held == FulfilmentStatus.DEDUCTED:
            return_stock(
                lines=order.line_stock(),
                cause=StockMovement.Cause.CANCEL,
                reference=order.number,
                actor=actor,
            )
        publish(OrderCancelled.of(order))  # without the reason: people write names and addresses into it
        _tell(order, OrderCancelled.detail_type, actor=actor, reason=reason)
    return order


def _tell(order: Order, fact: str, *, actor: str, **data: str) -> None:
    """Add a fact to the order's timeline. The caller holds the order's lock."""
    TimelineEntry.objects.create(order=order, type=fact, version=order.version, actor=actor, data=data)


# --- the audit -------------------------------------------------------------------------------------------------------
def audit_stock() -> list[str]:
    """Compare counters with the ledger, and every order with the ledger; one sentence for each difference."""
    return audit_counters() + _audit_orders()


def _audit_orders() -> list[str]:
    """Each line's movements must be those of its order's state: reserved, then deducted or released or returned."""
    with connection.cursor() as cursor:
        cursor.execute(
            """
            WITH ledger AS (
                SELECT order_line,
                       coalesce(sum(reserved_delta) FILTER (WHERE kind = 'reserve'), 0) AS reserved,
                       coalesce(-sum(reserved_delta) FILTER (WHERE kind = 'release'), 0) AS released,
                       coalesce(-sum(on_hand_delta) FILTER (WHERE kind = 'deduct'), 0) AS deducted,
                       coalesce(sum(on_hand_delta) FILTER (WHERE kind = 'return'), 0) AS returned
                FROM catalog_stockmovement WHERE order_line IS NOT NULL GROUP BY order_line
            ), line AS (
                SELECT line.id, line.sku, line.quantity, orders.number, orders.fulfilment_status AS state,
                       coalesce(ledger.reserved, 0) AS reserved, coalesce(ledger.released, 0) AS released,
                       coalesce(ledger.deducted, 0) AS deducted, coalesce(ledger.returned, 0) AS returned
                FROM orders_orderline line
                JOIN orders_order orders ON orders.id = line.order_id
                LEFT JOIN ledger ON ledger.order_line = line.id
            )
            SELECT number, sku, state, quantity, reserved, released, deducted, returned FROM line
            WHERE reserved <> quantity OR returned > deducted OR CASE state
                WHEN 'reserved' THEN released <> 0 OR deducted <> 0
                WHEN 'unfulfilled' THEN released + returned <> quantity OR released + deducted <> quantity
                ELSE released <> 0 OR deducted <> quantity
            END
            UNION ALL
            SELECT reference, product.sku, 'no such line', movement.order_line, 0, 0, 0, 0
            FROM catalog_stockmovement movement
            JOIN catalog_product product ON product.id = movement.product_id
            LEFT JOIN orders_orderline line ON line.id = movement.order_line
            WHERE movement.order_line IS NOT NULL AND line.id IS NULL
            ORDER BY 1, 2
            """
        )
        return [
            f"{sku}: {number} is {state} with {quantity}; ledger says reserved {reserved}, released {released}, "
            f"deducted {deducted}, returned {returned}"
            for number, sku, state, quantity, reserved, released, deducted, returned in cursor.fetchall()
        ]
