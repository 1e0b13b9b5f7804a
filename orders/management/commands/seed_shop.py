"""`manage.py seed_shop`: a shop of any size, to look at lists and plans as they are after years."""

from argparse import ArgumentParser
from time import monotonic
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.db import DatabaseError

from orders.seeding import Size, seed_shop
from vibecode.errors import DomainError

FEWEST = 5  # products: an order has up to five different ones


class Command(BaseCommand):
    """What is quick with ten orders may be slow with a million: this makes the million. For this machine alone.

    All of it is one transaction: after Ctrl-C or a kill the shop is as it was, and the command may be run again.
    """

    help = "Fill a shop without orders with products, customers and two years of orders (local mode only)."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """How large."""
        parser.add_argument("--orders", type=int, default=200_000, metavar="N", help="default: %(default)s")
        parser.add_argument("--products", type=int, default=20_000, metavar="N", help="default: %(default)s")
        parser.add_argument("--customers", type=int, metavar="N", help="default: one for five orders")

    def handle(self, *_: Any, orders: int, products: int, customers: int | None, **__: Any) -> None:
        """Fill it, saying how far it is."""
        customers = max(1, orders // 5) if customers is None else customers
        if orders < 1 or customers < 1 or products < FEWEST:
            raise CommandError(f"--orders and --customers must be 1 or more, --products {FEWEST} or more.")
        began = monotonic()

        def say(what: str) -> None:
            self.stdout.write(f"{monotonic() - began:6.1f} s  {what}")
            self.stdout.flush()

        try:
            seed_shop(size=Size(orders, products, customers), say=say)
        except DomainError as refusal:
            raise CommandError(refusal.detail) from refusal
        except DatabaseError as error:
            raise CommandError(
                f"Nothing was made: {str(error).strip()} If make run is at work on this database, stop it first."
            ) from error
        self.stdout.write(f"the shop has {orders:,} orders of {customers:,} customers and {products:,} more products")
