"""Reads a file in the form of UCI's Online Retail data set and cleans it. Called by the loader and by the replay.

Pure: no query, no clock, no network. The rules of cleaning and their reasons: docs/decisions/0005.
"""

import csv
import gzip
import hashlib
import re
import zlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import ROUND_HALF_EVEN, Decimal, InvalidOperation
from enum import StrEnum
from pathlib import Path
from statistics import median

from catalog.shelves import Shelf, shelf_of

COLUMNS = ("InvoiceNo", "StockCode", "Description", "Quantity", "InvoiceDate", "UnitPrice", "CustomerID", "Country")
# Goods have five digits and at most two letters for the variant, or DCGS and a number; all else is a service or a fee.
GOODS = re.compile(r"[0-9]{5}[A-Z]{0,2}|DCGS[0-9]{1,8}")
PENNY = Decimal("0.01")
LARGEST = 10**9  # of a quantity or a price: what the shop's own counters are meant for
LONGEST_NAME = 200
LONGEST_CODE = 40
_GZIP = b"\x1f\x8b"


class Garbled(Exception):
    """The file cannot be read; the sentence names file, line and column."""


class Reason(StrEnum):
    """Why a code or a line is left out."""

    NO_PRODUCT = "no-product"  # postage, fees, discounts, vouchers: POST, D, M, BANK CHARGES, GIFT_0001_40, …
    NEVER_PRICED = "never-priced"  # a code that is never sold for money: notes about broken and found stock
    CORRECTION = "correction"  # a negative quantity outside a cancellation: stock written off
    ZERO_PRICE = "zero-price"  # stock found, or given away


@dataclass(frozen=True, slots=True)
class Line:
    """One line of one invoice, as it stands in the file, its types made sure of."""

    number: int  # where it ends in the file; the header is line 1
    invoice: str
    sku: str  # folded to upper case: some codes differ by case alone
    description: str  # white space folded
    quantity: int
    moment: datetime  # UK time, without a zone
    price: Decimal
    customer: str  # empty for an unknown one
    country: str

    @property
    def is_goods(self) -> bool:
        """Whether the code is that of a thing that can be on a shelf."""
        return GOODS.fullmatch(self.sku) is not None

    @property
    def is_cancellation(self) -> bool:
        """Whether it belongs to a cancellation."""
        return self.invoice.startswith("C")


@dataclass(frozen=True, slots=True)
class RetailFile:
    """A whole file, read."""

    name: str
    digest: str  # SHA-256 of its text: the same whether it came packed or not
    lines: tuple[Line, ...]

    def invoices(self) -> dict[str, list[Line]]:
        """The lines by invoice, in the order of the file."""
        invoices: dict[str, list[Line]] = defaultdict(list)
        for line in self.lines:
            invoices[line.invoice].append(line)
        return dict(invoices)


# --- reading ---------------------------------------------------------------------------------------------------------
def read_file(path: Path) -> RetailFile:
    """Read a CSV, packed or not. Raises Garbled at the first thing that is not as it should be."""
    text = _text(path)
    rows = csv.reader(text.splitlines(keepends=True), strict=True)
    lines: list[Line] = []
    whose: dict[str, tuple[str, str]] = {}
    try:
        places = _places(path, next(rows, []))
        for row in rows:
            if not row:
                continue
            line = _line(path, rows.line_num, row, places)
            if whose.setdefault(line.invoice, (line.customer, line.country)) != (line.customer, line.country):
                raise Garbled(f"{path}, line {line.number}: invoice {line.invoice} names a second customer.")
            lines.append(line)
    except csv.Error as error:
        raise Garbled(f"{path}, line {rows.line_num}: {error}.") from None
    return RetailFile(path.name, hashlib.sha256(text.encode()).hexdigest(), tuple(lines))


def _text(path: Path) -> str:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise Garbled(f"{path} cannot be read: {error.strerror}.") from None
    if content.startswith(_GZIP):
        try:
            content = gzip.decompress(content)
        except (OSError, EOFError, zlib.error) as error:
            raise Garbled(f"{path} is a damaged gzip file: {error}.") from None
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        number = content.count(b"\n", 0, error.start) + 1
        raise Garbled(f"{path}, line {number}: byte {content[error.start]:#04x} is not UTF-8.") from None


def _places(path: Path, header: Sequence[str]) -> dict[str, int]:
    """Where each column stands. They may come in any order, with others between."""
    places = {name.strip(): place for place, name in enumerate(header)}
    missing = [name for name in COLUMNS if name not in places]
    if missing:
        raise Garbled(
            f"{path}, line 1: there is no column {', '.join(missing)}; the header must name {', '.join(COLUMNS)}."
        )
    return places | {"": len(header)}


@dataclass(frozen=True, slots=True)
class _Row:
    """One row of the file; each reader refuses what is not of its kind, naming file, line and column."""

    place: str  # FILE, line N
    cells: dict[str, str]

    def garbled(self, name: str, should_be: str) -> Garbled:
        return Garbled(f"{self.place}, column {name}: must be {should_be}; it is {self.cells[name][:80]!r}.")

    def code(self, name: str) -> str:
        if not (self.cells[name].isprintable() and 0 < len(self.cells[name]) <= LONGEST_CODE):
            raise self.garbled(name, f"1 to {LONGEST_CODE} printable characters")
        return self.cells[name]

    def text(self, name: str) -> str:
        if "\0" in self.cells[name]:
            raise self.garbled(name, "text without NUL characters")
        return self.cells[name]

    def number(self, name: str) -> int:
        if not re.fullmatch(r"-?[0-9]{1,10}", self.cells[name]) or abs(int(self.cells[name])) > LARGEST:
            raise self.garbled(name, f"a whole number, at most {LARGEST}")
        return int(self.cells[name])

    def amount(self, name: str) -> Decimal:
        try:
            amount = Decimal(self.cells[name])
        except InvalidOperation:
            amount = Decimal("NaN")
        if not amount.is_finite() or abs(amount) > LARGEST:
            raise self.garbled(name, f"an amount such as 2.55, at most {LARGEST}")
        return amount

    def moment(self, name: str) -> datetime:
        try:
            return datetime.fromisoformat(self.cells[name]).replace(tzinfo=None)
        except ValueError:
            raise self.garbled(name, "a time such as 2010-12-01 08:26:00") from None

    def customer(self, name: str) -> str:
        if not re.fullmatch(r"([0-9]{1,20}(\.0)?)?", self.cells[name]):
            raise self.garbled(name, "a number or empty")
        return self.cells[name].removesuffix(".0")


def _line(path: Path, number: int, row: Sequence[str], places: dict[str, int]) -> Line:
    if len(row) != places[""]:
        raise Garbled(f"{path}, line {number}: {len(row)} columns where the header has {places['']}.")
    cells = _Row(f"{path}, line {number}", {name: " ".join(row[places[name]].split()) for name in COLUMNS})
    return Line(
        number=number,
        invoice=cells.code("InvoiceNo").upper(),
        sku=cells.code("StockCode").upper(),
        description=cells.text("Description"),
        quantity=cells.number("Quantity"),
        moment=cells.moment("InvoiceDate"),
        price=cells.amount("UnitPrice"),
        customer=cells.customer("CustomerID"),
        country=cells.code("Country"),
    )


# --- the catalogue in it ---------------------------------------------------------------------------------------------
@dataclass(frozen=True, slots=True)
class Item:
    """A product as the file knows it."""

    sku: str
    name: str
    price: Decimal
    units: int  # the sum of its positive quantities
    shelf: Shelf


@dataclass(frozen=True, slots=True)
class LeftOut:
    """Codes that became no product, for one reason, and how many lines they have."""

    reason: Reason
    skus: tuple[str, ...]
    lines: int


@dataclass(frozen=True, slots=True)
class Catalogue:
    """All products of a file in the order of their SKUs, and what is none."""

    items: tuple[Item, ...]
    left_out: tuple[LeftOut, ...]


def catalogue_of(lines: Iterable[Line]) -> Catalogue:
    """The products of some lines: commonest name, median price, units that came in or were sold."""
    by_sku: dict[str, list[Line]] = defaultdict(list)
    for line in lines:
        by_sku[line.sku].append(line)
    items: list[Item] = []
    left_out: dict[Reason, list[str]] = defaultdict(list)
    for sku, its_lines in sorted(by_sku.items()):
        price = price_of(line.price for line in its_lines)
        if not its_lines[0].is_goods:
            left_out[Reason.NO_PRODUCT].append(sku)
        elif not price:
            left_out[Reason.NEVER_PRICED].append(sku)
        else:
            name = name_of(line.description for line in its_lines) or sku
            units = sum(line.quantity for line in its_lines if line.quantity > 0)
            items.append(Item(sku, name, price, units, shelf_of(name)))
    return Catalogue(
        tuple(items),
        tuple(LeftOut(reason, tuple(skus), sum(len(by_sku[sku]) for sku in skus)) for reason, skus in left_out.items()),
    )


def price_of(prices: Iterable[Decimal]) -> Decimal:
    """The median of the positive ones, in whole pence, half a penny to the even one; 0 when there is none."""
    positive = [price for price in prices if price > 0]
    return median(positive).quantize(PENNY, ROUND_HALF_EVEN) if positive else Decimal(0)


def name_of(descriptions: Iterable[str]) -> str:
    """The commonest one that is not blank; of equals the first in the alphabet, capitals (names) before notes."""
    counts = Counter(description for description in descriptions if description)
    return min(counts, key=lambda name: (-counts[name], name), default="")[:LONGEST_NAME]
