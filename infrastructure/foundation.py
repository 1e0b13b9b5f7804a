"""What every other stack of a stage stands on: its key, two buckets, and the limit of what its roles can be allowed.

Deployed first: the templates of the others are too large to be sent and are read from the bucket of packages.
"""

from typing import Any

import aws_cdk as cdk
from aws_cdk import aws_iam as iam
from aws_cdk import aws_kms as kms
from aws_cdk import aws_s3 as s3
from constructs import Construct

from infrastructure.deploying_rights import LIMIT, limiting
from infrastructure.parts import (
    accept,
    accept_wildcards,
    forgetting,
    let_logs_use,
    let_use,
    pin,
    private_bucket,
    replaced_for,
)
from vibecode.resources import Resources

# Services that write for us into what the key encrypts, each only on behalf of this account.
WRITERS = ("events", "cloudwatch")
# For a bus, and for its archive. https://docs.aws.amazon.com/eventbridge/latest/userguide/encryption-archives.html
MORE = {"events": ("kms:DescribeKey", "kms:ReEncrypt*")}


class Foundation(cdk.Stack):
    """The key and two buckets, which outlive their stack, and the limit, which the pipeline cannot change."""

    def __init__(self, scope: Construct, name: str, *, resources: Resources, log_days: int, **stack: Any) -> None:
        super().__init__(scope, name, **stack)
        self.key = self._key(resources)
        self.access_logs = self._access_logs(resources, log_days)
        self.packages = private_bucket(
            self,
            "Packages",
            f"{resources.prefix}-packages-{self.account}",
            key=self.key,
            lifecycle_rules=[
                forgetting(90, prefix="templates/"),
                forgetting(1, prefix=f"{resources.prefix}-"),  # what Zappa puts there for a minute
                replaced_for(30),  # the deployment's record and packages: it deletes what nobody goes back to
            ],
            server_access_logs_bucket=self.access_logs,
            server_access_logs_prefix="packages/",
        )
        reason = "Packages are made again from a commit; access logs are worth no second region"
        accept(self, {"S3BucketReplicationEnabled": reason})
        self._limit(resources)

    def _limit(self, resources: Resources) -> None:
        """The permissions boundary of every role of the stage, known by its name: stacks of two regions have them."""
        statements = list(limiting(resources.stage, self.account))
        limit = iam.ManagedPolicy(
            self,
            "Limit",
            managed_policy_name=f"{resources.prefix}-{LIMIT}",
            description=f"The most that a role of {resources.stage} can be allowed",
            statements=statements,
        )
        reason = "A limit allows nobody anything: a role may do what its own policies say as well, and no more"
        accept_wildcards(limit, statements, reason)
        wide = ("IAMPolicyNoStatementsWithAdminAccess", "IAMPolicyNoStatementsWithFullAccess")
        accept(limit, dict.fromkeys(wide, reason))

    def _key(self, resources: Resources) -> kms.Key:
        key = kms.Key(
            self,
            "Key",
            alias=f"alias/{resources.prefix}",
            description=f"Encrypts what {resources.prefix} keeps",
            enable_key_rotation=True,
            removal_policy=cdk.RemovalPolicy.RETAIN,
        )
        pin(key, "Key")
        for service in WRITERS:
            let_use(
                key,
                f"{service.capitalize()}WritesForUs",
                [service],
                ["kms:Decrypt", "kms:GenerateDataKey*", *MORE.get(service, ())],
                {"StringEquals": {"aws:SourceAccount": self.account}},
            )
        let_logs_use(key)
        let_use(
            key,
            "CloudFrontReadsPictures",
            ["cloudfront"],
            ["kms:Decrypt"],
            {
                # Not the stage's distribution by its id: it is made later, and the bucket's policy names it.
                "ArnLike": {"aws:SourceArn": f"arn:aws:cloudfront::{self.account}:distribution/*"},
                "StringEquals": {
                    "kms:EncryptionContext:aws:s3:arn": f"arn:aws:s3:::{resources.prefix}-media-{self.account}"
                },
            },
        )
        # The service that carries what Step Functions logs; AWS names no condition that it would meet.
        # https://docs.aws.amazon.com/step-functions/latest/dg/encryption-at-rest.html
        let_use(key, "LogsAreDelivered", ["delivery.logs"], ["kms:Decrypt"])
        return key

    def _access_logs(self, resources: Resources, days: int) -> s3.Bucket:
        """S3 delivers its logs under a key of its own only, and to nobody's ownership but the bucket's policy."""
        bucket = private_bucket(
            self, "AccessLogs", f"{resources.prefix}-access-logs-{self.account}", lifecycle_rules=[forgetting(days)]
        )
        accept(bucket, {"S3DefaultEncryptionKMS": "S3 delivers access logs to buckets with its own key only"})
        bucket.add_to_resource_policy(
            iam.PolicyStatement(
                sid="LogsOfTheStagesBuckets",
                actions=["s3:PutObject"],
                principals=[iam.ServicePrincipal("logging.s3.amazonaws.com")],
                resources=[bucket.arn_for_objects("*")],
                conditions={
                    "ArnLike": {"aws:SourceArn": f"arn:aws:s3:::{resources.prefix}-*"},
                    "StringEquals": {"aws:SourceAccount": self.account},
                },
            )
        )
        return bucket
