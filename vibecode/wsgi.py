"""The WSGI application: what gunicorn serves on a laptop and Zappa on Lambda."""

import os
from collections.abc import Callable, Iterable
from typing import Any
from urllib.parse import unquote, urlsplit

from django.conf import settings
from django.core.wsgi import get_wsgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "vibecode.settings")
django = get_wsgi_application()


def application(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    """Answer a request; one that came through API Gateway as its sender meant it."""
    if "lambda.event" in environ:
        _as_it_was_sent(environ)
    return django(environ, start_response)


def _as_it_was_sent(environ: dict[str, Any]) -> None:
    """Host and path are the stage's public ones, whatever CloudFront asks for; the address is the sender's own.

    Zappa takes the stage for a part of every path below amazonaws.com, which it is for who asks there, not for us.
    Each proxy adds to X-Forwarded-For whom it heard: API Gateway the last one, and CloudFront before it, where the
    public address is its own. All that stands further left is the sender's word.
    """
    public = urlsplit(settings.PUBLIC_URL)
    environ["HTTP_HOST"] = public.netloc
    environ["SCRIPT_NAME"] = public.path
    environ["PATH_INFO"] = unquote(environ["lambda.event"]["path"]).encode().decode("latin-1")  # PEP 3333
    chain = [part.strip() for part in environ.get("HTTP_X_FORWARDED_FOR", "").split(",")]
    heard_by_gateway = environ["lambda.event"]["requestContext"].get("identity", {}).get("sourceIp", "")
    is_bare = ".execute-api." in public.netloc
    environ["REMOTE_ADDR"] = heard_by_gateway if is_bare or len(chain) < 2 else chain[-2]
