"""What a change set would do, as AWS describes it. Exact calls, by stubbed_aws.py."""

from typing import Any

import pytest

from infrastructure.deploying import changes
from infrastructure.deploying.stacks import Stacks
from tests.infrastructure.stubbed_aws import ARN, BODY, NAME, NETWORK, Aws, change


def test_a_plan_names_what_is_replaced_from_every_page_and_leaves_no_change_set(aws: Aws) -> None:
    cloud = aws("cloudformation")
    aws.is_now("UPDATE_COMPLETE")
    aws.is_changed("UPDATE", None, TemplateBody=BODY)
    asked = {"StackName": NAME, "ChangeSetName": ARN}
    first = {"Status": "CREATE_COMPLETE", "NextToken": "more", "Changes": [change("Add", "AWS::EC2::VPC", "Other")]}
    rest = [
        change("Modify", "AWS::EC2::Subnet", "Zone", "Conditional"),
        change("Modify", "AWS::EC2::VPC", "Vpc"),
        change("Remove", "AWS::EC2::NatGateway", "Nat"),
    ]
    cloud.add_response("describe_change_set", first, asked)
    cloud.add_response(
        "describe_change_set", {"Status": "CREATE_COMPLETE", "Changes": rest}, {**asked, "NextToken": "more"}
    )
    cloud.add_response("delete_change_set", {}, asked)

    found = Stacks(aws.account, {"network": NETWORK}).plan()["network"]

    assert found.made == ["AWS::EC2::VPC Other"]
    assert found.modified == ["AWS::EC2::VPC Vpc"]
    assert found.lost == ["AWS::EC2::NatGateway Nat", "AWS::EC2::Subnet Zone"]


# What each release of a function at the edge, of an API's answers and of a container brings along; and what never may.
@pytest.mark.parametrize(
    ("made", "kind"),
    [
        (change("Remove", "AWS::Lambda::Version", "It", policy="Retain"), "remade"),
        (change("Remove", "AWS::ApiGateway::Deployment", "It", policy="Retain"), "remade"),
        (change("Modify", "AWS::ECS::TaskDefinition", "It", "True", "ReplaceAndDelete"), "remade"),
        (change("Remove", "AWS::S3::Bucket", "It", policy="Retain"), "kept"),
        (change("Remove", "AWS::S3::Bucket", "It", policy="Delete"), "lost"),
        (change("Remove", "AWS::S3::Bucket", "It"), "lost"),
        (change("Modify", "AWS::RDS::DBCluster", "It", "True", "ReplaceAndRetain"), "lost"),
        (change("Modify", "AWS::RDS::DBCluster", "It", "True", "ReplaceAndSnapshot"), "lost"),
        (change("Dynamic", "AWS::RDS::DBCluster", "It"), "lost"),
        (change("SyncWithActual", "AWS::RDS::DBCluster", "It"), "modified"),
    ],
)
def test_lost_is_what_held_something_and_the_shop_no_longer_has(aws: Aws, made: dict[str, Any], kind: str) -> None:
    aws.is_now("UPDATE_COMPLETE")
    aws.is_changed("UPDATE", [made], TemplateBody=BODY)
    aws("cloudformation").add_response("delete_change_set", {}, {"StackName": NAME, "ChangeSetName": ARN})

    found = Stacks(aws.account, {"network": NETWORK}).plan()["network"]

    named = f"{made['ResourceChange']['ResourceType']} It"
    assert {each: getattr(found, each) for each in changes.KINDS if getattr(found, each)} == {kind: [named]}
