"""A stage's public origin: requests as their senders meant them, none that went around it. By wsgi.py and Django."""

import hashlib
import hmac
from collections.abc import Callable
from typing import Any
from urllib.parse import unquote, urlsplit

from django.conf import settings
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse

WENT_AROUND = "vibecode.went_around"  # in the WSGI environment
PROBED = "/healthz"  # what a container's keeper and its load balancer ask at its own address

type GetResponse = Callable[[HttpRequest], HttpResponse]


def as_it_was_sent(environ: dict[str, Any]) -> None:
    """Host and path are the stage's public ones, whatever CloudFront asks for; the address is the sender's own.

    Zappa takes the stage for a part of every path below amazonaws.com, which it is for who asks there, not for us.
    Each proxy adds to X-Forwarded-For whom it heard: API Gateway, or a load balancer before a container, the last one,
    and CloudFront before it. All that stands further left is the sender's word, and so is what CloudFront should have
    added where it did not come from it.
    """
    public = urlsplit(settings.PUBLIC_URL)
    environ["HTTP_HOST"] = public.netloc
    heard, probed = environ.get("REMOTE_ADDR", ""), environ.get("PATH_INFO") == PROBED
    if event := environ.get("lambda.event"):
        environ["SCRIPT_NAME"] = public.path
        environ["PATH_INFO"] = unquote(event["path"]).encode().decode("latin-1")  # PEP 3333
        heard, probed = event["requestContext"].get("identity", {}).get("sourceIp", ""), False
    chain = [part.strip() for part in environ.get("HTTP_X_FORWARDED_FOR", "").split(",")]
    through_origin = _knows_the_secret(environ.pop("HTTP_X_ORIGIN_SECRET", ""))
    environ["REMOTE_ADDR"] = chain[-2] if through_origin and len(chain) > 1 else heard
    environ[WENT_AROUND] = bool(settings.ORIGIN_SECRET_SHA256) and not through_origin and not probed


def _knows_the_secret(said: str) -> bool:
    """Whether it is a secret that CloudFront adds to what it passes on. We know only its digest, which is none."""
    digest = hashlib.sha256(said.encode()).hexdigest()
    return any(hmac.compare_digest(digest, known) for known in settings.ORIGIN_SECRET_SHA256)


def refuse_who_went_around(get_response: GetResponse) -> GetResponse:
    """Middleware: nobody reaches the shop at API Gateway's or a balancer's own address, around CloudFront."""

    def middleware(request: HttpRequest) -> HttpResponse:
        if request.META.get(WENT_AROUND):
            raise PermissionDenied(f"Ask at {settings.PUBLIC_URL}.")
        return get_response(request)

    return middleware
