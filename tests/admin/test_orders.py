"""Orders at the desk: read, and called off through the service."""

import re
from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal

from django.db.models.functions import Now
from django.utils.formats import date_format
from django.utils.timezone import localtime

from orders.models import Order, Payment, Refund
from orders.services import deduct_held_stock, request_refund, ship_order
from orders.status import FulfilmentStatus
from tests.admin.conftest import Desk, a_product, an_order, desk_of
from vibecode.models import OutboxEvent
from vibecode.rights import Actor


def test_an_order_is_cancelled_with_a_reason_under_the_name_of_who_did_it(staff: Desk) -> None:
    product = a_product(on_hand=3)
    order = an_order(product)

    answer = staff.dialog("orders_order_cancel", order.pk, version=order.version, reason="Wrong address")

    order.refresh_from_db()
    product.stock.refresh_from_db()
    told = order.timeline.get(type="Order Cancelled")
    assert answer.headers["HX-Refresh"] == "true"
    assert (order.status, order.cancel_reason) == ("cancelled", "Wrong address")
    assert (told.actor, told.data) == (staff.user.cognito_sub, {"reason": "Wrong address"})
    assert product.stock.reserved == 0
    history = staff.open("orders_order_history", order.pk).content.decode()
    assert "Cancelled" in history
    assert "staff@example.com" in history
    assert "Wrong address" not in history  # what people type is no part of the trail


def test_a_cancellation_needs_a_reason(staff: Desk) -> None:
    order = an_order()

    page = staff.dialog("orders_order_cancel", order.pk, version=order.version, reason=" ")

    order.refresh_from_db()
    assert "required" in page.content.decode()
    assert order.status == "pending"


def test_what_has_shipped_is_not_cancelled_and_the_dialog_says_so(staff: Desk) -> None:
    order = deduct_held_stock(order=an_order())
    order.move_to(fulfilment=FulfilmentStatus.SHIPPED)
    published = OutboxEvent.objects.count()

    page = staff.dialog("orders_order_cancel", order.pk, version=order.version, reason="Too late")

    order.refresh_from_db()
    assert page.status_code == 200
    assert "what has shipped cannot be cancelled" in page.content.decode()
    assert (order.status, OutboxEvent.objects.count()) == ("shipped", published)
    assert "Cancel order" not in staff.open("orders_order_change", order.pk).content.decode()


def test_opening_the_dialog_cancels_nothing(staff: Desk) -> None:
    order = an_order()

    page = staff.open("orders_order_cancel", order.pk)

    order.refresh_from_db()
    assert page.status_code == 200
    assert order.status == "pending"


def test_a_forged_cancellation_without_the_right_is_refused(staff: Desk) -> None:
    order = an_order()
    reader = desk_of("nobody")
    reader.user.is_staff = True
    reader.user.save()

    answer = reader.dialog("orders_order_cancel", order.pk, version=order.version, reason="x")

    order.refresh_from_db()
    assert answer.status_code == 403
    assert order.status == "pending"


def test_an_order_shows_its_lines_money_and_customer(staff: Desk) -> None:
    order = an_order(a_product("MUG", name="كوب <b>", price="1234.50"))

    html = staff.open("orders_order_change", order.pk).content.decode()

    assert "£1,234.50" in html
    assert "كوب &lt;b&gt;" in html
    assert f"/admin/accounts/user/{order.user_id}/change/" in html
    assert f"/admin/catalog/product/{order.lines.get().product_id}/change/" in html


def test_the_timeline_names_people_by_their_e_mail_and_tells_seconds(staff: Desk) -> None:
    order = an_order()
    staff.dialog("orders_order_cancel", order.pk, version=order.version, reason="Wrong address")

    html = staff.open("orders_order_change", order.pk).content.decode()

    told = order.timeline.get(type="Order Cancelled")
    person = f'<a class="text-link" href="/admin/accounts/user/{staff.user.pk}/change/">'
    assert f'{person}<bdi class="shop-name">{staff.user.email}</bdi></a>' in html
    assert date_format(localtime(told.timestamp), "j M Y, H:i:s") in html


def test_the_saved_views_hold_what_there_is_to_do(staff: Desk, completed: Callable[..., Order]) -> None:
    to_ship, gone, odd, waits = (completed((sku, 1)) for sku in ("A", "B", "C", "D"))
    somebody = Actor.part("somebody")
    for order in (gone, odd, waits):
        ship_order(order=order, actor=somebody)
    Payment.objects.filter(order=odd).update(state="unknown")
    refund = request_refund(order=waits, amount=Decimal("1.00"), reason="", actor=somebody)
    Refund.objects.filter(pk=refund.pk).update(state="proposed")
    stuck = an_order()
    Order.objects.filter(pk=stuck.pk).update(updated_at=Now() - timedelta(hours=1))

    def shown(view: str) -> set[str]:
        return set(re.findall(r"ORD-\w{26}", staff.open("orders_order_changelist", view=view).content.decode()))

    assert shown("to-ship") == {to_ship.number}
    assert shown("needs-someone") == {odd.number, waits.number, stuck.number}
    assert len(shown("nonsense")) == 5
    sidebar = staff.open("orders_order_changelist", view="to-ship").context["sidebar_navigation"]
    assert [item["title"] for group in sidebar for item in group["items"] if item["active"]] == ["To ship"]
