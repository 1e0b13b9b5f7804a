"""What a plan waits for and refuses, and what stacks are told by each other. Exact calls, by stubbed_aws.py."""

import json
from dataclasses import replace
from typing import Any

import pytest

from infrastructure.config import EDGE_REGION, STAGES
from infrastructure.deploying import assembly, waiting
from infrastructure.deploying.account import Refused
from infrastructure.deploying.stacks import Stacks
from infrastructure.judging import SNAPSHOTS
from tests.infrastructure.stubbed_aws import ARN, BODY, NAME, NETWORK, STACK, Aws, change, named


def test_what_the_plan_did_not_show_is_not_lost(aws: Aws) -> None:
    aws.is_now("UPDATE_COMPLETE")
    aws.is_now("UPDATE_COMPLETE")
    aws.is_changed("UPDATE", [change("Remove", "AWS::RDS::DBCluster", "Cluster")], TemplateBody=BODY)
    asked = {"StackName": NAME, "ChangeSetName": ARN}
    aws("cloudformation").add_response("delete_change_set", {}, asked)

    with pytest.raises(Refused, match="would lose what the plan did not show: AWS::RDS::DBCluster Cluster"):
        Stacks(aws.account, {"network": NETWORK}).apply("network", agreed=["AWS::EC2::VPC Vpc"])


def test_a_plan_waits_too_and_says_what_for(aws: Aws, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiting, "PAUSE", 0)
    for status in ("CREATE_IN_PROGRESS", "ROLLBACK_IN_PROGRESS", "ROLLBACK_COMPLETE"):
        aws.is_now(status)
    heard: list[str] = []

    assert list(Stacks(aws.account, {"network": NETWORK}, report=heard.append).trouble()) == []
    assert heard == [f"{NAME} is CREATE_IN_PROGRESS"], "and then again after half a minute"


def test_whoever_plans_without_asking_first_waits_all_the_same_and_is_told(
    aws: Aws, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(waiting, "PAUSE", 0)
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
