"""Who works here, and what they may do: by Cognito group. Doors say who asks (an Actor), services whether they may."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Self

from vibecode.errors import Denied


class Right(StrEnum):
    """One thing that not everybody who works here may do; its value completes "This needs the right to …"."""

    SEE_ORDERS = "see every order and its customer"
    NOTE = "write notes"
    CANCEL = "cancel orders"
    SHIP = "ship orders"
    STOCK = "change stock"
    CATALOGUE = "change the catalogue"
    REFUND = "refund"
    EXPORT = "export orders"
    MACHINERY = "send facts again"
    AUDIT = "read the audit trail"
    PEOPLE = "shut people out"


# The Cognito groups of people who work here. Whoever is in none of them is a customer.
GROUPS: Mapping[str, frozenset[Right]] = {
    "support": frozenset({Right.SEE_ORDERS, Right.NOTE, Right.CANCEL}),
    "warehouse": frozenset({Right.SEE_ORDERS, Right.SHIP, Right.STOCK}),
    "catalogue": frozenset({Right.CATALOGUE}),
    "finance": frozenset({Right.SEE_ORDERS, Right.REFUND, Right.EXPORT}),
    "staff": frozenset(Right) - {Right.PEOPLE},
    "admin": frozenset(Right),
}


@dataclass(frozen=True, slots=True)
class Actor:
    """Who does something, as ledger and timeline name them: a person by their Cognito sub, or a part of the shop."""

    name: str
    rights: frozenset[Right] = frozenset()

    @classmethod
    def person(cls, sub: str, groups: Iterable[str]) -> Self:
        """Somebody who is in these Cognito groups."""
        return cls(sub, frozenset().union(*(GROUPS.get(group, frozenset()) for group in groups)))

    @classmethod
    def part(cls, name: str) -> Self:
        """A part of the shop, such as the workflow: it acts for nobody and may do everything."""
        return cls(name, frozenset(Right))

    def may(self, right: Right) -> bool:
        """Whether they have the right."""
        return right in self.rights

    def must(self, right: Right) -> None:
        """Raise Denied, with the groups that have it, where they have not."""
        if right not in self.rights:
            groups = [name for name, rights in GROUPS.items() if right in rights]
            raise Denied(
                f"This needs the right to {right}: the groups {', '.join(groups[:-1])} and {groups[-1]} have it."
            )
