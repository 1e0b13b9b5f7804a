"""What several stacks make in the same way: log groups, private buckets, records of the stage's domain."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import aws_cdk as cdk
from aws_cdk import aws_iam as iam
from aws_cdk import aws_kms as kms
from aws_cdk import aws_logs as logs
from aws_cdk import aws_route53 as route53
from aws_cdk import aws_s3 as s3
from constructs import Construct

from infrastructure.config import Stage

# What cdk-nag's packs call themselves before each of their rules.
PACKS = ("AwsSolutions", "HIPAA.Security")

RETENTION = {
    14: logs.RetentionDays.TWO_WEEKS,
    30: logs.RetentionDays.ONE_MONTH,
    365: logs.RetentionDays.ONE_YEAR,
}


def accept(scope: Construct, reasons: Mapping[str, str]) -> None:
    """Accept findings of cdk-nag in a construct and all below it: each rule, without its pack, with its reason.

    A rule that names what it found is accepted for this alone: ``IAM4[Policy::…]``, ``IAM5[Action::…]``.
    """
    for rule, reason in reasons.items():
        for pack in PACKS:
            cdk.Validations.of(scope).acknowledge(cdk.Acknowledgment(id=f"{pack}::{pack}-{rule}", reason=reason))


def accept_wildcards(scope: Construct, statements: Iterable[iam.PolicyStatement], reason: str) -> None:
    """Accept every `*` in what these statements, which are a construct's, allow, and no other."""
    account = cdk.Stack.of(scope).account
    found = {
        f"IAM5[{kind}::{value.replace(account, '<AWS::AccountId>')}]": reason
        for statement in statements
        if statement.effect is iam.Effect.ALLOW
        for kind, values in (("Action", statement.actions), ("Resource", statement.resources))
        for value in values
        if "*" in value
    }
    accept(scope, found)


def managed(policy: str) -> str:
    """The finding that a role has a policy of AWS's own."""
    return f"IAM4[Policy::arn:<AWS::Partition>:iam::aws:policy/{policy}]"


def let_use(
    key: kms.Key, sid: str, services: Sequence[str], actions: Sequence[str], conditions: Mapping[str, Any] | None = None
) -> None:
    """Let services use a key for us, by the key's own policy."""
    key.add_to_resource_policy(
        iam.PolicyStatement(
            sid=sid,
            actions=[*actions],
            principals=[iam.ServicePrincipal(f"{service}.amazonaws.com") for service in services],
            resources=["*"],  # in a key's policy: this key
            conditions=conditions,
        )
    )


def let_logs_use(key: kms.Key) -> None:
    """CloudWatch's logs are encrypted with a key only where the key's own policy says so."""
    stack = cdk.Stack.of(key)
    groups = f"arn:aws:logs:{stack.region}:{stack.account}:log-group:*"
    let_use(
        key,
        "LogsOfThisAccount",
        [f"logs.{stack.region}"],
        ["kms:Encrypt", "kms:Decrypt", "kms:ReEncrypt*", "kms:GenerateDataKey*", "kms:DescribeKey"],
        {"ArnLike": {"kms:EncryptionContext:aws:logs:arn": groups}},
    )


def pin(resource: Construct, logical_id: str) -> None:
    """Give what holds data a logical id that stays when its code moves: CloudFormation would make another one."""
    made: cdk.CfnElement = resource.node.default_child
    made.override_logical_id(logical_id)


def log_group(scope: Construct, name: str, log_group_name: str, *, days: int, key: kms.IKey) -> logs.LogGroup:
    """A log group of so many days, one of RETENTION, encrypted with the stage's key."""
    return logs.LogGroup(
        scope,
        name,
        log_group_name=log_group_name,
        retention=RETENTION[days],
        encryption_key=key,
        removal_policy=cdk.RemovalPolicy.DESTROY,
    )


def private_bucket(
    scope: Construct, name: str, bucket_name: str, *, key: kms.IKey | None = None, **more: Any
) -> s3.Bucket:
    """A versioned bucket that nobody reads without TLS, and nobody in public; it outlives its stack."""
    bucket = s3.Bucket(
        scope,
        name,
        bucket_name=bucket_name,
        block_public_access=s3.BlockPublicAccess.BLOCK_ALL,
        encryption=s3.BucketEncryption.KMS if key else s3.BucketEncryption.S3_MANAGED,
        encryption_key=key,
        bucket_key_enabled=True if key else None,
        enforce_ssl=True,
        minimum_tls_version=1.2,
        object_ownership=more.pop("object_ownership", s3.ObjectOwnership.BUCKET_OWNER_ENFORCED),
        versioned=True,
        removal_policy=cdk.RemovalPolicy.RETAIN,
        **more,
    )
    pin(bucket, name)
    return bucket


def forgetting(days: int, *, prefix: str = "") -> s3.LifecycleRule:
    """S3 forgets what is older than so many days, and sooner what was replaced or never completed."""
    return s3.LifecycleRule(
        id=f"forget-{prefix.strip('/-')}" if prefix else "forget",
        prefix=prefix or None,
        expiration=cdk.Duration.days(days),
        noncurrent_version_expiration=cdk.Duration.days(min(days, 30)),
        abort_incomplete_multipart_upload_after=cdk.Duration.days(1),
    )


def zone_of(scope: Construct, stage: Stage) -> route53.IHostedZone:
    """Where the records of the stage's domain are made; records without a name of their own are the domain's."""
    return route53.HostedZone.from_hosted_zone_attributes(
        scope, "Zone", hosted_zone_id=stage.hosted_zone, zone_name=stage.domain
    )


def replaced_for(days: int) -> s3.LifecycleRule:
    """S3 keeps what there is, and for so many days what was deleted or replaced."""
    return s3.LifecycleRule(
        id="keep",
        noncurrent_version_expiration=cdk.Duration.days(days),
        abort_incomplete_multipart_upload_after=cdk.Duration.days(1),
    )
