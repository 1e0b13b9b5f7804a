"""Dialogs whose answer was lost are sent again, over HTTP, later or at one moment: each deed is done once."""

import contextlib
import functools
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import httpx
import pytest
from django.contrib.auth import login
from django.contrib.sessions.backends.db import SessionStore
from django.http import HttpRequest

from accounts.services import register_user, take_over_groups
from catalog.models import StockMovement
from orders.models import Order, OrderNote, Refund, Shipment
from orders.services import complete_order, deduct_held_stock
from orders.workflow import process_payment
from tests.books import Books
from tests.over_http import Shop, together
from vibecode.models import IdempotencyKey


@dataclass
class Browser:
    """Somebody of the group staff, signed in, and the pages that they have open."""

    http: httpx.Client
    opened: dict[str, dict[str, str]] = field(default_factory=dict)

    def open(self, path: str) -> str:
        """Open a dialog: its hidden fields are what it will send; the one that is good once."""
        page = str(self.http.get(path).raise_for_status().text)
        dialog = page[page.index('id="dialog"') :]
        hidden = [tag for tag in re.findall(r"<input[^>]*>", dialog) if 'type="hidden"' in tag]
        fields: dict[str, str] = {
            re.findall(r'name="([^"]*)"', tag)[0]: re.findall(r'value="([^"]*)"', tag)[0] for tag in hidden
        }
        self.opened[path] = fields
        return fields["once"]

    def send(self, path: str, **typed: str) -> httpx.Response:
        """Press the button."""
        return self.http.post(path, data={**self.opened[path], "_form_submitted": "True", **typed})


@pytest.fixture
def browser(shop: Shop, books: Books) -> Iterator[Browser]:
    """A browser at the desk."""
    user = take_over_groups(user=register_user(sub="clerk", email="clerk@example.com"), groups=["staff"])
    request = HttpRequest()
    request.session = SessionStore()
    login(request, user, backend="accounts.authentication.CognitoPasswordBackend")
    request.session.save()
    cookies = {"sessionid": str(request.session.session_key)}
    with contextlib.closing(httpx.Client(base_url=shop.server.url.removesuffix("/api/v1"), cookies=cookies)) as http:
        yield Browser(http)


@pytest.fixture
def order(shop: Shop, books: Books) -> Order:
    """Six units, paid and off the shelf."""
    product = shop.product(on_hand=16, price="2.50")
    number = shop.buyer().order((product, 6)).json()["orderId"]
    process_payment({"orderId": number}, None)
    deduct_held_stock(order=Order.objects.get(number=number))
    return complete_order(order=Order.objects.get(number=number))


def stock_of(order: Order) -> int:
    """The product, which is the shelf's number too."""
    return order.lines.get().product_id


def adjust(page: str) -> Callable[[Order], str]:
    """The dialog's address, from either page."""
    return lambda order: f"/admin/catalog/{page}/{stock_of(order)}/adjust/"


def adjustments() -> int:
    return StockMovement.objects.filter(reason="found").count()


SENT: dict[str, tuple[Callable[[Order], str], dict[str, str], Callable[[], int]]] = {
    "note": (lambda order: f"/admin/orders/order/{order.pk}/note/", {"text": "Called"}, OrderNote.objects.count),
    "stock": (adjust("stock"), {"delta": "3", "reason": "found"}, adjustments),
    "product": (adjust("product"), {"delta": "3", "reason": "found"}, adjustments),
    "ship": (lambda order: f"/admin/orders/order/{order.pk}/ship/", {}, Shipment.objects.count),
    "refund": (
        lambda order: f"/admin/orders/order/{order.pk}/refund/",
        {"what": "amount", "amount": "1.00", "reason": "late"},
        Refund.objects.count,
    ),
}  # fmt: skip


def prepared(browser: Browser, order: Order, what: str) -> tuple[str, dict[str, str], Callable[[], int]]:
    """An opened dialog with all that somebody types into it."""
    address, typed, count = SENT[what]
    path = address(order)
    browser.open(path)
    units = {f"units_{order.lines.get().pk}": "2"} if what == "ship" else {}
    return path, typed | units, count


@pytest.mark.parametrize("what", SENT)
def test_a_dialog_that_is_sent_again_does_nothing_and_says_so(browser: Browser, order: Order, what: str) -> None:
    path, typed, count = prepared(browser, order, what)
    before = count()

    first = browser.send(path, **typed)
    again = browser.send(path, **typed)

    assert count() == before + 1
    assert [answer.headers.get("HX-Refresh") for answer in (first, again)] == ["true", "true"]
    assert "This was done already" in browser.http.get("/admin/catalog/product/").text
    browser.open(path)  # anew: this one is another deed
    browser.send(path, **typed)
    assert count() == before + 2


@pytest.mark.parametrize("what", SENT)
def test_two_sent_at_one_moment_do_one_deed(browser: Browser, order: Order, what: str) -> None:
    path, typed, count = prepared(browser, order, what)
    before = count()

    answers = together([functools.partial(browser.send, path, **typed) for _ in range(4)])

    assert count() == before + 1
    assert [answer.headers.get("HX-Refresh") for answer in answers] == ["true"] * 4


def test_what_was_refused_can_be_sent_again(browser: Browser, order: Order) -> None:
    path, typed, count = prepared(browser, order, "stock")
    before = count()

    refused = browser.send(path, delta="-100000", reason="found")
    done = browser.send(path, **typed)

    assert "at most" in refused.text
    assert re.findall(r'name="once" value="([^"]*)"', refused.text) == [browser.opened[path]["once"]]
    assert (done.headers.get("HX-Refresh"), count()) == ("true", before + 1)
    assert IdempotencyKey.objects.filter(path=path).count() == 1
