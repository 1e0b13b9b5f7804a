"""The catalogue in the admin: products, pictures, categories, stock and its ledger, all written by catalog.services."""

import secrets
from collections.abc import Callable
from typing import Any, ClassVar

from django import forms
from django.conf import settings
from django.contrib import admin, messages
from django.core.files.uploadedfile import UploadedFile
from django.db import models, transaction
from django.http import HttpRequest, HttpResponse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from unfold.admin import TabularInline
from unfold.contrib.filters.admin import (
    AutocompleteSelectFilter,
    ChoicesDropdownFilter,
    DropdownFilter,
    RangeNumericFilter,
    RelatedDropdownFilter,
)
from unfold.dataclasses import ActionDialog
from unfold.enums import ActionVariant
from unfold.forms import BaseDialogForm
from unfold.widgets import UnfoldAdminImageSmallFieldWidget, UnfoldAdminIntegerFieldWidget

from catalog.models import Category, Product, ProductImage, Stock, StockMovement
from catalog.services import adjust_stock, archive_product, change_product, create_product, place_category
from vibecode import aws
from vibecode.admin import (
    DayFilter,
    ReadOnlyAdmin,
    ReasonForm,
    ServiceForm,
    ShopAdmin,
    actor_of,
    dialog_action,
    label,
    link_to,
    link_to_list,
    money,
    name_of,
    over,
    refused,
)
from vibecode.errors import DomainError

COLOURS: dict[str, str] = {
    Product.Status.DRAFT: "warning",
    Product.Status.PUBLISHED: "success",
    Product.Status.ARCHIVED: "",
}
KINDS: dict[str, str] = {
    StockMovement.Kind.RECEIVE: "success",
    StockMovement.Kind.ADJUST: "warning",
    StockMovement.Kind.RESERVE: "info",
    StockMovement.Kind.RELEASE: "",
    StockMovement.Kind.DEDUCT: "primary",
    StockMovement.Kind.RETURN: "success",
}
MOST_AT_ONCE = 500  # products of one bulk action: each is a change of its own, and a request has 29 seconds
LARGEST_PICTURE = 5 * 1024 * 1024  # bytes; a request on Lambda carries 6 MB
PICTURES = {"JPEG": "jpg", "PNG": "png", "WEBP": "webp", "GIF": "gif"}  # what every browser shows
MOST_DELTA = 10**9


# --- categories ------------------------------------------------------------------------------------------------------
class CategoryForm(ServiceForm):
    """A category, where the tree has room for it."""

    class Meta:
        model = Category
        fields = ("name", "slug", "parent", "position")

    def clean(self) -> dict[str, Any]:
        """Refuse a place below itself."""
        cleaned = super().clean()
        try:
            place_category(category=self.instance, parent=cleaned.get("parent"))
        except DomainError as refusal:
            self.add_error("parent", refusal.detail)
        return cleaned


@admin.register(Category)
class CategoryAdmin(ShopAdmin):
    """The shelves of the shop."""

    form = CategoryForm
    list_display = ("name", "above", "position", "slug", "products")
    list_filter = (("parent", RelatedDropdownFilter),)
    list_select_related = ("parent",)
    search_fields = ("name", "slug")
    ordering = ("position", "name", "id")
    autocomplete_fields = ("parent",)
    prepopulated_fields: ClassVar[dict[str, tuple[str, ...]]] = {"slug": ("name",)}

    def get_queryset(self, request: HttpRequest) -> models.QuerySet[Category]:
        """With the number of products in the same statement."""
        categories: models.QuerySet[Category] = super().get_queryset(request)
        return categories.annotate(product_count=models.Count("products"))

    def get_deleted_objects(self, objs: Any, request: HttpRequest) -> tuple[Any, Any, Any, list[Any]]:
        """Only an empty category goes: its products would change without anybody having changed them."""
        doomed, counts, needed, protected = super().get_deleted_objects(objs, request)
        kept = Product.objects.filter(category__in=objs).order_by("sku")[:20]
        return doomed, counts, needed, [*protected, *(f"Product: {product}" for product in kept)]

    @admin.display(description="below", ordering="parent__name")
    def above(self, category: Category) -> SafeString | str:
        """The category above."""
        return link_to("catalog_category", category.parent_id, category.parent) if category.parent else "-"

    @admin.display(description="products", ordering="product_count")
    def products(self, category: Any) -> SafeString | str:
        """How many stand directly in it, and the way to them."""
        if not category.product_count:
            return "-"
        return link_to_list("catalog_product", f"{category.product_count:,}", category__id__exact=category.pk)


# --- products --------------------------------------------------------------------------------------------------------
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


class PictureWidget(UnfoldAdminImageSmallFieldWidget):  # type: ignore[misc,unused-ignore]  # unfold ships no types
    """The picture that is there, or a place for a new one."""

    def render(self, name: str, value: Any, attrs: Any = None, renderer: Any = None) -> SafeString:
        """A thumbnail, or the file input."""
        if value and getattr(value, "url", None):
            return format_html(
                '<a href="{0}" target="_blank"><img class="shop-picture shop-large" src="{0}" alt="{1}"></a>',
                value.url, value.instance.alt,
            )  # fmt: skip
        return SafeString(super().render(name, value, attrs, renderer))


class PictureForm(forms.ModelForm):  # type: ignore[type-arg]  # not generic at run time
    """A picture: chosen once, described and put in order at any time."""

    class Meta:
        model = ProductImage
        fields = ("file", "alt", "position")
        widgets = {"file": PictureWidget({"accept": ",".join(f".{ending}" for ending in ("jpeg", *PICTURES.values()))})}

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if self.instance.pk:
            # Not an ImageField, which would fetch every picture of the product from S3 to look at it once more.
            self.fields["file"] = forms.Field(label="Picture", required=False, disabled=True, widget=PictureWidget)
        elif "file" in self.fields:
            self.fields["file"].label = "Picture"
            self.fields["file"].error_messages["invalid_image"] = (
                "This is no picture, or a broken one: choose a JPEG, PNG, WebP or GIF."
            )

    def clean(self) -> dict[str, Any]:
        """Leave a picture that is there as it is."""
        cleaned = super().clean() or self.cleaned_data
        if self.instance.pk:
            cleaned.pop("file", None)
        return cleaned

    def clean_file(self) -> Any:
        """Refuse what is too large, and what not every browser shows."""
        file = self.cleaned_data["file"]
        if isinstance(file, UploadedFile):
            if (file.size or 0) > LARGEST_PICTURE:
                raise forms.ValidationError(
                    f"The picture has {(file.size or 0) / 2**20:.1f} MB; {LARGEST_PICTURE // 2**20} MB is the most."
                )
            if picture_format(file) not in PICTURES:
                raise forms.ValidationError("Choose a JPEG, PNG, WebP or GIF: not every browser shows other formats.")
        return file


def picture_format(file: "UploadedFile[Any]") -> str:
    """What Pillow, which has just read the file for the form, says it is."""
    return str(getattr(getattr(file, "image", None), "format", ""))


class PictureInline(TabularInline):
    """A product's pictures."""

    model = ProductImage
    form = PictureForm
    fields = ("file", "alt", "position")
    ordering = ("position", "id")
    extra = 1
    show_title = False
    verbose_name = "picture"
    verbose_name_plural = "pictures"


class ShelfFilter(DropdownFilter):
    """How full the shelf is."""

    title = "shelf"
    parameter_name = "shelf"
    to_stock = "stock__"  # from the list's model

    def lookups(self, request: HttpRequest, _model_admin: ShopAdmin) -> list[tuple[str, str]]:  # noqa: ARG002
        """What needs somebody first."""
        return [("none", "Sold out"), ("low", "Low"), ("some", "In stock"), ("reserved", "Reserved for orders")]

    def queryset(self, request: HttpRequest, queryset: models.QuerySet[Any]) -> models.QuerySet[Any]:  # noqa: ARG002
        """The rows with such a shelf."""
        to = self.to_stock
        narrowings: dict[str, dict[str, Any]] = {
            "none": {f"{to}available__lte": 0},
            "low": {f"{to}available__lte": models.F(f"{to}reorder_point")},
            "some": {f"{to}available__gt": 0},
            "reserved": {f"{to}reserved__gt": 0},
        }
        return queryset.filter(**narrowings.get(self.value() or "", {}))


class OwnShelfFilter(ShelfFilter):
    """The same, on the list of stock itself."""

    to_stock = ""


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
    actions_detail = ("publish", "archive")
    warn_unsaved_form = True
    fieldsets = (
        (None, {"fields": ("sku", "name", "description", ("price", "category", "status"), "seen_version")}),
        ("On the shelf", {"fields": ("on_shelf",)}),
        ("History", {"fields": (("created_at", "updated_at", "version"),)}),
    )
    add_fieldsets = fieldsets[:1]

    def get_queryset(self, request: HttpRequest) -> models.QuerySet[Product]:  # noqa: ARG002
        """With category, stock and pictures; the search vector is for PostgreSQL alone."""
        return Product.objects.with_shelf().with_images().defer("search")

    def get_search_results(
        self,
        request: HttpRequest,  # noqa: ARG002
        queryset: Any,
        search_term: str,
    ) -> tuple[models.QuerySet[Product], bool]:
        """The shop's own search."""
        words = search_term.replace("\x00", "").strip()
        return (queryset.matching(words) if words else queryset), False

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> tuple[str, ...]:  # noqa: ARG002
        """A product keeps its SKU."""
        return (*self.readonly_fields, "sku") if obj else self.readonly_fields

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:  # noqa: ARG002
        """Nobody deletes a product."""
        return False

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
            for picture in getattr(request, "new_pictures", []):
                self._keep_picture(request, picture)
        return answer

    def save_model(self, request: HttpRequest, obj: Product, form: ProductForm, change: bool) -> None:  # noqa: ARG002
        """Create or change the product by its service."""
        if not change:
            values = {name: value for name, value in form.cleaned_data.items() if name != "seen_version"}
            made = create_product(sku=values.pop("sku"), name=values.pop("name"), values=values)
            obj.pk = made.pk
            obj.refresh_from_db()
        elif form.typed:
            change_product(product=obj, values=form.typed, expected_version=form.cleaned_data["seen_version"])

    def save_related(self, request: HttpRequest, form: ProductForm, formsets: Any, change: bool) -> None:
        """Pictures belong to the product: when they change, its version does."""
        super().save_related(request, form, formsets, change)
        if change and not form.typed and any(formset.has_changed() for formset in formsets):
            change_product(product=form.instance, values={}, expected_version=form.cleaned_data["seen_version"])

    def save_formset(self, request: HttpRequest, form: ProductForm, formset: Any, change: bool) -> None:  # noqa: ARG002
        """Write what changed of pictures that are there; new ones wait for the end of the transaction."""
        pictures: list[ProductImage] = formset.save(commit=False)
        request.new_pictures = [picture for picture in pictures if not picture.pk]  # type: ignore[attr-defined]
        for picture in pictures:
            if picture.pk:
                picture.save(update_fields=["alt", "position"])
        for picture in formset.deleted_objects:
            picture.delete()
            transaction.on_commit(_forgetting(picture), robust=True)

    def _keep_picture(self, request: HttpRequest, picture: ProductImage) -> None:
        """Store a picture, then write its row: a row without its file would be a broken picture in the shop."""
        ending = PICTURES[picture_format(picture.file.file)]
        try:
            picture.file.save(
                f"{picture.product.sku.lower()}-{secrets.token_hex(4)}.{ending}", picture.file.file, save=False
            )
        except _storage_errors():
            messages.error(
                request, f"{picture.product.sku} is saved, but its picture could not be stored: add it again."
            )
            return
        with transaction.atomic():
            picture.save()
            change_product(product=picture.product, values={})

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
        self, request: HttpRequest, chosen: models.QuerySet[Product], verb: Callable[[Product], object], done: str
    ) -> None:
        products = list(chosen[: MOST_AT_ONCE + 1])
        if len(products) > MOST_AT_ONCE:
            messages.error(request, f"Nothing was done: choose at most {MOST_AT_ONCE} products at once.")
            return
        for product in products:
            verb(product)
        self.log_all(request, Product.objects.filter(pk__in=[product.pk for product in products]), f"{done}.")
        messages.success(request, f"{done}: {len(products)}.")

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
        verb: Callable[[Product], object],
        done: str,
    ) -> HttpResponse:
        product = self.found(request, object_id)

        def act() -> str:
            verb(product)
            self.log_change(request, product, done)
            return f"{product.sku}: {done}"

        return self.answer_dialog(request, form, dialog, act)

    # --- what is shown -----------------------------------------------------------------------------------------------
    @admin.display(description="product", ordering="name")
    def thing(self, product: Product) -> SafeString:
        """Its picture, name and SKU."""
        pictures = list(product.images.all())  # prefetched
        picture = (
            format_html('<img class="shop-picture" loading="lazy" src="{}" alt="">', pictures[0].file.url)
            if pictures
            else SafeString('<span class="shop-picture"></span>')
        )
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


def _storage_errors() -> tuple[type[Exception], ...]:
    return (OSError, *aws.service_errors())


def _publish(product: Product) -> Product:
    return change_product(product=product, values={"status": Product.Status.PUBLISHED})


def _archive(product: Product) -> Product:
    return archive_product(product=product)


def _forgetting(picture: ProductImage) -> Callable[[], None]:
    """Remove a deleted picture's file, once it is certain that the row is gone."""
    return lambda: picture.file.storage.delete(str(picture.file.name))


# --- stock -----------------------------------------------------------------------------------------------------------
def level(stock: Stock) -> SafeString:
    """How many are available, red when none are, orange when it is time to order more."""
    colour = "danger" if stock.available <= 0 else "warning" if stock.available <= stock.reorder_point else "success"
    return label("level", f"{stock.available:,}", {"level": colour})


def delta(number: int) -> SafeString:
    """A signed number; nothing for 0."""
    if not number:
        return format_html('<span class="shop-number">{}</span>', "-")
    return format_html(
        '<span class="shop-number {}">{}</span>',
        "shop-up" if number > 0 else "shop-down",
        f"{number:+,}".replace("-", "−"),
    )


class AdjustForm(ReasonForm):
    """How many came or went, and why."""

    delta = forms.IntegerField(
        label="Change",
        min_value=-MOST_DELTA,
        max_value=MOST_DELTA,
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
    search_fields = ("product__sku__istartswith", "product__name")
    search_help_text = "The beginning of a SKU, or a part of the name"
    ordering = ("product__sku",)
    fields = ("link", ("units_on_hand", "units_reserved", "units_available"), "reorder_point", "movements")
    readonly_fields = ("link", "units_on_hand", "units_reserved", "units_available", "movements")
    actions_row = ("adjust",)
    actions_detail = ("adjust",)

    def has_add_permission(self, request: HttpRequest) -> bool:  # noqa: ARG002
        """A shelf comes with its product."""
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:  # noqa: ARG002
        """And stays as long."""
        return False

    def save_model(self, request: HttpRequest, obj: Stock, form: Any, change: bool) -> None:  # noqa: ARG002
        """Only the reorder point: the counters that this page read may have moved since."""
        obj.save(update_fields=["reorder_point"])

    @dialog_action(ADJUST, "Adjust stock", permissions=["change"], icon="exposure", url_path="adjust")
    def adjust(self, request: HttpRequest, form: AdjustForm, object_id: str) -> HttpResponse:
        """One movement: a delivery, or a correction."""
        stock = self.found(request, object_id)
        units, reason = form.cleaned_data["delta"], form.cleaned_data["reason"]

        def act() -> str:
            after = adjust_stock(product=stock.product, delta=units, reason=reason, actor=actor_of(request))
            self.log_change(request, stock, f"Adjusted by {units:+d}: {reason}")
            return f"{stock.product.sku}: {units:+,d}. Now {after.on_hand:,} on hand, {after.available:,} available."

        return self.answer_dialog(request, form, ADJUST, act)

    @admin.display(description="product", ordering="product__name")
    def thing(self, stock: Stock) -> SafeString:
        """What stands there."""
        return over(name_of(stock.product.name), stock.product.sku)

    @admin.display(description="product")
    def link(self, stock: Stock) -> SafeString:
        """The product's page."""
        return link_to("catalog_product", stock.pk, name_of(str(stock.product)))

    @admin.display(description="on hand", ordering="on_hand")
    def units_on_hand(self, stock: Stock) -> SafeString:
        """What is there."""
        return format_html('<span class="shop-number">{}</span>', f"{stock.on_hand:,}")

    @admin.display(description="reserved", ordering="reserved")
    def units_reserved(self, stock: Stock) -> SafeString:
        """What is promised."""
        return format_html('<span class="shop-number">{}</span>', f"{stock.reserved:,}" if stock.reserved else "-")

    @admin.display(description="available", ordering="available")
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
    search_fields = ("product__sku__istartswith", "reference__startswith", "actor__startswith", "reason")
    search_help_text = "The beginning of a SKU, an order's number, an actor, or a word of the reason"
    ordering = ("-id",)
    fields = (
        "created_at", "product_link", "movement", ("hand", "promise"),
        ("cause", "reference", "order_line"), "reason", "actor",
    )  # fmt: skip
    readonly_fields = ("product_link", "movement", "hand", "promise")

    @admin.display(description="product", ordering="product__sku")
    def product_link(self, movement: StockMovement) -> SafeString:
        """The product's page."""
        return link_to("catalog_product", movement.product_id, movement.product.sku)

    @admin.display(description="kind", ordering="kind")
    def movement(self, movement: StockMovement) -> SafeString:
        """What happened."""
        return label(movement.kind, movement.get_kind_display(), KINDS)

    @admin.display(description="on hand", ordering="on_hand_delta")
    def hand(self, movement: StockMovement) -> SafeString:
        """What came or went."""
        return delta(movement.on_hand_delta)

    @admin.display(description="reserved", ordering="reserved_delta")
    def promise(self, movement: StockMovement) -> SafeString:
        """What was promised or freed."""
        return delta(movement.reserved_delta)

    @admin.display(description="cause", ordering="cause")
    def because(self, movement: StockMovement) -> SafeString:
        """What brought it about."""
        return over(movement.get_cause_display(), movement.reference)

    @admin.display(description="reason and actor", ordering="reason")
    def why(self, movement: StockMovement) -> SafeString:
        """In somebody's words, and who it was: a Cognito sub, or a part of the shop."""
        return over(name_of(movement.reason or "-"), movement.actor)
