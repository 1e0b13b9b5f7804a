"""A stage that asks for everything: what is off in all of ours passes the same gates."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from infrastructure import judging
from infrastructure.app import synthesize
from infrastructure.config import STAGES
from infrastructure.privilege.check import complaints
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


def test_neither_cdk_nag_nor_cfn_lint_finds_anything(everything: Templates, folder: Path) -> None:
    assert [*resources(everything, "AWS::ECS::Service")]
    assert [*judging.complaints_of_nag(folder / "validation-report.json")] == []
    assert [*judging.complaints_of_lint(folder)] == []


@pytest.mark.recorded
def test_no_role_of_it_may_more_or_less_than_it_does(everything: Templates) -> None:
    assert [line for line in complaints(everything) if not line.startswith("There is no role")] == []
