"""What the deployment asks of AWS where the local one cannot answer as AWS does: exact calls, by botocore's Stubber."""

import base64
import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import boto3
import pytest
from botocore.stub import ANY, Stubber

from infrastructure.config import EDGE_REGION, REGION, STAGES
from infrastructure.database_roles import statements
from infrastructure.deploying import assembly, changes, cloudformation, functions, operations, sender, waiting, zappa
from infrastructure.deploying.account import Account, Refused, WentWrong
from infrastructure.deploying.assembly import Template
from infrastructure.deploying.cloudformation import StackFailed
from infrastructure.deploying.confidential import complete_settings
from infrastructure.deploying.database import make_roles
from infrastructure.deploying.functions import Functions
from infrastructure.deploying.images import look_for, missing, run_image
from infrastructure.deploying.operations import Operations
from infrastructure.deploying.parameters import origin_parameters, told
from infrastructure.deploying.plan import Plan, make_plan
from infrastructure.deploying.record import Attempt, Lost, Release
from infrastructure.deploying.releases import Bucket
from infrastructure.deploying.sender import wait_for_sender
from infrastructure.deploying.stacks import Stacks
from infrastructure.deploying.steps import Deploy, Tools, roll_back
from infrastructure.deploying.waiting import Turn
from infrastructure.deploying.zappa import Zappa
from infrastructure.judging import SNAPSHOTS

NUMBER = "123456789012"
NAME = "vibecode-dev-network"
ARN = f"arn:aws:cloudformation:{REGION}:{NUMBER}:changeSet/deploy-1/1"
TAGS = {"app": "vibecode", "stage": "dev", "cost-centre": "engineering", "data-class": "internal"}
BODY = '{"Resources":{"Vpc":{"Type":"AWS::EC2::VPC"}}}'
NETWORK = Template(what="network", name=NAME, region=REGION, tags=TAGS, protected=True, body=BODY)
NOW = datetime(2026, 11, 26, tzinfo=UTC)
STACK = {"StackName": NAME, "CreationTime": NOW}


class Aws:
    """boto3's clients, each with what is expected of it; nothing else is answered."""

    def __init__(self) -> None:
        self.stubs: dict[tuple[str, str], Stubber] = {}
        self.account = Account(replace(STAGES["dev"], account=""), self.make)
        self("sts").add_response("get_caller_identity", {"Account": NUMBER, "Arn": f"arn:aws:iam::{NUMBER}:user/me"})

    def __call__(self, service: str, region: str = REGION) -> Stubber:
        if (service, region) not in self.stubs:
            keys = {"aws_access_key_id": "tests", "aws_secret_access_key": "tests"}
            client: Any = boto3.client(service, region_name=region, **keys)  # type: ignore[call-overload]  # any service
            self.stubs[service, region] = Stubber(client)
            self.stubs[service, region].activate()
        return self.stubs[service, region]

    def make(self, service: str, *, region_name: str, **_: object) -> Any:
        """As boto3.client does."""
        return self(service, region_name).client

    def is_now(self, status: str, name: str = NAME, **more: Any) -> None:
        """A question about a stack: network, where no other is named."""
        cloud = self("cloudformation")
        if status:
            answer = {"Stacks": [{**STACK, "StackName": name, "StackStatus": status, **more}]}
            cloud.add_response("describe_stacks", answer, {"StackName": name})
        else:
            cloud.add_client_error("describe_stacks", "ValidationError", expected_params={"StackName": name})

    def is_carried_out(self) -> None:
        """The change set of the stack network; what it makes goes again where it fails."""
        asked = {"StackName": NAME, "ChangeSetName": ARN, "RetainExceptOnCreate": True}
        self("cloudformation").add_response("execute_change_set", {}, asked)

    def has_events(self, *told: tuple[str, str, str], of: str = NAME, page: str = "", more: str = "") -> None:
        """What happened to a stack: resource, status, reason; the last thing first, and ``more`` pages."""
        events = [
            {
                "StackId": ARN, "EventId": str(n), "StackName": of, "Timestamp": NOW,
                "LogicalResourceId": name, "ResourceStatus": status, "ResourceStatusReason": reason,
            }
            for n, (name, status, reason) in enumerate(told)
        ]  # fmt: skip
        answer = {"StackEvents": events, **({"NextToken": more} if more else {})}
        asked = {"StackName": of, **({"NextToken": page} if page else {})}
        self("cloudformation").add_response("describe_stack_events", answer, asked)

    def is_changed(self, kind: str, changes: list[dict[str, Any]] | None, **expected: Any) -> None:
        """A change set of the stack network, made and looked at; without changes only made."""
        cloud = self("cloudformation")
        cloud.add_response(
            "create_change_set",
            {"Id": ARN},
            {
                "StackName": NAME,
                "ChangeSetName": ANY,
                "ChangeSetType": kind,
                "Parameters": [],
                "Capabilities": ["CAPABILITY_NAMED_IAM"],
                "Tags": [{"Key": key, "Value": value} for key, value in sorted(TAGS.items())],
                **expected,
            },
        )
        asked = {"StackName": NAME, "ChangeSetName": ARN}
        described = {"Status": "CREATE_COMPLETE", "Changes": changes or []}
        cloud.add_response("describe_change_set", {"Status": "CREATE_COMPLETE"}, asked)
        if kind == "UPDATE" and changes is not None:
            cloud.add_response("describe_change_set", described, asked)

    def done(self) -> None:
        """Everything that was expected was asked."""
        for (service, _), stub in self.stubs.items():
            if service != "sts":
                stub.assert_no_pending_responses()


@pytest.fixture
def aws(monkeypatch: pytest.MonkeyPatch) -> Iterator[Aws]:
    for name in ("AWS_ENDPOINT_URL", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    made = Aws()
    yield made
    made.done()


def change(action: str, kind: str, name: str, replacement: str = "False", policy: str = "") -> dict[str, Any]:
    about = {"Action": action, "ResourceType": kind, "LogicalResourceId": name}
    about |= {"Replacement": replacement} if action == "Modify" else {}
    return {"Type": "Resource", "ResourceChange": about | ({"PolicyAction": policy} if policy else {})}


# --- stacks ----------------------------------------------------------------------------------------------------------
def test_a_new_stack_is_made_by_a_change_set_and_then_protected(aws: Aws) -> None:
    cloud = aws("cloudformation")
    aws.is_now("")
    aws.is_now("")  # which outputs there are
    role = f"arn:aws:iam::{NUMBER}:role/maker"
    aws.is_changed("CREATE", [], TemplateBody=BODY, RoleARN=role)
    aws.is_carried_out()
    aws.is_now("CREATE_COMPLETE")
    protect = {"StackName": NAME, "EnableTerminationProtection": True}
    cloud.add_response("update_termination_protection", {"StackId": ARN}, protect)

    assert Stacks(aws.account, {"network": NETWORK}, role=role).apply("network") == "new, 1 resources"


def test_what_is_left_of_a_first_creation_that_failed_makes_way(aws: Aws) -> None:
    cloud = aws("cloudformation")
    aws.is_now("ROLLBACK_COMPLETE")
    cloud.add_response("delete_stack", {}, {"StackName": NAME})
    aws.is_now("")
    aws.is_now("")
    aws.is_changed("CREATE", [], TemplateBody=BODY)
    aws.is_carried_out()
    aws.is_now("CREATE_COMPLETE")

    Stacks(aws.account, {"network": replace(NETWORK, protected=False)}).apply("network")


def test_what_does_not_make_way_is_named_with_the_page_that_says_what_helps(aws: Aws) -> None:
    aws.is_now("ROLLBACK_COMPLETE")
    aws("cloudformation").add_response("delete_stack", {}, {"StackName": NAME})
    aws.is_now("DELETE_FAILED")
    aws.has_events(("Cluster", "DELETE_FAILED", "it protects itself"), (NAME, "DELETE_IN_PROGRESS", "User Initiated"))

    with pytest.raises(StackFailed, match=r"is DELETE_FAILED: Cluster: it protects itself. docs/deploy.md says how"):
        Stacks(aws.account, {"network": NETWORK}).apply("network")


def test_who_may_not_delete_what_is_left_of_a_first_creation_is_told_who_may(aws: Aws) -> None:
    aws.is_now("ROLLBACK_COMPLETE")
    aws("cloudformation").add_client_error("delete_stack", "AccessDenied", expected_params={"StackName": NAME})

    with pytest.raises(Refused, match=f"{NAME} came to nothing.*an administrator deploys this stage once"):
        Stacks(aws.account, {"network": NETWORK}).apply("network")


def test_a_long_template_is_read_from_the_bucket_of_packages(aws: Aws) -> None:
    body = json.dumps({"Description": "x" * cloudformation.SENT, "Resources": {}})
    key = f"templates/{NAME}-{hashlib.sha256(body.encode()).hexdigest()[:16]}.json"
    bucket = f"vibecode-dev-packages-{NUMBER}"
    aws("s3").add_response("put_object", {}, {"Bucket": bucket, "Key": key, "Body": body.encode()})
    aws.is_now("UPDATE_COMPLETE")
    aws.is_now("UPDATE_COMPLETE")
    aws.is_changed("UPDATE", [], TemplateURL=f"https://{bucket}.s3.{REGION}.amazonaws.com/{key}")
    aws.is_carried_out()
    aws.is_now("UPDATE_COMPLETE")

    Stacks(aws.account, {"network": replace(NETWORK, body=body, protected=False)}).apply("network")


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


def test_what_the_plan_did_not_show_is_not_lost(aws: Aws) -> None:
    aws.is_now("UPDATE_COMPLETE")
    aws.is_now("UPDATE_COMPLETE")
    aws.is_changed("UPDATE", [change("Remove", "AWS::RDS::DBCluster", "Cluster")], TemplateBody=BODY)
    asked = {"StackName": NAME, "ChangeSetName": ARN}
    aws("cloudformation").add_response("delete_change_set", {}, asked)

    with pytest.raises(Refused, match="would lose what the plan did not show: AWS::RDS::DBCluster Cluster"):
        Stacks(aws.account, {"network": NETWORK}).apply("network", agreed=["AWS::EC2::VPC Vpc"])


def test_a_stack_that_fails_says_what_failed_first(aws: Aws) -> None:
    aws.is_now("UPDATE_COMPLETE")
    aws.is_now("UPDATE_COMPLETE")
    aws.is_changed("UPDATE", [], TemplateBody=BODY)
    aws.is_carried_out()
    aws.is_now("UPDATE_ROLLBACK_COMPLETE")
    aws.has_events(
        ("Subnet", "CREATE_FAILED", "Resource creation cancelled"),
        ("Vpc", "CREATE_FAILED", "The limit of VPCs is reached"),
        (NAME, "UPDATE_IN_PROGRESS", "User Initiated"),
        ("Old", "CREATE_FAILED", "of last year"),
    )

    with pytest.raises(StackFailed) as failed:
        Stacks(aws.account, {"network": NETWORK}).apply("network")

    assert str(failed.value) == f"{NAME} is UPDATE_ROLLBACK_COMPLETE: Vpc: The limit of VPCs is reached"


def test_what_failed_first_is_found_behind_all_that_was_taken_back_after_it(aws: Aws) -> None:
    aws.is_now("")
    aws.is_now("")
    aws.is_changed("CREATE", [], TemplateBody=BODY)
    aws.is_carried_out()
    aws.is_now("ROLLBACK_COMPLETE")
    aws.has_events(*[(f"Subnet{n}", "DELETE_COMPLETE", "") for n in range(100)], more="2")
    aws.has_events(
        ("Vpc", "CREATE_FAILED", "The limit of VPCs is reached"), (NAME, "CREATE_IN_PROGRESS", "User Initiated"),
        page="2", more="3",
    )  # fmt: skip

    with pytest.raises(StackFailed, match=f"{NAME} is ROLLBACK_COMPLETE: Vpc: The limit of VPCs is reached"):
        Stacks(aws.account, {"network": NETWORK}).apply("network")


def test_a_deploy_that_was_cut_off_is_waited_for(aws: Aws, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cloudformation, "POLLED", 0)
    aws.is_now("UPDATE_IN_PROGRESS")
    aws.is_now("UPDATE_ROLLBACK_FAILED")

    with pytest.raises(Refused, match=f"{NAME} is UPDATE_ROLLBACK_FAILED"):
        Stacks(aws.account, {"network": NETWORK}).apply("network")


def test_a_plan_waits_too_and_says_what_for(aws: Aws, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cloudformation, "POLLED", 0)
    for status in ("CREATE_IN_PROGRESS", "ROLLBACK_IN_PROGRESS", "ROLLBACK_COMPLETE"):
        aws.is_now(status)
    heard: list[str] = []

    assert list(Stacks(aws.account, {"network": NETWORK}, report=heard.append).trouble()) == []
    assert heard == [f"{NAME} is CREATE_IN_PROGRESS"], "and then again after half a minute"


def test_whoever_plans_without_asking_first_waits_all_the_same_and_is_told(
    aws: Aws, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cloudformation, "POLLED", 0)
    for status in ("UPDATE_IN_PROGRESS", "UPDATE_ROLLBACK_FAILED"):
        aws.is_now(status)

    with pytest.raises(Refused, match=f"{NAME} is UPDATE_ROLLBACK_FAILED: .*continue its rollback"):
        Stacks(aws.account, {"network": NETWORK}).plan()


@pytest.mark.parametrize(
    ("status", "helps"),
    [
        ("UPDATE_ROLLBACK_FAILED", "continue its rollback"),
        ("ROLLBACK_FAILED", "docs/deploy.md says how it is cleared"),
    ],
)
def test_what_cloudformation_is_stuck_with_is_said_by_the_plan(aws: Aws, status: str, helps: str) -> None:
    aws.is_now(status)

    [said] = Stacks(aws.account, {"network": NETWORK}).trouble()

    assert said.startswith(f"{NAME} is {status}: ")
    assert helps in said


# --- what a stack is told --------------------------------------------------------------------------------------------
def named(what: str, **template: Any) -> Template:
    """A stack of the stage, with this in its template."""
    body = json.dumps({"Resources": {}, **template})
    return replace(NETWORK, what=what, name=f"vibecode-dev-{what}", protected=False, body=body)


def test_a_parameter_that_nobody_tells_is_named(aws: Aws) -> None:
    needs = replace(NETWORK, body='{"Parameters":{"ApiId":{"Type":"String"}},"Resources":{}}')
    aws.is_now("UPDATE_COMPLETE")
    aws.is_now("UPDATE_COMPLETE")

    with pytest.raises(Refused, match=f"{NAME} needs ApiId"):
        Stacks(aws.account, {"network": needs}).apply("network")


@pytest.mark.parametrize("needs", [
    {"Parameters": {"ApiId": {"Type": "String"}}},
    {"Resources": {"A": {"Type": "AWS::SSM::Parameter", "Properties": {"Value": {"Fn::ImportValue": "ApiId"}}}}},
])  # fmt: skip
def test_a_plan_refuses_what_only_a_later_stack_puts_out(aws: Aws, needs: dict[str, Any]) -> None:
    later = {"Outputs": {"ApiId": {"Value": "x", "Export": {"Name": "ApiId"}}}}
    both = [named("network", **needs), named("front", **later)]
    for each in both:
        aws.is_now("UPDATE_COMPLETE", each.name)

    with pytest.raises(Refused, match=f"{NAME} needs ApiId, which no stack before it puts out"):
        Stacks(aws.account, {each.what: each for each in both}).plan()


@pytest.mark.parametrize("needs", [
    {"Parameters": {"Lost": {"Type": "String"}}},
    {"Resources": {"A": {"Type": "AWS::SSM::Parameter", "Properties": {"Value": {"Fn::ImportValue": "Lost"}}}}},
])  # fmt: skip
def test_a_plan_of_a_new_stage_refuses_what_nobody_puts_out(aws: Aws, needs: dict[str, Any]) -> None:
    both = [named("network", Outputs={"Found": {"Value": "x"}}), named("data", **needs)]
    for each in both:
        aws.is_now("", each.name)

    with pytest.raises(Refused, match="vibecode-dev-data needs Lost, which no stack before it puts out"):
        Stacks(aws.account, {each.what: each for each in both}).plan()


@pytest.mark.parametrize("stage", STAGES)
def test_the_plan_of_a_new_stage_finds_all_that_its_stacks_need(aws: Aws, stage: str) -> None:
    templates = {}
    for what in dict.fromkeys((*assembly.BEFORE_ZAPPA, *assembly.AFTER_ZAPPA)):
        name = f"{STAGES[stage].prefix}-{what}"
        templates[what] = replace(NETWORK, what=what, name=name, body=(SNAPSHOTS / f"{name}.json").read_text())
        aws.is_now("", name)

    found = Stacks(aws.account, templates).plan()

    assert all(changes.new_stack for changes in found.values())


def test_what_nobody_tells_stays_as_it_was_and_only_what_is_new_has_its_default(aws: Aws) -> None:
    later = {"Type": "String", "Default": "pending.invalid"}
    front = named("network", Parameters={"ApiDomain": later, "New": later})
    was = [{"ParameterKey": "ApiDomain", "ParameterValue": "api.example"}]
    aws.is_now("UPDATE_COMPLETE")
    aws.is_now("UPDATE_COMPLETE", Parameters=was)
    told = [{"ParameterKey": "ApiDomain", "UsePreviousValue": True}]
    aws.is_changed("UPDATE", [], TemplateBody=front.body, Parameters=told)
    aws.is_carried_out()
    aws.is_now("UPDATE_COMPLETE")

    Stacks(aws.account, {"network": front}).apply("network")


def test_what_another_stack_still_takes_is_not_taken_back_in_one_release(aws: Aws) -> None:
    key, user = named("foundation"), named("network")
    aws.is_now("UPDATE_COMPLETE", key.name, Outputs=[{"OutputKey": "K", "OutputValue": "arn", "ExportName": "key"}])
    aws.is_now("UPDATE_COMPLETE")
    cloud = aws("cloudformation")
    for each, now in ((key, {}), (user, {"Resources": {"A": {"Properties": {"Key": {"Fn::ImportValue": "key"}}}}})):
        aws.is_now("UPDATE_COMPLETE", each.name)
        asked = {"StackName": each.name, "TemplateStage": "Original"}
        cloud.add_response("get_template", {"TemplateBody": json.dumps(now)}, asked)

    with pytest.raises(Refused, match=f"{key.name} no longer puts out key, which {NAME} still takes"):
        Stacks(aws.account, {"foundation": key, "network": user}).plan()


def test_outputs_of_another_region_fill_parameters_also_by_what_others_call_them(aws: Aws) -> None:
    body = json.dumps({"Parameters": {n: {"Type": "String"} for n in ("WebAclArn", "PublicDomain")}, "Resources": {}})
    edge = replace(NETWORK, what="worldwide", name="vibecode-dev-worldwide", region=EDGE_REGION)
    edge = replace(edge, body='{"Resources":{},"Outputs":{"WebAclArn":{},"PublicUrl":{}}}')
    outputs = {"WebAclArn": "arn:acl", "PublicUrl": "https://shop.example"}
    told = [{"OutputKey": key, "OutputValue": value} for key, value in outputs.items()]
    stack = {**STACK, "StackName": edge.name, "StackStatus": "UPDATE_COMPLETE", "Outputs": told}
    aws("cloudformation", EDGE_REGION).add_response("describe_stacks", {"Stacks": [stack]}, {"StackName": edge.name})
    aws.is_now("UPDATE_COMPLETE")
    aws.is_now("UPDATE_COMPLETE")
    filled = {"WebAclArn": "arn:acl", "PublicDomain": "shop.example"}
    parameters = [{"ParameterKey": key, "ParameterValue": value} for key, value in filled.items()]
    aws.is_changed("UPDATE", [], TemplateBody=body, Parameters=parameters)
    aws.is_carried_out()
    aws.is_now("UPDATE_COMPLETE")

    both = {"worldwide": edge, "network": replace(NETWORK, body=body, protected=False)}
    Stacks(aws.account, both).apply("network")


# --- the account -----------------------------------------------------------------------------------------------------
def limited(aws: Aws, code: str, service: str, value: float) -> None:
    asked = {"ServiceCode": service, "QuotaCode": code}
    aws("service-quotas").add_response("get_service_quota", {"Quota": {"Value": value}}, asked)


def test_every_limit_that_a_new_stage_would_meet_is_named(aws: Aws) -> None:
    for _ in range(2):  # whether something is wrong with it, and whether it is there
        aws.is_now("")
    limited(aws, "L-B99A9384", "lambda", 10)
    limited(aws, "L-F678F1CE", "vpc", 5)
    limited(aws, "L-0263D0A3", "ec2", 5)
    aws("ec2").add_response("describe_vpcs", {"Vpcs": [{}] * 5})
    aws("ec2").add_response("describe_addresses", {"Addresses": [{}] * 4})
    record: Any = SimpleNamespace(releases={}, current="")

    with pytest.raises(Refused) as refused:
        make_plan(Stacks(aws.account, {"network": NETWORK}), record, Release(name="r", source="s"), resumes=False)

    said = str(refused.value)
    assert "functions running at once: 0 of 10 are used, 144 more are needed; ask for L-B99A9384" in said
    assert "VPCs: 5 of 5 are used, 1 more are needed; ask for L-F678F1CE" in said
    assert "elastic" not in said


def planned(aws: Aws, stage: str = "dev", *, current: str = "", **templates: Template) -> Plan:
    """A plan for these stacks, in an account with no limit that matters, of a stage whose alarms nobody hears."""
    limited(aws, "L-B99A9384", "lambda", 1000)
    account = Account(replace(STAGES[stage], alarms_to=""), aws.make)
    record: Any = SimpleNamespace(releases={}, current=current)
    return make_plan(Stacks(account, templates), record, Release(name="r", source="s"), resumes=False)


def test_a_plan_says_what_each_service_will_cost_a_month(aws: Aws) -> None:
    before = {"Resources": {"Nat": {"Type": "AWS::EC2::NatGateway", "Properties": {}}}}
    body = json.dumps(
        before | {"Resources": before["Resources"] | {"Key": {"Type": "AWS::KMS::Key", "Properties": {}}}}
    )
    for _ in range(3):  # whether something is wrong with it, whether it is there, and what of it changes
        aws.is_now("UPDATE_COMPLETE")
    aws.is_changed("UPDATE", [], TemplateBody=body)
    aws("cloudformation").add_response("delete_change_set", {}, {"StackName": NAME, "ChangeSetName": ARN})
    aws.is_now("UPDATE_COMPLETE")
    asked = {"StackName": NAME, "TemplateStage": "Original"}
    aws("cloudformation").add_response("get_template", {"TemplateBody": json.dumps(before)}, asked)

    money = planned(aws, network=replace(NETWORK, body=body)).money

    assert [(each.service, each.before, each.after) for each in money.changes] == [("KMS", Decimal(0), Decimal(1))]
    assert str(money).endswith("USD a month, +1.00")


def test_all_of_a_stage_that_is_new_is_a_change_of_the_bill(aws: Aws) -> None:
    key = named("foundation", Resources={"Key": {"Type": "AWS::KMS::Key", "Properties": {}}})
    for _ in range(3):
        aws.is_now("", key.name)

    money = planned(aws, foundation=key).money

    assert sum(each.after - each.before for each in money.changes) == money.monthly > 0


def test_where_nobody_hears_the_alarms_staging_is_warned_and_production_refused(aws: Aws) -> None:
    assert [said for said in planned(aws, "staging").warnings if "alarms_to" in said]
    assert not planned(aws, "dev").warnings

    with pytest.raises(Refused, match="production is not ready:\n  nobody hears the alarms"):
        planned(aws, "production")


@pytest.mark.parametrize(
    ("told", "warned", "unknown"),
    [({"Aurora": True}, 0, 0), ({"Aurora": False}, 1, 0), ({"DynamoDB": True}, 1, 0), (None, 0, 1)],
)
def test_an_account_in_which_aws_backup_leaves_aurora_out_is_told_so_with_the_command(
    aws: Aws, told: dict[str, bool] | None, warned: int, unknown: int
) -> None:
    kept = named("data", Resources={"Kept": {"Type": "AWS::Backup::BackupSelection", "Properties": {}}})
    for _ in range(3):
        aws.is_now("", kept.name)
    backup = aws("backup")
    if told is None:
        backup.add_client_error("describe_region_settings", "AccessDeniedException")
    else:
        backup.add_response("describe_region_settings", {"ResourceTypeOptInPreference": told})

    found = planned(aws, data=kept)

    command = "aws backup update-region-settings --region eu-north-1 --resource-type-opt-in-preference Aurora=true"
    assert [command in said for said in found.warnings] == [True] * warned
    assert [said for said in found.unknown if "AWS Backup" in said] == list(found.unknown)
    assert len(found.unknown) == unknown


def test_a_release_whose_api_is_gone_is_not_led_to_another_by_the_way(aws: Aws) -> None:
    asked = {"FunctionName": "vibecode-dev"}
    aws("lambda").add_response("get_function_configuration", {}, asked)
    aws("lambda").add_client_error("get_function_configuration", "ResourceNotFoundException", expected_params=asked)

    with pytest.raises(Refused, match="the API of the function vibecode-dev is gone"):
        planned(aws, current="one")
    planned(aws, current="one")  # Zappa makes both anew


def test_the_roles_are_made_by_the_masters_secret_statement_by_statement_also_of_a_cluster_that_sleeps(
    aws: Aws, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("infrastructure.deploying.database.PAUSE", 0)
    cluster, secret = (
        f"arn:aws:rds:{REGION}:{NUMBER}:cluster:vibecode-dev-database",
        f"arn:aws:secretsmanager:{REGION}:1:x",
    )
    found = {"DBClusterArn": cluster, "MasterUserSecret": {"SecretArn": secret}}
    asked = {"DBClusterIdentifier": "vibecode-dev-database"}
    aws("rds").add_response("describe_db_clusters", {"DBClusters": [found]}, asked)
    said = [{"resourceArn": cluster, "secretArn": secret, "database": "vibecode", "sql": sql} for sql in statements()]
    data = aws("rds-data")
    data.add_client_error("execute_statement", "DatabaseResumingException", expected_params=said[0])
    for expected in said:
        data.add_response("execute_statement", {"numberOfRecordsUpdated": 0}, expected)

    assert make_roles(aws.account) == f"{len(said)} statements"


def settings_of(aws: Aws, **known: str) -> tuple[dict[str, Any], str]:
    """A stage's secret with what it holds, and the document that names it; the pool's client has another secret."""
    arn = f"arn:aws:secretsmanager:{REGION}:{NUMBER}:secret:vibecode-dev/settings-AbCdEf"
    aws("secretsmanager").add_response("get_secret_value", {"SecretString": json.dumps(known)}, {"SecretId": arn})
    aws("cognito-idp").add_response(
        "describe_user_pool_client",
        {"UserPoolClient": {"ClientSecret": "made and kept by Cognito"}},
        {"UserPoolId": "pool_1", "ClientId": "desk"},
    )
    told = {"SECRETS_ARN": arn, "COGNITO_USER_POOL_ID": "pool_1", "OIDC_CLIENT_ID": "desk"}
    return {"environment": told | {"PUBLIC_URL": "https://shop.example"}}, arn


def test_the_desks_client_secret_goes_from_cognito_to_the_stages_own(aws: Aws) -> None:
    known = {"SECRET_KEY": "k", "STRIPE_API_KEY": "sk", "STRIPE_WEBHOOK_SECRET": "wh"}
    document, arn = settings_of(aws, **known)
    whole = json.dumps({**known, "OIDC_CLIENT_SECRET": "made and kept by Cognito"})
    aws("secretsmanager").add_response("put_secret_value", {}, {"SecretId": arn, "SecretString": whole})

    assert "made and kept by Cognito" not in complete_settings(aws.account, document)


def test_without_stripes_keys_nothing_goes_on(aws: Aws) -> None:
    document, _ = settings_of(aws, OIDC_CLIENT_SECRET="made and kept by Cognito", STRIPE_API_KEY="sk")

    with pytest.raises(Refused, match=r"lacks STRIPE_WEBHOOK_SECRET: .*https://shop.example/api/v1/payments"):
        complete_settings(aws.account, document)


@pytest.mark.parametrize(("switched", "said"), [(False, "old"), (True, "new")])
def test_a_new_origin_secret_is_known_to_the_functions_before_cloudfront_says_it(
    aws: Aws, switched: bool, said: str
) -> None:
    manager, name = aws("secretsmanager"), "vibecode-dev/origin"
    manager.add_response("get_secret_value", {"VersionId": "new" * 11, "SecretString": "2"}, {"SecretId": name})
    old = {"SecretId": name, "VersionId": "old" * 11}
    manager.add_response("get_secret_value", {"VersionId": "old" * 11, "SecretString": "1"}, old)

    digests = [hashlib.sha256(value.encode()).hexdigest() for value in ("2", "1")]

    told = origin_parameters(aws.account, "old" * 11, ",".join(digests) if switched else digests[1], switched=switched)

    assert told == {"OriginSecretSha256": ",".join(digests), "OriginVersion": said * 11}


def test_an_origin_secret_that_changes_after_the_functions_were_told_waits_for_the_next_deploy(aws: Aws) -> None:
    manager, name = aws("secretsmanager"), "vibecode-dev/origin"
    manager.add_response("get_secret_value", {"VersionId": "new" * 11, "SecretString": "2"}, {"SecretId": name})
    old = {"SecretId": name, "VersionId": "old" * 11}
    manager.add_response("get_secret_value", {"VersionId": "old" * 11, "SecretString": "1"}, old)

    told = origin_parameters(aws.account, "old" * 11, hashlib.sha256(b"1").hexdigest(), switched=True)

    assert told["OriginVersion"] == "old" * 11


@pytest.mark.parametrize(("switched", "said"), [(False, "old"), (True, "new")])
def test_an_origin_secret_that_is_gone_is_known_to_the_functions_still(aws: Aws, switched: bool, said: str) -> None:
    manager, name = aws("secretsmanager"), "vibecode-dev/origin"
    manager.add_response("get_secret_value", {"VersionId": "new" * 11, "SecretString": "3"}, {"SecretId": name})
    gone = {"SecretId": name, "VersionId": "old" * 11}
    manager.add_client_error("get_secret_value", "ResourceNotFoundException", expected_params=gone)
    third, second, first = (hashlib.sha256(value.encode()).hexdigest() for value in ("3", "2", "1"))
    known = f"{third},{second},{first}" if switched else f"{second},{first}"

    told = origin_parameters(aws.account, "old" * 11, known, switched=switched)

    assert told == {"OriginSecretSha256": f"{third},{second},{first}", "OriginVersion": said * 11}


def test_where_there_is_no_origin_secret_yet_nothing_is_told_of_it(aws: Aws) -> None:
    aws("secretsmanager").add_client_error("get_secret_value", "ResourceNotFoundException")

    assert origin_parameters(aws.account, "", "", switched=False) == {}


# --- the sender ------------------------------------------------------------------------------------------------------
@pytest.fixture
def domain(aws: Aws, monkeypatch: pytest.MonkeyPatch) -> Account:
    """A stage with a domain."""
    monkeypatch.setattr(waiting, "PAUSE", 0)
    monkeypatch.setattr(sender, "SAID", 0)
    return Account(replace(STAGES["dev"], domain="shop.example", hosted_zone="Z1"), aws.make)


def is_known_to_ses(aws: Aws, *statuses: str) -> None:
    for status in statuses:
        about = {"VerifiedForSendingStatus": status == "SUCCESS", "VerificationStatus": status}
        aws("sesv2").add_response("get_email_identity", about, {"EmailIdentity": "shop.example"})


def test_the_pool_waits_until_ses_has_verified_the_domain(aws: Aws, domain: Account) -> None:
    is_known_to_ses(aws, "NOT_STARTED", "PENDING", "TEMPORARY_FAILURE", "SUCCESS")
    heard: list[str] = []

    assert wait_for_sender(domain, Turn(), heard.append) == "shop.example is verified"

    assert [each.partition(",")[0] for each in heard] == [
        f"SES looks for the records of shop.example: {status}"
        for status in ("NOT_STARTED", "PENDING", "TEMPORARY_FAILURE")
    ]


@pytest.mark.parametrize("status", ["FAILED", "PENDING"])
def test_a_domain_that_ses_does_not_verify_is_named_with_what_helps(
    aws: Aws, domain: Account, monkeypatch: pytest.MonkeyPatch, status: str
) -> None:
    if status == "PENDING":
        monkeypatch.setattr(sender, "WAITED", 0)
    is_known_to_ses(aws, status)

    with pytest.raises(Refused, match=rf"not verified shop\.example \({status}.*its zone Z1.*dig \+short NS"):
        wait_for_sender(domain, Turn(), lambda _: None)


def test_who_lost_the_stage_waits_for_no_domain_more(aws: Aws, domain: Account) -> None:
    is_known_to_ses(aws, "PENDING")

    with pytest.raises(Lost):
        wait_for_sender(domain, Turn(lambda: False), lambda _: None)


def test_the_domain_is_waited_for_between_its_records_and_the_pool_where_there_is_one(
    aws: Aws, domain: Account
) -> None:
    def order(account: Account) -> list[str]:
        templates = {what: replace(NETWORK, what=what) for what in ("messaging", "identity")}
        record: Any = SimpleNamespace(attempt=Attempt(kind="deploy", release=Release(name="new", source="1")))
        there = Functions(account, Turn())
        tools = Tools(
            stacks=Stacks(account, templates),
            functions=there,
            operations=Operations(there),
            bucket=Bucket(account),
            record=record,
        )
        return [step.name for step in Deploy(tools, None).steps()]

    assert order(domain)[:3] == ["stack messaging", "sender", "stack identity"]
    assert "sender" not in order(aws.account)


# --- operations ------------------------------------------------------------------------------------------------------
class Clock:
    """Time that passes only while somebody waits."""

    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        """Seconds."""
        return self.now

    def sleep(self, seconds: float) -> None:
        """They pass."""
        self.now += seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The one by which functions are waited for."""
    made = Clock()
    for module in (operations, waiting):
        monkeypatch.setattr(module, "time", made)
    return made


@pytest.fixture
def answers(aws: Aws, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Let the worker answer an operation."""
    monkeypatch.setattr(waiting, "PAUSE", 0)

    def answer(
        operation: str, payload: dict[str, Any], *, failed: bool = False, of: str = "worker", **arguments: Any
    ) -> None:
        asked = json.dumps({"operation": operation, "arguments": arguments})
        answered = {"Payload": SimpleNamespace(read=lambda: json.dumps(payload).encode())}
        aws("lambda").add_response(
            "invoke",
            answered | ({"FunctionError": "Unhandled"} if failed else {}),
            {"FunctionName": f"vibecode-dev-{of}", "Payload": asked},
        )

    return answer


def asked_of(aws: Aws, is_ours: Callable[[], bool] = lambda: True, **more: Any) -> Operations:
    """The worker, as it is asked for operations."""
    return Operations(Functions(aws.account, Turn(is_ours)), **more)


@contextmanager
def beside(self: Functions, which: str, package: str) -> Iterator[str]:
    """The function beside the worker, where it is not what is looked at."""
    assert (which, package) == ("worker", "releases/new.zip")
    yield "vibecode-dev-next"


def test_migrations_are_called_until_nothing_is_left_and_again_while_the_database_is_busy(
    aws: Aws, answers: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Functions, "beside", beside)
    answers("migrate", {"errorType": "Busy", "errorMessage": "Others"}, failed=True, of="next")
    answers("migrate", {"applied": ["orders.0001"], "left": ["orders.0002"]}, of="next")
    answers("migrate", {"errorMessage": "2026-11-26 Task timed out after 120.00 seconds"}, failed=True, of="next")
    answers("migrate", {"errorType": "MigrationsRun", "errorMessage": "A build"}, failed=True, of="next")
    answers("migrate", {"applied": ["orders.0002"], "left": []}, of="next")

    told: list[Sequence[str]] = []

    asked_of(aws).migrate("releases/new.zip", told.append)

    assert told == [["orders.0001"], ["orders.0002"]], "each as soon as it is applied"


def test_an_index_that_is_built_for_long_is_waited_for_and_told_of(
    aws: Aws, answers: Callable[..., None], clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(waiting, "PAUSE", 5)
    told: list[str] = []
    for _ in range(40 * 60 // 5):
        answers("migrate", {"errorType": "MigrationsRun", "errorMessage": "A build"}, failed=True)
    answers("migrate", {"applied": [], "left": []})

    answer = asked_of(aws, report=told.append).operate("migrate")

    assert answer == {"applied": [], "left": []}
    assert clock.now == 40 * 60
    assert told[-1] == "  migrate, since 39 min: MigrationsRun: A build"
    assert len(told) == 39


@pytest.mark.parametrize(("said", "seconds"), [("MigrationsRun", 3600), ("Busy", 300), ("DatabaseAway", 300)])
def test_what_never_comes_is_not_waited_for_for_ever(
    aws: Aws, answers: Callable[..., None], clock: Clock, monkeypatch: pytest.MonkeyPatch, said: str, seconds: int
) -> None:
    monkeypatch.setattr(waiting, "PAUSE", 20)
    for _ in range(seconds // 20 + 1):
        answers("migrate", {"errorType": said, "errorMessage": "still"}, failed=True)

    with pytest.raises(WentWrong, match=f"migrate: {said}: still"):
        asked_of(aws).operate("migrate")
    assert clock.now == seconds


def test_an_operation_that_fails_for_good_is_not_asked_again(aws: Aws, answers: Callable[..., None]) -> None:
    answers("migrate", {"errorType": "TrailOpen", "errorMessage": "REVOKE it"}, failed=True)

    with pytest.raises(WentWrong, match="migrate: TrailOpen: REVOKE it"):
        asked_of(aws).operate("migrate")


def test_who_lost_the_stage_asks_for_no_operation_more(aws: Aws, answers: Callable[..., None]) -> None:
    ours = iter([True, False])
    answers("migrate", {"errorType": "Busy", "errorMessage": "Others"}, failed=True)

    with pytest.raises(Lost):
        asked_of(aws, lambda: next(ours)).operate("migrate")


# --- functions -------------------------------------------------------------------------------------------------------
def is_there(aws: Aws, name: str, *states: dict[str, str]) -> None:
    """A function, each time that it is asked for."""
    for state in states:
        aws("lambda").add_response("get_function_configuration", state, {"FunctionName": name})


@pytest.fixture
def commands(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, ...]]:
    """What Zappa was told."""
    monkeypatch.setattr(waiting, "PAUSE", 0)
    told: list[tuple[str, ...]] = []
    monkeypatch.setattr(Zappa, "run", lambda _, *words: told.append(words))
    return told


def test_what_an_update_left_unfinished_is_waited_for(aws: Aws, commands: list[tuple[str, ...]]) -> None:
    unfinished = {"State": "Active", "LastUpdateStatus": "InProgress"}
    slept = {"State": "Inactive", "LastUpdateStatus": "Successful"}  # for weeks: it is no reason to wait
    is_there(aws, "vibecode-dev-worker", {"State": "Pending"}, unfinished, slept)
    is_there(aws, "vibecode-dev-worker", unfinished, slept)  # of what Zappa has told it

    assert Functions(aws.account, Turn()).put("worker", "releases/x.zip") == "zappa update"

    archive = f"s3://vibecode-dev-packages-{NUMBER}/releases/x.zip"
    assert commands == [("update", "dev-worker", "--zip", archive)]


def test_a_function_that_could_not_be_made_is_named(aws: Aws, commands: list[tuple[str, ...]]) -> None:
    is_there(aws, "vibecode-dev-worker", {"State": "Failed", "StateReason": "No subnet has an address left"})

    with pytest.raises(WentWrong, match="vibecode-dev-worker could not be made: No subnet has an address left"):
        Functions(aws.account, Turn()).put("worker", "releases/x.zip")
    assert commands == []


def test_settings_that_lambda_does_not_take_are_no_success_and_what_failed_before_is_no_hindrance(
    aws: Aws, commands: list[tuple[str, ...]]
) -> None:
    failed = {
        "State": "Active",
        "LastUpdateStatus": "Failed",
        "LastUpdateStatusReason": "No subnet has an address left",
    }
    fine = {"State": "Active", "LastUpdateStatus": "Successful"}
    is_there(aws, "vibecode-dev-worker", fine, {"State": "Active", "LastUpdateStatus": "InProgress"}, failed)
    is_there(aws, "vibecode-dev-worker", failed, fine)

    with pytest.raises(WentWrong, match="vibecode-dev-worker could not be given its settings: No subnet has an"):
        Functions(aws.account, Turn()).put("worker", "releases/x.zip")
    Functions(aws.account, Turn()).put("worker", "releases/x.zip")

    assert len(commands) == 2


def has_api(aws: Aws, *statuses: str, api: str = "") -> None:
    """The web function, Zappa's stack as it comes to this status, and the API, where there is one of its name."""
    is_there(aws, "vibecode-dev", {"State": "Active"})
    for status in statuses:
        aws.is_now(status, "vibecode-dev")
    found = [{"id": "1", "name": "another"}, *([{"id": api, "name": "vibecode-dev"}] if api else [])]
    aws("apigateway").add_response("get_rest_apis", {"items": found}, {})


@pytest.mark.parametrize("status", ["", "ROLLBACK_COMPLETE", "CREATE_FAILED"])
def test_a_web_function_without_an_api_makes_way_in_a_first_deploy_with_what_is_left_of_its_stack(
    aws: Aws, commands: list[tuple[str, ...]], status: str
) -> None:
    if status:
        has_api(aws, "ROLLBACK_IN_PROGRESS", status)
        aws("cloudformation").add_response("delete_stack", {}, {"StackName": "vibecode-dev"})
        aws.is_now("DELETE_IN_PROGRESS", "vibecode-dev")
        aws.is_now("", "vibecode-dev")
    else:
        has_api(aws, "")
    aws("lambda").add_response("delete_function", {}, {"FunctionName": "vibecode-dev"})
    is_there(aws, "vibecode-dev", {"State": "Active"})

    assert Functions(aws.account, Turn()).put("web", "releases/x.zip", first=True) == "zappa deploy"


@pytest.mark.parametrize("status", ["", "ROLLBACK_COMPLETE"])
def test_a_later_deploy_deletes_nothing_of_the_sort_and_says_what_helps(
    aws: Aws, commands: list[tuple[str, ...]], status: str
) -> None:
    has_api(aws, status)

    with pytest.raises(Refused, match=r"No API .* is there.*delete-stack .*aws lambda delete-function"):
        Functions(aws.account, Turn()).put("web", "releases/x.zip")
    assert commands == []


@pytest.fixture
def endless(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path]:
    """A `zappa` that never ends: it says by a file when it has begun, and by another when it was told to end."""
    begun, ended = tmp_path / "begun", tmp_path / "ended"
    script = f"#!/bin/sh\ntrap 'touch {ended}; exit' TERM\necho Waiting\ntouch {begun}\nsleep 60 & wait\n"
    (tmp_path / "zappa").write_text(script)
    (tmp_path / "zappa").chmod(0o755)
    monkeypatch.setattr(zappa, "sys", SimpleNamespace(executable=str(tmp_path / "python")))
    monkeypatch.setattr(zappa, "LOOKED", 0.05)
    monkeypatch.setattr(Zappa, "settings", lambda _: {})
    return begun, ended


def test_zappa_is_ended_when_the_stage_is_no_longer_ours(aws: Aws, endless: tuple[Path, Path]) -> None:
    begun, ended = endless

    with pytest.raises(Lost):
        Zappa(aws.account, Turn(lambda: not begun.exists())).run("update", "dev")

    assert ended.exists()


def test_zappa_is_ended_when_it_waits_for_what_never_comes_and_its_stack_says_why(
    aws: Aws, endless: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, ended = endless
    now = iter([0.0, 0.0])  # when it begins; then time passes when it has begun
    monkeypatch.setattr(
        zappa, "time", SimpleNamespace(monotonic=lambda: next(now, zappa.ENDED * float(begun.exists())))
    )
    has_api(aws, "UPDATE_COMPLETE", api="id")
    aws.is_now("UPDATE_ROLLBACK_COMPLETE", "vibecode-dev")
    why = ("Method", "UPDATE_FAILED", "Too many requests")
    aws.has_events(why, ("vibecode-dev", "UPDATE_IN_PROGRESS", "User Initiated"), of="vibecode-dev")

    said = (
        r"update dev has not ended within 1800 s:\nWaiting\n+vibecode-dev is UPDATE_ROLLBACK_COMPLETE: Method: Too many"
    )
    with pytest.raises(WentWrong, match=said):
        Functions(aws.account, Turn()).put("web", "releases/x.zip")

    assert ended.exists()


def test_a_function_beside_that_a_run_left_goes_first_and_a_role_that_is_new_is_waited_for(
    aws: Aws, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(waiting, "PAUSE", 0)
    monkeypatch.setattr(functions, "configuration", lambda _: {"Role": "arn:aws:iam::1:role/worker"})
    monkeypatch.setattr(Zappa, "settings", lambda _: {"dev-worker": {}})
    name = {"FunctionName": "vibecode-dev-next"}
    made = {
        **name,
        "Code": {"S3Bucket": f"vibecode-dev-packages-{NUMBER}", "S3Key": "releases/x.zip"},
        "LoggingConfig": {"LogGroup": "/aws/lambda/vibecode-dev-worker"},
        "Role": "arn:aws:iam::1:role/worker",
    }
    cloud = aws("lambda")
    cloud.add_response("delete_function", {}, name)
    cloud.add_client_error("create_function", "ResourceConflictException", expected_params=made)
    cloud.add_response("delete_function", {}, name)
    cloud.add_client_error(
        "create_function",
        "InvalidParameterValueException",
        "The role defined for the function cannot be assumed by Lambda.",
        expected_params=made,
    )
    cloud.add_client_error("delete_function", "ResourceNotFoundException", expected_params=name)
    cloud.add_response("create_function", {}, made)
    is_there(aws, "vibecode-dev-next", {"State": "Pending"}, {"State": "Active"})
    cloud.add_client_error("delete_function", "ResourceNotFoundException", expected_params=name)

    with Functions(aws.account, Turn()).beside("worker", "releases/x.zip") as beside:
        assert beside == "vibecode-dev-next"


def test_the_function_beside_of_whoever_deploys_now_is_not_deleted(aws: Aws, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(functions, "configuration", lambda _: {"Role": "arn:aws:iam::1:role/worker"})
    monkeypatch.setattr(Zappa, "settings", lambda _: {"dev-worker": {}})
    ours = [True]
    aws("lambda").add_response("delete_function", {})
    aws("lambda").add_response("create_function", {})
    is_there(aws, "vibecode-dev-next", {"State": "Active"})

    with Functions(aws.account, Turn(lambda: ours[0])).beside("worker", "releases/x.zip"):
        ours[0] = False


def test_a_function_that_somebody_else_has_given_another_package_is_noticed(aws: Aws) -> None:
    mine, theirs = (base64.b64encode(hashlib.sha256(each).digest()).decode() for each in (b"mine", b"theirs"))
    for name, digest in (("vibecode-dev", mine), ("vibecode-dev-worker", theirs)):
        aws("lambda").add_response("get_function_configuration", {"CodeSha256": digest}, {"FunctionName": name})

    with pytest.raises(WentWrong, match="vibecode-dev-worker has another package than this release"):
        Functions(aws.account, Turn()).check_code(hashlib.sha256(b"mine").hexdigest())


def test_figures_are_counted_call_by_call(aws: Aws, answers: Callable[..., None]) -> None:
    answers("rebuild-figures", {"done": False, "goOnAfter": 7, "goOnFrom": "2026-11-01"})
    answers("rebuild-figures", {"done": True}, after=7, day="2026-11-01")

    asked_of(aws).rebuild_figures()


# --- containers ------------------------------------------------------------------------------------------------------
RUNTIME = {"StackName": "vibecode-dev-runtime"}


@pytest.fixture
def batch(aws: Aws) -> Account:
    """A stage with what runs long, which runs the image `old`."""
    return Account(replace(STAGES["dev"], batch=True), aws.make)


def has_image(aws: Aws, tag: str, missing: str = "") -> None:
    asked = {"repositoryName": "vibecode-dev", "imageIds": [{"imageTag": tag}]}
    if missing:
        aws("ecr").add_client_error("describe_images", missing, expected_params=asked)
    else:
        aws("ecr").add_response("describe_images", {"imageDetails": [{}]}, asked)


def runs_image(aws: Aws, tag: str, status: str = "UPDATE_COMPLETE") -> None:
    told = {"OriginSecretSha256": "0" * 64, "ImageTag": tag}
    parameters = [{"ParameterKey": key, "ParameterValue": value} for key, value in told.items()]
    stack = {**RUNTIME, "CreationTime": NOW, "StackStatus": status, "Parameters": parameters}
    aws("cloudformation").add_response("describe_stacks", {"Stacks": [stack]}, RUNTIME)


def test_an_image_that_was_not_pushed_is_asked_for_before_anything_is_done(aws: Aws, batch: Account) -> None:
    has_image(aws, "new", "ImageNotFoundException")
    has_image(aws, "new", "RepositoryNotFoundException")
    has_image(aws, "new", "RepositoryNotFoundException")

    (said,) = missing(batch, "new")
    assert f"docker push {NUMBER}.dkr.ecr.{REGION}.amazonaws.com/vibecode-dev:new" in said
    assert list(missing(batch, "new")) == [], "the stack that makes the repository comes first"
    assert list(missing(aws.account, "new")) == [], "no containers, no image"
    with pytest.raises(Refused, match="has no image new"):
        look_for(batch, "new")


def is_told(aws: Aws, tag: str, *statuses: str) -> None:
    """The stack is told another image, and then is this."""
    cloud, asked = aws("cloudformation"), {**RUNTIME, "ChangeSetName": ARN}
    parameters = [
        {"ParameterKey": "OriginSecretSha256", "UsePreviousValue": True},
        {"ParameterKey": "ImageTag", "ParameterValue": tag},
    ]
    told = {"ChangeSetType": "UPDATE", "UsePreviousTemplate": True, "Parameters": parameters}
    made = {**RUNTIME, "ChangeSetName": ANY, "Capabilities": ["CAPABILITY_NAMED_IAM"], **told}
    cloud.add_response("create_change_set", {"Id": ARN}, made)
    for status in ("CREATE_PENDING", "CREATE_COMPLETE", "CREATE_COMPLETE"):
        cloud.add_response("describe_change_set", {"Status": status}, asked)
    cloud.add_response("execute_change_set", {}, {**asked, "RetainExceptOnCreate": True})
    for status in statuses:
        runs_image(aws, tag, status)


def test_containers_are_told_the_image_and_all_else_stays(
    aws: Aws, batch: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cloudformation, "POLLED", 0)
    has_image(aws, "new")
    runs_image(aws, "old", "UPDATE_IN_PROGRESS")  # a run that was cut off
    runs_image(aws, "old")
    is_told(aws, "new", "UPDATE_IN_PROGRESS", "UPDATE_COMPLETE")
    heard: list[str] = []

    assert run_image(batch, "new", heard.append) == "new"
    assert heard == ["vibecode-dev-runtime is UPDATE_IN_PROGRESS"] * 2


def test_containers_that_do_not_start_say_why(aws: Aws, batch: Account) -> None:
    has_image(aws, "new")
    runs_image(aws, "old")
    is_told(aws, "new", "UPDATE_ROLLBACK_COMPLETE")
    service = ("Service", "UPDATE_FAILED", "CannotPullContainerError")
    aws.has_events(service, (RUNTIME["StackName"], "UPDATE_IN_PROGRESS", "User Initiated"), of=RUNTIME["StackName"])

    with pytest.raises(StackFailed, match="runtime is UPDATE_ROLLBACK_COMPLETE: Service: CannotPullContainerError"):
        run_image(batch, "new", print)


def test_containers_that_run_it_or_cannot_are_left_alone(aws: Aws, batch: Account) -> None:
    has_image(aws, "old")
    runs_image(aws, "old")
    has_image(aws, "older", "ImageNotFoundException")
    has_image(aws, "first")
    aws.is_now("UPDATE_COMPLETE", RUNTIME["StackName"])  # where they were switched on, and no stack was told so yet

    assert run_image(batch, "old", print) == "as they were"
    assert run_image(batch, "older", print) == "as they are: there is no image older"
    assert run_image(batch, "first", print) == "as they were"


def test_containers_have_the_release_when_its_schema_is_there_and_go_back_with_the_worker(
    aws: Aws, batch: Account
) -> None:
    runtime = replace(NETWORK, what="runtime", name=RUNTIME["StackName"])
    before, now = Release(name="old", source="1"), Release(name="new", source="2")
    record: Any = SimpleNamespace(attempt=Attempt(kind="deploy", release=now))
    there = Functions(batch, Turn())
    tools = Tools(
        stacks=Stacks(batch, {"runtime": runtime}),
        functions=there,
        operations=Operations(there),
        bucket=Bucket(batch),
        record=record,
    )
    runs_image(aws, "old")  # whose stack says which origin secrets its functions know
    aws("apigateway").add_response("get_rest_apis", {"items": []}, {})
    aws("secretsmanager").add_client_error("get_secret_value", "ResourceNotFoundException")

    assert "ImageTag" not in told(tools.stacks, tools.functions, switched=False), "until then they run what they do"
    steps = Deploy(tools, before).steps()
    assert not any(step.done() for step in steps if step.name.startswith("stack ")), "they may be told something else"
    order = [step.name for step in steps]
    assert order.index("image") < order.index("migrations") < order.index("containers") < order.index("worker")
    back = {step.name: step for step in roll_back(tools, now, before)}
    assert next(iter(back)) == "nothing beside", "where nothing is switched that its failure could take back"
    for step, wanted in ((back["containers"].do, "old"), (back["containers"].undo, "new")):
        has_image(aws, wanted)
        runs_image(aws, wanted)
        assert step
        assert step() == "as they were"


# --- the assembly ----------------------------------------------------------------------------------------------------
def test_a_stack_without_a_place_in_the_order_is_refused(tmp_path: Path) -> None:
    (tmp_path / "assembly-dev").mkdir()
    artifact = {
        "type": "aws:cloudformation:stack",
        "environment": f"aws://unknown-account/{REGION}",
        "properties": {"stackName": "vibecode-dev-somewhere", "templateFile": "x.json"},
    }
    (tmp_path / "assembly-dev" / "manifest.json").write_text(json.dumps({"artifacts": {"x": artifact}}))
    (tmp_path / "assembly-dev" / "x.json").write_text("{}")

    with pytest.raises(Refused, match="vibecode-dev-somewhere has no place in the order"):
        assembly.read(tmp_path, "dev", "vibecode-dev")
