"""The e-mails to customers in a real browser: on a phone and a desk, in light and in dark, with names of any length."""

import contextlib

import pytest
from playwright.sync_api import Browser

from orders.letters import send_letter
from tests.orders.ses import ADDRESS, ScriptedSES, fact, make_order, ses
from tests.over_http import Shop

__all__ = ["ses"]  # pytest finds it here

# The least contrast of any text with what is behind it, as WCAG 2.2 reckons (4.5 is readable).
LEAST_CONTRAST = """() => {
  const rgb = text => text.match(/[\\d.]+/g).map(Number);
  const light = ([r, g, b]) => [r, g, b].map(v => v / 255)
    .map(v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
    .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
  const behind = element => {
    for (let e = element; e; e = e.parentElement) {
      const color = rgb(getComputedStyle(e).backgroundColor);
      if (color.length === 3 || color[3] === 1) return color;
    }
    return [255, 255, 255];
  };
  const shown = [...document.body.querySelectorAll("*")].filter(e => e.offsetParent
    && [...e.childNodes].some(n => n.nodeType === Node.TEXT_NODE && n.textContent.trim()));
  return Math.min(...shown.map(e => {
    const pair = [light(rgb(getComputedStyle(e).color)), light(behind(e))].sort((a, b) => b - a);
    return (pair[0] + 0.05) / (pair[1] + 0.05);
  }));
}"""


@pytest.mark.parametrize("kind", ["Order Confirmed", "Order Shipped", "Order Cancelled", "Order Refunded"])
def test_a_letter_fits_and_can_be_read_everywhere(shop: Shop, browser: Browser, ses: ScriptedSES, kind: str) -> None:
    names = [("W" * 150, "999999.99", 100), ("مصباح طاولة نحاسي", "3.20", 2), ("Lamp", "2.50", 1)]
    order = make_order(*names, address=ADDRESS | {"line1": "y" * 200})
    send_letter(**fact(order, kind, amount="2.50", tracking="z" * 200))
    part = ses.message().get_body(("html",))
    assert part is not None
    backgrounds = set()

    for width in (320, 390, 800):
        for scheme in ("light", "dark"):
            with contextlib.closing(
                browser.new_context(viewport={"width": width, "height": 800}, color_scheme=scheme)
            ) as context:
                page = context.new_page()
                page.set_content(part.get_content())
                assert page.evaluate("document.documentElement.scrollWidth - window.innerWidth") <= 0, (width, scheme)
                assert page.evaluate(LEAST_CONTRAST) >= 4.5, (width, scheme)
                assert order.number in page.inner_text("body")
                backgrounds.add((scheme, page.evaluate("getComputedStyle(document.body).backgroundColor")))

    assert len(backgrounds) == 2
