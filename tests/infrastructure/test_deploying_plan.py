"""What is looked at before a deploy: quotas, money, alarms, backups, the API. Exact calls, by stubbed_aws.py."""

import json
from dataclasses import replace
from decimal import Decimal
from types import SimpleNamespace
from typing import Any

import pytest

from infrastructure.config import STAGES
from infrastructure.deploying.account import Account, Refused
from infrastructure.deploying.assembly import Template
from infrastructure.deploying.plan import Plan, make_plan
from infrastructure.deploying.record import Release
from infrastructure.deploying.stacks import Stacks
from tests.infrastructure.stubbed_aws import ARN, NAME, NETWORK, Aws, named


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
