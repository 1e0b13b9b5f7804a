"""What the engineer who deploys may ask about orders. Called by vibecode.lambda_entry, by the names in resources.py."""

from datetime import date
from typing import Any

from orders import services
from vibecode.operations import BadArguments

SECONDS = 90.0  # less than the function has


def audit() -> dict[str, Any]:
    """Whether stock, ledger, orders and figures agree; one sentence for each difference."""
    differences = services.audit_stock() + services.audit_figures()
    return {"agree": not differences, "differences": differences}


def sweep(*, dry_run: bool = False) -> dict[str, Any]:
    """Look after orders and money that got lost, now and not at the next minute; what was done, order by order."""
    said: list[str] = []
    done = services.sweep_orders(say=said.append, dry_run=dry_run)
    return {"done": dict(done), "said": said}


def rebuild_figures(*, after: int = 0, day: str = "") -> dict[str, Any]:
    """Make the figures anew from the orders; ``goOnAfter`` and ``goOnFrom`` are for the next call where time was short.

    Raises BadArguments for a day that is none.
    """
    try:
        start = services.Place(after, date.fromisoformat(day) if day else None)
    except ValueError as error:
        raise BadArguments(f"day is {day!r}; write it like 2026-11-26.") from error
    left = services.rebuild_figures(start=start, seconds=SECONDS)
    if left is None:
        return {"done": True}
    return {"done": False, "goOnAfter": left.after} | ({"goOnFrom": left.day.isoformat()} if left.day else {})
