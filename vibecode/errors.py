"""What services raise when they refuse. No HTTP in here: vibecode.problems turns each family into its status."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that is wrong with the input: where (a JSON pointer, RFC 6901), what, and how to mend it."""

    pointer: str
    code: str
    detail: str


class DomainError(Exception):
    """A refusal that the caller can understand: nothing was written, nothing was published.

    ``members`` are further facts for the client (JSON values, camelCase names), such as the short lines of an order.
    """

    code: ClassVar[str] = "refused"
    title: ClassVar[str] = "The request was refused"

    def __init__(self, detail: str, *, faults: Sequence[Fault] = (), **members: object) -> None:
        super().__init__(detail)
        self.detail = detail
        self.faults = tuple(faults)
        self.members = members


class Malformed(DomainError):
    """The request does not have the form it should have."""

    code = "malformed"
    title = "The request is malformed"


class TooLarge(DomainError):
    """The body is larger than the API takes."""

    code = "too-large"
    title = "The request body is too large"


class Denied(DomainError):
    """The caller is known and may not do this."""

    code = "forbidden"
    title = "You may not do this"


class Conflict(DomainError):
    """The request is sound, but the state of things does not allow it."""

    code = "conflict"
    title = "The request conflicts with the current state"


class Stale(DomainError):
    """The caller's copy is older than ours."""

    code = "stale"
    title = "Somebody else has changed this"


class Unprocessable(DomainError):
    """The form is right, the meaning is not."""

    code = "unprocessable"
    title = "The request cannot be carried out"


class Away(DomainError):
    """Something that we need does not answer; trying again later helps."""

    code = "unavailable"
    title = "The service is not available right now"


class Busy(Away):
    """PostgreSQL answers, but somebody else holds what we need."""

    code = "busy"
    title = "Too many others want the same thing right now"
    retry_after: ClassVar[int] = 1


class DatabaseAway(Away):
    """PostgreSQL does not answer, or is too busy to. The workflow retries it by this name."""

    code = "database-away"
    title = "The database does not answer right now"
