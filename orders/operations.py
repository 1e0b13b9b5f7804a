"""What the engineer who deploys may ask about orders. Called by vibecode.lambda_entry, by the names in resources.py."""

from typing import Any

from orders import services

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


def rebuild_figures(*, after: int = 0) -> dict[str, Any]:
    """Make the figures anew from the orders; ``goOnAfter`` is for the next call where the time was not enough."""
    left = services.rebuild_figures(after=after, seconds=SECONDS)
    return {"done": left is None} | ({} if left is None else {"goOnAfter": left})
