"""The stacks of a stage as they should be: read from the assembly that CDK wrote, in the order of their deployment."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from infrastructure.deploying.account import Refused

BEFORE_ZAPPA = (
    "foundation", "network", "data", "messaging", "workflow", "live", "worldwide", "front", "identity", "runtime",
)  # fmt: skip
AFTER_ZAPPA = (
    "front",
    "integrations",
    "observability",
    "observability-worldwide",
)  # the first once more: now it knows the API

# What parameters.py tells stacks that have to be told, and cannot before there is an API, and a secret.
TOLD_LATER = frozenset({"ApiId", "OriginSecretSha256"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Template:
    """A stack as it should be."""

    what: str  # network, data, …
    name: str
    region: str
    tags: Mapping[str, str]
    protected: bool  # from being deleted
    body: str

    @property
    def parameters(self) -> Mapping[str, Mapping[str, Any]]:
        """What it has to be told."""
        told: Mapping[str, Mapping[str, Any]] = json.loads(self.body).get("Parameters", {})
        return told

    @property
    def imports(self) -> set[str]:
        """The exports of other stacks that it takes."""
        return set(imported(json.loads(self.body)))

    @property
    def puts_out(self) -> set[str]:
        """The names by which others take what it puts out: as a parameter, or as an import."""
        outputs = json.loads(self.body).get("Outputs", {})
        exports = {about["Export"]["Name"] for about in outputs.values() if "Export" in about}
        return {*with_other_names(dict.fromkeys(outputs, "")), *exports}

    @property
    def resources(self) -> int:
        """How many it makes."""
        return len(json.loads(self.body)["Resources"])


def read(folder: Path, stage: str, prefix: str) -> dict[str, Template]:
    """The stage's stacks from an assembly, by what they are, in the order of their deployment. Raises Refused."""
    try:
        found = {template.what: template for template in templates(folder / f"assembly-{stage}", prefix)}
    except (OSError, ValueError) as error:
        raise Refused(f"{folder} holds no stacks of {stage}: {error}.") from None
    order = tuple(dict.fromkeys((*BEFORE_ZAPPA, *AFTER_ZAPPA)))
    if placeless := [template.name for what, template in found.items() if what not in order]:
        raise Refused(f"{', '.join(placeless)} has no place in the order of the deployment (deploying/assembly.py).")
    return {what: found[what] for what in order if what in found}


def templates(assembly: Path, prefix: str) -> Iterator[Template]:
    """The stacks of one assembly; what each is stands in its name, after ``prefix`` and a dash.

    Raises OSError, ValueError where there is none.
    """
    for artifact in json.loads((assembly / "manifest.json").read_text())["artifacts"].values():
        if artifact["type"] != "aws:cloudformation:stack":
            continue
        told = artifact["properties"]
        yield Template(
            what=told["stackName"].removeprefix(f"{prefix}-"),
            name=told["stackName"],
            region=artifact["environment"].rpartition("/")[2],
            tags=told.get("tags", {}),
            protected=told.get("terminationProtection", False),
            body=json.dumps(json.loads((assembly / told["templateFile"]).read_text()), separators=(",", ":")),
        )


def imported(part: object) -> Iterator[str]:
    """Every export that a template takes, wherever it stands in it."""
    if isinstance(part, dict):
        if isinstance(name := part.get("Fn::ImportValue"), str):
            yield name
        for each in part.values():
            yield from imported(each)
    elif isinstance(part, list):
        for each in part:
            yield from imported(each)


def with_other_names(outputs: dict[str, str]) -> dict[str, str]:
    """With what some stacks want a part of."""
    more = dict(outputs)
    if "PublicUrl" in outputs:
        more["PublicDomain"] = urlsplit(outputs["PublicUrl"]).netloc
    return more
