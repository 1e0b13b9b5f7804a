"""Functions that stand behind the Lambda entry in its tests; CALLS says which of them ran."""

from typing import Any

from django.db import OperationalError, connection

CALLS: list[tuple[str, Any]] = []


def on_message(message: dict[str, Any]) -> None:
    """A queue's function."""
    if message.get("fail"):
        raise ValueError("this message cannot be handled")
    CALLS.append(("message", message))


def tick() -> None:
    """A schedule's function."""
    CALLS.append(("tick", None))


def step(event: dict[str, Any], context: Any) -> dict[str, Any]:
    """A step of the workflow, a route of the websocket, a trigger."""
    CALLS.append(("step", event))
    return {"request": context.aws_request_id}


def away(event: dict[str, Any], context: Any) -> None:
    """A step whose database is away."""
    raise OperationalError("the connection is closed")


def query(event: dict[str, Any], context: Any) -> dict[str, Any]:
    """A step that asks the database who it is to it."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        return {"pid": cursor.fetchone()[0]}
