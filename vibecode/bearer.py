"""What a verified token says of its bearer. Made by accounts.authentication, read by every app's doors and services."""

from dataclasses import dataclass
from typing import Any

from vibecode.rights import GROUPS, Actor


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
        return not self.groups.isdisjoint(GROUPS)

    @property
    def actor(self) -> Actor:
        """The bearer, with what their groups may do."""
        return Actor.person(self.sub, self.groups)
