"""A stage that asks for everything: what is off in all of ours passes the same gates."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from infrastructure import judging
from infrastructure.costs.bill import bill
from infrastructure.costs.usage import EXPECTED
from infrastructure.privilege.check import EXCEPTIONS, complaints
from infrastructure.privilege.templates import KINDS
from tests.infrastructure.options import ALL
from tests.infrastructure.templates import resources

type Templates = Mapping[str, Mapping[str, Any]]


def test_cdk_nag_finds_nothing_and_cfn_lint_only_what_was_laid_beside_it(
    everything: Templates, folder_of_everything: Path
) -> None:
    wrong = {"Resources": {"Files": {"Type": "AWS::S3::Bucket", "Properties": {"BucketNam": "files"}}}}
    (folder_of_everything / "wrong.template.json").write_text(json.dumps(wrong))

    assert [*resources(everything, "AWS::ECS::Service")]
    assert [*judging.complaints_of_nag(folder_of_everything / "validation-report.json")] == []
    assert [*judging.idle(folder_of_everything)] == [], "and nothing is accepted that is not there"
    [said] = judging.complaints_of_lint(folder_of_everything)
    assert "wrong.template.json" in said
    assert "BucketNam" in said


@pytest.mark.recorded
def test_no_role_of_it_may_more_or_less_than_it_does(everything: Templates) -> None:
    listed = json.loads(EXCEPTIONS.read_text())
    for entry in (entry for part in ("unseen", "refused", "policies of AWS") for entry in listed[part]):
        entry.pop("with", None)  # it has asked for all of it: what is of no use here is of no use anywhere

    found = complaints(everything, exceptions=listed)

    assert [line for line in found if not line.startswith("There is no role")] == []


def test_no_type_of_resource_is_named_by_the_proof_that_no_stage_has(everything: Templates) -> None:
    assert KINDS.keys() - {each.type for each in resources(everything)} == set()


def test_what_it_costs_is_told_containers_and_all(everything: Templates) -> None:
    """A plan works it out before anything is done."""
    services = bill(ALL, everything, EXPECTED["production"]).services

    assert services["Fargate"] > 0
