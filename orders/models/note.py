"""What staff write about an order for each other. Customers never see it."""

from django.db import models
from django.db.models.functions import Now

from orders.models.order import Order


class OrderNote(models.Model):
    """One note: written once, never changed."""

    order = models.ForeignKey(Order, on_delete=models.PROTECT, related_name="notes")
    text = models.CharField(max_length=2000)
    actor = models.CharField(max_length=128)
    created_at = models.DateTimeField(db_default=Now())

    class Meta:
        ordering = ["id"]

    def __str__(self) -> str:
        return self.text[:80]
