"""The image that containers run: looked for, told, taken back. Exact calls, by stubbed_aws.py."""

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
from botocore.stub import ANY

from infrastructure.config import REGION, STAGES
from infrastructure.deploying import cloudformation, waiting
from infrastructure.deploying.account import Account, Refused
from infrastructure.deploying.cloudformation import StackFailed
from infrastructure.deploying.functions import Functions
from infrastructure.deploying.images import look_for, missing, run_image
from infrastructure.deploying.operations import Operations
from infrastructure.deploying.parameters import told
from infrastructure.deploying.record import Attempt, Lost, Release
from infrastructure.deploying.releases import Bucket
from infrastructure.deploying.stacks import Stacks
from infrastructure.deploying.steps import Deploy, Tools, roll_back
from infrastructure.deploying.waiting import Turn
from tests.infrastructure.stubbed_aws import ARN, NETWORK, NOW, NUMBER, Aws

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
    monkeypatch.setattr(waiting, "PAUSE", 0)
    has_image(aws, "new")
    runs_image(aws, "old", "UPDATE_IN_PROGRESS")  # a run that was cut off
    runs_image(aws, "old")
    is_told(aws, "new", "UPDATE_IN_PROGRESS", "UPDATE_COMPLETE")
    heard: list[str] = []

    assert run_image(Stacks(batch, {}, report=heard.append), "new") == "new"
    assert heard == ["vibecode-dev-runtime is UPDATE_IN_PROGRESS"] * 2


def test_containers_that_do_not_start_say_why(aws: Aws, batch: Account) -> None:
    has_image(aws, "new")
    runs_image(aws, "old")
    is_told(aws, "new", "UPDATE_ROLLBACK_COMPLETE")
    service = ("Service", "UPDATE_FAILED", "CannotPullContainerError")
    aws.has_events(service, (RUNTIME["StackName"], "UPDATE_IN_PROGRESS", "User Initiated"), of=RUNTIME["StackName"])

    with pytest.raises(StackFailed, match="runtime is UPDATE_ROLLBACK_COMPLETE: Service: CannotPullContainerError"):
        run_image(Stacks(batch, {}), "new")


def test_who_lost_the_stage_lets_containers_run_nothing(aws: Aws, batch: Account) -> None:
    has_image(aws, "new")
    runs_image(aws, "old")

    with pytest.raises(Lost):
        run_image(Stacks(batch, {}, turn=Turn(lambda: False)), "new")


def test_containers_that_run_it_or_cannot_are_left_alone(aws: Aws, batch: Account) -> None:
    has_image(aws, "old")
    runs_image(aws, "old")
    has_image(aws, "older", "ImageNotFoundException")
    has_image(aws, "first")
    aws.is_now("UPDATE_COMPLETE", RUNTIME["StackName"])  # where they were switched on, and no stack was told so yet

    assert run_image(Stacks(batch, {}), "old") == "as they were"
    assert run_image(Stacks(batch, {}), "older") == "as they are: there is no image older"
    assert run_image(Stacks(batch, {}), "first") == "as they were"


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
    told_anew = [
        step for step in steps if step.name.startswith("stack ") or step.name in {"trial", "worker", "web: the switch"}
    ]
    assert len(told_anew) == 4
    assert not any(step.done() for step in told_anew), "it may be something else"
    order = [step.name for step in steps]
    assert order.index("image") < order.index("migrations") < order.index("containers") < order.index("worker")
    back = {step.name: step for step in roll_back(tools, now, before)}
    for step, wanted in ((back["containers"].do, "old"), (back["containers"].undo, "new")):
        has_image(aws, wanted)
        runs_image(aws, wanted)
        assert step
        assert step() == "as they were"
