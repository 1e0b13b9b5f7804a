"""Every kind of page of the desk before axe-core, in both themes; and a day's work without a mouse."""

from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe

from orders.models import Shipment
from tests.browser.busy_day import BusyDay, make_busy_day
from tests.browser.desk_pages import PAGES
from tests.browser.test_admin import sign_in
from tests.browser.windows import Look, Looker
from tests.over_http import Shop
from vibecode.local.names import DEMO_PASSWORD

# What WCAG 2.2 AA asks, as axe-core names it, and what axe-core itself calls good practice.
RULES = {
    "runOnly": {"type": "tag", "values": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]},
    "resultTypes": ["violations"],
}
AXE = Axe()


@pytest.fixture
def day(shop: Shop) -> BusyDay:
    """Something in every state, with names of every length and direction."""
    return make_busy_day(products=5, orders=12)


def found_by_axe(window: Look) -> list[str]:
    """What axe-core finds worse than minor, in the dialog where there is one: the rule, and where."""
    open_now = window.page.locator("#dialog").is_visible()
    found = AXE.run(window.page, context="#dialog" if open_now else None, options=RULES)
    violations: list[dict[str, Any]] = found.response["violations"]
    return [
        f"{one['id']}: {node['html'][:200]} {node['failureSummary'][-200:]}"
        for one in violations
        if one["impact"] != "minor"
        for node in one["nodes"]
    ]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_on_any_page(look: Looker, day: BusyDay, scheme: str) -> None:
    window = look(scheme=scheme)
    window.go("/admin/login/")
    found = {"sign-in": found_by_axe(window)}
    sign_in(window, "admin@example.com")
    for name, page in PAGES.items():
        page.open(window, day)
        found[name] = found_by_axe(window)
        assert window.is_clean()
    assert not any(found.values()), "\n".join(f"{name}: {one}" for name, each in found.items() for one in each)
    assert len(PAGES) >= 12


def test_axe_finds_nothing_on_a_phone(look: Looker, day: BusyDay) -> None:
    window = look(width=390, scheme="dark")
    sign_in(window)
    found = {}
    for name in ("home", "orders", "order", "order-ship", "product", "import"):
        PAGES[name].open(window, day)
        found[name] = found_by_axe(window)
        assert window.is_clean()
    assert not any(found.values()), "\n".join(f"{name}: {one}" for name, each in found.items() for one in each)


def test_no_page_is_wider_than_a_phone_or_complains(look: Looker, day: BusyDay) -> None:
    window = look(width=390)
    sign_in(window, "admin@example.com")
    for page in PAGES.values():
        page.open(window, day)
        assert window.is_clean()


FOCUSED = """() => {
    const at = document.activeElement;
    const rings = style => style.outlineStyle !== "none" && parseFloat(style.outlineWidth) > 0;
    let seen = false;
    for (let part = at, n = 0; part && n < 4; part = part.parentElement, n++) seen ||= rings(getComputedStyle(part));
    const called = at === document.body ? "BODY" : at.ariaLabel || at.innerText || at.name || at.tagName;
    return [called, seen, at.outerHTML.slice(0, 200)];
}"""


def tab_to(window: Look, name: str) -> None:
    """Press Tab until the focus is on what is called so; wherever it stands on its way, one sees that.

    Past the last of the page it stands on the body, and comes round.
    """
    passed = []
    for _ in range(80):
        window.page.wait_for_load_state()
        window.page.keyboard.press("Tab")
        called, seen, markup = window.page.evaluate(FOCUSED)
        assert seen or called == "BODY", f"nobody sees that the focus is on {markup}"
        if name in map(str.strip, called.split("\n")):
            return
        passed.append(called)
    raise AssertionError(f"Tab never comes to {name!r}, but to {passed}")


def test_a_parcel_is_sent_by_the_keyboard_alone(look: Looker, day: BusyDay) -> None:
    window = look()
    keys = window.page.keyboard
    window.go("/admin/")
    tab_to(window, "username")
    keys.type("staff@example.com")
    tab_to(window, "password")
    keys.type(DEMO_PASSWORD)
    keys.press("Enter")
    window.page.wait_for_url(f"{window.origin}/admin/")
    window.page.wait_for_load_state("networkidle")

    tab_to(window, "Skip to the page")
    keys.press("Enter")
    assert window.page.evaluate("document.activeElement.id") == "main"
    tab_to(window, "30 days")  # the page, and not the sidebar
    tab_to(window, "To ship")  # round again
    keys.press("Enter")
    window.page.wait_for_url("**view=to-ship")
    keys.press("/")
    keys.type(day.open_order.number)
    keys.press("Enter")
    window.page.wait_for_url("**q=ORD**")
    tab_to(window, day.open_order.number)
    keys.press("Enter")
    window.page.wait_for_url("**/change/**")
    tab_to(window, "Ship")
    keys.press("Enter")
    window.page.get_by_label("Tracking").wait_for()
    tab_to(window, "tracking")
    keys.type("RM000000001GB")
    with window.page.expect_navigation():
        keys.press("Enter")

    assert "RM000000001GB" in window.page.inner_text("#main")
    assert Shipment.objects.get(order=day.open_order).tracking == "RM000000001GB"
    assert window.is_clean()
