"""POST /orders with whatever hypothesis thinks of: an order or a problem, never a failure of ours."""

import json
from collections.abc import Callable
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from catalog.models import Product
from orders.services import audit_stock
from tests.in_process import Caller
from tests.platform.answers import assert_refused

type Make = Callable[..., Product]

LEAVES = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()  # NaN and the infinities too: json.dumps writes them
    | st.text(st.characters(exclude_categories=()))  # lone surrogates and NUL too
    | st.sampled_from(["LAMP", "mug", "GBP", "1e999", "2.50", "ſ", "\u0130"])
)
ANY_JSON = st.recursive(
    LEAVES, lambda below: st.lists(below, max_size=5) | st.dictionaries(st.text(max_size=8), below, max_size=5)
)
QUANTITY = st.integers(-2, 4) | st.integers() | st.floats() | LEAVES
ITEM = (
    st.fixed_dictionaries({"sku": st.sampled_from(["LAMP", "mug", "NONE"]) | LEAVES, "quantity": QUANTITY}) | ANY_JSON
)
NEARLY_AN_ORDER = st.fixed_dictionaries(
    {"items": st.lists(ITEM, max_size=4) | ANY_JSON},
    optional={
        "total": st.decimals(places=2).map(str) | LEAVES,
        "currency": st.sampled_from(["GBP", "EUR"]) | LEAVES,
        "paymentMethod": LEAVES,
        "shippingAddress": ANY_JSON,
        "note": LEAVES,
        "userId": LEAVES,
        "extra": LEAVES,
    },
)
BODY = (NEARLY_AN_ORDER | ANY_JSON).map(lambda value: json.dumps(value).encode()) | st.binary()
KEY = st.none() | st.text(st.characters(max_codepoint=255, exclude_characters="\r\n"), max_size=260)


@settings(
    max_examples=100,
    deadline=None,
    database=None,
    print_blob=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(body=BODY, key=KEY)
def test_any_body_is_an_order_or_a_problem(shopper: Caller, product: Make, body: bytes, key: str | None) -> None:
    for sku in ("LAMP", "MUG"):
        if not Product.objects.filter(sku=sku).exists():
            product(sku, on_hand=1000)
    headers: dict[str, Any] = {} if key is None else {"Idempotency_Key": key}

    answer = shopper.post("/orders", body, **headers)

    assert answer.status_code < 500, body
    if answer.status_code != 201:
        assert_refused(answer, answer.status_code, answer.json()["code"])
    assert audit_stock() == []
