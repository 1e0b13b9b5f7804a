"""GET /products: what everybody sees of the catalogue."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from django.core.files.base import ContentFile

from catalog.models import Category, Product, ProductImage
from tests.in_process import Caller, order_body
from tests.platform.answers import assert_refused, pointers

type Make = Callable[..., Product]
PNG = bytes.fromhex(
    "89504e470d0a1a0a0000000d4948445200000001000000010802000000907753de"
    "0000000c49444154789c63f8cfc0000003010100c9fe92ef0000000049454e44ae426082"
)


def skus(caller: Caller, query: str = "") -> list[str]:
    """The SKUs of a list, in its order."""
    answer = caller.get(f"/products{query}")
    assert answer.status_code == 200, answer.content
    return [row["sku"] for row in answer.json()["results"]]


def test_a_product_is_read_in_either_case_of_its_sku(stranger: Caller, product: Make) -> None:
    Category.objects.create(name="Lamps", slug="lamps")
    product("LAMP-1", price="12.50", on_hand=7, name="Desk Lamp", description="Bright.", category="lamps")

    answer = stranger.get("/products/lamp-1")

    body = answer.json()
    assert answer.status_code == 200
    assert datetime.fromisoformat(body.pop("createdAt")).tzinfo == UTC
    assert body.pop("updatedAt").endswith("Z")
    assert body == {
        "sku": "LAMP-1",
        "name": "Desk Lamp",
        "slug": "desk-lamp-lamp-1",
        "description": "Bright.",
        "price": "12.50",
        "currency": "GBP",
        "category": "lamps",
        "status": "published",
        "available": 7,
        "images": [],
        "version": 1,
    }
    assert stranger.get("/products").json()["results"][0]["sku"] == "LAMP-1"


def test_available_is_what_nobody_holds(stranger: Caller, shopper: Caller, product: Make) -> None:
    product("LAMP", on_hand=7)
    shopper.post("/orders", order_body(("LAMP", 3)))

    assert stranger.get("/products/LAMP").json()["available"] == 4


@pytest.mark.parametrize("status", ["draft", "archived"])
def test_what_is_not_published_is_for_staff_alone(
    stranger: Caller, shopper: Caller, staff: Caller, product: Make, status: str
) -> None:
    product("HIDDEN", status=status)

    for caller in (stranger, shopper):
        assert_refused(caller.get("/products/HIDDEN"), 404, "not-found")
        assert skus(caller) == []
        assert skus(caller, f"?status={status}") == []
        assert skus(caller, "?search=hidden") == []
    assert staff.get("/products/HIDDEN").json()["status"] == status
    assert skus(staff, f"?status={status}") == ["HIDDEN"]
    assert skus(staff, "?status=published") == []


# --- filters ---------------------------------------------------------------------------------------------------------
def test_a_category_brings_what_is_below_it(stranger: Caller, product: Make) -> None:
    home = Category.objects.create(name="Home", slug="home")
    lamps = Category.objects.create(name="Lamps", slug="lamps", parent=home)
    Category.objects.create(name="Desk", slug="desk", parent=lamps)
    Category.objects.create(name="Toys", slug="toys")
    product("A", category="home"), product("B", category="desk"), product("C", category="toys"), product("D")

    assert skus(stranger, "?category=home&ordering=name") == ["A", "B"]
    assert skus(stranger, "?category=lamps") == ["B"]
    assert skus(stranger, "?category=toys") == ["C"]
    assert skus(stranger, "?category=nowhere") == []


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("minPrice=2", ["B", "C"]),
        ("maxPrice=2", ["A", "B"]),
        ("minPrice=2&maxPrice=2.00", ["B"]),
        ("minPrice=2.01", ["C"]),
        ("minPrice=-5", ["A", "B", "C"]),
        ("inStock=true", ["A", "B"]),
        ("inStock=false", ["C"]),
        ("inStock=", ["A", "B", "C"]),
        ("inStock=true&minPrice=2", ["B"]),
    ],
)
def test_price_and_stock_narrow_the_list(stranger: Caller, product: Make, query: str, found: list[str]) -> None:
    product("A", price="1.00"), product("B", price="2.00"), product("C", price="3.00", on_hand=0)

    assert skus(stranger, f"?ordering=name&{query}") == found


def test_what_is_all_reserved_is_not_in_stock(stranger: Caller, shopper: Caller, product: Make) -> None:
    product("LAMP", on_hand=2)
    shopper.post("/orders", order_body(("LAMP", 2)))

    assert (skus(stranger, "?inStock=true"), skus(stranger, "?inStock=false")) == ([], ["LAMP"])


@pytest.mark.parametrize(
    ("words", "found"),
    [
        ("lantern", ["GLASS", "WOOD"]),
        ("lanterns", ["GLASS", "WOOD"]),
        ("LANTERN glass", ["GLASS"]),
        ("glass -lantern", ["CUP"]),
        ("lanter", ["GLASS", "WOOD"]),
        ("ass lan", ["GLASS"]),
        ("candle", ["WOOD"]),
        ("wood", ["WOOD"]),
        ("gla", ["CUP", "GLASS"]),
        ("cu", ["CUP"]),
        ("100%", []),
        ("_", []),
        ("nothing", []),
    ],
)
def test_search_finds_words_parts_of_a_name_and_skus(
    stranger: Caller, product: Make, words: str, found: list[str]
) -> None:
    product("GLASS", name="Glass Lantern")
    product("WOOD", name="Wooden Lantern", description="With a candle.")
    product("CUP", name="Cup of glass")
    product("OTHER", name="Something else")

    query = words.replace(" ", "%20").replace("100%", "100%25")

    assert sorted(skus(stranger, f"?search={query}")) == found


def test_relevance_puts_the_best_match_first(stranger: Caller, product: Make) -> None:
    product("A", name="Garden set with table, chairs and one small lantern for the evening")
    product("B", name="Lantern")
    product("C", name="Candle", description="Fits into every lantern.")

    assert skus(stranger, "?search=lantern&ordering=relevance") == ["B", "A", "C"]
    assert skus(stranger, "?search=lantern") == ["C", "B", "A"]


@pytest.mark.parametrize(
    ("ordering", "expected"),
    [
        ("", ["C", "A", "B"]),
        ("?ordering=newest", ["C", "A", "B"]),
        ("?ordering=price", ["B", "A", "C"]),
        ("?ordering=-price", ["C", "A", "B"]),
        ("?ordering=name", ["A", "B", "C"]),
    ],
)
def test_the_list_is_newest_first_unless_asked_otherwise(
    stranger: Caller, product: Make, ordering: str, expected: list[str]
) -> None:
    product("B", price="1"), product("A", price="2"), product("C", price="3")

    assert skus(stranger, ordering) == expected


def test_relevance_without_a_search_is_told_so(stranger: Caller) -> None:
    assert pointers(assert_refused(stranger.get("/products?ordering=relevance"), 400, "malformed")) == ["/ordering"]


# --- caching ---------------------------------------------------------------------------------------------------------
def changes() -> dict[str, Callable[[Caller, Caller], Any]]:
    """What makes yesterday's copy of a product a stale one."""

    def picture(_staff: Caller, _shopper: Caller) -> None:
        image = ProductImage(product=Product.objects.get(sku="LAMP"), alt="A lamp")
        image.file.save("lamp.png", ContentFile(PNG))

    def move(_staff: Caller, _shopper: Caller) -> None:
        Category.objects.filter(slug="old").update(slug="new")

    return {
        "price": lambda staff, _: staff.patch("/products/LAMP", {"price": "9.99"}),
        "name": lambda staff, _: staff.patch("/products/LAMP", {"name": "New"}),
        "delivery": lambda staff, _: staff.post(
            "/products/LAMP/stock", {"delta": 5, "reason": "delivery"}, Idempotency_Key="d"
        ),
        "order": lambda _, shopper: shopper.post("/orders", order_body(("LAMP", 1))),
        "picture": picture,
        "category": move,
    }


@pytest.mark.parametrize("path", ["/products", "/products/LAMP", "/products?search=lamp"])
@pytest.mark.parametrize("what", changes())
def test_the_tag_is_good_until_something_changes(
    stranger: Caller, staff: Caller, shopper: Caller, product: Make, path: str, what: str
) -> None:
    Category.objects.create(name="Old", slug="old")
    product("LAMP", name="Lamp", category="old")
    tag = stranger.get(path).headers["ETag"]

    again = stranger.get(path, If_None_Match=tag)
    changes()[what](staff, shopper)
    after = stranger.get(path, If_None_Match=tag)

    assert (again.status_code, again.content, again.headers["ETag"]) == (304, b"", tag)
    assert after.status_code == 200
    assert after.headers["ETag"] != tag


@pytest.mark.parametrize("form", ["W/{}", '"x", {}', "{},", "*"])
def test_a_tag_may_come_in_every_form_of_the_rfc(stranger: Caller, product: Make, form: str) -> None:
    product("LAMP")
    tag = stranger.get("/products/LAMP").headers["ETag"]

    assert stranger.get("/products/LAMP", If_None_Match=form.format(tag)).status_code == 304


def test_a_list_that_gets_one_more_row_has_another_tag(stranger: Caller, product: Make) -> None:
    product("A")
    tag = stranger.get("/products").headers["ETag"]
    product("B")

    assert stranger.get("/products", If_None_Match=tag).status_code == 200


def test_no_cache_shares_what_staff_saw(stranger: Caller, staff: Caller, product: Make) -> None:
    product("LAMP"), product("DRAFT", status="draft")

    seen = staff.get("/products")

    assert seen.headers["Cache-Control"] == "private, no-cache"
    assert "Authorization" in seen.headers["Vary"]
    assert stranger.get("/products", If_None_Match=seen.headers["ETag"]).status_code == 200


def test_images_have_an_address_and_a_place(stranger: Caller, product: Make) -> None:
    lamp = product("LAMP")
    for alt, position in (("Second", 2), ("First", 1)):
        image = ProductImage(product=lamp, alt=alt, position=position)
        image.file.save(f"{alt}.png", ContentFile(PNG))

    images = stranger.get("/products/LAMP").json()["images"]

    assert [(image["alt"], image["width"], image["height"]) for image in images] == [("First", 1, 1), ("Second", 1, 1)]
    assert all(image["url"].startswith("http") and "Signature" in image["url"] for image in images)
