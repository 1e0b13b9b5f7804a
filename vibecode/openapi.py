"""The API's description: schema, interactive page, and the list of problems. Called by urls.py and drf-spectacular."""

from collections.abc import Iterator
from http import HTTPStatus
from typing import Any

from django.conf import settings
from django.utils.decorators import method_decorator
from django.views.decorators.csp import csp_override
from drf_spectacular.extensions import OpenApiAuthenticationExtension
from drf_spectacular.views import SpectacularJSONAPIView, SpectacularSwaggerSplitView
from rest_framework.permissions import AllowAny
from rest_framework.renderers import BaseRenderer, JSONRenderer
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from vibecode.describing import described
from vibecode.errors import DomainError
from vibecode.problems import CODE_OF, CONTENT_TYPE, INVALID, STATUS_OF

_STRING = {"type": "string"}
PROBLEM: dict[str, Any] = {
    "type": "object",
    "description": "RFC 9457. Some codes carry further members, such as the short lines of an order.",
    "required": ["type", "title", "status", "detail", "instance", "code", "requestId"],
    "properties": {
        "type": {"type": "string", "format": "uri"},
        "title": _STRING,
        "status": {"type": "integer"},
        "detail": {"type": "string", "description": "What is wrong here and how to mend it."},
        "instance": _STRING,
        "code": {"type": "string", "description": "Stable; /api/problems lists them all."},
        "requestId": _STRING,
        "success": {"type": "boolean", "const": False},
        "error": {"type": "string", "description": "The title again, for the specification's clients."},
        "errors": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["pointer", "code", "detail"],
                "properties": {"pointer": _STRING, "code": _STRING, "detail": _STRING},
            },
        },
    },
}
KEY_REQUIRED = {"products_stock_create"}  # @idempotent(required=True)
TAGS = {
    "config": "What a front end has to know about this stage.",
    "products": "What is for sale; staff also write.",
    "categories": "The tree of shelves.",
    "orders": "Place orders and follow them.",
    "me": "The signed-in person and their addresses.",
}
IDEMPOTENCY_KEY = {
    "name": "Idempotency-Key",
    "in": "header",
    "required": False,
    "schema": {"type": "string", "maxLength": 255},
    "description": "The same key with the same body gets the first answer again, with Idempotent-Replayed: true.",
}


class CognitoScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]  # spectacular ships no types here
    """The Authorize button of the interactive page."""

    target_class = "accounts.authentication.CognitoAuthentication"
    name = "Cognito"

    def get_security_definition(self, auto_schema: object) -> dict[str, Any]:  # noqa: ARG002 -- spectacular's
        """A bearer token."""
        return {
            "type": "http",
            "scheme": "bearer",
            "bearerFormat": "JWT",
            "description": "A Cognito access or id token. Locally: `python manage.py token shopper@example.com`.",
        }


def describe_problems(result: dict[str, Any], **_: Any) -> dict[str, Any]:
    """A drf-spectacular hook: every operation may answer with a problem, every POST takes an Idempotency-Key."""
    result["components"].setdefault("schemas", {})["Problem"] = PROBLEM
    answer = {
        "description": "Something is wrong; `code` says what.",
        "content": {CONTENT_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}},
    }
    result["tags"] = [{"name": name, "description": description} for name, description in TAGS.items()]
    for operations in result["paths"].values():
        for method, operation in operations.items():
            operation["responses"].setdefault("default", answer)
            operation["summary"] = operation.get("description", "").split("\n")[0]
            if method == "post":
                required = operation["operationId"] in KEY_REQUIRED
                operation.setdefault("parameters", []).append(IDEMPOTENCY_KEY | {"required": required})
    return result


class Schema(SpectacularJSONAPIView):
    """OpenAPI 3.1 of the whole API, as JSON (which is YAML too)."""

    authentication_classes = ()
    throttle_classes = ()


@method_decorator(csp_override(settings.DOCS_CSP), name="dispatch")
class Docs(SpectacularSwaggerSplitView):
    """The interactive page, from our own files."""

    template_name = "vibecode/api_docs.html"
    authentication_classes = ()
    throttle_classes = ()
    http_method_names = ("get", "head")

    def get_renderers(self) -> list[BaseRenderer]:
        """The page for who reads it; JSON for the problem of who tries something else."""
        return super().get_renderers() if self.request.method in {"GET", "HEAD"} else [JSONRenderer()]


class Problems(APIView):
    """Every code that an error may carry: where ``type`` of a problem points to."""

    authentication_classes = ()
    permission_classes = (AllowAny,)

    @described(exclude=True)
    def get(self, request: Request) -> Response:  # noqa: ARG002 -- a view
        """All of them, by code."""
        known = {
            code: {"code": code, "status": status, "title": HTTPStatus(status).phrase, "description": ""}
            for status, code in CODE_OF.items()
        }
        known["invalid"] = {
            "code": "invalid",
            "status": 400,
            "title": INVALID,
            "description": "The body or the query is not of the shape it should be; `errors` says where.",
        }
        for kind in _kinds(DomainError):
            status = next((STATUS_OF[family] for family in kind.__mro__ if family in STATUS_OF), None)
            if status:
                summary = (kind.__doc__ or "").strip()
                known[kind.code] = {
                    "code": kind.code,
                    "status": status,
                    "title": kind.title,
                    "description": summary,
                }
        return Response({"results": [known[code] for code in sorted(known)]})


def _kinds(family: type[DomainError]) -> Iterator[type[DomainError]]:
    for kind in family.__subclasses__():
        yield kind
        yield from _kinds(kind)
