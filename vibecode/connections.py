"""Plain HTTP connections, for what a first request asks without boto3. Called by the doorbell and by sign-in."""

import functools
import ssl
from http.client import HTTPConnection, HTTPSConnection
from urllib.parse import urlsplit


def connection_to(url: str, *, seconds: float) -> HTTPConnection:
    """A connection, not yet opened, to the server of an http or https address; it waits ``seconds`` for each answer."""
    parts = urlsplit(url)
    if parts.scheme == "http":
        return HTTPConnection(parts.netloc, timeout=seconds)
    return HTTPSConnection(parts.netloc, timeout=seconds, context=_tls())


@functools.cache
def _tls() -> ssl.SSLContext:
    """Made once a process: it reads every certificate that the machine trusts."""
    return ssl.create_default_context()
