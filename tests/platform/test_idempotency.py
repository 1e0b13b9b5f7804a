"""Idempotency-Key at its edges: other paths, other users, purged keys, refusals, and a first request that hangs."""

import time
import uuid
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest

from accounts.models import User
from catalog.models import Product
from orders.models import Order
from tests.in_process import Caller, order_body, shelf
from tests.over_http import Shop
from tests.platform.answers import assert_refused
from vibecode.idempotency import _fingerprint
from vibecode.models import IdempotencyKey
from vibecode.parsing import read_json_object

type Make = Callable[..., Product]


def test_a_key_belongs_to_one_path(shopper: Caller, product: Make) -> None:
    product("LAMP")
    number = shopper.post("/orders", order_body(("LAMP", 1)), Idempotency_Key="k").json()["orderId"]

    cancelled = shopper.post(f"/orders/{number}/cancel", order_body(), Idempotency_Key="k")

    assert_refused(cancelled, 400, "invalid")
    assert shopper.post(f"/orders/{number}/cancel", {}, Idempotency_Key="k").json()["status"] == "cancelled"
    assert IdempotencyKey.objects.count() == 2


def test_a_key_that_was_purged_makes_a_new_order(shopper: Caller, product: Make) -> None:
    lamp = product("LAMP")
    first = shopper.post("/orders", order_body(("LAMP", 1)), Idempotency_Key="k")
    IdempotencyKey.objects.all().delete()

    second = shopper.post("/orders", order_body(("LAMP", 1)), Idempotency_Key="k")

    assert "Idempotent-Replayed" not in second.headers
    assert first.json()["orderId"] != second.json()["orderId"]
    assert shelf(lamp) == (10, 2)


def test_keys_age_in_the_order_of_their_making(shopper: Caller, product: Make) -> None:
    product("LAMP")
    shopper.post("/orders", order_body(("LAMP", 1)), Idempotency_Key="k")
    now = datetime.now(UTC)

    assert not IdempotencyKey.objects.older_than(now - timedelta(hours=24)).exists()
    assert IdempotencyKey.objects.older_than(now + timedelta(minutes=1)).count() == 1


def test_a_replay_is_the_first_answer_even_when_the_world_has_moved_on(shopper: Caller, product: Make) -> None:
    lamp = product("LAMP", on_hand=1)
    first = shopper.post("/orders", order_body(("LAMP", 1)), Idempotency_Key="k")
    shopper.post(f"/orders/{first.json()['orderId']}/cancel")
    Product.objects.filter(pk=lamp.pk).update(status="archived", price="99.00")

    again = shopper.post("/orders", order_body(("LAMP", 1)), Idempotency_Key="k")

    assert (again.status_code, again.content) == (201, first.content)
    assert {name: again.headers[name] for name in ("Location", "ETag", "Content-Type")} == {
        name: first.headers[name] for name in ("Location", "ETag", "Content-Type")
    }
    assert Order.objects.count() == 1


@pytest.mark.parametrize("status", [400, 403, 409, 422])
def test_every_refusal_leaves_the_key_free(shopper: Caller, other: Caller, product: Make, status: int) -> None:
    product("LAMP", on_hand=1)
    bad: dict[int, Any] = {
        400: order_body(("LAMP", 0)),
        403: order_body(("LAMP", 1), userId=other.sub),
        409: order_body(("LAMP", 2)),
        422: order_body(("NONE", 1)),
    }

    assert shopper.post("/orders", bad[status], Idempotency_Key="k").status_code == status
    assert not IdempotencyKey.objects.exists()
    assert shopper.post("/orders", order_body(("LAMP", 1)), Idempotency_Key="k").status_code == 201


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        (b'{"a": 1, "b": 2}', b'{"b":2,"a":1}', True),
        (b'{"a": 1}', b'{"a": 1.0}', True),
        (b'{"a": 1}', b'{"a": 10e-1}', True),
        (b'{"a": 1.5}', b'{"a": 1.50}', True),
        (b'{"a": "\\u00e9"}', '{"a": "é"}'.encode(), True),
        (b'{"a": 1}', b'{"a": "1"}', False),
        (b'{"a": 1}', b'{"a": true}', False),
        (b'{"a": 1.5}', b'{"a": "1.5"}', False),
        (b'{"a": 1.00000000000000000000000000000001}', b'{"a": 1.00000000000000000000000000000002}', False),
        (b'{"a": null}', b"{}", False),
        (b'{"a": [1, 2]}', b'{"a": [2, 1]}', False),
        (b'{"a": {"b": 1}}', b'{"a": ["b", 1]}', False),
        (b'{"a": "x"}', b'{"a": "x "}', False),
    ],
)
def test_bodies_are_equal_when_they_say_the_same(one: bytes, other: bytes, same: bool) -> None:
    prints = [_fingerprint(read_json_object(body)) for body in (one, other)]

    assert (prints[0] == prints[1]) is same


def test_the_second_request_waits_for_the_first_and_gives_up_after_five_seconds(shop: Shop) -> None:
    product, buyer = shop.product(on_hand=5), shop.buyer()
    user, key = User.objects.get(email=buyer.email), uuid.uuid4().hex

    with psycopg.connect(shop.server.database_url) as first:  # somebody who claimed the key and hangs
        first.execute(
            "INSERT INTO vibecode_idempotencykey (user_id, method, path, key, body_sha256) "
            "VALUES (%s, 'POST', '/api/v1/orders', %s, '')",
            [user.pk, key],
        )
        started = time.monotonic()
        refused = buyer.order((product, 1), key=key)
        waited = time.monotonic() - started
        first.rollback()
    placed = buyer.order((product, 1), key=key)

    assert_refused(refused, 409, "in-progress")
    assert refused.headers["Retry-After"] == "1"
    assert 4.5 < waited < 7
    assert placed.status_code == 201
    assert shelf(product) == (5, 1)
