"""`python -m infrastructure.costs`: the monthly bill of a stage, or of all of them, as a table."""

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from decimal import Decimal
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from infrastructure.config import STAGES, Stage
from infrastructure.costs.bill import Bill, bill, bill_of_account, cost_of_an_order
from infrastructure.costs.counting import Template
from infrastructure.costs.endpoints import endpoints
from infrastructure.costs.prices import prices
from infrastructure.costs.usage import EXPECTED, Usage, traced
from infrastructure.judging import SNAPSHOTS

SMALL = 100  # what is shown with its hundredths
LEAST_SHOWN = Decimal("0.001")  # cents of one order


def main(words: Sequence[str] | None = None) -> int:
    """Print it; 2 for an option that cannot be."""
    parser = argparse.ArgumentParser(
        prog="python -m infrastructure.costs",
        description="Estimate the monthly bill, from the committed templates.",
        epilog="What is not said is what the stage is made for (infrastructure/costs/usage.py).",
    )
    parser.add_argument("--stage", choices=STAGES, help="one stage in detail; all of them in short without it")
    parser.add_argument("--templates", type=Path, default=SNAPSHOTS, help="a folder of templates: <stack>.json")
    parser.add_argument("--json", action="store_true", help="print JSON")
    for each in fields(Usage):
        option = f"--{each.name.replace('_', '-')}"
        parser.add_argument(option, type=int, metavar="N", help=each.metadata["help"])
    given = parser.parse_args(words)
    said = {each.name: getattr(given, each.name) for each in fields(Usage) if getattr(given, each.name) is not None}
    templates = read_templates(given.templates)
    if not templates:
        parser.error(f"there are no templates in {given.templates}")
    try:
        asked = {name: _usage(name, said) for name in ([given.stage] if given.stage else STAGES)}
    except ValueError as error:
        parser.error(str(error))
    bills = {name: bill(STAGES[name], templates, usage) for name, usage in asked.items()}
    if given.json:
        print(json.dumps({name: _as_json(asked[name], made) for name, made in bills.items()}, indent=2))  # noqa: T201 -- the output of a command
        return 0
    console = Console(width=None if sys.stdout.isatty() else 110, highlight=False)
    if given.stage:
        _detail(console, STAGES[given.stage], templates, asked[given.stage], bills[given.stage])
    else:
        _overview(console, bills, bill_of_account(templates, EXPECTED["production"]))
    console.print(_trust())
    return 0


def read_templates(folder: Path) -> dict[str, Template]:
    """The templates of a folder, by the names of their stacks."""
    return {path.stem: json.loads(path.read_text()) for path in sorted(folder.glob("*.json"))}


def _usage(stage: str, said: Mapping[str, int]) -> Usage:
    """What is said, over what the stage is made for; more orders than requests are requests too."""
    expected = EXPECTED[stage]
    if "orders" in said and "requests" not in said:
        said = {**said, "requests": max(expected.requests, said["orders"])}
    return replace(expected, **said)


def _overview(console: Console, bills: Mapping[str, Bill], account: Bill) -> None:
    columns = {**bills, "account": account}
    services: dict[str, Decimal] = {}
    for made in columns.values():
        for service, usd in made.services.items():
            services[service] = services.get(service, Decimal()) + usd
    table = Table("USD a month", title="what each stage is made for")
    for name in columns:
        table.add_column(name, justify="right")
    for service in sorted(services, key=lambda service: (-services[service], service)):
        table.add_row(service, *(_usd(made.services.get(service, Decimal())) for made in columns.values()))
    table.add_section()
    table.add_row("together", *(_usd(made.usd) for made in columns.values()))
    console.print(table)
    budgets = ", ".join(f"{stage.name} {stage.budget:,}" for stage in STAGES.values())
    console.print(f"Budgets in config.py: {budgets}.")


def _detail(console: Console, stage: Stage, templates: Mapping[str, Template], usage: Usage, made: Bill) -> None:
    told = ", ".join(f"{getattr(usage, each.name):,} {each.name.replace('_', ' ')}" for each in fields(Usage))
    table = Table("service", "what", title=f"{stage.name}: {told}")
    for name in ("how many", "USD a unit", "USD a month"):
        table.add_column(name, justify="right")
    for service in made.services:
        for line in sorted((line for line in made.lines if line.service == service), key=lambda line: -line.usd):
            unit = f"{line.price.usd.normalize():f} / {line.price.unit}"
            table.add_row(
                service, line.what, f"{line.quantity:,.{0 if line.quantity >= SMALL else 2}f}", unit, _usd(line.usd)
            )
    table.add_section()
    table.add_row("together", "", "", "", _usd(made.usd))
    console.print(table)
    one = cost_of_an_order(stage, templates)
    parts = ", ".join(f"{service} {usd * 100:.3f}" for service, usd in one.services.items() if usd * 100 >= LEAST_SHOWN)
    console.print(f"One order more: {one.usd * 100:.3f} cents ({parts}).")
    console.print(_endpoints(usage))


def _endpoints(usage: Usage) -> Table:
    table = Table("interface endpoint", title="endpoints instead of NAT")
    for name in ("GB a month", "pays from GB", "that is orders a month", "pays"):
        table.add_column(name, justify="right")
    for each in endpoints(usage):
        orders = f"{each.even_orders:,}" if each.even_orders is not None else "never"
        table.add_row(each.service, f"{each.gb:,.3f}", f"{each.even_gb:,.0f}", orders, "yes" if each.pays else "no")
    return table


def _trust() -> str:
    """How old the figures are, and how far they may be trusted."""
    table, order = prices(), traced()
    elsewhere = sum(price.checked == "elsewhere" for price in table.of.values())
    return (
        f"Prices of {table.region}, read {table.read}; {elsewhere} of {len(table.of)} are those of another region "
        f"(prices.toml says which). One order traced {order.measured} on {order.machine}: {order.command}. "
        "Without tax, support, traffic between zones, and what is free for a year."
    )


def _as_json(usage: Usage, made: Bill) -> dict[str, Any]:
    lines = [
        {"service": line.service, "what": line.what, "quantity": str(line.quantity), "usd": str(line.usd)}
        for line in made.lines
    ]
    return {
        "usage": {each.name: getattr(usage, each.name) for each in fields(Usage)},
        "usd": str(made.usd),
        "services": {service: str(usd) for service, usd in made.services.items()},
        "lines": lines,
    }


def _usd(amount: Decimal) -> str:
    return f"{amount:,.2f}" if amount else ""


if __name__ == "__main__":
    sys.exit(main())
