"""Pictures on a product's page: several at once, straight to the local S3, each with its fate, in a real browser."""

import os
from pathlib import Path

import pytest

from catalog.models import ProductImage
from catalog.pictures import make_copies
from tests.browser.test_admin import sign_in
from tests.browser.windows import Look, Looker
from tests.catalog.files import a_picture, from_a_telephone
from tests.over_http import Shop

NO_PICTURE = "The file is no picture that every browser shows"
LOADED = """selector => {
    const images = [...document.querySelectorAll(selector)];
    return images.length > 0 && images.every(image => image.naturalWidth > 0);
}"""


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    """Two pictures and a page that says it is one."""
    made = {
        "teal.png": a_picture("PNG", (400, 300)),
        "photo.jpg": from_a_telephone(),
        "page.png": b"<!doctype html><script>alert(1)</script>",
    }
    for name, content in made.items():
        (tmp_path / name).write_bytes(content)
    return [tmp_path / name for name in made]


def is_clean(window: Look) -> bool:
    """But for Chromium's own line about each answer 422."""
    window.complaints[:] = [said for said in window.complaints if "422 (Unprocessable" not in said]
    return window.is_clean()


def test_pictures_are_uploaded_at_once_each_with_its_fate_and_nothing_typed_is_lost(
    look: Looker, shop: Shop, files: list[Path]
) -> None:
    product = shop.product(on_hand=3, name="A lamp")
    window = look()
    page, posts = window.page, list[str]()
    page.on("request", lambda asked: posts.append(asked.url) if asked.method == "POST" else None)
    sign_in(window)
    window.go(f"/admin/catalog/product/{product.pk}/change/")
    page.get_by_label("Name*").fill("A better lamp")
    uploads, rows = page.get_by_role("list", name="Uploads"), page.locator("#images-group .form-group.original")

    page.get_by_label("Drop pictures here, or choose files").set_input_files(files)

    uploads.get_by_text(NO_PICTURE).wait_for()
    rows.nth(1).wait_for()
    assert uploads.get_by_role("listitem").count() == 1
    assert page.get_by_role("log").get_by_text("teal.png was added").count() == 1
    assert sum(post.startswith(os.environ["AWS_ENDPOINT_URL"]) for post in posts) == len(files)
    shown = list(ProductImage.objects.shown().filter(product=product))
    assert {(image.width, image.height) for image in shown} == {(400, 300), (48, 64)}
    page.wait_for_function(LOADED, arg="#images-group img.shop-large")

    uploads.get_by_role("button", name="Try page.png again").click()
    page.get_by_role("log").get_by_text("page.png was not added").nth(1).wait_for()
    uploads.get_by_role("button", name="Dismiss page.png").click()
    assert uploads.get_by_role("listitem").count() == 0
    assert is_clean(window)

    rows.first.locator("[name$=-alt]").fill("A lamp in teal")
    page.get_by_role("button", name="Save and continue editing").click()
    page.get_by_text("was changed successfully").wait_for()
    product.refresh_from_db()
    assert product.name == "A better lamp"
    assert ProductImage.objects.filter(product=product, alt="A lamp in teal").exists()

    for image in shown:
        make_copies(image_id=image.pk)
    window.go(f"/admin/catalog/product/?q={product.sku}")
    page.wait_for_function(LOADED, arg="img.shop-picture[src*='-160.webp'][alt='A lamp in teal']")
    assert page.locator("img.shop-picture").count() == 1
    assert is_clean(window)


def test_what_is_dropped_is_uploaded_and_a_lost_connection_can_be_mended(
    look: Looker, shop: Shop, files: list[Path]
) -> None:
    product = shop.product(on_hand=3)
    window = look(width=390, scheme="dark")
    page = window.page
    sign_in(window)
    window.go(f"/admin/catalog/product/{product.pk}/change/")
    page.route(f"{os.environ['AWS_ENDPOINT_URL']}/**", lambda route: route.abort())

    page.evaluate(
        """bytes => {
            const files = new DataTransfer();
            files.items.add(new File([new Uint8Array(bytes)], "dropped.png", { type: "image/png" }));
            files.items.add(new File(["words"], "notes.txt", { type: "text/plain" }));
            const zone = document.querySelector(".shop-drop-zone");
            zone.dispatchEvent(new DragEvent("drop", { dataTransfer: files, bubbles: true, cancelable: true }));
        }""",
        list(a_picture()),
    )

    page.get_by_role("list", name="Uploads").get_by_text("The connection was lost").wait_for()
    page.get_by_role("list", name="Uploads").get_by_text("It is no JPEG, PNG, WebP or GIF").wait_for()
    assert not ProductImage.objects.shown().filter(product=product).exists()
    page.unroute_all()
    page.get_by_role("button", name="Try dropped.png again").click()
    page.locator("#images-group .form-group.original").wait_for()
    assert ProductImage.objects.shown().filter(product=product).count() == 1

    page.locator("[name=images-0-alt]").fill("Typed, not saved")
    page.get_by_label("Drop pictures here, or choose files").set_input_files(files[0])
    page.locator("#images-group .form-group.original").nth(1).wait_for()
    assert page.locator("[name=images-0-alt]").input_value() == "Typed, not saved"
    window.complaints.clear()  # the lost connection is one
    assert window.is_clean()
