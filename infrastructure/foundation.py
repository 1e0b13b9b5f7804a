"""What every other stack of a stage stands on: its key, two buckets, and the limit of what its roles can be allowed.

Deployed first: the templates of the others are too large to be sent and are read from the bucket of packages.
"""

from typing import Any

import aws_cdk as cdk
from aws_cdk import aws_iam as iam
from aws_cdk import aws_kms as kms
from constructs import Construct

from infrastructure.deploying_rights import LIMIT, limiting
from infrastructure.parts import accept, accept_wildcards, forgetting, private_bucket, replaced_for
from vibecode.resources import Resources

# Services that write for us into what the key encrypts, each only on behalf of this account.
WRITERS = ("events", "sns", "ses", "cloudwatch", "budgets", "costalerts")
# For a bus, and for its archive. https://docs.aws.amazon.com/eventbridge/latest/userguide/encryption-archives.html
MORE = {"events": ("kms:DescribeKey", "kms:ReEncrypt*")}


class Foundation(cdk.Stack):
    """The key and two buckets, which outlive their stack, and the limit, which the pipeline cannot change."""

    def __init__(self, scope: Construct, name: str, *, resources: Resources, log_days: int, **stack: Any) -> None:
        super().__init__(scope, name, **stack)
        self.key = kms.Key(
            self,
            "Key",
            alias=f"alias/{resources.prefix}",
            description=f"Encrypts what {resources.prefix} keeps",
            enable_key_rotation=True,
            removal_policy=cdk.RemovalPolicy.RETAIN,
        )
        for service in WRITERS:
            self.key.add_to_resource_policy(
                iam.PolicyStatement(
                    sid=f"{service.capitalize()}WritesForUs",
                    actions=["kms:Decrypt", "kms:GenerateDataKey*", *MORE.get(service, ())],
                    principals=[iam.ServicePrincipal(f"{service}.amazonaws.com")],
                    resources=["*"],  # in a key's policy: this key
                    conditions={"StringEquals": {"aws:SourceAccount": self.account}},
                )
            )
        self.key.add_to_resource_policy(
            iam.PolicyStatement(
                sid="LogsOfThisStage",
                actions=["kms:Encrypt", "kms:Decrypt", "kms:ReEncrypt*", "kms:GenerateDataKey*", "kms:DescribeKey"],
                principals=[iam.ServicePrincipal(f"logs.{self.region}.amazonaws.com")],
                resources=["*"],  # in a key's policy: this key
                conditions={
                    "ArnLike": {
                        "kms:EncryptionContext:aws:logs:arn": f"arn:aws:logs:{self.region}:{self.account}:log-group:*"
                    }
                },
            )
        )
        self.key.add_to_resource_policy(
            iam.PolicyStatement(
                sid="CloudFrontReadsPictures",
                actions=["kms:Decrypt"],
                principals=[iam.ServicePrincipal("cloudfront.amazonaws.com")],
                resources=["*"],  # in a key's policy: this key
                conditions={
                    # Not the stage's distribution by its id: it is made later, and the bucket's policy names it.
                    "ArnLike": {"aws:SourceArn": f"arn:aws:cloudfront::{self.account}:distribution/*"},
                    "StringEquals": {
                        "kms:EncryptionContext:aws:s3:arn": f"arn:aws:s3:::{resources.prefix}-media-{self.account}"
                    },
                },
            )
        )
        # The service that carries what Step Functions logs; AWS names no condition that it would meet.
        # https://docs.aws.amazon.com/step-functions/latest/dg/encryption-at-rest.html
        self.key.add_to_resource_policy(
            iam.PolicyStatement(
                sid="LogsAreDelivered",
                actions=["kms:Decrypt"],
                principals=[iam.ServicePrincipal("delivery.logs.amazonaws.com")],
                resources=["*"],  # in a key's policy: this key
            )
        )
        # S3 delivers its logs under a key of its own only, and to nobody's ownership but the bucket's policy.
        self.access_logs = private_bucket(
            self, "AccessLogs", f"{resources.prefix}-access-logs-{self.account}", lifecycle_rules=[forgetting(log_days)]
        )
        accept(self.access_logs, {"S3DefaultEncryptionKMS": "S3 delivers access logs to buckets with its own key only"})
        self.access_logs.add_to_resource_policy(
            iam.PolicyStatement(
                sid="LogsOfTheStagesBuckets",
                actions=["s3:PutObject"],
                principals=[iam.ServicePrincipal("logging.s3.amazonaws.com")],
                resources=[self.access_logs.arn_for_objects("*")],
                conditions={
                    "ArnLike": {"aws:SourceArn": f"arn:aws:s3:::{resources.prefix}-*"},
                    "StringEquals": {"aws:SourceAccount": self.account},
                },
            )
        )
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
        self.limit = self._limit(resources)

    def _limit(self, resources: Resources) -> iam.ManagedPolicy:
        """The permissions boundary of every role of the stage: by its name, as stacks of two regions have it."""
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
        accept(
            limit,
            dict.fromkeys(("IAMPolicyNoStatementsWithAdminAccess", "IAMPolicyNoStatementsWithFullAccess"), reason),
        )
        return limit
