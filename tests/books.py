"""The demo payment provider for tests, and orders placed with one of its methods."""

import json
import signal
import subprocess
import tempfile
import time
import urllib.request
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from orders.models import Order
from orders.payments import provider
from orders.services import complete_order, deduct_held_stock
from orders.workflow import process_payment
from tests.in_process import Caller, make_product, order_body
from vibecode.local import child, payments, ports
from vibecode.local.folder import REPOSITORY
from vibecode.local.guard import Guard


class Books:
    """The demo provider, and what stands in its books."""

    def __init__(self, folder: Path) -> None:
        self.port = ports.free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.command = payments.command(self.port, folder / "books.sqlite3")
        self.guard = Guard()
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it and wait until it answers."""
        self.process = child.start(self.command, output=subprocess.DEVNULL, folder=REPOSITORY)
        self.guard.watch(self.process.pid, signal.SIGTERM)
        deadline = time.monotonic() + 20
        while not ports.answers(self.port, "/healthz"):
            assert time.monotonic() < deadline, "the demo provider does not start"
            time.sleep(0.05)

    def stop(self) -> None:
        """Stop it."""
        assert self.process is not None
        self.process.terminate()
        self.process.wait(timeout=10)
        self.guard.forget(self.process.pid)

    def close(self) -> None:
        """Stop it for good."""
        self.stop()
        self.guard.close()

    def give_back(self, number: str, amount: str) -> None:
        """Refund an order at the provider's own desk, behind our back."""
        body = {"reference": number, "amount": amount, "refund_reference": f"desk-{uuid.uuid4().hex}"}
        asked = urllib.request.Request(  # noqa: S310 -- our own address
            f"{self.url}/refunds", json.dumps(body).encode(), {"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(asked, timeout=10) as answer:  # noqa: S310 -- our own address
            assert answer.status == 201

    def attempts(self, number: str) -> list[str]:
        """What became of each time that it was asked to charge an order."""
        with urllib.request.urlopen(f"{self.url}/books", timeout=10) as answer:  # noqa: S310 -- our own address
            return [attempt["outcome"] for attempt in json.load(answer)["attempts"].get(number, [])]

    def of(self, number: str) -> dict[str, Any]:
        """Its captured charges, voids and refunds of an order: amounts as strings."""
        with urllib.request.urlopen(f"{self.url}/books", timeout=10) as answer:  # noqa: S310 -- our own address
            books = json.load(answer)
        mine = {
            name: [row for row in books[name] if row["reference"] == number] for name in books if name != "attempts"
        }
        return {
            "captured": [row["amount"] for row in mine["charges"] if row["state"] == "captured"],
            "voided": bool(mine["voids"]),
            "refunded": [row["amount"] for row in mine["refunds"]],
        }


@pytest.fixture(scope="session")
def demo_provider() -> Iterator[Books]:
    """The demo provider of the run."""
    with tempfile.TemporaryDirectory(prefix="vibecode-books-") as folder:
        books = Books(Path(folder))
        books.start()
        try:
            yield books
        finally:
            books.close()


@pytest.fixture
def books(demo_provider: Books, settings: Any) -> Iterator[Books]:
    """The demo provider, and the application pointed at it."""
    settings.DEMO_PAYMENTS_URL = demo_provider.url
    provider.cache_clear()
    yield demo_provider
    provider.cache_clear()


@pytest.fixture
def placed(shopper: Caller, books: Books) -> Callable[..., Order]:
    """A maker of orders of two units at 2.50, by payment method."""

    def place(method: str = "demo_ok") -> Order:
        product = make_product(on_hand=10, price="2.50")
        answer = shopper.post("/orders", order_body((product.sku, 2), paymentMethod=method))
        assert answer.status_code == 201, answer.content
        return Order.objects.select_related("user").get(number=answer.json()["orderId"])

    return place


@pytest.fixture
def completed(shopper: Caller, books: Books) -> Callable[..., Order]:
    """A maker of orders that are paid and off the shelf, of (SKU, quantity) each."""

    def make(*items: tuple[str, int]) -> Order:
        for sku, quantity in items:
            make_product(sku, on_hand=quantity, price="2.50")
        number = shopper.post("/orders", order_body(*items)).json()["orderId"]
        process_payment({"orderId": number}, None)
        order = Order.objects.get(number=number)
        deduct_held_stock(order=order)
        return complete_order(order=order)

    return make
