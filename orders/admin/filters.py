"""How the list of orders is narrowed to what a figure of the home page counts. Called by orders.py and home.py."""

from typing import Any

from django.db import models
from django.http import HttpRequest
from unfold.admin import ModelAdmin
from unfold.contrib.filters.admin import DropdownFilter

from orders.models import PAID, Refund
from orders.models.needs import Need, orders_in_need
from orders.status import RefundState
from vibecode.desk import DayFilter

PAID_FOR = "paid-for"


class AboutFilter(DropdownFilter):
    """What needs somebody, and what was paid for."""

    title = "attention"
    parameter_name = "about"

    def lookups(self, request: HttpRequest, _model_admin: ModelAdmin) -> list[tuple[str, str]]:  # noqa: ARG002 -- the framework's signature
        """Every need, then what was paid for."""
        return [*Need.choices, (PAID_FOR, "Paid for")]

    def queryset(self, request: HttpRequest, queryset: models.QuerySet[Any]) -> models.QuerySet[Any]:  # noqa: ARG002 -- the framework's signature
        """The orders of that kind; what is no kind narrows nothing."""
        if self.value() == PAID_FOR:
            return queryset.filter(payment_status__in=PAID)
        if self.value() in Need.values:
            return queryset.filter(pk__in=orders_in_need(Need(self.value())).values("pk"))
        return queryset


class RefundedFilter(DayFilter):
    """Orders with a refund that was settled from one day to another, both included."""

    def __init__(self, *asked: Any, field_path: str) -> None:  # noqa: ARG002 -- Django would refuse one over the payment
        super().__init__(*asked, field_path="refunded")
        self.title = "refunded"

    def queryset(self, request: HttpRequest, queryset: models.QuerySet[Any]) -> models.QuerySet[Any]:  # noqa: ARG002 -- the framework's signature
        """By the refunds of these days alone; served by refund_settled."""
        if not self.used_parameters:
            return queryset
        settled = self.within(Refund.objects.filter(state=RefundState.SETTLED), "settled_at")
        return queryset.filter(pk__in=settled.values("payment__order"))
