"""Windows on the served shop."""

import os
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser

from tests.browser.windows import Looker, windows
from tests.over_http import Shop


@pytest.fixture
def look(browser: Browser, shop: Shop) -> Iterator[Looker]:
    """Open windows on it."""
    with windows(browser, shop.server.url, os.environ["AWS_ENDPOINT_URL"]) as opened:
        yield opened
