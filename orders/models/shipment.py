"""What has left the house: parcels, what is in each, and what of it has arrived."""

from typing import Self

from django.db import models
from django.db.models import F, Q
from django.db.models.functions import Now

from orders.models.line import OrderLine
from orders.models.order import Order


class ShipmentQuerySet(models.QuerySet["Shipment"]):
    """Parcels."""

    def with_contents(self) -> Self:
        """First to last, each with what is in it (one more statement) for ``shipment.contents``."""
        contents = ShipmentLine.objects.select_related("line").order_by("line__position")
        return self.order_by("number").prefetch_related(models.Prefetch("lines", contents, to_attr="contents"))


class Shipment(models.Model):
    """One parcel of an order. Never changed but for what of it has arrived."""

    order = models.ForeignKey(Order, on_delete=models.PROTECT, related_name="shipments")
    number = models.PositiveSmallIntegerField(help_text="1 is the order's first parcel.")
    tracking = models.CharField(max_length=100, blank=True, help_text="The carrier's number of the parcel.")
    actor = models.CharField(max_length=128)
    created_at = models.DateTimeField(db_default=Now())
    delivered_at = models.DateTimeField(null=True, blank=True)

    contents: "list[ShipmentLine]"  # set by with_contents()
    objects = ShipmentQuerySet.as_manager()

    class Meta:
        ordering = ["number"]
        constraints = [
            models.UniqueConstraint(fields=["order", "number"], name="shipment_number_stands_once"),
        ]
        indexes = [
            # Staff's search for a parcel.
            models.Index(fields=["tracking"], name="shipment_tracking", condition=~Q(tracking="")),
        ]

    def __str__(self) -> str:
        return f"{self.order.number}-S{self.number}"


class ShipmentLine(models.Model):
    """So many units of one line in a parcel, and how many of these have arrived."""

    shipment = models.ForeignKey(Shipment, on_delete=models.PROTECT, related_name="lines")
    line = models.ForeignKey(OrderLine, on_delete=models.PROTECT, related_name="parcels")
    quantity = models.PositiveIntegerField()
    delivered = models.PositiveIntegerField(default=0, db_default=0)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["shipment", "line"], name="shipment_line_stands_once"),
            models.CheckConstraint(condition=Q(quantity__gt=0), name="shipment_line_quantity_is_positive"),
            models.CheckConstraint(
                condition=Q(quantity__gte=F("delivered")), name="shipment_line_delivers_no_more_than_it_holds"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.quantity} × {self.line.sku}"
