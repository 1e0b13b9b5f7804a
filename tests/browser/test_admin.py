"""The staff's desk in a real browser: signing in through Cognito, what can be done there, and what cannot."""

from orders.models import Order, Refund
from tests.browser.busy_day import BusyDay, make_busy_day
from tests.browser.windows import Look, Looker
from tests.in_process import shelf
from tests.over_http import Buyer, Shop
from vibecode.local.names import DEMO_PASSWORD


def sign_in(window: Look, email: str = "staff@example.com", password: str = DEMO_PASSWORD) -> None:
    """Through the page, as staff do."""
    window.go("/admin/")
    window.page.get_by_label("E-mail").fill(email)
    window.page.get_by_label("Password").fill(password)
    window.page.get_by_role("button", name="Log in").click()
    window.page.wait_for_load_state("networkidle")


def test_a_wrong_password_and_a_customer_stay_outside(look: Looker) -> None:
    for email, password in (("staff@example.com", "wrong"), ("shopper@example.com", DEMO_PASSWORD)):
        window = look()

        sign_in(window, email, password)

        assert window.page.get_by_role("button", name="Log in").is_visible()
        assert "Stock ledger" not in window.page.content()


def test_stock_is_adjusted_and_an_order_cancelled_by_hand(look: Looker, shop: Shop) -> None:
    product = shop.product(on_hand=30)
    number = shop.buyer().order((product, 2)).json()["orderId"]
    window = look()
    sign_in(window)

    window.go(f"/admin/catalog/product/{product.pk}/change/")
    window.page.get_by_role("link", name="Adjust", exact=True).click()
    window.page.get_by_text("Adjust stock").click()
    window.page.get_by_label("Change*").fill("-5")
    window.page.get_by_label("Reason*").fill("Broken")
    window.page.get_by_role("button", name="Adjust", exact=True).click()
    window.page.get_by_text("25", exact=True).wait_for()
    assert shelf(product) == (25, 2)

    window.go(f"/admin/orders/order/?q={number}")
    window.page.get_by_role("link", name=number).first.click()
    window.page.get_by_text("Cancel order").click()
    window.page.get_by_label("Reason*").fill("Customer called")
    window.page.get_by_role("button", name="Cancel the order", exact=True).click()
    window.page.get_by_text("Customer called").first.wait_for()
    assert shelf(product) == (25, 0)
    assert window.is_clean()


SENT_AT_ONCE = """() => new MutationObserver((_, watching) => {
    const reason = document.querySelector("#dialog [name=reason]");
    if (!reason) return;
    watching.disconnect();
    reason.value = "Sent at once";
    reason.form.requestSubmit();
}).observe(document.body, { childList: true, subtree: true })"""


def test_a_dialog_is_heard_however_soon_it_is_sent(look: Looker, shop: Shop) -> None:
    number = shop.buyer().order((shop.product(on_hand=3), 1)).json()["orderId"]
    window = look()
    sign_in(window)
    window.go(f"/admin/orders/order/?q={number}")
    window.page.get_by_role("link", name=number).first.click()
    window.page.get_by_text("Cancel order").wait_for()
    window.page.evaluate(SENT_AT_ONCE)

    with window.page.expect_navigation():
        window.page.get_by_text("Cancel order").click()

    assert "Sent at once" in window.page.inner_text("#main")
    assert Order.objects.get(number=number).status == "cancelled"
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
