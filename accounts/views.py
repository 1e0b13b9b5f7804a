"""The account's doors: the signed-in person and their addresses."""

from django.conf import settings
from django.shortcuts import get_object_or_404
from rest_framework.exceptions import NotAuthenticated
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView
from rest_framework.viewsets import GenericViewSet

from accounts.authentication import signed_in
from accounts.models import Address, AddressQuerySet
from accounts.serializers import AddressIn, AddressOut, MeIn, MeOut, WebsocketTicketOut
from accounts.services import add_address, change_address, forget_address, rename_user
from vibecode.api import bearer, for_schema, parse
from vibecode.describing import described
from vibecode.idempotency import idempotent
from vibecode.pagination import Keyset
from vibecode.websockets import TICKET_SECONDS, issue_ticket


class MeView(APIView):
    """The signed-in person."""

    @described(responses=MeOut)
    def get(self, request: Request) -> Response:
        """Who I am here."""
        return self._answer(request)

    @described(request=MeIn, responses=MeOut)
    def patch(self, request: Request) -> Response:
        """Change what the shop calls me."""
        values = parse(MeIn, request, partial=True)
        if "name" in values:
            rename_user(user=signed_in(request), name=values["name"])
        return self._answer(request)

    def _answer(self, request: Request) -> Response:
        token = bearer(request)
        groups = token.groups if token else frozenset()
        return Response(MeOut(signed_in(request), context={"groups": groups}).data)


class AddressViewSet(GenericViewSet[Address]):
    """The addresses of the signed-in person; somebody else's are simply not here."""

    serializer_class = AddressOut
    pagination_class = Keyset

    def get_queryset(self) -> AddressQuerySet:
        """The caller's own."""
        if for_schema(self):
            return Address.objects.none()
        return Address.objects.belonging_to(signed_in(self.request))

    def get_object(self) -> Address:
        """The caller's address of that id."""
        return get_object_or_404(self.get_queryset(), pk=self.kwargs["pk"])

    def list(self, request: Request) -> Response:  # noqa: ARG002 -- paginate_queryset reads it
        """A page of them, newest first."""
        page = self.paginate_queryset(self.get_queryset()) or []
        return self.get_paginated_response(self.get_serializer(page, many=True).data)

    def retrieve(self, request: Request, pk: int) -> Response:  # noqa: ARG002 -- the framework's signature
        """One of them."""
        return Response(AddressOut(self.get_object()).data)

    @described(request=AddressIn, responses={201: AddressOut})
    @idempotent
    def create(self, request: Request) -> Response:
        """Keep one more."""
        address = add_address(user=signed_in(request), values=parse(AddressIn, request))
        location = f"{settings.PUBLIC_URL}{request.path_info}/{address.pk}"
        return Response(AddressOut(address).data, status=201, headers={"Location": location})

    @described(request=AddressIn, responses=AddressOut)
    def partial_update(self, request: Request, pk: int) -> Response:  # noqa: ARG002 -- the framework's signature
        """Change fields of one."""
        address = change_address(address=self.get_object(), values=parse(AddressIn, request, partial=True))
        return Response(AddressOut(address).data)

    @described(responses={204: None})
    def destroy(self, request: Request, pk: int) -> Response:  # noqa: ARG002 -- the framework's signature
        """Forget one; orders keep their copy."""
        forget_address(address=self.get_object())
        return Response(status=204)


class WebsocketTicketView(APIView):
    """Admission to the websocket."""

    # Not @idempotent: it would call DynamoDB inside a transaction, and keep in the clear what works only once.
    @described(request=None, responses={201: WebsocketTicketOut})
    def post(self, request: Request) -> Response:
        """A ticket for one connection to `websocketUrl?token=<ticket>`.

        It works once, within 60 seconds, and the connection ends when the token of this request does. An
        Idempotency-Key changes nothing here: every request gets a ticket of its own.
        """
        token = bearer(request)
        if token is None:
            raise NotAuthenticated
        ticket = issue_ticket(user_id=token.sub, session_ends=int(token.claims["exp"]))
        answer = {"ticket": ticket, "expiresIn": TICKET_SECONDS}
        return Response(answer, status=201, headers={"Cache-Control": "no-store"})
