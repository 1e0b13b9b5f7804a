"""The audit trail in words: who, when, and each field before and after. Called by vibecode.desk and by admins.

What is written by triggers is read here: of a page of changes the people, and what ids mean, in a few statements.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from functools import cache
from typing import Any

from django.apps import apps
from django.conf import settings
from django.contrib.auth import get_user_model
from django.db import models
from django.db.models import Q
from django.utils.dateparse import parse_datetime
from django.utils.formats import date_format
from django.utils.timezone import localtime

from vibecode.models import Change, ChangeQuerySet

# What the trail follows, by the model's label: what one of it is called. Triggers in the apps' migrations write it.
TRACKED: Mapping[str, str] = {
    "orders.order": "Order",
    "orders.orderline": "Line of an order",
    "orders.payment": "Payment",
    "orders.refund": "Refund",
    "catalog.product": "Product",
    "catalog.productimage": "Picture",
    "catalog.stock": "Reorder point",
    "catalog.category": "Category",
    "accounts.user": "User",
    "accounts.user_groups": "Group of a user",
    "accounts.user_user_permissions": "Right of a user",
    "auth.group_permissions": "Right of a group",
    "vibecode.outboxevent": "Outbox event",
    "vibecode.job": "Import or export",
}
PEOPLE = frozenset({"actor", "approved_by", "asked_by"})  # columns with somebody's sub
NOTHING = "nothing"
LONGEST_VALUE = 200
MOST_PEOPLE = 50  # of those whom a search finds


@dataclass(frozen=True, slots=True)
class FieldChange:
    """One field of a change, in words. ``before`` is "" where the row is new, ``after`` where it is gone."""

    label: str
    before: str
    after: str


@dataclass(frozen=True, slots=True)
class Entry:
    """A change in words: ``name`` is what it was made to, ``person`` the row of who did it, if it was a person."""

    change: Change
    name: str
    kind: str
    who: str
    person: Any
    fields: Sequence[FieldChange]


# --- finding ---------------------------------------------------------------------------------------------------------
def matching(changes: ChangeQuerySet, words: str) -> ChangeQuerySet:
    """Changes to what is called so, from the beginning of its number, SKU or name; by or to a person; or by a part."""
    users: Any = get_user_model()
    sub = users.USERNAME_FIELD
    named = users.objects.matching(words).values_list("pk", sub)[:MOST_PEOPLE]
    people = dict(named) | dict(users.objects.filter(**{sub: words}).values_list("pk", sub))
    return changes.filter(
        Q(name__istartswith=words)
        | Q(actor__in=[words, *people.values()])
        | Q(page_kind=settings.AUTH_USER_MODEL.lower(), page_id__in=list(people))
    )


# --- telling ---------------------------------------------------------------------------------------------------------
def in_words(changes: Iterable[Change]) -> list[Entry]:
    """Changes as people read them: one statement for everybody in them, one for each other kind of thing they name."""
    changes = list(changes)
    people, named = _people_in(changes), _things_in(changes)
    return [
        Entry(
            change=change,
            name=_name_of(change.name, people),
            kind=TRACKED.get(change.kind, change.kind),
            who=_name_of(change.actor, people),
            person=people.get(change.actor),
            fields=[_field_change(change, column, people, named) for column in _columns(change)],
        )
        for change in changes
    ]


@cache
def _fields(kind: str) -> Mapping[str, Any]:
    """The fields of what is of this kind by their columns, in the model's order; none of a table that is no more."""
    try:
        fields = apps.get_model(kind)._meta.concrete_fields  # noqa: SLF001 -- Django's documented name for it
    except LookupError:
        return {}
    return {field.column: field for field in fields}


def _columns(change: Change) -> list[str]:
    """In the order of the model's fields; of a new or deleted row only what was filled in."""
    order = list(_fields(change.kind))
    columns = sorted(change.before | change.after, key=lambda name: order.index(name) if name in order else len(order))
    if change.deed == Change.Deed.CHANGED:
        return columns
    return [name for name in columns if (change.after or change.before)[name] not in {None, ""}]


def _people_in(changes: Sequence[Change]) -> dict[str, Any]:
    subs = {sub for change in changes for sub in (change.actor, change.name)}
    for change in changes:
        subs.update(side[name] for side in (change.before, change.after) for name in PEOPLE & side.keys() if side[name])
    users = get_user_model()
    return {user.get_username(): user for user in users.objects.filter(**{f"{users.USERNAME_FIELD}__in": subs})}


def _things_in(changes: Sequence[Change]) -> dict[type[models.Model], dict[int, str]]:
    """What the ids of other rows mean, by their models."""
    ids: dict[type[models.Model], set[int]] = {}
    for change in changes:
        for column in change.before | change.after:
            if (field := _fields(change.kind).get(column)) is not None and field.many_to_one:
                sides = (change.before.get(column), change.after.get(column))
                ids.setdefault(field.related_model, set()).update(side for side in sides if side is not None)
    return {
        model: {row.pk: getattr(row, "name", "") or str(row) for row in model.objects.filter(pk__in=wanted)}  # type: ignore[attr-defined]  # every one of ours has it
        for model, wanted in ids.items()
    }


def _name_of(actor: str, people: Mapping[str, Any]) -> str:
    person = people.get(actor)
    if person is None:
        return f"database {actor}" if actor.startswith("role ") else actor
    return person.get_full_name() or actor


def _field_change(
    change: Change, column: str, people: Mapping[str, Any], named: Mapping[type[models.Model], Mapping[int, str]]
) -> FieldChange:
    field = _fields(change.kind).get(column)

    def told(side: Mapping[str, Any]) -> str:
        if column not in side:
            return ""
        value = side[column]
        if value in {None, ""}:
            return NOTHING
        if column in PEOPLE:
            return _name_of(value, people)
        if field is not None and field.many_to_one:
            return named[field.related_model].get(value, f"number {value}, which is gone")
        return _shortened(_value(field, value))

    label = str(field.verbose_name) if field is not None else column.replace("_", " ")
    return FieldChange(label[:1].upper() + label[1:], told(change.before), told(change.after))


def _value(field: Any, value: Any) -> str:
    """As people write it. Money is in the shop's currency: it has but one."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(field, models.DecimalField):
        from vibecode.desk import money

        return money(Decimal(str(value)), settings.SHOP_CURRENCY)
    if isinstance(field, models.DateTimeField) and (moment := parse_datetime(value)) is not None:
        return exactly(moment)
    output = getattr(field, "output_field", field)  # of a generated column
    return str(dict(getattr(output, "flatchoices", ())).get(value, value))


def _shortened(text: str) -> str:
    return text if len(text) <= LONGEST_VALUE else f"{text[:LONGEST_VALUE].rstrip()}…"


def exactly(moment: datetime) -> str:
    """To the second, in the shop's zone: much happens within a minute."""
    return date_format(localtime(moment), "j M Y, H:i:s")
