"""The templates of one stage as resources that know their names, and point at each other. Called by drawing.py."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from infrastructure.costs.counting import Template

PSEUDO = {"AWS::AccountId": "account", "AWS::Region": "region", "AWS::Partition": "aws"}
# Where a resource says what it is called.
NAMES = (
    "QueueName", "TopicName", "FunctionName", "BucketName", "RoleName", "TableName", "StateMachineName",
    "DBClusterIdentifier", "DBProxyName", "ServerlessCacheName", "GroupName", "Name",
)  # fmt: skip
HASH = re.compile(r"[0-9A-F]{8}$")  # CDK's, behind a logical id
# What ARNs call a service that the type of its resources calls otherwise.
SERVICES = {"StepFunctions": "states", "RDS": "rds", "Cognito": "cognito-idp", "ApiGatewayV2": "execute-api"}


@dataclass(frozen=True, slots=True)
class Resource:
    """One resource of a template."""

    stack: str
    logical: str
    type: str
    properties: Mapping[str, Any]

    @property
    def service(self) -> str:
        """As its ARN calls it."""
        service = self.type.split("::")[1]
        return SERVICES.get(service, service.lower())


@dataclass(frozen=True, slots=True)
class Thing:
    """What an ARN or a reference means: a service, and the name without what every name of the stage begins with."""

    service: str
    name: str


class Stacks:
    """All templates of a stage, by the names of their stacks."""

    def __init__(self, templates: Mapping[str, Template], prefix: str) -> None:
        self._prefix = prefix
        self._resources = {
            (stack, logical): Resource(stack, logical, found["Type"], found.get("Properties", {}))
            for stack, template in sorted(templates.items())
            for logical, found in template["Resources"].items()
        }
        self._exports = {
            self.text(output["Export"]["Name"], stack): (output["Value"], stack)
            for stack, template in templates.items()
            for output in template.get("Outputs", {}).values()
            if "Export" in output
        }

    def of_type(self, *types: str) -> Iterator[Resource]:
        """All resources of these types (``AWS::SQS::Queue``)."""
        return (each for each in self._resources.values() if each.type in types)

    def name(self, resource: Resource) -> str:
        """What it is called, without the stage's prefix; its logical id where it has no name."""
        given = next((resource.properties[name] for name in NAMES if name in resource.properties), None)
        return self._short(self.text(given, resource.stack)) if given else HASH.sub("", resource.logical)

    def thing(self, value: Any, stack: str) -> Thing:
        """What a reference or an ARN of a stack points at."""
        if found := self._pointed_at(value, stack):
            return Thing(found.service, self.name(found))
        text = self.text(value, stack)
        arn = re.match(r"arn:[\w-]+:([\w-]+):", text)
        service = arn[1] if arn else ""
        if service == "rds-db":
            return Thing(service, text.rpartition("/")[2])  # the role of PostgreSQL
        keys = text.partition("/")[2] if service == "s3" else ""
        return Thing(service, "/".join(filter(None, [self._short(text), keys])))

    def text(self, value: Any, stack: str) -> str:
        """A value of a template as plain text; what only AWS knows stands there by its name."""
        match value:
            case {"Ref": name}:
                found = self._resources.get((stack, name))
                return self._full(found) if found else PSEUDO.get(name, name)
            case {"Fn::GetAtt": [name, *_]}:
                found = self._resources.get((stack, name))
                return self._full(found) if found else str(name)
            case {"Fn::ImportValue": name}:
                exported = self._exports.get(self.text(name, stack))
                return self.text(*exported) if exported else self.text(name, stack)
            case {"Fn::Join": [glue, parts]}:
                return str(glue).join(self.text(part, stack) for part in parts)
            case {"Fn::Select": [_, parts]} | {"Fn::Split": [_, parts]}:
                return self.text(parts, stack)
            case {"Fn::Sub": text}:
                return str(text[0] if isinstance(text, list) else text)
            case list():
                return ", ".join(self.text(each, stack) for each in value)
        return str(value)

    def _pointed_at(self, value: Any, stack: str) -> Resource | None:
        match value:
            case {"Ref": name} | {"Fn::GetAtt": [name, *_]}:
                return self._resources.get((stack, name))
            case {"Fn::ImportValue": name} if exported := self._exports.get(self.text(name, stack)):
                return self._pointed_at(*exported)
        return None

    def _full(self, resource: Resource) -> str:
        given = next((resource.properties[name] for name in NAMES if name in resource.properties), None)
        return self.text(given, resource.stack) if given else resource.logical

    def _short(self, text: str) -> str:
        """A name, or the part of an ARN that names something, without prefix, account and patterns."""
        found = re.search(rf"{re.escape(self._prefix)}(?:-([\w-]*\w)|/(\w+))?", text)
        if found:
            return (found[1] or found[2] or "").removesuffix("-account")
        return re.sub(r".*:", "", text)
