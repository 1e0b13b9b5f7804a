"""`manage.py rebuild_figures`: the figures of the admin's home anew, from the orders."""

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand

from orders.services import Place, rebuild_figures


class Command(BaseCommand):
    """For a shop that had orders before it had figures, after a change of its time zone, and when the audit differs.

    Safe beside running consumers, and it may be stopped and begun anew at any point.
    """

    help = "Make the daily figures, sales and statuses anew from the orders, in batches, while the shop runs."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """--after."""
        parser.add_argument("--after", type=int, default=0, metavar="ID", help="go on after this order's row id")

    def handle(self, *_: Any, after: int, **__: Any) -> None:
        """Rebuild, saying how far it is."""
        rebuild_figures(start=Place(after), say=self.stdout.write)
        self.stdout.write("the figures are what the orders add up to")
