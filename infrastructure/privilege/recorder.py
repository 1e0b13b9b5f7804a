"""What our functions were seen to call, kept without what changes from run to run. Called by make and check.py.

`python -m infrastructure.privilege.recorder PART TRAIL` takes the local AWS's trail (vibecode/local/trail.py) of a
whole run into recorded.json, in place of what an earlier run has seen: PART is `rehearsal` or `tests`.
"""

import argparse
import ast
import functools
import hashlib
import io
import json
import re
import sys
import tokenize
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vibecode.resources import JOBS, OPERATIONS, PROJECT, QUEUES, ROUTES, SCHEDULES, STEPS, TRIGGERS

HERE = Path(__file__).resolve().parent
REPOSITORY = HERE.parent.parent
RECORDED = HERE / "recorded.json"
PARTS = ("rehearsal", "tests")
FUNCTIONS = ("web", "worker")

# Who signs with a function's name is this function, and so is the container (vibecode/local/shop.py and sandboxes.py,
# tests/signing_as.py).
FUNCTION = re.compile(rf"{PROJECT}-([a-z0-9-]+?)(?:-(worker|batch))?")
MEDIA = "media"  # the one bucket that a function has
ID = "{id}"  # in the place of what is another each time

# Modules by which AWS is called: whoever imports one of these makes calls, and who imports such a module has it made.
CLIENTS = {"vibecode.aws", "vibecode.bucket", "vibecode.doorbell", "vibecode.sigv4"}
AWAY = 2
DECLARES = "vibecode.resources"
# What AWS has us run, by its dotted path.
HANDLERS = (
    *(each.handler for each in (*QUEUES, *SCHEDULES)),
    *STEPS,
    *(path for paths in (JOBS, ROUTES, OPERATIONS, TRIGGERS) for path in paths.values()),
)
APPS = ("accounts", "catalog", "orders", "vibecode")
ON_LAPTOPS = ("vibecode/local/", "/management/", "/migrations/")
IN_THE_CONTAINER = "vibecode/management/commands/work_queue.py"


@dataclass(frozen=True, order=True, slots=True)
class Call:
    """A call of AWS that a function makes: ``on`` names the resource, as the recording has it."""

    by: str
    call: str  # service:Operation
    on: tuple[tuple[str, str], ...]

    def written(self) -> dict[str, Any]:
        """As it stands in the recording."""
        return {"by": self.by, "call": self.call, "on": dict(self.on)}

    @classmethod
    def read(cls, said: Mapping[str, Any]) -> "Call":
        """The same from there."""
        return cls(said["by"], said["call"], tuple(sorted(said["on"].items())))


def calls(recording: Mapping[str, Any]) -> list[Call]:
    """All of a recording, whoever has seen it."""
    return sorted({Call.read(said) for part in recording.values() for said in part["calls"]})


def recording() -> dict[str, Any]:
    """What is committed."""
    read: dict[str, Any] = json.loads(RECORDED.read_text()) if RECORDED.exists() else {}
    return read


# --- from a trail ----------------------------------------------------------------------------------------------------
def seen(lines: Iterable[str]) -> list[Call]:
    """The calls of our functions in a trail; those of tests, engineers and Zappa are nobody's that has a role here."""
    found = set()
    for line in lines:
        said = json.loads(line)
        if function := FUNCTION.fullmatch(said["who"]):
            stage, which = function[1], function[2] or "web"
            on = dict(_lasting(said["about"], stage))
            if _is_ours(on):
                found.add(Call(which, said["call"], tuple(sorted(on.items()))))
    return sorted(found)


def _lasting(about: Mapping[str, str], stage: str) -> Iterator[tuple[str, str]]:
    for name, value in about.items():
        if name in NAMED:
            yield NAMED[name][0], NAMED[name][1](value).replace(f"{PROJECT}-{stage}", f"{PROJECT}-{{stage}}")


def _is_ours(on: Mapping[str, str]) -> bool:
    """A test may name a bucket that nobody has made, and has its queue; all else that is called must be allowed."""
    made = on.get("found") != "no" or on.get("bucket", MEDIA).startswith((MEDIA, PROJECT))
    return made and not on.get("queue", "").endswith("-tests")


def _last(value: str) -> str:
    return re.split(r"[:/]", value)[-1]


def _folder(key: str) -> str:
    """A key's folders; its name is made of chance."""
    folder, slash, _ = key.rpartition("/")
    return f"{folder}{slash}{ID}"


# What the trail calls it, what the recording calls it, and what of it lasts.
NAMED: Mapping[str, tuple[str, Callable[[str], str]]] = {
    "Bucket": ("bucket", lambda name: MEDIA if name.endswith(f"-{MEDIA}") else name),
    "ConfigurationSetName": ("configuration set", str),
    "EventBusName": ("bus", _last),
    "executionArn": ("workflow", lambda arn: arn.split(":")[-2]),
    "found": ("found", str),
    "IndexName": ("index", str),
    "Key": ("key", _folder),
    "LeadingKey": ("row", lambda kind: kind + ID),
    "Prefix": ("prefix", str),
    "QueueUrl": ("queue", _last),
    "Raw": ("composed", str),
    "signed": ("signed", str),
    # A stage has one secret of settings, and in its place the rehearsal has more: of each role of the database.
    "SecretId": ("secret", lambda arn: re.split(r"-\w{6}$", arn)[0].rpartition("/")[2].partition("-")[0]),
    "stateMachineArn": ("workflow", _last),
    "TableName": ("table", str),
    "TopicArn": ("topic", _last),
    "UserPoolId": ("pool", lambda _: "customers"),
}


# --- of what code ----------------------------------------------------------------------------------------------------
def sources() -> dict[str, str]:
    """The files of all that calls AWS or has it called, and of all handlers; each with its digest.

    A call that is begun from further away than AWAY, such as by the web what only the worker did, is seen at the next
    recording: were all that lead to one counted too, a label of the desk would ask for another recording.
    """
    return dict(_sources())


@functools.cache
def _sources() -> Mapping[str, str]:
    texts = {
        name: path.read_text()
        for app in APPS
        for path in sorted((REPOSITORY / app).rglob("*.py"))
        if (name := str(path.relative_to(REPOSITORY))) == IN_THE_CONTAINER
        or not any(place in name for place in ON_LAPTOPS)
    }
    imports = {_module(name): _imports(text) for name, text in texts.items()}
    callers = set(CLIENTS)
    for _ in range(AWAY):
        callers |= {module for module, imported in imports.items() if imported & callers}
    covered = callers | {DECLARES} | {handler.rpartition(".")[0] for handler in HANDLERS}
    return {name: digest(text) for name, text in texts.items() if _module(name) in covered}


def _module(name: str) -> str:
    """A file as it is imported."""
    return name.removesuffix(".py").replace("/", ".").removesuffix(".__init__")


def _imports(code: str) -> set[str]:
    """The modules that a module imports; of a name from a module, both of what it may be."""
    found = set()
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.ImportFrom):
            found |= {str(node.module), *(f"{node.module}.{name.name}" for name in node.names)}
        elif isinstance(node, ast.Import):
            found |= {name.name for name in node.names}
    return found


def digest(code: str) -> str:
    """Of a module's tokens without its comments, docstrings and layout."""
    told = hashlib.sha256()
    begins = True  # of a statement
    for token in tokenize.generate_tokens(io.StringIO(code).readline):
        if token.type in {tokenize.COMMENT, tokenize.NL}:
            continue
        if token.type in {tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT}:
            begins = True
            told.update(bytes([token.type]))
            continue
        if not (token.type == tokenize.STRING and begins):
            told.update(token.string.encode() + b"\0")
        begins = False
    return told.hexdigest()[:16]


def older(recorded: Mapping[str, Any]) -> list[str]:
    """What the recording was not made of: the files that are not as it has them, part by part."""
    now = sources()
    said = []
    for part in PARTS:
        then = recorded.get(part, {}).get("sources", {})
        said += [f"{part}: {name}" for name in sorted(now.keys() | then) if now.get(name) != then.get(name)]
    return said


# --- kept ------------------------------------------------------------------------------------------------------------
def take(part: str, lines: Iterable[str], recorded: Mapping[str, Any]) -> dict[str, Any]:
    """The recording with what a whole run has seen."""
    taken = {"sources": sources(), "calls": [call.written() for call in seen(lines)]}
    return {name: taken if name == part else recorded[name] for name in PARTS if name == part or name in recorded}


def write(recorded: Mapping[str, Any], path: Path = RECORDED) -> None:
    """Keep it: one line for each file and each call, so that a difference can be read."""
    parts = []
    for name, part in recorded.items():
        files = ",\n".join(f"   {json.dumps(file)}: {json.dumps(mark)}" for file, mark in part["sources"].items())
        lines = ",\n".join(f"   {json.dumps(call, ensure_ascii=False)}" for call in part["calls"])
        parts.append(f' {json.dumps(name)}: {{\n  "sources": {{\n{files}\n  }},\n  "calls": [\n{lines}\n  ]\n }}')
    path.write_text("{\n" + ",\n".join(parts) + "\n}\n")


def main() -> int:
    """Take a trail into the recording."""
    parser = argparse.ArgumentParser(description="Keep what a whole run has seen our functions call.")
    parser.add_argument("part", choices=PARTS)
    parser.add_argument("trail", type=Path)
    arguments = parser.parse_args()
    if not arguments.trail.exists():
        sys.exit(f"Nothing was recorded: there is no {arguments.trail}.")
    with arguments.trail.open() as lines:
        recorded = take(arguments.part, lines, recording())
    write(recorded)
    print(f"{len(recorded[arguments.part]['calls'])} kinds of calls in {RECORDED.relative_to(REPOSITORY)}")  # noqa: T201 -- the output of a command
    return 0


if __name__ == "__main__":
    sys.exit(main())
