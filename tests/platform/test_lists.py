"""Lists: whoever follows `next` sees every row once and in order, whatever is added meanwhile, at the same price."""

import base64
import json
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from django.core.exceptions import FieldFetchBlocked
from django.core.signing import Signer
from django.db import connection
from django.test.utils import CaptureQueriesContext
from rest_framework.test import APIRequestFactory

from accounts.models import Address, User
from catalog.models import Category, Product
from catalog.views import ProductViewSet
from orders.models import Order
from orders.views import OrderViewSet
from tests.in_process import Caller, make_product, order_body
from tests.platform.answers import assert_refused, pointers

type Make = Callable[..., Product]


# --- a shop full of rows, by bulk SQL --------------------------------------------------------------------------------
def many_products(count: int, *, same_price: bool = False, same_moment: bool = False) -> None:
    """Published products with stock, without the services: lists only read."""
    with connection.cursor() as cursor:
        cursor.execute(
            """
            WITH made AS (
                INSERT INTO catalog_product (sku, name, slug, description, price, currency, status, version, created_at)
                SELECT 'BULK-' || n, 'Bulk ' || (n * 7919 %% %(count)s), 'bulk-' || n, '',
                       CASE WHEN %(same_price)s THEN 5 ELSE n * 31 %% 997 END, 'GBP', 'published', 1,
                       now() - CASE WHEN %(same_moment)s THEN interval '1 day' ELSE n * interval '1 minute' END
                FROM generate_series(1, %(count)s) AS n RETURNING id
            )
            INSERT INTO catalog_stock (product_id, on_hand, reserved, reorder_point) SELECT id, 5, 0, 0 FROM made
            """,
            {"count": count, "same_price": same_price, "same_moment": same_moment},
        )
        cursor.execute("ANALYZE catalog_product, catalog_stock")


def many_orders(user: User, count: int, *, same_moment: bool = False) -> None:
    """Orders of somebody, without lines."""
    with connection.cursor() as cursor:
        cursor.execute(
            """
            INSERT INTO orders_order (
                number, user_id, currency, subtotal, shipping_total, tax_total, total, payment_status,
                fulfilment_status, payment_method, note, cancel_reason, version, created_at
            )
            SELECT 'ORD-' || lpad(n::text, 26, '0'), %(user)s, 'GBP', n, 0, 0, n, 'pending', 'reserved', '', '', '', 1,
                   now() - CASE WHEN %(same_moment)s THEN interval '1 day' ELSE n * interval '1 minute' END
            FROM generate_series(1, %(count)s) AS n
            """,
            {"user": user.pk, "count": count, "same_moment": same_moment},
        )
        cursor.execute("ANALYZE orders_order")


def pages(caller: Caller, path: str, way: str = "next") -> Iterator[dict[str, Any]]:
    """Every page, from an address on."""
    following: str | None = path
    while following:
        parts = urlsplit(following)
        answer = caller.get(f"{parts.path}?{parts.query}")
        assert answer.status_code == 200, answer.content
        page = answer.json()
        yield page
        following = page[way]


def cursor_of(address: str) -> str:
    """The cursor in the address of a page."""
    return parse_qs(urlsplit(address).query)["cursor"][0]


# --- walking ---------------------------------------------------------------------------------------------------------
ORDERINGS = ["newest", "price", "-price", "name", "relevance"]


@pytest.mark.parametrize("same", [False, True], ids=["all different", "all equal"])
@pytest.mark.parametrize("ordering", ORDERINGS)
def test_walking_the_products_shows_each_once_in_order_both_ways(
    db: None, stranger: Caller, ordering: str, same: bool
) -> None:
    many_products(53, same_price=same, same_moment=same)
    words = "&search=bulk" if ordering == "relevance" else ""

    forwards = list(pages(stranger, f"/products?ordering={ordering}&pageSize=10{words}"))
    backwards = list(pages(stranger, forwards[-1]["previous"], "previous"))

    there = [row["sku"] for page in forwards for row in page["results"]]
    back = [row["sku"] for page in reversed(backwards) for row in page["results"]]
    assert len(there) == len(set(there)) == 53
    assert back == there[:50]
    assert [len(page["results"]) for page in forwards] == [10, 10, 10, 10, 10, 3]
    assert (forwards[0]["previous"], forwards[-1]["next"], backwards[-1]["previous"]) == (None, None, None)
    field, falling = {"newest": ("createdAt", True), "name": ("name", False)}.get(ordering, ("", False))
    if "price" in ordering:
        prices = [float(row["price"]) for page in forwards for row in page["results"]]
        assert prices == sorted(prices, reverse=ordering == "-price")
    elif field and not same:
        values = [row[field] for page in forwards for row in page["results"]]
        assert values == sorted(values, reverse=falling)


@pytest.mark.parametrize("same", [False, True], ids=["all different", "all equal"])
def test_walking_the_orders_shows_each_once_in_order_both_ways(shopper: Caller, other: Caller, same: bool) -> None:
    many_orders(shopper.user, 27, same_moment=same)

    forwards = list(pages(shopper, "/orders?pageSize=9"))
    backwards = list(pages(shopper, forwards[-1]["previous"], "previous"))

    there = [row["orderId"] for page in forwards for row in page["results"]]
    assert there == list(Order.objects.order_by("-created_at", "-id").values_list("number", flat=True))
    assert [row["orderId"] for page in reversed(backwards) for row in page["results"]] == there[:18]
    assert [len(page["results"]) for page in forwards] == [9, 9, 9]
    assert other.get("/orders").json()["results"] == []


def test_rows_that_come_while_somebody_walks_move_nobodys_place(db: None, stranger: Caller) -> None:
    many_products(40, same_price=True)
    known = set(Product.objects.values_list("sku", flat=True))
    seen: list[str] = []

    for number, page in enumerate(pages(stranger, "/products?ordering=price&pageSize=7")):
        seen += [row["sku"] for row in page["results"]]
        make_product(f"CHEAP-{number}", price="1.00")
        make_product(f"SAME-{number}", price="5.00")

    assert [sku for sku in seen if sku in known] == sorted(known, key=lambda sku: int(sku.removeprefix("BULK-")))
    assert len(seen) == len(set(seen))


def test_rows_that_go_while_somebody_walks_take_nobody_along(db: None, stranger: Caller) -> None:
    many_products(30)
    first, *_ = pages(stranger, "/products?pageSize=10")
    Product.objects.filter(sku=first["results"][-1]["sku"]).update(status="archived")

    rest = [row["sku"] for page in pages(stranger, first["next"]) for row in page["results"]]

    assert rest == [f"BULK-{n}" for n in range(11, 31)]


def test_an_empty_list_has_no_neighbours(shopper: Caller, stranger: Caller) -> None:
    nothing: dict[str, Any] = {"results": [], "next": None, "previous": None}

    assert [caller.get(path).json() for caller, path in [(shopper, "/orders"), (stranger, "/products")]] == [
        nothing
    ] * 2


def test_the_neighbours_are_at_the_public_address_with_all_filters(db: None, stranger: Caller, settings: Any) -> None:
    settings.PUBLIC_URL = "https://shop.example"
    many_products(5)

    page = stranger.get("/products?pageSize=2&minPrice=1&search=bulk").json()

    query = parse_qs(urlsplit(page["next"]).query)
    assert page["next"].startswith("https://shop.example/api/v1/products?")
    assert {name: query[name] for name in ("pageSize", "minPrice", "search")} == {
        "pageSize": ["2"],
        "minPrice": ["1"],
        "search": ["bulk"],
    }


# --- cursors ---------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "path",
    [
        "/products?minPrice=2",
        "/products?minPrice=1&maxPrice=9",
        "/products",
        "/products?minPrice=1&ordering=price",
        "/products?minPrice=1&ordering=-price",
        "/orders?minPrice=1",
        "/me/addresses?minPrice=1",
    ],
)
def test_a_cursor_is_good_for_its_own_list_only(shopper: Caller, path: str) -> None:
    many_products(5)
    cursor = cursor_of(shopper.get("/products?minPrice=1&pageSize=2").json()["next"])

    assert_refused(shopper.get(f"{path}{'&' if '?' in path else '?'}cursor={cursor}"), 400, "cursor-mismatch")


def test_a_cursor_may_go_on_with_another_page_size(db: None, stranger: Caller) -> None:
    many_products(9)
    cursor = cursor_of(stranger.get("/products?pageSize=2").json()["next"])

    page = stranger.get(f"/products?pageSize=5&cursor={cursor}").json()

    assert [row["sku"] for row in page["results"]] == [f"BULK-{n}" for n in range(3, 8)]


def test_a_customers_cursor_shows_another_customer_nothing(shopper: Caller, other: Caller) -> None:
    many_orders(shopper.user, 9)
    cursor = cursor_of(shopper.get("/orders?pageSize=2").json()["next"])

    assert other.get(f"/orders?cursor={cursor}").json()["results"] == []


def packed(*value: Any) -> str:
    """A cursor as a stranger would make it."""
    return base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")


@pytest.mark.parametrize(
    "cursor",
    [
        "x",
        "%00",
        "%FF",
        "%F0%9F%98%80",
        "a" * 5000,
        "====",
        packed(),
        packed("binding", 0, "t", "2026-01-01T00:00:00+00:00", 1),
        packed("binding", 0, "s", "x", 10**30),
        packed([[[[]]]]),
        base64.urlsafe_b64encode(b"[" * 3000).decode(),
        Signer(key="another", salt="vibecode.pagination").sign_object(["b", 0, "s", "x", 1]),
        "null:x",
        ":",
    ],
)
def test_a_cursor_that_is_none_of_ours_is_refused(shopper: Caller, cursor: str) -> None:
    for path in ("/products", "/orders", "/me/addresses"):
        refusal = assert_refused(shopper.get(f"{path}?cursor={cursor}"), 400, "malformed")
        assert pointers(refusal) == ["/cursor"]


def test_a_cursor_that_was_tampered_with_is_refused(db: None, stranger: Caller) -> None:
    many_products(5)
    cursor = cursor_of(stranger.get("/products?pageSize=2").json()["next"])

    for forged in (cursor[:-1], cursor[1:], cursor.swapcase(), "A" + cursor, cursor + "A"):
        assert_refused(stranger.get(f"/products?cursor={forged}"), 400, "malformed")


@pytest.mark.parametrize("size", ["0", "-1", "201", "abc", "1.5", "", "%D9%A1", "1e2", "9" * 5000, "%00", " 5"])
def test_a_page_has_1_to_200_rows(shopper: Caller, size: str) -> None:
    for path in ("/products", "/orders", "/me/addresses"):
        assert pointers(assert_refused(shopper.get(f"{path}?pageSize={size}"), 400, "malformed")) == ["/pageSize"]


@pytest.mark.parametrize("size", [1, 200])
def test_both_ends_of_the_page_size_are_taken(db: None, stranger: Caller, size: int) -> None:
    many_products(201)

    assert len(stranger.get(f"/products?pageSize={size}").json()["results"]) == size


# --- what it costs ---------------------------------------------------------------------------------------------------
def statements(caller: Caller, path: str) -> int:
    """How many SELECTs a warm GET takes."""
    caller.get(path)
    with CaptureQueriesContext(connection) as asked:
        assert caller.get(path).status_code == 200
    return len(asked)


MOST_STATEMENTS = {  # of a warm GET: the caller, where there is one; the rows; images or lines
    ("stranger", "/products"): 2,
    ("shopper", "/products"): 3,
    ("staff", "/products"): 3,
    ("stranger", "/products?search=product"): 2,
    ("stranger", "/products?search=product&ordering=relevance"): 2,
    ("stranger", "/products?category=top&inStock=true&minPrice=1"): 2,
    ("shopper", "/orders"): 3,
    ("staff", "/orders"): 3,
    ("staff", "/orders?search=ord"): 4,  # whose name or e-mail it might be comes first
    ("shopper", "/me/addresses"): 2,
    ("stranger", "/categories"): 1,
}


def test_a_list_of_50_costs_the_statements_of_a_list_of_1(stranger: Caller, shopper: Caller, staff: Caller) -> None:
    callers = {"stranger": stranger, "shopper": shopper, "staff": staff}
    top = Category.objects.create(name="Top", slug="top")

    def grow(numbers: range) -> dict[tuple[str, str], int]:
        for n in numbers:
            make_product(f"GROW-{n}", on_hand=100, category="top")
            shopper.post("/orders", order_body((f"GROW-{n}", 1), ("GROW-0", 1)))
            Address.objects.create(user=shopper.user, name=f"N{n}", line1="L", city="C", postal_code="P", country="GB")
            Category.objects.create(name=f"C{n}", slug=f"c{n}", parent=top)
        return {(who, path): statements(callers[who], path) for who, path in MOST_STATEMENTS}

    assert grow(range(1)) == MOST_STATEMENTS
    assert grow(range(1, 50)) == MOST_STATEMENTS
    assert len(shopper.get("/orders").json()["results"]) == len(stranger.get("/products").json()["results"]) == 50


def test_a_timeline_costs_the_same_however_long_it_is(shopper: Caller, product: Make) -> None:
    product("LAMP")
    number = shopper.post("/orders", order_body(("LAMP", 1))).json()["orderId"]
    before = statements(shopper, f"/orders/{number}/timeline")
    order = Order.objects.get(number=number)
    for version in range(2, 52):
        order.timeline.create(type="Noted", version=version)

    assert statements(shopper, f"/orders/{number}/timeline") == before == 4
    assert len(shopper.get(f"/orders/{number}/timeline").json()["results"]) == 51


def rows_read(plan: dict[str, Any]) -> int:
    """The rows that the scans of a plan touched, those that they threw away included."""
    own = 0
    if "Scan" in plan["Node Type"]:
        thrown = plan.get("Rows Removed by Filter", 0) + plan.get("Rows Removed by Index Recheck", 0)
        own = round((plan["Actual Rows"] + thrown) * plan["Actual Loops"])
    return own + sum(rows_read(below) for below in plan.get("Plans", []))


def explain(caller: Caller, path: str) -> list[dict[str, Any]]:
    """The plan of each statement of a GET that pages."""
    with CaptureQueriesContext(connection) as asked:
        assert caller.get(path).status_code == 200
    found = []
    for query in [entry["sql"] for entry in asked if entry["sql"].endswith(" LIMIT 11")]:
        with connection.cursor() as cursor:
            cursor.execute("EXPLAIN (ANALYZE, FORMAT JSON) " + query)
            [document] = cursor.fetchone()
            found.append((document if isinstance(document, list) else json.loads(document))[0]["Plan"])
    assert found
    return found


@pytest.mark.parametrize("ordering", ["newest", "price", "-price", "name"])
def test_the_last_page_of_2000_products_reads_what_the_first_does(db: None, stranger: Caller, ordering: str) -> None:
    many_products(2000)
    path = f"/products?ordering={ordering}&pageSize=10"
    *_, before_last, last = pages(stranger, path.replace("=10", "=200"))
    at_the_end = f"/products?ordering={ordering}&pageSize=10&cursor={cursor_of(before_last['next'])}"
    assert len(last["results"]) == 200

    [first_plan], [last_plan] = explain(stranger, path), explain(stranger, at_the_end)

    for plan in (first_plan, last_plan):
        text = json.dumps(plan)
        assert '"Node Type": "Sort"' not in text
        assert "Index" in text
        assert rows_read(plan) < 60, text


@pytest.mark.parametrize(("who", "filters"), [("shopper", ""), ("staff", ""), ("staff", "&status=pending")])
def test_the_last_page_of_2000_orders_reads_what_the_first_does(
    request: pytest.FixtureRequest, shopper: Caller, other: Caller, who: str, filters: str
) -> None:
    many_orders(shopper.user, 2000)
    caller: Caller = request.getfixturevalue(who)
    caller.get("/me")
    path = f"/orders?pageSize=10{filters}"
    *_, before_last, _last = pages(caller, path.replace("=10", "=200"))
    at_the_end = f"{path}&cursor={cursor_of(before_last['next'])}"

    for address in (path, at_the_end):
        [plan] = explain(caller, address)
        assert '"Node Type": "Sort"' not in json.dumps(plan)
        assert rows_read(plan) < 60, json.dumps(plan)


def test_a_field_that_a_list_forgot_is_refused_not_fetched_row_by_row(shopper: Caller, product: Make) -> None:
    product("LAMP")
    shopper.post("/orders", order_body(("LAMP", 1)))
    request = APIRequestFactory().get("/")
    request.user, request.auth = shopper.user, None
    products, orders = ProductViewSet(), OrderViewSet()
    products.request = orders.request = request

    with pytest.raises(FieldFetchBlocked):
        _ = products.get_queryset().select_related(None)[0].stock.available
    with pytest.raises(FieldFetchBlocked):
        _ = products.get_queryset().defer("name")[0].name
    with pytest.raises(FieldFetchBlocked):
        _ = orders.get_queryset().select_related(None)[0].user
