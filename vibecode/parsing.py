"""JSON in, strict, bounded and exact; JSON out, whatever Accept says. Called by DRF for every request."""

import io
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from decimal import Decimal, InvalidOperation
from typing import IO, Any

from django.conf import settings
from django.core.exceptions import BadRequest
from django.core.handlers.wsgi import WSGIRequest
from django.http import HttpRequest, HttpResponse
from rest_framework.negotiation import BaseContentNegotiation
from rest_framework.parsers import BaseParser
from rest_framework.renderers import BaseRenderer
from rest_framework.request import Request

from vibecode.errors import Malformed, TooLarge

DEEPEST = 20
LONGEST_NUMBER = 40


class AlwaysJSON(BaseContentNegotiation):
    """The API speaks JSON whatever ``Accept`` asks for: a browser's address bar and curl see the same."""

    def select_parser(self, request: Request, parsers: Iterable[BaseParser]) -> BaseParser | None:
        """The parser for the request's Content-Type; None becomes 415."""
        kind = (request.content_type or "").partition(";")[0].strip().lower()
        return next((parser for parser in parsers if parser.media_type == kind), None)

    def select_renderer(  # type: ignore[override]  # the stubs know no suffix of None
        self,
        request: Request,  # noqa: ARG002 -- the signature is DRF's
        renderers: Sequence[BaseRenderer],
        format_suffix: str | None = None,  # noqa: ARG002 -- the framework's signature
    ) -> tuple[BaseRenderer, str]:
        """The one renderer."""
        return renderers[0], renderers[0].media_type


class StrictJSONParser(BaseParser):
    """JSON as RFC 8259 means it and I-JSON (RFC 7493) narrows it: UTF-8, no NaN, no name twice, an object at the top.

    Numbers with a fraction become Decimal, so that no amount passes through a float.
    Raises TooLarge above DATA_UPLOAD_MAX_MEMORY_SIZE bytes and Malformed for everything else.
    """

    media_type = "application/json"

    def parse(
        self,
        stream: IO[bytes],
        media_type: str | None = None,  # noqa: ARG002 -- the signature is DRF's
        parser_context: Mapping[str, Any] | None = None,
    ) -> dict[str, Any]:
        """The body as a dict."""
        limit = settings.DATA_UPLOAD_MAX_MEMORY_SIZE
        request = (parser_context or {}).get("request")
        announced = int(request.META.get("CONTENT_LENGTH") or 0) if request is not None else 0
        body = b"" if announced > limit else stream.read(limit + 1)
        if announced > limit or len(body) > limit:
            raise TooLarge(f"The body may have {limit} bytes at most; send less at a time.")
        if len(body) < announced:
            raise Malformed(f"The body ended after {len(body)} of the {announced} bytes that Content-Length says.")
        return read_json_object(body)


def read_chunked_body(get_response: Callable[[HttpRequest], HttpResponse]) -> Callable[[HttpRequest], HttpResponse]:
    """Middleware: read a body that comes in pieces. It has no Content-Length, and Django would take it for empty."""

    def middleware(request: HttpRequest) -> HttpResponse:
        chunked = request.headers.get("Transfer-Encoding", "").lower() == "chunked"
        if chunked and isinstance(request, WSGIRequest) and request.path_info.startswith("/api"):
            try:
                body = request.environ["wsgi.input"].read(settings.DATA_UPLOAD_MAX_MEMORY_SIZE + 1)
            except OSError as error:  # gunicorn's word for chunks that are none
                raise BadRequest("The body's chunks are malformed.") from error
            request.META["CONTENT_LENGTH"] = str(len(body))
            request._stream = io.BytesIO(body)  # noqa: SLF001 -- where Django reads it from
        return get_response(request)

    return middleware


def read_json_object(body: bytes) -> dict[str, Any]:
    """Parse a JSON object out of bytes. Raises Malformed, naming what is wrong and where."""
    try:
        text = body.decode("utf-8")
    except UnicodeDecodeError as error:
        raise Malformed(f"The body is not UTF-8: byte {error.start} is {body[error.start]:#04x}.") from None
    try:
        data = json.loads(
            text,
            parse_float=_exact,
            parse_int=_whole,
            parse_constant=_no_constant,
            object_pairs_hook=_no_name_twice,
        )
    except json.JSONDecodeError as error:
        raise Malformed(f"The body is not JSON: {error.msg} at line {error.lineno}, column {error.colno}.") from None
    except RecursionError:
        raise Malformed(f"The body is nested deeper than {DEEPEST} levels.") from None
    if not isinstance(data, dict):
        raise Malformed("The body must be a JSON object: {…}.")
    _inspect(data)
    return data


def _exact(literal: str) -> Decimal:
    try:
        number = Decimal(literal)
    except InvalidOperation:  # an exponent beyond what decimal can hold
        raise Malformed("A number in the body is out of range.") from None
    if len(literal) > LONGEST_NUMBER or abs(number.adjusted()) > LONGEST_NUMBER:
        raise Malformed(f"A number in the body has more than {LONGEST_NUMBER} digits.")
    return number


def _whole(literal: str) -> int:
    if len(literal) > LONGEST_NUMBER:
        raise Malformed(f"A number in the body has more than {LONGEST_NUMBER} digits.")
    return int(literal)


def _no_constant(literal: str) -> None:
    raise Malformed(f"{literal} is not a JSON number.")


def _no_name_twice(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    data = dict(pairs)
    if len(data) < len(pairs):
        seen: set[str] = set()
        twice = next(name for name, _ in pairs if name in seen or seen.add(name))  # type: ignore[func-returns-value]  # add() is asked for its effect
        raise Malformed(f"The name {twice[:80]!r} stands twice in one object.")
    return data


def _inspect(data: dict[str, Any]) -> None:
    """Refuse what PostgreSQL cannot store (NUL, lone surrogates) and what nests too deeply, without recursion."""
    level: list[Any] = [data]
    for _ in range(DEEPEST):
        below: list[Any] = []
        for value in level:
            if isinstance(value, dict):
                below.extend(value)
                below.extend(value.values())
            elif isinstance(value, list):
                below.extend(value)
            elif isinstance(value, str) and not value.isascii():
                _refuse_surrogates(value)
            elif isinstance(value, str) and "\0" in value:
                raise Malformed("A string in the body contains the NUL character (\\u0000).")
        if not below:
            return
        level = below
    raise Malformed(f"The body is nested deeper than {DEEPEST} levels.")


def _refuse_surrogates(value: str) -> None:
    if "\0" in value:
        raise Malformed("A string in the body contains the NUL character (\\u0000).")
    try:
        value.encode("utf-8")
    except UnicodeEncodeError:
        raise Malformed("A string in the body contains half of a surrogate pair (\\ud800 to \\udfff).") from None
