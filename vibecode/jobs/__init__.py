"""Long work at the desk: imports, exports, many orders at once. Called by admins, the queue `jobs`, a schedule."""

from typing import Any

from vibecode.jobs.messages import sweep_jobs, take_message


def on_message(message: dict[str, Any]) -> None:
    """The queue `jobs`."""
    take_message(message)


def sweep() -> None:
    """The schedule `sweep-jobs`."""
    sweep_jobs()
