"""Do stock, ledger and orders agree, and the figures with them? Called by manage.py audit_stock and the fault tests."""

from typing import Any

from django.conf import settings
from django.db import connection
from django.db.models import Max

from catalog.services import audit_counters
from orders.models import ORDERS_NOW, REFUNDS_NOW, Order

AT_ONCE = 20_000  # orders a statement


def audit_stock() -> list[str]:
    """Compare counters with the ledger, and every order with the ledger; one sentence for each difference."""
    return audit_counters() + _audit_orders()


def _audit_orders() -> list[str]:
    """Each line's movements must be those of its order's state: reserved, then deducted or released or returned.

    What a refund put back has returned; a cancellation returns what was not refunded by item.
    """
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
                SELECT line.id, line.sku, line.quantity, line.refunded, line.restocked,
                       orders.number, orders.fulfilment_status AS state,
                       coalesce(ledger.reserved, 0) AS reserved, coalesce(ledger.released, 0) AS released,
                       coalesce(ledger.deducted, 0) AS deducted, coalesce(ledger.returned, 0) AS returned
                FROM orders_orderline line
                JOIN orders_order orders ON orders.id = line.order_id
                LEFT JOIN ledger ON ledger.order_line = line.id
            )
            SELECT number, sku, state, quantity, reserved, released, deducted, returned FROM line
            WHERE reserved <> quantity OR returned > deducted OR CASE state
                WHEN 'reserved' THEN released <> 0 OR deducted <> 0
                WHEN 'unfulfilled' THEN NOT (
                    (released = quantity AND deducted = 0 AND returned = 0)
                    OR (released = 0 AND deducted = quantity AND returned = restocked + quantity - refunded)
                )
                ELSE released <> 0 OR deducted <> quantity OR returned <> restocked
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


# --- figures ---------------------------------------------------------------------------------------------------------
def audit_figures() -> list[str]:
    """Compare what the figures hold of each order with the order, and each sum with what it is the sum of.

    One sentence for each difference; none for an order of which a fact is on its way to the figures.
    """
    last = Order.objects.aggregate(last=Max("pk"))["last"] or 0
    found = []
    for after in range(0, last, AT_ONCE):
        for statement in (_CONTRIBUTIONS, _REFUNDS):
            found += _said(statement, {"after": after, "last": after + AT_ONCE})
    for statement in (_DAYS, _SALES, _STATUSES):
        found += _said(statement, {})
    return found


def _said(statement: str, names: dict[str, Any]) -> list[str]:
    facts = list(settings.RESOURCES.queues["figures"].detail_types)
    with connection.cursor() as cursor:
        cursor.execute(statement, {"zone": settings.TIME_ZONE, "facts": facts, **names})
        return [sentence for (sentence,) in cursor.fetchall()]


_ON_ITS_WAY = """
EXISTS (
    SELECT FROM vibecode_outboxevent fact
    WHERE fact.subject = orders.number AND fact.detail_type = ANY(%(facts)s) AND NOT EXISTS (
        SELECT FROM vibecode_processedmessage message
        WHERE message.event_id = fact.event_id AND message.consumer = 'figures' AND message.handled_at IS NOT NULL
    )
)
"""

_CONTRIBUTIONS = f"""
SELECT format(
    '%%s is %%s of %%s with %%s units for %%s; the figures hold %%s of %%s with %%s units for %%s',
    orders.number, now.status, now.day, now.units, now.revenue,
    coalesce(nullif(was.status, ''), 'nothing'), was.day, was.units, was.revenue
)
FROM ({ORDERS_NOW} WHERE orders.id > %(after)s AND orders.id <= %(last)s) now
JOIN orders_order orders ON orders.id = now.id
LEFT JOIN orders_ordercontribution was ON was.order_id = now.id
WHERE (now.day, now.status, now.paid, now.units, now.revenue)
      IS DISTINCT FROM (was.day, was.status, was.paid, was.units, was.revenue)
  AND NOT {_ON_ITS_WAY}
ORDER BY now.id
"""  # noqa: S608 -- constants

_REFUNDS = f"""
SELECT format(
    '%%s: its refund %%s gave back %%s on %%s; the figures hold %%s on %%s',
    orders.number, now.id, CASE WHEN now.day IS NULL THEN 0 ELSE now.amount END, coalesce(now.day::text, 'no day'),
    coalesce(was.amount, 0), coalesce(was.day::text, 'no day')
)
FROM ({REFUNDS_NOW} WHERE payment.order_id > %(after)s AND payment.order_id <= %(last)s) now
JOIN orders_order orders ON orders.id = now.order_id
LEFT JOIN orders_refundcontribution was ON was.refund_id = now.id
WHERE (now.day IS DISTINCT FROM was.day OR (now.day IS NOT NULL AND now.amount <> was.amount))
  AND NOT {_ON_ITS_WAY}
ORDER BY now.id
"""  # noqa: S608 -- constants

_DAYS = """
WITH known AS (
    SELECT day, sum(placed) AS placed, sum(paid) AS paid, sum(units) AS units, sum(revenue) AS revenue,
           sum(refunds) AS refunds, sum(refunded) AS refunded
    FROM (
        SELECT day, 1 AS placed, paid::int AS paid, units, revenue, 0 AS refunds, 0 AS refunded
        FROM orders_ordercontribution WHERE day IS NOT NULL
        UNION ALL
        SELECT day, 0, 0, 0, 0, 1, amount FROM orders_refundcontribution
    ) part
    GROUP BY day
)
SELECT format(
    '%%s: the contributions make %%s placed, %%s paid, %%s units, %%s revenue, %%s refunds of %%s; '
    'the day''s figures are %%s, %%s, %%s, %%s, %%s of %%s',
    day, coalesce(known.placed, 0), coalesce(known.paid, 0), coalesce(known.units, 0), coalesce(known.revenue, 0),
    coalesce(known.refunds, 0), coalesce(known.refunded, 0), coalesce(day_of.placed, 0), coalesce(day_of.paid, 0),
    coalesce(day_of.units, 0), coalesce(day_of.revenue, 0), coalesce(day_of.refunds, 0), coalesce(day_of.refunded, 0)
)
FROM known FULL JOIN orders_dailyfigures day_of USING (day)
WHERE (coalesce(known.placed, 0), coalesce(known.paid, 0), coalesce(known.units, 0), coalesce(known.revenue, 0),
       coalesce(known.refunds, 0), coalesce(known.refunded, 0))
   <> (coalesce(day_of.placed, 0), coalesce(day_of.paid, 0), coalesce(day_of.units, 0), coalesce(day_of.revenue, 0),
       coalesce(day_of.refunds, 0), coalesce(day_of.refunded, 0))
ORDER BY day
"""

_SALES = """
WITH known AS (
    SELECT was.day, line.product_id, sum(line.quantity) AS units, sum(line.line_total) AS revenue
    FROM orders_ordercontribution was JOIN orders_orderline line ON line.order_id = was.order_id
    WHERE was.paid
    GROUP BY was.day, line.product_id
)
SELECT format(
    '%%s: the contributions make %%s of %%s for %%s; the day''s sales are %%s for %%s', day, coalesce(known.units, 0),
    product.sku, coalesce(known.revenue, 0), coalesce(sales.units, 0), coalesce(sales.revenue, 0)
)
FROM known FULL JOIN orders_dailysales sales USING (day, product_id)
JOIN catalog_product product ON product.id = product_id
WHERE coalesce(known.units, 0) <> coalesce(sales.units, 0) OR coalesce(known.revenue, 0) <> coalesce(sales.revenue, 0)
ORDER BY day, product.sku
"""

_STATUSES = """
WITH known AS (
    SELECT status, count(*) AS orders FROM orders_ordercontribution WHERE day IS NOT NULL GROUP BY status
)
SELECT format('%%s: %%s orders contribute; the figures say %%s', status, coalesce(known.orders, 0),
              coalesce(figures.orders, 0))
FROM known FULL JOIN orders_statusfigures figures USING (status)
WHERE coalesce(known.orders, 0) <> coalesce(figures.orders, 0)
ORDER BY status
"""
