"""The lists of the desk as they are seen: rows of one height, what a phone shows, slips in a tab of their own."""

import re

from playwright.sync_api import Locator

from catalog.pictures import examine, keep_picture
from orders.models import Order
from orders.services import complete_order, deduct_held_stock
from orders.workflow import process_payment
from tests.books import Books
from tests.browser.test_admin import sign_in
from tests.browser.windows import Looker
from tests.catalog.files import a_picture
from tests.over_http import Shop


def a_paid_order(shop: Shop) -> Order:
    """Off the shelf, and to be shipped."""
    number = shop.buyer().order((shop.product(on_hand=3), 2)).json()["orderId"]
    process_payment({"orderId": number}, None)
    deduct_held_stock(order=Order.objects.get(number=number))
    return complete_order(order=Order.objects.get(number=number))


def box(of: Locator) -> dict[str, float]:
    """Where something is seen."""
    found = of.bounding_box()
    assert found is not None
    return {"x": found["x"], "width": found["width"], "height": found["height"]}


def test_a_product_with_a_picture_is_as_high_as_one_without(look: Looker, shop: Shop) -> None:
    plain, pictured = shop.product(on_hand=3), shop.product(on_hand=3)
    keep_picture(product=pictured, picture=examine(content=a_picture("JPEG", (600, 400))))
    window = look(width=1440)
    sign_in(window)

    window.go("/admin/catalog/product/?q=RACE")

    rows = window.page.locator("#result_list tbody tr")
    heights = {box(rows.filter(has_text=product.sku).first)["height"] for product in (plain, pictured)}
    assert len(heights) == 1
    assert window.is_clean()


def test_a_phone_shows_number_status_and_total_of_an_order(look: Looker, shop: Shop, books: Books) -> None:
    order = a_paid_order(shop)
    window = look(width=390, height=844)
    sign_in(window)

    window.go(f"/admin/orders/order/?q={order.number}")

    row = window.page.locator("#result_list tbody tr", has_text=order.number)
    for cell in ("placed", "state", "amount"):
        seen = box(row.locator(f".field-{cell}"))
        assert seen["x"] + seen["width"] <= 390, cell
    assert window.is_clean()


def test_slips_open_in_a_tab_of_their_own_and_leave_the_list_as_it_was(look: Looker, shop: Shop, books: Books) -> None:
    order = a_paid_order(shop)
    window = look()
    sign_in(window)
    window.go(f"/admin/orders/order/?q={order.number}")
    window.page.locator("#result_list .action-select").first.check()
    window.page.locator("select[name=action]").select_option("packing_slips")

    with window.page.expect_popup() as opened, window.page.context.expect_event("response", _is_slip) as answered:
        window.page.get_by_role("button", name="Run").click()

    assert answered.value.headers["content-type"] == "application/pdf"
    opened.value.close()
    assert window.page.locator("#result_list .action-select").first.is_checked()
    window.go(f"/admin/orders/order/{order.pk}/change/")
    with window.page.expect_popup() as opened, window.page.context.expect_event("response", _is_slip) as answered:
        window.page.get_by_role("link", name=re.compile("Packing slip")).first.click()
    assert order.number in answered.value.headers["content-disposition"]
    opened.value.close()
    assert window.is_clean()


def _is_slip(answer: object) -> bool:
    return "pdf" in getattr(answer, "headers", {}).get("content-type", "")
