"""A step that dies after its commit and before its answer: Step Functions runs it again, and nothing doubles."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from orders import workflow
from orders.models import Order
from orders.services import audit_stock
from tests.books import Books
from tests.in_process import shelf
from tests.over_http import Shop
from vibecode.local.folder import REPOSITORY
from vibecode.models import OutboxEvent

STEPS = ("validate_order", "process_payment", "deduct_stock", "send_notification", "complete_order")
DIES = """
import os, signal, sys
import django
django.setup()
from orders import workflow
workflow._answer = lambda order: os.kill(os.getpid(), signal.SIGKILL)
getattr(workflow, sys.argv[1])({"orderId": sys.argv[2], "error": {"Error": "PaymentDeclined"}}, None)
"""


@pytest.fixture
def shop_with_books(shop: Shop, books: Books) -> Shop:
    """The served shop, whose steps in this process pay at the demo provider."""
    return shop


def die_in(step: str, number: str, shop: Shop, books: Books) -> None:
    """Run a step in a process that kills itself when all of it is done but the answer."""
    environment = {**os.environ, "DATABASE_URL": shop.server.database_url, "DEMO_PAYMENTS_URL": books.url}
    command = [sys.executable, "-c", DIES, step, number]
    done = subprocess.run(command, cwd=Path(REPOSITORY), env=environment, capture_output=True, check=False)
    assert done.returncode == -9, done.stderr.decode()


def test_every_step_that_died_before_its_answer_runs_again_and_nothing_happens_twice(
    shop_with_books: Shop, books: Books
) -> None:
    product = shop_with_books.product(on_hand=5)
    number = shop_with_books.buyer().order((product, 2)).json()["orderId"]

    for step in STEPS:
        die_in(step, number, shop_with_books, books)
        before = Order.objects.values("version", "status").get(number=number)
        getattr(workflow, step)({"orderId": number}, None)
        assert Order.objects.values("version", "status").get(number=number) == before

    facts = OutboxEvent.objects.filter(subject=number).order_by("id").values_list("detail_type", flat=True)
    assert list(facts) == ["Order Created", "Order Paid", "Order Confirmed", "Order Completed"]
    assert len(books.of(number)["captured"]) == 1
    assert shelf(product) == (3, 0)
    assert audit_stock() == []


def test_a_cancellation_that_died_before_its_answer_gives_nothing_back_twice(
    shop_with_books: Shop, books: Books
) -> None:
    product = shop_with_books.product(on_hand=5)
    number = shop_with_books.buyer().order((product, 2)).json()["orderId"]
    workflow.process_payment({"orderId": number}, None)

    die_in("cancel_order", number, shop_with_books, books)
    workflow.cancel_order({"orderId": number, "error": {"Error": "PaymentDeclined"}}, None)

    story = books.of(number)
    assert (len(story["captured"]), story["refunded"]) == (1, story["captured"])
    assert Order.objects.get(number=number).status == "cancelled"
    assert shelf(product) == (5, 0)
    assert audit_stock() == []
