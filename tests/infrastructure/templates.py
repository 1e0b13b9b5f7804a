"""Templates, read as CloudFormation would: texts put together, resources one after the other or by their type."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

type Template = Mapping[str, Any]
type Templates = Mapping[str, Template]

ACCOUNT = "123456789012"
REGION = "eu-north-1"


@dataclass(frozen=True, slots=True)
class Resource:
    """One resource of a template, its texts put together."""

    stack: str
    name: str
    type: str
    properties: Mapping[str, Any]
    whole: Mapping[str, Any]

    def __str__(self) -> str:
        return f"{self.stack}/{self.name} ({self.type})"

    @property
    def stage(self) -> str:
        """The stage that its stack is named after; "pipeline" for what an account has once."""
        return self.stack.split("-")[1]

    @property
    def kept(self) -> bool:
        """Whether it outlives its stack, and its own replacement."""
        return (self.whole.get("DeletionPolicy"), self.whole.get("UpdateReplacePolicy")) == ("Retain", "Retain")


def resources(templates: Templates, *types: str) -> Iterator[Resource]:
    """Every resource, or those of these types; a type may end in `::`, for all of a service's."""
    for stack, template in templates.items():
        for name, resource in template["Resources"].items():
            kind = resource["Type"]
            if not types or any(
                kind == wanted or (wanted.endswith("::") and kind.startswith(wanted)) for wanted in types
            ):
                yield Resource(stack, name, kind, text(resource.get("Properties", {})), resource)


def found(template: Template, kind: str) -> dict[str, Any]:
    """The properties of all resources of a type in one template, by their logical id."""
    return {each.name: each.properties for each in resources({"": template}, kind)}


def only(template: Template, kind: str) -> Any:
    """The properties of the only one."""
    [properties] = found(template, kind).values()
    return properties


def of_stage(templates: Templates, stage: str) -> Templates:
    """The templates of one stage."""
    return {name: template for name, template in templates.items() if name.startswith(f"vibecode-{stage}-")}


def text(value: Any) -> Any:
    """A value with its joins done; what another resource or stack decides stands in angle brackets."""
    match value:
        case {"Fn::Join": [glue, parts]}:
            return str(glue).join(str(text(part)) for part in parts)
        case {"Ref": "AWS::AccountId"}:
            return ACCOUNT
        case {"Ref": "AWS::Region"}:
            return REGION
        case {"Ref": "AWS::Partition"}:
            return "aws"
        case {"Ref": name}:
            return f"<{name}>"
        case {"Fn::GetAtt": [name, attribute]}:
            return f"<{name}.{attribute}>"
        case {"Fn::ImportValue": imported}:
            return f"<{text(imported)}>"
        case dict():
            return {name: text(inner) for name, inner in value.items()}
        case list():
            return [text(inner) for inner in value]
    return value


def as_list(value: Any) -> list[Any]:
    """IAM writes one thing without a list."""
    return value if isinstance(value, list) else [value]


def strings(value: Any) -> Iterator[str]:
    """Every text in a value."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for inner in value.values():
            yield from strings(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from strings(inner)


def allowed(policy: Any) -> Iterator[dict[str, Any]]:
    """The statements of a policy document that allow something."""
    yield from (statement for statement in policy["Statement"] if statement["Effect"] == "Allow")


def policies(resource: Resource) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """What a resource allows somebody: each statement of its policies, and whether it is theirs or of a thing."""
    made = resource.properties
    for policy in made.get("Policies", []) if resource.type == "AWS::IAM::Role" else []:
        yield from (("identity", statement) for statement in policy["PolicyDocument"]["Statement"])
    if resource.type in {"AWS::IAM::Policy", "AWS::IAM::ManagedPolicy"}:
        yield from (("identity", statement) for statement in made["PolicyDocument"]["Statement"])
    elif "PolicyDocument" in made or "KeyPolicy" in made:
        document = made.get("KeyPolicy") or made["PolicyDocument"]
        read = json.loads(document) if isinstance(document, str) else document
        yield from (("resource", statement) for statement in read["Statement"])


def named(found: Sequence[object]) -> str:
    """For the message of an assertion: one a line."""
    return "\n" + "\n".join(f"  {each}" for each in found)
