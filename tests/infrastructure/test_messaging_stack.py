"""What facts and mails travel through on AWS, beyond what the local AWS has too (test_declarations.py)."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import aws_cdk as cdk
import pytest
from aws_cdk import aws_kms as kms

from infrastructure.config import STAGES
from infrastructure.messaging import Messaging
from tests.infrastructure.declared import QUEUE, RULE, Described, Stack, Template, resources_of
from vibecode.resources import QUEUES, Resources


@pytest.fixture
def stack(stage: str, templates: Mapping[str, Template]) -> Stack:
    return Stack.of(templates[f"vibecode-{stage}-messaging"])


def made_with(*, domain: str = "", hosted_zone: str = "") -> Stack:
    """The stack of a shop that has a domain, or none."""
    app = cdk.App()
    foundation = cdk.Stack(app, "foundation")
    messaging = Messaging(
        app,
        "messaging",
        resources=Resources(stage="dev", region="eu-north-1", account=cdk.Aws.ACCOUNT_ID),
        key=kms.Key(foundation, "Key"),
        stage=replace(STAGES["dev"], domain=domain, hosted_zone=hosted_zone),
    )
    return Stack.of(app.synth().get_stack_by_name(messaging.stack_name).template)


def test_every_queue_is_encrypted_with_the_stages_key_and_spoken_to_by_tls_alone(stack: Stack) -> None:
    queues = dict(stack.each(QUEUE))
    refusals = {
        queue: statement
        for _, told in stack.each("AWS::SQS::QueuePolicy")
        for queue in told["Queues"]
        for statement in told["PolicyDocument"]["Statement"]
        if statement["Effect"] == "Deny"
    }

    assert len(queues) == 2 * len(QUEUES) + 1, "and the bus's own"
    for told in queues.values():
        assert "Key" in str(told["KmsMasterKeyId"])
        refusal = refusals[told["QueueName"]]
        assert (refusal["Action"], refusal["Principal"]) == ("sqs:*", {"AWS": "*"})
        assert refusal["Condition"] == {"Bool": {"aws:SecureTransport": "false"}}


def test_a_dead_letter_queue_takes_in_from_its_own_queue_alone(stack: Stack, stage: str) -> None:
    names = resources_of(stage)
    allowed = {told["QueueName"]: told.get("RedriveAllowPolicy") for _, told in stack.each(QUEUE)}

    for queue in QUEUES:
        assert allowed[names.queue_name(queue.key, dead=True)] == {
            "redrivePermission": "byQueue",
            "sourceQueueArns": [names.queue_arn(queue.key)],
        }


def test_what_a_rule_cannot_deliver_lies_where_staff_see_it(stack: Stack, stage: str) -> None:
    names = resources_of(stage)
    dead = {names.queue_arn(queue.key): names.queue_arn(queue.key, dead=True) for queue in QUEUES}

    targets: list[Described] = [target for _, told in stack.each(RULE) for target in told["Targets"]]
    assert targets
    for target in targets:
        assert target["DeadLetterConfig"] == {"Arn": dead[target["Arn"]]}


def test_mails_of_another_stage_wake_nobody(stack: Stack, stage: str) -> None:
    [pattern] = [told["EventPattern"] for _, told in stack.each(RULE) if told["EventPattern"].get("source")]

    assert pattern["detail"]["mail"]["tags"] == {"ses:configuration-set": [f"vibecode-{stage}-mail"]}


def test_the_bus_the_archive_and_the_topic_are_encrypted_and_mails_go_by_tls(stack: Stack) -> None:
    def only(kind: str) -> Any:
        [(_, told)] = stack.each(kind)
        return told

    assert "Key" in str(only("AWS::Events::EventBus")["KmsKeyIdentifier"])
    assert "Key" in str(only("AWS::Events::Archive")["KmsKeyIdentifier"])
    assert "Key" in str(only("AWS::SNS::Topic")["KmsMasterKeyId"])
    [refusal] = only("AWS::SNS::TopicPolicy")["PolicyDocument"]["Statement"]
    assert (refusal["Effect"], refusal["Condition"]) == ("Deny", {"Bool": {"aws:SecureTransport": "false"}})
    assert only("AWS::SES::ConfigurationSet")["DeliveryOptions"]["TlsPolicy"] == "REQUIRE"


def test_the_key_lets_the_bus_use_it(templates: Mapping[str, Template], stage: str) -> None:
    """https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-encryption-key-policy.html, and …-archives.html."""
    [(_, key)] = Stack.of(templates[f"vibecode-{stage}-foundation"]).each("AWS::KMS::Key")
    [grant] = [
        each for each in key["KeyPolicy"]["Statement"] if each["Principal"] == {"Service": "events.amazonaws.com"}
    ]

    assert {"kms:Decrypt", "kms:DescribeKey", "kms:GenerateDataKey*", "kms:ReEncrypt*"} <= set(grant["Action"])


def test_a_shop_without_a_domain_has_no_sender_yet() -> None:
    assert not list(made_with().each("AWS::SES::EmailIdentity"))


def test_a_domain_signs_its_mails_in_its_own_zone() -> None:
    stack = made_with(domain="shop.example", hosted_zone="Z0123456789")

    [(_, sender)] = stack.each("AWS::SES::EmailIdentity")
    records = [told for _, told in stack.each("AWS::Route53::RecordSet")]
    assert sender["EmailIdentity"] == "shop.example"
    assert [(record["Type"], record["HostedZoneId"]) for record in records] == [("CNAME", "Z0123456789")] * 3


def test_what_the_bus_cannot_read_lies_in_a_queue_that_takes_in_from_the_bus_alone(stack: Stack, stage: str) -> None:
    """https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-encryption-event-bus-dlq.html."""
    [(_, bus)] = stack.each("AWS::Events::EventBus")
    [(name, dead)] = [each for each in stack.each(QUEUE) if each[1]["QueueName"] == f"vibecode-{stage}-bus-dead"]
    [policy] = [told for _, told in stack.each("AWS::SQS::QueuePolicy") if dead["QueueName"] in told["Queues"]]

    assert bus["DeadLetterConfig"] == {"Arn": stack.arn(name)}
    assert "Key" in str(dead["KmsMasterKeyId"])
    [allowed] = [each for each in policy["PolicyDocument"]["Statement"] if each["Effect"] == "Allow"]
    assert allowed["Condition"]["ArnEquals"] == {
        "aws:SourceArn": f"arn:aws:events:us-east-1:123456789012:event-bus/vibecode-{stage}"
    }
