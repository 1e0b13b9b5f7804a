"""A real Chromium, and windows in which a test looks at a shop. A plugin of tests/conftest.py: journeys look too."""

import contextlib
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

from tests.browser.chromium import find_chromium

QUIET = [
    "--no-sandbox",  # as root, and in containers
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-quic",
    "--no-first-run",
]


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """One Chromium for the run."""
    # Playwright's loop runs in this thread, where Django would take our queries for ones inside it.
    os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"] = "1"
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=find_chromium(playwright), args=QUIET)
        yield chromium
        chromium.close()
    del os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"]


@dataclass
class Look:
    """A page and what it complained of."""

    page: Page
    origin: str
    complaints: list[str] = field(default_factory=list)
    strangers: list[str] = field(default_factory=list)

    def go(self, path: str) -> None:
        """Open a page."""
        self.page.goto(f"{self.origin}{path}", wait_until="load")

    def is_clean(self) -> bool:
        """No error in the console (a broken Content-Security-Policy is one), nothing from elsewhere, no overflow."""
        overflow = self.page.evaluate("document.documentElement.scrollWidth - window.innerWidth")
        assert self.complaints == []
        assert self.strangers == []
        assert overflow <= 0, f"{self.page.url} is {overflow}px wider than the window"
        return True


type Looker = Callable[..., Look]


@contextlib.contextmanager
def windows(browser: Browser, *own: str) -> Iterator[Looker]:
    """Open windows: ``look(width=390, scheme="dark")``, at ``origin`` or the first of our own; others may be met."""
    contexts = []

    def open_window(
        *, width: int = 1400, height: int = 900, scheme: str = "light", origin: str = "", others: tuple[str, ...] = ()
    ) -> Look:
        context = browser.new_context(viewport={"width": width, "height": height}, color_scheme=scheme)  # type: ignore[arg-type]  # a literal
        contexts.append(context)
        seen = Look(context.new_page(), origin or own[0])
        known = (*own, "data:", "blob:", seen.origin, *others)
        seen.page.on("console", lambda m: seen.complaints.append(m.text) if m.type == "error" else None)
        seen.page.on("pageerror", lambda error: seen.complaints.append(str(error)))
        seen.page.on("request", lambda r: None if r.url.startswith(known) else seen.strangers.append(r.url))
        return seen

    yield open_window
    for context in contexts:
        context.close()
