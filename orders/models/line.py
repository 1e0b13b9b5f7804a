"""The lines of an order: name and price as they were, and what becomes of the units. Called by services."""

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, NamedTuple, Self

from django.db import connection, models
from django.db.models import F, Q

from catalog.models import Product

if TYPE_CHECKING:
    from orders.models.order import Order


class Counts(NamedTuple):
    """What is added to a line's counters, in units."""

    shipped: int = 0
    refunded: int = 0
    withdrawn: int = 0
    restocked: int = 0


class OrderLineQuerySet(models.QuerySet["OrderLine"]):
    """Lines, and the statement that counts what becomes of them."""

    def of(self, order: "Order") -> Self:
        """An order's lines, as they were ordered."""
        return self.filter(order=order).order_by("position")

    def count_up(self, changes: Mapping[int, Counts]) -> None:
        """Add to the counters of lines, by their ids, in one statement. The caller holds the order's lock."""
        with connection.cursor() as cursor:
            cursor.execute(_COUNT_UP, {"lines": list(changes), **_columns(changes.values())})


def _columns(changes: Iterable[Counts]) -> dict[str, list[int]]:
    return dict(zip(Counts._fields, map(list, zip(*changes, strict=True)), strict=True))


_COUNT_UP = """
UPDATE orders_orderline line
SET shipped = line.shipped + change.shipped, refunded = line.refunded + change.refunded,
    withdrawn = line.withdrawn + change.withdrawn, restocked = line.restocked + change.restocked
FROM unnest(%(lines)s::bigint[], %(shipped)s::int[], %(refunded)s::int[], %(withdrawn)s::int[], %(restocked)s::int[])
    AS change (id, shipped, refunded, withdrawn, restocked)
WHERE line.id = change.id
"""


class OrderLine(models.Model):
    """One product of an order, with its name and price as they were, and what became of its units."""

    order = models.ForeignKey("orders.Order", on_delete=models.PROTECT, related_name="lines")
    position = models.PositiveSmallIntegerField()
    product = models.ForeignKey(Product, on_delete=models.PROTECT, related_name="+")
    sku = models.CharField("SKU", max_length=40)
    name = models.CharField(max_length=200)
    unit_price = models.DecimalField(max_digits=12, decimal_places=2)
    quantity = models.PositiveIntegerField()
    line_total: models.GeneratedField = models.GeneratedField(
        expression=F("unit_price") * F("quantity"),
        output_field=models.DecimalField(max_digits=20, decimal_places=2),
        db_persist=True,
    )
    # Units that have left the house.
    shipped = models.PositiveIntegerField(default=0, db_default=0)
    # Units given money back for, whatever became of that refund later: its goods are dealt with.
    refunded = models.PositiveIntegerField(default=0, db_default=0)
    # Those of them that had not left yet, and will not any more.
    withdrawn = models.PositiveIntegerField(default=0, db_default=0)
    # Units that a refund has put back on the shelf.
    restocked = models.PositiveIntegerField(default=0, db_default=0)

    objects = OrderLineQuerySet.as_manager()

    class Meta:
        constraints = [
            # Equal SKUs are added up before they get here.
            models.UniqueConstraint(fields=["order", "sku"], name="order_line_sku_stands_once"),
            models.CheckConstraint(
                condition=Q(quantity__gte=1, quantity__lte=100_000), name="order_line_quantity_is_1_to_100000"
            ),
            models.CheckConstraint(condition=Q(unit_price__gte=0), name="order_line_price_is_not_negative"),
            # However many ship and refund at once: no unit leaves twice, or leaves although its money went back.
            models.CheckConstraint(
                condition=Q(quantity__gte=F("shipped") + F("withdrawn")), name="order_line_ships_no_more_than_ordered"
            ),
            models.CheckConstraint(
                condition=Q(refunded__gte=F("withdrawn")), name="order_line_withdraws_no_more_than_refunded"
            ),
            models.CheckConstraint(
                condition=Q(refunded__lte=F("shipped") + F("withdrawn")), name="order_line_refunded_has_left_or_stays"
            ),
            models.CheckConstraint(
                condition=Q(refunded__gte=F("restocked")), name="order_line_restocks_no_more_than_refunded"
            ),
        ]
        indexes = [
            # Staff's search by SKU: the newest orders with it.
            models.Index(fields=["sku", "-order"], name="order_line_sku_newest"),
        ]

    def __str__(self) -> str:
        return f"{self.quantity} × {self.sku}"

    @property
    def to_ship(self) -> int:
        """Units that are still to leave the house."""
        return self.quantity - self.shipped - self.withdrawn

    @property
    def with_customer(self) -> int:
        """Units that have left and were not given money back for."""
        return self.shipped - (self.refunded - self.withdrawn)
