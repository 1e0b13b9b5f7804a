"""Packing slips on paper: what lies in a parcel, and where it goes, as a PDF in A4. Called by the admin and by jobs.

A slip knows no price, and of people the address alone. Text is laid out here, line by line: what is written from right
to left is put in its order by Unicode's algorithm, Arabic letters are joined. A sign that the font lacks is a box, of
which the foot of the page tells.
"""

import functools
import io
import re
import unicodedata
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

FONTS = Path(__file__).with_name("fonts")
WIDTH, HEIGHT = 595.28, 841.89  # A4, in points
MARGIN = 45.0
RIGHT = WIDTH - MARGIN
FLOOR = MARGIN + 24  # above the foot
SIZE, LEADING = 9.0, 12.5
BOX = "\u25a1"
FROM_RIGHT = {"R", "AL", "AN"}
MARK = "\u034f"  # has no direction and no shape of its own
GREY, RULE = 0.38, 0.8
LACKING = f"{BOX} stands for a sign that this font does not have: the order's page at the desk shows it."
MOST_NOTE = 30  # lines: a note may be a thousand line breaks
MORE = "… The rest of it stands on the order's page at the desk."
# Where the columns of the table begin, and where those of its figures end.
SKU, NAME, ENDS = MARGIN + 20, MARGIN + 148, (RIGHT - 124, RIGHT - 62, RIGHT)
SKU_WIDTH, NAME_WIDTH = NAME - SKU - 10, ENDS[0] - NAME - 50


# --- what stands on a slip -------------------------------------------------------------------------------------------
@dataclass(frozen=True, slots=True)
class SlipLine:
    """One product: its figures are those of the slip's three columns."""

    sku: str
    name: str
    figures: tuple[str, str, str]
    remark: str = ""


@dataclass(frozen=True, slots=True)
class Slip:
    """One parcel, as words."""

    shop: str
    order: str
    facts: tuple[str, ...]  # when it was placed, which parcel it is
    address: tuple[str, ...]
    note: str
    heads: tuple[str, str, str]
    lines: tuple[SlipLine, ...]

    @classmethod
    def of(cls, kept: Mapping[str, Any]) -> Self:
        """From JSON, as a job keeps it between two of its steps."""
        lines = tuple(SlipLine(**{**line, "figures": tuple(line["figures"])}) for line in kept["lines"])
        lists = {name: tuple(kept[name]) for name in ("facts", "address", "heads")}
        return cls(**{**kept, **lists, "lines": lines})


def print_slips(slips: Iterable[Slip]) -> bytes:
    """A PDF of slips, each beginning on a page of its own; of none it says so."""
    from reportlab.pdfgen.canvas import Canvas  # heavy, and seldom needed

    out = io.BytesIO()
    canvas = Canvas(out, pagesize=(WIDTH, HEIGHT), invariant=True, pageCompression=True, lang="en-GB")
    canvas.setTitle("Packing slips")
    pen, empty = Pen(canvas), True
    for slip in slips:
        empty = False
        _draw(pen, slip)
    if empty:
        pen.text(MARGIN, HEIGHT - MARGIN - 20, "Nothing of these orders is left to ship.")
        canvas.showPage()
    canvas.save()
    return out.getvalue()


# --- letters ---------------------------------------------------------------------------------------------------------
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


# --- pages -----------------------------------------------------------------------------------------------------------
@dataclass(frozen=True, slots=True)
class Row:
    """A line of the table, laid out."""

    sku: list[str]
    name: list[str]
    remark: list[str]
    figures: tuple[str, str, str]

    @classmethod
    def of(cls, pen: Pen, line: SlipLine) -> Self:
        """In lines as wide as their columns."""
        remark = pen.lines(line.remark, NAME_WIDTH, size=SIZE - 1.5)
        return cls(pen.lines(line.sku, SKU_WIDTH), pen.lines(line.name, NAME_WIDTH), remark, line.figures)

    @property
    def height(self) -> float:
        """With what separates it from the next one."""
        return max(len(self.sku), len(self.name) + len(self.remark), 1) * LEADING + 7


def _draw(pen: Pen, slip: Slip) -> None:
    """All pages of a slip."""
    rows = [Row.of(pen, line) for line in slip.lines]
    blocks = Blocks.of(pen, slip)
    first = HEIGHT - MARGIN - blocks.height(slip)
    pages = _pages(rows, first, HEIGHT - MARGIN - 36)
    for number, page in enumerate(pages, start=1):
        pen.lacks = False
        y = _draw_head(pen, slip, blocks) if number == 1 else _draw_small_head(pen, slip)
        _draw_table(pen, slip, page, y)
        _draw_foot(pen, slip, number, len(pages))
        pen.canvas.showPage()


def _pages(rows: Sequence[Row], first: float, others: float) -> list[list[Row]]:
    """The rows of each page, of which the first one begins lower."""
    pages: list[list[Row]] = [[]]
    left = first - FLOOR - 22  # under the table's head
    for row in rows:
        if row.height > left and pages[-1]:
            pages.append([])
            left = others - FLOOR - 22
        pages[-1].append(row)
        left -= row.height
    return pages


@dataclass(frozen=True, slots=True)
class Blocks:
    """Address and note, laid out: half of the page each."""

    address: list[str]
    note: list[str]

    @classmethod
    def of(cls, pen: Pen, slip: Slip) -> Self:
        """The whole address; of a note that would fill the page, its beginning."""
        half = (RIGHT - MARGIN) / 2 - 15
        address = [line for each in slip.address for line in pen.lines(each, half, size=SIZE + 2)]
        note = pen.lines(slip.note, half)
        return cls(address, note if len(note) <= MOST_NOTE else [*note[: MOST_NOTE - 1], MORE])

    def height(self, slip: Slip) -> float:
        """Of the whole head of the first page."""
        lines = max(len(self.address) * (LEADING + 2.5), len(self.note) * LEADING)
        return 92 + len(slip.facts) * LEADING + lines


def _draw_head(pen: Pen, slip: Slip, blocks: Blocks) -> float:
    """Whose it is, what it is about, and where it goes; returns where the table may begin."""
    y = HEIGHT - MARGIN - 10
    pen.text(MARGIN, y, pen.lines(slip.shop, 300, size=11, bold=True)[0], size=11, bold=True)
    pen.to_end(RIGHT, y, "PACKING SLIP", size=SIZE, grey=GREY)
    y -= 30
    pen.text(MARGIN, y, slip.order, size=15, bold=True)
    for fact in slip.facts:
        y -= LEADING + 2 if fact is slip.facts[0] else LEADING
        pen.text(MARGIN, y, pen.lines(fact, RIGHT - MARGIN)[0], grey=GREY)
    top = y - 26
    middle = MARGIN + (RIGHT - MARGIN) / 2 + 15
    pen.text(MARGIN, top, "Ship to", size=SIZE - 1.5, grey=GREY)
    for place, line in enumerate(blocks.address, start=1):
        pen.text(MARGIN, top - place * (LEADING + 2.5), line, size=SIZE + 2)
    if blocks.note:
        pen.text(middle, top, "The customer's note", size=SIZE - 1.5, grey=GREY)
    for place, line in enumerate(blocks.note, start=1):
        pen.text(middle, top - place * LEADING - 1, line)
    return HEIGHT - MARGIN - blocks.height(slip)


def _draw_small_head(pen: Pen, slip: Slip) -> float:
    y = HEIGHT - MARGIN - 10
    pen.text(MARGIN, y, slip.order, size=11, bold=True)
    pen.to_end(RIGHT, y, "PACKING SLIP, CONTINUED", grey=GREY)
    return HEIGHT - MARGIN - 36


def _draw_table(pen: Pen, slip: Slip, rows: Sequence[Row], y: float) -> None:
    small = SIZE - 1.5
    pen.text(SKU, y - 8, "SKU", size=small, grey=GREY)
    pen.text(NAME, y - 8, "Item", size=small, grey=GREY)
    for end, head in zip(ENDS, slip.heads, strict=True):
        pen.to_end(end, y - 8, head, size=small, bold=end == ENDS[-1], grey=GREY)
    y -= 16
    pen.rule(y)
    for row in rows:
        base = y - LEADING - 1
        pen.canvas.setStrokeGray(0.5)
        pen.canvas.rect(MARGIN, base - 1, 8.5, 8.5)  # to be ticked
        for place, line in enumerate(row.sku):
            pen.text(SKU, base - place * LEADING, line)
        for place, line in enumerate(row.name):
            pen.text(NAME, base - place * LEADING, line)
        for place, line in enumerate(row.remark, start=len(row.name)):
            pen.text(NAME, base - place * LEADING, line, size=small, grey=GREY)
        for end, figure in zip(ENDS, row.figures, strict=True):
            last = end == ENDS[-1]
            pen.to_end(end, base, figure, size=SIZE + 2 * last, bold=last)
        y -= row.height
        pen.rule(y)


def _draw_foot(pen: Pen, slip: Slip, number: int, count: int) -> None:
    small = SIZE - 1.5
    pen.to_end(RIGHT, MARGIN - 6, f"{slip.order}  ·  page {number} of {count}", size=small, grey=GREY)
    if pen.lacks:
        pen.text(MARGIN, MARGIN + 8, LACKING, size=small, grey=GREY)
