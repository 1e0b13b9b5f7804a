"""`manage.py audit_stock`: recomputes every stock counter from the ledger, and compares every order with it."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError

from catalog.models import Product, StockMovement
from orders.models import Order
from orders.services import audit_stock


class Command(BaseCommand):
    """For operators and tests: exit 1 and the differences, or one line and exit 0."""

    help = "Compare stock with its ledger and orders with both; exit 1 and name the SKUs that differ."

    def handle(self, **_options: Any) -> None:
        """Audit and tell."""
        differences = audit_stock()
        for difference in differences:
            self.stdout.write(difference)
        if differences:
            raise CommandError(f"{len(differences)} differences between stock, ledger and orders")
        self.stdout.write(
            f"stock, ledger and orders agree: {Product.objects.count():,} products, "
            f"{StockMovement.objects.count():,} movements, {Order.objects.count():,} orders"
        )
