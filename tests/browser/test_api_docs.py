"""The interactive API page in a real browser."""

import pytest

from tests.browser.windows import Looker
from tests.over_http import Shop


@pytest.mark.parametrize(("width", "scheme"), [(1400, "light"), (1400, "dark"), (390, "light"), (390, "dark")])
def test_the_page_shows_every_endpoint_from_our_own_files(look: Looker, width: int, scheme: str) -> None:
    window = look(width=width, scheme=scheme)

    window.go("/api/docs")

    window.page.get_by_text("Vibecode shop API").wait_for()
    assert window.page.locator(".opblock").count() >= 17
    assert window.page.locator("html.dark-mode").count() == (1 if scheme == "dark" else 0)
    assert window.is_clean()


def test_a_call_can_be_tried_on_the_page(look: Looker, shop: Shop) -> None:
    product = shop.product(on_hand=3)
    window = look()
    window.go("/api/docs")

    operation = window.page.locator("#operations-products-products_retrieve")
    operation.locator(".opblock-summary-control").click()
    operation.get_by_role("button", name="Try it out").click()
    operation.get_by_placeholder("sku").fill(product.sku)
    operation.get_by_role("button", name="Execute").click()

    operation.locator(".live-responses-table .response-col_status", has_text="200").wait_for()
    assert product.name in operation.locator(".live-responses-table").inner_text()
    assert window.is_clean()
