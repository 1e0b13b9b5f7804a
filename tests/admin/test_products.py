"""Products and categories at the desk: written by services, refused in the form with all that was typed."""

import io
from typing import Any

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.db import connection
from django.urls import reverse
from PIL import Image

from catalog.models import Category, Product, ProductImage, StockMovement
from catalog.services import change_product
from tests.admin.conftest import Desk, a_product, an_order
from vibecode.rights import Actor


def no_pictures(initial: int = 0) -> dict[str, Any]:
    return {"images-TOTAL_FORMS": str(initial), "images-INITIAL_FORMS": str(initial)}


def form_of(product: Product, **typed: Any) -> dict[str, Any]:
    return {
        "name": product.name, "description": product.description, "price": str(product.price),
        "status": product.status, "category": product.category_id or "", "seen_version": str(product.version),
        **no_pictures(), **typed,
    }  # fmt: skip


def a_picture(name: str = "photo.png", form: str = "PNG") -> SimpleUploadedFile:
    content = io.BytesIO()
    Image.new("RGB", (64, 48), "teal").save(content, form)
    return SimpleUploadedFile(name, content.getvalue(), content_type="image/png")


def test_a_product_is_created_with_an_empty_shelf(staff: Desk) -> None:
    answer = staff.send(
        "catalog_product_add", sku=" tea-01 ", name="Tea", description="", price="3.20", status="draft", category="",
        **no_pictures(),
    )  # fmt: skip

    product = Product.objects.with_shelf().get(sku="TEA-01")
    assert answer.status_code == 302
    assert (product.currency, product.version, product.stock.on_hand) == ("GBP", 1, 0)


def test_a_taken_sku_is_said_in_the_form_whatever_its_case(staff: Desk) -> None:
    a_product("TEA-01")

    page = staff.send("catalog_product_add", sku="tea-01", name="Other tea", price="1", status="draft", **no_pictures())

    assert page.status_code == 200
    assert "already exists" in page.content.decode()
    assert "Other tea" in page.content.decode()
    assert Product.objects.count() == 1


def test_a_refusal_that_only_the_service_meets_is_said_in_the_form(staff: Desk) -> None:
    product = a_product()
    with connection.cursor() as cursor:  # the row is gone from under the update, as when somebody else was quicker
        cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")
        cursor.execute(
            "CREATE FUNCTION pg_temp.elsewhere() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'"
        )
        cursor.execute(
            "CREATE TRIGGER skip BEFORE UPDATE ON catalog_product FOR EACH ROW EXECUTE FUNCTION pg_temp.elsewhere()"
        )

    page = staff.send("catalog_product_change", product.pk, **form_of(product, price="7.77"))

    assert page.status_code == 200
    assert "is not at version 1 any more" in page.content.decode()
    assert 'value="7.77"' in page.content.decode()
    assert staff.changes() == []


def test_a_change_goes_through_the_service_and_raises_the_version(staff: Desk) -> None:
    product = a_product()

    answer = staff.send("catalog_product_change", product.pk, **form_of(product, price="9.99"))

    product.refresh_from_db()
    assert answer.status_code == 302
    assert (str(product.price), product.version) == ("9.99", 2)


def test_saving_without_a_change_changes_nothing(staff: Desk) -> None:
    product = a_product()

    staff.send("catalog_product_change", product.pk, **form_of(product))

    product.refresh_from_db()
    assert product.version == 1


def test_a_stale_page_is_refused_keeps_what_was_typed_and_can_be_saved_knowingly(staff: Desk) -> None:
    product = a_product(name="Tea")
    change_product(product=product, values={"name": "Green tea"}, actor=Actor.part("tests"))

    page = staff.send("catalog_product_change", product.pk, **form_of(product, price="7.77"))

    html = page.content.decode()
    product.refresh_from_db()
    assert page.status_code == 200
    assert "Somebody else saved this product" in html
    assert "Name is now “Green tea”" in html
    assert 'value="7.77"' in html
    assert (product.name, product.version) == ("Green tea", 2)
    again = {"name": "Tea", "price": "7.77", "seen_version": page.context["adminform"].form["seen_version"].value()}
    assert staff.send("catalog_product_change", product.pk, **form_of(product) | again).status_code == 302
    product.refresh_from_db()
    assert (product.name, str(product.price), product.version) == ("Tea", "7.77", 3)


def test_a_page_without_a_version_is_refused(staff: Desk) -> None:
    product = a_product()

    page = staff.send("catalog_product_change", product.pk, **form_of(product, price="1.00", seen_version=""))

    product.refresh_from_db()
    assert page.status_code == 200
    assert product.version == 1


@pytest.mark.parametrize(("typed", "said"), [
    ({"price": "-1"}, "greater than or equal to 0"),
    ({"price": "abc"}, "Enter a number"),
    ({"price": "99999999999.00"}, "no more than"),
    ({"name": "x" * 201}, "at most 200"),
    ({"name": "a\x00b"}, "Null characters"),
    ({"status": "sold"}, "valid choice"),
    ({"category": "999999"}, "valid choice"),
])  # fmt: skip
def test_nonsense_is_said_at_its_field(staff: Desk, typed: dict[str, str], said: str) -> None:
    product = a_product()

    page = staff.send("catalog_product_change", product.pk, **form_of(product, **typed))

    product.refresh_from_db()
    assert page.status_code == 200
    assert said in page.content.decode()
    assert product.version == 1


def test_a_picture_is_stored_with_its_size_under_our_own_name(staff: Desk) -> None:
    product = a_product("MUG")
    new = {"images-TOTAL_FORMS": "1", "images-0-file": a_picture("../holiday.png"), "images-0-alt": "A mug"}

    answer = staff.send("catalog_product_change", product.pk, **form_of(product) | new | {"images-0-position": "0"})

    picture = product.images.get()
    product.refresh_from_db()
    assert answer.status_code == 302
    assert str(picture.file.name).startswith("products/mug-")
    assert (picture.width, picture.height, picture.alt) == (64, 48, "A mug")
    assert picture.file.storage.exists(str(picture.file.name))
    assert product.version == 3  # the form's, and the picture's once it was there
    assert "shop-picture" in staff.open("catalog_product_changelist").content.decode()


@pytest.mark.parametrize("file", [
    SimpleUploadedFile("photo.png", b"GIF89a no picture", content_type="image/png"),
    SimpleUploadedFile("page.html", b"<script>", content_type="text/html"),
    SimpleUploadedFile("empty.png", b"", content_type="image/png"),
    a_picture("scan.bmp", "BMP"),
    SimpleUploadedFile("huge.png", a_picture().read() + b"\0" * 6_000_000, content_type="image/png"),
], ids=["no picture", "a page", "empty", "a format browsers lack", "too large"])  # fmt: skip
def test_a_bad_picture_is_said_and_stores_nothing(staff: Desk, file: SimpleUploadedFile) -> None:
    product = a_product()
    file.seek(0)
    new = {"images-TOTAL_FORMS": "1", "images-0-file": file, "images-0-alt": "", "images-0-position": "0"}

    page = staff.send("catalog_product_change", product.pk, **form_of(product) | new)

    product.refresh_from_db()
    assert page.status_code == 200
    assert page.context["errors"]
    assert not ProductImage.objects.exists()
    assert product.version == 1


@pytest.mark.django_db(transaction=True)  # its files go when the row is surely gone
def test_a_picture_is_described_and_removed_and_the_product_gets_a_new_version(staff: Desk) -> None:
    product = a_product()
    picture = ProductImage(product=product)
    picture.file.save("old.png", a_picture(), save=True)
    there = {"images-0-id": str(picture.pk), "images-0-product": str(product.pk), "images-0-position": "2"}

    staff.send(
        "catalog_product_change", product.pk, **form_of(product) | no_pictures(1) | there | {"images-0-alt": "Old"}
    )
    picture.refresh_from_db()
    product.refresh_from_db()
    assert (picture.alt, picture.position, product.version) == ("Old", 2, 2)

    staff.send(
        "catalog_product_change",
        product.pk,
        **form_of(product) | no_pictures(1) | there | {"images-0-alt": "Old", "images-0-DELETE": "on"},
    )
    product.refresh_from_db()
    assert not ProductImage.objects.exists()
    assert not picture.file.storage.exists(str(picture.file.name))
    assert product.version == 3


def test_products_are_published_and_archived_at_once_and_one_by_one(staff: Desk) -> None:
    one, other = a_product(status="draft"), a_product(status="archived")
    both = {"_selected_action": [one.pk, other.pk]}

    staff.send("catalog_product_changelist", action="publish_all", **both)
    assert {*Product.objects.values_list("status", flat=True)} == {"published"}
    staff.send("catalog_product_changelist", action="archive_all", **both)
    assert {*Product.objects.values_list("status", flat=True)} == {"archived"}
    answer = staff.dialog("catalog_product_publish", one.pk)
    one.refresh_from_db()

    assert answer.headers["HX-Refresh"] == "true"
    assert (one.status, one.version) == ("published", 4)


def test_a_category_under_itself_is_refused_in_the_form(staff: Desk) -> None:
    above = Category.objects.create(name="Above", slug="above")
    below = Category.objects.create(name="Below", slug="below", parent=above)

    page = staff.send("catalog_category_change", above.pk, name="Above", slug="new", parent=below.pk, position="0")

    assert page.status_code == 200
    assert "stands below it" in page.content.decode()
    above.refresh_from_db()
    assert (above.parent, above.slug) == (None, "above")


def test_only_an_empty_category_is_deleted(staff: Desk) -> None:
    category = Category.objects.create(name="Tea", slug="tea")
    product = a_product(category=category)

    staff.send("catalog_category_delete", category.pk, post="yes")
    staff.send("catalog_category_changelist", action="delete_selected", _selected_action=[category.pk], post="yes")
    product.refresh_from_db()
    assert product.category == category

    change_product(product=product, values={"category": None}, actor=Actor.part("tests"))
    staff.send("catalog_category_delete", category.pk, post="yes")
    assert not Category.objects.exists()


def test_stock_is_adjusted_by_one_movement_under_the_name_of_who_did_it(staff: Desk) -> None:
    product = a_product(on_hand=0)

    answer = staff.dialog("catalog_stock_adjust", product.pk, delta="24", reason="Delivery 4711")

    movement = StockMovement.objects.get()
    product.stock.refresh_from_db()
    assert answer.headers["HX-Refresh"] == "true"
    assert product.stock.on_hand == 24
    assert (movement.on_hand_delta, movement.reason, movement.actor) == (24, "Delivery 4711", staff.user.cognito_sub)


@pytest.mark.parametrize(("delta", "reason", "said"), [
    ("-10", "broken", "at most 9 can be taken away"),
    ("0", "nothing", "would change nothing"),
    ("1.5", "half", "whole number"),
    ("", "empty", "required"),
    ("5", "", "required"),
    ("9999999999999", "many", "less than or equal to"),
])  # fmt: skip
def test_a_refused_adjustment_says_why_and_moves_nothing(staff: Desk, delta: str, reason: str, said: str) -> None:
    product = a_product(on_hand=10)
    an_order(product)
    before = StockMovement.objects.count()

    page = staff.dialog("catalog_stock_adjust", product.pk, delta=delta, reason=reason)

    product.stock.refresh_from_db()
    assert page.status_code == 200
    assert said in page.content.decode()
    assert (product.stock.on_hand, StockMovement.objects.count()) == (10, before)


def test_the_reorder_point_is_saved_without_touching_the_counters(staff: Desk) -> None:
    product = a_product(on_hand=10)

    staff.send("catalog_stock_change", product.pk, reorder_point="5", on_hand="999", reserved="1")

    product.stock.refresh_from_db()
    assert (product.stock.reorder_point, product.stock.on_hand, product.stock.reserved) == (5, 10, 0)


def test_an_action_on_a_product_that_is_not_there_is_not_found(staff: Desk) -> None:
    for address in ("0", "abc"):
        assert staff.client.post(
            reverse("admin:catalog_stock_adjust", args=[address]),
            {"_form_submitted": "True", "delta": "1", "reason": "x"},
        ).status_code == 404  # fmt: skip
