"""What holds data: its logical ids stay, its logs end, and only who must may speak to it."""

import re
from collections.abc import Mapping

import pytest

from infrastructure.config import STAGES
from infrastructure.network import peers_of
from tests.infrastructure.templates import Template, found, of_stage, resources

OF_CDK = re.compile(r"[0-9A-F]{8}$")  # the end of a logical id that CDK makes of a construct's path
HOLD_NOTHING = {"AWS::ApiGateway::Deployment", "AWS::IAM::Role", "AWS::Lambda::Version", "AWS::RDS::DBSubnetGroup"}


def test_what_outlives_its_stack_has_an_id_that_no_change_of_the_code_renames(
    templates: Mapping[str, Template],
) -> None:
    kept = [each for each in resources(templates) if each.kept and each.type not in HOLD_NOTHING]

    assert {each.type for each in kept} >= {
        "AWS::Cognito::UserPool", "AWS::DynamoDB::GlobalTable", "AWS::ECR::Repository", "AWS::KMS::Key",
        "AWS::RDS::DBCluster", "AWS::RDS::DBInstance", "AWS::S3::Bucket", "AWS::SecretsManager::Secret",
    }  # fmt: skip
    assert [str(each) for each in kept if OF_CDK.search(each.name)] == []


@pytest.mark.parametrize("stage", STAGES)
def test_every_log_that_the_database_writes_has_an_end_and_our_key(
    templates: Mapping[str, Template], stage: str
) -> None:
    data = templates[f"vibecode-{stage}-data"]
    [cluster] = resources(of_stage(templates, stage), "AWS::RDS::DBCluster")
    logs = {each["LogGroupName"]: each for each in found(data, "AWS::Logs::LogGroup").values()}

    assert cluster.properties["EnableCloudwatchLogsExports"] == ["postgresql"]
    for export in cluster.properties["EnableCloudwatchLogsExports"]:
        log = logs[f"/aws/rds/cluster/vibecode-{stage}-database/{export}"]
        assert log["RetentionInDays"] == STAGES[stage].log_days
        assert log["KmsKeyId"]
    assert set(cluster.whole["DependsOn"]) & found(data, "AWS::Logs::LogGroup").keys(), "before RDS makes its own"


@pytest.mark.parametrize("stage", STAGES)
def test_only_peers_may_speak_to_each_other(templates: Mapping[str, Template], stage: str) -> None:
    network = templates[f"vibecode-{stage}-network"]
    rules = found(network, "AWS::EC2::SecurityGroupIngress").values()
    told = {(rule["Description"].removeprefix("from "), rule["FromPort"]) for rule in rules}

    assert told == {(speaker, port) for (speaker, _), port in peers_of(STAGES[stage]).items()}
    assert len(rules) == len(peers_of(STAGES[stage]))
    assert all(rule["FromPort"] == rule["ToPort"] and "CidrIp" not in rule for rule in rules)
    web = {listener for speaker, listener in peers_of(STAGES[stage]) if speaker == "web"}
    assert ("database" in web) != STAGES[stage].proxied, "past the proxy go migrations alone"
