"""One stack at CloudFormation: made, changed, waited for, and what failed first. Exact calls, by stubbed_aws.py."""

import hashlib
import json
from dataclasses import replace

import pytest

from infrastructure.config import REGION
from infrastructure.deploying import cloudformation, waiting
from infrastructure.deploying.account import Refused
from infrastructure.deploying.cloudformation import StackFailed
from infrastructure.deploying.record import Lost
from infrastructure.deploying.stacks import Stacks
from infrastructure.deploying.waiting import Turn
from tests.infrastructure.stubbed_aws import ARN, BODY, NAME, NETWORK, NUMBER, Aws


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


def test_a_first_creation_of_which_nothing_was_made_goes_on_without_being_deleted(aws: Aws) -> None:
    aws.is_now("REVIEW_IN_PROGRESS")
    aws.is_now("REVIEW_IN_PROGRESS")
    aws.is_changed("CREATE", [], TemplateBody=BODY)
    aws.is_carried_out()
    aws.is_now("CREATE_COMPLETE")

    Stacks(aws.account, {"network": replace(NETWORK, protected=False)}).apply("network")


def test_a_change_set_that_cloudformation_refuses_stays_and_its_events_are_named(aws: Aws) -> None:
    aws.is_now("UPDATE_COMPLETE")
    aws.is_now("UPDATE_COMPLETE")
    aws.is_changed("UPDATE", None, status="FAILED", reason="A resource is invalid.", TemplateBody=BODY)

    with pytest.raises(StackFailed) as failed:
        Stacks(aws.account, {"network": NETWORK}).apply("network")

    assert str(failed.value).startswith(f"{NAME} cannot be changed: A resource is invalid. More of it")
    assert str(failed.value).endswith(f"aws cloudformation describe-events --region {REGION} --change-set-name {ARN}")


def test_who_lost_the_stage_carries_out_nothing_that_was_prepared(aws: Aws, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiting, "PAUSE", 0)
    ours = iter([True, True, False])  # while it waits for what is in progress, and when it prepares its own
    aws.is_now("UPDATE_IN_PROGRESS")
    aws.is_now("UPDATE_COMPLETE")
    aws.is_now("UPDATE_COMPLETE")
    aws.is_changed("UPDATE", [], TemplateBody=BODY)

    with pytest.raises(Lost):
        Stacks(aws.account, {"network": NETWORK}, turn=Turn(lambda: next(ours))).apply("network")


def test_who_lost_the_stage_deletes_nothing(aws: Aws) -> None:
    aws.is_now("ROLLBACK_COMPLETE")

    with pytest.raises(Lost):
        Stacks(aws.account, {"network": NETWORK}, turn=Turn(lambda: False)).apply("network")


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
    monkeypatch.setattr(waiting, "PAUSE", 0)
    aws.is_now("UPDATE_IN_PROGRESS")
    aws.is_now("UPDATE_ROLLBACK_FAILED")

    with pytest.raises(Refused, match=f"{NAME} is UPDATE_ROLLBACK_FAILED"):
        Stacks(aws.account, {"network": NETWORK}).apply("network")
