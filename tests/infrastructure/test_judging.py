"""The gates that templates pass: each of them says what is wrong, and that it has looked at all."""

import json
import re
import shutil
from collections.abc import Sequence
from pathlib import Path

import aws_cdk as cdk
import pytest
from aws_cdk import aws_s3 as s3

from infrastructure import app, judging
from infrastructure.config import STAGES, Stage
from infrastructure.parts import PACKS, accept
from infrastructure.privilege import check


def open_bucket(scope: cdk.App, stage: Stage) -> Sequence[cdk.Stack]:
    """A stage with a bucket that is encrypted by no key of ours and read without TLS."""
    stack = cdk.Stack(cdk.Stage(scope, stage.name), "files", synthesizer=cdk.BootstraplessSynthesizer())
    s3.Bucket(stack, "Open")
    return [stack]


OLD = {"/gone": [{"type": "aws:cdk:acknowledged-rules", "data": {"AwsSolutions::AwsSolutions-SQS3": "It was a test"}}]}


@pytest.fixture
def report(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What cdk-nag says of two stages that have such a bucket."""
    monkeypatch.setattr(app, "build", open_bucket)
    app.synthesize(tmp_path, [STAGES["dev"], STAGES["production"]])
    return tmp_path / "validation-report.json"


def test_cdk_nag_names_what_is_wrong_by_the_rules_of_both_packs(report: Path) -> None:
    found = {line.partition(": ")[0] + " " + line.split(": ")[1] for line in judging.complaints_of_nag(report)}

    assert "AwsSolutions-S10 production/files/Open/Resource" in found
    assert "AwsSolutions-S10 dev/files/Open/Resource" in found
    assert "HIPAA.Security-S3DefaultEncryptionKMS production/files/Open/Resource" in found
    assert not any(" pipeline/" in line for line in found), "which is as it should be"


def test_what_is_accepted_and_was_not_found_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def accepting(scope: cdk.App, stage: Stage) -> Sequence[cdk.Stack]:
        stacks = open_bucket(scope, stage)
        accept(stacks[0], {"S10": "It is a test", "SQS3": "There is no queue"})
        return stacks

    monkeypatch.setattr(app, "build", accepting)
    for gone, said in (("gone.template.json", {}), ("gone.metadata.json", OLD)):  # of a stack that there was
        for place in (tmp_path, tmp_path / "assembly-dev", tmp_path / "assembly-gone", tmp_path / "of-somebody-else"):
            place.mkdir(exist_ok=True)
            (place / gone).write_text(json.dumps(said))
    app.synthesize(tmp_path, [STAGES["dev"]])

    assert {path.parent.name for path in tmp_path.rglob("gone.*")} == {"of-somebody-else"}
    shutil.rmtree(tmp_path / "of-somebody-else")
    named = "SQS3 is accepted in dev/files, and nothing was found there: it need not be"
    assert [said for said in judging.idle(tmp_path) if "pipeline" not in said] == [named]
    assert judging.accepted(tmp_path)["dev/files", "S10"] == "It is a test"


@pytest.mark.parametrize("pack", PACKS)
def test_a_pack_that_was_not_asked_is_no_pass(tmp_path: Path, pack: str) -> None:
    plugins = [{"pluginName": name, "violations": []} for name in PACKS]
    report = tmp_path / "report.json"
    report.write_text(json.dumps({"pluginReports": plugins}))
    assert list(judging.complaints_of_nag(report)) == []

    report.write_text(json.dumps({"pluginReports": [each for each in plugins if each["pluginName"] != pack]}))
    [said] = judging.complaints_of_nag(report)

    assert said.startswith(f"cdk-nag's {pack} has not judged")


def test_templates_that_are_not_as_they_were_committed_are_shown_line_by_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(judging, "SNAPSHOTS", tmp_path)
    many = {"Resources": {f"Queue{n}": {"Type": "AWS::SQS::Queue"} for n in range(100)}}
    judging.write_snapshots({"same": {"Resources": {}}, "gone": {"Resources": {}}, "other": {"Description": "old"}})

    changed = [*judging.changes_of_snapshots({"same": {"Resources": {}}, "other": {"Description": "new"}, "new": many})]

    gone, new, other = changed
    assert '- "Resources": {}' in gone.splitlines()
    assert '+  "Queue0": {' in new.splitlines()
    assert re.fullmatch(r"… and \d+ more lines", new.splitlines()[-1])
    assert {'- "Description": "old"', '+ "Description": "new"'} <= set(other.splitlines())
    judging.write_snapshots({"same": {"Resources": {}}})
    assert [path.name for path in tmp_path.iterdir()] == ["same.json"]


GATES = {
    "cdk-nag": (judging, "complaints_of_nag"),
    "what is accepted for nothing": (judging, "idle"),
    "cfn-lint": (judging, "complaints_of_lint"),
    "snapshots": (judging, "changes_of_snapshots"),
    "permissions": (check, "complaints"),
}


@pytest.mark.parametrize("gate", ["", *GATES])
def test_whichever_gate_complains_the_whole_fails_and_says_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], gate: str
) -> None:
    monkeypatch.setattr(app, "synthesize", lambda _: {"one": {"Resources": {"A": {}, "B": {}}}})
    for name, (module, asked) in GATES.items():
        monkeypatch.setattr(module, asked, lambda _, name=name: [f"{name} complains"] if name == gate else [])
    monkeypatch.setattr("sys.argv", ["app", "--folder", str(tmp_path)])

    assert app.main() == (1 if gate else 0)

    assert capsys.readouterr().out.splitlines() == [
        *([f"{gate} complains"] if gate else []),
        "1 stacks, 2 resources, 0 acknowledgments of cdk-nag's findings for 0 reasons",
    ]


def test_where_there_is_no_template_cfn_lint_says_so(tmp_path: Path) -> None:
    [said] = judging.complaints_of_lint(tmp_path)

    assert said == f"cfn-lint has not judged: there is no template in {tmp_path}"
