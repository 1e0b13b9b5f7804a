"""A large shop made of nothing, for lists and plans at the size of years. Called by manage.py seed_shop and the tests.

Everything happens in one transaction: whoever is killed in it leaves the shop as empty as it was. Rows come from
generate_series, chance from a hash of their numbers, so that two runs with one moment make the same shop. For as long as
it takes, foreign keys and secondary indexes are dropped; they are made again from their own definitions at the end,
which is when PostgreSQL looks at every row of every foreign key. CHECK and unique constraints and triggers stay, but for
those of the audit trail: what it tells of each order is written with the order.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from django.conf import settings
from django.db import connection, transaction

from orders.models import Order
from orders.seeding.goods import CATEGORIES, PRODUCTS
from orders.seeding.lives import LIVES, ORDERS, RECEIVED, STORIES
from orders.seeding.people import ADDRESSES, COLLEAGUES, CUSTOMERS, PEOPLE
from orders.seeding.sums import DAYS, JOBS, KEYS, OUTBOX, SALES, STATUSES, STOCK
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
    names |= {"currency": settings.SHOP_CURRENCY, "now": now or datetime.now(UTC), **PEOPLE, **_handlers()}
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
                fill(f"orders: {last:,} of {size.orders:,}", ORDERS, first=first, last=last)
            cursor.execute("ANALYZE orders_order; ANALYZE orders_orderline")
            for first, last in _batches(size.orders):
                for statement in STORIES:
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
    ("categories", CATEGORIES),
    ("products", PRODUCTS),
    ("customers", CUSTOMERS),
    ("addresses", ADDRESSES),
    ("colleagues", COLLEAGUES),
    ("lives", LIVES),
    ("statistics of what is drawn from", "ANALYZE seed_goods; ANALYZE seed_people; ANALYZE seed_lives"),
)
_AFTER = (
    ("deliveries of goods", RECEIVED),
    ("stock", STOCK),
    ("figures: days", DAYS),
    ("figures: sales", SALES),
    ("figures: statuses", STATUSES),
    ("facts of two weeks", OUTBOX),
    ("keys of a week", KEYS),
    ("jobs of a month", JOBS),
)
