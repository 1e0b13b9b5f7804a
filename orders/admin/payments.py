"""Where the money of an order is, below it. Called by orders.py."""

from typing import Any

from django.contrib import admin
from django.db import models
from django.http import HttpRequest
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from orders.admin.inlines import person_of, with_person
from orders.models import (
    Payment,
    Refund,
    RefundLine,
)
from orders.status import PaymentState, RefundState
from vibecode.desk import ReadOnlyInline, figure, label, money, name_of

PAYMENT: dict[str, str] = {
    PaymentState.INTENDED: "warning",
    PaymentState.REQUIRES_ACTION: "warning",
    PaymentState.CAPTURED: "success",
    PaymentState.DECLINED: "danger",
    PaymentState.VOIDED: "",
    PaymentState.UNKNOWN: "danger",
}
REFUND: dict[str, str] = {
    RefundState.PROPOSED: "warning",
    RefundState.PENDING: "warning",
    RefundState.SETTLED: "success",
    RefundState.FAILED: "danger",
    RefundState.REJECTED: "",
}


class PaymentInline(ReadOnlyInline):
    """Where the money is, as the provider has said."""

    model = Payment
    ordering = ("id",)
    verbose_name_plural = "payment"
    fields = ("where", "captured_figure", "refunds_list", "method", "attempts", "last_error", "provider_id")
    readonly_fields = ("where", "captured_figure", "refunds_list")

    def get_queryset(self, request: HttpRequest) -> models.QuerySet[Payment]:
        """With its refunds and their items in two more statements."""
        payments: models.QuerySet[Payment] = super().get_queryset(request)
        items = RefundLine.objects.select_related("line").order_by("line__position")
        refunds = with_person(Refund.objects.order_by("id")).prefetch_related(models.Prefetch("lines", items))
        return payments.prefetch_related(models.Prefetch("refunds", refunds))

    @admin.display(description="payment")
    def where(self, payment: Payment) -> SafeString:
        """What is known of it."""
        return label(payment.state, payment.get_state_display(), PAYMENT)

    @admin.display(description="captured")
    def captured_figure(self, payment: Payment) -> SafeString:
        """What was taken."""
        return figure(money(payment.captured, payment.currency))

    @admin.display(description="refunds")
    def refunds_list(self, payment: Payment) -> SafeString | str:
        """Each with where it is, what for, by whom, and why it came to nothing."""
        return (
            format_html_join(
                "",
                '<div class="shop-refund">{}</div>',
                ((_refund(each, payment.currency),) for each in payment.refunds.all()),
            )
            or "-"
        )


def _refund(refund: Any, currency: str) -> SafeString:
    items = ", ".join(f"{each.quantity} × {each.line.sku}" for each in refund.lines.all())
    said = [part for part in (items, refund.reason, refund.last_error) if part]
    return format_html(
        "{} {} <small>{} ({})</small>",
        figure(money(refund.amount, currency)),
        label(refund.state, refund.get_state_display(), REFUND),
        name_of(" · ".join(said)),
        person_of(refund),
    )
