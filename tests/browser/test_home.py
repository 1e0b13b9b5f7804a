"""The admin's home in a real browser: charts from our own files, what comes after the page, both widths and themes."""

import uuid

import pytest
from playwright.sync_api import TimeoutError  # noqa: A004 -- Playwright's own

from accounts.models import User
from orders.services import rebuild_figures
from tests.browser.test_admin import sign_in
from tests.browser.windows import Look, Looker
from tests.orders.recount import charge, place
from tests.over_http import Shop

# How many charts have painted something: pixels that are not transparent.
PAINTED = """() => [...document.querySelectorAll("canvas.chart")].filter(canvas => canvas.width && canvas
  .getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data.some(value => value)).length"""


@pytest.fixture
def trade(shop: Shop) -> str:
    """An order of today that was paid, of a product whose name is long: its name."""
    lamp = shop.product(on_hand=3, name="A very long name that goes on and on, as names of gifts do " * 3)
    sub = str(uuid.uuid4())
    charge(place(User.objects.create(cognito_sub=sub, email=f"{sub}@example.com"), (lamp, 3)))
    rebuild_figures()
    return lamp.name


def open_home(window: Look) -> None:
    sign_in(window)
    window.go("/admin/?range=7-days")


def wait_for_the_queues(window: Look) -> None:
    """Until their state has come; a busy machine's SQS may be slower than the page waits."""
    for _ in range(5):
        try:
            window.page.get_by_text("Queue figures").wait_for(timeout=10_000)
        except TimeoutError:
            window.page.reload(wait_until="load")
        else:
            return
    pytest.fail("the queues' state does not come")


@pytest.mark.parametrize(("width", "scheme"), [(1440, "light"), (1440, "dark"), (390, "light"), (390, "dark")])
def test_the_home_opens_clean_and_its_charts_are_drawn(look: Looker, trade: str, width: int, scheme: str) -> None:
    window = look(width=width, scheme=scheme)

    open_home(window)

    wait_for_the_queues(window)
    assert window.page.evaluate(PAINTED) >= 3  # nothing was refunded
    assert window.page.get_by_role("link", name="7 days").get_attribute("aria-current") == "page"
    assert window.page.locator("#dead-letters").inner_text() != "asking …"
    assert window.page.get_by_role("link", name=trade).first.is_visible()
    window.page.get_by_text("Day by day").click()
    assert window.page.get_by_role("columnheader", name="Average order").is_visible()
    assert window.page.locator(".shop-days tbody tr").count() == 7
    assert window.is_clean()


def test_a_state_that_does_not_come_is_said_to(look: Looker, trade: str) -> None:
    window = look()
    window.page.route("**/queues/", lambda route: route.abort())

    open_home(window)

    window.page.get_by_text("The queues' state does not answer.").wait_for()
    assert window.page.locator("#dead-letters").inner_text().strip() == "does not answer"
    assert not window.page.get_by_text("Asking queues and workflow").is_visible()
    assert window.page.evaluate(PAINTED) >= 3
