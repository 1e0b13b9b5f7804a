"""What CDK has made, as the deployment reads it."""

import json
from pathlib import Path

import pytest

from infrastructure.config import REGION, STAGES
from infrastructure.deploying import assembly
from infrastructure.deploying.account import Refused
from tests.infrastructure.templates import Templates
from vibecode.resources import PROJECT


def test_every_stack_of_ours_has_a_place_and_is_protected_from_being_deleted(
    templates: Templates, folder_of_stacks: Path
) -> None:
    stacks = [*assembly.templates(folder_of_stacks, PROJECT)]
    for name, stage in STAGES.items():
        stacks += assembly.read(folder_of_stacks, name, stage.prefix).values()

    assert sorted(each.name for each in stacks) == sorted(templates)
    assert [each.name for each in stacks if not each.protected] == []


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
