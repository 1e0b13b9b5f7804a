"""The WSGI application: what gunicorn serves on a laptop and in a container, and Zappa on Lambda."""

import os
from collections.abc import Callable, Iterable
from typing import Any

from django.conf import settings
from django.core.wsgi import get_wsgi_application

from vibecode.origin import as_it_was_sent

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "vibecode.settings")
django = get_wsgi_application()


def application(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    """Answer a request; one that came through CloudFront as its sender meant it."""
    if "lambda.event" in environ or settings.ORIGIN_SECRET_SHA256:
        as_it_was_sent(environ)
    return django(environ, start_response)
