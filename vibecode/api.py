"""What the endpoints share: strict input, ETags, health. Called by the serializers and views of the apps."""

import hashlib
import json
import re
from datetime import UTC
from decimal import Decimal
from typing import Any

from django.conf import settings
from django.db import DatabaseError, connection
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.views.decorators.http import require_safe
from rest_framework import serializers
from rest_framework.exceptions import ErrorDetail, ValidationError
from rest_framework.permissions import AllowAny, BasePermission
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from vibecode.bearer import Token
from vibecode.describing import described
from vibecode.errors import Stale
from vibecode.observability import note
from vibecode.rights import Actor


def bearer(request: Request) -> Token | None:
    """The verified token of a request, None for a stranger's."""
    return request.auth if isinstance(request.auth, Token) else None


def is_staff(request: Request) -> bool:
    """Whether the request's token is of somebody who works here."""
    token = bearer(request)
    return token is not None and token.is_staff


def actor(request: Request) -> Actor:
    """Who asks, with what they may do; a stranger may nothing."""
    token = bearer(request)
    return token.actor if token else Actor("")


def for_schema(view: APIView) -> bool:
    """Whether drf-spectacular only looks at the view: there is no request then."""
    return bool(getattr(view, "swagger_fake_view", False))


class IsStaff(BasePermission):
    """Lets in whose token has a staff group."""

    message = "This is for staff."

    def has_permission(self, request: Request, view: APIView) -> bool:  # noqa: ARG002 -- the signature is DRF's
        """Whether the caller may."""
        return is_staff(request)


class Moment(serializers.DateTimeField):
    """A point in time as ISO 8601 in UTC, whatever zone the shop is in."""

    def __init__(self, **options: Any) -> None:
        super().__init__(default_timezone=UTC, **options)


class Input(serializers.Serializer[Any]):
    """The shape of a request body. A field that it does not know is an error, not noise."""

    def to_internal_value(self, data: Any) -> Any:
        """The checked values; every fault of the body in one ValidationError."""
        unknown: dict[str, Any] = {}
        if isinstance(data, dict):
            known = {name for name, field in self.fields.items() if not field.read_only}
            unknown = {
                name: [ErrorDetail(f"{name[:80]} is not a field here; known are {', '.join(known)}.", "unknown-field")]
                for name in sorted(data.keys() - known)
            }
        try:
            values = super().to_internal_value(data)
        except ValidationError as error:
            if unknown and isinstance(error.detail, dict):
                raise ValidationError({**error.detail, **unknown}) from None
            raise
        if unknown:
            raise ValidationError(unknown)
        return values


def parse[T: Input](shape: type[T], request: Request, *, partial: bool = False) -> Any:
    """The body of a request, checked against its shape: a dict of values. Raises ValidationError. No query."""
    serializer = shape(data=request.data, partial=partial)
    serializer.is_valid(raise_exception=True)
    return serializer.validated_data


class Text(serializers.CharField):
    """A JSON string; a number is not one."""

    def to_internal_value(self, data: Any) -> str:
        """The string, trimmed."""
        if not isinstance(data, str):
            self.fail("invalid")
        return str(super().to_internal_value(data))


class Pattern(Text, serializers.RegexField):
    """A JSON string of one form."""


class Whole(serializers.IntegerField):
    """A whole JSON number: 2 and 2.0 are, "2", true and 1.5 are not."""

    def __init__(self, *, least: int, most: int, **options: Any) -> None:
        super().__init__(min_value=least, max_value=most, **options)
        self.least, self.most = least, most
        self.sentence = f"must be a whole number from {least} to {most}"

    def to_internal_value(self, data: Any) -> int:
        """The number."""
        if isinstance(data, bool) or not isinstance(data, int | Decimal):
            raise ValidationError(f"{self.field_name} {self.sentence}; it is a {_json_type(data)}.")
        # The bounds first: a Decimal with a huge exponent must not be spelled out.
        if not self.least <= data <= self.most or data != int(data):
            raise ValidationError(f"{self.field_name} {self.sentence}; it is {data}.")
        return int(data)


AMOUNT = re.compile(r"-?[0-9]{1,40}(\.[0-9]{1,40})?")


class Money(serializers.DecimalField):
    """An amount as a decimal string or a JSON number: not negative, two decimals at most."""

    def __init__(self, *, max_digits: int = 12, **options: Any) -> None:
        super().__init__(max_digits=max_digits, decimal_places=2, min_value=Decimal(0), **options)

    def to_internal_value(self, data: Any) -> Decimal:
        """The amount, exact."""
        if isinstance(data, bool) or not isinstance(data, str | int | Decimal):
            raise ValidationError(f'{self.field_name} must be an amount such as "12.50".')
        if isinstance(data, str) and not AMOUNT.fullmatch(data):  # Python would also read "1_0" and Arabic digits
            raise ValidationError(f'{self.field_name} must be an amount such as "12.50".')
        return super().to_internal_value(data) + 0  # -0 becomes 0


def _json_type(value: object) -> str:
    names = {bool: "boolean", str: "string", list: "list", dict: "object", type(None): "null"}
    return names.get(type(value), "value")


# --- what a front end needs ------------------------------------------------------------------------------------------
class CognitoConfigOut(serializers.Serializer[Any]):
    """Where to sign in."""

    userPoolId = serializers.CharField()
    clientId = serializers.CharField()
    issuer = serializers.URLField()
    jwksUrl = serializers.URLField()
    endpoint = serializers.URLField(help_text="The address of Cognito's own API.")
    domain = serializers.URLField(allow_null=True, help_text="The hosted sign-in pages; null where there are none.")


class ConfigOut(serializers.Serializer[Any]):
    """All that a front end has to know about this stage."""

    region = serializers.CharField()
    cognito = CognitoConfigOut()
    apiUrl = serializers.URLField()
    websocketUrl = serializers.URLField(allow_null=True)
    mediaUrl = serializers.URLField(allow_null=True, help_text="null: images come with signed addresses.")
    currency = serializers.CharField()


class ConfigView(APIView):
    """Settings of this stage for front ends; nothing secret, no query."""

    authentication_classes = ()
    permission_classes = (AllowAny,)

    @described(responses=ConfigOut)
    def get(self, request: Request) -> Response:  # noqa: ARG002 -- a view
        """All that a front end has to know about this stage."""
        region = settings.AWS_REGION
        return Response(
            {
                "region": region,
                "cognito": {
                    "userPoolId": settings.COGNITO_USER_POOL_ID,
                    "clientId": settings.COGNITO_CLIENT_ID,
                    "issuer": settings.COGNITO_ISSUER,
                    "jwksUrl": settings.COGNITO_JWKS_URL,
                    "endpoint": settings.AWS_ENDPOINT_URL or f"https://cognito-idp.{region}.amazonaws.com",
                    "domain": settings.COGNITO_DOMAIN or None,
                },
                "apiUrl": f"{settings.PUBLIC_URL}/api/v1",
                "websocketUrl": settings.WEBSOCKET_URL or None,
                "mediaUrl": settings.MEDIA_ORIGIN or None,
                "currency": settings.SHOP_CURRENCY,
            },
            headers={"Cache-Control": "public, max-age=300"},
        )


# --- validators ------------------------------------------------------------------------------------------------------
def etag_of(version: int | str, *parts: object) -> str:
    """An entity tag: a version, then a digest of what else the body depends on (RFC 9110, section 8.8.3)."""
    digest = hashlib.sha256(json.dumps(parts, default=str).encode()).hexdigest()[:16]
    return f'"{version}-{digest}"'


def answer_tagged(request: Request, tag: str, data: Any) -> Response:
    """200 with the body and its tag, or 304 without one when the client has it (RFC 9110, 13.1.2)."""
    known = {part.strip().removeprefix("W/") for part in request.headers.get("If-None-Match", "").split(",")}
    headers = {"ETag": tag, "Cache-Control": "private, no-cache", "Vary": "Authorization"}
    if tag in known or "*" in known:
        return Response(status=304, headers=headers)
    return Response(data, headers=headers)


def expected_version(request: Request) -> int | None:
    """The version in If-Match: ``"3"`` or an ETag of ours, ``"3-…"``. None where the client does not ask.

    Raises Stale when it is none of ours: the client has seen something else than what it is about to change.
    """
    given = request.headers.get("If-Match", "").strip()
    if given in {"", "*"}:
        return None
    version = given.removeprefix("W/").strip('"').partition("-")[0]
    if not (version.isascii() and version.isdecimal() and len(version) < 10):
        raise Stale(f"If-Match is {given[:80]}, which is no version of this. Read it again.")
    return int(version)


# --- health ----------------------------------------------------------------------------------------------------------
@require_safe
def healthz(request: HttpRequest) -> HttpResponse:  # noqa: ARG001 -- a view
    """The process answers, and says which release it is. Asks nothing of the database: a sleeping one stays asleep."""
    return JsonResponse({"status": "ok"}, headers={"X-Release": settings.RELEASE})


@require_safe
def readyz(request: HttpRequest) -> HttpResponse:  # noqa: ARG001 -- a view
    """The database answers and its schema is the one this code was written for; else 503."""
    from django.db.migrations.executor import MigrationExecutor  # slow to import

    try:
        connection.ensure_connection()
        executor = MigrationExecutor(connection)
        waiting = executor.migration_plan(executor.loader.graph.leaf_nodes())
    except DatabaseError:
        return _unready("the database does not answer")
    if waiting:
        return _unready(f"{len(waiting)} migrations wait")
    return JsonResponse({"status": "ready"})


def _unready(reason: str) -> HttpResponse:
    note(unready=reason)
    return JsonResponse({"status": "unready", "reason": reason}, status=503, headers={"Retry-After": "2"})
