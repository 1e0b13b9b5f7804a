"""What staff do all day, in a real browser over the whole shop: its workflow, its queues, its payment provider."""

import re

from playwright.sync_api import Browser

from tests.browser.test_admin import sign_in
from tests.browser.windows import Look, windows
from tests.whole_shop import WholeShop, until


def open_order(window: Look, number: str) -> None:
    """Find it as people do: by the key that begins a search."""
    window.page.keyboard.press("/")
    window.page.keyboard.type(number)
    window.page.keyboard.press("Enter")
    window.page.get_by_role("link", name=number).click()
    window.page.wait_for_url("**/change/**")


def test_an_order_is_found_shipped_in_part_and_refunded_in_part(browser: Browser, whole_shop: WholeShop) -> None:
    sku, customer = whole_shop.product(on_hand=20), whole_shop.customer()
    number = customer.order(sku, "demo_ok", 3)
    customer.wait_for(number, "completed", seconds=60)
    with windows(browser, whole_shop.url, whole_shop.environment["AWS_ENDPOINT_URL"]) as look:
        window = look()
        page = window.page
        sign_in(window)
        window.go("/admin/orders/order/?view=to-ship")
        open_order(window, number)

        page.get_by_role("link", name="Ship", exact=True).click()
        page.get_by_label("Tracking number").fill("RM123456785GB")
        page.get_by_label(re.compile(sku)).fill("2")
        page.get_by_role("button", name="Ship", exact=True).click()
        page.get_by_text("2 of 3").first.wait_for()
        assert customer.look(number)["status"] == "partly_shipped"

        page.get_by_role("link", name="Refund", exact=True).click()
        page.get_by_label(re.compile(sku)).fill("1")
        page.get_by_label("Put the units back on the shelf").check()
        page.get_by_label("Reason*").fill("One was broken")
        page.get_by_role("button", name="Refund", exact=True).click()
        page.get_by_text("One was broken").first.wait_for()
        until(lambda: customer.look(number)["paymentStatus"] == "partly_refunded", 60, "the refund is settled")
        page.reload(wait_until="load")

        assert page.locator(".shop-refund").get_by_text("Settled", exact=True).is_visible()
        assert [each["amount"] for each in whole_shop.books()["refunds"] if each["reference"] == number] == ["2.50"]
        stock = "SELECT on_hand FROM catalog_stock s JOIN catalog_product p ON p.id = s.product_id WHERE sku = %s"
        assert whole_shop.rows(stock, sku) == [{"on_hand": 20 - 3 + 1}]
        assert window.is_clean()
