"""`manage.py costs`: what AWS has billed, by service and month. Asks AWS itself with your own credentials."""

import json
from argparse import ArgumentParser
from collections.abc import Sequence
from datetime import date
from decimal import Decimal
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.utils import timezone
from django.utils.dateparse import parse_date

from vibecode.spending import Month, NotTold, spent

LEAST = Decimal("0.005")  # what a table of cents would show as nothing


class Command(BaseCommand):
    """Cost Explorer takes a cent for each answer; it needs no part of the shop, and runs without any."""

    requires_system_checks = ()  # they ask the database, which has nothing to say here
    help = "Show the unblended cost of an account by service and month (AWS_PROFILE names the account)."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """When, of what, and in which form."""
        parser.add_argument("--start", required=True, metavar="DAY", help="the first day: 2026-10-01")
        parser.add_argument("--end", required=True, metavar="DAY", help="the first day that is left out: 2026-11-01")
        parser.add_argument("--stage", default="", help="only what is tagged with this stage of the shop")
        parser.add_argument("--json", action="store_true", help="print JSON, with every digit that AWS gives")

    def handle(self, *, start: str, end: str, stage: str, **options: Any) -> None:
        """Ask, and print."""
        first, last = _day("--start", start), _day("--end", end)
        try:
            months = spent(start=first, end=last, today=_today(), stage=stage)
        except NotTold as reason:
            raise CommandError(str(reason)) from reason
        for line in [json.dumps(as_json(months), indent=2)] if options["json"] else table(months):
            self.stdout.write(line)


def as_json(months: Sequence[Month]) -> list[dict[str, Any]]:
    """Months as JSON has them, amounts as text: a float would lose what AWS says."""
    return [
        {
            "start": month.start.isoformat(),
            "end": month.end.isoformat(),
            "currency": month.currency,
            "estimated": month.estimated,
            "services": {name: str(amount) for name, amount in sorted(month.services.items())},
            "total": str(month.total),
        }
        for month in months
    ]


def table(months: Sequence[Month]) -> list[str]:
    """A line a service, the dearest first, a column a month; then what was too small to show, and the total."""
    if not any(month.services for month in months):
        return ["Nothing was spent in this time."]
    totals: dict[str, Decimal] = {}
    for month in months:
        for name, amount in month.services.items():
            totals[name] = totals.get(name, Decimal()) + amount
    shown = sorted((name for name in totals if abs(totals[name]) >= LEAST), key=lambda name: (-totals[name], name))
    wide = max(map(len, [*shown, f"total, {months[0].currency}"]))
    heads = [f"{month.start:%Y-%m}{'*' if month.estimated else ''}" for month in months]

    def row(name: str, amounts: Sequence[Decimal]) -> str:
        return "  ".join([name.ljust(wide), *(f"{amount:>12,.2f}" for amount in (*amounts, sum(amounts, Decimal())))])

    lines = ["  ".join([" " * wide, *(head.rjust(12) for head in (*heads, "together"))])]
    lines += [row(name, [month.services.get(name, Decimal()) for month in months]) for name in shown]
    lines.append(row(f"total, {months[0].currency}", [month.total for month in months]))
    if small := len(totals) - len(shown):
        lines.append(f"({small} more cost less than half a cent together with all their months)")
    if any(month.estimated for month in months):
        lines.append("* an estimate: AWS has not closed this month's bill")
    return lines


def _today() -> date:
    """In UTC, by which AWS bills."""
    return timezone.now().date()


def _day(option: str, text: str) -> date:
    try:
        day = parse_date(text)
    except ValueError:  # well written, and no day: 2026-02-30
        day = None
    if day is None:
        raise CommandError(f"{option} must be a day such as 2026-10-01; it is {text!r}.")
    return day
