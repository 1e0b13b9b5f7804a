"""The table of prices (prices.toml): what AWS asks for a unit of what. Called by everything here."""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from functools import cache
from pathlib import Path
from typing import Literal

TABLE = Path(__file__).with_name("prices.toml")
DAYS = Decimal("30.4375")  # of a month
HOURS = Decimal(730)  # of a month, as AWS counts it
MILLION = Decimal(1_000_000)

type Checked = Literal["stockholm", "everywhere", "elsewhere"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Price:
    """One price in USD, where AWS publishes it, and how far it may be trusted; ``free`` is what each month has free."""

    service: str
    usd: Decimal
    unit: str
    source: str
    checked: Checked
    note: str = ""
    free: int = 0

    @property
    def divisor(self) -> Decimal:
        """How many make one unit: prices of single requests are told by the million."""
        return MILLION if self.unit.startswith("million") else Decimal(1)


@dataclass(frozen=True, slots=True)
class Prices:
    """The whole table, and the day on which it was read."""

    read: date
    region: str
    of: Mapping[str, Price]


@cache
def prices() -> Prices:
    """The table as the repository has it."""
    table = tomllib.loads(TABLE.read_text(), parse_float=Decimal)
    read, region = table.pop("read"), table.pop("region")
    return Prices(read, region, {name: Price(**{**row, "usd": Decimal(row["usd"])}) for name, row in table.items()})
