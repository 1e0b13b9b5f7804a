"""POST, PATCH and DELETE /products: staff keep the catalogue."""

from collections.abc import Callable
from typing import Any

import pytest

from catalog.models import Category, Product, StockMovement
from tests.in_process import Caller, order_body
from tests.platform.answers import assert_refused, pointers
from vibecode.models import IdempotencyKey

type Make = Callable[..., Product]
LAMP: dict[str, Any] = {"sku": "LAMP", "name": "Lamp", "price": "2.50"}


def test_staff_put_a_product_on_the_list(staff: Caller, stranger: Caller) -> None:
    Category.objects.create(name="Lamps", slug="lamps")
    body = {
        **LAMP,
        "sku": "lamp",
        "description": "Bright.",
        "currency": "GBP",
        "category": "lamps",
        "status": "published",
    }

    made = staff.post("/products", body)

    assert made.status_code == 201, made.content
    assert made.headers["Location"].endswith("/api/v1/products/LAMP")
    assert made.json() == stranger.get("/products/LAMP").json()
    assert made.headers["ETag"] == stranger.get("/products/LAMP").headers["ETag"]
    assert (made.json()["available"], made.json()["version"], made.json()["category"]) == (0, 1, "lamps")


def test_a_new_product_is_a_draft_in_the_shops_currency(staff: Caller, stranger: Caller) -> None:
    made = staff.post("/products", {**LAMP, "price": 2.5}).json()

    assert (made["status"], made["currency"], made["price"], made["category"]) == ("draft", "GBP", "2.50", None)
    assert_refused(stranger.get("/products/LAMP"), 404, "not-found")


@pytest.mark.parametrize(
    ("method", "path"), [("POST", ""), ("PATCH", "/LAMP"), ("DELETE", "/LAMP"), ("POST", "/LAMP/stock")]
)
def test_customers_and_strangers_may_not_write(
    stranger: Caller, shopper: Caller, product: Make, method: str, path: str
) -> None:
    product("LAMP")
    before = list(Product.objects.values())
    movements = StockMovement.objects.count()

    assert_refused(stranger.call(method, f"/products{path}", LAMP, Idempotency_Key="k"), 401, "not-authenticated")
    assert_refused(shopper.call(method, f"/products{path}", LAMP, Idempotency_Key="k"), 403, "forbidden")
    assert list(Product.objects.values()) == before
    assert StockMovement.objects.count() == movements
    assert not IdempotencyKey.objects.exists()


@pytest.mark.parametrize(
    ("change", "where"),
    [
        ({"sku": ""}, "/sku"),
        ({"sku": "-LAMP"}, "/sku"),
        ({"sku": "LA MP"}, "/sku"),
        ({"sku": "LAMP/1"}, "/sku"),
        ({"sku": "L" * 41}, "/sku"),
        ({"sku": "ĿAMP"}, "/sku"),
        ({"sku": "\u212aELVIN"}, "/sku"),
        ({"sku": "\u017fLONG"}, "/sku"),
        ({"sku": "D\u0131"}, "/sku"),
        ({"sku": None}, "/sku"),
        ({"sku": ["LAMP"]}, "/sku"),
        ({"sku": True}, "/sku"),
        ({"name": ""}, "/name"),
        ({"name": "n" * 201}, "/name"),
        ({"name": 7}, "/name"),
        ({"description": "d" * 10_001}, "/description"),
        ({"price": "-0.01"}, "/price"),
        ({"price": "1.001"}, "/price"),
        ({"price": "10000000000.00"}, "/price"),
        ({"price": "free"}, "/price"),
        ({"price": "NaN"}, "/price"),
        ({"price": "1_0"}, "/price"),
        ({"price": "\u0661"}, "/price"),
        ({"price": None}, "/price"),
        ({"price": True}, "/price"),
        ({"currency": "pounds"}, "/currency"),
        ({"status": "sold"}, "/status"),
        ({"status": ["draft"]}, "/status"),
        ({"status": {}}, "/status"),
        ({"category": 5}, "/category"),
        ({"category": ""}, "/category"),
        ({"version": 5}, "/version"),
        ({"slug": "lamp"}, "/slug"),
        ({"available": 5}, "/available"),
    ],
)
def test_a_product_that_is_none_is_told_where(staff: Caller, change: dict[str, Any], where: str) -> None:
    assert set(pointers(assert_refused(staff.post("/products", LAMP | change), 400, "invalid"))) == {where}
    assert not Product.objects.exists()


@pytest.mark.parametrize("price", ["0", "0.00", "-0", "-0.00", 0, "9999999999.99"])
def test_every_price_from_nothing_to_ten_thousand_million_is_read_back_as_written(staff: Caller, price: Any) -> None:
    made = staff.post("/products", LAMP | {"price": price}).json()

    assert made["price"] == ("0.00" if "9" not in str(price) else price)
    assert staff.get("/products/LAMP").json()["price"] == made["price"]


@pytest.mark.parametrize(
    ("change", "code"), [({"currency": "EUR"}, "currency-mismatch"), ({"category": "nowhere"}, "unknown-category")]
)
def test_another_currency_or_an_unknown_category_cannot_be(
    staff: Caller, product: Make, change: dict[str, Any], code: str
) -> None:
    product("OTHER")

    assert_refused(staff.post("/products", LAMP | change, Idempotency_Key="k"), 422, code)
    assert_refused(staff.patch("/products/OTHER", change), 422, code)
    assert Product.objects.get().version == 1
    assert not IdempotencyKey.objects.exists()


def test_a_taken_sku_is_a_conflict(staff: Caller, product: Make) -> None:
    product("LAMP", name="The first")

    refusal = assert_refused(staff.post("/products", LAMP | {"sku": "lamp"}, Idempotency_Key="k"), 409, "sku-taken")

    assert refusal["sku"] == "LAMP"
    assert Product.objects.get().name == "The first"
    assert not IdempotencyKey.objects.exists()


def test_two_products_of_one_name_are_two(staff: Caller) -> None:
    made = [staff.post("/products", LAMP | {"sku": sku, "name": "N" * 200}) for sku in ("A" * 40, "A" * 39 + "B")]
    odd = [staff.post("/products", LAMP | {"sku": sku, "name": "ランプ"}) for sku in ("A.B", "AB", "A-B", "A_B")]

    assert [answer.status_code for answer in made + odd] == [201] * 6
    assert len({answer.json()["slug"] for answer in made + odd}) == 6


def test_the_same_request_twice_makes_one_product(staff: Caller) -> None:
    first, again = (staff.post("/products", LAMP, Idempotency_Key="k") for _ in range(2))

    assert (first.status_code, again.status_code) == (201, 201)
    assert (first.content, first.headers["ETag"]) == (again.content, again.headers["ETag"])
    assert again.headers["Idempotent-Replayed"] == "true"
    assert Product.objects.count() == 1


# --- changes ---------------------------------------------------------------------------------------------------------
def test_staff_change_what_they_name_and_nothing_else(staff: Caller, product: Make) -> None:
    Category.objects.create(name="Lamps", slug="lamps")
    product("LAMP", description="Bright.")
    before = staff.get("/products/LAMP").json()

    changed = staff.patch("/products/lamp", {"price": "9.99", "category": "lamps"})

    expected = {**before, "price": "9.99", "category": "lamps", "version": 2, "updatedAt": changed.json()["updatedAt"]}
    assert (changed.status_code, changed.json()) == (200, expected)
    assert changed.json()["updatedAt"] >= before["updatedAt"]
    assert changed.json() == staff.get("/products/LAMP").json()
    assert staff.patch("/products/LAMP", {"category": None}).json()["category"] is None


def test_a_sku_cannot_be_changed(staff: Caller, product: Make) -> None:
    product("LAMP")

    assert pointers(assert_refused(staff.patch("/products/LAMP", {"sku": "MUG"}), 400, "invalid")) == ["/sku"]


def test_a_change_happens_only_to_the_version_that_was_read(staff: Caller, product: Make) -> None:
    product("LAMP")
    as_sent = staff.get("/products/LAMP").headers["ETag"]

    first = staff.patch("/products/LAMP", {"name": "One"}, If_Match=as_sent)
    late = staff.patch("/products/LAMP", {"name": "Two"}, If_Match=as_sent)

    assert first.status_code == 200
    assert_refused(late, 412, "stale")
    assert staff.get("/products/LAMP").json()["name"] == "One"
    assert staff.patch("/products/LAMP", {"name": "Three"}, If_Match='"2"').status_code == 200
    weak = f"W/{staff.get('/products/LAMP').headers['ETag']}"
    assert staff.patch("/products/LAMP", {"name": "Four"}, If_Match=weak).status_code == 200
    assert staff.patch("/products/LAMP", {"name": "Five"}, If_Match="*").status_code == 200
    assert_refused(staff.patch("/products/LAMP", {"name": "Six"}, If_Match='"1"'), 412, "stale")
    assert staff.get("/products/LAMP").json()["version"] == 5


def test_a_change_of_what_is_not_there_is_404(staff: Caller) -> None:
    assert_refused(staff.patch("/products/NONE", {"name": "x"}), 404, "not-found")
    assert_refused(staff.delete("/products/NONE"), 404, "not-found")
    assert_refused(
        staff.post("/products/NONE/stock", {"delta": 1, "reason": "x"}, Idempotency_Key="k"), 404, "not-found"
    )


def test_archiving_takes_it_off_the_list_and_leaves_orders_as_they_were(
    staff: Caller, shopper: Caller, stranger: Caller, product: Make
) -> None:
    product("LAMP", name="Old name", price="2.50")
    number = shopper.post("/orders", order_body(("LAMP", 1))).json()["orderId"]
    staff.patch("/products/LAMP", {"name": "New name", "price": "9.00"})

    assert staff.delete("/products/LAMP").status_code == 204
    assert staff.delete("/products/LAMP").status_code == 204
    assert_refused(stranger.get("/products/LAMP"), 404, "not-found")
    assert (staff.get("/products/LAMP").json()["status"], Product.objects.count()) == ("archived", 1)
    assert_refused(shopper.post("/orders", order_body(("LAMP", 1))), 422, "unknown-sku")
    [line] = shopper.get(f"/orders/{number}").json()["items"]
    assert (line["name"], line["unitPrice"]) == ("Old name", "2.50")
