"""Exactly once: @idempotent claims a request's key, runs the view and keeps its answer, in one transaction.

Called by every view that answers POST, and by the admin's dialogs (claim_once). The form of the key and its meaning
follow the IETF draft "The Idempotency-Key HTTP Header Field" and Stripe's API documentation on idempotent requests.
"""

import functools
import hashlib
import json
from collections.abc import Callable
from decimal import Context, Decimal
from typing import Any, ClassVar, Concatenate, cast, overload

from django.conf import settings
from django.db import OperationalError, connection, transaction
from django.http import HttpResponse
from psycopg.errors import LockNotAvailable
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from vibecode.errors import Conflict, Malformed, Unprocessable
from vibecode.models import IdempotencyKey

KEPT_HEADERS = ("Location", "ETag")
LONGEST_KEY = 255
_EXACT = Context(prec=100)  # more digits than a number in a body may have

type Action[View: APIView, **Args] = Callable[Concatenate[View, Request, Args], Response]
type Answer[View: APIView, **Args] = Callable[Concatenate[View, Request, Args], Response | HttpResponse]


class KeyMissing(Malformed):
    """The endpoint does something that must not happen twice, and the client gave it no key."""

    code = "idempotency-key-missing"
    title = "An Idempotency-Key is required"


class KeyMalformed(Malformed):
    """The key is longer than we keep, or is not printable."""

    code = "idempotency-key-invalid"
    title = "The Idempotency-Key is malformed"


class KeyReused(Unprocessable):
    """The key belongs to another request."""

    code = "idempotency-key-reused"
    title = "The Idempotency-Key belongs to another request"


class InProgress(Conflict):
    """The first request with this key still runs."""

    code = "in-progress"
    title = "The first request with this key is still running"
    retry_after: ClassVar[int] = 1


@overload
def idempotent[V: APIView, **P](action: Action[V, P], *, required: bool = False) -> Answer[V, P]: ...
@overload
def idempotent[V: APIView, **P](*, required: bool = False) -> Callable[[Action[V, P]], Answer[V, P]]: ...
def idempotent(action: Any = None, *, required: bool = False) -> Any:
    """Run a view method in one transaction, at most once for each Idempotency-Key of a user.

    The same key with the same body gets the first answer again with ``Idempotent-Replayed: true``; with another body
    KeyReused. A second request while the first runs waits for it, and gets InProgress after IDEMPOTENCY_LOCK_SECONDS.
    Only success is kept: any answer but 2xx, and any exception, rolls back the key with all else.
    """
    if action is None:
        return functools.partial(idempotent, required=required)

    @functools.wraps(action)
    def run(view: APIView, request: Request, *args: Any, **kwargs: Any) -> Response | HttpResponse:
        key = _read_key(request, required=required)
        _ = request.data  # read and parsed before the transaction: a slow client must hold none open
        with transaction.atomic(durable=True):
            _limit_waiting()
            claim = _claim(request, key) if key else None
            if claim is not None and claim.status is not None:
                return _replay(claim)
            response: Response = action(view, request, *args, **kwargs)
            if not 200 <= response.status_code < 300:
                transaction.set_rollback(True)
            elif claim is not None:
                _keep(claim, view, request, response)
        return response

    return run


def _read_key(request: Request, *, required: bool) -> str:
    key = request.headers.get("Idempotency-Key", "").strip()
    if not key and required:
        raise KeyMissing("Send an Idempotency-Key header, for instance a fresh UUID, and the same one in each retry.")
    if len(key) > LONGEST_KEY or not (key.isascii() and key.isprintable()):
        raise KeyMalformed(f"The Idempotency-Key must be 1 to {LONGEST_KEY} printable ASCII characters.")
    return key


def _limit_waiting() -> None:
    """Wait for a row no longer than the contract's lock time-out; it ends with the transaction."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT set_config('lock_timeout', %s, true)", [f"{settings.IDEMPOTENCY_LOCK_SECONDS}s"])


def _claim(request: Request, key: str) -> IdempotencyKey:
    """Our claim of the key (no status yet), or the finished request that holds it.

    At READ COMMITTED a second INSERT waits for the first: if that commits, we get no row and the next SELECT sees its
    answer; if it rolls back or its process dies, the row is ours.
    """
    names: dict[str, Any] = {
        "user_id": int(request.user.pk or 0),
        "method": request.method or "",
        "path": request.path_info,
        "key": key,
        "body_sha256": _fingerprint(request.data),
    }
    while True:
        try:
            with connection.cursor() as cursor:
                cursor.execute(_CLAIM, names | {"status": None})
                row = cursor.fetchone()
        except OperationalError as error:
            if isinstance(error.__cause__, LockNotAvailable):
                raise InProgress(
                    f"The first request with this key has run for {settings.IDEMPOTENCY_LOCK_SECONDS} s; try again."
                ) from None
            raise
        if row is not None:
            return IdempotencyKey(id=row[0], **names)
        finished = IdempotencyKey.objects.filter(
            user_id=names["user_id"], key=key, method=names["method"], path=names["path"]
        ).first()
        if finished is not None:  # else it was purged between the two statements: claim it anew
            if finished.body_sha256 != names["body_sha256"]:
                raise KeyReused("This key was sent with another body before; use a fresh key for a new request.")
            return finished


_CLAIM = """
INSERT INTO vibecode_idempotencykey (user_id, method, path, key, body_sha256, status)
VALUES (%(user_id)s, %(method)s, %(path)s, %(key)s, %(body_sha256)s, %(status)s)
ON CONFLICT (user_id, key, method, path) DO NOTHING
RETURNING id
"""


def claim_once(*, user_id: int, path: str, key: str) -> bool:
    """Claim what one opened dialog does; False if it was done already. A second sender waits for the first one.

    The caller's transaction does the deed: where that is rolled back, the claim is too.
    """
    _limit_waiting()
    names: dict[str, Any] = {
        "user_id": user_id, "method": "POST", "path": path, "key": key, "body_sha256": "", "status": 204,
    }  # fmt: skip
    with connection.cursor() as cursor:
        try:
            cursor.execute(_CLAIM, names)
        except OperationalError as error:
            if isinstance(error.__cause__, LockNotAvailable):
                raise InProgress("The first time that you sent this is still at work: try again in a moment.") from None
            raise
        return cursor.fetchone() is not None


def _keep(claim: IdempotencyKey, view: APIView, request: Request, response: Response) -> None:
    """Store the answer beside what it tells of: rendered now, so that a replay is the same to the byte."""
    response.accepted_renderer = request.accepted_renderer
    response.accepted_media_type = request.accepted_media_type
    response.renderer_context = view.get_renderer_context()  # type: ignore[attr-defined]  # DRF sets it the same way
    response.render()
    IdempotencyKey.objects.filter(pk=claim.pk).update(
        status=response.status_code,
        headers={name: response[name] for name in KEPT_HEADERS if name in response},
        body=response.content.decode(),
    )


def _replay(finished: IdempotencyKey) -> HttpResponse:
    headers = cast("dict[str, str]", finished.headers) | {"Idempotent-Replayed": "true"}
    return HttpResponse(
        finished.body,
        status=finished.status,
        content_type="application/json" if finished.body else None,
        headers=headers,
    )


def _fingerprint(data: object) -> str:
    """SHA-256 of the body's canonical form: names sorted, no white space, numbers by value."""
    canonical = json.dumps(data, sort_keys=True, separators=(",", ":"), ensure_ascii=False, default=_by_value)
    return hashlib.sha256(canonical.encode()).hexdigest()


def _by_value(number: Decimal) -> int | str:
    if number == number.to_integral_value():
        return int(number)
    return f"\0{number.normalize(_EXACT)}"  # NUL: no string of a body has one, so 1.5 and "1.5" differ
