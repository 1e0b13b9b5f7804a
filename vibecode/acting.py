"""Who acts: said once by the door that somebody came in by, told to the triggers that write the audit trail.

Called by every door (act_as, acting), by the engine vibecode.db (name_actor) and by settings.py (the middleware).
"""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from django.http import HttpRequest, HttpResponse

_WRITES = re.compile(r"\s*(?:INSERT|UPDATE|DELETE|WITH)\b", re.IGNORECASE)
_actor: ContextVar[str] = ContextVar("actor", default="")


def act_as(name: str) -> None:
    """From here to the end of this request or invocation it is they who act: a Cognito sub, or a part of the shop."""
    _actor.set(name)


@contextmanager
def acting(name: str) -> Iterator[None]:
    """Within this it is they who act; "" is nobody that is known yet. Serves as a decorator too."""
    before = _actor.set(name)
    try:
        yield
    finally:
        _actor.reset(before)


def nobody_acts_yet(get_response: "Callable[[HttpRequest], HttpResponse]") -> "Callable[[HttpRequest], HttpResponse]":
    """A middleware: threads serve many requests, and none begins as whoever made the one before."""

    def answer(request: "HttpRequest") -> "HttpResponse":
        with acting(""):
            return get_response(request)

    return answer


def name_actor(execute: Callable[..., Any], sql: Any, params: Any, many: bool, context: dict[str, Any]) -> Any:
    """Run a statement; in front of one that writes stands a comment that says who acts, where the triggers read it.

    A comment and not a setting: it costs no statement of its own, and RDS Proxy pins no connection for it. In
    hexadecimal it needs no quoting, and nothing that a statement contains can stand before it.
    """
    name = _actor.get()
    if name and isinstance(sql, str) and _WRITES.match(sql):
        sql = f"/*by {name.encode().hex()}*/ {sql}"
    return execute(sql, params, many, context)
