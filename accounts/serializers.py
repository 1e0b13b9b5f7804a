"""People on the wire. Called by the views, and by orders for addresses."""

from typing import Any

from rest_framework import serializers

from accounts.models import Address, User
from vibecode.api import Input, Moment, Pattern, Text


class MeOut(serializers.Serializer[User]):
    """The signed-in person."""

    userId = serializers.CharField(source="cognito_sub")
    email = serializers.CharField(help_text="Empty until Cognito has verified it.")
    name = serializers.CharField()
    groups = serializers.SerializerMethodField()
    createdAt = Moment(source="created_at")

    def get_groups(self, user: User) -> list[str]:  # noqa: ARG002 -- they come from the token
        """The token's groups."""
        return sorted(self.context["groups"])


class MeIn(Input):
    """What somebody may change about themselves here; e-mail and password are changed in Cognito."""

    name = Text(max_length=150, allow_blank=True)


class AddressIn(Input):
    """An address."""

    name = Text(max_length=150)
    line1 = Text(max_length=200)
    line2 = Text(max_length=200, allow_blank=True, required=False)
    city = Text(max_length=100)
    region = Text(max_length=100, allow_blank=True, required=False)
    postalCode = Text(max_length=20, source="postal_code")
    country = Pattern(r"\A[A-Z]{2}\Z", help_text="ISO 3166-1 alpha-2")
    phone = Text(max_length=30, allow_blank=True, required=False)


class AddressOut(serializers.Serializer[Address]):
    """An address with its id."""

    id = serializers.IntegerField()
    name = serializers.CharField()
    line1 = serializers.CharField()
    line2 = serializers.CharField()
    city = serializers.CharField()
    region = serializers.CharField()
    postalCode = serializers.CharField(source="postal_code")
    country = serializers.CharField()
    phone = serializers.CharField()


class WebsocketTicketOut(serializers.Serializer[Any]):
    """What opens one connection to the websocket."""

    ticket = serializers.CharField(help_text="For `websocketUrl?token=<ticket>`; works once.")
    expiresIn = serializers.IntegerField(help_text="Seconds.")
