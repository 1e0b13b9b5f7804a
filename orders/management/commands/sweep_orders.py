"""Look after orders that are stuck and money that is not where it belongs, as the schedule does."""

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand

from orders.services import sweep_orders


class Command(BaseCommand):
    """For staff who will not wait for the schedule, and for a stage whose database sleeps: there it runs once a day."""

    help = "Begin, continue, cancel or settle orders that have not moved for ORDER_STUCK_SECONDS; says what it did."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """--dry-run."""
        parser.add_argument("--dry-run", action="store_true", help="Say what is stuck and do nothing.")

    def handle(self, *_: Any, **options: Any) -> None:
        """Sweep once."""
        done = sweep_orders(say=self.stdout.write, dry_run=options["dry_run"])
        self.stdout.write(", ".join(f"{count} {what}" for what, count in sorted(done.items())) or "nothing is stuck")
