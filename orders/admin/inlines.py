"""What stands below an order: its lines, its money, the e-mails about it, its story. Called by orders.py."""

from typing import Any

from django.contrib import admin
from django.db import models
from django.http import HttpRequest
from django.utils.formats import date_format
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.utils.timezone import localtime

from accounts.models import User
from orders.models import Letter, OrderLine, Payment, TimelineEntry
from orders.status import LetterState, PaymentState, RefundState
from vibecode.desk import ReadOnlyInline, label, link_to, money, name_of, over

PAYMENT: dict[str, str] = {
    PaymentState.INTENDED: "warning",
    PaymentState.REQUIRES_ACTION: "warning",
    PaymentState.CAPTURED: "success",
    PaymentState.DECLINED: "danger",
    PaymentState.VOIDED: "",
    PaymentState.UNKNOWN: "danger",
}
REFUND: dict[str, str] = {
    RefundState.PENDING: "warning",
    RefundState.SETTLED: "success",
    RefundState.FAILED: "danger",
}
LETTER: dict[str, str] = {
    LetterState.WAITING: "warning",
    LetterState.SENDING: "warning",
    LetterState.SENT: "success",
    LetterState.DELIVERED: "success",
    LetterState.BOUNCED: "danger",
    LetterState.COMPLAINED: "danger",
    LetterState.SKIPPED: "",
}


def figure(amount: Any, currency: str) -> SafeString:
    """A sum of money, as figures stand in columns."""
    return format_html('<span class="shop-number">{}</span>', money(amount, currency))


class LineInline(ReadOnlyInline):
    """What was bought, with name and price as they were."""

    model = OrderLine
    ordering = ("position",)
    fields = ("position", "thing", "name_then", "price", "quantity", "amount")
    readonly_fields = ("thing", "name_then", "price", "amount")

    def get_queryset(self, request: HttpRequest) -> models.QuerySet[OrderLine]:
        """With the order, for its currency."""
        lines: models.QuerySet[OrderLine] = super().get_queryset(request)
        return lines.select_related("order")

    @admin.display(description="SKU")
    def thing(self, line: OrderLine) -> SafeString:
        """The product's page."""
        return link_to("catalog_product", line.product_id, line.sku)

    @admin.display(description="name")
    def name_then(self, line: OrderLine) -> SafeString:
        """What it was called."""
        return name_of(line.name)

    @admin.display(description="price")
    def price(self, line: OrderLine) -> SafeString:
        """For one."""
        return figure(line.unit_price, line.order.currency)

    @admin.display(description="total")
    def amount(self, line: OrderLine) -> SafeString:
        """For all of them."""
        return figure(line.line_total, line.order.currency)


class TimelineInline(ReadOnlyInline):
    """What happened to it, first to last."""

    model = TimelineEntry
    ordering = ("id",)
    verbose_name_plural = "timeline"
    fields = ("moment", "type", "version", "who", "details")
    readonly_fields = ("moment", "who", "details")

    def get_queryset(self, request: HttpRequest) -> models.QuerySet[TimelineEntry]:
        """With the person behind each actor's sub in the same statement."""
        person = User.objects.filter(cognito_sub=models.OuterRef("actor"))
        entries: models.QuerySet[TimelineEntry] = super().get_queryset(request)
        return entries.annotate(
            person_id=models.Subquery(person.values("pk")), person_email=models.Subquery(person.values("email"))
        )

    @admin.display(description="time")
    def moment(self, entry: TimelineEntry) -> SafeString:
        """To the second: much happens within a minute."""
        return format_html(
            '<span class="shop-number">{}</span>', date_format(localtime(entry.timestamp), "j M Y, H:i:s")
        )

    @admin.display(description="by")
    def who(self, entry: Any) -> SafeString | str:
        """A person, or the part of the shop that did it."""
        if entry.person_id is None:
            return entry.actor or "-"
        return link_to("accounts_user", entry.person_id, name_of(entry.person_email or entry.actor))

    @admin.display(description="details")
    def details(self, entry: TimelineEntry) -> SafeString | str:
        """What else is known."""
        return format_html_join(" · ", "{}: {}", entry.data.items()) or "-"


class PaymentInline(ReadOnlyInline):
    """Where the money is, as the provider has said."""

    model = Payment
    ordering = ("id",)
    verbose_name_plural = "payment"
    fields = ("where", "captured_figure", "refunds_list", "method", "attempts", "last_error", "provider_id")
    readonly_fields = ("where", "captured_figure", "refunds_list")

    def get_queryset(self, request: HttpRequest) -> models.QuerySet[Payment]:
        """With its refunds in one more statement."""
        payments: models.QuerySet[Payment] = super().get_queryset(request)
        return payments.prefetch_related("refunds")

    @admin.display(description="payment")
    def where(self, payment: Payment) -> SafeString:
        """What is known of it."""
        return label(payment.state, payment.get_state_display(), PAYMENT)

    @admin.display(description="captured")
    def captured_figure(self, payment: Payment) -> SafeString:
        """What was taken."""
        return figure(payment.captured, payment.currency)

    @admin.display(description="refunds")
    def refunds_list(self, payment: Payment) -> SafeString | str:
        """Each with where it is, and why it failed."""
        rows = (
            (
                figure(refund.amount, payment.currency),
                label(refund.state, refund.get_state_display(), REFUND),
                refund.last_error,
            )
            for refund in payment.refunds.all()
        )
        return format_html_join("", "<div>{} {} {}</div>", rows) or "-"


class LetterInline(ReadOnlyInline):
    """What the customer was written."""

    model = Letter
    verbose_name_plural = "e-mails"
    ordering = ("id",)
    fields = ("what", "where", "sent_at", "attempts", "last_error")
    readonly_fields = ("what", "where")

    @admin.display(description="e-mail")
    def what(self, letter: Letter) -> SafeString:
        """What it tells of, and the fact that it tells."""
        return over(letter.kind.capitalize(), letter.event_id)

    @admin.display(description="state")
    def where(self, letter: Letter) -> SafeString:
        """Whether it has gone out."""
        return label(letter.state, letter.get_state_display(), LETTER)
