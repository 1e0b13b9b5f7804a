"""Stock in the admin: the shelves, the dialog that adjusts them, and the ledger. Imported by catalog.admin.

How full a shelf is (the level, the filter) stands here too; the list of products shows it.
"""

from typing import Any

from django import forms
from django.contrib import admin
from django.db import models
from django.http import HttpRequest, HttpResponse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from unfold.contrib.filters.admin import (
    AutocompleteSelectFilter,
    ChoicesDropdownFilter,
    DropdownFilter,
    RelatedDropdownFilter,
)
from unfold.dataclasses import ActionDialog
from unfold.widgets import UnfoldAdminIntegerFieldWidget

from catalog.jobs import export_stock
from catalog.models import Stock, StockMovement
from catalog.services import MOST_ON_HAND, adjust_stock, set_reorder_point
from vibecode.desk import (
    DayFilter,
    ReadOnlyAdmin,
    ReasonForm,
    ShopAdmin,
    actor_of,
    begin_at_list,
    dialog_action,
    figure,
    label,
    link_to,
    link_to_list,
    name_of,
    over,
)
from vibecode.models import Change, ChangeQuerySet
from vibecode.rights import Right

KINDS: dict[str, str] = {
    StockMovement.Kind.RECEIVE: "success",
    StockMovement.Kind.ADJUST: "warning",
    StockMovement.Kind.RESERVE: "info",
    StockMovement.Kind.RELEASE: "",
    StockMovement.Kind.DEDUCT: "primary",
    StockMovement.Kind.RETURN: "success",
}


def level(stock: Stock) -> SafeString:
    """How many are available, red when none are, orange when it is time to order more."""
    colour = "danger" if stock.available <= 0 else "warning" if stock.available <= stock.reorder_point else "success"
    return label("level", f"{stock.available:,}", {"level": colour})


def delta(number: int) -> SafeString:
    """A signed number; nothing for 0."""
    if not number:
        return figure("-")
    return format_html(
        '<span class="shop-number {}">{}</span>',
        "shop-up" if number > 0 else "shop-down",
        f"{number:+,}".replace("-", "−"),
    )


class ShelfFilter(DropdownFilter):
    """How full the shelf is."""

    title = "shelf"
    parameter_name = "shelf"
    to_stock = "stock__"  # from the list's model

    def lookups(self, request: HttpRequest, _model_admin: ShopAdmin) -> list[tuple[str, str]]:  # noqa: ARG002 -- the framework's signature
        """What needs somebody first."""
        return [("none", "Sold out"), ("low", "Low"), ("some", "In stock"), ("reserved", "Reserved for orders")]

    def queryset(self, request: HttpRequest, queryset: models.QuerySet[Any]) -> models.QuerySet[Any]:  # noqa: ARG002 -- the framework's signature
        """The rows with such a shelf."""
        to = self.to_stock
        low = models.Q(**{f"{to}available__lte": models.F(f"{to}reorder_point")})
        narrowings = {
            "none": models.Q(**{f"{to}available__lte": 0}) & low,  # no reorder point is below 0: by stock_low
            "low": low,
            "some": models.Q(**{f"{to}available__gt": 0}),
            "reserved": models.Q(**{f"{to}reserved__gt": 0}),
        }
        return queryset.filter(narrowings.get(self.value() or "", models.Q()))


class OwnShelfFilter(ShelfFilter):
    """The same, on the list of stock itself."""

    to_stock = ""


class AdjustForm(ReasonForm):
    """How many came or went, and why."""

    delta = forms.IntegerField(
        label="Change",
        min_value=-MOST_ON_HAND,
        max_value=MOST_ON_HAND,
        widget=UnfoldAdminIntegerFieldWidget({"autofocus": True}),
        help_text="Units to add (24), or to take away (-3).",
    )
    field_order = ("delta", "reason")

    def clean_delta(self) -> int:
        """Nothing is no movement."""
        units = int(self.cleaned_data["delta"])
        if units == 0:
            raise forms.ValidationError("0 would change nothing.")
        return units


ADJUST = ActionDialog(
    title="Adjust stock",
    description="One movement in the ledger, under your name. It can only be put right by another one.",
    form_class=AdjustForm,
    form_submit_text="Adjust",
)


def adjust(desk: ShopAdmin, request: HttpRequest, form: AdjustForm, stock: Stock) -> HttpResponse:
    """Carry the dialog out, from whichever page it was opened."""
    units, reason = form.cleaned_data["delta"], form.cleaned_data["reason"]

    def act() -> str:
        after = adjust_stock(product=stock.product, delta=units, reason=reason, actor=actor_of(request))
        return f"{stock.product.sku}: {units:+,d}. Now {after.on_hand:,} on hand, {after.available:,} available."

    return desk.answer_dialog(request, form, ADJUST, act)


@admin.register(Stock)
class StockAdmin(ShopAdmin):
    """The shelves. Counters move by the ledger only; when to reorder is a plain setting."""

    list_display = ("thing", "units_on_hand", "units_reserved", "units_available", "reorder_point")
    list_filter = (
        OwnShelfFilter,
        ("product__status", ChoicesDropdownFilter),
        ("product__category", RelatedDropdownFilter),
    )
    list_select_related = ("product",)
    search_fields = ("product__sku", "product__name")
    search_help_text = "Words of the product, a part of its name, or the beginning of its SKU"
    ordering = ("product__sku",)
    sortable_by = ("thing",)
    fields = ("link", ("units_on_hand", "units_reserved", "units_available"), "reorder_point", "movements")
    readonly_fields = ("link", "units_on_hand", "units_reserved", "units_available", "movements")
    actions = ("export_csv", "export_xlsx")
    actions_row = ("adjust",)
    actions_detail = ("adjust",)

    def has_add_permission(self, request: HttpRequest) -> bool:  # noqa: ARG002 -- the framework's signature
        """A shelf comes with its product."""
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:  # noqa: ARG002 -- the framework's signature
        """And stays as long."""
        return False

    def changes_of(self, row: Stock) -> ChangeQuerySet:
        """A shelf's changes are its product's: only counters have a ledger."""
        return Change.objects.of_page("catalog.product", row.pk)

    def has_export_permission(self, request: HttpRequest, _: Any = None) -> bool:
        """Who may write the file back."""
        return actor_of(request).may(Right.STOCK)

    @admin.action(description="Export as CSV", permissions=["export"])
    def export_csv(self, request: HttpRequest, chosen: models.QuerySet[Stock]) -> HttpResponse | None:
        """A list to count by."""
        return begin_at_list(request, lambda: export_stock(shelves=chosen, form="csv", actor=actor_of(request)))

    @admin.action(description="Export as XLSX", permissions=["export"])
    def export_xlsx(self, request: HttpRequest, chosen: models.QuerySet[Stock]) -> HttpResponse | None:
        """The same, as a spreadsheet."""
        return begin_at_list(request, lambda: export_stock(shelves=chosen, form="xlsx", actor=actor_of(request)))

    def save_model(self, request: HttpRequest, obj: Stock, form: Any, change: bool) -> None:  # noqa: ARG002 -- the framework's signature
        """Only the reorder point: the counters that this page read may have moved since."""
        set_reorder_point(stock=obj, units=obj.reorder_point, actor=actor_of(request))

    @dialog_action(ADJUST, "Adjust stock", permissions=["change"], icon="exposure", url_path="adjust")
    def adjust(self, request: HttpRequest, form: AdjustForm, object_id: str) -> HttpResponse:
        """One movement: a delivery, or a correction."""
        return adjust(self, request, form, self.found(request, object_id))

    @admin.display(description="product", ordering="product__name")
    def thing(self, stock: Stock) -> SafeString:
        """What stands there."""
        return over(name_of(stock.product.name), stock.product.sku)

    @admin.display(description="product")
    def link(self, stock: Stock) -> SafeString:
        """The product's page."""
        return link_to("catalog_product", stock.pk, name_of(str(stock.product)))

    @admin.display(description="on hand")
    def units_on_hand(self, stock: Stock) -> SafeString:
        """What is there."""
        return figure(f"{stock.on_hand:,}")

    @admin.display(description="reserved")
    def units_reserved(self, stock: Stock) -> SafeString:
        """What is promised."""
        return figure(f"{stock.reserved:,}" if stock.reserved else "-")

    @admin.display(description="available")
    def units_available(self, stock: Stock) -> SafeString:
        """What can be sold."""
        return level(stock)

    @admin.display(description="movements")
    def movements(self, stock: Stock) -> SafeString:
        """The ledger of this product."""
        return link_to_list("catalog_stockmovement", "Every movement of this product", product__id__exact=stock.pk)


@admin.register(StockMovement)
class StockMovementAdmin(ReadOnlyAdmin):
    """The ledger: written once by services, never changed."""

    list_display = ("created_at", "product_link", "movement", "hand", "promise", "because", "why")
    list_filter = (
        ("kind", ChoicesDropdownFilter),
        ("cause", ChoicesDropdownFilter),
        ("product", AutocompleteSelectFilter),
        ("created_at", DayFilter),
    )
    list_select_related = ("product",)
    search_fields = ("product__sku", "reference", "actor", "reason")
    search_help_text = "A SKU, an order's number, or of what was done by hand the actor or a part of the reason"
    ordering = ("-created_at", "-id")
    sortable_by = ()
    fields = (
        "created_at", "product_link", "movement", ("hand", "promise"),
        ("cause", "reference", "order_line"), "reason", "actor",
    )  # fmt: skip
    readonly_fields = ("product_link", "movement", "hand", "promise")

    @admin.display(description="product")
    def product_link(self, movement: StockMovement) -> SafeString:
        """The product's page."""
        return link_to("catalog_product", movement.product_id, movement.product.sku)

    @admin.display(description="kind")
    def movement(self, movement: StockMovement) -> SafeString:
        """What happened."""
        return label(movement.kind, movement.get_kind_display(), KINDS)

    @admin.display(description="on hand")
    def hand(self, movement: StockMovement) -> SafeString:
        """What came or went."""
        return delta(movement.on_hand_delta)

    @admin.display(description="reserved")
    def promise(self, movement: StockMovement) -> SafeString:
        """What was promised or freed."""
        return delta(movement.reserved_delta)

    @admin.display(description="cause")
    def because(self, movement: StockMovement) -> SafeString:
        """What brought it about."""
        return over(movement.get_cause_display(), movement.reference)

    @admin.display(description="reason and actor")
    def why(self, movement: StockMovement) -> SafeString:
        """In somebody's words, and who it was: a Cognito sub, or a part of the shop."""
        return over(name_of(movement.reason or "-"), movement.actor)
