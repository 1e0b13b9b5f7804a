"""Orders in the admin: the list and the page of each. What can be done to one stands in verbs.py."""

from typing import Any

from django.contrib import admin
from django.db import models
from django.db.models.functions import Coalesce
from django.http import HttpRequest
from django.utils.formats import localize
from django.utils.html import format_html_join
from django.utils.safestring import SafeString
from django.utils.timezone import localtime
from unfold.contrib.filters.admin import ChoicesDropdownFilter, RangeNumericFilter

from orders.admin.filters import RefundedFilter, ViewFilter
from orders.admin.inlines import (
    LetterInline,
    LineInline,
    NoteInline,
    ShipmentInline,
    TimelineInline,
)
from orders.admin.payments import PaymentInline
from orders.admin.verbs import OrderVerbs
from orders.models import Order, OrderLine, OrderNote, Shipment
from orders.services import execution_name
from orders.status import FulfilmentStatus, Mark, OrderStatus, PaymentStatus
from vibecode.desk import (
    DayFilter,
    figure,
    label,
    link_to,
    money,
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
MARKS = ("completed_at", "cancelled_at", "failed_at", "given_up_at")
ADDRESS = ("name", "line1", "line2", "postalCode", "city", "region", "country", "phone")


@admin.register(Order)
class OrderAdmin(OrderVerbs):
    """What people bought."""

    inlines = (LineInline, NoteInline, ShipmentInline, PaymentInline, LetterInline, TimelineInline)
    list_display = ("placed", "state", "amount", "lines", "money_state", "fulfilment", "customer")
    list_filter = (
        ViewFilter,
        ("status", ChoicesDropdownFilter),
        ("payment_status", ChoicesDropdownFilter),
        ("fulfilment_status", ChoicesDropdownFilter),
        ("total", RangeNumericFilter),
        ("created_at", DayFilter),
        ("updated_at", RefundedFilter),
    )
    list_select_related = ("user",)
    search_fields = ("number", "user__email", "user__name", "lines__sku")
    search_help_text = "The beginning of a number, a part of the customer's e-mail or name, or a SKU: the newest orders"
    ordering = ("-created_at", "-id")
    sortable_by = ("placed", "amount")
    bounded_actions = ("ship_all", "export_csv", "export_xlsx")
    actions = ("packing_slips", "ship_all", "export_csv", "export_xlsx")
    readonly_fields = (
        "execution", "customer", "state", "money_state", "fulfilment", "address",
        "goods", "shipping", "tax", "amount",
    )  # fmt: skip
    fieldsets = (
        (None, {"fields": (
            ("number", "created_at", "customer"), ("state", "money_state", "fulfilment"),
            ("goods", "shipping", "tax", "amount"),
        )}),
        (None, {"fields": (("address", "payment_method", "execution"),)}),
    )  # fmt: skip

    class Media:
        js = ["orders/new_tab.js"]

    def get_inlines(self, request: HttpRequest, obj: Order | None) -> list[Any]:
        """Notes and parcels only where there are some."""
        empty = {
            inline
            for inline, rows in ((NoteInline, OrderNote.objects), (ShipmentInline, Shipment.objects))
            if not rows.filter(order=obj).exists()
        }
        return [inline for inline in super().get_inlines(request, obj) if inline not in empty]

    def get_fieldsets(self, request: HttpRequest, obj: Order | None = None) -> Any:
        """What every order has, and of the rest what this one has."""
        first, second = super().get_fieldsets(request, obj)
        told = [name for name in ("note", "cancel_reason", *MARKS) if obj and getattr(obj, name)]
        rows = [(name,) for name in told if name not in MARKS] + [tuple(name for name in told if name in MARKS)]
        return [first, (second[0], {"fields": (*second[1]["fields"], *filter(None, rows))})]

    def get_queryset(self, request: HttpRequest) -> models.QuerySet[Order]:
        """With customer and number of lines in the same statement."""
        lines = OrderLine.objects.filter(order=models.OuterRef("pk")).order_by().values("order")
        count = lines.annotate(number_of=models.Count("pk")).values("number_of")
        orders: models.QuerySet[Order] = super().get_queryset(request)
        return orders.select_related("user").annotate(line_count=Coalesce(models.Subquery(count), 0))

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

    @admin.display(description="customer")
    def customer(self, order: Order) -> SafeString:
        """The customer's page."""
        return link_to("accounts_user", order.user_id, name_of(str(order.user)))

    @admin.display(description="status")
    def state(self, order: Order) -> SafeString:
        """What the customer is told."""
        return label(order.status, OrderStatus(order.status).label, STATUS)

    @admin.display(description="payment")
    def money_state(self, order: Order) -> SafeString:
        """Where the money is. Of an order that is over nobody waits for it any more."""
        colours = PAYMENT if order.mark == Mark.NONE else PAYMENT | {PaymentStatus.PENDING: ""}
        return label(order.payment_status, order.get_payment_status_display(), colours)

    @admin.display(description="fulfilment")
    def fulfilment(self, order: Order) -> SafeString:
        """Where the goods are."""
        return label(order.fulfilment_status, order.get_fulfilment_status_display(), FULFILMENT)

    @admin.display(description="lines")
    def lines(self, order: Any) -> SafeString:
        """How many different products."""
        return figure(f"{order.line_count:,}")

    @admin.display(description="total", ordering="total")
    def amount(self, order: Order) -> SafeString:
        """What it costs."""
        return figure(money(order.total, order.currency))

    @admin.display(description="goods")
    def goods(self, order: Order) -> SafeString:
        """The lines together."""
        return figure(money(order.subtotal, order.currency))

    @admin.display(description="shipping")
    def shipping(self, order: Order) -> SafeString:
        """For the way."""
        return figure(money(order.shipping_total, order.currency))

    @admin.display(description="tax")
    def tax(self, order: Order) -> SafeString:
        """For the state."""
        return figure(money(order.tax_total, order.currency))

    @admin.display(description="address")
    def address(self, order: Order) -> SafeString | str:
        """Where it goes, as it was when the order was placed."""
        kept = order.shipping_address or {}
        lines = [kept.get(name) for name in ADDRESS]
        return format_html_join("", "<div>{}</div>", ((line,) for line in lines if line)) or "-"
