"""A picture's way from a browser to the shop window: every process of `make run`, nobody touches anything."""

from typing import Any

import httpx

from tests.catalog.files import a_picture, opened
from tests.whole_shop import WholeShop, until


def test_a_picture_that_staff_upload_is_shown_and_gets_smaller_copies_by_itself(whole_shop: WholeShop) -> None:
    staff, sku = whole_shop.customer("staff@example.com"), whole_shop.product(on_hand=1)
    begun = staff.ask("POST", f"/products/{sku}/images", {"contentType": "image/jpeg", "alt": "Half teal"}).json()
    file = {"file": ("photo.jpg", a_picture("JPEG", (800, 600)))}
    assert httpx.post(begun["url"], data=begun["fields"], files=file, trust_env=False).status_code == 204

    done = staff.ask("POST", f"/products/{sku}/images/{begun['imageId']}/complete")

    assert done.status_code == 200, done.text
    shown: dict[str, Any] = {}

    def has_copies() -> bool:
        shown.update(staff.ask("GET", f"/products/{sku}").json()["images"][0])
        return shown["thumbnailUrl"] is not None

    until(has_copies, 30, "the copies are made")
    for address, size in (("url", (800, 600)), ("thumbnailUrl", (160, 120)), ("previewUrl", (640, 480))):
        assert opened(httpx.get(shown[address], trust_env=False).content).size == size
