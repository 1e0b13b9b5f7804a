"""What a list of orders can be narrowed by. Called by django-filter for the views and by the schema."""

from datetime import UTC, datetime
from typing import Any

from django.utils import timezone
from django_filters import rest_framework as filters
from django_filters.fields import IsoDateTimeField

from orders.models import Order, OrderQuerySet
from orders.status import OrderStatus


class MomentField(IsoDateTimeField):
    """ISO 8601; without a zone it is UTC, as every time of the API."""

    def to_python(self, value: Any) -> datetime | None:
        """The moment."""
        with timezone.override(UTC):
            moment: datetime | None = super().to_python(value)
        return moment


class MomentFilter(filters.IsoDateTimeFilter):
    """A moment in the query."""

    field_class = MomentField


class OrderFilter(filters.FilterSet):
    """``?status=&createdAfter=&createdBefore=``."""

    status = filters.ChoiceFilter(choices=OrderStatus.choices)
    createdAfter = MomentFilter("created_at", lookup_expr="gte")
    createdBefore = MomentFilter("created_at", lookup_expr="lt")

    class Meta:
        model = Order
        fields: tuple[str, ...] = ()


class StaffOrderFilter(OrderFilter):
    """Staff also ask by customer and search."""

    user = filters.CharFilter("user__cognito_sub", max_length=128, help_text="A customer's userId.")
    search = filters.CharFilter(
        method="matching",
        max_length=100,
        help_text="The beginning of an order's number, a part of a customer's e-mail or name, or a SKU; of each the "
        "newest 1,000. 400 `search-too-common` where more than 200 customers match.",
    )

    def matching(self, orders: OrderQuerySet, name: str, value: str) -> OrderQuerySet:  # noqa: ARG002 -- the framework's signature
        """By number, customer or SKU."""
        return orders.matching(value)
