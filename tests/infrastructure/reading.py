"""Templates, read as CloudFormation would: texts put together, resources by their type."""

from collections.abc import Iterator, Mapping
from typing import Any

ACCOUNT = "123456789012"
PSEUDO = {"AWS::AccountId": ACCOUNT, "AWS::Partition": "aws"}

type Template = Mapping[str, Any]


def text(value: Any) -> Any:
    """A value with its joins done; what another resource or stack decides stands in angle brackets."""
    match value:
        case {"Fn::Join": [glue, parts]}:
            return str(glue).join(str(text(part)) for part in parts)
        case {"Ref": name}:
            return PSEUDO.get(name, f"<{name}>")
        case {"Fn::GetAtt": [name, attribute]}:
            return f"<{name}.{attribute}>"
        case {"Fn::ImportValue": name}:
            return f"<{text(name)}>"
        case dict():
            return {name: text(inner) for name, inner in value.items()}
        case list():
            return [text(inner) for inner in value]
    return value


def found(template: Template, kind: str) -> dict[str, Any]:
    """The properties of all resources of a type, by their logical id."""
    return {
        name: text(resource.get("Properties", {}))
        for name, resource in template["Resources"].items()
        if resource["Type"] == kind
    }


def only(template: Template, kind: str) -> Any:
    """The properties of the only one."""
    [properties] = found(template, kind).values()
    return properties


def statements(policy: Any) -> Iterator[dict[str, Any]]:
    """The statements of a policy document that allow something."""
    yield from (statement for statement in policy["Statement"] if statement["Effect"] == "Allow")


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
