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
from orders.models import Order, OrderQuerySet
from orders.payments.webhook import read_event
from orders.serializers import (
    CancelIn,
    FactOut,
    OrderIn,
    OrderOut,
    PlacedOrderOut,
    ReceivedOut,
    RefundIn,
    RefundOut,
    TimelineOut,
    basket_of,
)
from orders.services import cancel_order, payment_news, place_order, request_refund
from vibecode.api import IsStaff, for_schema, is_staff, parse
from vibecode.describing import described
from vibecode.errors import Denied
from vibecode.idempotency import idempotent
from vibecode.observability import note
from vibecode.pagination import Keyset


class OrderViewSet(GenericViewSet[Order]):
    """Orders of the signed-in customer; staff see all."""

    serializer_class = OrderOut
    pagination_class = Keyset
    lookup_field = "number"

    @property
    def filterset_class(self) -> type[OrderFilter]:
        """Staff may also ask by customer and search."""
        return StaffOrderFilter if for_schema(self) or is_staff(self.request) else OrderFilter

    def get_queryset(self) -> OrderQuerySet:
        """The orders that the caller may see; somebody else's are simply not here."""
        if for_schema(self):
            return Order.objects.none()
        mine = Order.objects.visible_to(signed_in(self.request), staff=is_staff(self.request))
        return mine.with_lines().fetch_mode(models.FETCH_RAISE)

    def get_permissions(self) -> list[BasePermission]:
        """Money goes back by the hand of staff alone."""
        return [IsStaff() if self.action == "refunds" else IsAuthenticated()]

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
        cancel_order(order=self.get_object(), reason=reason, actor=signed_in(request).cognito_sub)
        return Response(self.get_serializer(self.get_queryset().get(number=number)).data)

    @described(request=RefundIn, responses={201: RefundOut})
    @idempotent(required=True)
    def refunds(self, request: Request, number: str) -> Response:  # noqa: ARG002 -- get_object reads it
        """Give back what was captured, the whole or a part. Answered at once; the workers settle it."""
        values = parse(RefundIn, request)
        refund = request_refund(
            order=self.get_object(),
            amount=values.get("amount"),
            reason=values["reason"],
            actor=signed_in(request).cognito_sub,
        )
        return Response(RefundOut(refund).data, status=201)


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
            payment_news(news)
        return Response({"received": True})


def _tag(order: Order) -> str:
    return f'"{order.version}"'
