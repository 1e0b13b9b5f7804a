"""Rate limits of the API: a fixed window in the cache, told in headers. Called by DRF for every request."""

import functools
import hashlib
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import structlog
from django.conf import settings
from django.core.cache import cache
from django.http import HttpRequest, HttpResponse
from rest_framework.request import Request
from rest_framework.throttling import BaseThrottle

if TYPE_CHECKING:  # DRF imports this module while it makes its own views
    from rest_framework.views import APIView

log = structlog.stdlib.get_logger("vibecode.throttling")


@dataclass(frozen=True, slots=True)
class Allowance:
    """What is left of the caller's window."""

    limit: int
    remaining: int
    reset: int  # seconds until the window ends

    def headers(self) -> dict[str, str]:
        """RateLimit-* as in the IETF draft "RateLimit header fields for HTTP", version 03."""
        return {
            "RateLimit-Limit": str(self.limit),
            "RateLimit-Remaining": str(self.remaining),
            "RateLimit-Reset": str(self.reset),
        }


class RateLimit(BaseThrottle):
    """One window a caller: the user where one is signed in, else the address."""

    allowance: Allowance

    def allow_request(self, request: Request, view: "APIView") -> bool:  # noqa: ARG002 -- the signature is DRF's
        """Count the request; False when the window is used up. Nobody is refused while the cache is away."""
        scope, caller = self._caller(request)
        limit, seconds = settings.API_RATES[scope]
        now = time.time()
        window = int(now // seconds)
        name = f"rate:{scope}:{caller}:{window}"
        try:
            cache.add(name, 0, timeout=seconds + 1)
            count = cache.incr(name)
        except ValueError:  # it expired between the two calls: the window is over
            count = 1
        except _cache_errors() as error:
            log.warning("the cache is away: the request is not counted", error=str(error))
            return True
        self.allowance = Allowance(limit, max(0, limit - count), math.ceil((window + 1) * seconds - now))
        request._request.allowance = self.allowance  # type: ignore[attr-defined]  # noqa: SLF001 -- read by add_rate_headers
        return count <= limit

    def wait(self) -> float:
        """Seconds until the next window."""
        return float(self.allowance.reset)

    def _caller(self, request: Request) -> tuple[str, str]:
        if request.user.is_authenticated:
            return "signed_in", str(request.user.pk)
        # REMOTE_ADDR, never X-Forwarded-For: anybody can write that header.
        address = request.META.get("REMOTE_ADDR", "")
        return "anonymous", hashlib.sha256(address.encode()).hexdigest()[:16]


@functools.cache
def _cache_errors() -> tuple[type[Exception], ...]:
    """What a cache raises that does not answer. Asked for only then: most processes have no Redis to import."""
    from redis.exceptions import RedisError

    return RedisError, OSError


def add_rate_headers(
    get_response: Callable[[HttpRequest], HttpResponse],
) -> Callable[[HttpRequest], HttpResponse]:
    """Middleware: tells every caller of the API what is left of its window, refusals included."""

    def middleware(request: HttpRequest) -> HttpResponse:
        response = get_response(request)
        allowance: Allowance | None = getattr(request, "allowance", None)
        if allowance is not None:
            for name, value in allowance.headers().items():
                response[name] = value
        return response

    return middleware
