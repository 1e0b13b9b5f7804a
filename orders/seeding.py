"""A large shop made of nothing, for lists and plans at the size of years. Called by manage.py seed_shop and the tests.

Everything happens in one transaction: whoever is killed in it leaves the shop as empty as it was. Rows come from
generate_series, chance from a hash of their numbers, so that two runs with one moment make the same shop. For as long as
it takes, foreign keys and secondary indexes are dropped; they are made again from their own definitions at the end,
which is when PostgreSQL looks at every row of every foreign key. CHECK and unique constraints and triggers stay, but for
those of the audit trail: what it tells of each order is written with the order.

Longer than most modules: it is a list of statements, each of which fills a table.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from django.conf import settings
from django.db import connection, transaction

from orders.models import ORDERS_NOW, Order
from vibecode.errors import Conflict

BATCH = 50_000  # orders a statement
LOCK_TIMEOUT = "10s"

# What is filled here by the thousand, each table after those that it refers to.
LARGE = (
    "accounts_user", "accounts_address", "catalog_product", "catalog_stock", "catalog_stockmovement", "orders_order",
    "orders_orderline", "orders_payment", "orders_refund", "orders_refundline", "orders_shipment",
    "orders_shipmentline", "orders_timelineentry", "orders_letter", "orders_ordercontribution",
    "orders_refundcontribution", "orders_dailysales", "vibecode_outboxevent", "vibecode_processedmessage",
    "vibecode_idempotencykey", "vibecode_change",
)  # fmt: skip
ANALYZED = (*LARGE, "catalog_category", "orders_dailyfigures", "orders_statusfigures")
KEPT = "stock_movement_of_line"  # the trigger on returns looks every one of them up
NUMBERED = ("orders_order", "orders_payment", "orders_shipment")  # whose ids are the orders' own numbers


class NotEmpty(Conflict):
    """Somebody has ordered here."""

    code = "shop-not-empty"
    title = "The shop has orders"


class NotHere(Conflict):
    """This is a stage where people order."""

    code = "no-made-up-orders"
    title = "Orders are made up on a developer's machine only"


@dataclass(frozen=True, slots=True)
class Size:
    """How large a shop."""

    orders: int
    products: int
    customers: int


def seed_shop(*, size: Size, now: datetime | None = None, say: Callable[[str], object] = lambda _: None) -> None:
    """Fill a shop without orders: all of it, or nothing. ``say`` hears how far it is.

    Raises NotHere, NotEmpty, and OperationalError when something else is at the tables.
    """
    if not settings.LOCAL:
        raise NotHere(f"seed_shop makes up orders: it runs on a developer's machine only, not in {settings.STAGE}.")
    names: dict[str, Any] = {
        "orders": size.orders,
        "products": size.products,
        "customers": size.customers,
        "zone": settings.TIME_ZONE,
    }
    names |= {"currency": settings.SHOP_CURRENCY, "now": now or datetime.now(UTC), **_PEOPLE, **_handlers()}
    with transaction.atomic(), connection.cursor() as cursor:

        def fill(title: str, statement: str, **more: Any) -> None:
            cursor.execute(statement, {**names, **more})
            say(title)

        cursor.execute(_SETTINGS)
        cursor.execute("LOCK TABLE orders_order IN SHARE ROW EXCLUSIVE MODE")
        if Order.objects.exists():
            raise NotEmpty("The shop has orders already: make reset erases a shop on this machine.")
        with _bare(cursor, say):
            for title, statement in _BEFORE:
                fill(title, statement)
            for first, last in _batches(size.orders):
                fill(f"orders: {last:,} of {size.orders:,}", _ORDERS, first=first, last=last)
            cursor.execute("ANALYZE orders_order; ANALYZE orders_orderline")
            for first, last in _batches(size.orders):
                for statement in _STORIES:
                    cursor.execute(statement, {**names, "first": first, "last": last})
                say(f"what became of orders: {last:,} of {size.orders:,}")
            for title, statement in _AFTER:
                fill(title, statement)
        for table in NUMBERED:
            cursor.execute("SELECT setval(pg_get_serial_sequence(%s, 'id'), %s)", [table, size.orders])
    _vacuum(say)


def _batches(orders: int) -> Iterator[tuple[int, int]]:
    for first in range(1, orders + 1, BATCH):
        yield first, min(first + BATCH - 1, orders)


@contextmanager
def _bare(cursor: Any, say: Callable[[str], object]) -> Iterator[None]:
    """Drop foreign keys and secondary indexes of the large tables, and make them again: fifty times as fast."""
    cursor.execute(_FOREIGN_KEYS, [list(LARGE)])
    keys = cursor.fetchall()
    cursor.execute(_INDEXES, [list(LARGE), KEPT])
    indexes = cursor.fetchall()
    cursor.execute(_FOLLOWED, [list(LARGE)])
    followed = cursor.fetchall()
    for table, trigger in followed:
        cursor.execute(f"ALTER TABLE {table} DISABLE TRIGGER {trigger}")
    for table, name, _ in keys:
        cursor.execute(f'ALTER TABLE {table} DROP CONSTRAINT "{name}"')
    for name, _ in indexes:
        cursor.execute(f"DROP INDEX {name}")
    yield
    for place, (_, definition) in enumerate(indexes, start=1):
        cursor.execute(definition)
        if place % 10 == 0 or place == len(indexes):
            say(f"indexes: {place} of {len(indexes)}")
    for table, name, definition in keys:
        cursor.execute(f'ALTER TABLE {table} ADD CONSTRAINT "{name}" {definition}')
    for table, trigger in followed:
        cursor.execute(f"ALTER TABLE {table} ENABLE TRIGGER {trigger}")
    say(f"foreign keys: {len(keys)} checked")


def _vacuum(say: Callable[[str], object]) -> None:
    """Plans are those of a large table, and lists find their pages known to be visible."""
    for table in ANALYZED:
        with connection.cursor() as cursor:
            cursor.execute(f"VACUUM (ANALYZE) {table}")
    say("statistics")


def _handlers() -> dict[str, list[str]]:
    """Who hears of which fact: all of them have handled what is made here, or the local cloud would send it all anew."""
    pairs = [(queue.key, fact) for queue in settings.RESOURCES.queues.values() for fact in queue.detail_types]
    return {"consumers": [key for key, _ in pairs], "heard": [fact for _, fact in pairs]}


# --- what it is made of ----------------------------------------------------------------------------------------------
_GIVEN = [
    "Ada",
    "Grace",
    "Olivia",
    "Noah",
    "Amelia",
    "Oscar",
    "Priya",
    "Mateo",
    "Zoë",
    "Björn",
    "Łucja",
    "François",
    "Aoife",
    "Siobhán",
    "Chloé",
    "Jürgen",
]
_FAMILY = [
    "Hopper",
    "Lovelace",
    "Okafor",
    "García",
    "Müller",
    "Østergaard",
    "Kowalczyk",
    "O’Brien",
    "Nakamura",
    "Şahin",
    "Dvořák",
    "Singh",
]
_MAILS = [
    "ada",
    "grace",
    "olivia",
    "noah",
    "amelia",
    "oscar",
    "priya",
    "mateo",
    "zoe",
    "bjorn",
    "lucja",
    "francois",
    "aoife",
    "siobhan",
    "chloe",
    "jurgen",
]
_MAIL_ENDS = [
    "hopper",
    "lovelace",
    "okafor",
    "garcia",
    "muller",
    "ostergaard",
    "kowalczyk",
    "obrien",
    "nakamura",
    "sahin",
    "dvorak",
    "singh",
]
_FOREIGN = {
    "王小明": "wang.xiaoming",
    "田中 さくら": "tanaka.sakura",
    "Дмитрий Иванов": "dmitry.ivanov",
    "محمد عبد الله": "mohammed.abdullah",
    "נועה כהן": "noa.cohen",
    "Νίκος Παπαδόπουλος": "nikos.papadopoulos",
    "สมชาย ใจดี": "somchai.jaidee",
    "김민준": "kim.minjun",
    "María de los Ángeles Fernández de Córdoba y Álvarez de las Asturias Bohorques": "maria.de.los.angeles.fernandez",
    "Maximiliane Wilhelmine Friederike Charlotte zu Hohenlohe-Waldenburg-Schillingsfürst-Langenburg": "maximiliane",
}
_PEOPLE: dict[str, list[str]] = {
    "given": _GIVEN,
    "family": _FAMILY,
    "mails": _MAILS,
    "mail_ends": _MAIL_ENDS,
    "foreign": list(_FOREIGN),
    "foreign_mails": list(_FOREIGN.values()),
}

# --- the statements --------------------------------------------------------------------------------------------------
_SETTINGS = f"""
SET LOCAL lock_timeout = '{LOCK_TIMEOUT}';
SET LOCAL statement_timeout = 0;
SET LOCAL jit = off;
SET LOCAL work_mem = '128MB';
SET LOCAL maintenance_work_mem = '512MB';
SET CONSTRAINTS ALL IMMEDIATE;
-- 0 up to 1, the same each time for the same number and purpose.
CREATE OR REPLACE FUNCTION pg_temp.chance(number bigint, purpose int) RETURNS float8 LANGUAGE sql IMMUTABLE
    AS $$ SELECT (hashint8extended(number, purpose) & 1048575) / 1048576.0::float8 $$;
CREATE OR REPLACE FUNCTION pg_temp.one_of(texts text[], number bigint, purpose int) RETURNS text LANGUAGE sql IMMUTABLE
    AS $$ SELECT texts[1 + floor(pg_temp.chance(number, purpose) * cardinality(texts))::int] $$;
"""

_FOREIGN_KEYS = """
SELECT conrelid::regclass::text, conname, pg_get_constraintdef(oid) FROM pg_constraint
WHERE contype = 'f' AND conrelid = ANY(%s::text[]::regclass[]) ORDER BY oid
"""
_INDEXES = """
SELECT indexrelid::regclass::text, pg_get_indexdef(indexrelid) FROM pg_index
WHERE indrelid = ANY(%s::text[]::regclass[])
  AND NOT EXISTS (SELECT FROM pg_constraint WHERE conindid = indexrelid AND contype IN ('p', 'u', 'x'))
  AND indexrelid <> %s::regclass
ORDER BY indexrelid
"""

_FOLLOWED = """
SELECT tgrelid::regclass::text, tgname FROM pg_trigger
WHERE tgrelid = ANY(%s::text[]::regclass[]) AND tgname LIKE 'audit\\_%%' ORDER BY oid
"""

_CATEGORIES = """
WITH department AS (
    INSERT INTO catalog_category (name, slug, position)
    SELECT name, 'seed-' || lower(name), place FROM unnest(ARRAY[
        'Kitchen', 'Garden', 'Lighting', 'Stationery', 'Toys', 'Textiles', 'Bath', 'Seasonal'
    ]) WITH ORDINALITY AS department (name, place)
    RETURNING id, name, slug
)
INSERT INTO catalog_category (name, slug, parent_id, position)
SELECT theme || ' ' || lower(name), slug || '-' || lower(theme), id, place
FROM department, unnest(ARRAY['Vintage', 'Modern', 'Rustic', 'Classic', 'Mini', 'Gift']) WITH ORDINALITY AS t (theme, place)
"""

_PRODUCTS = """
WITH shelf AS MATERIALIZED (
    SELECT id, row_number() OVER (ORDER BY id) AS place, count(*) OVER () AS shelves
    FROM catalog_category WHERE slug LIKE 'seed-%%-%%'
), drawn AS (
    SELECT n, 'VB-' || lpad(n::text, 6, '0') AS sku, %(now)s::timestamptz - interval '760 days' * (1 - n::float8 / %(products)s) AS made,
           concat_ws(' ',
               pg_temp.one_of('{Red,White,Blue,Sage,Ivory,Charcoal,Mustard,Rose,Navy,Pastel}', n, 1),
               pg_temp.one_of('{Enamel,Cotton,Glass,Wicker,Ceramic,Bamboo,Paper,Linen,Tin,Oak}', n, 2),
               pg_temp.one_of('{Lantern,Mug,Bunting,Notebook,Basket,Teapot,Candle,Cushion,Clock,Tray,Apron,Bottle}', n, 3),
               pg_temp.one_of('{"Set of 6",Large,Small,"with Lid",Retrospot,Heart,Star,"for the Garden"}', n, 4)
           ) AS name
    FROM generate_series(1, %(products)s) n
), made AS (
    INSERT INTO catalog_product (
        sku, name, slug, description, price, currency, status, category_id, version, created_at, updated_at
    )
    SELECT sku, name, lower(replace(name, ' ', '-') || '-' || sku), name || ', made to last and packed by hand.',
           round((0.55 + 40 * power(pg_temp.chance(n, 5), 3))::numeric, 2), %(currency)s,
           CASE WHEN pg_temp.chance(n, 6) < 0.03 THEN 'draft' WHEN pg_temp.chance(n, 6) < 0.08 THEN 'archived'
                ELSE 'published' END,
           (SELECT id FROM shelf WHERE place = 1 + floor(pg_temp.chance(n, 7) * shelves)), 1, made,
           made + (%(now)s - made) * pg_temp.chance(n, 8)
    FROM drawn
    RETURNING id, sku, name, price
), stock AS (
    INSERT INTO catalog_stock (product_id, on_hand, reserved, reorder_point)
    SELECT id, 0, 0, CASE WHEN pg_temp.chance(id, 9) < 0.8 THEN 10 ELSE 0 END FROM made
)
INSERT INTO seed_goods SELECT row_number() OVER (ORDER BY sku) - 1, id, sku, name, price FROM made
"""

_CUSTOMERS = """
WITH drawn AS (
    SELECT n, md5('customer' || n) AS digest, pg_temp.chance(n, 12) < 0.12 AS foreign_name,
           1 + floor(pg_temp.chance(n, 10) * cardinality(%(given)s::text[]))::int AS given,
           1 + floor(pg_temp.chance(n, 11) * cardinality(%(family)s::text[]))::int AS family,
           1 + floor(pg_temp.chance(n, 10) * cardinality(%(foreign)s::text[]))::int AS stranger
    FROM generate_series(1, %(customers)s) n
), made AS (
    INSERT INTO accounts_user (cognito_sub, email, name, is_active, is_staff, is_superuser, created_at)
    SELECT digest::uuid::text,
           CASE WHEN pg_temp.chance(n, 13) < 0.05 THEN '' ELSE CASE WHEN foreign_name
               THEN (%(foreign_mails)s::text[])[stranger]
               ELSE (%(mails)s::text[])[given] || '.' || (%(mail_ends)s::text[])[family] END
               || n || '@example.' || pg_temp.one_of('{com,org,net}', n, 14) END,
           CASE WHEN foreign_name THEN (%(foreign)s::text[])[stranger]
               ELSE (%(given)s::text[])[given] || ' ' || (%(family)s::text[])[family] END,
           pg_temp.chance(n, 15) >= 0.002, false, false,
           %(now)s - interval '735 days' * (1 - power(n::float8 / %(customers)s, 0.7))
    FROM drawn ORDER BY n
    RETURNING id, cognito_sub, name
)
INSERT INTO seed_people SELECT row_number() OVER (ORDER BY id) - 1, id, cognito_sub, name FROM made
"""

_ADDRESSES = """
INSERT INTO accounts_address (user_id, name, line1, line2, city, region, postal_code, country, phone, created_at)
SELECT id, name, 1 + place %% 190 || ' ' || pg_temp.one_of('{High Street,Station Road,Mill Lane,Park View}', place, 1),
       '', pg_temp.one_of('{London,Leeds,Bristol,Glasgow,Cardiff,Lyon,Berlin,Porto,Utrecht,Gdańsk}', place, 2), '',
       upper(substr(md5(place::text), 1, 6)),
       CASE WHEN pg_temp.chance(place, 2) < 0.5 THEN 'GB' ELSE pg_temp.one_of('{FR,DE,PT,NL,PL}', place, 2) END, '',
       %(now)s - interval '700 days' * pg_temp.chance(place, 3)
FROM seed_people WHERE pg_temp.chance(place, 4) < 0.6 ORDER BY place
"""

_COLLEAGUES = """
WITH made AS (
    INSERT INTO accounts_user (cognito_sub, email, name, is_active, is_staff, is_superuser, created_at)
    SELECT 'seed-colleague-' || n, 'colleague' || n || '@example.com', 'Colleague ' || n, true, true, false, %(now)s
    FROM generate_series(1, 5) n ON CONFLICT DO NOTHING RETURNING id
)
INSERT INTO accounts_user_groups (user_id, group_id)
SELECT made.id, auth_group.id FROM made, auth_group WHERE auth_group.name = 'warehouse'
"""

# Every order's life, by its age and by chance: most are delivered, the newest are on their way.
_LIVES = """
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

_BEFORE = (
    (
        "ready",
        """
        CREATE TEMP TABLE seed_goods (place bigint PRIMARY KEY, id bigint, sku text, name text, price numeric) ON COMMIT DROP;
        CREATE TEMP TABLE seed_people (place bigint PRIMARY KEY, id bigint, sub text, name text) ON COMMIT DROP;
        CREATE TEMP TABLE seed_lives (
            n bigint PRIMARY KEY, life text, created_at timestamptz, shipped_at timestamptz, delivered_at timestamptz,
            refunded_at timestamptz, person bigint, lines int
        ) ON COMMIT DROP
        """,
    ),
    ("categories", _CATEGORIES),
    ("products", _PRODUCTS),
    ("customers", _CUSTOMERS),
    ("addresses", _ADDRESSES),
    ("colleagues", _COLLEAGUES),
    ("lives", _LIVES),
    ("statistics of what is drawn from", "ANALYZE seed_goods; ANALYZE seed_people; ANALYZE seed_lives"),
)

# Distinct products of one order: steps from the first, no longer than a fifth of the shop.
_ORDERS = """
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
_RECEIVED = """
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

_STORIES = (_MOVEMENTS, _PAYMENTS, _REFUNDS, _SHIPMENTS, _TIMELINE, _LETTERS, _CONTRIBUTIONS)

_STOCK = """
UPDATE catalog_stock stock SET on_hand = ledger.on_hand, reserved = ledger.reserved
FROM (
    SELECT product_id, sum(on_hand_delta) AS on_hand, sum(reserved_delta) AS reserved
    FROM catalog_stockmovement WHERE product_id IN (SELECT id FROM seed_goods) GROUP BY product_id
) ledger WHERE stock.product_id = ledger.product_id
"""
_DAYS = """
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
_SALES = """
INSERT INTO orders_dailysales (day, product_id, units, revenue)
SELECT was.day, line.product_id, sum(line.quantity), sum(line.line_total)
FROM orders_ordercontribution was JOIN orders_orderline line ON line.order_id = was.order_id
WHERE was.paid GROUP BY was.day, line.product_id ORDER BY 1, 2
ON CONFLICT (day, product_id) DO UPDATE SET units = EXCLUDED.units, revenue = EXCLUDED.revenue
"""
_STATUSES = """
INSERT INTO orders_statusfigures (status, orders)
SELECT status, count(*) FROM orders_ordercontribution GROUP BY status
ON CONFLICT (status) DO UPDATE SET orders = EXCLUDED.orders
"""
# The outbox forgets after fourteen days, keys after seven.
_OUTBOX = """
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
_KEYS = """
INSERT INTO vibecode_idempotencykey (user_id, method, path, key, body_sha256, status, body, created_at)
SELECT user_id, 'POST', '/api/v1/orders', md5('key' || id)::uuid::text, md5('body' || id) || md5(number), 201,
       jsonb_build_object('success', true, 'orderId', number)::text, created_at
FROM orders_order WHERE created_at > %(now)s - interval '7 days'
"""
_JOBS = """
INSERT INTO vibecode_job (kind, state, asked_by, params, file_name, upload, rows, done, bad, result, failure, created_at, moved_at, ended_at)
SELECT 'import-prices', 'done', 'seed-colleague-4', '{}', 'prices-' || n || '.csv', '', 200, 200, 0, '', '', moment, moment, moment
FROM generate_series(1, 200) n CROSS JOIN LATERAL (SELECT %(now)s - interval '30 days' * n / 201 AS moment) at
"""
_AFTER = (
    ("deliveries of goods", _RECEIVED),
    ("stock", _STOCK),
    ("figures: days", _DAYS),
    ("figures: sales", _SALES),
    ("figures: statuses", _STATUSES),
    ("facts of two weeks", _OUTBOX),
    ("keys of a week", _KEYS),
    ("jobs of a month", _JOBS),
)
