"""The pages of the desk and how one gets there: read by the tests of accessibility and by the screenshots."""

from dataclasses import dataclass

from playwright.sync_api import expect

from tests.browser.busy_day import BusyDay
from tests.browser.windows import Look


@dataclass(frozen=True)
class DeskPage:
    """An address, whose braces are filled from the day, and the dialog that is opened there."""

    path: str
    dialog: str = ""
    wait: str = ""

    def open(self, window: Look, day: BusyDay) -> None:
        """Go there, and wait until all of it stands."""
        page = window.page
        window.go(self.path.format(day=day))
        if self.wait:
            page.get_by_text(self.wait).first.wait_for(timeout=30_000)
        if self.dialog:
            if not page.get_by_role("link", name=self.dialog, exact=True).first.is_visible():
                page.get_by_role("link", name="More", exact=True).click()  # a phone
            page.get_by_role("link", name=self.dialog, exact=True).first.click()
            expect(page.locator("#dialog")).to_be_visible()
            page.wait_for_timeout(200)  # it comes in softly, and half of it has half a contrast
        page.evaluate("document.fonts.ready")


PAGES = {
    "home": DeskPage("/admin/?range=30-days", wait="Queue figures"),
    "orders": DeskPage("/admin/orders/order/"),
    "to-ship": DeskPage("/admin/orders/order/?view=to-ship"),
    "no-orders": DeskPage("/admin/orders/order/?q=nothing-of-the-kind"),
    "order": DeskPage("/admin/orders/order/{day.order.pk}/change/"),
    "order-ship": DeskPage("/admin/orders/order/{day.open_order.pk}/change/", dialog="Ship"),
    "order-refund": DeskPage("/admin/orders/order/{day.open_order.pk}/change/", dialog="Refund"),
    "order-take-back": DeskPage("/admin/orders/order/{day.order.pk}/change/", dialog="Take back"),
    "order-decide": DeskPage("/admin/orders/order/{day.doubtful.pk}/change/", dialog="Decide on refund"),
    "products": DeskPage("/admin/catalog/product/"),
    "product": DeskPage("/admin/catalog/product/{day.product.pk}/change/"),
    "new-product": DeskPage("/admin/catalog/product/add/"),
    "stock-adjust": DeskPage("/admin/catalog/stock/{day.product.pk}/change/", dialog="Adjust stock"),
    "stock": DeskPage("/admin/catalog/stock/"),
    "ledger": DeskPage("/admin/catalog/stockmovement/"),
    "imports": DeskPage("/admin/vibecode/job/"),
    "import-new": DeskPage("/admin/vibecode/job/start/?kind=import-prices"),
    "import": DeskPage("/admin/vibecode/job/{day.job.pk}/change/"),
    "people": DeskPage("/admin/accounts/user/"),
    "person": DeskPage("/admin/accounts/user/{day.person.pk}/change/"),
    "outbox": DeskPage("/admin/vibecode/outboxevent/"),
    "order-history": DeskPage("/admin/orders/order/{day.order.pk}/history/"),
    "audit-trail": DeskPage("/admin/vibecode/change/"),
    "dead-letters": DeskPage("/admin/vibecode/outboxevent/dead-letters/"),
}
