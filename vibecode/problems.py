"""Every error under /api as application/problem+json (RFC 9457). Called by DRF, and by Django where DRF never was."""

import logging
import sys
from collections.abc import Iterator
from http import HTTPStatus
from itertools import islice
from typing import Any

import structlog
from django.conf import settings
from django.core.exceptions import PermissionDenied, RequestDataTooBig, SuspiciousOperation
from django.db import InterfaceError, OperationalError
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.views import defaults
from rest_framework import exceptions
from rest_framework.response import Response

from vibecode.db.refusals import refusal
from vibecode.errors import (
    Away,
    Busy,
    Conflict,
    Denied,
    DomainError,
    Fault,
    Malformed,
    Stale,
    TooLarge,
    Unprocessable,
)
from vibecode.observability import note, request_id
from vibecode.throttling import RateLimit

log = structlog.stdlib.get_logger("vibecode.problems")

CONTENT_TYPE = "application/problem+json"
INVALID = "The request is invalid"
MOST_FAULTS = 100  # told in one answer: a body of nothing but faults must not make an answer of many times its size
STATUS_OF: dict[type[DomainError], int] = {
    Malformed: 400,
    Denied: 403,
    Conflict: 409,
    Stale: 412,
    TooLarge: 413,
    Unprocessable: 422,
    Away: 503,
}
CODE_OF = {
    400: "malformed",
    401: "not-authenticated",
    403: "forbidden",
    404: "not-found",
    405: "method-not-allowed",
    413: "too-large",
    415: "unsupported-media-type",
    429: "rate-limited",
    500: "internal-error",
    504: "no-answer",  # API Gateway says it, when a function has not answered
}


def problem_response(error: Exception, context: dict[str, Any]) -> Response | None:
    """DRF's exception handler: the problem for an error of a view, or None for what is a bug (then 500 follows)."""
    request = context["request"]
    response = _response_to(error, request.path_info)
    if response is not None and response.status_code in {401, 403}:
        note(refused=str(getattr(error, "detail", "")))  # the request's one line says why
        limit = RateLimit()  # DRF counts only whom it lets in; guessing tokens must not be free
        if not hasattr(request, "allowance") and not limit.allow_request(request, context["view"]):
            return _response_to(exceptions.Throttled(wait=limit.wait()), request.path_info)
    return response


def _response_to(error: Exception, path: str) -> Response | None:
    headers: dict[str, str] = {}
    error = _in_our_words(error)
    if isinstance(error, DomainError):
        status = next(STATUS_OF[family] for family in type(error).__mro__ if family in STATUS_OF)
        wait = getattr(error, "retry_after", 2 if status == 503 else None)
        if wait:
            headers["Retry-After"] = str(wait)
        data = problem(status, path, error.detail, code=error.code, title=error.title, faults=error.faults)
        return _as_response(error.members | data, headers)
    if isinstance(error, exceptions.ValidationError):
        faults = list(islice(_faults(error.detail), MOST_FAULTS))
        detail = "; ".join(fault.detail for fault in faults[:3]) + (" …" if len(faults) > 3 else "")
        data = problem(400, path, detail, code="invalid", title=INVALID, faults=faults)
        return _as_response(data, headers)
    if isinstance(error, exceptions.APIException):
        # The error's own, as RFC 6750 has it for a false token; DRF sets the bare challenge on every 401.
        if challenge := getattr(type(error), "auth_header", None) or getattr(error, "auth_header", None):
            headers["WWW-Authenticate"] = challenge
        if wait := getattr(error, "wait", None):
            headers["Retry-After"] = str(int(wait))
        return _as_response(problem(error.status_code, path, str(error.detail)), headers)
    return None


def _in_our_words(error: Exception) -> Exception:
    """Django's errors as ours or DRF's; all others as they are."""
    if refused := refusal(error):
        level = logging.WARNING if isinstance(refused, Busy) else logging.ERROR
        log.log(level, refused.code.replace("-", " "), error=str(error).strip())
        return refused
    if isinstance(error, RequestDataTooBig):
        return TooLarge(f"The body may have {settings.DATA_UPLOAD_MAX_MEMORY_SIZE} bytes at most.")
    if isinstance(error, Http404):
        return exceptions.NotFound()
    return exceptions.PermissionDenied() if isinstance(error, PermissionDenied) else error


def _as_response(data: dict[str, Any], headers: dict[str, str]) -> Response:
    return Response(data, status=data["status"], headers=headers, content_type=CONTENT_TYPE)


def problem(
    status: int,
    path: str,
    detail: str,
    *,
    code: str = "",
    title: str = "",
    faults: tuple[Fault, ...] | list[Fault] = (),
) -> dict[str, Any]:
    """The body of one problem; ``type`` is an address that explains the code."""
    code = code or CODE_OF.get(status, "error")
    data: dict[str, Any] = {
        "type": f"{settings.PUBLIC_URL}/api/problems#{code}",
        "title": title or HTTPStatus(status).phrase,
        "status": status,
        "detail": detail,
        "instance": path,
        "code": code,
        "requestId": request_id(),
        # What the specification's clients read; on every problem, so that a 500 has them too.
        "success": False,
        "error": title or HTTPStatus(status).phrase,
    }
    if faults:
        data["errors"] = [{"pointer": f.pointer, "code": f.code, "detail": f.detail} for f in faults]
    return data


def _faults(detail: Any, pointer: str = "") -> Iterator[Fault]:
    """DRF's nested errors as one flat list with JSON pointers."""
    if isinstance(detail, dict):
        for name, below in detail.items():
            part = "" if name == "non_field_errors" else "/" + str(name).replace("~", "~0").replace("/", "~1")
            yield from _faults(below, pointer + part)
    elif isinstance(detail, list | tuple):
        for index, below in enumerate(detail):
            nested = isinstance(below, dict | list)
            yield from _faults(below, f"{pointer}/{index}" if nested else pointer)
    else:
        yield Fault(pointer, getattr(detail, "code", "invalid"), str(detail))


# --- what DRF never sees: no route, a broken request line, an error of a middleware ----------------------------------
def bad_request(request: HttpRequest, exception: Exception) -> HttpResponse:
    """Django's handler400."""
    if not _of_api(request):
        return defaults.bad_request(request, exception)
    if isinstance(exception, RequestDataTooBig):
        return _plain(413, request, f"The body may have {settings.DATA_UPLOAD_MAX_MEMORY_SIZE} bytes at most.")
    kind = "suspicious" if isinstance(exception, SuspiciousOperation) else "malformed"
    return _plain(400, request, f"The request is {kind}: check its address and headers.")


def not_found(request: HttpRequest, exception: Exception) -> HttpResponse:
    """Django's handler404."""
    if not _of_api(request):
        return defaults.page_not_found(request, exception)
    return _plain(404, request, "There is nothing at this address; /api/docs lists what there is.")


def forbidden(request: HttpRequest, exception: Exception) -> HttpResponse:
    """Django's handler403."""
    if not _of_api(request):
        return defaults.permission_denied(request, exception)
    return _plain(403, request, str(exception) or "You may not do this.")


def server_error(request: HttpRequest) -> HttpResponse:
    """Django's handler500: 503 where the database is away, else 500; the trace goes to the log, never to the client."""
    error = sys.exc_info()[1]
    if isinstance(error, OperationalError | InterfaceError):
        log.error("database away", error=str(error).strip())
        response = _plain(503, request, "The database does not answer. Nothing was written; try again shortly.")
        response["Retry-After"] = "2"
        return response
    log.error("unexpected error", exc_info=error)
    if not _of_api(request):
        return defaults.server_error(request)
    return _plain(500, request, "Something broke on our side. It is logged under this requestId.")


def _of_api(request: HttpRequest) -> bool:
    return request.path_info.startswith("/api")


def _plain(status: int, request: HttpRequest, detail: str) -> HttpResponse:
    if not _of_api(request):
        return HttpResponse(detail, status=status, content_type="text/plain; charset=utf-8")
    code = "database-away" if status == 503 else ""
    return JsonResponse(problem(status, request.path_info, detail, code=code), status=status, content_type=CONTENT_TYPE)
