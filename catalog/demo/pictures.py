"""Draws a small picture for a product that has none: initials on a coloured card. Called by load_demo_shop.

The same SKU and name give the same picture.
"""

import colorsys
import hashlib
import io
import re

from PIL import Image, ImageDraw, ImageFont

SIZE = 480
_SMOOTH = 2  # drawn larger, then scaled down
_SMALL_WORDS = frozenset({"A", "AND", "FOR", "IN", "OF", "ON", "SET", "PACK", "THE", "WITH"})


def draw_picture(sku: str, name: str) -> bytes:
    """A square WebP of a few kilobytes."""
    seed = hashlib.sha256(sku.encode()).digest()
    hue = seed[0] / 256
    side = SIZE * _SMOOTH
    image = Image.new("RGB", (side, side), _colour(hue, 0.93, 0.45))
    draw = ImageDraw.Draw(image)
    for number in range(3):  # three calm discs of the same family
        x, y, size = (seed[3 * number + place] / 255 for place in (1, 2, 3))
        radius = side * (0.18 + 0.22 * size)
        box = (x * side - radius, y * side - radius, x * side + radius, y * side + radius)
        draw.ellipse(box, fill=_colour(hue + 0.06 * (number - 1), 0.87 - 0.03 * number, 0.5))
    middle = side / 2
    ink = _colour(hue, 0.27, 0.45)
    draw.text((middle, middle * 0.94), initials_of(name), ink, ImageFont.load_default(side * 0.36), "mm")
    label = name.title() if len(name) <= 30 else f"{name[:29].title().rstrip()}…"
    draw.text((middle, side * 0.86), label, ink, ImageFont.load_default(side * 0.045), "mm")
    picture = io.BytesIO()
    image.resize((SIZE, SIZE), Image.Resampling.LANCZOS).save(picture, "WEBP", quality=80, method=4)
    return picture.getvalue()


def initials_of(name: str) -> str:
    """The first letters of the first two words that say something."""
    words = [word for word in re.findall(r"[A-Z]+", name.upper()) if word not in _SMALL_WORDS and len(word) > 1]
    return "".join(word[0] for word in words[:2]) or name[:1].upper() or "?"


def _colour(hue: float, lightness: float, saturation: float) -> tuple[int, int, int]:
    red, green, blue = colorsys.hls_to_rgb(hue % 1, lightness, saturation)
    return round(red * 255), round(green * 255), round(blue * 255)
