"""`manage.py audit_stock`: recomputes stock from its ledger, and compares orders with it and figures with orders."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError

from catalog.models import Product, StockMovement
from orders.models import Order
from orders.services import audit_figures, audit_stock


class Command(BaseCommand):
    """For operators and tests: exit 1 and the differences, or one line and exit 0."""

    help = "Compare stock with its ledger, orders with both and figures with orders; exit 1 and name what differs."

    def handle(self, **_options: Any) -> None:
        """Audit and tell."""
        differences = audit_stock() + audit_figures()
        for difference in differences:
            self.stdout.write(difference)
        if differences:
            raise CommandError(f"{len(differences)} differences between stock, ledger, orders and figures")
        self.stdout.write(
            f"stock, ledger, orders and figures agree: {Product.objects.count():,} products, "
            f"{StockMovement.objects.count():,} movements, {Order.objects.count():,} orders"
        )
