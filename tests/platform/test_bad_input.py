"""Whatever is sent: a problem that says what is wrong, and nothing written."""

import itertools
import json
import socket
import time
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from catalog.models import Product
from tests.in_process import Caller, order_body, shelf
from tests.over_http import Shop
from tests.platform.answers import assert_refused, nothing_was_written, pointers

type Make = Callable[..., Product]

DEEP = 100_000


def one(quantity: str) -> bytes:
    """An order of one SKU with a quantity written as given."""
    return b'{"items": [{"sku": "LAMP", "quantity": %s}]}' % quantity.encode()


# --- what is no JSON object ------------------------------------------------------------------------------------------
NO_OBJECT = {
    "a list": b"[]",
    "a list of orders": b'[{"items": []}]',
    "a string": b'"order"',
    "a number": b"1",
    "null": b"null",
    "true": b"true",
    "white space": b"  \n",
    "cut off": b'{"items": [',
    "two documents": b"{} {}",
    "a trailing comma": b'{"items": [],}',
    "single quotes": b"{'items': []}",
    "a comment": b"{/* none */}",
    "a byte order mark": b"\xef\xbb\xbf{}",
    "UTF-16": '{"items": []}'.encode("utf-16"),
    "invalid UTF-8": b'{"items": "\xff"}',
    "an overlong encoding": b'{"note": "\xc0\xaf"}',
    "a raw control character": b'{"note": "\x01"}',
    "nested 30 deep": b'{"note": ' + b"[" * 30 + b"]" * 30 + b"}",
    "nested 30 deep in objects": b'{"a":' * 30 + b"1" + b"}" * 30,
    "nested 100,000 deep": b'{"note": ' + b"[" * DEEP + b"]" * DEEP + b"}",
    "nested 100,000 deep in objects": b'{"a":' * DEEP + b"1" + b"}" * DEEP,
    "never closed": b"[" * DEEP,
    "NaN": one("NaN"),
    "Infinity": one("Infinity"),
    "-Infinity": one("-Infinity"),
    "a name twice": b'{"items": [], "items": []}',
    "a name twice below": b'{"items": [{"sku": "LAMP", "quantity": 1, "quantity": 2}]}',
    "a name twice in two spellings": b'{"note": "a", "\\u006eote": "b"}',
    "10^400": one("1" + "0" * 400),
    "1e999999": one("1e999999"),
    "1e-999999": one("1e-999999"),
    "1e99999999999999999999": one("1e99999999999999999999"),
    "0e99999": one("0e99999"),
    "5,000 digits": one("9" * 5_000),
    "5,000 decimals": one("1." + "9" * 5_000),
    "a leading zero": one("01"),
    "a leading plus": one("+1"),
    "hexadecimal": one("0x10"),
    "NUL in a string": b'{"items": [{"sku": "LA\\u0000MP", "quantity": 1}]}',
    "NUL in a long string": '{"note": "é\\u0000"}'.encode(),
    "NUL in a name": b'{"no\\u0000te": 1}',
    "half a surrogate pair": b'{"note": "\\ud800"}',
    "the other half": b'{"note": "x\\udfff"}',
    "half a pair in a name": b'{"\\ud800": 1}',
    "a surrogate in UTF-8": b'{"note": "\xed\xa0\x80"}',
}


@pytest.mark.parametrize("body", NO_OBJECT.values(), ids=NO_OBJECT.keys())
def test_what_is_no_sound_json_object_is_refused(shopper: Caller, product: Make, body: bytes) -> None:
    lamp = product("LAMP")

    answer = shopper.post("/orders", body, Idempotency_Key="k")

    refusal = assert_refused(answer, 400, "malformed")
    assert refusal["success"] is False
    assert refusal["error"] == refusal["title"]
    assert shelf(lamp) == (10, 0)
    assert nothing_was_written()


def test_an_empty_body_is_an_order_without_items(shopper: Caller) -> None:
    refusal = assert_refused(shopper.post("/orders", b""), 400, "invalid")

    assert pointers(refusal) == ["/items"]
    assert nothing_was_written()


# --- an object of the wrong shape ------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "quantity", ["0", "-1", "1.5", '"2"', "true", "null", "1000000000000", "100001", "[]", "{}", "1e30", "-0.0"]
)
def test_a_quantity_is_a_whole_number_from_1_to_100000(shopper: Caller, product: Make, quantity: str) -> None:
    lamp = product("LAMP", on_hand=200_000)

    refusal = assert_refused(shopper.post("/orders", one(quantity)), 400, "invalid")

    assert pointers(refusal) == ["/items/0/quantity"]
    assert shelf(lamp) == (200_000, 0)
    assert nothing_was_written()


@pytest.mark.parametrize(
    ("written", "meant"), [("2", 2), ("2.0", 2), ("2e0", 2), ("1e5", 100_000), ("100000", 100_000)]
)
def test_a_whole_number_may_be_written_in_any_way(shopper: Caller, product: Make, written: str, meant: int) -> None:
    lamp = product("LAMP", on_hand=200_000)

    assert shopper.post("/orders", one(written)).status_code == 201
    assert shelf(lamp) == (200_000, meant)


WRONG_SHAPES: dict[str, tuple[dict[str, Any], list[str]]] = {
    "no items": ({}, ["/items"]),
    "empty items": ({"items": []}, ["/items"]),
    "items are an object": ({"items": {}}, ["/items"]),
    "items are null": ({"items": None}, ["/items"]),
    "items are a string": ({"items": "LAMP"}, ["/items"]),
    "an item is a number": ({"items": [1]}, ["/items/0"]),
    "an item is null": ({"items": [None]}, ["/items/0"]),
    "an item is a list": ({"items": [["LAMP", 1]]}, ["/items/0"]),
    "no SKU": ({"items": [{"quantity": 1}]}, ["/items/0/sku"]),
    "no quantity": ({"items": [{"sku": "LAMP"}]}, ["/items/0/quantity"]),
    "a SKU that is a number": (order_body((1, 1)), ["/items/0/sku"]),  # type: ignore[arg-type]  # the wrong type is the test
    "a SKU that is empty": (order_body(("", 1)), ["/items/0/sku"]),
    "a SKU of 1,000 letters": (order_body(("A" * 1000, 1)), ["/items/0/sku"]),
    "the second item": (order_body(("LAMP", 1), ("LAMP", 0)), ["/items/1/quantity"]),
    "an unknown field": (order_body(("LAMP", 1), coupon="X"), ["/coupon"]),
    "an unknown field in an item": ({"items": [{"sku": "LAMP", "quantity": 1, "price": 0}]}, ["/items/0/price"]),
    "an unknown field with / and ~": (order_body(("LAMP", 1), **{"a/b~c": 1}), ["/a~1b~0c"]),
    "two faults at once": (order_body(("LAMP", 0), coupon="X"), ["/items/0/quantity", "/coupon"]),
    "a total of words": (order_body(("LAMP", 1), total="much"), ["/total"]),
    "a total below zero": (order_body(("LAMP", 1), total=-1), ["/total"]),
    "a total of tenths of a cent": (order_body(("LAMP", 1), total="2.501"), ["/total"]),
    "a total that is no number": (order_body(("LAMP", 1), total="NaN"), ["/total"]),
    "a total without end": (order_body(("LAMP", 1), total="Infinity"), ["/total"]),
    "a total of 10^999999": (order_body(("LAMP", 1), total="1e999999"), ["/total"]),
    "a total in a list": (order_body(("LAMP", 1), total=[5]), ["/total"]),
    "a total that is true": (order_body(("LAMP", 1), total=True), ["/total"]),
    "a currency in lower case": (order_body(("LAMP", 1), currency="gbp"), ["/currency"]),
    "a userId that is a number": (order_body(("LAMP", 1), userId=1), ["/userId"]),
    "a note of 1,001 letters": (order_body(("LAMP", 1), note="n" * 1001), ["/note"]),
    "a note that is a list": (order_body(("LAMP", 1), note=["n"]), ["/note"]),
    "a payment method of 51 letters": (order_body(("LAMP", 1), paymentMethod="p" * 51), ["/paymentMethod"]),
    "an address of words": (order_body(("LAMP", 1), shippingAddress="here"), ["/shippingAddress"]),
    "an unknown field in the address": (
        order_body(
            ("LAMP", 1),
            shippingAddress={
                "name": "N",
                "line1": "L",
                "city": "C",
                "postalCode": "P",
                "country": "GB",
                "planet": "Earth",
            },
        ),
        ["/shippingAddress/planet"],
    ),
}


@pytest.mark.parametrize(("body", "where"), WRONG_SHAPES.values(), ids=WRONG_SHAPES.keys())
def test_a_body_of_the_wrong_shape_is_told_where(
    shopper: Caller, product: Make, body: dict[str, Any], where: list[str]
) -> None:
    lamp = product("LAMP")

    refusal = assert_refused(shopper.post("/orders", body, Idempotency_Key="k"), 400, "invalid")

    assert pointers(refusal) == where
    assert shelf(lamp) == (10, 0)
    assert nothing_was_written()


def test_an_unknown_field_is_named(shopper: Caller, product: Make) -> None:
    product("LAMP")

    refusal = assert_refused(shopper.post("/orders", order_body(("LAMP", 1), coupon="X")), 400, "invalid")

    [fault] = refusal["errors"]
    assert (fault["pointer"], fault["code"]) == ("/coupon", "unknown-field")
    assert "coupon" in fault["detail"]


def test_the_quantities_of_one_sku_add_up_to_100000_at_most(shopper: Caller, product: Make) -> None:
    lamp = product("LAMP", on_hand=200_000)
    most = order_body(("LAMP", 60_000), ("lamp", 40_000))
    more = order_body(("LAMP", 60_000), ("lamp", 40_001))

    refusal = assert_refused(shopper.post("/orders", more), 400, "invalid")

    assert pointers(refusal) == ["/items"]
    assert nothing_was_written()
    assert shopper.post("/orders", most).status_code == 201
    assert shelf(lamp) == (200_000, 100_000)


def test_a_basket_has_1000_different_skus_at_most(shopper: Caller) -> None:
    skus = [(f"SKU-{n}", 1) for n in range(1001)]

    assert pointers(assert_refused(shopper.post("/orders", order_body(*skus)), 400, "invalid")) == ["/items"]
    assert_refused(shopper.post("/orders", order_body(*skus[:1000], *skus[:500])), 422, "unknown-sku")
    assert nothing_was_written()


@pytest.mark.parametrize(
    "body",
    [
        "{" + ",".join(f'"{n}":1' for n in range(90_000)) + "}",
        "{" + ",".join(f'"{n}":1' for n in range(90_000)) + ',"89999":1}',
        '{"items":[' + ",".join("1" for _ in range(500_000)) + "]}",
    ],
    ids=["90,000 unknown fields", "90,000 names, the last one twice", "500,000 items that are none"],
)
def test_a_body_full_of_faults_costs_us_little(shopper: Caller, body: str) -> None:
    shopper.get("/me")
    started = time.process_time()
    answer = shopper.post("/orders", body)

    assert_refused(answer, 400, answer.json()["code"])
    assert len(answer.content) < 100_000
    assert time.process_time() - started < 5
    assert nothing_was_written()


# --- size and kind of the body ---------------------------------------------------------------------------------------
def padded(size: int) -> bytes:
    """An order of one lamp in so many bytes."""
    body = json.dumps(order_body(("LAMP", 1))).encode()
    return body + b" " * (size - len(body))


def test_a_body_of_one_megabyte_is_taken_and_one_byte_more_is_not(shopper: Caller, product: Make) -> None:
    lamp = product("LAMP")

    assert_refused(shopper.post("/orders", padded(1024 * 1024 + 1)), 413, "too-large")
    assert nothing_was_written()
    assert shopper.post("/orders", padded(1024 * 1024)).status_code == 201
    assert shelf(lamp) == (10, 1)


@pytest.mark.parametrize("chunked", [False, True], ids=["with Content-Length", "without Content-Length"])
def test_a_body_over_one_megabyte_is_refused_over_http(shop: Shop, chunked: bool) -> None:
    product, buyer = shop.product(on_hand=5), shop.buyer()
    order = json.dumps(order_body((product.sku, 1))).encode()
    body = order + b" " * 2_000_000
    pieces = (body[start : start + 65_536] for start in range(0, len(body), 65_536))

    answer = buyer.http.post(
        "/orders", content=pieces if chunked else body, headers={"Content-Type": "application/json"}
    )

    assert_refused(answer, 413, "too-large")
    assert shelf(product) == (5, 0)


def test_a_small_body_may_come_in_pieces(shop: Shop) -> None:
    product, buyer = shop.product(on_hand=5), shop.buyer()
    body = json.dumps(order_body((product.sku, 2))).encode()

    answer = buyer.http.post(
        "/orders", content=iter([body[:9], body[9:]]), headers={"Content-Type": "application/json"}
    )

    assert answer.status_code == 201, answer.text
    assert shelf(product) == (5, 2)


def test_a_body_shorter_than_it_says_gets_no_order(shop: Shop) -> None:
    product, buyer = shop.product(on_hand=5), shop.buyer()
    body = json.dumps(order_body((product.sku, 2))).encode()
    token = buyer.tokens["AccessToken"]
    request = (
        f"POST /api/v1/orders HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {token}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body) + 50}\r\n\r\n"
    )

    with socket.create_connection(("127.0.0.1", shop.server.port), timeout=10) as line:
        line.sendall(request.encode() + body)
        line.shutdown(socket.SHUT_WR)
        answer = b"".join(iter(lambda: line.recv(65_536), b""))

    assert b" 500 " not in answer.partition(b"\r\n")[0]
    assert b" 201 " not in answer.partition(b"\r\n")[0]
    assert shelf(product) == (5, 0)


@pytest.mark.parametrize(
    "kind",
    [
        "text/plain",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
        "application/xml",
        "json",
        "",
    ],
)
def test_a_body_of_another_content_type_is_refused(shopper: Caller, product: Make, kind: str) -> None:
    lamp = product("LAMP")

    refusal = assert_refused(
        shopper.post("/orders", order_body(("LAMP", 1)), Content_Type=kind), 415, "unsupported-media-type"
    )

    assert refusal["success"] is False
    assert shelf(lamp) == (10, 0)
    assert nothing_was_written()


@pytest.mark.parametrize("kind", ["application/json; charset=utf-8", "APPLICATION/JSON", "application/json;charset=x"])
def test_json_may_be_announced_in_any_spelling(shopper: Caller, product: Make, kind: str) -> None:
    product("LAMP")

    assert shopper.post("/orders", order_body(("LAMP", 1)), Content_Type=kind).status_code == 201


@pytest.mark.parametrize("accept", ["text/html", "application/xml", "*/*", "image/png;q=0.5", "nonsense"])
def test_the_answer_is_json_whatever_accept_asks_for(stranger: Caller, accept: str) -> None:
    assert stranger.get("/config", Accept=accept).headers["Content-Type"] == "application/json"
    assert_refused(stranger.get("/orders", Accept=accept), 401, "not-authenticated")


# --- addresses, methods, headers -------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "path",
    [
        "/api/nothing",
        "/api/v1/nothing",
        "/api/v1/products/NONE",
        "/api/v1/products/%00",
        "/api/v1/products/LA%00MP",
        "/api/v1/products/%ED%A0%80",
        "/api/v1/products/%FF%FE",
        "/api/v1/products/" + "A" * 3000,
        "/api/v1/products/../me",
        "/api/v1/orders/1",
        "/api/v1/orders/ORD-00000000000000000000000000",
        "/api/v1/orders/ORD-%00",
        "/api/v1/orders/ord-00000000000000000000000000",
        "/api/v1/me/addresses/0",
        "/api/v1/me/addresses/-1",
        "/api/v1/me/addresses/1",
        "/api/v1/me/addresses/999999999999999999",
        "/api/v1/me/addresses/99999999999999999999999",
        "/api/v1/me/addresses/%D9%A1",
    ],
)
def test_an_address_where_nothing_is_gets_a_problem(shopper: Caller, path: str) -> None:
    assert_refused(shopper.get(path), 404, "not-found")


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("DELETE", "/orders", {"GET", "POST", "HEAD", "OPTIONS"}),
        ("PUT", "/orders", {"GET", "POST", "HEAD", "OPTIONS"}),
        ("TRACE", "/orders", {"GET", "POST", "HEAD", "OPTIONS"}),
        ("BREW", "/orders", {"GET", "POST", "HEAD", "OPTIONS"}),
        ("POST", "/me", {"GET", "PATCH", "HEAD", "OPTIONS"}),
        ("GET", "/orders/ORD-00000000000000000000000000/cancel", {"POST", "OPTIONS"}),
        ("POST", "/config", {"GET", "HEAD", "OPTIONS"}),
        ("PUT", "/me/addresses/1", {"GET", "PATCH", "DELETE", "HEAD", "OPTIONS"}),
    ],
)
def test_an_unknown_method_is_told_which_ones_there_are(
    shopper: Caller, method: str, path: str, allowed: set[str]
) -> None:
    answer = shopper.call(method, path, {})

    assert_refused(answer, 405, "method-not-allowed")
    assert set(answer.headers["Allow"].split(", ")) == allowed


EVERYWHERE = [
    "/config", "/products", "/products/LAMP", "/products/LAMP/stock", "/categories", "/orders",
    "/orders/ORD-00000000000000000000000000", "/orders/ORD-00000000000000000000000000/timeline",
    "/orders/ORD-00000000000000000000000000/cancel", "/me", "/me/addresses", "/me/addresses/1",
    "/api/docs", "/api/schema", "/api/problems",
]  # fmt: skip


@pytest.mark.parametrize("path", EVERYWHERE)
def test_no_method_with_any_body_breaks_any_endpoint(
    stranger: Caller, shopper: Caller, staff: Caller, path: str
) -> None:
    callers = (stranger, shopper, staff)
    methods = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
    bodies = (b"", b"[]", b"{}", b'{"x": 1}', b"{")

    for caller, method, body in itertools.product(callers, methods, bodies):
        answer = caller.call(method, path, body, Idempotency_Key="k")
        assert answer.status_code < 500, (method, body, answer.content)
        if answer.status_code >= 400 and method != "HEAD":
            assert_refused(answer, answer.status_code, answer.json()["code"])


@pytest.mark.parametrize(
    "query",
    [
        "search=%00",
        "search=a%00b",
        "category=%00",
        "category=" + "a" * 101,
        "search=" + "a" * 101,
        "minPrice=much",
        "minPrice=NaN",
        "minPrice=Infinity",
        "minPrice=1e400",
        "minPrice=-1e999999",
        "minPrice=1e-99999",
        "maxPrice=1e999999",
        "maxPrice=" + "9" * 200,
        "inStock=maybe",
        "ordering=",
        "ordering=best",
        "ordering=relevance",
        "ordering=relevance&search=%20",
        "ordering=-created_at",
    ],
)
def test_a_query_that_makes_no_sense_never_breaks_the_list_of_products(
    stranger: Caller, product: Make, query: str
) -> None:
    product("LAMP")

    answer = stranger.get(f"/products?{query}")

    if query == "ordering=":
        assert answer.status_code == 200
    else:
        assert_refused(answer, 400, answer.json()["code"])


@pytest.mark.parametrize(
    "query", ["search=%ED%A0%80", "search=%FF", "search=%25%5F", "search='%3B--", "search=%22a", "&&=&%00=1"]
)
def test_odd_words_find_nothing_and_break_nothing(stranger: Caller, product: Make, query: str) -> None:
    product("LAMP", name="Desk lamp")

    assert stranger.get(f"/products?{query}").status_code == 200


@pytest.mark.parametrize(
    "query",
    [
        "status=lost",
        "status=%00",
        "createdAfter=yesterday",
        "createdAfter=%00",
        "createdAfter=0001-01-01T00:00:00%2B14:00",
        "createdBefore=9999-12-31T23:59:59-14:00",
        "createdBefore=99999-01-01",
        "createdAfter=2026-13-01T00:00:00Z",
        "user=%00",
        "search=%00",
    ],
)
def test_a_query_that_makes_no_sense_never_breaks_the_list_of_orders(staff: Caller, query: str) -> None:
    answer = staff.get(f"/orders?{query}")

    if answer.status_code != 200:
        assert_refused(answer, 400, "invalid")
    assert answer.status_code == 400 or "0001-01" in query or "9999-12" in query


@pytest.mark.parametrize("key", ["k" * 256, "k" * 10_000, "k\x01", "k\x7f", "k\té", "clé", "\xa0k\xa0\xa0é", "a\nb"])
def test_a_key_that_is_too_long_or_not_printable_is_refused(shopper: Caller, product: Make, key: str) -> None:
    lamp = product("LAMP")

    assert_refused(
        shopper.post("/orders", order_body(("LAMP", 1)), Idempotency_Key=key), 400, "idempotency-key-invalid"
    )
    assert shelf(lamp) == (10, 0)
    assert nothing_was_written()


def test_a_key_of_255_characters_is_taken(shopper: Caller, product: Make) -> None:
    product("LAMP")

    answers = [shopper.post("/orders", order_body(("LAMP", 1)), Idempotency_Key="~" * 255) for _ in range(2)]

    assert [answer.headers.get("Idempotent-Replayed") for answer in answers] == [None, "true"]


@pytest.mark.parametrize("given", ["a\nSet-Cookie: x=1", "a\r\nb", "x" * 129, "", "é", "a b", "日本", "<script>"])
def test_a_request_id_that_is_unsound_is_replaced(stranger: Caller, given: str) -> None:
    answered = stranger.get("/config", X_Request_Id=given).headers["X-Request-Id"]

    assert answered != given
    assert len(answered) == 32
    assert answered.isalnum()


def test_a_sound_request_id_comes_back(stranger: Caller) -> None:
    answer = stranger.get("/orders", X_Request_Id="ab-12.c:D_4")

    assert answer.headers["X-Request-Id"] == "ab-12.c:D_4"
    assert assert_refused(answer, 401, "not-authenticated")["requestId"] == "ab-12.c:D_4"


@pytest.mark.parametrize("tag", ["garbage", '"', '""', '"x-1"', "1" * 400, "é", '"1", "2"', "W/", '"-1"', '"١"'])
def test_an_if_match_that_is_no_version_of_ours_changes_nothing(staff: Caller, product: Make, tag: str) -> None:
    lamp = product("LAMP")

    assert_refused(staff.patch("/products/LAMP", {"name": "New"}, If_Match=tag), 412, "stale")
    lamp.refresh_from_db()
    assert (lamp.name, lamp.version) == ("Product LAMP", 1)


def test_another_host_gets_a_problem(stranger: Caller) -> None:
    assert_refused(stranger.get("/config", Host="evil.example"), 400, "malformed")
    assert_refused(stranger.get("/config", Host="a b:<>"), 400, "malformed")


def test_what_is_no_http_is_refused_by_the_server(shop: Shop) -> None:
    url = f"{shop.server.url}/api/v1/config"
    too_long = httpx.get(url, params={"q": "a" * 10_000}, trust_env=False)
    too_big = httpx.get(url, headers={"Authorization": "Bearer " + "a" * 20_000}, trust_env=False)

    assert {too_long.status_code, too_big.status_code} <= {400, 401, 414, 431, 200}
    for answer in (too_long, too_big):
        assert "Traceback" not in answer.text
