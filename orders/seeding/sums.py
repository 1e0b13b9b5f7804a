"""What follows from the orders of a large shop: stock, figures, facts on their way. Called by orders.seeding."""

STOCK = """
UPDATE catalog_stock stock SET on_hand = ledger.on_hand, reserved = ledger.reserved
FROM (
    SELECT product_id, sum(on_hand_delta) AS on_hand, sum(reserved_delta) AS reserved
    FROM catalog_stockmovement WHERE product_id IN (SELECT id FROM seed_goods) GROUP BY product_id
) ledger WHERE stock.product_id = ledger.product_id
"""
DAYS = """
INSERT INTO orders_dailyfigures (day, placed, paid, units, revenue, refunds, refunded)
SELECT day, sum(placed), sum(paid), sum(units), sum(revenue), sum(refunds), sum(refunded)
FROM (
    SELECT day, 1 AS placed, paid::int AS paid, units, revenue, 0 AS refunds, 0 AS refunded
    FROM orders_ordercontribution
    UNION ALL SELECT day, 0, 0, 0, 0, 1, amount FROM orders_refundcontribution
) part GROUP BY day
ON CONFLICT (day) DO UPDATE SET
    placed = EXCLUDED.placed, paid = EXCLUDED.paid, units = EXCLUDED.units, revenue = EXCLUDED.revenue,
    refunds = EXCLUDED.refunds, refunded = EXCLUDED.refunded
"""
SALES = """
INSERT INTO orders_dailysales (day, product_id, units, revenue)
SELECT was.day, line.product_id, sum(line.quantity), sum(line.line_total)
FROM orders_ordercontribution was JOIN orders_orderline line ON line.order_id = was.order_id
WHERE was.paid GROUP BY was.day, line.product_id ORDER BY 1, 2
ON CONFLICT (day, product_id) DO UPDATE SET units = EXCLUDED.units, revenue = EXCLUDED.revenue
"""
STATUSES = """
INSERT INTO orders_statusfigures (status, orders)
SELECT status, count(*) FROM orders_ordercontribution GROUP BY status
ON CONFLICT (status) DO UPDATE SET orders = EXCLUDED.orders
"""
# The outbox forgets after fourteen days, keys after seven.
OUTBOX = """
WITH fact AS (
    INSERT INTO vibecode_outboxevent (
        event_id, source, detail_type, subject, detail, created_at, queued_at, due_at, attempts, refusals, last_error,
        sent_at, parked_at
    )
    SELECT md5('fact' || entry.id)::uuid, 'vibecode.orders', type, number,
           jsonb_build_object('eventId', md5('fact' || entry.id)::uuid, 'schemaVersion', 1, 'orderId', number,
               'orderVersion', entry.version, 'userId', cognito_sub, 'total', total::text, 'currency', currency,
               'timestamp', timestamp),
           timestamp, timestamp, timestamp, parked * 8, parked * 8, CASE parked WHEN 1 THEN 'MalformedDetail' ELSE '' END,
           CASE parked WHEN 0 THEN timestamp + interval '1 second' END,
           CASE parked WHEN 1 THEN timestamp + interval '1 hour' END
    FROM orders_timelineentry entry
    JOIN orders_order orders ON orders.id = entry.order_id JOIN accounts_user person ON person.id = orders.user_id
    CROSS JOIN LATERAL (SELECT (pg_temp.chance(entry.id, 60) < 0.0003)::int AS parked) luck
    WHERE timestamp > %(now)s - interval '14 days' AND type = ANY(%(heard)s::text[])
    ORDER BY timestamp
    RETURNING event_id, detail_type, created_at
)
INSERT INTO vibecode_processedmessage (consumer, event_id, claimed_until, handled_at)
SELECT heard.consumer, event_id, created_at + interval '1 minute', created_at + interval '2 seconds'
FROM fact JOIN unnest(%(consumers)s::text[], %(heard)s::text[]) AS heard (consumer, type) ON heard.type = fact.detail_type
"""
KEYS = """
INSERT INTO vibecode_idempotencykey (user_id, method, path, key, body_sha256, status, body, created_at)
SELECT user_id, 'POST', '/api/v1/orders', md5('key' || id)::uuid::text, md5('body' || id) || md5(number), 201,
       jsonb_build_object('success', true, 'orderId', number)::text, created_at
FROM orders_order WHERE created_at > %(now)s - interval '7 days'
"""
JOBS = """
INSERT INTO vibecode_job (kind, state, asked_by, params, file_name, upload, rows, done, bad, result, failure, created_at, moved_at, ended_at)
SELECT 'import-prices', 'done', 'seed-colleague-4', '{}', 'prices-' || n || '.csv', '', 200, 200, 0, '', '', moment, moment, moment
FROM generate_series(1, 200) n CROSS JOIN LATERAL (SELECT %(now)s - interval '30 days' * n / 201 AS moment) at
"""
