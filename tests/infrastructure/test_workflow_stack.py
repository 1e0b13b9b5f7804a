"""The order workflow on AWS: what it may, and what it writes down. Its steps: test_declarations.py."""

from collections.abc import Mapping
from typing import Any

import pytest

from infrastructure.workflow import LOGGING, TRACING
from tests.infrastructure.declared import Stack, Template, resources_of
from vibecode.resources import LOCAL_ACCOUNT


@pytest.fixture
def stack(stage: str, templates: Mapping[str, Template]) -> Stack:
    return Stack.of(templates[f"vibecode-{stage}-workflow"])


def test_every_execution_is_logged_and_traced_but_nothing_that_speaks_of_people(stack: Stack) -> None:
    [(_, machine)] = stack.each("AWS::StepFunctions::StateMachine")
    logging = machine["LoggingConfiguration"]
    [(log, told)] = stack.each("AWS::Logs::LogGroup")

    assert (logging["Level"], logging["IncludeExecutionData"]) == ("ALL", False)
    [destination] = logging["Destinations"]
    assert destination["CloudWatchLogsLogGroup"]["LogGroupArn"] == log
    assert "Key" in str(told["KmsKeyId"])
    assert machine["TracingConfiguration"] == {"Enabled": True}


def test_executions_are_encrypted_with_the_stages_key(stack: Stack, stage: str, templates: Any) -> None:
    [(_, machine)] = stack.each("AWS::StepFunctions::StateMachine")
    [(_, key)] = Stack.of(templates[f"vibecode-{stage}-foundation"]).each("AWS::KMS::Key")

    assert machine["EncryptionConfiguration"]["Type"] == "CUSTOMER_MANAGED_KMS_KEY"
    assert "Key" in str(machine["EncryptionConfiguration"]["KmsKeyId"])
    # Else nothing of an encrypted machine reaches its log.
    [delivery] = [
        each
        for each in key["KeyPolicy"]["Statement"]
        if each["Principal"] == {"Service": "delivery.logs.amazonaws.com"}
    ]
    assert delivery["Action"] == "kms:Decrypt"


def test_the_workflow_may_call_the_worker_and_no_other_function(stack: Stack, stage: str) -> None:
    names = resources_of(stage)
    [(_, policy)] = stack.each("AWS::IAM::ManagedPolicy")
    [(_, role)] = stack.each("AWS::IAM::Role")

    allowed = {each["Sid"]: each for each in policy["PolicyDocument"]["Statement"]}
    calls = [each for each in allowed.values() if "lambda" in str(each["Action"])]
    assert [(each["Action"], each["Resource"]) for each in calls] == [("lambda:InvokeFunction", names.worker_arn)]
    anywhere = {action for each in allowed.values() if each["Resource"] == "*" for action in each["Action"]}
    assert anywhere == {*LOGGING, *TRACING}
    assert allowed["ExecutionsOfThisMachine"]["Condition"] == {
        "StringEquals": {"kms:EncryptionContext:aws:states:stateMachineArn": names.state_machine_arn}
    }
    [trust] = role["AssumeRolePolicyDocument"]["Statement"]
    assert trust["Principal"] == {"Service": "states.amazonaws.com"}
    assert trust["Condition"] == {
        "StringEquals": {"aws:SourceAccount": LOCAL_ACCOUNT},
        "ArnEquals": {"aws:SourceArn": names.state_machine_arn},
    }
