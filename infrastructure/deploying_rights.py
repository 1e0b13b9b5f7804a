"""What deploying a stage takes: the rights of whoever runs `make deploy`, and those of CloudFormation in its name.

Called by pipeline.py; the limit of a stage's roles by foundation.py. Who deploys changes a stage that stands: by their
own rights they make no role, delete no stack, and reach no other stage (making one is an administrator's,
docs/deploy.md). What they have CloudFormation make is held by three things: its role reaches things by the stage's
name, or by ids that no other stage's tag is on; it makes no role without the stage's limit; and it cannot change that
limit. docs/security.md says what this leaves open.

Longer than most modules: the deployer's rights, CloudFormation's and the limit of both name the same things.
"""

from collections.abc import Iterator, Mapping, Sequence

from aws_cdk import aws_iam as iam

from infrastructure.config import EDGE_REGION, REGION, STAGES
from vibecode.resources import PROJECT, Resources

EVERY_STAGE = "all"  # the tag `stage` of what an account has once

# What a stage's things are called, by service, as IAM writes it. `*` stands where AWS gives the id. Names that
# CloudFormation makes begin with the stack's, and so with the stage's.
# https://docs.aws.amazon.com/service-authorization/latest/reference/reference_policies_actions-resources-contextkeys.html
BY_NAME: Mapping[str, Sequence[str]] = {
    "backup": ("backup-vault:{own}-*", "backup-plan:*"),
    "cloudwatch": ("alarm:{own}-*", "dashboard/{own}"),
    "dynamodb": ("table/{own}-*",),
    "ecr": ("repository/{own}",),
    "elasticache": ("serverlesscache:{own}-*",),
    "events": ("event-bus/{own}", "rule/{own}-*", "rule/{own}/*", "archive/{own}-*"),
    "lambda": ("function:{own}", "function:{own}:*", "function:{own}-*", "event-source-mapping:*"),
    "logs": tuple(
        f"log-group:{beginning}{{own}}*"
        for beginning in ("/", "/aws/lambda/", "/aws/rds/cluster/", "/aws/vendedlogs/states/", "aws-waf-logs-")
    ),
    "rds": (
        "cluster:{own}-*", "db:{own}-*", "cluster-pg:{own}-*", "subgrp:{own}-*", "db-proxy:*", "target-group:*",
        "pg:default.*", "og:default:*",
    ),
    "s3": ("{own}-*",),
    "secretsmanager": ("secret:{own}/*",),
    "sns": ("{own}-*",),
    "sqs": ("{own}-*",),
    "ssm": ("parameter/{project}/{stage}/*",),
    "states": ("stateMachine:{own}-*", "execution:{own}-*"),
}  # fmt: skip
# Services in which AWS gives the ids, or has parts that no name can be given to: there the tag decides.
BY_TAG = (
    "acm", "apigateway", "application-autoscaling", "backup-storage", "budgets", "ce", "cloudfront",
    "cognito-identity", "cognito-idp", "ec2", "ecs", "elasticfilesystem", "kms", "route53", "ses", "wafv2",
)  # fmt: skip
# Of the services that go by name: what AWS knows no resource for, and what only looks. Of S3 not even that.
WITHOUT_NAME = (
    *(f"{service}:List*" for service in sorted(BY_NAME.keys() - {"s3"})),
    *(f"{service}:Describe*" for service in sorted(BY_NAME.keys() - {"lambda", "s3", "sns", "sqs"})),
    "billing:GetBillingViewData",
    "logs:CreateLogDelivery", "logs:DeleteLogDelivery", "logs:GetLogDelivery", "logs:UpdateLogDelivery",
    "logs:DeleteQueryDefinition", "logs:PutQueryDefinition",
    "logs:PutResourcePolicy",
    "rds:CreateDBProxy",
    "secretsmanager:GetRandomPassword",
)  # fmt: skip
# What holds a shop's data or does its work, and has a name in every call: a role of a stage needs none but its own.
DATA = ("dynamodb", "events", "lambda", "s3", "secretsmanager", "sns", "sqs", "ssm", "states")
LIMIT = "boundary"  # how the policy is called after the stage; CloudFormation's role may not change it
# API Gateway writes the logs of all APIs of an account and region by one role: whichever stage was deployed last.
# https://docs.aws.amazon.com/apigateway/latest/developerguide/set-up-logging.html
GATEWAY_LOGS = "live-GatewayLogs"  # how the name begins that CloudFormation gives the role, after the stage
OF_LOGGING = ("logs:CreateLogStream", "logs:DescribeLogStreams", "logs:PutLogEvents")


def limit_arn(stage: str, account: str) -> str:
    """The policy that limits every role of a stage."""
    return f"arn:aws:iam::{account}:policy/{PROJECT}-{stage}-{LIMIT}"


def limiting(stage: str, account: str) -> Iterator[iam.PolicyStatement]:
    """The most that a role of a stage can be allowed, whatever its own policies say: nobody has a right by this.

    https://docs.aws.amazon.com/IAM/latest/UserGuide/access_policies_boundaries.html
    """
    yield _allow("WhatItsOwnPoliciesSay", ["*"], ["*"])
    yield _deny(
        "NoRightsOfItsOwnMaking",
        [
            "iam:*",
            "sts:AssumeRole",
            "organizations:*",
            "account:*",
            "cloudformation:*",
            "codebuild:*",
            "codepipeline:*",
        ],
        on=["*"],
    )
    yield _deny("NoDataButItsOwn", [f"{service}:*" for service in DATA], on_all_but=_named(stage, account, DATA))
    yield _only_of(stage, but=OF_LOGGING)
    gateway = f"arn:aws:iam::{account}:role/{PROJECT}-{stage}-{GATEWAY_LOGS}*"
    yield _deny(
        "NoLogsOfAnotherStageButApiGateways",
        OF_LOGGING,
        on=["*"],
        conditions=_of_others(stage) | {"ArnNotLike": {"aws:PrincipalArn": gateway}},
    )


def creating(stage: str, account: str) -> Iterator[iam.PolicyStatement]:
    """CloudFormation's, in our two regions: what has the stage's name, what has an id and no other stage's tag."""
    ours: dict[str, object] = {  # global services count as us-east-1
        "StringEquals": {"aws:RequestedRegion": [REGION, EDGE_REGION]}
    }
    worker = f"arn:aws:lambda:{REGION}:{account}:function:{PROJECT}-{stage}-worker"
    yield _only_of(stage)
    yield _allow("WhatIsNamed", [f"{service}:*" for service in BY_NAME], _named(stage, account, BY_NAME), ours)
    yield _allow("WhatHasAnId", [f"{service}:*" for service in BY_TAG], ["*"], ours)
    yield _allow("WhatHasNeither", WITHOUT_NAME, ["*"], ours)
    # A mapping has no name, and before it is made no id. https://docs.aws.amazon.com/lambda/latest/dg/lambda-api-permissions-ref.html
    yield _allow(
        "MessagesOfTheWorker",
        ["lambda:CreateEventSourceMapping"],
        ["*"],
        {"ArnLike": {"lambda:FunctionArn": [worker, f"{worker}:*"]}},
    )
    # RDS makes the password of its master in the name of who makes the cluster.
    # https://docs.aws.amazon.com/AmazonRDS/latest/AuroraUserGuide/rds-secrets-manager.html
    yield _allow(
        "PasswordOfTheMaster",
        ["secretsmanager:CreateSecret", "secretsmanager:TagResource"],
        [f"arn:aws:secretsmanager:{REGION}:{account}:secret:rds!cluster-*"],
    )
    yield from _roles(stage, account)
    yield _allow(
        "RolesThatServicesBringAlong",
        ["iam:CreateServiceLinkedRole"],
        [f"arn:aws:iam::{account}:role/aws-service-role/*"],
    )


def _roles(stage: str, account: str) -> Iterator[iam.PolicyStatement]:
    """Roles of the stage's name, none without its limit, and never the limit itself.

    https://docs.aws.amazon.com/IAM/latest/UserGuide/access_policies_boundaries.html#access_policies_boundaries-delegate
    """
    roles, policies = (f"arn:aws:iam::{account}:{kind}/{PROJECT}-{stage}-*" for kind in ("role", "policy"))
    limit = limit_arn(stage, account)
    yield _allow(
        "RolesWithinTheLimit",
        [
            "iam:CreateRole", "iam:AttachRolePolicy", "iam:DetachRolePolicy", "iam:PutRolePolicy",
            "iam:DeleteRolePolicy", "iam:PutRolePermissionsBoundary",
        ],
        [roles],
        {"StringEquals": {"iam:PermissionsBoundary": limit}},
    )  # fmt: skip
    yield _allow(
        "RolesOfTheStage",
        [
            *(f"iam:{deed}Role" for deed in ("Delete", "Get", "Pass", "Tag", "Untag", "Update")),
            "iam:GetRolePolicy",
            "iam:ListAttachedRolePolicies",
            "iam:ListRolePolicies",
            "iam:UpdateAssumeRolePolicy",
            "iam:UpdateRoleDescription",
        ],
        [roles],
    )
    yield _allow(
        "PoliciesOfTheStage",
        [
            *(f"iam:{deed}Policy" for deed in ("Create", "Delete", "Get", "Tag", "Untag")),
            *(f"iam:{deed}PolicyVersion" for deed in ("Create", "Delete", "Get")),
            "iam:ListEntitiesForPolicy",
            "iam:ListPolicyVersions",
        ],
        [policies],
    )
    yield _deny(
        "TheLimitStays",
        [*(f"iam:{deed}PolicyVersion" for deed in ("Create", "Delete")), "iam:CreatePolicy", "iam:DeletePolicy",
         "iam:SetDefaultPolicyVersion"],
        on=[limit],
    )  # fmt: skip


def _named(stage: str, account: str, services: Sequence[str] | Mapping[str, Sequence[str]]) -> list[str]:
    """The things of a stage in these services, by their names."""
    known = {"own": f"{PROJECT}-{stage}", "project": PROJECT, "stage": stage}
    found = []
    for service in services:
        where = "s3:::" if service == "s3" else f"{service}:*:{account}:"
        found += [f"arn:aws:{where}{thing.format_map(known)}" for thing in BY_NAME[service]]
    return found


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
    # https://docs.aws.amazon.com/service-authorization/latest/reference/list_servicequotas.html and its neighbours
    yield _allow("Preflight", ["servicequotas:GetServiceQuota"], ["*"])
    if domain := STAGES[stage].domain:  # Cognito's pool waits until SES has verified it
        yield _allow("SenderOfMails", ["ses:GetEmailIdentity"], [f"arn:aws:ses:{REGION}:{account}:identity/{domain}"])
    if STAGES[stage].batch:
        yield _allow(
            "ImageOfTheRelease", ["ecr:DescribeImages"], [f"arn:aws:ecr:{REGION}:{account}:repository/{prefix}"]
        )


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
    """Both functions with the API in front of one, which Zappa makes by a small stack of its own; a third meanwhile."""
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
    # A release is tried out, and migrates, in a function beside those that work (deploying/functions.py, `beside`).
    beside = f"arn:aws:lambda:{region}:{account}:function:{prefix}-next"
    deeds = ("CreateFunction", "DeleteFunction", "GetFunctionConfiguration", "InvokeFunction", "TagResource")
    yield _allow("TheReleaseThatComes", [f"lambda:{deed}" for deed in deeds], [beside])
    yield _allow("VersionsThatAreOld", ["lambda:DeleteFunction"], [f"{function}:*" for function in functions])
    yield _allow(
        "RolesOfTheFunctions",
        ["iam:PassRole"],
        [f"arn:aws:iam::{account}:role/{prefix}-{which}" for which in ("web", "worker")],
        {"StringEqualsIfExists": {"iam:PassedToService": "lambda.amazonaws.com"}},
    )
    # Zappa always tells Lambda the functions' network, and Lambda looks at it with the rights of who asks.
    # https://docs.aws.amazon.com/lambda/latest/dg/configuration-vpc.html, https://github.com/zappa/Zappa/issues/892
    yield _allow(
        "NetworkOfTheFunctions", [f"ec2:Describe{what}" for what in ("SecurityGroups", "Subnets", "Vpcs")], ["*"]
    )
    if layer := STAGES[resources.stage].tracing_layer:
        yield _allow("LayerOfTheFunctions", ["lambda:GetLayerVersion"], [layer])
    # Its id is AWS's to give, after the pipeline is made. It has the stage's tag, as Zappa's stack has, and those of
    # other stages theirs, which NothingOfAnotherStage refuses. An API is made by an administrator alone.
    yield _allow("FindTheApi", ["apigateway:GET"], [f"arn:aws:apigateway:{region}::/restapis"])
    yield _allow(
        "Api",
        [f"apigateway:{verb}" for verb in ("GET", "POST", "PUT", "PATCH", "DELETE")],
        [f"arn:aws:apigateway:{region}::/{what}" for what in ("restapis/*", "tags/*")],
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
    # It has nothing narrower: https://docs.aws.amazon.com/service-authorization/latest/reference/list_awsbackup.html
    yield _allow("WhetherItIsBackedUp", ["backup:DescribeRegionSettings"], ["*"])
    yield _allow(
        "PasswordOfItsMaster",
        ["secretsmanager:GetSecretValue"],
        [f"arn:aws:secretsmanager:{resources.region}:{resources.account}:secret:rds!cluster-*"],
        {"StringEquals": {"aws:ResourceTag/aws:rds:primaryDBClusterArn": cluster}},
    )


def _only_of(*stages: str, but: Sequence[str] = ()) -> iam.PolicyStatement:
    """Whatever else is allowed: nothing that is tagged as another stage's, wherever a service lets tags decide."""
    actions = {"not_actions": list(but)} if but else {"actions": ["*"]}
    return iam.PolicyStatement(
        sid="NothingOfAnotherStage",
        effect=iam.Effect.DENY,
        resources=["*"],
        conditions=_of_others(*stages),
        **actions,
    )


def _of_others(*stages: str) -> dict[str, object]:
    return {"Null": {"aws:ResourceTag/stage": "false"}, "StringNotEquals": {"aws:ResourceTag/stage": list(stages)}}


def _allow(
    sid: str, actions: Sequence[str], on: Sequence[str], conditions: Mapping[str, object] | None = None
) -> iam.PolicyStatement:
    return iam.PolicyStatement(sid=sid, actions=list(actions), resources=list(on), conditions=conditions or {})


def _deny(
    sid: str,
    actions: Sequence[str],
    *,
    on: Sequence[str] = (),
    on_all_but: Sequence[str] = (),
    conditions: Mapping[str, object] | None = None,
) -> iam.PolicyStatement:
    return iam.PolicyStatement(
        sid=sid,
        effect=iam.Effect.DENY,
        actions=list(actions),
        resources=list(on) or None,
        not_resources=list(on_all_but) or None,
        conditions=conditions or {},
    )
