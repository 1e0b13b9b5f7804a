"""What a verified token says of its bearer. Made by accounts.authentication, read by every app's doors and services."""

from dataclasses import dataclass
from typing import Any

STAFF_GROUPS = frozenset({"staff", "admin"})


@dataclass(frozen=True, slots=True)
class Token:
    """A verified token. Its groups are Cognito's: taking one away takes its rights with the next token."""

    sub: str
    groups: frozenset[str]
    claims: dict[str, Any]
    raw: str

    @property
    def is_staff(self) -> bool:
        """Whether the bearer works here."""
        return bool(self.groups & STAFF_GROUPS)
