"""The one statement that writes an order with all that belongs to it. Called by place_order."""

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from django.db import connection, models

from accounts.models import User
from catalog.models import ShelfLine
from orders.models.line import OrderLine
from orders.models.order import Order, new_order_number
from orders.status import FulfilmentStatus, PaymentStatus


@dataclass(frozen=True, slots=True)
class Wishes:
    """What a customer says about an order besides its items."""

    payment_method: str = ""
    shipping_address: dict[str, Any] | None = None
    note: str = ""


def write_order(*, customer: User, lines: Sequence[ShelfLine], currency: str, wishes: Wishes) -> Order:
    """Write an order, its lines, the ledger of what was held, and its first fact, in one statement.

    ``lines`` were held in this transaction. The number of statements does not grow with them.
    """
    order = Order(
        number=new_order_number(),
        user=customer,
        currency=currency,
        subtotal=sum((line.price * line.quantity for line in lines), Decimal("0.00")),
        payment_status=PaymentStatus.PENDING,
        fulfilment_status=FulfilmentStatus.RESERVED,
        payment_method=wishes.payment_method,
        shipping_address=wishes.shipping_address,
        note=wishes.note,
        version=1,
    )
    order.total = order.subtotal + order.shipping_total + order.tax_total
    with connection.cursor() as cursor:
        cursor.execute(
            _WRITE,
            {
                "number": order.number,
                "user": customer.pk,
                "currency": currency,
                "subtotal": order.subtotal,
                "shipping_total": order.shipping_total,
                "tax_total": order.tax_total,
                "total": order.total,
                "payment_status": order.payment_status,
                "fulfilment_status": order.fulfilment_status,
                "payment_method": order.payment_method,
                "shipping_address": models.JSONField().get_db_prep_save(order.shipping_address, connection),
                "note": order.note,
                "actor": customer.cognito_sub,
                "products": [line.product_id for line in lines],
                "skus": [line.sku for line in lines],
                "names": [line.name for line in lines],
                "prices": [line.price for line in lines],
                "quantities": [line.quantity for line in lines],
            },
        )
        order.pk, order.created_at, order.updated_at, order.status = cursor.fetchone()
    order._state.adding = False  # noqa: SLF001 -- it is in the database now, though not by save()
    order._state.fields_cache["payment"] = None  # noqa: SLF001 -- nobody was asked for money yet: no query
    order.items = [
        OrderLine(
            order=order,
            position=position,
            product_id=line.product_id,
            sku=line.sku,
            name=line.name,
            unit_price=line.price,
            quantity=line.quantity,
            line_total=line.price * line.quantity,
        )
        for position, line in enumerate(lines, start=1)
    ]
    return order


_WRITE = """
WITH placed AS (
    INSERT INTO orders_order (
        number, user_id, currency, subtotal, shipping_total, tax_total, total, payment_status, fulfilment_status,
        payment_method, shipping_address, note, cancel_reason, version
    ) VALUES (
        %(number)s, %(user)s, %(currency)s, %(subtotal)s, %(shipping_total)s, %(tax_total)s, %(total)s,
        %(payment_status)s, %(fulfilment_status)s, %(payment_method)s, %(shipping_address)s::jsonb, %(note)s, '', 1
    ) RETURNING id, created_at, updated_at, status
), line AS (
    INSERT INTO orders_orderline (order_id, position, product_id, sku, name, unit_price, quantity)
    SELECT placed.id, basket.position, basket.product_id, basket.sku, basket.name, basket.price, basket.quantity
    FROM placed, unnest(
        %(products)s::bigint[], %(skus)s::text[], %(names)s::text[], %(prices)s::numeric[], %(quantities)s::int[]
    ) WITH ORDINALITY AS basket (product_id, sku, name, price, quantity, position)
    RETURNING id, product_id, quantity
), movement AS (
    INSERT INTO catalog_stockmovement (
        product_id, kind, on_hand_delta, reserved_delta, cause, reference, order_line, reason, actor
    )
    SELECT product_id, 'reserve', 0, quantity, 'order', %(number)s, id, '', %(actor)s FROM line
), fact AS (
    INSERT INTO orders_timelineentry (order_id, type, version, data, actor)
    SELECT id, 'Order Created', 1, '{}'::jsonb, %(actor)s FROM placed
)
SELECT id, created_at, updated_at, status FROM placed
"""
