"""What deploying a stage takes: the rights of whoever runs `make deploy`, and those of CloudFormation in its name.

Called by pipeline.py. Who deploys changes a stage that stands: they cannot make a role, delete a stack, or reach
another stage (making one is an administrator's, docs/deploy.md). CloudFormation can make roles, of the stage's name
alone, and is told what to do by templates that were judged before.
"""

from collections.abc import Iterator, Sequence

from aws_cdk import aws_iam as iam

from infrastructure.config import EDGE_REGION, REGION, TRACING_LAYER
from vibecode.resources import PROJECT, Resources

# The services of which a stage's stacks have resources, some by a setting only (a domain, files, what runs long), as
# IAM calls them; a test holds them against the templates. AWS Backup makes a vault by `backup-storage`.
SERVICES = (
    "acm", "apigateway", "application-autoscaling", "backup", "backup-storage", "budgets", "ce", "cloudfront",
    "cloudwatch", "cognito-identity", "cognito-idp", "dynamodb", "ec2", "ecr", "ecs", "elasticache",
    "elasticfilesystem", "events", "kms", "lambda", "logs", "rds", "route53", "s3", "secretsmanager",
    "ses", "sns", "sqs", "ssm", "states", "wafv2",
)  # fmt: skip


EVERY_STAGE = "all"  # the tag `stage` of what an account has once


def creating(stage: str, account: str) -> Iterator[iam.PolicyStatement]:
    """CloudFormation's: every deed of the services that the stacks use, in our two regions; roles by their names."""
    mine = [f"arn:aws:iam::{account}:{kind}/{PROJECT}-{stage}-*" for kind in ("role", "policy")]
    yield _only_of(stage)
    yield _allow(
        "WhatTheStacksAreMadeOf",
        [f"{service}:*" for service in SERVICES],
        ["*"],  # ids are given by AWS when a thing is made
        {"StringEquals": {"aws:RequestedRegion": [REGION, EDGE_REGION]}},  # global services count as us-east-1
    )
    yield _allow(
        "RolesOfTheStage",
        [
            *(f"iam:{deed}Role" for deed in ("Create", "Delete", "Get", "Pass", "Tag", "Untag", "Update")),
            *(f"iam:{deed}RolePolicy" for deed in ("Attach", "Detach", "Put", "Delete", "Get")),
            *(f"iam:{deed}Policy" for deed in ("Create", "Delete", "Get", "Tag", "Untag")),
            *(f"iam:{deed}PolicyVersion" for deed in ("Create", "Delete", "Get")),
            "iam:ListAttachedRolePolicies",
            "iam:ListPolicyVersions",
            "iam:ListRolePolicies",
            "iam:UpdateAssumeRolePolicy",
        ],
        mine,
    )
    yield _allow(
        "RolesThatServicesBringAlong",
        ["iam:CreateServiceLinkedRole"],
        [f"arn:aws:iam::{account}:role/aws-service-role/*"],
    )


def deploying(stage: str, account: str, maker: str) -> Iterator[iam.PolicyStatement]:
    """Of `make deploy`: stacks by the role `maker`, both functions and their API by Zappa, files, migrations."""
    resources = Resources(stage=stage, region=REGION, account=account)
    prefix = resources.prefix
    yield _only_of(stage, EVERY_STAGE)  # the latter is the pipeline itself, which is read
    yield from _stacks(stage, account, maker)
    yield from _zappa(resources)
    yield _allow(
        "PackagesAndStaticFiles",
        ["s3:ListBucket", "s3:GetObject", "s3:PutObject", "s3:DeleteObject"],
        [
            arn
            for bucket in ("packages", "static")
            for arn in (f"arn:aws:s3:::{prefix}-{bucket}-{account}", f"arn:aws:s3:::{prefix}-{bucket}-{account}/*")
        ],
    )
    yield _allow(
        "ByTheKeyOfTheStage",
        ["kms:Decrypt", "kms:Encrypt", "kms:GenerateDataKey", "kms:DescribeKey", "kms:CreateGrant"],
        [f"arn:aws:kms:{REGION}:{account}:key/*"],
        {"ForAnyValue:StringEquals": {"kms:ResourceAliases": f"alias/{prefix}"}},
    )
    yield _allow(
        "HandOver",
        ["ssm:GetParameter"],
        [f"arn:aws:ssm:{REGION}:{account}:parameter/{PROJECT}/{stage}/hand-over"],
    )
    yield from _secrets(resources)
    yield from _database(resources)
    # What is asked before anything is done; none of it has anything narrower.
    # https://docs.aws.amazon.com/service-authorization/latest/reference/list_amazonec2.html and its neighbours
    yield _allow("Preflight", ["ec2:DescribeAddresses", "ec2:DescribeVpcs", "servicequotas:GetServiceQuota"], ["*"])


def _stacks(stage: str, account: str, maker: str) -> Iterator[iam.PolicyStatement]:
    yield _allow(
        "StacksOfTheStage",
        [
            f"cloudformation:{deed}"
            for deed in (
                "CreateChangeSet", "DeleteChangeSet", "DescribeChangeSet", "ExecuteChangeSet", "DescribeStacks",
                "DescribeStackEvents", "GetTemplate", "TagResource", "UpdateTerminationProtection",
            )
        ],
        [f"arn:aws:cloudformation:{region}:{account}:stack/{PROJECT}-{stage}-*/*" for region in (REGION, EDGE_REGION)],
    )  # fmt: skip
    yield _allow(
        "InTheNameOfCloudFormationsRole",
        ["iam:PassRole"],
        [maker],
        {"StringEquals": {"iam:PassedToService": "cloudformation.amazonaws.com"}},
    )


def _zappa(resources: Resources) -> Iterator[iam.PolicyStatement]:
    """Both functions, and the API in front of one, which Zappa makes by a small stack of its own."""
    region, account, prefix = resources.region, resources.account, resources.prefix
    yield _allow(
        "StackOfZappa",
        [f"cloudformation:{deed}" for deed in ("UpdateStack", "DescribeStacks", "DescribeStackResource",
                                               "DescribeStackEvents", "ListStackResources")],
        [f"arn:aws:cloudformation:{region}:{account}:stack/{prefix}/*"],
    )  # fmt: skip
    functions = [f"arn:aws:lambda:{region}:{account}:function:{name}" for name in (prefix, resources.worker)]
    yield _allow(
        "Functions",
        [
            *(f"lambda:{deed}Function" for deed in ("Get", "Invoke")),
            *(f"lambda:{deed}FunctionConfiguration" for deed in ("Get", "Update")),
            *(f"lambda:{deed}Alias" for deed in ("Create", "Get", "Update")),
            *(f"lambda:{deed}Permission" for deed in ("Add", "Remove")),
            "lambda:DeleteFunctionConcurrency",
            "lambda:GetPolicy",
            "lambda:ListFunctionUrlConfigs",
            "lambda:ListVersionsByFunction",
            "lambda:PublishVersion",
            "lambda:PutFunctionConcurrency",
            "lambda:TagResource",
            "lambda:UpdateFunctionCode",
        ],
        [arn for function in functions for arn in (function, f"{function}:*")],
    )
    yield _allow("LayerThatTraces", ["lambda:GetLayerVersion"], [TRACING_LAYER])
    yield _allow("VersionsThatAreOld", ["lambda:DeleteFunction"], [f"{function}:*" for function in functions])
    yield _allow(
        "RolesOfTheFunctions",
        ["iam:GetRole", "iam:PassRole"],
        [f"arn:aws:iam::{account}:role/{prefix}-{which}" for which in ("web", "worker")],
        {"StringEqualsIfExists": {"iam:PassedToService": "lambda.amazonaws.com"}},
    )
    yield _allow(
        "Api",
        [f"apigateway:{verb}" for verb in ("GET", "POST", "PUT", "PATCH", "DELETE")],
        [f"arn:aws:apigateway:{region}::/{what}" for what in ("restapis", "restapis/*", "tags/*")],
    )


def _secrets(resources: Resources) -> Iterator[iam.PolicyStatement]:
    """The desk's client secret goes from Cognito to where the functions read it; the origin's is told to CloudFront."""
    region, account = resources.region, resources.account
    secret = f"arn:aws:secretsmanager:{region}:{account}:secret:{resources.prefix}"
    yield _allow("SecretsOfTheStage", ["secretsmanager:GetSecretValue"], [f"{secret}/settings-*", f"{secret}/origin-*"])
    yield _allow("SecretOfTheDesk", ["secretsmanager:PutSecretValue"], [f"{secret}/settings-*"])
    yield _allow(
        "ClientOfTheDesk",
        ["cognito-idp:DescribeUserPoolClient"],
        [f"arn:aws:cognito-idp:{region}:{account}:userpool/*"],  # its id is given by AWS; the tag says whose it is
    )


def _database(resources: Resources) -> Iterator[iam.PolicyStatement]:
    """The roles of PostgreSQL are made through RDS's Data API, by the password that RDS keeps for its master."""
    cluster = f"arn:aws:rds:{resources.region}:{resources.account}:cluster:{resources.prefix}-database"
    yield _allow("RolesOfTheDatabase", ["rds:DescribeDBClusters", "rds-data:ExecuteStatement"], [cluster])
    yield _allow(
        "PasswordOfItsMaster",
        ["secretsmanager:GetSecretValue"],
        [f"arn:aws:secretsmanager:{resources.region}:{resources.account}:secret:rds!cluster-*"],
        {"StringEquals": {"aws:ResourceTag/aws:rds:primaryDBClusterArn": cluster}},
    )


def _only_of(*stages: str) -> iam.PolicyStatement:
    """Whatever else is allowed: nothing that is tagged as another stage's, wherever a service lets tags decide."""
    return iam.PolicyStatement(
        sid="NothingOfAnotherStage",
        effect=iam.Effect.DENY,
        actions=["*"],
        resources=["*"],
        conditions={
            "Null": {"aws:ResourceTag/stage": "false"},
            "StringNotEquals": {"aws:ResourceTag/stage": list(stages)},
        },
    )


def _allow(
    sid: str, actions: Sequence[str], on: Sequence[str], conditions: dict[str, object] | None = None
) -> iam.PolicyStatement:
    return iam.PolicyStatement(sid=sid, actions=list(actions), resources=list(on), conditions=conditions or {})
