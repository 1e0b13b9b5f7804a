"""The JSON Schemas of our facts: made from their dataclasses, kept in each app's ``schemas``, one file a version.

Called by `manage.py write_event_schemas` and the tests. What a file says was promised to consumers.
"""

import dataclasses
import json
import types
import typing
import uuid
from collections.abc import Iterator, Mapping
from datetime import datetime
from decimal import Decimal
from enum import Enum
from pathlib import Path
from typing import Any

from django.apps import apps
from django.utils.module_loading import autodiscover_modules

from vibecode.outbox import Event, camel

DIALECT = "https://json-schema.org/draft/2020-12/schema"
PLAIN: Mapping[Any, dict[str, Any]] = {
    str: {"type": "string"},
    int: {"type": "integer"},
    bool: {"type": "boolean"},
    Decimal: {"type": "string", "pattern": r"^-?\d+(\.\d+)?$"},
    uuid.UUID: {"type": "string", "format": "uuid"},
    datetime: {"type": "string", "format": "date-time"},
    types.NoneType: {"type": "null"},
}
# Two schemas promise the same about a value when these agree, and what is inside of it.
PROMISES = ("type", "format", "pattern", "enum", "const", "anyOf", "x-source")

type Schema = dict[str, Any]


# --- what is published now -------------------------------------------------------------------------------------------
def facts() -> list[type[Event]]:
    """Every fact that an app's module ``events`` declares, by app and name."""
    autodiscover_modules("events")
    ours = {f"{app.name}.events" for app in apps.get_app_configs()}
    found = [fact for fact in _descendants(Event) if fact.__module__ in ours and hasattr(fact, "detail_type")]
    return sorted(found, key=lambda fact: (fact.__module__, fact.detail_type))


def _descendants(fact: type[Event]) -> Iterator[type[Event]]:
    for below in fact.__subclasses__():
        yield below
        yield from _descendants(below)


def schema_of(fact: type[Event]) -> Schema:
    """What a fact's ``Detail`` looks like.

    Other members may come at any time (additionalProperties): a consumer ignores what it does not know, so that we may
    add to a fact without a new version. A field with a default is not required: facts written before it came lack it.
    """
    kinds = typing.get_type_hints(fact)
    given = {field.name: field for field in dataclasses.fields(fact)}
    own = {camel(name): _schema_of_kind(kinds[name]) for name in given}
    of_all = {field.name for field in dataclasses.fields(Event)}
    missing = dataclasses.MISSING
    bare = {name for name, field in given.items() if field.default is missing and field.default_factory is missing}
    required = {camel(name) for name in of_all | bare}
    return {
        "$schema": DIALECT,
        "$id": f"urn:vibecode:{_slug(fact.detail_type)}:{fact.schema_version}",
        "title": fact.detail_type,
        "description": " ".join((fact.__doc__ or "").split()),
        "x-source": fact.source,
        "type": "object",
        "properties": {"schemaVersion": {"const": fact.schema_version}, **own},
        "required": sorted({"schemaVersion"} | required),
        "additionalProperties": True,
    }


def _schema_of_kind(kind: Any) -> Schema:
    if kind in PLAIN:
        return dict(PLAIN[kind])
    origin, inside = typing.get_origin(kind), typing.get_args(kind)
    if origin is tuple:
        return {"type": "array", "items": _schema_of_kind(inside[0])}
    if origin in {types.UnionType, typing.Union}:
        return {"anyOf": [_schema_of_kind(one) for one in inside]}
    if origin is typing.Literal:
        return {"enum": list(inside)}
    if isinstance(kind, type) and issubclass(kind, Enum):
        return {"enum": [member.value for member in kind]}
    if typing.is_typeddict(kind):
        return {
            "type": "object",
            "properties": {camel(n): _schema_of_kind(k) for n, k in typing.get_type_hints(kind).items()},
            "required": sorted(camel(name) for name in kind.__required_keys__),
            "additionalProperties": True,
        }
    raise TypeError(f"{kind} has no JSON Schema: use a str, int, bool, Decimal, UUID, datetime, TypedDict or tuple.")


# --- what was promised -----------------------------------------------------------------------------------------------
def breaks(promised: Schema, now: Schema, where: str = "") -> list[str]:
    """What a consumer that relies on ``promised`` would miss in ``now``; one sentence each, none where it is safe.

    A member that went away, is no longer always there, or means something else. A new member breaks nobody; where
    nothing was promised nothing breaks.
    """
    if not promised:
        return []
    found = [
        f"{where or 'the fact'}: {word} was {promised.get(word)}, is {now.get(word)}"
        for word in PROMISES
        if promised.get(word) != now.get(word)
    ]
    here, there = promised.get("properties", {}), now.get("properties", {})
    for name, schema in here.items():
        path = f"{where}/{name}"
        if name not in there:
            found.append(f"{path} went away")
            continue
        if name in promised.get("required", ()) and name not in now.get("required", ()):
            found.append(f"{path} is no longer always there")
        found += breaks(schema, there[name], path)
    if "items" in promised and "items" in now:
        found += breaks(promised["items"], now["items"], f"{where}[]")
    return found


def file_of(fact: type[Event], version: int = 0) -> Path:
    """Where a version of a fact's schema is kept; the current one unless said."""
    app = apps.get_containing_app_config(fact.__module__)
    if app is None:
        raise LookupError(f"{fact.__module__} belongs to no app.")
    return Path(app.path) / "schemas" / f"{_slug(fact.detail_type)}.v{version or fact.schema_version}.json"


def promised(fact: type[Event]) -> Schema | None:
    """The released schema of a fact's current version; None where it is not released."""
    file = file_of(fact)
    return json.loads(file.read_text()) if file.exists() else None


def broken_promises() -> list[str]:
    """What was released and is not kept any more; one sentence each, saying what to do."""
    found = []
    for fact in facts():
        found += [
            f"{fact.detail_type} v{fact.schema_version} breaks its consumers: {breach}. Raise {fact.__name__}'s "
            f"schema_version to {fact.schema_version + 1} and run manage.py write_event_schemas."
            for breach in breaks(promised(fact) or {}, schema_of(fact))
        ]
        found += [
            f"{file_of(fact, version)} is gone: released versions are kept."
            for version in range(1, fact.schema_version)
            if not file_of(fact, version).exists()
        ]
    return found + _orphans()


def _orphans() -> list[str]:
    known = {file_of(fact, version) for fact in facts() for version in range(1, fact.schema_version + 1)}
    folders = {file.parent for file in known}
    return [
        f"{file} has no fact any more: its consumers wait for nothing. Publish it, or remove the file knowingly."
        for folder in sorted(folders)
        for file in sorted(folder.glob("*.json"))
        if file not in known
    ]


def text_of(schema: Schema) -> str:
    """A schema as its file has it."""
    return json.dumps(schema, indent=2, ensure_ascii=False) + "\n"


def _slug(detail_type: str) -> str:
    return detail_type.lower().replace(" ", "-")
