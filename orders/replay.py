"""What to do with each invoice of an Online Retail file, and what came of it. Called by the command replay_orders.

Pure: it asks nobody. The rules and their reasons: docs/decisions/0005.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from enum import StrEnum
from typing import Any

from django.utils.text import slugify

from catalog.online_retail import Line, Reason, RetailFile


class NotACancel(StrEnum):
    """Why a cancellation cancels none of our orders."""

    GUEST = "cancellation-without-customer"  # nobody can say whose it was
    LATER = "cancellation-before-its-order"  # equal to a later invoice: something older was corrected and sold anew
    PARTIAL = "cancellation-of-no-whole-order"  # of a part, or of what was bought before the file begins
    NOT_PLACED = "cancellation-of-a-refused-order"


@dataclass(frozen=True, slots=True)
class Place:
    """An order to place."""

    invoice: str
    customer: str  # an e-mail address
    quantities: Mapping[str, int]
    lines: int  # of the file, that these quantities are the sum of
    left_out: Counter[str]  # lines by reason


@dataclass(frozen=True, slots=True)
class Cancel:
    """An order to cancel."""

    invoice: str
    customer: str
    original: str
    lines: int
    left_out: Counter[str]


@dataclass(frozen=True, slots=True)
class Skip:
    """An invoice that becomes no request."""

    invoice: str
    reason: str
    lines: int


type Step = Place | Cancel | Skip


def customer_of(line: Line) -> str:
    """Whom an invoice is replayed as: its customer, or the guest of its country."""
    return f"{f'customer-{line.customer}' if line.customer else f'guest-{slugify(line.country)}'}@example.com"


def why_left_out(line: Line) -> Reason | None:
    """Why a line of a sale cannot be ordered; None if it can."""
    if not line.is_goods:
        return Reason.NO_PRODUCT
    if line.quantity <= 0:
        return Reason.CORRECTION
    return Reason.ZERO_PRICE if line.price <= 0 else None


def plan_replay(file: RetailFile, *, limit: int | None = None) -> list[Step]:
    """One step for each of the file's first invoices, in its order; an original stands before its cancellation."""
    invoices = list(file.invoices().items())
    sales = {
        name: step
        for name, lines in invoices
        if not lines[0].is_cancellation and isinstance(step := _sale(name, lines), Place)
    }
    later = Counter(map(_meaning, sales.values()))
    standing: dict[tuple[str, frozenset[tuple[str, int]]], list[str]] = {}
    steps: list[Step] = []
    for name, lines in invoices[:limit]:
        if lines[0].is_cancellation:
            steps.append(_cancellation(name, lines, standing, later))
            continue
        step = sales.get(name) or _sale(name, lines)
        if isinstance(step, Place):
            later[_meaning(step)] -= 1
            standing.setdefault(_meaning(step), []).append(name)
        steps.append(step)
    return steps


def _meaning(step: Place) -> tuple[str, frozenset[tuple[str, int]]]:
    return step.customer, frozenset(step.quantities.items())


def _sale(name: str, lines: Sequence[Line]) -> Place | Skip:
    quantities: Counter[str] = Counter()
    left_out: Counter[str] = Counter()
    for line in lines:
        if reason := why_left_out(line):
            left_out[reason] += 1
        else:
            quantities[line.sku] += line.quantity
    if not quantities:
        return Skip(name, _commonest(left_out), len(lines))
    return Place(name, customer_of(lines[0]), quantities, len(lines) - left_out.total(), left_out)


def _cancellation(
    name: str,
    lines: Sequence[Line],
    standing: dict[tuple[str, frozenset[tuple[str, int]]], list[str]],
    later: Counter[tuple[str, frozenset[tuple[str, int]]]],
) -> Cancel | Skip:
    """The cancel of the newest order before it with the same customer and goods that is not cancelled yet."""
    quantities: Counter[str] = Counter()
    left_out: Counter[str] = Counter()
    for line in lines:
        if line.is_goods and line.quantity < 0:
            quantities[line.sku] -= line.quantity
        else:
            left_out[Reason.CORRECTION if line.is_goods else Reason.NO_PRODUCT] += 1
    if not quantities:
        return Skip(name, _commonest(left_out), len(lines))
    if not lines[0].customer:
        return Skip(name, NotACancel.GUEST, len(lines))
    meaning = (customer_of(lines[0]), frozenset(quantities.items()))
    if standing.get(meaning):
        original = standing[meaning].pop()
        return Cancel(name, meaning[0], original, len(lines) - left_out.total(), left_out)
    return Skip(name, NotACancel.LATER if later[meaning] else NotACancel.PARTIAL, len(lines))


def _commonest(reasons: Counter[str]) -> str:
    return min(reasons, key=lambda reason: (-reasons[reason], reason))


# --- what came of it -------------------------------------------------------------------------------------------------
@dataclass(frozen=True, slots=True)
class Outcome:
    """What the shop answered to one step. A refusal's ``code`` is its problem's code."""

    step: Step
    order: str = ""
    replayed: bool = False
    code: str = ""
    reason: str = ""  # left out after all
    total: Decimal = Decimal(0)
    mismatches: tuple[dict[str, Any], ...] = ()


@dataclass(slots=True)
class Report:
    """The replay in figures.

    ``units`` and ``total`` are of all orders that were placed, now (placed) or in an earlier run (replayed), as the
    shop answered them; those that a later invoice cancelled are in them, as their rows stay in the database.
    ``lines`` accounts for every line of the invoices: what became of the requests, and what was left out.
    """

    invoices: int = 0
    placed: int = 0
    replayed: int = 0
    cancelled: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    left_out: Counter[str] = field(default_factory=Counter)
    left_out_lines: Counter[str] = field(default_factory=Counter)
    units: int = 0
    total: Decimal = Decimal("0.00")
    mismatches: list[dict[str, Any]] = field(default_factory=list)
    lines: Counter[str] = field(default_factory=Counter)

    def add(self, outcome: Outcome) -> None:
        """Count one invoice."""
        step = outcome.step
        self.invoices += 1
        self.mismatches += outcome.mismatches
        if isinstance(step, Skip) or outcome.reason:
            self.left_out[step.reason if isinstance(step, Skip) else outcome.reason] += 1
            self.lines["ofLeftOutInvoices"] += step.lines + (0 if isinstance(step, Skip) else step.left_out.total())
            return
        if outcome.code:
            self.refused[outcome.code] += 1
            self.lines["refused"] += step.lines + step.left_out.total()
            return
        self.left_out_lines.update(step.left_out)
        self.lines["leftOut"] += step.left_out.total()
        self.lines["cancelled" if isinstance(step, Cancel) else "ordered"] += step.lines
        if outcome.replayed:
            self.replayed += 1
        elif isinstance(step, Cancel):
            self.cancelled += 1
        else:
            self.placed += 1
        if isinstance(step, Place):
            self.units += sum(step.quantities.values())
            self.total += outcome.total

    def as_json(self, *, seconds: float, retries: Mapping[str, int]) -> dict[str, Any]:
        """The contract's members, then ours: lines by what became of them, and answers that were asked for again."""
        return {
            "invoices": self.invoices,
            "placed": self.placed,
            "replayed": self.replayed,
            "cancelled": self.cancelled,
            "refused": dict(sorted(self.refused.items())),
            "leftOut": dict(sorted(self.left_out.items())),
            "leftOutLines": dict(sorted(self.left_out_lines.items())),
            "units": self.units,
            "total": str(self.total),
            "seconds": round(seconds, 2),
            "mismatches": self.mismatches,
            "lines": {"inInvoices": self.lines.total(), **dict(sorted(self.lines.items()))},
            "retries": dict(sorted(retries.items())),
        }
