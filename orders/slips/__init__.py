"""Packing slips on paper: what lies in a parcel, and where it goes, as a PDF in A4. Called by the admin and by jobs.

A slip knows no price, and of people the address alone. Of a sign that the font lacks the foot of the page tells.
"""

import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

from orders.slips.writing import BOX, GREY, HEIGHT, LEADING, MARGIN, RIGHT, SIZE, WIDTH, Pen

FLOOR = MARGIN + 24  # above the foot
LACKING = f"{BOX} stands for a sign that this font does not have: the order's page at the desk shows it."
MOST_NOTE = 30  # lines: a note may be a thousand line breaks
MORE = "… The rest of it stands on the order's page at the desk."
# Where the columns of the table begin, and where those of its figures end.
SKU, NAME, ENDS = MARGIN + 20, MARGIN + 148, (RIGHT - 124, RIGHT - 62, RIGHT)
SKU_WIDTH, NAME_WIDTH = NAME - SKU - 10, ENDS[0] - NAME - 50


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
        return cls(address, note if len(note) <= MOST_NOTE else [*note[: MOST_NOTE - 2], *pen.lines(MORE, half)])

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
