"""How the list of orders is narrowed to what a figure of the home page counts. Called by orders.py and home.py."""

from typing import Any

from django.contrib import messages
from django.db import models
from django.http import HttpRequest
from unfold.admin import ModelAdmin
from unfold.contrib.filters.admin import DropdownFilter

from orders.models import Refund
from orders.models.needs import MOST_IN_NEED, Need, orders_in_need, orders_needing_someone
from orders.status import WAS_PAID, RefundState
from vibecode.desk import DayFilter

MOST_REFUNDS = 1000  # whose orders a list looks up
PAID_FOR, TO_SHIP, NEEDS_SOMEONE = "paid-for", "to-ship", "needs-someone"


class ViewFilter(DropdownFilter):
    """The saved views, which the sidebar and the home page link to."""

    title = "view"
    parameter_name = "view"

    def lookups(self, request: HttpRequest, _model_admin: ModelAdmin) -> list[tuple[str, str]]:  # noqa: ARG002 -- the framework's signature
        """What a day's work is made of, each need, and what was paid for."""
        return [(TO_SHIP, "To ship"), (NEEDS_SOMEONE, "Needs someone"), *Need.choices, (PAID_FOR, "Paid for")]

    def queryset(self, request: HttpRequest, queryset: Any) -> Any:  # noqa: ARG002 -- the framework's signature
        """The orders of that view; what is none narrows nothing."""
        view = self.value()
        if view == PAID_FOR:
            return queryset.filter(payment_status__in=WAS_PAID)
        if view == TO_SHIP:
            return queryset.to_ship()
        if view == NEEDS_SOMEONE:
            return queryset & orders_needing_someone()
        if view in Need.values:
            return queryset.filter(pk__in=orders_in_need(Need(view)).values("pk")[:MOST_IN_NEED])
        return queryset


class RefundedFilter(DayFilter):
    """Orders with a refund that was settled from one day to another, both included."""

    def __init__(self, *asked: Any, field_path: str) -> None:  # noqa: ARG002 -- Django would refuse one over the payment
        super().__init__(*asked, field_path="refunded")
        self.title = "refunded"

    def queryset(self, request: HttpRequest, queryset: models.QuerySet[Any]) -> models.QuerySet[Any]:
        """By the newest refunds of these days alone, served by refund_settled; it says so where these are not all."""
        if not self.used_parameters:
            return queryset
        settled = self.within(Refund.objects.filter(state=RefundState.SETTLED), "settled_at").order_by("-settled_at")
        if settled[MOST_REFUNDS:].exists():
            messages.info(request, f"Of these days the newest {MOST_REFUNDS:,} refunds are listed: choose fewer days.")
        return queryset.filter(pk__in=settled.values("payment__order")[:MOST_REFUNDS])
