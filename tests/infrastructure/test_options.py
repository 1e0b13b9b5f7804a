"""A stage that asks for everything: what is off in all of ours passes the same gates."""

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from infrastructure import judging
from infrastructure.app import synthesize
from infrastructure.config import STAGES
from infrastructure.privilege.check import complaints
from infrastructure.privilege.templates import KINDS
from tests.infrastructure.templates import resources

ALL = dataclasses.replace(
    STAGES["production"],
    alarms_to="engineers@shop.example",
    domain="shop.example",
    hosted_zone="Z0123456789ABCDEFGHIJ",
    interface_endpoints=("sqs", "secretsmanager"),
    batch=True,
    shared_files=True,
    tracing_layer="arn:aws:lambda:eu-north-1:123456789012:layer:tracing:1",
)

type Templates = Mapping[str, Mapping[str, Any]]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("all")


@pytest.fixture(scope="module")
def everything(folder: Path) -> Templates:
    return synthesize(folder, [ALL])


def test_cdk_nag_finds_nothing_and_cfn_lint_only_what_was_laid_beside_it(everything: Templates, folder: Path) -> None:
    wrong = {"Resources": {"Files": {"Type": "AWS::S3::Bucket", "Properties": {"BucketNam": "files"}}}}
    (folder / "wrong.template.json").write_text(json.dumps(wrong))

    assert [*resources(everything, "AWS::ECS::Service")]
    assert [*judging.complaints_of_nag(folder / "validation-report.json")] == []
    [said] = judging.complaints_of_lint(folder)
    assert "wrong.template.json" in said
    assert "BucketNam" in said


@pytest.mark.recorded
def test_no_role_of_it_may_more_or_less_than_it_does(everything: Templates) -> None:
    assert [line for line in complaints(everything) if not line.startswith("There is no role")] == []


def test_no_type_of_resource_is_named_by_the_proof_that_no_stage_has(everything: Templates) -> None:
    assert KINDS.keys() - {each.type for each in resources(everything)} == set()
