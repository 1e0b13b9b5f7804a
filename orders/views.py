"""The orders' doors over HTTP."""

from typing import Any

from django.conf import settings
from django.db import models
from django.http import Http404
from django.shortcuts import get_object_or_404
from rest_framework.permissions import AllowAny, BasePermission, IsAuthenticated
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView
from rest_framework.viewsets import GenericViewSet

from accounts.authentication import signed_in
from orders.filters import OrderFilter, StaffOrderFilter
from orders.models import Order, OrderQuerySet, Refund, Shipment
from orders.payments.webhook import read_event
from orders.serializers import (
    CancelIn,
    DeliveryIn,
    FactOut,
    NoteIn,
    NoteOut,
    NotesOut,
    OrderIn,
    OrderOut,
    PlacedOrderOut,
    ReceivedOut,
    RefundIn,
    RefundOut,
    RefundsOut,
    RejectIn,
    ReturnIn,
    ShipmentIn,
    ShipmentOut,
    ShipmentsOut,
    TimelineOut,
    basket_of,
)
from orders.services import (
    add_note,
    approve_refund,
    cancel_order,
    deliver_order,
    payment_news,
    place_order,
    reject_refund,
    request_refund,
    return_items,
    ship_order,
)
from vibecode.acting import act_as
from vibecode.api import IsStaff, actor, expected_version, for_schema, parse
from vibecode.describing import described
from vibecode.errors import Denied
from vibecode.idempotency import idempotent
from vibecode.observability import note
from vibecode.pagination import Keyset
from vibecode.rights import Right

STAFF_ONLY = frozenset({"ship", "delivery", "refund", "refunds", "returns", "approve", "reject", "notes", "add_note"})


class OrderViewSet(GenericViewSet[Order]):
    """Orders of the signed-in customer; staff see all."""

    serializer_class = OrderOut
    pagination_class = Keyset
    lookup_field = "number"

    @property
    def filterset_class(self) -> type[OrderFilter]:
        """Staff may also ask by customer and search."""
        return StaffOrderFilter if for_schema(self) or self._sees_all() else OrderFilter

    def get_queryset(self) -> OrderQuerySet:
        """The orders that the caller may see; somebody else's are simply not here."""
        if for_schema(self):
            return Order.objects.none()
        mine = Order.objects.visible_to(signed_in(self.request), staff=self._sees_all())
        return mine.with_lines().fetch_mode(models.FETCH_RAISE)

    def _sees_all(self) -> bool:
        return actor(self.request).may(Right.SEE_ORDERS)

    def get_permissions(self) -> list[BasePermission]:
        """Customers read, order and cancel. What each of the staff may, the services say."""
        return [IsStaff() if self.action in STAFF_ONLY else IsAuthenticated()]

    def get_serializer_context(self) -> dict[str, Any]:
        """With who asks: some things are for an order's owner only."""
        return {**super().get_serializer_context(), "owner": self.request.user.pk}

    def get_object(self) -> Order:
        """The order of the address."""
        note(order=self.kwargs["number"])
        return get_object_or_404(self.get_queryset(), number=self.kwargs["number"])

    @described(request=OrderIn, responses={201: PlacedOrderOut})
    @idempotent
    def create(self, request: Request) -> Response:
        """Place an order: exactly once for each Idempotency-Key."""
        customer = signed_in(request)
        values = parse(OrderIn, request)
        if values.get("userId", customer.cognito_sub) != customer.cognito_sub:
            raise Denied("userId is somebody else's; leave it out, or send your own.")
        order = place_order(customer=customer, basket=basket_of(values))
        note(order=order.number)
        location = f"{settings.PUBLIC_URL}{order.get_absolute_url()}"
        return Response(PlacedOrderOut(order).data, status=201, headers={"Location": location, "ETag": _tag(order)})

    def list(self, request: Request) -> Response:  # noqa: ARG002 -- paginate_queryset reads it
        """A page of orders, newest first."""
        page = self.paginate_queryset(self.filter_queryset(self.get_queryset())) or []
        return self.get_paginated_response(self.get_serializer(page, many=True).data)

    def retrieve(self, request: Request, number: str) -> Response:  # noqa: ARG002 -- get_object reads it
        """One order."""
        order = self.get_object()
        return Response(self.get_serializer(order).data, headers={"ETag": _tag(order)})

    @described(responses=TimelineOut)
    def timeline(self, request: Request, number: str) -> Response:  # noqa: ARG002 -- the framework's signature
        """Every fact that happened to the order, in order."""
        return Response({"results": FactOut(self.get_object().timeline.all(), many=True).data})

    @described(request=CancelIn, responses=OrderOut)
    @idempotent
    def cancel(self, request: Request, number: str) -> Response:
        """Call the order off, while nothing has shipped. Twice is harmless."""
        reason = parse(CancelIn, request).get("reason", "")
        cancel_order(**self._asked(request), reason=reason)
        return self._answer(number)

    @described(responses=ShipmentsOut)
    def shipments(self, request: Request, number: str) -> Response:  # noqa: ARG002 -- the framework's signature
        """Every parcel of the order."""
        parcels = Shipment.objects.filter(order=self.get_object()).with_contents()
        return Response({"results": ShipmentOut(parcels, many=True).data})

    @described(request=ShipmentIn, responses={201: ShipmentOut})
    @idempotent(required=True)
    def ship(self, request: Request, number: str) -> Response:  # noqa: ARG002 -- get_object reads it
        """Send a parcel: all that is still to ship, or the given units. With If-Match only at that version."""
        values = parse(ShipmentIn, request)
        shipment = ship_order(**self._asked(request), **values)
        parcel = Shipment.objects.with_contents().get(pk=shipment.pk)
        return Response(ShipmentOut(parcel).data, status=201)

    @described(request=DeliveryIn, responses=OrderOut)
    @idempotent
    def delivery(self, request: Request, number: str) -> Response:
        """What was shipped has arrived: all of it, one parcel, or the given units. Twice is harmless."""
        values = parse(DeliveryIn, request)
        deliver_order(**self._asked(request), **values)
        return self._answer(number)

    @described(responses=RefundsOut)
    def refunds(self, request: Request, number: str) -> Response:  # noqa: ARG002 -- the framework's signature
        """Every refund of the order."""
        refunds = Refund.objects.filter(payment__order=self.get_object()).with_parts()
        return Response({"results": RefundOut(refunds, many=True).data})

    @described(request=RefundIn, responses={201: RefundOut})
    @idempotent(required=True)
    def refund(self, request: Request, number: str) -> Response:  # noqa: ARG002 -- get_object reads it
        """Give back money: an amount, items, or all that is left. Answered at once; the workers settle it."""
        values = parse(RefundIn, request)
        return self._answer_refund(request_refund(**self._asked(request), **values))

    @described(request=ReturnIn, responses={201: RefundOut})
    @idempotent(required=True)
    def returns(self, request: Request, number: str) -> Response:  # noqa: ARG002 -- get_object reads it
        """Take shipped goods back, and give back what they cost."""
        values = parse(ReturnIn, request)
        return self._answer_refund(return_items(**self._asked(request), **values))

    @described(responses=RefundOut)
    @idempotent
    def approve(self, request: Request, number: str, refund: str) -> Response:  # noqa: ARG002 -- _refund reads it
        """The second person agrees to a proposed refund. Twice is harmless."""
        return self._answer_refund(approve_refund(refund=self._refund(refund), actor=actor(request)), status=200)

    @described(request=RejectIn, responses=RefundOut)
    @idempotent
    def reject(self, request: Request, number: str, refund: str) -> Response:  # noqa: ARG002 -- _refund reads it
        """A proposed refund comes to nothing. Twice is harmless."""
        reason = parse(RejectIn, request)["reason"]
        rejected = reject_refund(refund=self._refund(refund), reason=reason, actor=actor(request))
        return self._answer_refund(rejected, status=200)

    @described(responses=NotesOut)
    def notes(self, request: Request, number: str) -> Response:  # noqa: ARG002 -- the framework's signature
        """What staff wrote about the order."""
        return Response({"results": NoteOut(self.get_object().notes.all(), many=True).data})

    @described(request=NoteIn, responses={201: NoteOut})
    @idempotent
    def add_note(self, request: Request, number: str) -> Response:  # noqa: ARG002 -- get_object reads it
        """Write a note, which customers never see."""
        text = parse(NoteIn, request)["text"]
        return Response(NoteOut(add_note(order=self.get_object(), text=text, actor=actor(request))).data, status=201)

    def _asked(self, request: Request) -> dict[str, Any]:
        """What every verb takes: the order, who asks, and the version that they have read."""
        return {"order": self.get_object(), "actor": actor(request), "expected_version": expected_version(request)}

    def _refund(self, reference: str) -> Refund:
        return get_object_or_404(Refund, payment__order=self.get_object(), reference=reference)

    def _answer(self, number: str) -> Response:
        order = self.get_queryset().get(number=number)
        return Response(self.get_serializer(order).data, headers={"ETag": _tag(order)})

    def _answer_refund(self, refund: Refund, status: int = 201) -> Response:
        return Response(RefundOut(Refund.objects.with_parts().get(pk=refund.pk)).data, status=status)


class StripeWebhookView(APIView):
    """What Stripe tells us, signed with the endpoint's secret over the raw body."""

    authentication_classes = ()
    permission_classes = (AllowAny,)
    throttle_classes = ()  # many of Stripe's requests come from one address, and the signature is asked for first
    parser_classes = ()

    @described(request={"application/json": {"type": "object"}}, responses=ReceivedOut)
    def post(self, request: Request) -> Response:
        """Write down what became of a payment, once for each event; then let its workflow go on."""
        if not settings.STRIPE_WEBHOOK_SECRET:
            raise Http404
        payload, signature = request._request.body, request.headers.get("Stripe-Signature", "")  # noqa: SLF001 -- signed as it came
        news = read_event(payload, signature, settings.STRIPE_WEBHOOK_SECRET)
        if news is not None:
            note(order=news.reference)
            act_as("payment")
            payment_news(news)
        return Response({"received": True})


def _tag(order: Order) -> str:
    return f'"{order.version}"'
