"""What staff may do to products, to one in a dialog or to many at once. Called by products.py."""

from collections.abc import Callable
from typing import Any

from django.contrib import admin, messages
from django.db import models, transaction
from django.http import HttpRequest, HttpResponse
from django.utils.html import format_html, format_html_join
from unfold.dataclasses import ActionDialog
from unfold.enums import ActionVariant
from unfold.forms import BaseDialogForm

from catalog.admin.forms import ARCHIVE, PUBLISH, REPRICE, PriceForm
from catalog.admin.stock import ADJUST, AdjustForm, adjust
from catalog.jobs import export_prices, export_products
from catalog.models import Product, Stock
from catalog.services import archive_product, change_product
from vibecode.desk import ShopAdmin, actor_of, begin_at_list, dialog_action, money
from vibecode.errors import DomainError
from vibecode.rights import Actor, Right

MOST_AT_ONCE = 500  # products of one bulk action: each is a change of its own, and a request has 29 seconds


class ProductVerbs(ShopAdmin):
    """The verbs of a product, and who may."""

    actions = (
        "publish_all", "archive_all",
        "export_products_csv", "export_products_xlsx", "export_prices_csv", "export_prices_xlsx",
    )  # fmt: skip
    actions_row = ("reprice", "adjust")
    actions_detail = ("adjust", "publish", "archive")

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

    @admin.action(description="Publish", permissions=["change"])
    def publish_all(self, request: HttpRequest, chosen: models.QuerySet[Product]) -> None:
        """Let customers see and order them."""
        self._do_to_all(request, chosen.exclude(status=Product.Status.PUBLISHED), _publish, "Published")

    @admin.action(description="Archive", permissions=["change"])
    def archive_all(self, request: HttpRequest, chosen: models.QuerySet[Product]) -> None:
        """Take them off the list."""
        self._do_to_all(request, chosen.exclude(status=Product.Status.ARCHIVED), _archive, "Archived")

    def has_export_permission(self, request: HttpRequest, _: Any = None) -> bool:
        """Who may write the file back."""
        return actor_of(request).may(Right.CATALOGUE)

    @admin.action(description="Export products as CSV", permissions=["export"])
    def export_products_csv(self, request: HttpRequest, chosen: models.QuerySet[Product]) -> HttpResponse | None:
        """All of their columns."""
        return begin_at_list(request, lambda: export_products(products=chosen, form="csv", actor=actor_of(request)))

    @admin.action(description="Export products as XLSX", permissions=["export"])
    def export_products_xlsx(self, request: HttpRequest, chosen: models.QuerySet[Product]) -> HttpResponse | None:
        """The same, as a spreadsheet."""
        return begin_at_list(request, lambda: export_products(products=chosen, form="xlsx", actor=actor_of(request)))

    @admin.action(description="Export prices as CSV", permissions=["export"])
    def export_prices_csv(self, request: HttpRequest, chosen: models.QuerySet[Product]) -> HttpResponse | None:
        """To be changed and imported again."""
        return begin_at_list(request, lambda: export_prices(products=chosen, form="csv", actor=actor_of(request)))

    @admin.action(description="Export prices as XLSX", permissions=["export"])
    def export_prices_xlsx(self, request: HttpRequest, chosen: models.QuerySet[Product]) -> HttpResponse | None:
        """The same, as a spreadsheet."""
        return begin_at_list(request, lambda: export_prices(products=chosen, form="xlsx", actor=actor_of(request)))

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
        changed, refusals = 0, []
        for product in products:
            try:
                with transaction.atomic():
                    verb(product, actor_of(request))
            except DomainError as refusal:
                refusals.append((product.sku, refusal.detail))
            else:
                changed += 1
        if changed or not refusals:
            messages.success(request, f"{done}: {changed}.")
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
            return f"{product.sku}: {done}"

        return self.answer_dialog(request, form, dialog, act)


def _publish(product: Product, actor: Actor) -> Product:
    values = {"status": Product.Status.PUBLISHED}
    return change_product(product=product, values=values, actor=actor, expected_version=product.version)


def _archive(product: Product, actor: Actor) -> Product:
    return archive_product(product=product, actor=actor)
