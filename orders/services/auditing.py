"""Do stock, ledger and orders agree? Called by manage.py audit_stock and the fault tests."""

from django.db import connection

from catalog.services import audit_counters


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
