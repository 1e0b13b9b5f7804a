"""A pen that writes in any script, on a page whose measures stand here. Called by orders.slips.

What is written from right to left is put in its order by Unicode's algorithm, Arabic letters are joined, and a sign
that the font lacks is a box.
"""

import functools
import re
import unicodedata
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

FONTS = Path(__file__).parents[1] / "fonts"
WIDTH, HEIGHT = 595.28, 841.89  # A4, in points
MARGIN = 45.0
RIGHT = WIDTH - MARGIN
SIZE, LEADING = 9.0, 12.5
BOX = "\u25a1"
FROM_RIGHT = {"R", "AL", "AN"}
MARK = "\u034f"  # has no direction and no shape of its own
GREY, RULE = 0.38, 0.8


@functools.cache
def _font(name: str) -> Any:
    """A font by its file's name. What of it a document needs is embedded there."""
    from reportlab.pdfbase import pdfmetrics
    from reportlab.pdfbase.ttfonts import TTFont

    font = TTFont(name, FONTS / f"{name}.ttf")
    pdfmetrics.registerFont(font)
    return font


@functools.cache
def _joined() -> Any:
    """What joins Arabic letters: the forms that they take beside each other, without vowel signs."""
    from arabic_reshaper import ArabicReshaper

    # The font has the letters of that word, and no one sign for all of it.
    return ArabicReshaper(configuration={"ARABIC LIGATURE ALLAH": False})


def shaped(text: str, font: Any) -> str:
    """A text in signs that the font has, still in the order in which it is read."""
    text = _joined().reshape(unicodedata.normalize("NFC", text))
    return "".join(_sign(sign, font.face.charToGlyph) for sign in text)


def as_seen(paragraph: str, lines: Iterable[str]) -> list[str]:
    """The lines of a paragraph in the order in which their signs stand from left to right, brackets mirrored."""
    if not any(unicodedata.bidirectional(sign) in FROM_RIGHT for sign in paragraph):
        return list(lines)
    from bidi import get_base_level, get_display

    direction = "R" if get_base_level(paragraph) else "L"
    return [_mirrored(get_display(_marked(line), base_dir=direction)) for line in lines]


def _marked(line: str) -> str:
    """With a mark behind each sign that has two sides: it goes where that goes, and stands before it once turned."""
    return "".join(f"{sign}{MARK}" if unicodedata.mirrored(sign) else sign for sign in line)


def _mirrored(line: str) -> str:
    """The package orders signs and mirrors none: do so with those that were turned, and forget the marks."""
    from bidi.mirror import MIRRORED

    def side(found: re.Match[str]) -> str:
        return found["stays"] or MIRRORED.get(found["turned"], found["turned"])

    signs = "".join(map(re.escape, {sign for sign in line if unicodedata.mirrored(sign)}))
    return re.sub(f"(?P<stays>[{signs}]){MARK}|{MARK}(?P<turned>[{signs}])", side, line) if signs else line


def _sign(sign: str, known: Mapping[int, int]) -> str:
    if sign.isspace():
        return " "
    if unicodedata.category(sign) in {"Cc", "Cf", "Cs"} or sign == MARK or "\u0591" <= sign <= "\u05bd":
        return ""  # they steer and are not seen, or are Hebrew's vowel signs, which would stand beside their letter
    return sign if ord(sign) in known else BOX


class Pen:
    """Writes text on a canvas, and remembers whether the page at hand lacks a sign."""

    def __init__(self, canvas: Any) -> None:
        self.canvas = canvas
        self.lacks = False

    def lines(self, text: str, width: float, *, size: float = SIZE, bold: bool = False) -> list[str]:
        """A text in lines no wider than that, each in the order in which it is seen."""
        font = _font("DejaVuSans-Bold" if bold else "DejaVuSans")
        found: list[str] = []
        for paragraph in text.splitlines():
            words = shaped(paragraph, font)
            found += as_seen(words, _wrapped(words, lambda part: font.stringWidth(part, size) <= width))
        return found

    def text(self, x: float, y: float, line: str, *, size: float = SIZE, bold: bool = False, grey: float = 0.0) -> None:
        """One line, as lines() gave it."""
        self._set(line, size=size, bold=bold, grey=grey)
        self.canvas.drawString(x, y, line)

    def to_end(self, x: float, y: float, line: str, *, size: float = SIZE, bold: bool = False, grey: float = 0) -> None:
        """One line that ends there."""
        self._set(line, size=size, bold=bold, grey=grey)
        self.canvas.drawRightString(x, y, line)

    def rule(self, y: float) -> None:
        """A line across the page."""
        self.canvas.setStrokeGray(RULE)
        self.canvas.setLineWidth(0.5)
        self.canvas.line(MARGIN, y, RIGHT, y)

    def _set(self, line: str, *, size: float, bold: bool, grey: float) -> None:
        self.lacks |= BOX in line
        self.canvas.setFont(_font("DejaVuSans-Bold" if bold else "DejaVuSans").fontName, size)
        self.canvas.setFillGray(grey)


def _wrapped(text: str, fits: Callable[[str], bool]) -> Iterator[str]:
    """Lines that fit: broken between words, and inside of a word that would be wider than a line by itself."""
    line = ""
    for word in text.split():
        longer = f"{line} {word}" if line else word
        if fits(longer):
            line = longer
            continue
        if line:
            yield line
        line = word
        while not fits(line):
            count = max(1, bisect_left(range(1, len(line)), 1, key=lambda end: not fits(line[:end])))
            yield line[:count]
            line = line[count:]
    if line:
        yield line
