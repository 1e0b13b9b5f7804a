"""What has a name has one of ours, of its stage, the same at every deploy; but for a few that AWS or CDK makes up."""

import json
import re
from dataclasses import replace
from functools import cache

import pytest

from tests.infrastructure.templates import Resource, Templates, resources
from tests.infrastructure.test_quality_checklist import SCHEMAS, known_types
from vibecode.rights import GROUPS

# By type, and how CDK calls each: it makes these for what it is in, and nobody but that asks for them.
MADE_UP = {
    ("AWS::IAM::Role", "VpcFlows"): "of the flow logs, which CDK makes with them",
    ("AWS::IAM::Policy", "VpcFlows"): "the same",
    ("AWS::IAM::Role", "ClusterMonitoringRole"): "of the cluster, which CDK makes with it",
    ("AWS::IAM::Role", "GatewayLogs"): "an account has one, whichever stage comes first (live.py)",
    ("AWS::RDS::DBClusterParameterGroup", "Parameters"): "a new one stands beside the old one while it is exchanged",
    ("AWS::RDS::DBSubnetGroup", "ClusterSubnets"): "the same",
    ("AWS::RDS::DBInstance", "Writer"): "a larger one stands beside it before it goes; docs/restoring.md finds it",
    ("AWS::RDS::DBInstance", "Reader"): "the same",
}


# What has its name from AWS, from what it is in, or from what tokens say; and what an account has once.
KNOWN = {
    ("AWS::RDS::DBProxyTargetGroup", "default"),
    ("AWS::CodeConnections::Connection", "vibecode"),
    ("AWS::CodePipeline::Pipeline", "vibecode"),
    *(("AWS::Cognito::UserPoolGroup", group) for group in GROUPS),
}


@pytest.fixture(scope="session")
def unnamed(templates: Templates) -> list[Resource]:
    """What could have a name, and was given none of ours."""
    return [each for each in resources(templates) if names_of(each.type) and not is_ours(each)]


def is_ours(resource: Resource) -> bool:
    """Whether it is called after the project and its stage, or as it has to be."""
    said = {str(resource.properties.get(name, "")) for name in names_of(resource.type)}
    ours = re.compile(rf"vibecode[-/_]{resource.stage}\b")
    known = {*KNOWN, ("AWS::ApiGatewayV2::Stage", resource.stage)}
    return any(ours.search(each) or (resource.type, each) in known for each in said)


@cache
def names_of(kind: str) -> set[str]:
    """The properties that name a type, as AWS's own schema has them: of a queue QueueName, of others Name alone."""
    schema = json.loads((SCHEMAS / "resources" / f"{known_types()[kind]}.json").read_text())
    given = schema["properties"].keys() - {path.rpartition("/")[2] for path in schema.get("readOnlyProperties", [])}
    return {
        name for name in given if (what := re.fullmatch(r"(\w*)(Name|Identifier)", name)) and kind.endswith(what[1])
    }


def is_made_up(resource: Resource, kind: str, name: str) -> bool:
    return resource.type == kind and resource.name.startswith(name)


def test_names_are_ours(templates: Templates, unnamed: list[Resource]) -> None:
    assert [str(each) for each in unnamed if not any(is_made_up(each, *known) for known in MADE_UP)] == []

    queue = next(iter(resources(templates, "AWS::SQS::Queue")))
    assert names_of(queue.type) == {"QueueName"}
    assert not is_ours(replace(queue, stack="vibecode-another-messaging")), "nor is it another stage's"


def test_whatever_made_up_name_is_excused_is_there(unnamed: list[Resource]) -> None:
    assert [known for known in MADE_UP if not any(is_made_up(each, *known) for each in unnamed)] == []
