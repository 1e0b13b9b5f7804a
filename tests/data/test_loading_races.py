"""The loader among live orders and edits: it takes its rows in the order of their ids, whatever the file's order."""

import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from decimal import Decimal
from typing import Any

import psycopg
import pytest
from django.db import connections

from catalog.loading import Loaded, load_catalogue
from catalog.models import Product
from catalog.online_retail import Item
from catalog.shelves import OTHERS
from orders.services import audit_stock
from tests.in_process import make_product, shelf
from tests.over_http import Shop


@pytest.fixture
def products(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> tuple[Product, Product]:
    """Two products whose ids run against their SKUs, as after another load; the loader takes one at a time."""
    monkeypatch.setattr("catalog.loading.BATCH", 1)
    stem = f"LOAD-{time.monotonic_ns()}"
    return make_product(f"{stem}-Z", on_hand=10), make_product(f"{stem}-A", on_hand=10)


@pytest.fixture
def other(shop: Shop) -> Iterator[psycopg.Connection]:
    """Somebody else's transaction on the shop's database; ended without a commit."""
    with psycopg.connect(shop.server.database_url) as connection:
        connection.execute("SET lock_timeout = '20s'")
        yield connection
        connection.rollback()


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(2) as made:
        yield made


def load(products: tuple[Product, Product]) -> Loaded:
    """A load of both with a new price and 50 units, in the order of their SKUs; in a thread, so it hangs up."""
    items = [Item(p.sku, p.name, Decimal("7.77"), 50, OTHERS) for p in sorted(products, key=lambda p: p.sku)]
    try:
        return load_catalogue(items=items, source="races")
    finally:
        connections.close_all()


def wait_for_waiters(shop: Shop, count: int, *unfinished: Future[Any]) -> None:
    """Return when so many transactions of the shop's database wait for a lock."""
    deadline = time.monotonic() + 10
    with psycopg.connect(shop.server.database_url, autocommit=True) as watcher:
        while True:
            row = watcher.execute(
                "SELECT count(*) FROM pg_stat_activity"
                " WHERE datname = current_database() AND cardinality(pg_blocking_pids(pid)) > 0"
            ).fetchone()
            if row == (count,):
                return
            assert time.monotonic() < deadline, f"{row} wait, not {count}"
            assert not any(future.done() for future in unfinished), "it did not wait"
            time.sleep(0.02)


@pytest.mark.parametrize(("table", "key"), [("catalog_stock", "product_id"), ("catalog_product", "id")])
def test_rows_locked_in_the_order_of_their_ids_do_not_deadlock_with_a_load(
    shop: Shop,
    products: tuple[Product, Product],
    other: psycopg.Connection,
    pool: ThreadPoolExecutor,
    table: str,
    key: str,
) -> None:
    lock = f"SELECT FROM {table} WHERE {key} = %s FOR NO KEY UPDATE"
    other.execute(lock, [products[0].pk])
    loading = pool.submit(load, products)
    wait_for_waiters(shop, 1, loading)

    other.execute(lock, [products[1].pk])  # what the load took first when it followed the file
    other.commit()

    assert loading.result(timeout=30).movements == 2
    assert [shelf(product) for product in products] == [(50, 0), (50, 0)]
    assert audit_stock() == []


def test_an_order_that_comes_before_a_load_and_the_load_both_get_through(
    shop: Shop, products: tuple[Product, Product], other: psycopg.Connection, pool: ThreadPoolExecutor
) -> None:
    buyer = shop.buyer()
    other.execute("SELECT FROM catalog_stock WHERE product_id = %s FOR NO KEY UPDATE", [products[0].pk])
    ordering = pool.submit(buyer.order, (products[1], 2), (products[0], 3))
    wait_for_waiters(shop, 1, ordering)
    loading = pool.submit(load, products)
    wait_for_waiters(shop, 2, ordering, loading)

    other.commit()  # now the order has one of the rows and wants the other

    assert loading.result(timeout=30).movements == 2
    assert ordering.result(timeout=30).status_code == 201
    assert [shelf(product) for product in products] == [(50, 3), (50, 2)]
    assert audit_stock() == []
