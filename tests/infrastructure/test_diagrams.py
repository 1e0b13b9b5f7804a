"""The pictures are drawn from the templates: a change of these is a change of those, and the page is current."""

import copy
import json
from pathlib import Path
from typing import Any

import pytest

from infrastructure.costs.__main__ import read_templates
from infrastructure.diagrams import __main__ as command
from infrastructure.diagrams import drawing
from infrastructure.diagrams.reading import Stacks, Thing
from infrastructure.judging import SNAPSHOTS

PREFIX = "vibecode-production"


def stacks(**resources: dict[str, Any]) -> Stacks:
    """One stack with these resources."""
    return Stacks({f"{PREFIX}-made": {"Resources": resources}}, PREFIX)


def resource(kind: str, **properties: Any) -> dict[str, Any]:
    """One of them."""
    return {"Type": kind, "Properties": properties}


def arn(service: str, rest: str) -> dict[str, Any]:
    """As CDK writes the ARN of what another stack makes, by its name."""
    return {"Fn::Join": ["", [f"arn:aws:{service}:eu-north-1:", {"Ref": "AWS::AccountId"}, f":{rest}"]]}


SHOP = {
    "Bus": resource("AWS::Events::EventBus", Name=PREFIX),
    "Queue": resource(
        "AWS::SQS::Queue",
        QueueName=f"{PREFIX}-mail",
        RedrivePolicy={"deadLetterTargetArn": {"Fn::GetAtt": ["Dead", "Arn"]}, "maxReceiveCount": 7},
    ),
    "Dead": resource("AWS::SQS::Queue", QueueName=f"{PREFIX}-mail-dead"),
    "Rule": resource(
        "AWS::Events::Rule",
        Name=f"{PREFIX}-mail",
        EventBusName={"Ref": "Bus"},
        EventPattern={"detail-type": ["Order Shipped"]},
        Targets=[{"Arn": {"Fn::GetAtt": ["Queue", "Arn"]}}],
    ),
    "Mapping": resource(
        "AWS::Lambda::EventSourceMapping",
        EventSourceArn=arn("sqs", f"{PREFIX}-mail"),
        FunctionName=f"{PREFIX}-worker",
        BatchSize=5,
        ScalingConfig={"MaximumConcurrency": 3},
    ),
    "Role": resource(
        "AWS::IAM::Role",
        RoleName=f"{PREFIX}-worker",
        AssumeRolePolicyDocument={"Statement": [{"Principal": {"Service": "lambda.amazonaws.com"}}]},
    ),
    "Policy": resource(
        "AWS::IAM::ManagedPolicy",
        Roles=[{"Ref": "Role"}],
        PolicyDocument={
            "Statement": [
                {"Effect": "Allow", "Action": "events:PutEvents", "Resource": {"Fn::GetAtt": ["Bus", "Arn"]}},
                {"Effect": "Deny", "Action": "s3:*", "Resource": "*"},
            ]
        },
    ),
}


def test_the_page_is_what_would_be_drawn() -> None:
    assert command.main(["--check"]) == 0, "draw it: python -m infrastructure.diagrams"


def test_a_page_that_is_old_is_told_and_drawn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "templates"
    folder.mkdir()
    for name, template in read_templates(SNAPSHOTS).items():
        changed = copy.deepcopy(dict(template))
        for each in changed["Resources"].values():
            if each["Type"] == "AWS::EC2::VPC":
                each["Properties"]["CidrBlock"] = "10.99.0.0/16"
        (folder / f"{name}.json").write_text(json.dumps(changed))
    page = tmp_path / "infrastructure.md"
    page.write_text(command.PAGE.read_text())
    monkeypatch.setattr(command, "PAGE", page)

    assert command.main(["--check", "--templates", str(folder)]) == 1
    assert "infrastructure.md is old" in capsys.readouterr().out
    assert "10.99.0.0/16" not in page.read_text()

    assert command.main(["--templates", str(folder)]) == 0
    assert "VPC 10.99.0.0/16" in page.read_text()
    assert command.main(["--check", "--templates", str(folder)]) == 0


def test_every_picture_of_the_page_is_drawn_and_every_drawing_stands_in_it() -> None:
    assert set(command.PLACE.findall(command.PAGE.read_text())) == set(command.DRAWN)


def test_facts_go_by_rules_to_queues_and_from_there_to_functions() -> None:
    assert list(drawing.flow(stacks(**SHOP))) == [
        "flowchart LR",
        '    events["bus"] -->|"Order Shipped"| sqs-mail[/"queue mail"/]',
        '    sqs-mail -->|"5 at a time, 3 side by side"| lambda-worker("function worker")',
        '    sqs-mail -.->|"after 7 tries"| sqs-mail-dead[/"queue mail-dead"/]',
        '    lambda-worker -->|"puts facts"| events',
    ]


def test_who_may_what_is_told_without_what_is_denied() -> None:
    assert list(drawing.table(stacks(**SHOP)))[2:] == ["| worker | events | PutEvents | `bus` |"]
    assert list(drawing.callers(stacks(**SHOP)))[1:] == [
        '    aws-lambda["lambda"] -->|is| role-worker(role worker)',
        "    role-worker --> service-events[events]",
    ]


@pytest.mark.parametrize(
    ("action", "of", "named"),
    [
        ("logs:PutLogEvents", arn("logs", f"log-group:/aws/lambda/{PREFIX}:*"), "log of web"),
        ("logs:PutLogEvents", arn("logs", f"log-group:/aws/lambda/{PREFIX}-worker:*"), "log of worker"),
        ("secretsmanager:GetSecretValue", {"Ref": "Settings"}, "settings"),
    ],
)
def test_what_a_right_is_on_is_said_where_its_name_is_hardly_more_than_the_stages(
    action: str, of: dict[str, Any], named: str
) -> None:
    shop = copy.deepcopy(SHOP) | {"Settings": resource("AWS::SecretsManager::Secret", Name=f"{PREFIX}/settings")}
    shop["Policy"]["Properties"]["PolicyDocument"]["Statement"] = [
        {"Effect": "Allow", "Action": action, "Resource": of}
    ]
    service, _, verb = action.partition(":")

    assert list(drawing.table(stacks(**shop)))[2:] == [f"| worker | {service} | {verb} | `{named}` |"]


def test_a_policy_that_allows_more_is_seen() -> None:
    more = copy.deepcopy(SHOP)
    more["Policy"]["Properties"]["PolicyDocument"]["Statement"][1]["Effect"] = "Allow"

    assert "| worker | s3 | * | all |" in drawing.table(stacks(**more))


def test_groups_are_connected_as_their_rules_say() -> None:
    groups = {
        name: resource("AWS::EC2::SecurityGroup", GroupName=f"{PREFIX}-network-{name.lower()}")
        for name in ("Web", "Database")
    }
    groups["Web"]["Properties"]["SecurityGroupEgress"] = [{"CidrIp": "0.0.0.0/0", "FromPort": 443}]
    rule = resource(
        "AWS::EC2::SecurityGroupEgress",
        GroupId={"Fn::GetAtt": ["Web", "GroupId"]},
        DestinationSecurityGroupId={"Fn::GetAtt": ["Database", "GroupId"]},
        FromPort=5432,
    )

    drawn = list(drawing.network(stacks(**groups, Rule=rule)))

    assert "    group-web -->|5432| group-database" in drawn
    assert "    group-web -->|443| internet" in drawn


@pytest.fixture
def two() -> Stacks:
    """Two stacks, one of which imports from the other."""
    exported = {"Value": {"Fn::GetAtt": ["Key", "Arn"]}, "Export": {"Name": "foundation:Key"}}
    return Stacks(
        {
            f"{PREFIX}-foundation": {
                "Resources": {"Key961B73FD": resource("AWS::KMS::Key"), "Key": resource("AWS::KMS::Key")},
                "Outputs": {"Key": exported},
            },
            f"{PREFIX}-data": {"Resources": {}},
        },
        PREFIX,
    )


@pytest.mark.parametrize(
    ("value", "thing"),
    [
        ({"Fn::ImportValue": "foundation:Key"}, Thing("kms", "Key")),
        ({"Fn::ImportValue": "unknown"}, Thing("", "unknown")),
        (arn("sqs", f"{PREFIX}-mail-dead"), Thing("sqs", "mail-dead")),
        (arn("events", f"event-bus/{PREFIX}"), Thing("events", "")),
        (arn("rds-db", "dbuser:cluster-X/vibecode_app"), Thing("rds-db", "vibecode_app")),
        (f"arn:aws:s3:::{PREFIX}-media-account/products/*", Thing("s3", "media/products/*")),
        ("*", Thing("", "*")),
    ],
)
def test_what_a_value_points_at_is_known(two: Stacks, value: Any, thing: Thing) -> None:
    assert two.thing(value, f"{PREFIX}-data") == thing


def test_a_name_of_cdks_loses_its_hash(two: Stacks) -> None:
    assert {two.name(key) for key in two.of_type("AWS::KMS::Key")} == {"Key"}
