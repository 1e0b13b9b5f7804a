"""Staff sign in through the provider in a real browser, and what they typed outlives their session."""

from collections.abc import Callable, Iterator

import pytest
from django.contrib.sessions.models import Session
from playwright.sync_api import Route, expect

from catalog.models import Product
from tests.accounts.provider import Provider
from tests.browser.windows import Look, Looker
from tests.in_process import shelf
from tests.over_http import Shop, WebServer

BUTTON = "Sign in with your company account"
STYLES_OF_PROVIDER = "https://cdn.jsdelivr.net/"  # its page asks for a style sheet, which no test fetches

type Opener = Callable[..., Look]


@pytest.fixture(scope="module")
def desk_server(web_server: WebServer, provider: Provider) -> Iterator[WebServer]:
    """The shop, told of the provider."""
    server = WebServer(web_server.database_url, 4, OIDC_ISSUER=provider.url, STAFF_NEED_MFA="yes")
    try:
        server.start()
        yield server
    finally:
        server.stop()


@pytest.fixture
def desk(look: Looker, desk_server: WebServer, provider: Provider) -> Opener:
    """Open a window on that shop."""

    def style(route: Route) -> None:
        route.fulfill(body="", content_type="text/css")

    def open_window(**more: object) -> Look:
        window = look(origin=desk_server.url, others=(provider.url, STYLES_OF_PROVIDER), **more)
        window.page.route(f"{STYLES_OF_PROVIDER}**", style)
        return window

    return open_window


def sign_in(window: Look, sub: str) -> None:
    """From our sign-in page through the provider's."""
    window.page.get_by_role("button", name=BUTTON).click()
    window.page.get_by_label("Subject").fill(sub)
    window.page.get_by_role("button", name="Authorize", exact=True).click()
    window.page.wait_for_url(f"{window.origin}/**")


def fill_in(window: Look, product: Product, name: str) -> None:
    """Change the product's name on its page, and send the form."""
    window.page.get_by_label("Name").fill(name)
    window.page.get_by_role("button", name="Save", exact=True).click()
    window.page.wait_for_load_state()


def test_staff_sign_in_through_the_provider_and_out_again(desk: Opener, provider: Provider) -> None:
    window = desk()

    window.go("/admin/orders/order/?q=ORD")
    sign_in(window, provider.knows("browser-staff", "staff"))
    assert window.page.url == f"{window.origin}/admin/orders/order/?q=ORD"
    assert "Outbox" in window.page.content()
    assert window.is_clean()

    window.page.get_by_text("Browser-Staff").first.click()
    window.page.get_by_role("button", name="Log out").click()
    window.page.get_by_role("button", name="End session").click()
    window.page.wait_for_url(f"{window.origin}/admin/signed-out")
    assert window.page.get_by_text("You are signed out").is_visible()
    assert window.is_clean()
    window.go("/admin/")
    assert window.page.get_by_role("button", name=BUTTON).is_visible()


@pytest.mark.parametrize(("width", "scheme"), [(1400, "light"), (390, "dark")])
def test_who_may_not_work_here_is_told_and_comes_in_as_somebody_else(
    desk: Opener, provider: Provider, width: int, scheme: str
) -> None:
    window = desk(width=width, scheme=scheme)
    email = f"{'a-very-long-name-' * 8}@example.com"
    window.go("/admin/")
    sign_in(window, provider.knows(f"browser-customer-{width}", email=email))
    assert email in window.page.inner_text("body")
    overflow = window.page.evaluate("document.documentElement.scrollWidth - window.innerWidth")
    assert overflow <= 0

    window.page.get_by_role("button", name="Sign in as somebody else").click()
    window.page.get_by_role("button", name="End session").click()
    window.page.get_by_role("link", name="Sign in again").click()
    sign_in(window, provider.knows("browser-staff", "staff"))

    assert window.page.url == f"{window.origin}/admin/"


def test_a_session_that_ends_under_a_form_loses_nothing_typed(desk: Opener, provider: Provider, shop: Shop) -> None:
    product = shop.product(on_hand=3, name="Old name")
    window = desk()
    address = f"/admin/catalog/product/{product.pk}/change/"
    window.go(address)
    sign_in(window, provider.knows("browser-staff", "staff"))
    Session.objects.all().delete()

    fill_in(window, product, "A new name, typed with care")
    assert window.page.get_by_role("status").filter(has_text="is kept in this tab").is_visible()
    sign_in(window, "browser-staff")

    assert window.page.url.endswith(address)
    assert window.page.get_by_label("Name").input_value() == "A new name, typed with care"
    assert window.page.get_by_role("status").filter(has_text="is not saved yet").is_visible()
    assert Product.objects.get(pk=product.pk).name == "Old name"
    window.page.get_by_role("button", name="Save", exact=True).click()
    window.page.wait_for_url("**/admin/catalog/product/")
    assert Product.objects.get(pk=product.pk).name == "A new name, typed with care"
    window.go(address)
    assert not window.page.get_by_role("status").filter(has_text="is not saved yet").is_visible()
    assert window.page.evaluate("sessionStorage.length") == 0
    assert window.is_clean()


def test_nobody_else_finds_what_was_typed(desk: Opener, provider: Provider, shop: Shop) -> None:
    product = shop.product(on_hand=3, name="Old name")
    window = desk()
    window.go(f"/admin/catalog/product/{product.pk}/change/")
    sign_in(window, provider.knows("browser-staff", "staff"))
    Session.objects.all().delete()

    fill_in(window, product, "Between us")
    sign_in(window, provider.knows("browser-colleague", "staff"))

    assert window.page.get_by_label("Name").input_value() == "Old name"
    assert window.page.evaluate("sessionStorage.length") == 0


def test_a_session_that_ends_under_a_dialog_loses_nothing_typed_either(
    desk: Opener, provider: Provider, shop: Shop
) -> None:
    product = shop.product(on_hand=30)
    window = desk()
    window.go(f"/admin/catalog/stock/{product.stock.pk}/change/")
    sign_in(window, provider.knows("browser-staff", "staff"))

    def adjust() -> None:
        window.page.get_by_text("Adjust stock").click()
        window.page.get_by_label("Change*").wait_for()

    adjust()
    window.page.get_by_label("Change*").fill("-5")
    window.page.get_by_label("Reason*").fill("Broken")
    Session.objects.all().delete()
    window.page.get_by_role("button", name="Adjust", exact=True).click()
    window.page.wait_for_url("**/admin/login/**")
    sign_in(window, "browser-staff")
    adjust()

    expect(window.page.get_by_label("Change*")).to_have_value("-5")
    expect(window.page.get_by_label("Reason*")).to_have_value("Broken")
    window.page.get_by_role("button", name="Adjust", exact=True).click()
    window.page.get_by_text("25", exact=True).first.wait_for()
    assert shelf(product) == (25, 0)
    assert window.page.evaluate("sessionStorage.length") == 0
