"""Keyset pagination: the last page costs what the first does, and rows that arrive move nobody's place.

Called by every list of the API. A cursor is bound to the filters and the ordering that it was made with.
"""

import hashlib
import json
from datetime import datetime
from decimal import Decimal
from typing import Any, ClassVar
from urllib.parse import urlencode

from django.conf import settings
from django.core.signing import BadSignature, Signer
from django.db.models import Model, Q
from rest_framework.pagination import BasePagination
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from vibecode.errors import Fault, Malformed

type Key = tuple[Any, int]

# Signed: a cursor is ours as it was, or it is refused. No value of a stranger's reaches the database this way.
_SIGNER = Signer(key=settings.CURSOR_KEY, salt="vibecode.pagination")


class CursorMismatch(Malformed):
    """A cursor of another list."""

    code = "cursor-mismatch"
    title = "The cursor belongs to another list"


class Keyset(BasePagination):
    """Pages along (an expression, the id). Subclasses name the orderings they offer; the first one is the default.

    An ordering maps the name in ``?ordering=`` to a field or annotation, with ``-`` for falling.
    """

    orderings: ClassVar[dict[str, str]] = {"newest": "-created_at"}
    page_size: ClassVar[int] = 50
    page_size_most: ClassVar[int] = 200

    def paginate_queryset(self, queryset: Any, request: Request, view: APIView | None = None) -> list[Any]:  # noqa: ARG002 -- the framework's signature
        """The rows of the page that the request asks for. One statement."""
        self.request = request
        self.size = self._page_size()
        self.ordering = self._ordering()
        self.field = self.ordering.removeprefix("-")
        start = self._start()
        backwards, key = start or (False, None)
        falling = self.ordering.startswith("-") != backwards
        if key is not None:
            queryset = queryset.filter(_beyond(self.field, key, falling=falling))
        sign = "-" if falling else ""
        rows: list[Model] = list(queryset.order_by(f"{sign}{self.field}", f"{sign}id")[: self.size + 1])
        more = len(rows) > self.size
        rows = rows[: self.size]
        if backwards:
            rows.reverse()
        self.has_next = backwards or more
        self.has_previous = more if backwards else key is not None
        self.rows = rows
        return rows

    def get_paginated_response(self, data: Any) -> Response:
        """The page with the addresses of its neighbours."""
        return Response({"results": data, "next": self.next_url(), "previous": self.previous_url()})

    def next_url(self) -> str | None:
        """The page after this one."""
        return self._url(self.rows[-1], backwards=False) if self.rows and self.has_next else None

    def previous_url(self) -> str | None:
        """The page before this one."""
        return self._url(self.rows[0], backwards=True) if self.rows and self.has_previous else None

    def get_paginated_response_schema(self, schema: dict[str, Any]) -> dict[str, Any]:
        """The same for OpenAPI."""
        link = {"type": ["string", "null"], "format": "uri"}
        return {
            "type": "object",
            "required": ["results", "next", "previous"],
            "properties": {"results": schema, "next": link, "previous": link},
        }

    def get_schema_operation_parameters(self, view: APIView) -> list[dict[str, Any]]:  # noqa: ARG002 -- DRF's
        """The same for OpenAPI."""
        return [
            _parameter("cursor", {"type": "string"}, "From `next` or `previous`; as it is."),
            _parameter("pageSize", {"type": "integer", "minimum": 1, "maximum": self.page_size_most}, ""),
            _parameter("ordering", {"type": "string", "enum": list(self.orderings)}, ""),
        ]

    def _page_size(self) -> int:
        given = self.request.query_params.get("pageSize", str(self.page_size))
        if not (given.isascii() and given.isdecimal() and len(given) < 9 and 1 <= int(given) <= self.page_size_most):
            raise Malformed(
                "The query is invalid.",
                faults=[Fault("/pageSize", "invalid", f"pageSize must be from 1 to {self.page_size_most}.")],
            )
        return int(given)

    def _ordering(self) -> str:
        given = self.request.query_params.get("ordering") or next(iter(self.orderings))
        if given not in self.orderings:
            choices = ", ".join(self.orderings)
            raise Malformed(
                "The query is invalid.",
                faults=[Fault("/ordering", "invalid", f"ordering must be one of {choices}.")],
            )
        return self.orderings[given]

    def _binding(self) -> str:
        """What a cursor is good for: this path with these filters, in this order."""
        parts = sorted(
            (name, value)
            for name, values in self.request.query_params.lists()
            if name not in {"cursor", "pageSize", "ordering"}
            for value in values
        )
        text = json.dumps([self.request.path_info, self.ordering, parts])
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def _start(self) -> tuple[bool, Key] | None:
        given = self.request.query_params.get("cursor")
        if not given:
            return None
        try:
            binding, backwards, kind, value, identity = _SIGNER.unsign_object(given)
        except BadSignature:
            raise Malformed(
                "The query is invalid.",
                faults=[
                    Fault(
                        "/cursor",
                        "invalid",
                        "The cursor is none of ours: follow next and previous as they are.",
                    )
                ],
            ) from None
        if binding != self._binding():
            raise CursorMismatch("The cursor was made with other filters or another ordering: start without it.")
        return bool(backwards), (_unpack(kind, value), identity)

    def _url(self, row: Any, *, backwards: bool) -> str:
        kind, value = _pack(getattr(row, self.field))
        cursor = _SIGNER.sign_object([self._binding(), int(backwards), kind, value, row.pk])
        pairs = [(n, v) for n, vs in self.request.query_params.lists() if n != "cursor" for v in vs]
        return f"{settings.PUBLIC_URL}{self.request.path_info}?{urlencode([*pairs, ('cursor', cursor)])}"


def _beyond(field: str, key: Key, *, falling: bool) -> Q:
    """Rows after the key. The outer comparison is a range of the index; the inner one sorts out its first value."""
    value, identity = key
    strictly = "lt" if falling else "gt"
    return Q(**{f"{field}__{strictly}e": value}) & (
        Q(**{f"{field}__{strictly}": value}) | Q(**{f"id__{strictly}": identity})
    )


def _pack(value: Any) -> tuple[str, str]:
    match value:
        case datetime():
            return "t", value.isoformat()
        case Decimal():
            return "d", str(value)
        case float():
            return "f", value.hex()
    return "s", str(value)


def _unpack(kind: str, value: str) -> Any:
    match kind:
        case "t":
            return datetime.fromisoformat(value)
        case "d":
            return Decimal(value)
        case "f":
            return float.fromhex(value)
    return value


def _parameter(name: str, schema: dict[str, Any], description: str) -> dict[str, Any]:
    return {"name": name, "in": "query", "required": False, "schema": schema, "description": description}
