"""What every refusal of the API looks like, and what it leaves behind. Called by the tests of all apps."""

import functools
from typing import Any

from django.test import Client

from catalog.models import StockMovement
from orders.models import Order
from vibecode.models import IdempotencyKey, OutboxEvent

MEMBERS = {"type", "title", "status", "detail", "instance", "code", "requestId"}


@functools.cache
def explained() -> dict[str, int]:
    """The codes that /api/problems explains, each with its status."""
    listed = Client().get("/api/problems").json()["results"]
    return {entry["code"]: entry["status"] for entry in listed}


def assert_refused(answer: Any, status: int, code: str) -> dict[str, Any]:
    """The answer is a problem of RFC 9457 with all that the contract promises. Returns its body."""
    assert answer.headers["Content-Type"] == "application/problem+json", answer.content[:300]
    body: dict[str, Any] = answer.json()
    assert (answer.status_code, body["code"]) == (status, code), body
    assert body.keys() >= MEMBERS
    assert body["status"] == status
    assert body["type"].endswith(f"/api/problems#{code}")
    assert body["requestId"] == answer.headers["X-Request-Id"]
    assert body["instance"].startswith("/api")
    assert body["title"]
    assert body["detail"]
    for fault in body.get("errors", []):
        assert fault.keys() == {"pointer", "code", "detail"}
        assert fault["pointer"] == "" or fault["pointer"].startswith("/"), "a JSON pointer (RFC 6901)"
    assert explained()[code] == status, f"/api/problems does not explain {code}"
    text = answer.content.decode()
    assert "Traceback" not in text
    assert "<html" not in text.lower()
    if status == 401:
        assert answer.headers["WWW-Authenticate"].startswith("Bearer")
    if status in {429, 503}:
        assert int(answer.headers["Retry-After"]) >= 1
    return body


def pointers(body: dict[str, Any]) -> list[str]:
    """Where a problem says the faults are."""
    return [fault["pointer"] for fault in body["errors"]]


def nothing_was_written() -> bool:
    """No order, no movement but the opening ones, no fact about an order, no key."""
    return (
        not Order.objects.exists()
        and not StockMovement.objects.exclude(actor="tests").exists()
        and not OutboxEvent.objects.exclude(source="vibecode.accounts").exists()
        and not IdempotencyKey.objects.exists()
    )
