"""Fixtures for races and kills: the real web server over the run's engines, callers on sockets, a barrier.

Its database is its own and nothing in it is rolled back: each test makes its own products and people.
"""

import contextlib
import itertools
import os
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import psycopg
import pytest
from django.conf import settings
from django.core.management import call_command
from django.db import connection, connections
from pytest_django import DjangoDbBlocker

from catalog.models import Product
from tests.in_process import make_product, sign_in
from vibecode.local import ports
from vibecode.local.folder import REPOSITORY
from vibecode.local.guard import Guard

_numbers = itertools.count(1)
NAME = "served"


class WebServer:
    """gunicorn with two workers, as `make run` starts it, on a port of its own."""

    def __init__(self, database_url: str, threads: int = 40, **more: str) -> None:
        self.port = ports.free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.database_url = database_url
        self.threads = threads
        self.more = more  # settings
        self.log = open(os.devnull, "wb") if not os.environ.get("SHOW_WEB") else open("web.log", "ab")  # noqa: SIM115, PTH123 -- closed in stop()
        self.guard = Guard()
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it and wait until it answers."""
        command = [sys.executable, "-m", "gunicorn", "vibecode.wsgi:application", "--bind", f"127.0.0.1:{self.port}"]
        command += ["--worker-class", "gthread", "--workers", "2", "--threads", str(self.threads)]
        command += [
            "--keep-alive",
            "75",
            "--preload",
            "--no-control-socket",
            "--log-level",
            "warning",
            "--backlog",
            "512",
        ]
        ours = {
            "DATABASE_URL": self.database_url,
            "PUBLIC_URL": self.url,
            "AWS_ACCESS_KEY_ID": settings.RESOURCES.prefix,
        }
        environment = {**os.environ, **ours, **self.more}
        self.process = subprocess.Popen(command, cwd=REPOSITORY, env=environment, stdout=self.log, stderr=self.log)
        self.guard.watch(self.process.pid, signal.SIGTERM)
        deadline = time.monotonic() + 30
        while not ports.answers(self.port, "/readyz"):
            assert time.monotonic() < deadline, "the web server does not start"
            time.sleep(0.05)

    def workers(self) -> list[int]:
        """The pids of the worker processes."""
        assert self.process is not None
        shown = subprocess.run(
            ["ps", "-o", "pid=", "--ppid", str(self.process.pid)], capture_output=True, text=True, check=False
        )
        return [int(word) for word in shown.stdout.split()]

    def stop(self) -> None:
        """Stop it."""
        if self.process is not None:
            self.process.terminate()
            self.process.wait(timeout=30)
        self.guard.close()
        self.log.close()


class Buyer:
    """Somebody with a token and a socket."""

    def __init__(self, url: str, email: str, *groups: str) -> None:
        self.email = email
        self.tokens = sign_in(email, *groups)
        self.http = httpx.Client(
            base_url=f"{url}/api/v1",
            headers={"Authorization": f"Bearer {self.tokens['AccessToken']}"},
            timeout=60,
            verify=False,  # noqa: S501 -- plain HTTP; loading certificates costs more than the race
            trust_env=False,
        )

    def order(self, *items: tuple[Product, int], key: str = "") -> httpx.Response:
        """POST /orders for (product, quantity) in the order given."""
        body = {"items": [{"sku": product.sku, "quantity": quantity} for product, quantity in items]}
        return self.http.post("/orders", json=body, headers={"Idempotency-Key": key} if key else {})

    def cancel(self, number: str) -> httpx.Response:
        """POST /orders/{number}/cancel."""
        return self.http.post(f"/orders/{number}/cancel", json={})


class Shop:
    """The served shop, as a test speaks of it."""

    def __init__(self, server: WebServer) -> None:
        self.server = server
        self.open = contextlib.ExitStack()

    def close(self) -> None:
        """Close the buyers' sockets."""
        self.open.close()

    def product(self, *, on_hand: int, **values: Any) -> Product:
        """A product of this test alone."""
        return make_product(f"RACE-{uuid.uuid4().hex[:12].upper()}", on_hand=on_hand, **values)

    def buyer(self, email: str = "") -> Buyer:
        """A customer whom the shop has seen before: the race is about the order."""
        buyer = Buyer(self.server.url, email or f"buyer-{next(_numbers)}@example.com")
        self.open.callback(buyer.http.close)
        buyer.http.get("/me").raise_for_status()
        return buyer

    def buyers(self, count: int) -> list[Buyer]:
        """So many customers, met one after the other; the same ones for every test."""
        with ThreadPoolExecutor(8) as pool:
            return list(pool.map(lambda n: self.buyer(f"racer-{n}@example.com"), range(count)))


def together[T](actions: Sequence[Callable[[], T]]) -> list[T]:
    """Run every action in a thread of its own, all released at one moment; their answers in order."""
    barrier = threading.Barrier(len(actions))

    def run(action: Callable[[], T]) -> T:
        barrier.wait(timeout=60)
        return action()

    with ThreadPoolExecutor(len(actions)) as pool:
        return [future.result(timeout=120) for future in [pool.submit(run, action) for action in actions]]


def wait_for_a_waiter(product: Product) -> None:
    """Until some connection waits for a lock."""
    for _ in range(200):
        with connection.cursor() as cursor:
            cursor.execute("SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'")
            if cursor.fetchone()[0]:
                return
        time.sleep(0.02)
    pytest.fail(f"nobody waits for {product.sku}")


@contextlib.contextmanager
def looking_into(name: str, blocker: DjangoDbBlocker) -> Iterator[None]:
    """Let this process work on another database of the run's server, and commit what it writes."""
    ours = connections["default"].settings_dict
    before = ours["NAME"]
    connections["default"].close()
    ours["NAME"] = name
    try:
        with blocker.unblock():
            yield
    finally:
        connections["default"].close()
        ours["NAME"] = before


@pytest.fixture(scope="session")
def web_server(django_db_blocker: DjangoDbBlocker) -> Iterator[WebServer]:
    """The web server of the run, over a database of its own."""
    engine = os.environ["DATABASE_URL"]
    with psycopg.connect(engine, autocommit=True) as admin:
        admin.execute(f"CREATE DATABASE {NAME}")
    with looking_into(NAME, django_db_blocker):
        call_command("migrate", verbosity=0)
    server = WebServer(engine.rpartition("/")[0] + f"/{NAME}")
    try:
        server.start()
        yield server
    finally:
        server.stop()


@pytest.fixture
def shop(web_server: WebServer, django_db_blocker: DjangoDbBlocker) -> Iterator[Shop]:
    """The served shop; this process looks into the same database."""
    with looking_into(NAME, django_db_blocker), contextlib.closing(Shop(web_server)) as made:
        yield made
