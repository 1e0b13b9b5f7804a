"""A bare HTTP call for tests that play somebody else's client, and a wait for what others do."""

import http.client
import json
import time
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit


def call(
    url: str, method: str, path: str, body: Any = None, *, key: str = "", timeout: float = 10
) -> tuple[int, dict[str, Any]]:
    """One JSON request; its status and body. Raises what http.client raises."""
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=timeout)
    try:
        headers = {"Content-Type": "application/json"} | ({"Idempotency-Key": key} if key else {})
        connection.request(method, path, None if body is None else json.dumps(body), headers)
        response = connection.getresponse()
        return response.status, json.loads(response.read())
    finally:
        connection.close()


def until(says: Callable[[], object], seconds: float = 5) -> None:
    """Wait for something to become true."""
    deadline = time.monotonic() + seconds
    while not says():
        assert time.monotonic() < deadline
        time.sleep(0.03)
