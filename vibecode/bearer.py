"""What a verified token says of its bearer. Made by accounts.authentication, read by every app's doors and services."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from vibecode.rights import GROUPS, Actor

LONGEST_EMAIL = 254


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


def is_sub(value: object) -> bool:
    """Whether it may be somebody's ``sub``: what Cognito and the users' table take for one."""
    return isinstance(value, str) and 1 <= len(value) <= 128 and value.isprintable()


def groups_of(claims: Mapping[str, Any]) -> frozenset[str]:
    """The groups of the pool that a token names; none where the claim is no list of names."""
    groups = claims.get("cognito:groups", [])
    return frozenset(group for group in groups if isinstance(group, str)) if isinstance(groups, list) else frozenset()


def verified_email(claims: Mapping[str, Any]) -> str:
    """The e-mail where the pool has verified it, else ""; access tokens say it as text, ID tokens as a boolean."""
    verified = claims.get("email_verified") in {True, "true"}
    return str(claims.get("email", ""))[:LONGEST_EMAIL] if verified else ""


def has_second_factor(claims: Mapping[str, Any]) -> bool:
    """Whether somebody signed in with more than a password, as an ID token says it.

    ``amr`` is the provider's own word (RFC 8176: "mfa"). Cognito sends none for the pool's own users: there the pool's
    pre-token trigger sets ``custom:mfa``, which nobody can write but it.
    """
    methods = claims.get("amr")
    return (isinstance(methods, list) and "mfa" in methods) or claims.get("custom:mfa") == "true"
