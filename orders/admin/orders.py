"""Orders in the admin: to be read, searched and cancelled. Everything else that happens to one is a service's doing."""

from typing import Any

from django.contrib import admin
from django.db import models
from django.db.models.functions import Coalesce
from django.http import HttpRequest, HttpResponse
from django.utils.formats import localize
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.utils.timezone import localtime
from unfold.contrib.filters.admin import ChoicesDropdownFilter, RangeNumericFilter
from unfold.dataclasses import ActionDialog
from unfold.enums import ActionVariant

from orders.admin.filters import AboutFilter, RefundedFilter
from orders.admin.inlines import LetterInline, LineInline, PaymentInline, TimelineInline, figure
from orders.models import Order, OrderLine
from orders.services import cancel_order, execution_name
from orders.status import CANCELLABLE, FulfilmentStatus, Mark, OrderStatus, PaymentStatus
from vibecode.desk import (
    DayFilter,
    ReadOnlyAdmin,
    ReasonForm,
    actor_of,
    dialog_action,
    label,
    link_to,
    name_of,
    over,
)
from vibecode.executions import WorkflowAway, execution_status

STATUS: dict[str, str] = {
    OrderStatus.PENDING: "warning",
    OrderStatus.PAID: "info",
    OrderStatus.COMPLETED: "success",
    OrderStatus.PARTLY_SHIPPED: "primary",
    OrderStatus.SHIPPED: "primary",
    OrderStatus.DELIVERED: "success",
    OrderStatus.REFUNDED: "",
    OrderStatus.CANCELLED: "",
    OrderStatus.FAILED: "danger",
}
PAYMENT: dict[str, str] = {
    PaymentStatus.PENDING: "warning",
    PaymentStatus.REQUIRES_ACTION: "warning",
    PaymentStatus.PAID: "success",
    PaymentStatus.PARTLY_REFUNDED: "info",
    PaymentStatus.REFUNDED: "",
    PaymentStatus.DECLINED: "danger",
    PaymentStatus.UNKNOWN: "danger",
}
FULFILMENT: dict[str, str] = {
    FulfilmentStatus.UNFULFILLED: "",
    FulfilmentStatus.RESERVED: "info",
    FulfilmentStatus.DEDUCTED: "info",
    FulfilmentStatus.PARTLY_SHIPPED: "primary",
    FulfilmentStatus.SHIPPED: "primary",
    FulfilmentStatus.DELIVERED: "success",
}
# What Step Functions calls it, in words and on a colour. A cancelled order's execution ends in OrderFailed.
EXECUTION = {
    "": ("Not begun", ""),
    "-": ("No longer kept", ""),
    "?": ("Does not answer", "warning"),
    "RUNNING": ("Running", "info"),
    "SUCCEEDED": ("Finished", "success"),
    "FAILED": ("Ended in cancellation", ""),
    "TIMED_OUT": ("Timed out", "danger"),
    "ABORTED": ("Aborted", "danger"),
}
ADDRESS = ("name", "line1", "line2", "postalCode", "city", "region", "country", "phone")
CANCEL = ActionDialog(
    title="Cancel this order?",
    description="What it holds goes back on the shelf, and what was paid is refunded. This cannot be undone.",
    form_class=ReasonForm,
    form_submit_text="Cancel the order",
)


@admin.register(Order)
class OrderAdmin(ReadOnlyAdmin):
    """What people bought."""

    inlines = (LineInline, PaymentInline, LetterInline, TimelineInline)
    list_display = ("placed", "state", "amount", "lines", "money_state", "fulfilment", "customer")
    list_filter = (
        AboutFilter,
        ("status", ChoicesDropdownFilter),
        ("payment_status", ChoicesDropdownFilter),
        ("fulfilment_status", ChoicesDropdownFilter),
        ("total", RangeNumericFilter),
        ("created_at", DayFilter),
        ("updated_at", RefundedFilter),
    )
    list_select_related = ("user",)
    search_fields = ("number", "user__email", "user__name", "lines__sku")
    search_help_text = "The beginning of a number, the customer's e-mail or name, or a SKU"
    ordering = ("-created_at", "-id")
    readonly_fields = (
        "execution", "customer", "state", "money_state", "fulfilment", "address",
        "goods", "shipping", "tax", "amount",
    )  # fmt: skip
    fieldsets = (
        (None, {"fields": (("number", "created_at", "customer"), ("state", "money_state", "fulfilment"))}),
        ("Money", {"fields": (("goods", "shipping", "tax", "amount"),)}),
        ("Delivery", {"fields": (("address", "payment_method"), "note")}),
        ("What became of it", {"fields": (
            ("completed_at", "cancelled_at", "failed_at"), "cancel_reason", ("updated_at", "version", "execution"),
        )}),
    )  # fmt: skip
    actions_detail = ("cancel",)

    def get_queryset(self, request: HttpRequest) -> models.QuerySet[Order]:
        """With customer and number of lines in the same statement."""
        lines = OrderLine.objects.filter(order=models.OuterRef("pk")).order_by().values("order")
        count = lines.annotate(number_of=models.Count("pk")).values("number_of")
        orders: models.QuerySet[Order] = super().get_queryset(request)
        return orders.select_related("user").annotate(line_count=Coalesce(models.Subquery(count), 0))

    def get_search_results(
        self,
        request: HttpRequest,  # noqa: ARG002 -- the framework's signature
        queryset: Any,
        search_term: str,
    ) -> tuple[models.QuerySet[Order], bool]:
        """Staff's search, as the API has it."""
        words = search_term.replace("\x00", "").strip()
        return (queryset.matching(words) if words else queryset), False

    def has_cancel_permission(self, request: HttpRequest, _: Any = None) -> bool:
        """Who may call an order off."""
        return request.user.has_perm("orders.change_order")

    def get_actions_detail(self, request: HttpRequest, object_id: int | str) -> list[Any]:
        """Cancel only what can be cancelled."""
        order = self.get_object(request, str(object_id))
        if order is None or order.mark == Mark.CANCELLED or order.fulfilment_status not in CANCELLABLE:
            return []
        offers: list[Any] = super().get_actions_detail(request, object_id)
        return offers

    @dialog_action(
        CANCEL, "Cancel order", permissions=["cancel"], icon="cancel", url_path="cancel", variant=ActionVariant.DANGER
    )
    def cancel(self, request: HttpRequest, form: ReasonForm, object_id: str) -> HttpResponse:
        """Call it off."""
        order, reason = self.found(request, object_id), form.cleaned_data["reason"]

        def act() -> str:
            cancel_order(order=order, reason=reason, actor=actor_of(request))
            self.log_change(request, order, f"Cancelled: {reason}")
            return f"{order.number} is cancelled."

        return self.answer_dialog(request, form, CANCEL, act)

    @admin.display(description="order", ordering="created_at")
    def placed(self, order: Order) -> SafeString:
        """Its number, and when it was placed."""
        return over(order.number, localize(localtime(order.created_at)))

    @admin.display(description="workflow")
    def execution(self, order: Order) -> SafeString:
        """Its execution in Step Functions, and where that is."""
        name = execution_name(order)
        try:
            status = execution_status(name)
        except WorkflowAway:
            status = "?"
        if not status and order.mark != Mark.NONE:
            status = "-"
        word = EXECUTION.get(status, (status.capitalize().replace("_", " "), ""))
        return over(label(status, word[0], {status: word[1]}), name)

    @admin.display(description="customer", ordering="user__email")
    def customer(self, order: Order) -> SafeString:
        """The customer's page."""
        return link_to("accounts_user", order.user_id, name_of(str(order.user)))

    @admin.display(description="status", ordering="status")
    def state(self, order: Order) -> SafeString:
        """What the customer is told."""
        return label(order.status, OrderStatus(order.status).label, STATUS)

    @admin.display(description="payment", ordering="payment_status")
    def money_state(self, order: Order) -> SafeString:
        """Where the money is. Of an order that is over nobody waits for it any more."""
        colours = PAYMENT if order.mark == Mark.NONE else PAYMENT | {PaymentStatus.PENDING: ""}
        return label(order.payment_status, order.get_payment_status_display(), colours)

    @admin.display(description="fulfilment", ordering="fulfilment_status")
    def fulfilment(self, order: Order) -> SafeString:
        """Where the goods are."""
        return label(order.fulfilment_status, order.get_fulfilment_status_display(), FULFILMENT)

    @admin.display(description="lines", ordering="line_count")
    def lines(self, order: Any) -> SafeString:
        """How many different products."""
        return format_html('<span class="shop-number">{}</span>', f"{order.line_count:,}")

    @admin.display(description="total", ordering="total")
    def amount(self, order: Order) -> SafeString:
        """What it costs."""
        return figure(order.total, order.currency)

    @admin.display(description="goods")
    def goods(self, order: Order) -> SafeString:
        """The lines together."""
        return figure(order.subtotal, order.currency)

    @admin.display(description="shipping")
    def shipping(self, order: Order) -> SafeString:
        """For the way."""
        return figure(order.shipping_total, order.currency)

    @admin.display(description="tax")
    def tax(self, order: Order) -> SafeString:
        """For the state."""
        return figure(order.tax_total, order.currency)

    @admin.display(description="address")
    def address(self, order: Order) -> SafeString | str:
        """Where it goes, as it was when the order was placed."""
        kept = order.shipping_address or {}
        lines = [kept.get(name) for name in ADDRESS]
        return format_html_join("", "<div>{}</div>", ((line,) for line in lines if line)) or "-"
