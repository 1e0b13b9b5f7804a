"""What goes out by files. What they write imports.py takes again, and finds nothing to change.

Named in JOBS of vibecode/resources.py; begun by the admin.
"""

from collections.abc import Sequence
from typing import Any

from django.db.models import QuerySet

from catalog.models import Product, Stock
from vibecode.jobs.exports import ExportKind, make_export
from vibecode.models import Job
from vibecode.rights import Actor, Right


def export_products(*, products: QuerySet[Product], form: str, actor: Actor) -> Job:
    """A job that writes products to a file, csv or xlsx, by SKU. Raises Denied or NotNow."""
    return make_export(kind="export-products", rows=products.order_by("sku"), form=form, actor=actor)


def export_prices(*, products: QuerySet[Product], form: str, actor: Actor) -> Job:
    """A job that writes prices to a file, csv or xlsx, by SKU. Raises Denied or NotNow."""
    return make_export(kind="export-prices", rows=products.order_by("sku"), form=form, actor=actor)


def export_stock(*, shelves: QuerySet[Stock], form: str, actor: Actor) -> Job:
    """A job that writes what is on the shelves to a file, csv or xlsx, by SKU. Raises Denied or NotNow."""
    return make_export(kind="export-stock", rows=shelves.order_by("product__sku"), form=form, actor=actor)


class ExportProducts(ExportKind):
    """Whoever may write them back may take them out: nothing in there is about people."""

    title = "Export products"
    right = Right.CATALOGUE
    promise = "The products are written to a file, which is kept for a day. It can be imported again."
    file = "products"
    columns = ("sku", "name", "description", "price", "category", "status")
    sums = frozenset({"price"})

    def cells(self, ids: Sequence[int]) -> list[list[Any]]:
        """The products of a part."""
        found = Product.objects.filter(pk__in=ids).order_by("sku")
        names = ("sku", "name", "description", "price", "category__slug", "status")
        return [
            [sku, name, description, str(price), slug or "", status]
            for sku, name, description, price, slug, status in found.values_list(*names)
        ]


class ExportPrices(ExportKind):
    """The name is for whoever reads the file: the import leaves it out."""

    title = "Export prices"
    right = Right.CATALOGUE
    promise = "The prices are written to a file, which is kept for a day. It can be imported again."
    file = "prices"
    columns = ("sku", "name", "price")
    sums = frozenset({"price"})

    def cells(self, ids: Sequence[int]) -> list[list[Any]]:
        """The prices of a part."""
        found = Product.objects.filter(pk__in=ids).order_by("sku").values_list("sku", "name", "price")
        return [[sku, name, str(price)] for sku, name, price in found]


class ExportStock(ExportKind):
    """A list to count by: what is found is written over ``on_hand``, and imported."""

    title = "Export stock"
    right = Right.STOCK
    promise = (
        "What is on the shelves is written to a file, which is kept for a day. Count, correct on_hand, and import it: "
        "what has moved meanwhile is taken for a difference, so do it soon."
    )
    file = "stock"
    columns = ("sku", "name", "reserved", "available", "reorder_point", "on_hand", "reason")

    def cells(self, ids: Sequence[int]) -> list[list[Any]]:
        """The shelves of a part."""
        shelves = Stock.objects.filter(pk__in=ids).select_related("product").order_by("product__sku")
        return [
            [
                each.product.sku, each.product.name, each.reserved, each.available, each.reorder_point, each.on_hand,
                "counted",
            ]
            for each in shelves
        ]  # fmt: skip
