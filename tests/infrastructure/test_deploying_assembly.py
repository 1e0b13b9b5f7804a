"""What CDK has made, as the deployment reads it."""

import json
from pathlib import Path

import pytest

from infrastructure.config import REGION
from infrastructure.deploying import assembly
from infrastructure.deploying.account import Refused


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
