"""Takes the pictures of docs/admin: `.venv/bin/pytest tests/browser/take_screenshots.py`. Not part of the tests."""

import io

from PIL import Image

from tests.browser.busy_day import make_busy_day
from tests.browser.desk_pages import PAGES
from tests.browser.test_admin import sign_in
from tests.browser.windows import Look, Looker
from tests.over_http import Shop
from vibecode.local.folder import REPOSITORY

FOLDER = REPOSITORY / "docs" / "admin"
WIDE, DESK, PHONE, TALL = (1920, 1080), (1440, 900), (390, 844), (1440, 2050)
# The file's name is page, window and theme.
SHOTS = (
    ("home", DESK, "light"), ("home", PHONE, "dark"), ("home", WIDE, "dark"),
    ("orders", DESK, "light"), ("orders", PHONE, "light"), ("to-ship", WIDE, "light"), ("no-orders", DESK, "light"),
    ("order", TALL, "light"), ("order", DESK, "dark"), ("order", PHONE, "light"),
    ("order-ship", DESK, "light"), ("order-refund", PHONE, "dark"), ("order-decide", DESK, "dark"),
    ("products", DESK, "dark"), ("product", DESK, "light"), ("stock-adjust", DESK, "light"),
    ("import", DESK, "light"), ("import", PHONE, "dark"), ("person", DESK, "light"),
    ("audit-trail", DESK, "light"), ("order-history", PHONE, "light"),
)  # fmt: skip


def save(window: Look, name: str) -> None:
    """As a WebP, a fifth of the size of a PNG."""
    taken = Image.open(io.BytesIO(window.page.screenshot(animations="disabled"))).convert("RGB")
    taken.save(FOLDER / f"{name}.webp", quality=92, method=6)


def test_take_them(look: Looker, shop: Shop) -> None:
    FOLDER.mkdir(exist_ok=True)
    empty = look(width=DESK[0], height=DESK[1])
    empty.go("/admin/login/")
    save(empty, "sign-in-desk-light")
    sign_in(empty)
    empty.page.get_by_text("Queue figures").wait_for(timeout=30_000)
    save(empty, "home-of-an-empty-shop-desk-light")
    day = make_busy_day(days=60, orders=110)
    windows: dict[tuple[tuple[int, int], str], Look] = {}
    for name, size, scheme in SHOTS:
        if (size, scheme) not in windows:
            windows[size, scheme] = look(width=size[0], height=size[1], scheme=scheme)
            sign_in(windows[size, scheme], "admin@example.com")
        window = windows[size, scheme]
        PAGES[name].open(window, day)
        kind = {WIDE: "wide", DESK: "desk", PHONE: "phone", TALL: "whole"}[size]
        save(window, f"{name}-{kind}-{scheme}")
        assert window.is_clean()
