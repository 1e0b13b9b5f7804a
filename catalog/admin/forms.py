"""What staff type about a product, and the dialogs that ask for it. Imported by products.py and verbs.py."""

from decimal import Decimal
from typing import Any

from django import forms
from django.conf import settings
from unfold.dataclasses import ActionDialog
from unfold.forms import BaseDialogForm
from unfold.widgets import UnfoldAdminDecimalFieldWidget

from catalog.models import Product
from vibecode.desk import ServiceForm, money


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
