"""SIGKILL in the middle: of the web worker while it places an order, and of PostgreSQL while requests run."""

import contextlib
import os
import random
import signal
import threading
import time
import uuid
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import httpx
import psycopg
from django.db import connection

from catalog.models import Product
from orders.models import Order
from orders.services import audit_stock
from tests.in_process import FULL, shelf
from tests.over_http import Buyer, Shop, wait_for_a_waiter
from tests.plain import PLAIN
from vibecode.db.base import CLOSED_SECONDS
from vibecode.local import ports


def kill_workers(shop: Shop) -> None:
    """SIGKILL every worker; their master starts others."""
    for pid in shop.server.workers():
        os.kill(pid, signal.SIGKILL)


def insist(buyer: Buyer, product: Product, key: str, seconds: float = 30) -> httpx.Response:
    """Send an order with one key until it is answered for good, as a client should."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            answer = buyer.order((product, 1), key=key)
            if answer.status_code not in {409, 503}:
                return answer
        except httpx.TransportError:
            pass
        assert time.monotonic() < deadline, "no answer in time"
        time.sleep(0.05)


def test_a_key_whose_first_holder_is_killed_in_the_middle_makes_one_order(shop: Shop) -> None:
    product = shop.product(on_hand=5)
    buyer = shop.buyer()
    key = uuid.uuid4().hex
    with psycopg.connect(shop.server.database_url) as holder, ThreadPoolExecutor(2) as pool:
        # The worker claims the key, then waits for the shelf that we hold: the middle of an order.
        holder.execute("SELECT 1 FROM catalog_stock WHERE product_id = %s FOR UPDATE", [product.pk])
        first = pool.submit(insist, buyer, product, key)
        wait_for_a_waiter(product)
        second = pool.submit(insist, buyer, product, key)
        kill_workers(shop)
        holder.rollback()
        answers = [first.result(), second.result()]

    assert {answer.status_code for answer in answers} == {201}
    assert len({answer.json()["orderId"] for answer in answers}) == 1
    assert shelf(product) == (5, 1)
    assert Order.objects.filter(lines__product=product).count() == 1
    assert audit_stock() == []


def test_orders_are_whole_or_not_at_all_wherever_the_workers_are_killed(shop: Shop, seed: int) -> None:
    each = 60 if FULL else 6
    chance = random.Random(seed)
    product = shop.product(on_hand=1000)
    buyers = shop.buyers(8)
    keys = [[uuid.uuid4().hex for _ in range(each)] for _ in buyers]
    done = threading.Event()

    def killer() -> int:
        kills = 0
        while not done.is_set():
            if not ports.answers(shop.server.port, "/healthz"):
                continue  # the dead would only be killed again: nothing is placed while nobody serves
            time.sleep(chance.uniform(0, 0.3))
            for pid in shop.server.workers()[: chance.choice([1, 2])]:
                with contextlib.suppress(ProcessLookupError):  # it has died since it was listed
                    os.kill(pid, signal.SIGKILL)
                    kills += 1
        return kills

    def place_all(buyer: Buyer, keys: list[str]) -> list[httpx.Response]:
        return [insist(buyer, product, key, 120) for key in keys]

    with ThreadPoolExecutor(9) as pool:
        killing = pool.submit(killer)
        placing = [pool.submit(place_all, *pair) for pair in zip(buyers, keys, strict=True)]
        answers = [answer for future in placing for answer in future.result()]
        done.set()
        print(f"kills {killing.result()}")

    assert Counter(answer.status_code for answer in answers) == {201: 8 * each}
    assert len({answer.json()["orderId"] for answer in answers}) == 8 * each
    assert shelf(product) == (1000, 8 * each)
    assert Order.objects.filter(lines__product=product).count() == 8 * each
    assert audit_stock() == []


def test_requests_get_503_while_postgresql_is_away_and_succeed_when_it_is_back(shop: Shop) -> None:
    product = shop.product(on_hand=50)
    buyer = shop.buyer()
    workers = set(shop.server.workers())
    # Every backend of the served database is cut off, and new ones are refused: what a crash looks like from a client,
    # without taking the engine from the other tests. tests/local kills the server process itself.
    name = connection.settings_dict["NAME"]
    connection.close()
    engine = os.environ["DATABASE_URL"]
    with psycopg.connect(engine, autocommit=True) as admin:
        admin.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false")
        try:
            admin.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE datname = %s AND backend_type = 'client backend'",
                [name],
            )
            refused = [buyer.order((product, 1)), buyer.http.get("/orders"), buyer.http.get("/products")]
            alive = httpx.get(f"{shop.server.url}/healthz", **PLAIN)
            unready = httpx.get(f"{shop.server.url}/readyz", **PLAIN)
        finally:
            admin.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS true")

    assert {answer.status_code for answer in refused} == {503}
    assert all(int(answer.headers["Retry-After"]) >= 1 for answer in refused)
    assert {answer.json()["code"] for answer in refused} == {"database-away"}
    assert {answer.headers["Content-Type"] for answer in refused} == {"application/problem+json"}
    assert (alive.status_code, unready.status_code) == (200, 503)
    assert insist(buyer, product, uuid.uuid4().hex, 10).status_code == 201
    assert set(shop.server.workers()) == workers
    assert shelf(product) == (50, 1)
    time.sleep(CLOSED_SECONDS)  # until then a thread that waited in vain refuses the next test's requests
