"""What a verb asks before it acts on an order: one form each, filled with what is left to do. Called by verbs.py.

Longer than most modules: one form after the other, over the two that they share.
"""

from decimal import Decimal
from typing import Any

from django import forms
from django.conf import settings
from django.http import Http404
from unfold.dataclasses import ActionDialog
from unfold.widgets import (
    UnfoldAdminDecimalFieldWidget,
    UnfoldAdminIntegerFieldWidget,
    UnfoldAdminSelectWidget,
    UnfoldAdminTextareaWidget,
    UnfoldAdminTextInputWidget,
    UnfoldBooleanSwitchWidget,
)

from orders.models import Order, OrderLine, Refund, Shipment
from orders.status import RefundState
from vibecode.desk import OnceForm, money

MOST_LINES = 40  # with a field each; of longer orders all units that are left are meant


class OrderForm(OnceForm):
    """A dialog about one order. It knows at which version it was opened: nobody acts on what they have not seen."""

    data: Any
    version = forms.IntegerField(widget=forms.HiddenInput)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        try:
            self.order = Order.objects.select_related("payment").get(pk=self.object_id)
        except (Order.DoesNotExist, ValueError):
            raise Http404 from None
        self.fields["version"].initial = self.order.version

    def renew(self) -> None:
        """After a refusal: what was typed stays, and the next try is about the order as it is now."""
        self.data = self.data.copy()
        self.data["version"] = str(Order.objects.values_list("version", flat=True).get(pk=self.order.pk))

    @property
    def asked(self) -> dict[str, Any]:
        """What every verb's service takes."""
        return {"order": self.order, "expected_version": self.cleaned_data["version"]}


class UnitsForm(OrderForm):
    """Which units: a field for each line of the order, as long as there are not too many."""

    all_at_first = True  # the fields begin with all that is left, else with none

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        lines = list(OrderLine.objects.of(self.order))
        self.lines = lines if len(lines) <= MOST_LINES else []
        if not self.lines:
            count = sum(self.left(line) for line in lines)
            self.fields["everything"] = forms.BooleanField(
                label=f"All {count:,} units of {len(lines):,} lines", help_text="Parts of so long an order: by the API."
            )
        for line in self.lines:
            left = self.left(line)
            self.fields[f"units_{line.pk}"] = forms.IntegerField(
                label=f"{line.sku} {line.name}"[:80],
                min_value=0,
                max_value=line.quantity,
                required=False,
                initial=left if self.all_at_first else 0,
                help_text=f"{left} of {line.quantity} {self.left_for}",
                widget=UnfoldAdminIntegerFieldWidget,
            )

    left_for = "left"

    def left(self, line: OrderLine) -> int:
        """How many of a line it can still be about."""
        raise NotImplementedError  # each verb says what it is about

    def units(self) -> dict[str, int] | None:
        """Units by SKU; None for all that are left, in a long order."""
        if not self.lines:
            return None
        counts = {line.sku: self.cleaned_data.get(f"units_{line.pk}") or 0 for line in self.lines}
        return {sku: count for sku, count in counts.items() if count}

    def need_units(self) -> None:
        """Add an error where nothing is chosen."""
        if self.units() == {}:
            self.add_error(None, "Choose at least one unit.")


def _reason() -> forms.CharField:
    return forms.CharField(
        max_length=200, widget=UnfoldAdminTextInputWidget({"autocomplete": "off"}), help_text="Kept for good."
    )


def _amount(help_text: str) -> forms.DecimalField:
    return forms.DecimalField(
        required=False, max_digits=20, decimal_places=2, min_value=Decimal(0), help_text=help_text,
        widget=UnfoldAdminDecimalFieldWidget,
    )  # fmt: skip


class ShipForm(UnitsForm):
    """What leaves the house now."""

    left_for = "to ship"
    tracking = forms.CharField(
        label="Tracking number",
        max_length=100,
        required=False,
        widget=UnfoldAdminTextInputWidget({"autocomplete": "off"}),
        help_text="The carrier's number of the parcel; the customer is told it.",
    )

    def left(self, line: OrderLine) -> int:
        """What has not left and was not refunded."""
        return line.to_ship

    def clean(self) -> None:
        """At least one unit."""
        self.need_units()


class DeliverForm(OrderForm):
    """What has arrived."""

    parcel = forms.ChoiceField(required=False, widget=UnfoldAdminSelectWidget)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        on_their_way = Shipment.objects.filter(order=self.order, delivered_at=None).exclude(tracking="")
        numbers = on_their_way.order_by("number").values_list("tracking", flat=True)
        self.fields["parcel"].choices = [
            ("", "Everything that is on its way"),
            *((n, n) for n in dict.fromkeys(numbers)),
        ]


class RefundForm(UnitsForm):
    """What goes back: items, an amount, or all that is left."""

    ITEMS, AMOUNT, ALL = "items", "amount", "all"
    all_at_first = False
    left_for = "can be refunded"
    what = forms.ChoiceField(
        label="Refund", widget=UnfoldAdminSelectWidget,
        choices=[(ITEMS, "The units below"), (AMOUNT, "An amount, no goods"), (ALL, "Everything that is left")],
    )  # fmt: skip
    amount = _amount("")
    restock = forms.BooleanField(
        required=False, initial=True, label="Put the units back on the shelf", widget=UnfoldBooleanSwitchWidget
    )
    reason = _reason()

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        payment = getattr(self.order, "payment", None)
        left = money(payment.refundable if payment else Decimal("0.00"), self.order.currency)
        limit = money(Decimal(settings.REFUND_LIMIT), self.order.currency)
        help_text = f"{left} can be given back. Empty: what the units cost; 0: the goods alone."
        self.fields["amount"].help_text = f"{help_text} Above {limit} a second person has to approve."
        # What is with the customer comes back by "Take back", once it is here.
        self.fields["restock"].initial = not self.order.shipments.exists()
        if not self.lines:
            del self.fields["everything"]  # the choice says it
            self.fields["what"].choices = [choice for choice in self.fields["what"].choices if choice[0] != self.ITEMS]
        self.order_fields(["what", *(name for name in self.fields if name.startswith("units_")), "amount"])

    def left(self, line: OrderLine) -> int:
        """What was not refunded yet."""
        return line.quantity - line.refunded

    def clean(self) -> None:
        """What belongs to the choice is there."""
        what, amount = self.cleaned_data.get("what"), self.cleaned_data.get("amount")
        if what == self.ITEMS:
            self.need_units()
        if what == self.AMOUNT and not amount and "amount" not in self.errors:
            self.add_error("amount", "Say how much.")

    def terms(self) -> dict[str, Any]:
        """What the service takes besides the order."""
        values, what = self.cleaned_data, self.cleaned_data["what"]
        terms: dict[str, Any] = {"reason": values["reason"]}
        if what != self.ALL:
            terms["amount"] = values["amount"]
        if what != self.AMOUNT:
            terms["restock"] = values["restock"]
        if what == self.ITEMS:
            terms["items"] = self.units()
        return terms


class ReturnForm(UnitsForm):
    """What the customer has sent back."""

    left_for = "with the customer"
    all_at_first = False
    amount = _amount("Empty: what the units cost.")
    restock = forms.BooleanField(
        required=False, initial=True, label="Put them back on the shelf", widget=UnfoldBooleanSwitchWidget
    )
    reason = _reason()

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.order_fields([name for name in self.fields if name.startswith("units_")])

    def left(self, line: OrderLine) -> int:
        """What has left and was not given money back for."""
        return line.with_customer

    def clean(self) -> None:
        """At least one unit."""
        self.need_units()


class DecideForm(OrderForm):
    """What the second person says to a proposed refund."""

    APPROVE, REJECT = "approve", "reject"
    refund = forms.ModelChoiceField(queryset=Refund.objects.none(), empty_label=None, widget=UnfoldAdminSelectWidget)
    decision = forms.ChoiceField(
        choices=[(APPROVE, "Approve: the money goes back"), (REJECT, "Reject: nothing happens")],
        widget=UnfoldAdminSelectWidget,
    )
    reason = forms.CharField(
        max_length=200, required=False, widget=UnfoldAdminTextInputWidget({"autocomplete": "off"}),
        help_text="Needed to reject.",
    )  # fmt: skip

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        proposed = Refund.objects.filter(payment__order=self.order, state=RefundState.PROPOSED)
        field = self.fields["refund"]
        field.queryset = proposed.order_by("id")
        field.label_from_instance = lambda refund: f"{money(refund.amount, self.order.currency)}: {refund.reason}"

    def clean(self) -> None:
        """Nobody is turned down without a word."""
        if self.cleaned_data.get("decision") == self.REJECT and not self.cleaned_data.get("reason"):
            self.add_error("reason", "Say why.")


class CancelForm(OrderForm):
    """Why an order is called off."""

    reason = _reason()


class NoteForm(OrderForm):
    """What colleagues should know."""

    text = forms.CharField(label="Note", max_length=2000, widget=UnfoldAdminTextareaWidget({"rows": 4}))


SHIP = ActionDialog(
    title="Ship a parcel",
    description="The customer gets an e-mail with the tracking number. What has shipped cannot be cancelled any more.",
    form_class=ShipForm,
    form_submit_text="Ship",
)
DELIVER = ActionDialog(
    title="Mark as delivered",
    description="The parcel, or everything that has left the house, has arrived.",
    form_class=DeliverForm,
    form_submit_text="It has arrived",
)
REFUND = ActionDialog(
    title="Refund",
    description="The money goes back the way it came. Units that have not left the house will not ship any more.",
    form_class=RefundForm,
    form_submit_text="Refund",
)
RETURN = ActionDialog(
    title="Take goods back",
    description="The customer has sent these units back, and gets their money for them.",
    form_class=ReturnForm,
    form_submit_text="Take back and refund",
)
DECIDE = ActionDialog(
    title="A refund waits for you",
    description="A colleague asked for it, and it is above what one person may give back alone.",
    form_class=DecideForm,
    form_submit_text="Decide",
)
CANCEL = ActionDialog(
    title="Cancel this order?",
    description="What it holds goes back on the shelf, and what was paid is refunded. This cannot be undone.",
    form_class=CancelForm,
    form_submit_text="Cancel the order",
)
NOTE = ActionDialog(
    title="Add a note",
    description="For colleagues only: the customer never sees it.",
    form_class=NoteForm,
    form_submit_text="Keep the note",
)
