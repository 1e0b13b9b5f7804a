"""POST /orders: one order, priced by us, with its stock held."""

from collections.abc import Callable
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from catalog.models import Product, StockMovement
from orders.models import Order, TimelineEntry
from orders.services import audit_stock
from tests.in_process import Caller, order_body, shelf
from vibecode.models import IdempotencyKey, OutboxEvent

type Make = Callable[..., Product]


def nothing_was_written() -> bool:
    """A refusal leaves no order, no movement but the opening ones, no fact, no key."""
    return (
        not Order.objects.exists()
        and not StockMovement.objects.exclude(cause="request").exists()
        and not OutboxEvent.objects.filter(source="vibecode.orders").exists()
        and not IdempotencyKey.objects.exists()
    )


def test_an_order_is_priced_held_and_told(shopper: Caller, product: Make) -> None:
    lamp, mug = product("LAMP", price="2.55", on_hand=10), product("MUG", price="0.10", on_hand=5)

    answer = shopper.post("/orders", order_body(("mug", 3), ("LAMP", 2), ("LAMP", 1)))

    body = answer.json()
    assert answer.status_code == 201, body
    assert answer["Location"].endswith(f"/api/v1/orders/{body['orderId']}")
    assert body["success"] is True
    assert body["message"] == "Order created successfully"
    assert (body["status"], body["paymentStatus"], body["fulfilmentStatus"]) == ("pending", "pending", "reserved")
    assert (body["subtotal"], body["shippingTotal"], body["taxTotal"]) == ("7.95", "0.00", "0.00")
    assert body["total"] == "7.95"
    assert body["currency"] == "GBP"
    assert body["userId"] == shopper.sub
    assert body["items"] == [
        {"sku": "LAMP", "name": "Product LAMP", "unitPrice": "2.55", "quantity": 3, "lineTotal": "7.65"},
        {"sku": "MUG", "name": "Product MUG", "unitPrice": "0.10", "quantity": 3, "lineTotal": "0.30"},
    ]
    assert (shelf(lamp), shelf(mug)) == ((10, 3), (5, 3))
    fact = OutboxEvent.objects.get(source="vibecode.orders")
    assert (fact.detail_type, fact.subject) == ("Order Created", body["orderId"])
    assert fact.detail["total"] == "7.95"
    assert "@" not in str(fact.detail)
    assert TimelineEntry.objects.get().type == "Order Created"
    assert audit_stock() == []


def test_what_was_answered_is_what_is_read_back(shopper: Caller, product: Make) -> None:
    product("LAMP")
    placed = shopper.post("/orders", order_body(("LAMP", 2), note="by the door")).json()

    read = shopper.get(f"/orders/{placed['orderId']}").json()

    assert read == {name: value for name, value in placed.items() if name not in {"success", "message"}}


@pytest.mark.parametrize(("lines", "statements"), [(1, 7), (500, 7)])
def test_the_number_of_statements_does_not_grow_with_the_lines(
    shopper: Caller, product: Make, lines: int, statements: int
) -> None:
    skus = [product().sku for _ in range(lines)]
    shopper.get("/me")
    with CaptureQueriesContext(connection) as captured:
        answer = shopper.post("/orders", order_body(*((sku, 1) for sku in skus)), Idempotency_Key="k")

    assert answer.status_code == 201
    asked = [q["sql"] for q in captured if not q["sql"].startswith(("SAVEPOINT", "RELEASE", "BEGIN", "COMMIT"))]
    assert len(asked) == statements, "\n".join(sql[:80] for sql in asked)


def test_every_short_line_is_named_and_nothing_is_held(shopper: Caller, product: Make) -> None:
    plenty, few, none = product("PLENTY", on_hand=9), product("FEW", on_hand=2), product("NONE", on_hand=0)

    answer = shopper.post("/orders", order_body(("PLENTY", 1), ("FEW", 3), ("NONE", 1)), Idempotency_Key="k")

    body = answer.json()
    assert (answer.status_code, body["code"]) == (409, "out-of-stock")
    assert body["lines"] == [
        {"sku": "FEW", "requested": 3, "available": 2},
        {"sku": "NONE", "requested": 1, "available": 0},
    ]
    assert body["success"] is False
    assert body["error"] == body["title"]
    assert [shelf(p) for p in (plenty, few, none)] == [(9, 0), (2, 0), (0, 0)]
    assert nothing_was_written()


def test_unknown_and_unpublished_skus_are_all_named(shopper: Caller, product: Make) -> None:
    product("HERE")
    product("DRAFT", status="draft")

    answer = shopper.post("/orders", order_body(("HERE", 1), ("DRAFT", 1), ("NOWHERE", 1)))

    body = answer.json()
    assert (answer.status_code, body["code"]) == (422, "unknown-sku")
    assert body["skus"] == ["DRAFT", "NOWHERE"]
    assert nothing_was_written()


@pytest.mark.parametrize(("total", "status"), [("5.00", 201), (5, 201), ("5.01", 409), ("4.99", 409)])
def test_the_total_that_the_customer_saw_must_be_ours(shopper: Caller, product: Make, total: Any, status: int) -> None:
    product("LAMP", price="2.50")

    answer = shopper.post("/orders", order_body(("LAMP", 2), total=total))

    assert answer.status_code == status
    if status == 409:
        assert (answer.json()["code"], answer.json()["total"]) == ("total-mismatch", "5.00")
        assert nothing_was_written()


def test_an_order_for_somebody_else_is_refused(shopper: Caller, other: Caller, product: Make) -> None:
    product("LAMP")

    answer = shopper.post("/orders", order_body(("LAMP", 1), userId=other.sub))

    assert (answer.status_code, answer.json()["code"]) == (403, "forbidden")
    assert nothing_was_written()


def test_a_stranger_cannot_order(stranger: Caller, product: Make) -> None:
    product("LAMP")

    answer = stranger.post("/orders", order_body(("LAMP", 1)))

    assert answer.status_code == 401
    assert answer["WWW-Authenticate"].startswith("Bearer")
    assert answer.json()["success"] is False
    assert nothing_was_written()


def test_the_same_key_gets_the_same_answer_and_one_order(shopper: Caller, product: Make) -> None:
    lamp = product("LAMP")
    first = shopper.post("/orders", {"items": [{"sku": "LAMP", "quantity": 2}], "total": 5}, Idempotency_Key="k")
    again = shopper.post("/orders", b'{"total":5.0, "items":[{"quantity":2,"sku":"LAMP"}]}', Idempotency_Key="k")

    assert (first.status_code, again.status_code) == (201, 201)
    assert first.content == again.content
    assert first["Location"] == again["Location"]
    assert "Idempotent-Replayed" not in first
    assert again["Idempotent-Replayed"] == "true"
    assert Order.objects.count() == 1
    assert shelf(lamp) == (10, 2)


def test_the_same_key_with_another_body_is_refused(shopper: Caller, product: Make) -> None:
    lamp = product("LAMP")
    shopper.post("/orders", order_body(("LAMP", 2)), Idempotency_Key="k")

    answer = shopper.post("/orders", order_body(("LAMP", 3)), Idempotency_Key="k")

    assert (answer.status_code, answer.json()["code"]) == (422, "idempotency-key-reused")
    assert shelf(lamp) == (10, 2)


def test_a_key_belongs_to_one_user(shopper: Caller, other: Caller, product: Make) -> None:
    lamp = product("LAMP")

    answers = [caller.post("/orders", order_body(("LAMP", 1)), Idempotency_Key="k") for caller in (shopper, other)]

    assert len({answer.json()["orderId"] for answer in answers}) == 2
    assert shelf(lamp) == (10, 2)


def test_a_refusal_leaves_its_key_free(shopper: Caller, product: Make) -> None:
    lamp = product("LAMP", on_hand=1)
    refused = shopper.post("/orders", order_body(("LAMP", 2)), Idempotency_Key="k")
    placed = shopper.post("/orders", order_body(("LAMP", 1)), Idempotency_Key="k")

    assert (refused.status_code, placed.status_code) == (409, 201)
    assert shelf(lamp) == (1, 1)
