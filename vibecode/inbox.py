"""The inbox: a fact that comes again has its effect once. Called by every consumer behind a queue."""

import contextlib
from collections.abc import Callable, Mapping
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db import Error, connection

from vibecode.errors import Away


class BeingHandled(Away):
    """Another delivery of this fact is at work; the queue, or whoever sent it, brings this one back."""

    code = "being-handled"
    title = "This is being worked on already"


def handle_once(*, consumer: str, event_id: UUID | str, effect: Callable[[], None]) -> bool:
    """Run ``effect`` unless this consumer has handled the fact; True if it ran now.

    ``consumer`` is the key of its queue. The fact counts as handled only after its effect, which runs outside of any
    transaction; a process that dies in between leaves a claim that ends after INBOX_LEASE_SECONDS. So an effect may
    still run twice, and carries a key of its own to whoever must not act twice. Raises BeingHandled while another
    delivery is at work, and what ``effect`` raises; then the next delivery begins anew.
    """
    names: Mapping[str, Any] = {"consumer": consumer, "event_id": event_id, "seconds": settings.INBOX_LEASE_SECONDS}
    claimed_until = _claim(names)
    if claimed_until is None:
        if _handled(names):
            return False
        raise BeingHandled(f"{consumer} works on {event_id}.")
    try:
        effect()
    except BaseException:
        with contextlib.suppress(Error):  # a database that is away says nothing that matters more; the claim ends
            _run(_RELEASE, {**names, "claimed_until": claimed_until})
        raise
    _run(_MARK, names)
    return True


def _claim(names: Mapping[str, Any]) -> object | None:
    with connection.cursor() as cursor:
        cursor.execute(_CLAIM, names)
        row = cursor.fetchone()
    return row[0] if row else None


def _handled(names: Mapping[str, Any]) -> bool:
    with connection.cursor() as cursor:
        cursor.execute(_HANDLED, names)
        return cursor.fetchone() is not None


def _run(statement: str, names: Mapping[str, Any]) -> None:
    with connection.cursor() as cursor:
        cursor.execute(statement, names)


# Of two that claim at once one gets a row; a claim whose time is over is anybody's. All by the database's clock.
_CLAIM = """
INSERT INTO vibecode_processedmessage AS message (consumer, event_id, claimed_until)
VALUES (%(consumer)s, %(event_id)s::uuid, statement_timestamp() + %(seconds)s * interval '1 second')
ON CONFLICT (event_id, consumer) DO UPDATE SET claimed_until = EXCLUDED.claimed_until
WHERE message.handled_at IS NULL AND message.claimed_until <= statement_timestamp()
RETURNING claimed_until
"""

_HANDLED = """
SELECT FROM vibecode_processedmessage
WHERE consumer = %(consumer)s AND event_id = %(event_id)s::uuid AND handled_at IS NOT NULL
"""

# Whoever's claim it is by now: the effect has happened.
_MARK = """
UPDATE vibecode_processedmessage SET handled_at = statement_timestamp()
WHERE consumer = %(consumer)s AND event_id = %(event_id)s::uuid AND handled_at IS NULL
"""

_RELEASE = """
UPDATE vibecode_processedmessage SET claimed_until = statement_timestamp()
WHERE consumer = %(consumer)s AND event_id = %(event_id)s::uuid AND handled_at IS NULL
  AND claimed_until = %(claimed_until)s
"""
