"""A shop after years, in a database of its own that is filled once for all of these tests. They only read it.

`make test-full` makes the million. What `make test` can afford, a quarter of a minute, are the orders of some weeks:
there the planner is told that they are the million, so that its plans are those of the long table.
"""

import os
from collections.abc import Iterator

import psycopg
import pytest
from django.core.management import call_command
from django.db import connection
from pytest_django import DjangoDbBlocker

from orders.seeding import ANALYZED, Size, seed_shop
from tests.in_process import FULL
from tests.over_http import looking_into
from vibecode.desk import ShopAdmin

YEARS = 1_000_000
SIZE = Size(orders=YEARS, products=20_000, customers=200_000) if FULL else Size(30_000, 20_000, 30_000)
NAME = "scale"


def _pretend(*, years: int) -> None:
    """Tell the planner that there are so many times as many rows in each table that grows with the orders.

    Where everything fits into a few hundred blocks, reading all of it is the best plan; of the million it is none.
    """
    grown = [table for table in ANALYZED if table.startswith(("orders_", "accounts_", "vibecode_", "django_"))]
    grown.append("catalog_stockmovement")
    with connection.cursor() as cursor:
        cursor.execute(_PRETEND, {"tables": grown, "years": years})


_PRETEND = """
SELECT pg_restore_relation_stats(
    'schemaname', 'public', 'relname', relname::text, 'relpages', relpages, 'reltuples', (reltuples * %(years)s)::real
)
FROM pg_class
WHERE oid = ANY(%(tables)s::text[]::regclass[])
   OR oid IN (SELECT indexrelid FROM pg_index WHERE indrelid = ANY(%(tables)s::text[]::regclass[]))
"""


@pytest.fixture(scope="session")
def seeded_database(django_db_blocker: DjangoDbBlocker) -> Iterator[str]:
    """The large shop, filled once; its name."""
    with psycopg.connect(os.environ["DATABASE_URL"], autocommit=True) as server:
        server.execute(f"CREATE DATABASE {NAME}")
        try:
            with looking_into(NAME, django_db_blocker):
                call_command("migrate", verbosity=0)
                seed_shop(size=SIZE)
                _pretend(years=YEARS // SIZE.orders)
            yield NAME
        finally:
            server.execute(f"DROP DATABASE {NAME} WITH (FORCE)")


@pytest.fixture
def large_shop(
    seeded_database: str, django_db_blocker: DjangoDbBlocker, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Size]:
    """The application over the large shop; how large it is."""
    monkeypatch.setattr(ShopAdmin, "list_per_page", 10)  # what a page makes of its rows in HTML is not asked here
    with looking_into(seeded_database, django_db_blocker):
        yield SIZE
