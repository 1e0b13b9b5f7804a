"""Categories in the admin: a tree, only whose empty leaves can be deleted. Imported by catalog.admin."""

from typing import Any, ClassVar

from django.contrib import admin
from django.db import models
from django.db.models.functions import Coalesce
from django.http import HttpRequest
from django.utils.safestring import SafeString
from unfold.contrib.filters.admin import RelatedDropdownFilter

from catalog.models import Category, Product
from catalog.services import place_category, save_category
from vibecode.desk import ServiceForm, ShopAdmin, actor_of, link_to, link_to_list
from vibecode.errors import DomainError


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
    sortable_by = ("name", "above", "position", "slug")
    autocomplete_fields = ("parent",)
    prepopulated_fields: ClassVar[dict[str, tuple[str, ...]]] = {"slug": ("name",)}

    def save_model(self, request: HttpRequest, obj: Category, form: Any, change: bool) -> None:  # noqa: ARG002 -- the framework's signature
        """By the service, which asks for circles once more with the tree held still."""
        save_category(category=obj, actor=actor_of(request))

    def get_queryset(self, request: HttpRequest) -> models.QuerySet[Category]:
        """With the number of products in the same statement."""
        categories: models.QuerySet[Category] = super().get_queryset(request)
        products = Product.objects.filter(category=models.OuterRef("pk")).order_by().values("category")
        count = products.annotate(number_of=models.Count("*")).values("number_of")
        return categories.annotate(product_count=Coalesce(models.Subquery(count), 0))

    def get_deleted_objects(self, objs: Any, request: HttpRequest) -> tuple[Any, Any, Any, list[Any]]:
        """Only an empty category goes: its products would change without anybody having changed them."""
        doomed, counts, needed, protected = super().get_deleted_objects(objs, request)
        kept = Product.objects.filter(category__in=objs).order_by("sku")[:20]
        return doomed, counts, needed, [*protected, *(f"Product: {product}" for product in kept)]

    @admin.display(description="below", ordering="parent__name")
    def above(self, category: Category) -> SafeString | str:
        """The category above."""
        return link_to("catalog_category", category.parent_id, category.parent) if category.parent else "-"

    @admin.display(description="products")
    def products(self, category: Any) -> SafeString | str:
        """How many stand directly in it, and the way to them."""
        if not category.product_count:
            return "-"
        return link_to_list("catalog_product", f"{category.product_count:,}", category__id__exact=category.pk)
