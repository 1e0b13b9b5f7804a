"""What a list of products can be narrowed by. Called by django-filter for the views and by the schema."""

from typing import Any

from django import forms
from django_filters import rest_framework as filters

from catalog.models import Product, ProductQuerySet


class TrueOrFalseField(forms.Field):
    """``true`` or ``false``; django-filter would take any other word for no filter at all."""

    def to_python(self, value: Any) -> bool | None:
        """The truth value, None where none was given."""
        if value in {None, ""}:
            return None
        known = {"true": True, "1": True, "false": False, "0": False}
        if value.lower() not in known:
            raise forms.ValidationError("Must be true or false.", code="invalid")
        return known[value.lower()]


class TrueOrFalse(filters.BooleanFilter):
    """A filter that takes ``true`` or ``false``."""

    field_class = TrueOrFalseField

    def __init__(self, **options: Any) -> None:
        super().__init__(widget=forms.TextInput, **options)


class ProductFilter(filters.FilterSet):
    """``?category=&search=&minPrice=&maxPrice=&inStock=``."""

    category = filters.CharFilter(
        method="in_category", max_length=100, help_text="A category's slug; those below it are included."
    )
    search = filters.CharFilter(method="matching", max_length=100, help_text="Words, a part of a name, or a SKU.")
    minPrice = filters.NumberFilter("price", lookup_expr="gte", max_digits=12, decimal_places=2)
    maxPrice = filters.NumberFilter("price", lookup_expr="lte", max_digits=12, decimal_places=2)
    inStock = TrueOrFalse(method="in_stock")

    class Meta:
        model = Product
        fields: tuple[str, ...] = ()

    def in_category(self, products: ProductQuerySet, name: str, value: str) -> ProductQuerySet:  # noqa: ARG002 -- the framework's signature
        """The category and what is below it."""
        return products.in_category(value)

    def matching(self, products: ProductQuerySet, name: str, value: str) -> ProductQuerySet:  # noqa: ARG002 -- the framework's signature
        """Full-text and partial matches."""
        return products.matching(value)

    def in_stock(self, products: ProductQuerySet, name: str, value: bool) -> ProductQuerySet:  # noqa: ARG002 -- the framework's signature
        """Some available, or none."""
        return products.filter(stock__available__gt=0) if value else products.filter(stock__available__lte=0)


class StaffProductFilter(ProductFilter):
    """Staff see every status and may ask for one."""

    status = filters.ChoiceFilter(choices=Product.Status.choices)
