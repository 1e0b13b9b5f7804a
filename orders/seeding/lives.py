"""Orders of a large shop and what became of each: goods, money, parcels, the story. Called by orders.seeding."""

from orders.models import ORDERS_NOW

# Every order's life, by its age and by chance: most are delivered, the newest are on their way.
LIVES = """
INSERT INTO seed_lives
SELECT n, life, created_at, created_at + least(age * 0.3, interval '2 days'),
       created_at + least(age * 0.8, interval '5 days'), created_at + least(age * 0.9, interval '20 days'),
       floor(%(customers)s * power(pg_temp.chance(n, 21), 1.5))::bigint,
       greatest(CASE WHEN life = 'partly' THEN 2 ELSE 1 END, 1 + floor(5 * power(pg_temp.chance(n, 22), 2))::int)
FROM (
    SELECT n, created_at, %(now)s - created_at AS age, CASE
        WHEN n > %(orders)s - greatest(3, %(orders)s * 0.0003)
            THEN CASE WHEN luck < 0.2 THEN 'bank_asks' ELSE 'pending' END
        WHEN luck < 0.04 THEN 'declined'
        WHEN luck < 0.05 THEN 'called_off'
        WHEN luck < 0.0503 THEN 'failed'
        WHEN luck < 0.0506 AND days < 200 THEN 'unknown'
        WHEN days < 1.5 THEN 'to_ship'
        WHEN days < 5 THEN CASE WHEN luck < 0.12 THEN 'partly' WHEN luck < 0.4 THEN 'to_ship' ELSE 'shipped' END
        WHEN days < 10 THEN CASE WHEN luck < 0.07 THEN 'partly' WHEN luck < 0.6 THEN 'shipped' ELSE 'delivered' END
        WHEN luck < 0.07 THEN 'refunded'
        WHEN luck < 0.11 THEN 'partly_refunded'
        WHEN luck < 0.1102 THEN 'refund_pending'
        WHEN luck < 0.1104 THEN 'refund_proposed'
        WHEN luck < 0.1106 THEN 'refund_failed'
        ELSE 'delivered' END AS life
    FROM (
        SELECT n, luck, days, %(now)s - interval '1 day' * days AS created_at FROM (
            SELECT n, pg_temp.chance(n, 20) AS luck, 730 * (1 - power((n - 0.5)::float8 / %(orders)s, 0.7)) AS days
            FROM generate_series(1, %(orders)s) n
        ) aged
    ) dated
) lived
"""

# Distinct products of one order: steps from the first, no longer than a fifth of the shop.
ORDERS = """
WITH item AS MATERIALIZED (
    SELECT life.n, life.life, k AS position, goods.id, goods.sku, goods.name, goods.price,
           CASE WHEN life.life = 'partly' THEN 2 ELSE 1 + floor(4 * power(pg_temp.chance(life.n * 8 + k, 30), 2))::int END
               AS quantity
    FROM seed_lives life
    CROSS JOIN LATERAL generate_series(1, life.lines) k
    JOIN seed_goods goods ON goods.place = mod(
        floor(%(products)s * power(pg_temp.chance(life.n, 31), 2))::bigint
            + (k - 1) * (1 + floor(pg_temp.chance(life.n, 32) * greatest(%(products)s / 5 - 1, 0))::bigint),
        %(products)s
    )
    WHERE life.n BETWEEN %(first)s AND %(last)s
), basket AS (
    SELECT n, sum(price * quantity) AS subtotal FROM item GROUP BY n
), placed AS (
    INSERT INTO orders_order (
        id, number, user_id, currency, subtotal, shipping_total, tax_total, total, payment_status, fulfilment_status,
        completed_at, cancelled_at, failed_at, given_up_at, cancel_reason, payment_method, shipping_address, note,
        version, created_at, updated_at
    )
    SELECT n, 'ORD-' || (
               SELECT string_agg(substr('0123456789ABCDEFGHJKMNPQRSTVWXYZ', 1 + ((moment >> shift) & 31)::int, 1), ''
                                 ORDER BY shift DESC) FROM generate_series(0, 45, 5) shift
           ) || upper(substr(md5('order' || n), 1, 16)),
           person.id, %(currency)s, subtotal, shipping, 0, subtotal + shipping,
           CASE WHEN life IN ('declined', 'unknown') THEN life WHEN life = 'failed' THEN 'unknown'
                WHEN life = 'pending' THEN 'pending' WHEN life = 'bank_asks' THEN 'requires_action'
                WHEN life IN ('called_off', 'refunded') THEN 'refunded'
                WHEN life = 'partly_refunded' THEN 'partly_refunded' ELSE 'paid' END,
           CASE WHEN life IN ('pending', 'bank_asks', 'failed', 'unknown') THEN 'reserved'
                WHEN life IN ('declined', 'called_off') THEN 'unfulfilled' WHEN life = 'to_ship' THEN 'deducted'
                WHEN life = 'partly' THEN 'partly_shipped' WHEN life = 'shipped' THEN 'shipped' ELSE 'delivered' END,
           CASE WHEN life NOT IN ('pending', 'bank_asks', 'declined', 'failed', 'unknown')
                THEN created_at + interval '8 seconds' END,
           CASE life WHEN 'declined' THEN created_at + interval '9 seconds' WHEN 'called_off' THEN shipped_at END,
           CASE life WHEN 'failed' THEN created_at + interval '1 minute' END,
           CASE WHEN life IN ('declined', 'failed') THEN created_at + interval '9 seconds' END,
           CASE life WHEN 'declined' THEN 'payment-declined' WHEN 'called_off' THEN 'Ordered twice' ELSE '' END,
           'demo_ok', jsonb_build_object('name', person.name, 'line1', 1 + mod(n, 190) || ' High Street',
               'city', 'London', 'postalCode', 'SW1Y 4JH', 'country', 'GB'),
           '', CASE WHEN life IN ('pending', 'bank_asks') THEN 1 WHEN life IN ('unknown', 'declined') THEN 3
               WHEN life = 'failed' THEN 2 WHEN life = 'to_ship' THEN 4 WHEN life IN ('partly', 'shipped') THEN 5
               WHEN life = 'delivered' THEN 6 ELSE 8 END,
           created_at,
           CASE WHEN life IN ('pending', 'bank_asks') THEN created_at
                WHEN life IN ('declined', 'failed', 'unknown', 'to_ship') THEN created_at + interval '1 minute'
                WHEN life IN ('partly', 'shipped', 'called_off') THEN shipped_at WHEN life = 'delivered' THEN delivered_at
                ELSE refunded_at END
    FROM seed_lives
    JOIN basket USING (n)
    JOIN seed_people person ON person.place = seed_lives.person
    CROSS JOIN LATERAL (
        SELECT floor(extract(epoch FROM created_at) * 1000)::bigint AS moment,
               CASE WHEN subtotal < 50 THEN 3.95 ELSE 0 END AS shipping
    ) worked
    WHERE n BETWEEN %(first)s AND %(last)s
    ORDER BY n
)
INSERT INTO orders_orderline (
    order_id, position, product_id, sku, name, unit_price, quantity, shipped, refunded, withdrawn, restocked
)
SELECT n, position, id, sku, name, price, quantity,
       CASE WHEN life IN ('pending', 'bank_asks', 'declined', 'called_off', 'failed', 'unknown', 'to_ship') THEN 0
            WHEN life = 'partly' AND position > 1 THEN 0 ELSE quantity END,
       CASE WHEN life = 'refunded' THEN quantity ELSE 0 END, 0,
       CASE WHEN life = 'refunded' AND mod(n, 2) = 0 THEN quantity ELSE 0 END
FROM item ORDER BY n, position
"""

# As much as is ever ordered, and what is left: nothing of some, little of others.
RECEIVED = """
WITH received AS (
    SELECT goods.place, goods.id, coalesce(sum(line.quantity), 0) + CASE
        WHEN pg_temp.chance(goods.place, 40) < 0.03 THEN 0
        WHEN pg_temp.chance(goods.place, 40) < 0.08 THEN 1 + mod(goods.place, 6) ELSE 20 + mod(goods.place, 400) END AS units
    FROM seed_goods goods LEFT JOIN orders_orderline line ON line.product_id = goods.id GROUP BY goods.place, goods.id
)
INSERT INTO catalog_stockmovement (product_id, kind, on_hand_delta, reserved_delta, cause, reference, reason, actor, created_at)
SELECT id, 'receive', units, 0, 'request', '', 'first delivery', 'seed-colleague-1', %(now)s - interval '740 days'
FROM received WHERE units > 0
UNION ALL
SELECT id, 'adjust', 1, 0, 'request', '', 'found at the stocktake of shelf ' || mod(place, 40), 'seed-colleague-2',
       %(now)s - interval '730 days' * pg_temp.chance(place, 41)
FROM seed_goods WHERE pg_temp.chance(place, 42) < 0.5
"""

_MOVEMENTS = """
INSERT INTO catalog_stockmovement (
    product_id, kind, on_hand_delta, reserved_delta, cause, reference, order_line, reason, actor, created_at
)
SELECT line.product_id, move.kind, move.hand * line.quantity, move.promise * line.quantity, move.cause,
       orders.number || CASE WHEN move.cause = 'refund' THEN '-R1' ELSE '' END, line.id, '',
       CASE WHEN move.kind = 'reserve' THEN person.sub WHEN move.cause = 'order' THEN 'workflow' ELSE 'seed-colleague-1' END,
       CASE move.kind WHEN 'reserve' THEN life.created_at WHEN 'deduct' THEN life.created_at + interval '6 seconds'
                      WHEN 'release' THEN orders.cancelled_at
                      ELSE CASE WHEN move.cause = 'cancel' THEN orders.cancelled_at ELSE life.refunded_at END END
FROM seed_lives life
JOIN orders_order orders ON orders.id = life.n
JOIN seed_people person ON person.place = life.person
JOIN orders_orderline line ON line.order_id = life.n
JOIN (VALUES (1, 'reserve', 0, 1, 'order'), (2, 'deduct', -1, -1, 'order'), (3, 'release', 0, -1, 'cancel'),
             (4, 'return', 1, 0, 'cancel'), (5, 'return', 1, 0, 'refund')) AS move (step, kind, hand, promise, cause)
  ON CASE move.step
     WHEN 1 THEN true
     WHEN 2 THEN life.life NOT IN ('pending', 'bank_asks', 'declined', 'failed', 'unknown')
     WHEN 3 THEN life.life = 'declined'
     WHEN 4 THEN life.life = 'called_off'
     ELSE line.restocked > 0 END
WHERE life.n BETWEEN %(first)s AND %(last)s
ORDER BY life.n, move.step, line.product_id
"""

_PAYMENTS = """
INSERT INTO orders_payment (
    id, order_id, provider, reference, provider_id, method, amount, currency, state, captured, refunded, proposed,
    void_checked_at, action_deadline, attempts, created_at, updated_at
)
SELECT n, n, 'demo', number, 'seed-' || n, 'demo_ok', total, currency,
       CASE WHEN life = 'declined' THEN 'voided' WHEN life IN ('failed', 'unknown') THEN 'unknown'
            WHEN life = 'bank_asks' THEN 'requires_action' ELSE 'captured' END,
       CASE WHEN life IN ('declined', 'failed', 'unknown', 'bank_asks') THEN 0 ELSE total END,
       CASE WHEN life IN ('refunded', 'called_off') THEN total
            WHEN life IN ('partly_refunded', 'refund_pending') THEN round(total / 5, 2) ELSE 0 END,
       CASE WHEN life = 'refund_proposed' THEN round(total / 5, 2) ELSE 0 END,
       CASE WHEN life = 'declined' THEN updated_at END,
       CASE WHEN life = 'bank_asks' THEN %(now)s + interval '10 minutes' END, 1,
       life.created_at + interval '2 seconds', orders.updated_at
FROM seed_lives life JOIN orders_order orders ON orders.id = n
WHERE life <> 'pending' AND n BETWEEN %(first)s AND %(last)s ORDER BY n
"""

_REFUNDS = """
WITH asked AS (
    INSERT INTO orders_refund (
        payment_id, reference, provider_id, amount, reason, state, actor, approved_by, last_error, created_at, settled_at
    )
    SELECT n, number || '-R1', '', CASE WHEN life IN ('refunded', 'called_off') THEN total ELSE round(total / 5, 2) END,
           CASE life WHEN 'called_off' THEN '' ELSE 'arrived broken' END,
           CASE life WHEN 'refund_pending' THEN 'pending' WHEN 'refund_proposed' THEN 'proposed'
                     WHEN 'refund_failed' THEN 'failed' ELSE 'settled' END,
           'seed-colleague-3', '', CASE life WHEN 'refund_failed' THEN 'The account was closed.' ELSE '' END, moment,
           CASE WHEN life IN ('refunded', 'called_off', 'partly_refunded') THEN moment END
    FROM seed_lives life JOIN orders_order orders ON orders.id = n
    CROSS JOIN LATERAL (SELECT coalesce(orders.cancelled_at, life.refunded_at) AS moment) at
    WHERE life IN ('refunded', 'called_off', 'partly_refunded', 'refund_pending', 'refund_proposed', 'refund_failed')
      AND n BETWEEN %(first)s AND %(last)s ORDER BY n
    RETURNING id, payment_id, created_at, settled_at, state, amount
), counted AS (
    INSERT INTO orders_refundcontribution (refund_id, day, amount)
    SELECT id, (settled_at AT TIME ZONE %(zone)s)::date, amount FROM asked WHERE state = 'settled'
)
INSERT INTO orders_refundline (refund_id, line_id, quantity, withdrawn, restocked)
SELECT asked.id, line.id, line.refunded, 0, line.restocked
FROM asked JOIN orders_orderline line ON line.order_id = asked.payment_id AND line.refunded > 0
"""

_SHIPMENTS = """
WITH sent AS (
    INSERT INTO orders_shipment (id, order_id, number, tracking, actor, created_at, delivered_at)
    SELECT n, n, 1, 'TR' || lpad(n::text, 10, '0'), 'seed-colleague-1', shipped_at,
           CASE WHEN life NOT IN ('partly', 'shipped') THEN delivered_at END
    FROM seed_lives
    WHERE life NOT IN ('pending', 'bank_asks', 'declined', 'called_off', 'failed', 'unknown', 'to_ship')
      AND n BETWEEN %(first)s AND %(last)s ORDER BY n
    RETURNING id, delivered_at, created_at
), logged AS (
    INSERT INTO vibecode_change (at, actor, deed, kind, name, page_kind, page_id, before, after)
    SELECT sent.created_at, 'seed-colleague-1', 'update', 'orders.order', orders.number, 'orders.order', sent.id,
           '{"fulfilment_status": "deducted"}', '{"fulfilment_status": "shipped"}'
    FROM sent JOIN orders_order orders USING (id) ORDER BY sent.id
)
INSERT INTO orders_shipmentline (shipment_id, line_id, quantity, delivered)
SELECT sent.id, line.id, line.shipped, CASE WHEN sent.delivered_at IS NULL THEN 0 ELSE line.shipped END
FROM sent JOIN orders_orderline line ON line.order_id = sent.id AND line.shipped > 0
"""

# Each fact with the version that it made, of which orders, and when.
_FACTS = """
(VALUES
    (1, 'Order Created', 1, 'created'), (2, 'Order Paid', 2, 'created'), (3, 'Stock Deducted', 3, 'created'),
    (4, 'Order Confirmed', 3, 'created'), (5, 'Order Completed', 4, 'created'), (6, 'Order Shipped', 5, 'shipped'),
    (7, 'Order Delivered', 6, 'delivered'), (8, 'Refund Requested', 7, 'refunded'), (9, 'Order Refunded', 8, 'refunded'),
    (10, 'Payment Declined', 2, 'created'), (11, 'Order Cancelled', 3, 'created'), (12, 'Order Cancelled', 5, 'shipped'),
    (13, 'Order Failed', 2, 'created'), (14, 'Refund Failed', 8, 'refunded')
) AS fact (step, type, version, moment)
"""
_HAPPENED = """
CASE
    WHEN step = 1 THEN true
    WHEN step <= 5 THEN life NOT IN ('pending', 'bank_asks', 'declined', 'failed', 'unknown')
    WHEN step = 6 THEN life NOT IN ('pending', 'bank_asks', 'declined', 'failed', 'unknown', 'to_ship', 'called_off')
    WHEN step = 7 THEN life NOT IN (
        'pending', 'bank_asks', 'declined', 'failed', 'unknown', 'to_ship', 'called_off', 'partly', 'shipped')
    WHEN step = 8 THEN life IN ('called_off', 'refunded', 'partly_refunded', 'refund_pending', 'refund_failed')
    WHEN step = 9 THEN life IN ('called_off', 'refunded', 'partly_refunded')
    WHEN step <= 11 THEN life = 'declined'
    WHEN step = 12 THEN life = 'called_off'
    WHEN step = 13 THEN life = 'failed'
    ELSE life = 'refund_failed' END
"""
_TIMELINE = f"""
INSERT INTO orders_timelineentry (order_id, type, version, data, actor, timestamp)
SELECT n, type, version,
       CASE type WHEN 'Order Shipped' THEN jsonb_build_object('parcel', 1, 'tracking', 'TR' || lpad(n::text, 10, '0'))
                 ELSE '{{}}'::jsonb END,
       CASE WHEN step = 1 THEN person.sub WHEN step IN (2, 9, 10) THEN 'payment' WHEN step < 6 THEN 'workflow'
            ELSE 'seed-colleague-1' END,
       CASE moment WHEN 'created' THEN created_at + interval '2 seconds' * (version - 1) WHEN 'shipped' THEN shipped_at
                   WHEN 'delivered' THEN delivered_at ELSE refunded_at END
FROM seed_lives JOIN {_FACTS} ON {_HAPPENED} JOIN seed_people person ON person.place = seed_lives.person
WHERE n BETWEEN %(first)s AND %(last)s ORDER BY n, version, step
"""  # noqa: S608 -- constants

_LETTERS = """
INSERT INTO orders_letter (order_id, event_id, kind, state, provider_id, attempts, created_at, tried_at, sent_at)
SELECT order_id, md5('letter' || id)::uuid,
       CASE type WHEN 'Order Confirmed' THEN 'confirmation' WHEN 'Order Shipped' THEN 'shipment'
                 WHEN 'Order Cancelled' THEN 'cancellation' ELSE 'refund' END,
       CASE WHEN pg_temp.chance(id, 50) < 0.005 THEN 'bounced' ELSE 'delivered' END, 'ses-' || id, 1, timestamp, timestamp,
       timestamp
FROM orders_timelineentry
WHERE type IN ('Order Confirmed', 'Order Shipped', 'Order Cancelled', 'Order Refunded')
  AND order_id BETWEEN %(first)s AND %(last)s ORDER BY id
"""

_CONTRIBUTIONS = f"""
INSERT INTO orders_ordercontribution (order_id, day, status, paid, units, revenue)
SELECT id, day, status, paid, units, revenue FROM ({ORDERS_NOW} WHERE orders.id BETWEEN %(first)s AND %(last)s) now
ORDER BY id
"""  # noqa: S608 -- constants

STORIES = (_MOVEMENTS, _PAYMENTS, _REFUNDS, _SHIPMENTS, _TIMELINE, _LETTERS, _CONTRIBUTIONS)
