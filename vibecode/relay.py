"""The relay: leases facts that are due, puts them on the bus, writes down what became of each. Called by the outbox.

Several may run side by side. Every moment is the database's: a clock of ours that jumps changes nothing.
"""

import random
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime

import structlog
from django.conf import settings
from django.db import connection

from vibecode import aws
from vibecode.observability import metric

# A PutEvents request takes ten entries of less than 256 KB together:
# https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-putevent-size.html
MOST_ENTRIES = 10
MOST_BYTES = 256 * 1024 - 1
LEASED = 2 * MOST_ENTRIES  # rows a lease: few, for until they are sent no other relay can have them
CALL_SECONDS = 3.0  # for one PutEvents: shorter than the lease; there is no second try within it

# The answers that tell of the bus, or of our rights on it, and not of an entry; every other one is a refusal.
# https://docs.aws.amazon.com/eventbridge/latest/APIReference/API_PutEventsResultEntry.html
BUS_TROUBLE = {
    "InternalFailure", "InternalException", "ServiceUnavailable", "Throttling", "ThrottlingException",
    "AccessDeniedException", "InvalidAccountIdException",
    "NotAuthorizedForSourceException", "NotAuthorizedForDetailTypeException",
}  # fmt: skip
# A whole call that fails like this speaks of what is in it.
BLAMES_AN_ENTRY = {"ValidationException", "ValidationError", "InvalidArgument", "RequestEntityTooLarge", "413"}

FIRST_PAUSE = 1.0
LONGEST_PAUSE = 300.0
LONGEST_PAUSE_FOR_THE_BUS = 30.0  # it comes back for all facts at once, and they should not wait long then

log = structlog.stdlib.get_logger("vibecode.relay")


@dataclass(frozen=True, slots=True)
class Fact:
    """One leased row, as it goes over the wire."""

    id: int
    source: str
    detail_type: str
    subject: str
    detail: str
    created_at: datetime
    attempts: int
    refusals: int

    @property
    def size(self) -> int:
        """Bytes as PutEvents counts them: 14 for the time, and each text in UTF-8."""
        return 14 + sum(len(text.encode()) for text in (self.source, self.detail_type, self.detail))


@dataclass(frozen=True, slots=True)
class Setback:
    """Why a fact did not leave, and whose fault that is."""

    error: str
    own: bool
    hopeless: bool = False  # no second try would end otherwise

    def parks(self, fact: Fact) -> bool:
        """Whether staff must look at it now."""
        return self.hopeless or (self.own and fact.refusals + 1 >= settings.OUTBOX_TRIES)

    def pause(self, fact: Fact) -> float:
        """Seconds until the next try: exponential with full jitter, so that many do not come back at one moment.

        https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/
        """
        longest = LONGEST_PAUSE if self.own else LONGEST_PAUSE_FOR_THE_BUS
        return random.uniform(0, min(longest, FIRST_PAUSE * 2 ** min(fact.attempts, 20)))  # noqa: S311 -- no secret


@dataclass(slots=True)
class Passed:
    """What one pass did."""

    sent: int = 0
    parked: int = 0
    pauses: list[float] = field(default_factory=list)  # seconds, of facts that are tried again
    bus_away: bool = False
    out_of_time: bool = False


def relay(*, seconds: float = 60, stop: Callable[[], bool] = lambda: False) -> Passed:
    """Send what is due, the oldest first, until nothing is, the time is over, the bus is away or ``stop`` says so.

    A fact leaves only when no earlier one of its subject waits. A lease that was taken is always finished.
    """
    until = time.monotonic() + seconds
    passed = Passed()
    while not stop():
        if time.monotonic() > until:
            passed.out_of_time = True
            break
        lease = uuid.uuid4()
        facts = _take(lease)
        if not facts:
            break
        _send(lease, facts, passed)
        if passed.bus_away:
            break
    if passed.sent:
        metric("EventsSent", passed.sent)
    return passed


def _take(lease: uuid.UUID) -> list[Fact]:
    """Lease the oldest facts that are due, at most one of each subject; committed before anything is sent."""
    with connection.cursor() as cursor:
        cursor.execute(_TAKE, {"lease": lease, "seconds": settings.OUTBOX_LEASE_SECONDS, "rows": LEASED})
        return sorted((Fact(*row) for row in cursor.fetchall()), key=lambda fact: fact.id)


# The first of its subject by a subquery, which goes by the subject. An anti join compares each with each once the
# statistics are of a moment when nothing waited: 12 seconds a lease, in a backlog of 10,000.
_TAKE = """
WITH due AS (
    SELECT event.id FROM vibecode_outboxevent event
    WHERE event.sent_at IS NULL AND event.parked_at IS NULL AND event.due_at <= statement_timestamp()
      AND event.id = (
          SELECT min(first.id) FROM vibecode_outboxevent first
          WHERE first.subject = event.subject AND first.sent_at IS NULL
      )
    ORDER BY event.id LIMIT %(rows)s
    FOR UPDATE OF event SKIP LOCKED
)
UPDATE vibecode_outboxevent event
SET lease = %(lease)s, due_at = statement_timestamp() + %(seconds)s * interval '1 second'
FROM due WHERE event.id = due.id
RETURNING event.id, event.source, event.detail_type, event.subject, event.detail::text, event.created_at,
          event.attempts, event.refusals
"""


def _send(lease: uuid.UUID, facts: Sequence[Fact], passed: Passed) -> None:
    """Send what is leased and write down the outcome, request by request."""
    enough = time.monotonic() + settings.OUTBOX_LEASE_SECONDS - 2 * CALL_SECONDS
    for number, request in enumerate(_requests(facts)):
        if passed.bus_away or (number and time.monotonic() > enough):
            with connection.cursor() as cursor:  # too little of the lease is left for another call
                cursor.execute(_GIVE_BACK, {"lease": lease})
            break
        outcomes = _too_large(request[0]) or _put(request, enough)
        _settle(lease, request, outcomes, passed)


def _requests(facts: Sequence[Fact]) -> Iterator[list[Fact]]:
    """The facts in requests of ten entries at most, and never more bytes than one may have; a giant stands alone."""
    request: list[Fact] = []
    size = 0
    for fact in facts:
        if request and (len(request) == MOST_ENTRIES or size + fact.size > MOST_BYTES):
            yield request
            request, size = [], 0
        request.append(fact)
        size += fact.size
    if request:
        yield request


def _too_large(fact: Fact) -> list[Setback | None]:
    if fact.size <= MOST_BYTES:
        return []
    return [
        Setback(f"It has {fact.size:,} bytes; the bus takes less than {MOST_BYTES + 1:,}.", own=True, hopeless=True)
    ]


def _put(facts: Sequence[Fact], enough: float) -> list[Setback | None]:
    """One PutEvents; for each fact None where the bus took it. No transaction is open.

    A request that is refused as a whole is sent entry by entry, while there is enough of the lease: until ``enough`` by
    the monotonic clock.
    """
    try:
        answer = aws.client("events", seconds=CALL_SECONDS, tries=1).put_events(
            Entries=[
                {
                    "EventBusName": settings.RESOURCES.bus,
                    "Source": fact.source,
                    "DetailType": fact.detail_type,
                    "Detail": fact.detail,
                    "Time": fact.created_at,
                }
                for fact in facts
            ]
        )
    except aws.service_errors() as error:
        blamed = aws.error_code(error) in BLAMES_AN_ENTRY
        if blamed and len(facts) > 1:  # only the guilty one is to suffer
            return [outcome for fact in facts for outcome in _put_alone(fact, enough)]
        return [Setback(str(error), own=blamed)] * len(facts)
    return [
        None
        if not (code := entry.get("ErrorCode"))
        else Setback(f"{code}: {entry.get('ErrorMessage', '')}", own=code not in BUS_TROUBLE)
        for entry in answer["Entries"]
    ]


def _put_alone(fact: Fact, enough: float) -> list[Setback | None]:
    if time.monotonic() > enough:
        return [Setback("There was no time left to send it by itself.", own=False)]
    return _put([fact], enough)


def _settle(lease: uuid.UUID, facts: Sequence[Fact], outcomes: Sequence[Setback | None], passed: Passed) -> None:
    """Mark what was accepted and set back what was not, where the lease is still ours."""
    pairs = list(zip(facts, outcomes, strict=True))
    sent = [fact.id for fact, setback in pairs if setback is None]
    back = [(fact, setback) for fact, setback in pairs if setback is not None]
    with connection.cursor() as cursor:
        if sent:
            cursor.execute(_SENT, {"lease": lease, "ids": sent})
            passed.sent += cursor.rowcount
        if not back:
            return
        pauses = [setback.pause(fact) for fact, setback in back]
        parks = [setback.parks(fact) for fact, setback in back]
        cursor.execute(
            _SET_BACK,
            {
                "lease": lease,
                "ids": [fact.id for fact, _ in back],
                "own": [setback.own for _, setback in back],
                "errors": [setback.error[:300] for _, setback in back],
                "pauses": pauses,
                "parks": parks,
            },
        )
    for (fact, setback), pause, parked in zip(back, pauses, parks, strict=True):
        note = {
            "fact": fact.detail_type,
            "subject": fact.subject,
            "error": setback.error,
            "attempts": fact.attempts + 1,
        }
        if parked:
            passed.parked += 1
            log.error("fact parked", **note)
        else:
            passed.pauses.append(pause)
            log.warning("fact not sent", **note, pause=round(pause, 1))
    passed.bus_away = not sent and not any(setback.own for _, setback in back)


_SENT = """
UPDATE vibecode_outboxevent SET sent_at = statement_timestamp(), lease = NULL, last_error = ''
WHERE id = ANY(%(ids)s) AND lease = %(lease)s
"""

_GIVE_BACK = "UPDATE vibecode_outboxevent SET lease = NULL, due_at = statement_timestamp() WHERE lease = %(lease)s"

_SET_BACK = """
UPDATE vibecode_outboxevent event
SET lease = NULL, attempts = event.attempts + 1, refusals = event.refusals + back.own::int, last_error = back.error,
    due_at = statement_timestamp() + back.pause * interval '1 second',
    parked_at = CASE WHEN back.parks THEN statement_timestamp() END
FROM unnest(%(ids)s::bigint[], %(own)s::bool[], %(errors)s::text[], %(pauses)s::float8[], %(parks)s::bool[])
    AS back (id, own, error, pause, parks)
WHERE event.id = back.id AND event.lease = %(lease)s
"""
