"""The gates that templates pass: each of them says what is wrong, and that it has looked at all."""

import json
from collections.abc import Sequence
from pathlib import Path

import aws_cdk as cdk
import pytest
from aws_cdk import aws_s3 as s3

from infrastructure import app, judging
from infrastructure.config import STAGES, Stage
from infrastructure.parts import PACKS


def open_bucket(scope: cdk.App, stage: Stage) -> Sequence[cdk.Stack]:
    """A stage with a bucket that is encrypted by no key of ours and read without TLS."""
    stack = cdk.Stack(cdk.Stage(scope, stage.name), "files", synthesizer=cdk.BootstraplessSynthesizer())
    s3.Bucket(stack, "Open")
    return [stack]


@pytest.fixture
def report(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What cdk-nag says of two stages that have such a bucket."""
    monkeypatch.setattr(app, "build", open_bucket)
    app.synthesize(tmp_path, [STAGES["dev"], STAGES["production"]])
    return tmp_path / "validation-report.json"


def test_cdk_nag_names_what_is_wrong_by_the_rules_of_both_packs_and_of_hipaa_in_production_alone(report: Path) -> None:
    found = {line.partition(": ")[0] + " " + line.split(": ")[1] for line in judging.complaints_of_nag(report)}

    assert "AwsSolutions-S10 production/files/Open/Resource" in found
    assert "AwsSolutions-S10 dev/files/Open/Resource" in found
    assert "HIPAA.Security-S3DefaultEncryptionKMS production/files/Open/Resource" in found
    assert not any(line.startswith("HIPAA.Security") and " production/" not in line for line in found)
    assert not any(" pipeline/" in line for line in found), "which is as it should be"


@pytest.mark.parametrize("pack", PACKS)
def test_a_pack_that_was_not_asked_is_no_pass(tmp_path: Path, pack: str) -> None:
    plugins = [{"pluginName": name, "violations": []} for name in PACKS]
    report = tmp_path / "report.json"
    report.write_text(json.dumps({"pluginReports": plugins}))
    assert list(judging.complaints_of_nag(report)) == []

    report.write_text(json.dumps({"pluginReports": [each for each in plugins if each["pluginName"] != pack]}))
    [said] = judging.complaints_of_nag(report)

    assert said.startswith(f"cdk-nag's {pack} has not judged")


def test_where_there_is_no_template_cfn_lint_says_so(tmp_path: Path) -> None:
    [said] = judging.complaints_of_lint(tmp_path)

    assert said == f"cfn-lint has not judged: there is no template in {tmp_path}"
