"""What rows of every file have in common: cells, products, and what is said of them. Called by imports.py."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from django import forms
from django.core.validators import RegexValidator

from catalog.models import SKU_PATTERN, Product
from vibecode.jobs.kinds import ImportKind, RowRefused
from vibecode.models import JobRow

UNKNOWN = "No product has this SKU: is it spelt as in the list of products?"


class SkuField(forms.CharField):
    """A SKU, folded to upper case."""

    def __init__(self) -> None:
        sentence = "A SKU has letters, digits, dots, dashes and underscores; 40 at most."
        super().__init__(
            label="SKU",
            help_text="The product's SKU, such as LAMP-1",
            validators=[RegexValidator(rf"^{SKU_PATTERN}\Z", sentence)],
        )

    def to_python(self, value: Any) -> str:
        """In upper case, as baskets name it."""
        return str(super().to_python(value) or "").upper()


def price_field(*, required: bool = True) -> forms.DecimalField:
    """A price in the shop's currency."""
    return forms.DecimalField(
        required=required,
        min_value=0,
        max_digits=12,
        decimal_places=2,
        help_text="With a dot, such as 12.50",
        error_messages={"invalid": "A price is a number with a dot, such as 12.50, without a sign of its currency."},
    )


def lock_products(rows: Sequence[JobRow], kind: ImportKind) -> dict[str, Product]:
    """The products that exist, by SKU, locked in the order of their ids."""
    locked = (
        Product.objects.filter(sku__in=kind.texts(rows, "sku"))
        .order_by("pk")
        .select_for_update(no_key=True, of=("self",))
    )
    return {product.sku: product for product in locked.select_related("category")}


def known_products(skus: Iterable[str]) -> dict[str, Product]:
    """Products with their stock by SKU, of those that there are."""
    return {product.sku: product for product in Product.objects.with_shelf().filter(sku__in=set(skus))}


def product_of(products: Mapping[str, Product], sku: str) -> Product:
    """The product of a row; raises RowRefused where it is gone since the file was checked."""
    if sku not in products:
        raise RowRefused(f"No product has the SKU {sku} any more.")
    return products[sku]


def said_change(what: str, before: object, after: object) -> str:
    """What a row changes, in words."""
    return f"{what} stays {before}" if before == after else f"{what} {before} → {after}"
