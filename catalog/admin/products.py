"""Products in the admin: the list and the page of each. What can be done to one stands in verbs.py."""

from typing import Any

from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.db import models
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.urls import URLPattern, path
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.views.decorators.http import require_POST
from unfold.contrib.filters.admin import ChoicesDropdownFilter, RangeNumericFilter, RelatedDropdownFilter

from catalog.admin.forms import ProductForm
from catalog.admin.pictures import (
    PictureInline,
    begin_picture,
    complete_picture,
    keep_pictures,
    thumbnail,
    write_pictures,
)
from catalog.admin.stock import ShelfFilter, level
from catalog.admin.verbs import ProductVerbs
from catalog.models import Product, ProductImage
from catalog.services import change_product, create_product
from vibecode.desk import (
    DayFilter,
    actor_of,
    figure,
    label,
    link_to,
    link_to_list,
    money,
    name_of,
    refused,
)

COLOURS: dict[str, str] = {
    Product.Status.DRAFT: "warning",
    Product.Status.PUBLISHED: "success",
    Product.Status.ARCHIVED: "",
}


@admin.register(Product)
class ProductAdmin(ProductVerbs):
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
    sortable_by = ("thing", "amount", "changed")
    readonly_fields = ("on_shelf", "created_at", "updated_at", "version")
    warn_unsaved_form = True
    fieldsets = (
        (None, {"fields": ("sku", "name", "description", ("price", "category", "status"), "seen_version")}),
        ("On the shelf", {"fields": ("on_shelf",)}),
        ("Version", {"fields": (("created_at", "updated_at", "version"),)}),
    )
    add_fieldsets = fieldsets[:1]

    def get_queryset(self, request: HttpRequest) -> models.QuerySet[Product]:  # noqa: ARG002 -- the framework's signature
        """With category, stock and pictures; the search vector is for PostgreSQL alone."""
        return Product.objects.with_shelf().with_images().defer("search")

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> tuple[str, ...]:  # noqa: ARG002 -- the framework's signature
        """A product keeps its SKU."""
        return (*self.readonly_fields, "sku") if obj else self.readonly_fields

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:  # noqa: ARG002 -- the framework's signature
        """Nobody deletes a product."""
        return False

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
        return complete_picture(request, uploaded)

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

    @admin.display(description="status")
    def state(self, product: Product) -> SafeString:
        """Whether customers see it."""
        return label(product.status, product.get_status_display(), COLOURS)

    @admin.display(description="price", ordering="price")
    def amount(self, product: Product) -> SafeString:
        """The price with its currency."""
        return figure(money(product.price, product.currency))

    @admin.display(description="available")
    def shelf(self, product: Product) -> SafeString:
        """How many can be sold."""
        return level(product.stock)

    @admin.display(description="category")
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
