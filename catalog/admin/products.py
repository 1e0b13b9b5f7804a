"""Products in the admin: found, made, changed, published, archived. Imported by catalog.admin.

Longer than most modules: the list, the page and the form of a product share their columns and their rights.
"""

from collections.abc import Callable
from decimal import Decimal
from typing import Any

from django import forms
from django.conf import settings
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db import models, transaction
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.urls import URLPattern, path
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.views.decorators.http import require_POST
from unfold.contrib.filters.admin import ChoicesDropdownFilter, RangeNumericFilter, RelatedDropdownFilter
from unfold.dataclasses import ActionDialog
from unfold.enums import ActionVariant
from unfold.forms import BaseDialogForm
from unfold.widgets import UnfoldAdminDecimalFieldWidget

from catalog.admin.pictures import (
    PictureInline,
    begin_picture,
    complete_picture,
    keep_pictures,
    thumbnail,
    write_pictures,
)
from catalog.admin.stock import ADJUST, AdjustForm, ShelfFilter, adjust, level
from catalog.models import Product, ProductImage, Stock
from catalog.services import archive_product, change_product, create_product
from vibecode.desk import (
    DayFilter,
    ServiceForm,
    ShopAdmin,
    actor_of,
    dialog_action,
    label,
    link_to,
    link_to_list,
    money,
    name_of,
    refused,
)
from vibecode.errors import DomainError
from vibecode.rights import Actor

COLOURS: dict[str, str] = {
    Product.Status.DRAFT: "warning",
    Product.Status.PUBLISHED: "success",
    Product.Status.ARCHIVED: "",
}
MOST_AT_ONCE = 500  # products of one bulk action: each is a change of its own, and a request has 29 seconds


class Sku(forms.CharField):
    """A SKU as people type it; SKUs are upper case."""

    def to_python(self, value: Any) -> str:
        """Upper case, without spaces around."""
        return str(super().to_python(value) or "").strip().upper()


class ProductForm(ServiceForm):
    """A product as its services take it. It remembers the version that was on the screen."""

    seen_version = forms.IntegerField(widget=forms.HiddenInput, required=False)

    class Meta:
        model = Product
        fields = ("sku", "name", "description", "price", "status", "category")
        field_classes = {"sku": Sku}

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if self.instance.pk:
            self.initial["seen_version"] = self.instance.version
        if "price" in self.fields:
            self.fields["price"].help_text = f"In {self.instance.currency or settings.SHOP_CURRENCY}."

    @property
    def typed(self) -> dict[str, Any]:
        """What would change."""
        return {name: self.cleaned_data[name] for name in self.changed_data if name != "seen_version"}

    def clean(self) -> dict[str, Any]:
        """Show what somebody else saved meanwhile, keep what was typed, and let it be saved knowingly."""
        cleaned = super().clean()
        if self.instance.pk and "seen_version" in self.changed_data:
            theirs = [
                f"{self.fields[name].label} is now “{self._as_read(name)}”"
                for name in self.changed_data
                if name != "seen_version"
            ]
            self.add_error(
                None,
                f"Somebody else saved this product while you had it open: {'; '.join(theirs) or 'it reads as yours'}. "
                "What you typed is kept below. Compare, then save again to put yours in its place.",
            )
            self.data = {**dict(self.data.items()), self.add_prefix("seen_version"): str(self.instance.version)}
        return cleaned

    def _as_read(self, name: str) -> str:
        return str((self.instance.category or "none") if name == "category" else self.initial[name])


class PriceForm(BaseDialogForm):  # type: ignore[misc,unused-ignore]  # unfold ships no types
    """A new price for the product that was on the screen."""

    data: Any
    price = forms.DecimalField(
        min_value=Decimal(0), max_digits=12, decimal_places=2, widget=UnfoldAdminDecimalFieldWidget({"autofocus": True})
    )
    seen_version = forms.IntegerField(widget=forms.HiddenInput)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.product = Product.objects.filter(pk=self.object_id).first() if str(self.object_id).isdecimal() else None
        if self.product:
            self.initial |= {"price": self.product.price, "seen_version": self.product.version}
            self.fields["price"].help_text = f"In {self.product.currency}. Orders keep the price that they were given."

    def clean(self) -> dict[str, Any]:
        """Say what somebody else saved meanwhile, keep what was typed, and let it be saved knowingly."""
        cleaned: dict[str, Any] = super().clean()
        if self.product and cleaned.get("seen_version") not in {None, self.product.version}:
            theirs = money(self.product.price, self.product.currency)
            self.add_error(
                None,
                f"Somebody else changed {self.product.sku} while you had this open; its price is now {theirs}. "
                "Press the button again to put yours in its place.",
            )
            self.renew()
        return cleaned

    def renew(self) -> None:
        """After a refusal: what was typed stays, and the next try is about the product as it is now."""
        now = Product.objects.filter(pk=self.object_id).values_list("version", flat=True).first()
        self.data = {**dict(self.data.items()), "seen_version": str(now)}


REPRICE = ActionDialog(
    title="Change price",
    description="Customers pay it from now on.",
    form_class=PriceForm,
    form_submit_text="Change price",
)
PUBLISH = ActionDialog(
    title="Publish this product?",
    description="Customers see it and can order it from now on.",
    form_class=BaseDialogForm,
    form_submit_text="Publish",
)
ARCHIVE = ActionDialog(
    title="Archive this product?",
    description="Nobody can order it any more. Orders that hold it keep it; publishing it again brings it back.",
    form_class=BaseDialogForm,
    form_submit_text="Archive",
)


@admin.register(Product)
class ProductAdmin(ShopAdmin):
    """What is for sale. Products are archived, never deleted: orders and the ledger name them."""

    form = ProductForm
    inlines = (PictureInline,)
    list_display = ("thing", "state", "amount", "shelf", "stands_in", "changed")
    list_filter = (
        ("status", ChoicesDropdownFilter),
        ShelfFilter,
        ("category", RelatedDropdownFilter),
        ("price", RangeNumericFilter),
        ("created_at", DayFilter),
    )
    search_fields = ("sku", "name", "description")
    search_help_text = "Words of the name or description, a part of the name, or the beginning of a SKU"
    ordering = ("-created_at", "-id")
    autocomplete_fields = ("category",)
    readonly_fields = ("on_shelf", "created_at", "updated_at", "version")
    actions = ("publish_all", "archive_all")
    actions_row = ("reprice", "adjust")
    actions_detail = ("adjust", "publish", "archive")
    warn_unsaved_form = True
    fieldsets = (
        (None, {"fields": ("sku", "name", "description", ("price", "category", "status"), "seen_version")}),
        ("On the shelf", {"fields": ("on_shelf",)}),
        ("History", {"fields": (("created_at", "updated_at", "version"),)}),
    )
    add_fieldsets = fieldsets[:1]

    def get_queryset(self, request: HttpRequest) -> models.QuerySet[Product]:  # noqa: ARG002 -- the framework's signature
        """With category, stock and pictures; the search vector is for PostgreSQL alone."""
        return Product.objects.with_shelf().with_images().defer("search")

    def get_search_results(
        self,
        request: HttpRequest,  # noqa: ARG002 -- the framework's signature
        queryset: Any,
        search_term: str,
    ) -> tuple[models.QuerySet[Product], bool]:
        """The shop's own search."""
        words = search_term.replace("\x00", "").strip()
        return (queryset.matching(words) if words else queryset), False

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> tuple[str, ...]:  # noqa: ARG002 -- the framework's signature
        """A product keeps its SKU."""
        return (*self.readonly_fields, "sku") if obj else self.readonly_fields

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:  # noqa: ARG002 -- the framework's signature
        """Nobody deletes a product."""
        return False

    def has_adjust_permission(self, request: HttpRequest, obj: Any = None) -> bool:  # noqa: ARG002 -- the framework's signature
        """Who may adjust stock on its own page may do so from here."""
        return bool(self.admin_site.get_model_admin(Stock).has_change_permission(request))

    def get_actions_detail(self, request: HttpRequest, object_id: int | str) -> list[Any]:
        """Those that would change something."""
        product = self.get_object(request, str(object_id))
        needless = {Product.Status.PUBLISHED: "publish", Product.Status.ARCHIVED: "archive"}.get(
            Product.Status(product.status) if product else Product.Status.DRAFT, ""
        )
        return [
            offer
            for offer in super().get_actions_detail(request, object_id)
            if offer.action_name != f"catalog_product_{needless}"
        ]

    # --- pictures, straight to S3 ------------------------------------------------------------------------------------
    def get_urls(self) -> list[URLPattern]:
        """With the two addresses that the page's script asks."""
        begin, complete = (
            self.admin_site.admin_view(require_POST(view)) for view in (self.begin_picture, self.complete_picture)
        )
        ours = [
            path("<int:product>/pictures/", begin, name="catalog_product_begin_picture"),
            path("<int:product>/pictures/<int:picture>/", complete, name="catalog_product_complete_picture"),
        ]
        return [*ours, *super().get_urls()]

    def begin_picture(self, request: HttpRequest, product: int) -> JsonResponse:
        """A form of S3's, for one file."""
        return begin_picture(request, self._changeable(request, product))

    def complete_picture(self, request: HttpRequest, product: int, picture: int) -> JsonResponse:
        """Look at what was stored, and show it."""
        found = ProductImage.objects.select_related("product").filter(pk=picture)
        uploaded = found.filter(product=self._changeable(request, product)).first()
        if uploaded is None:
            raise Http404
        return complete_picture(request, uploaded, lambda shown: self.log_change(request, shown, "Picture added."))

    def _changeable(self, request: HttpRequest, pk: int) -> Product:
        """The product, for who may change it."""
        product: Product = self.found(request, str(pk))
        if not self.has_change_permission(request, product):
            raise PermissionDenied
        return product

    # --- writing -----------------------------------------------------------------------------------------------------
    def changeform_view(
        self,
        request: HttpRequest,
        object_id: str | None = None,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        """The page; once its transaction has committed, the new pictures go to S3: no network inside of one."""
        answer = super().changeform_view(request, object_id, form_url, extra_context)
        if not refused(request):
            keep_pictures(request)
        return answer

    def save_model(self, request: HttpRequest, obj: Product, form: ProductForm, change: bool) -> None:
        """Create or change the product by its service."""
        if not change:
            values = {name: value for name, value in form.cleaned_data.items() if name != "seen_version"}
            made = create_product(
                sku=values.pop("sku"), name=values.pop("name"), values=values, actor=actor_of(request)
            )
            obj.pk = made.pk
            obj.refresh_from_db()
        elif form.typed:
            version = form.cleaned_data["seen_version"]
            change_product(product=obj, values=form.typed, actor=actor_of(request), expected_version=version)

    def save_related(self, request: HttpRequest, form: ProductForm, formsets: Any, change: bool) -> None:
        """Pictures belong to the product: when they change, its version does."""
        super().save_related(request, form, formsets, change)
        if change and not form.typed and any(formset.has_changed() for formset in formsets):
            version = form.cleaned_data["seen_version"]
            change_product(product=form.instance, values={}, actor=actor_of(request), expected_version=version)

    def save_formset(self, request: HttpRequest, form: ProductForm, formset: Any, change: bool) -> None:  # noqa: ARG002 -- the framework's signature
        """Write the pictures that are there."""
        write_pictures(request, formset)

    # --- what can be done --------------------------------------------------------------------------------------------
    @admin.action(description="Publish", permissions=["change"])
    def publish_all(self, request: HttpRequest, chosen: models.QuerySet[Product]) -> None:
        """Let customers see and order them."""
        self._do_to_all(request, chosen.exclude(status=Product.Status.PUBLISHED), _publish, "Published")

    @admin.action(description="Archive", permissions=["change"])
    def archive_all(self, request: HttpRequest, chosen: models.QuerySet[Product]) -> None:
        """Take them off the list."""
        self._do_to_all(request, chosen.exclude(status=Product.Status.ARCHIVED), _archive, "Archived")

    def _do_to_all(
        self,
        request: HttpRequest,
        chosen: models.QuerySet[Product],
        verb: Callable[[Product, Actor], object],
        done: str,
    ) -> None:
        """Each by itself: what one is refused holds no other up, and is said with its reason."""
        products = list(chosen[: MOST_AT_ONCE + 1])
        if len(products) > MOST_AT_ONCE:
            messages.error(request, f"Nothing was done: choose at most {MOST_AT_ONCE} products at once.")
            return
        changed, refusals = [], []
        for product in products:
            try:
                with transaction.atomic():
                    verb(product, actor_of(request))
            except DomainError as refusal:
                refusals.append((product.sku, refusal.detail))
            else:
                changed.append(product.pk)
        self.log_all(request, Product.objects.filter(pk__in=changed), f"{done}.")
        if changed or not refusals:
            messages.success(request, f"{done}: {len(changed)}.")
        if refusals:
            reasons = format_html_join("", "<br>{}: {}", refusals)
            messages.error(request, format_html("Not {}: {}.{}", done.lower(), len(refusals), reasons))

    @dialog_action(REPRICE, "Change price", permissions=["change"], icon="payments", url_path="reprice")
    def reprice(self, request: HttpRequest, form: PriceForm, object_id: str) -> HttpResponse:
        """Another price, for the version that was on the screen."""
        product = self.found(request, object_id)
        values, version = {"price": form.cleaned_data["price"]}, form.cleaned_data["seen_version"]

        def act() -> str:
            after = change_product(product=product, values=values, actor=actor_of(request), expected_version=version)
            said = f"{money(product.price, product.currency)} → {money(after.price, after.currency)}"
            self.log_change(request, product, f"Price changed: {said}")
            return f"{product.sku}: {said}"

        return self.answer_dialog(request, form, REPRICE, act)

    @dialog_action(ADJUST, "Adjust stock", permissions=["adjust"], icon="exposure", url_path="adjust")
    def adjust(self, request: HttpRequest, form: AdjustForm, object_id: str) -> HttpResponse:
        """One movement: a delivery, or a correction."""
        return adjust(self, request, form, self.found(request, object_id).stock)

    @dialog_action(
        PUBLISH, "Publish", permissions=["change"], icon="visibility", url_path="publish", variant=ActionVariant.SUCCESS
    )
    def publish(self, request: HttpRequest, form: BaseDialogForm, object_id: str) -> HttpResponse:
        """Let customers see and order it."""
        return self._do(request, form, object_id, PUBLISH, _publish, "Published.")

    @dialog_action(
        ARCHIVE, "Archive", permissions=["change"], icon="archive", url_path="archive", variant=ActionVariant.DANGER
    )
    def archive(self, request: HttpRequest, form: BaseDialogForm, object_id: str) -> HttpResponse:
        """Take it off the list."""
        return self._do(request, form, object_id, ARCHIVE, _archive, "Archived.")

    def _do(
        self,
        request: HttpRequest,
        form: BaseDialogForm,
        object_id: str,
        dialog: ActionDialog,
        verb: Callable[[Product, Actor], object],
        done: str,
    ) -> HttpResponse:
        product = self.found(request, object_id)

        def act() -> str:
            verb(product, actor_of(request))
            self.log_change(request, product, done)
            return f"{product.sku}: {done}"

        return self.answer_dialog(request, form, dialog, act)

    # --- what is shown -----------------------------------------------------------------------------------------------
    @admin.display(description="product", ordering="name")
    def thing(self, product: Product) -> SafeString:
        """Its picture, name and SKU."""
        picture = thumbnail(next(iter(product.pictures), None), side=40)
        return format_html(
            '<span class="shop-thing">{}<span>{}<small>{}</small></span></span>',
            picture,
            name_of(product.name),
            product.sku,
        )

    @admin.display(description="status", ordering="status")
    def state(self, product: Product) -> SafeString:
        """Whether customers see it."""
        return label(product.status, product.get_status_display(), COLOURS)

    @admin.display(description="price", ordering="price")
    def amount(self, product: Product) -> SafeString:
        """The price with its currency."""
        return format_html('<span class="shop-number">{}</span>', money(product.price, product.currency))

    @admin.display(description="available", ordering="stock__available")
    def shelf(self, product: Product) -> SafeString:
        """How many can be sold."""
        return level(product.stock)

    @admin.display(description="category", ordering="category__name")
    def stands_in(self, product: Product) -> SafeString | str:
        """Its category."""
        return name_of(product.category.name) if product.category else "-"

    @admin.display(description="changed", ordering="updated_at")
    def changed(self, product: Product) -> Any:
        """When somebody last changed it."""
        return product.updated_at

    @admin.display(description="stock")
    def on_shelf(self, product: Product) -> SafeString | str:
        """The counters, and the ways to change and to explain them."""
        if not product.pk:
            return "-"
        stock = product.stock
        return format_html(
            "{} on hand, {} reserved, {} available · {} · {}",
            f"{stock.on_hand:,}",
            f"{stock.reserved:,}",
            level(stock),
            link_to("catalog_stock", product.pk, "Adjust"),
            link_to_list("catalog_stockmovement", "Movements", product__id__exact=product.pk),
        )


def _publish(product: Product, actor: Actor) -> Product:
    values = {"status": Product.Status.PUBLISHED}
    return change_product(product=product, values=values, actor=actor, expected_version=product.version)


def _archive(product: Product, actor: Actor) -> Product:
    return archive_product(product=product, actor=actor)
