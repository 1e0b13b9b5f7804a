"""What the engineer who deploys may ask about orders. Called by vibecode.lambda_entry, by the names in resources.py."""

from typing import Any

from orders import services


def audit() -> dict[str, Any]:
    """Whether stock, ledger and orders agree; one sentence for each difference."""
    differences = services.audit_stock()
    return {"agree": not differences, "differences": differences}


def sweep(*, dry_run: bool = False) -> dict[str, Any]:
    """Look after orders and money that got lost, now and not at the next minute; what was done, order by order."""
    said: list[str] = []
    done = services.sweep_orders(say=said.append, dry_run=dry_run)
    return {"done": dict(done), "said": said}
