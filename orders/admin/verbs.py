"""What can be done to an order at the desk: each verb is a dialog over one service. Called by orders.py."""

from collections.abc import Callable
from typing import Any

from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import URLPattern, path
from unfold.dataclasses import ActionDialog
from unfold.decorators import action
from unfold.enums import ActionVariant

from orders.admin.bulk import ManyOrders
from orders.admin.dialogs import (
    CANCEL,
    DECIDE,
    DELIVER,
    NOTE,
    REFUND,
    RETURN,
    SHIP,
    CancelForm,
    DecideForm,
    DeliverForm,
    NoteForm,
    OrderForm,
    RefundForm,
    ReturnForm,
    ShipForm,
)
from orders.models import Order, Payment, Refund, Shipment
from orders.services import (
    add_note,
    approve_refund,
    cancel_order,
    deliver_order,
    reject_refund,
    request_refund,
    return_items,
    ship_order,
)
from orders.services.packing import pack_orders, pack_parcel
from orders.slips import print_slips
from orders.status import (
    CANCELLABLE,
    SHIPMENT,
    FulfilmentStatus,
    Mark,
    RefundState,
)
from vibecode.desk import actor_of, answer_pdf, dialog_action, money
from vibecode.errors import DomainError
from vibecode.rights import Right

PRIMARY, DANGER = ActionVariant.PRIMARY, ActionVariant.DANGER


def possible_verbs(order: Order) -> set[str]:
    """What can be done to an order as it is now, by the names of the actions below."""
    fulfilment, payment = FulfilmentStatus(order.fulfilment_status), Payment.objects.filter(order=order).first()
    refundable = payment is not None and payment.refundable > 0
    proposed = payment is not None and payment.refunds.filter(state=RefundState.PROPOSED).exists()
    offers = {
        "ship": order.may_ship,
        "slip": order.may_ship,
        "deliver": fulfilment in {FulfilmentStatus.PARTLY_SHIPPED, FulfilmentStatus.SHIPPED},
        "refund": refundable,
        "take_back": refundable and fulfilment in SHIPMENT,
        "decide": proposed,
        "note": True,
        "cancel": order.mark != Mark.CANCELLED and fulfilment in CANCELLABLE,
    }
    return {verb for verb, offered in offers.items() if offered}


class OrderVerbs(ManyOrders):
    """The verbs of an order's page: only those that somebody may do, and that can be done to it now."""

    actions_detail = ("ship", "slip", "refund", "decide", "deliver", "take_back", "note", "cancel")

    def has_refund_permission(self, request: HttpRequest, _: Any = None) -> bool:
        """Who may give money back."""
        return actor_of(request).may(Right.REFUND)

    def has_note_permission(self, request: HttpRequest, _: Any = None) -> bool:
        """Who may leave notes."""
        return actor_of(request).may(Right.NOTE)

    def has_cancel_permission(self, request: HttpRequest, _: Any = None) -> bool:
        """Who may call an order off."""
        return actor_of(request).may(Right.CANCEL)

    def get_actions_detail(self, request: HttpRequest, object_id: int | str) -> list[Any]:
        """Only what can be done to it now."""
        order = self.get_object(request, str(object_id))
        if order is None:
            return []
        possible = possible_verbs(order)
        offers: list[Any] = super().get_actions_detail(request, object_id)
        return [offer for offer in offers if offer.action_name.removeprefix("orders_order_") in possible]

    @dialog_action(SHIP, "Ship", permissions=["ship"], icon="local_shipping", url_path="ship", variant=PRIMARY)
    def ship(self, request: HttpRequest, form: ShipForm, object_id: str) -> HttpResponse:  # noqa: ARG002 -- unfold's
        """Send a parcel."""
        tracking = form.cleaned_data["tracking"]

        def act() -> str:
            parcel = ship_order(**form.asked, items=form.units(), tracking=tracking, actor=actor_of(request))
            return f"Parcel {parcel.number} of {form.order.number} is on its way."

        return self.answer_dialog(request, form, SHIP, act)

    @action(  # type: ignore[untyped-decorator,unused-ignore]  # unfold ships no types
        description="Packing slip", permissions=["ship"], icon="print", url_path="packing-slip",
        attrs={"target": "_blank", "rel": "noopener"},
    )  # fmt: skip
    def slip(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Of what is to ship."""
        order = self.found(request, object_id)
        try:
            [slip] = pack_orders(orders=Order.objects.filter(pk=order.pk), actor=actor_of(request))
        except DomainError as refusal:
            messages.error(request, refusal.detail)
            return redirect("admin:orders_order_change", order.pk)
        return answer_pdf(f"packing-slip-{order.number}.pdf", print_slips([slip]))

    def get_urls(self) -> list[URLPattern]:
        """With the slips of the parcels that have left."""
        guarded = self.admin_site.admin_view(self.parcel_slip)
        ours = path("<int:pk>/parcels/<int:number>/packing-slip/", guarded, name="orders_order_parcel_slip")
        return [ours, *super().get_urls()]

    def parcel_slip(self, request: HttpRequest, pk: int, number: int) -> HttpResponse:
        """Of one parcel."""
        if not self.has_ship_permission(request):
            raise PermissionDenied
        parcel = Shipment.objects.filter(order=pk, number=number).first()
        if parcel is None:
            raise Http404
        slip = pack_parcel(parcel=parcel, actor=actor_of(request))
        return answer_pdf(f"packing-slip-{slip.order}-{number}.pdf", print_slips([slip]))

    @dialog_action(DELIVER, "Delivered", permissions=["ship"], icon="where_to_vote", url_path="deliver")
    def deliver(self, request: HttpRequest, form: DeliverForm, object_id: str) -> HttpResponse:  # noqa: ARG002 -- unfold's
        """It has arrived."""
        parcel = form.cleaned_data["parcel"]

        def act() -> str:
            order = deliver_order(**form.asked, tracking=parcel, actor=actor_of(request))
            return f"{order.number} is {order.get_fulfilment_status_display().lower()}."

        return self.answer_dialog(request, form, DELIVER, act)

    @dialog_action(REFUND, "Refund", permissions=["refund"], icon="currency_exchange", url_path="refund")
    def refund(self, request: HttpRequest, form: RefundForm, object_id: str) -> HttpResponse:  # noqa: ARG002 -- unfold's
        """Give money back."""
        return self._answer_refund(
            request, form, REFUND, lambda: request_refund(**form.asked, **form.terms(), actor=actor_of(request))
        )

    @dialog_action(RETURN, "Take back", permissions=["refund"], icon="assignment_return", url_path="return")
    def take_back(self, request: HttpRequest, form: ReturnForm, object_id: str) -> HttpResponse:  # noqa: ARG002 -- unfold's
        """Take goods back."""
        terms = {name: form.cleaned_data[name] for name in ("amount", "restock", "reason")}
        return self._answer_refund(
            request, form, RETURN,
            lambda: return_items(**form.asked, **terms, items=form.units(), actor=actor_of(request)),
        )  # fmt: skip

    @dialog_action(DECIDE, "Decide on refund", permissions=["refund"], icon="how_to_reg", url_path="decide")
    def decide(self, request: HttpRequest, form: DecideForm, object_id: str) -> HttpResponse:  # noqa: ARG002 -- unfold's
        """The second person's word."""
        refund, reason = form.cleaned_data["refund"], form.cleaned_data["reason"]

        def act() -> str:
            if form.cleaned_data["decision"] == DecideForm.APPROVE:
                approve_refund(refund=refund, actor=actor_of(request))
                done = f"Approved {refund.reference}."
            else:
                reject_refund(refund=refund, reason=reason, actor=actor_of(request))
                done = f"Rejected {refund.reference}: {reason}"
            return done

        return self.answer_dialog(request, form, DECIDE, act)

    @dialog_action(NOTE, "Note", permissions=["note"], icon="sticky_note_2", url_path="note")
    def note(self, request: HttpRequest, form: NoteForm, object_id: str) -> HttpResponse:  # noqa: ARG002 -- unfold's
        """Leave a note."""

        def act() -> str:
            add_note(order=form.order, text=form.cleaned_data["text"], actor=actor_of(request))
            return "The note is kept."

        return self.answer_dialog(request, form, NOTE, act)

    @dialog_action(CANCEL, "Cancel order", permissions=["cancel"], icon="cancel", url_path="cancel", variant=DANGER)
    def cancel(self, request: HttpRequest, form: CancelForm, object_id: str) -> HttpResponse:  # noqa: ARG002 -- unfold's
        """Call it off."""
        reason = form.cleaned_data["reason"]

        def act() -> str:
            order = cancel_order(**form.asked, reason=reason, actor=actor_of(request))
            return f"{order.number} is cancelled."

        return self.answer_dialog(request, form, CANCEL, act)

    def _answer_refund(
        self, request: HttpRequest, form: OrderForm, dialog: ActionDialog, give_back: Callable[[], Refund]
    ) -> HttpResponse:
        def act() -> str:
            refund = give_back()
            sum_of_it = money(refund.amount, form.order.currency)
            if refund.state == RefundState.PROPOSED:
                return f"{sum_of_it} is proposed: a second person has to approve it."
            return f"{sum_of_it} of {form.order.number} is on its way back."

        return self.answer_dialog(request, form, dialog, act)
