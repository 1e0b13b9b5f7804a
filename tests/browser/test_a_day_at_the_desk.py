"""What staff do all day, in a real browser over the whole shop: its workflow, its queues, its payment provider."""

import re

from orders.models import Refund
from tests.browser.busy_day import BusyDay, make_busy_day
from tests.browser.conftest import Look, Looker
from tests.browser.test_admin import sign_in
from tests.over_http import Buyer, Shop
from tests.whole_shop import WholeShop, until


def open_order(window: Look, number: str) -> None:
    """Find it as people do: by the key that begins a search."""
    window.page.keyboard.press("/")
    window.page.keyboard.type(number)
    window.page.keyboard.press("Enter")
    window.page.get_by_role("link", name=number).click()
    window.page.wait_for_url("**/change/**")


def test_an_order_is_found_shipped_in_part_and_refunded_in_part(look: Looker, whole_shop: WholeShop) -> None:
    sku, customer = whole_shop.product(on_hand=20), whole_shop.customer()
    number = customer.order(sku, "demo_ok", 3)
    customer.wait_for(number, "completed", seconds=60)
    window = look(origin=whole_shop.url, others=(whole_shop.environment["AWS_ENDPOINT_URL"],))
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

    assert page.get_by_text("Settled", exact=True).is_visible()
    assert [each["amount"] for each in whole_shop.books()["refunds"] if each["reference"] == number] == ["2.50"]
    stock = "SELECT on_hand FROM catalog_stock s JOIN catalog_product p ON p.id = s.product_id WHERE sku = %s"
    assert whole_shop.rows(stock, sku) == [{"on_hand": 20 - 3 + 1}]
    assert window.is_clean()


def test_support_is_refused_a_refund_by_the_page_by_a_forged_request_and_by_the_api(look: Looker, shop: Shop) -> None:
    day: BusyDay = make_busy_day(products=5, orders=0)
    support = Buyer(shop.server.url, "desk-support@example.com", "support")
    window = look()
    sign_in(window, support.email)
    window.go(f"/admin/orders/order/{day.open_order.pk}/change/")
    assert window.page.get_by_role("link", name="Note", exact=True).is_visible()
    assert window.page.get_by_role("link", name="Refund", exact=True).count() == 0
    forged = """async address => {
        const token = document.querySelector("[name=csrfmiddlewaretoken]").value;
        const sent = { csrfmiddlewaretoken: token, _form_submitted: "True", what: "all", reason: "x", version: "4" };
        return (await fetch(address, { method: "POST", body: new URLSearchParams(sent) })).status;
    }"""

    answered = window.page.evaluate(forged, f"/admin/orders/order/{day.open_order.pk}/refund/")
    path = f"/orders/{day.open_order.number}/refunds"
    told = support.http.post(path, json={"reason": "x"}, headers={"Idempotency-Key": "x"})

    assert answered == 403
    assert told.status_code == 403
    assert "the groups finance, staff and admin have it" in told.json()["detail"]
    assert not Refund.objects.filter(payment__order=day.open_order).exists()
    support.http.close()
