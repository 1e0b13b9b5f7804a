"""`make pipeline`: the stack once an account, on the local AWS; what it was told is kept, and what is left is said."""

import argparse
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.stub import Stubber

from infrastructure.config import REGION, STAGES
from infrastructure.deploying import pipeline
from infrastructure.deploying.account import Account, Refused
from infrastructure.deploying.assembly import Template
from infrastructure.deploying.changes import Changes
from infrastructure.deploying.say import Say
from infrastructure.deploying.stacks import Stacks
from infrastructure.pipeline import STAGES as DEPLOYED
from tests.infrastructure.stage_here import STAGE, StageHere, stage_here
from vibecode.resources import LOCAL_ACCOUNT

CONNECTION = f"arn:aws:codeconnections:{REGION}:123456789012:connection/1"
ASKED = {"Type": "String"}
SMALL = {
    "Parameters": dict.fromkeys(("Repository", "Subject"), ASKED)
    | {"Branch": {**ASKED, "Default": "main"}, "Provider": {**ASKED, "Default": ""}},
    "Resources": {
        "Told": {
            "Type": "AWS::SSM::Parameter",
            "Properties": {
                "Name": "/told",
                "Type": "String",
                "Value": {"Fn::Join": [" ", [{"Ref": name} for name in ("Repository", "Branch", "Subject")]]},
            },
        }
    },
    "Outputs": {"ConnectionArn": {"Value": CONNECTION}},
}


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StageHere]:
    """The account, with the buckets of the pipeline's stages."""
    with stage_here(tmp_path_factory.mktemp("pipeline")) as stage:
        for name in DEPLOYED:
            stage.client("s3").create_bucket(
                Bucket=f"vibecode-{name}-packages-{LOCAL_ACCOUNT}",
                CreateBucketConfiguration={"LocationConstraint": REGION},
            )
        yield stage


@pytest.fixture
def account(stage: StageHere, monkeypatch: pytest.MonkeyPatch) -> Account:
    """The same as the command sees it; the connection has nobody's yes yet, and the template is a small one."""
    keys = {"aws_access_key_id": "tests", "aws_secret_access_key": "tests"}
    connections: Any = boto3.client("codeconnections", region_name=REGION, **keys)  # type: ignore[call-overload]  # any keys
    stub = Stubber(connections)
    for _ in range(2):
        answer = {"Connection": {"ConnectionArn": CONNECTION, "ConnectionStatus": "PENDING"}}
        stub.add_response("get_connection", answer, {"ConnectionArn": CONNECTION})
    stub.activate()

    def make(service: str, *, region_name: str, **_: object) -> Any:
        return connections if service == "codeconnections" else stage.client(service, region_name)

    small = Template(
        what="pipeline", name="vibecode-pipeline", region=REGION, tags={}, protected=False, body=json.dumps(SMALL)
    )
    monkeypatch.setattr(pipeline, "_template", lambda _: small)
    monkeypatch.setattr(pipeline, "APPROVALS_TO", "")
    stages = {name: replace(each, account="") for name, each in STAGES.items()}
    monkeypatch.setattr(pipeline, "STAGES", stages)
    return Account(stages[DEPLOYED[0]], make)


def asked(*words: str) -> argparse.Namespace:
    return pipeline.read_arguments(["--yes", *words])


def test_it_comes_after_each_of_its_stages(account: Account, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pipeline, "DEPLOYED", ("staging", STAGE))

    with pytest.raises(Refused, match=f"{STAGE} is not there yet: an administrator deploys each stage once before"):
        pipeline.run(asked("--repository", "us/shop"), account, Say())


def test_it_is_told_its_repository_once_and_says_what_is_left(
    account: Account, stage: StageHere, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(Refused, match="REPOSITORY=owner/name"):
        pipeline.run(asked(), account, Say())

    pipeline.run(asked("--repository", "us/shop", "--subject", "us-1/shop-2"), account, Say())
    pipeline.run(asked("--repository", "us/shop", "--branch", "release"), account, Say())

    told = stage.client("ssm").get_parameter(Name="/told")["Parameter"]["Value"]
    assert told == "us/shop release us-1/shop-2", "what GitHub's tokens say was told before"
    said = capsys.readouterr().out
    assert f"Still to do: {CONNECTION} is PENDING" in said
    assert "Still to do: APPROVALS_TO" in said


def test_nothing_is_removed_or_replaced_because_nobody_is_asked(
    account: Account, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    lost = Changes(lost=["AWS::CodeConnections::Connection Connection"])
    monkeypatch.setattr(Stacks, "plan", lambda _: {"pipeline": lost})
    monkeypatch.setattr(Stacks, "apply", lambda *_: pytest.fail("it was done"))

    with pytest.raises(Refused, match="--may-lose"):
        pipeline.run(asked("--repository", "us/shop"), account, Say())
    assert f"REMOVED OR REPLACED: {lost.lost[0]}" in capsys.readouterr().out

    done: list[str] = []
    monkeypatch.setattr(Stacks, "apply", lambda _, what, agreed: done.append(f"{what}: {agreed[0]}"))
    pipeline.run(asked("--repository", "us/shop", "--may-lose"), account, Say())
    assert done == [f"pipeline: {lost.lost[0]}"]


def test_another_repository_has_another_subject(account: Account, monkeypatch: pytest.MonkeyPatch) -> None:
    stacks = Stacks(account, {})
    before = {"Repository": "us/shop", "Subject": "us-1/shop-2", "Branch": "main", "Provider": ""}
    monkeypatch.setattr(stacks, "parameter", lambda _, name: before[name])

    told = pipeline.parameters(asked("--repository", "us/other"), stacks)

    assert told == {"Repository": "us/other", "Branch": "main", "Subject": "us/other"}


def test_a_stage_in_an_account_of_its_own_is_left_to_people(
    account: Account, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    apart = {name: replace(each, account="999999999999" if name == STAGE else "") for name, each in STAGES.items()}
    monkeypatch.setattr(pipeline, "STAGES", apart)
    monkeypatch.setattr(pipeline, "DEPLOYED", ("staging", STAGE))

    pipeline.run(asked("--plan", "--repository", "us/shop"), account, Say())

    assert "dev belongs to account 999999999999: people deploy it" in capsys.readouterr().out


def test_its_template_is_made_by_itself_and_is_not_judged_once_more(tmp_path: Path) -> None:
    made = pipeline._template(tmp_path)

    assert (made.name, "Repository" in made.parameters) == ("vibecode-pipeline", True)
    assert not [*tmp_path.glob("assembly-*"), *tmp_path.glob("validation-report*")], "no stage, and nobody asks twice"


def test_a_plan_changes_nothing(account: Account, stage: StageHere) -> None:
    before = stage.client("cloudformation").list_stacks()["StackSummaries"]

    pipeline.run(asked("--plan", "--repository", "us/planned"), account, Say())

    assert stage.client("cloudformation").list_stacks()["StackSummaries"] == before
