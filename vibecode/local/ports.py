"""Ports on 127.0.0.1: which are free, who answers. Used by everything here that listens."""

import contextlib
import http.client
import random
import socket
from urllib.parse import urlsplit

HOST = "127.0.0.1"
# Below the ports the system hands to outgoing connections: one of those could take, or even connect to itself on,
# a listener's port while that listener restarts.
LISTENERS = range(20000, 30000)


def is_free(port: int) -> bool:
    """Tell whether a server could listen here now."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True


def free_port(preferred: int | None = None) -> int:
    """Choose the preferred port if it is free, else a free one."""
    if preferred is not None and is_free(preferred):
        return preferred
    candidates = random.sample(LISTENERS, 200)  # parallel runs seldom choose alike
    return next(port for port in candidates if is_free(port))


def may_ask(origin: str | None) -> bool:
    """Tell whether a request with this Origin header is no other site's: a page of this machine's, or no page's."""
    return origin is None or urlsplit(origin).hostname in {HOST, "localhost", "::1"}


def connects(host: str, port: int, timeout: float = 1.0) -> bool:
    """Tell whether anything accepts connections there."""
    with contextlib.suppress(OSError), socket.create_connection((host, port), timeout=timeout):
        return True
    return False


def answers(port: int, path: str, timeout: float = 2.0) -> bool:
    """Tell whether GET `path` gives 200 here; never through a proxy."""
    connection = http.client.HTTPConnection(HOST, port, timeout=timeout)
    try:
        connection.request("GET", path)
        return connection.getresponse().status == http.HTTPStatus.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
