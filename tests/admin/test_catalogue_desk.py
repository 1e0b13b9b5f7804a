"""Prices, stock, bulk actions and pictures from the list and the page of products: by services, with their refusals."""

from decimal import Decimal
from typing import Any

import httpx
import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.db import connection
from django.test import Client
from django.urls import reverse

from catalog.models import Product, ProductImage, StockMovement
from catalog.services import change_product
from tests.admin.conftest import BACKEND, Desk, a_product, an_order, desk_of
from tests.catalog.files import a_picture, from_a_telephone, opened
from vibecode import bucket
from vibecode.models import OutboxEvent
from vibecode.rights import Actor


# --- the price -------------------------------------------------------------------------------------------------------
def test_a_price_is_changed_in_a_dialog_for_the_version_on_the_screen(staff: Desk) -> None:
    product = a_product(price="2.50")
    shown = staff.open("catalog_product_reprice", product.pk).content.decode()
    assert 'value="2.50"' in shown
    assert 'name="seen_version" value="1"' in shown

    answer = staff.dialog("catalog_product_reprice", product.pk, price="3.10", seen_version="1")

    product.refresh_from_db()
    assert answer.headers["HX-Refresh"] == "true"
    assert (str(product.price), product.version) == ("3.10", 2)
    assert [(change.before, change.after) for change in staff.changes()] == [
        ({"price": Decimal("2.50")}, {"price": Decimal("3.10")})
    ]


def test_a_price_that_somebody_else_changed_is_said_and_can_be_changed_knowingly(staff: Desk) -> None:
    product = a_product(price="2.50")
    change_product(product=product, values={"price": "2.75"}, actor=Actor.part("tests"))

    page = staff.dialog("catalog_product_reprice", product.pk, price="3.10", seen_version="1")

    html = page.content.decode()
    product.refresh_from_db()
    assert "its price is now £2.75" in html
    assert 'value="3.10"' in html
    assert 'name="seen_version" value="2"' in html
    assert (str(product.price), product.version) == ("2.75", 2)
    assert staff.changes() == []
    staff.dialog("catalog_product_reprice", product.pk, price="3.10", seen_version="2")
    product.refresh_from_db()
    assert (str(product.price), product.version) == ("3.10", 3)


def nobody_writes(sku: str) -> None:
    """As when somebody else is quicker between a page's look and the service's statement, with one product alone."""
    with connection.cursor() as cursor:
        cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")
        cursor.execute(
            "CREATE FUNCTION pg_temp.elsewhere() RETURNS trigger LANGUAGE plpgsql AS "
            f"'BEGIN IF NEW.sku = ''{sku}'' THEN RETURN NULL; END IF; RETURN NEW; END'"
        )
        cursor.execute(
            "CREATE TRIGGER skip BEFORE UPDATE ON catalog_product FOR EACH ROW EXECUTE FUNCTION pg_temp.elsewhere()"
        )


def test_a_price_that_changes_in_the_last_moment_is_refused_by_its_version(staff: Desk) -> None:
    product = a_product("LATE", price="2.50")
    nobody_writes("LATE")

    page = staff.dialog("catalog_product_reprice", product.pk, price="3.10", seen_version="1")

    assert "LATE is not at version 1 any more" in page.content.decode()
    assert 'name="seen_version" value="1"' in page.content.decode()
    assert 'value="3.10"' in page.content.decode()
    assert staff.changes() == []


@pytest.mark.parametrize("typed", [
    {"price": "-1", "seen_version": "1"},
    {"price": "1.234", "seen_version": "1"},
    {"price": "", "seen_version": "1"},
    {"price": "1", "seen_version": ""},
    {"price": "1", "seen_version": "x"},
])  # fmt: skip
def test_a_price_that_is_none_changes_nothing(staff: Desk, typed: dict[str, str]) -> None:
    product = a_product(price="2.50")

    page = staff.dialog("catalog_product_reprice", product.pk, **typed)

    product.refresh_from_db()
    assert page.status_code == 200
    assert "HX-Refresh" not in page.headers
    assert product.version == 1


# --- stock -----------------------------------------------------------------------------------------------------------
def test_stock_is_adjusted_from_the_products_own_page(staff: Desk) -> None:
    product = a_product(on_hand=0)
    assert "Adjust stock" in staff.open("catalog_product_change", product.pk).content.decode()

    answer = staff.dialog("catalog_product_adjust", product.pk, delta="24", reason="Delivery 4711")

    movement = StockMovement.objects.get()
    assert answer.headers["HX-Refresh"] == "true"
    assert (movement.on_hand_delta, movement.reason, movement.actor) == (24, "Delivery 4711", staff.user.cognito_sub)


def test_what_orders_hold_cannot_be_taken_away_from_there_either(staff: Desk) -> None:
    product = a_product(on_hand=10)
    an_order(product)
    before = StockMovement.objects.count()

    page = staff.dialog("catalog_product_adjust", product.pk, delta="-10", reason="broken")

    assert "at most 9 can be taken away" in page.content.decode()
    assert StockMovement.objects.count() == before


def test_who_may_only_count_adjusts_stock_and_changes_no_price(db: None) -> None:
    product, warehouse = a_product(on_hand=0), desk_of("warehouse")

    assert warehouse.dialog("catalog_product_adjust", product.pk, delta="2", reason="found").status_code == 200
    assert warehouse.dialog("catalog_product_reprice", product.pk, price="1", seen_version="1").status_code == 403
    assert desk_of("catalogue").dialog("catalog_product_adjust", product.pk, delta="2", reason="x").status_code == 403

    product.refresh_from_db()
    product.stock.refresh_from_db()
    assert (product.version, product.stock.on_hand) == (1, 2)


# --- many at once ----------------------------------------------------------------------------------------------------
def test_what_is_refused_of_many_is_said_one_by_one_and_holds_no_other_up(staff: Desk) -> None:
    good, bad = a_product("GOOD", status="draft"), a_product("BAD", status="draft")
    nobody_writes("BAD")
    chosen = {"action": "publish_all", "_selected_action": [good.pk, bad.pk]}

    page = staff.client.post(reverse("admin:catalog_product_changelist"), chosen, follow=True)

    said = [str(message) for message in page.context["messages"]]
    assert said[0] == "Published: 1."
    assert said[1].startswith("Not published: 1.<br>BAD: BAD is not at version 1 any more")
    assert "<br>BAD: BAD is not at version" in page.content.decode()
    assert {*Product.objects.values_list("sku", "status")} == {("GOOD", "published"), ("BAD", "draft")}
    assert [change.page_id for change in staff.changes()] == [good.pk]


# --- pictures --------------------------------------------------------------------------------------------------------
def begin(desk: Desk, product: Product, **form: Any) -> Any:
    """What the page's script asks first."""
    asked = {"content_type": "image/png", "size": "100", **form}
    return desk.send("catalog_product_begin_picture", product.pk, **asked)


def test_the_pages_script_uploads_by_the_services_of_the_api(staff: Desk) -> None:
    product = a_product("MUG")
    begun = begin(staff, product).json()
    httpx.post(begun["url"], data=begun["fields"], files={"file": ("a.png", a_picture())}, trust_env=False)

    done = [staff.send("catalog_product_complete_picture", product.pk, begun["id"]).json() for _ in range(2)]

    picture = ProductImage.objects.get()
    assert (picture.state, picture.width) == ("ready", 64)
    assert [answer["version"] for answer in done] == [2, 2]
    assert [change.after["state"] for change in staff.changes()] == ["awaiting", "ready"]
    assert OutboxEvent.objects.filter(detail_type="Picture Stored").count() == 1


def test_the_script_is_told_why_a_file_is_refused(staff: Desk) -> None:
    product = a_product("MUG")
    begun = begin(staff, product).json()

    for answer, status, why in (
        (begin(staff, product, content_type="text/html"), 422, "choose a JPEG, PNG, WebP or GIF"),
        (begin(staff, product, content_type=""), 422, "choose a JPEG, PNG, WebP or GIF"),
        (begin(staff, product, size=str(11 * 2**20)), 422, "at most 10 MB"),
        (begin(staff, product, size="many"), 400, "load it anew"),
        (staff.send("catalog_product_complete_picture", product.pk, begun["id"]), 422, "begin a new upload"),
    ):
        assert (answer.status_code, why in answer.json()["detail"]) == (status, True), answer.json()
    assert ProductImage.objects.get().state == "awaiting"
    assert [change.after["state"] for change in staff.changes()] == ["awaiting"]


def test_only_who_may_change_a_product_may_give_it_pictures(staff: Desk) -> None:
    product = a_product("MUG")
    begun = begin(staff, product).json()
    addresses = [
        reverse("admin:catalog_product_begin_picture", args=[product.pk]),
        reverse("admin:catalog_product_complete_picture", args=[product.pk, begun["id"]]),
    ]
    reader = desk_of("warehouse")
    forger = Client(enforce_csrf_checks=True)
    forger.force_login(staff.user, backend=BACKEND)

    for address in addresses:
        assert Client().post(address).status_code == 302
        assert reader.client.post(address).status_code == 403
        assert forger.post(address).status_code == 403
        assert staff.client.get(address).status_code == 405
    assert staff.send("catalog_product_begin_picture", 999_999).status_code == 404
    assert staff.send("catalog_product_complete_picture", a_product("CUP").pk, begun["id"]).status_code == 404
    assert ProductImage.objects.count() == 1


def test_without_scripts_a_picture_comes_along_with_a_new_product_and_loses_what_the_camera_wrote(staff: Desk) -> None:
    file = SimpleUploadedFile("photo.png", from_a_telephone(), content_type="image/png")  # browsers guess by the name

    answer = staff.send(
        "catalog_product_add",
        **{
            "sku": "mug", "name": "Mug", "price": "3.20", "status": "draft", "images-TOTAL_FORMS": "1",
            "images-INITIAL_FORMS": "0", "images-0-file": file, "images-0-alt": "A mug", "images-0-position": "3",
        },
    )  # fmt: skip

    picture = ProductImage.objects.get(product__sku="MUG")
    kept = bucket.read(str(picture.file.name))
    assert answer.status_code == 302
    assert kept is not None
    assert (kept.content_type, opened(kept.content).size, b"Nosy" in kept.content) == ("image/jpeg", (48, 64), False)
    assert (picture.alt, picture.position, picture.width) == ("A mug", 3, 48)
    assert OutboxEvent.objects.filter(detail_type="Picture Stored").count() == 1


def test_a_picture_that_nobody_has_looked_at_is_on_no_page(staff: Desk) -> None:
    product = a_product("MUG")
    key = begin(staff, product).json()["fields"]["key"]

    for page in (staff.open("catalog_product_changelist"), staff.open("catalog_product_change", product.pk)):
        assert page.status_code == 200
        assert key not in page.content.decode()
    page = staff.open("catalog_product_change", product.pk)
    assert 'name="images-INITIAL_FORMS" value="0"' in page.content.decode()


def test_the_list_shows_the_small_copy_with_its_words_and_a_place_for_none(staff: Desk) -> None:
    product, bare = a_product("MUG"), a_product("CUP")
    ProductImage.objects.create(
        product=product, file="products/m.png", thumbnail="products/m-160.webp", alt="A <mug>", width=9, height=9
    )

    page = staff.open("catalog_product_changelist").content.decode()

    assert "products/m-160.webp" in page
    assert 'loading="lazy"' in page
    assert 'alt="A &lt;mug&gt;"' in page
    assert page.count("shop-none") == 1, bare


def test_the_page_may_speak_with_the_bucket_and_with_nobody_else(staff: Desk, settings: Any) -> None:
    policy = staff.open("catalog_product_change", a_product().pk).headers["Content-Security-Policy"]

    [connect] = [rule for rule in policy.split("; ") if rule.startswith("connect-src")]
    assert connect == f"connect-src 'self' {settings.AWS_ENDPOINT_URL}"
