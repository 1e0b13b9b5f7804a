"""Who deploys may do what a deploy calls, and nothing else: each call of one, decided by the policy of its stage."""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

import botocore.session
import pytest
from aws_cdk import aws_iam as iam

from infrastructure import deploying_rights
from infrastructure.config import REGION, STAGES
from infrastructure.deploying_rights import creating, deploying, limit_arn, limiting
from infrastructure.privilege.needs import ACTIONS
from infrastructure.privilege.policies import Statement, allows, matches, statements
from tests.infrastructure.stage_here import STAGE, stage_here
from vibecode.resources import LOCAL_ACCOUNT

OWN = f"vibecode-{STAGE}"
MAKER = f"arn:aws:iam::{LOCAL_ACCOUNT}:role/vibecode-pipeline-{STAGE}-cloudformation"
DEPLOYER = "deployer"  # the access key that its calls are signed with
STACK = f"arn:aws:cloudformation:{REGION}:{LOCAL_ACCOUNT}:stack/{OWN}-network/id"
FUNCTIONS = [f"arn:aws:lambda:{REGION}:{LOCAL_ACCOUNT}:function:{name}" for name in (OWN, f"{OWN}-worker")]


@dataclass(frozen=True)
class Need:
    """An action on a resource that must be allowed, and where AWS says so if no call here shows it."""

    action: str
    on: str
    source: str = ""
    context: Mapping[str, str] = field(default_factory=dict)


KEY = f"arn:aws:kms:{REGION}:{LOCAL_ACCOUNT}:key/id"
CLUSTER = f"arn:aws:rds:{REGION}:{LOCAL_ACCOUNT}:cluster:{OWN}-database"
MASTER = f"arn:aws:secretsmanager:{REGION}:{LOCAL_ACCOUNT}:secret:rds!cluster-id"
ZAPPAS = f"arn:aws:cloudformation:{REGION}:{LOCAL_ACCOUNT}:stack/{OWN}/id"
API = f"arn:aws:apigateway:{REGION}::/restapis/id"
LAMBDA = "https://docs.aws.amazon.com/lambda/latest/dg"
CLOUD = "https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide"
ZAPPA = "https://github.com/zappa/Zappa/blob/master/zappa/core.py"
GATEWAY = "https://docs.aws.amazon.com/apigateway/latest/developerguide/permissions.html"
DATA_API = "https://docs.aws.amazon.com/AmazonRDS/latest/AuroraUserGuide/data-api.access.html"
BACKUP = "https://docs.aws.amazon.com/service-authorization/latest/reference/list_awsbackup.html"
# What a deploy needs beside the calls that the local AWS sees: what AWS asks of us by itself, and what other stages do.
UNSEEN = [
    # Lambda looks at the network of VpcConfig in our name.
    *(
        Need(f"ec2:Describe{what}", "*", f"{LAMBDA}/configuration-vpc.html")
        for what in ("SecurityGroups", "Subnets", "Vpcs")
    ),
    *(
        Need(
            "iam:PassRole",
            f"arn:aws:iam::{LOCAL_ACCOUNT}:role/{OWN}-{which}",
            f"{LAMBDA}/lambda-api-permissions-ref.html",
            {"iam:PassedToService": "lambda.amazonaws.com"},
        )
        for which in ("web", "worker")
    ),
    Need(
        "iam:PassRole",
        MAKER,
        f"{CLOUD}/using-iam-servicerole.html",
        {"iam:PassedToService": "cloudformation.amazonaws.com"},
    ),
    # CloudFormation says why a stack failed, protects it, and passes its tags on.
    *(
        Need(f"cloudformation:{deed}", STACK, f"{CLOUD}/control-access-with-iam.html")
        for deed in ("DescribeStackEvents", "TagResource", "UpdateTerminationProtection")
    ),
    # Where Zappa's API has changed: CloudFormation calls API Gateway in our name.
    *(Need(f"cloudformation:{deed}", ZAPPAS, ZAPPA) for deed in ("DescribeStackEvents", "ListStackResources")),
    Need("apigateway:PUT", f"{API}/resources/id/methods/ANY", GATEWAY),
    Need("apigateway:DELETE", f"{API}/resources/id", GATEWAY),
    # Tags travel with what makes a function.
    Need("lambda:TagResource", f"{FUNCTIONS[0]}-next", f"{LAMBDA}/configuration-tags.html"),
    # A stage with SnapStart has versions, an alias that goes from one to the next, and forgets what is old. Zappa sets
    # anew what runs at once, and who may call.
    *(
        Need(f"lambda:{deed}", function, ZAPPA)
        for function in FUNCTIONS
        for deed in ("PublishVersion", "PutFunctionConcurrency", "AddPermission", "RemovePermission", "GetPolicy")
    ),
    *(
        Need(f"lambda:{deed}Alias", f"{function}:live", f"{LAMBDA}/configuration-aliases.html")
        for function in FUNCTIONS
        for deed in ("Create", "Get", "Update")
    ),
    *(
        Need("lambda:DeleteFunction", f"{function}:7", f"{LAMBDA}/configuration-versions.html")
        for function in FUNCTIONS
    ),
    # Lambda, S3 and Secrets Manager use the stage's key in our name.
    *(
        Need(
            f"kms:{deed}",
            KEY,
            f"{LAMBDA}/configuration-envvars-encryption.html",
            {"kms:ResourceAliases": f"alias/{OWN}"},
        )
        for deed in ("CreateGrant", "Decrypt", "DescribeKey", "Encrypt", "GenerateDataKey")
    ),
    Need("rds-data:ExecuteStatement", CLUSTER, DATA_API),
    Need("secretsmanager:GetSecretValue", MASTER, DATA_API, {"aws:ResourceTag/aws:rds:primaryDBClusterArn": CLUSTER}),
    Need("backup:DescribeRegionSettings", "*", BACKUP),  # whether AWS Backup minds Aurora in this account
    Need(
        "s3:DeleteObject", f"arn:aws:s3:::{OWN}-packages-{LOCAL_ACCOUNT}/releases/old.zip", "of ten releases the oldest"
    ),
]


# --- what a call needs -----------------------------------------------------------------------------------------------
def need(call: str, about: Mapping[str, str]) -> Need | None:
    """What must be allowed for a call of the trail; None for one that needs nothing."""
    service, _, operation = call.partition(":")
    here = f"{REGION}:{LOCAL_ACCOUNT}"
    match service:
        case "sts":
            return None
        case "s3":
            key = about.get("Key") if operation not in {"HeadBucket", "ListObjects"} else None
            return Need(ACTIONS.get(call, call), f"arn:aws:s3:::{about['Bucket']}" + (f"/{key}" if key else ""))
        case "apigateway":
            verb, path = operation.split(" ")
            return Need(f"apigateway:{verb}", f"arn:aws:apigateway:{REGION}::{path}")
        case "lambda":
            return of_lambda(*operation.split(" "))
        case "cloudformation":
            return Need(call, f"arn:aws:cloudformation:{here}:stack/{about['StackName']}/id")
        case "secretsmanager":
            said = about["SecretId"]
            return Need(
                call, said if said.startswith("arn:") else f"arn:aws:secretsmanager:{here}:secret:{said}-Suffix"
            )
        case "ssm":
            return Need(call, f"arn:aws:ssm:{here}:parameter{about['Name']}")
        case "cognito-idp":
            return Need(call, f"arn:aws:cognito-idp:{here}:userpool/{about['UserPoolId']}")
        case "rds":
            return Need(call, f"arn:aws:rds:{here}:cluster:{about['DBClusterIdentifier']}")
    return Need(call, "*")


def of_lambda(method: str, path: str) -> Need:
    """Lambda's calls have no name on the wire: botocore knows their paths."""
    model = botocore.session.get_session().get_service_model("lambda")
    for name in model.operation_names:
        http = model.operation_model(name).http
        pattern = re.sub(
            r"\\\{(\w+)\\\}", r"(?P<\1>[^/]+)", re.escape(http["requestUri"].partition("?")[0].rstrip("/"))
        )
        if http["method"] == method and (found := re.fullmatch(pattern, path.rstrip("/"))):
            said = found.groupdict()
            on = said.get("Resource") or said.get("FunctionName", "*")
            here = f"arn:aws:lambda:{REGION}:{LOCAL_ACCOUNT}:function:"
            if name == "CreateFunction":  # says the name inside: Zappa makes none where there is one
                on = f"{OWN}-next"
            on = on if on.startswith("arn:") or on == "*" else here + on
            alias = f":{said['Name']}" if "Name" in said else ""
            return Need(f"lambda:{'InvokeFunction' if name == 'Invoke' else name}", on + alias)
    raise AssertionError(f"Lambda has no {method} {path}")


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> list[Need]:
    """What a second release and the way back from it need, by every call that they make here."""
    folder = tmp_path_factory.mktemp("deploy")
    trail = folder / "trail.jsonl"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LOCAL_TRAIL", str(trail))
        with stage_here(folder) as stage:
            made = stage.run("deploy", release="one")
            assert made.returncode == 0, made.stdout
            # What the second brings, so that there is something to do: a stack changes, a secret got lost.
            parameter = {"Type": "AWS::SSM::Parameter", "Properties": {"Name": "/m", "Type": "String", "Value": "1"}}
            stage.stacks(network={"More": parameter})
            stripes = json.dumps({"STRIPE_API_KEY": "sk", "STRIPE_WEBHOOK_SECRET": "whsec"})
            stage.client("secretsmanager").put_secret_value(SecretId=f"{OWN}/settings", SecretString=stripes)
            stage.environment["AWS_ACCESS_KEY_ID"] = DEPLOYER
            for words, release in (("deploy", "two"), ("rollback", "")):
                done = stage.run(words, release=release)
                assert done.returncode == 0, done.stdout
    return [each for each in map(_asked, trail.read_text().splitlines()) if each]


def _asked(line: str) -> Need | None:
    said = json.loads(line)
    return need(said["call"], said["about"]) if said["who"] == DEPLOYER else None


def decided(made: Iterator[iam.PolicyStatement]) -> list[Statement]:
    """Statements as IAM reads them."""
    return list(statements(iam.PolicyDocument(statements=list(made)).to_json()))


@pytest.fixture(scope="module")
def deployer() -> list[Statement]:
    """The policy of who deploys the stage."""
    return decided(deploying(STAGE, LOCAL_ACCOUNT, MAKER))


# --- who deploys -----------------------------------------------------------------------------------------------------
def test_who_deploys_may_do_whatever_a_deploy_does(seen: list[Need], deployer: list[Statement]) -> None:
    wanted = [*seen, *UNSEEN]
    refused = [each for each in wanted if not allows(deployer, each.action, each.on, each.context)]

    assert refused == []
    assert len({each.action for each in seen}) > 20, "it has seen a deploy"


def test_who_deploys_may_do_nothing_that_a_deploy_does_not(seen: list[Need], deployer: list[Statement]) -> None:
    wanted = [*seen, *UNSEEN]
    idle = [
        f"{action} ({statement.sid})"
        for statement in deployer
        for action in statement.actions
        if statement.effect == "Allow"
        and not any(
            matches(action, each.action, any_case=True) and statement.covers(action, each.on, each.context)
            for each in wanted
        )
    ]

    assert idle == []


def test_a_layer_an_image_and_a_sender_are_looked_at_where_the_stage_has_one(monkeypatch: pytest.MonkeyPatch) -> None:
    layer = f"arn:aws:lambda:{REGION}:901920570463:layer:aws-otel-python:7"
    has_all = replace(STAGES[STAGE], tracing_layer=layer, batch=True, domain="shop.example", hosted_zone="Z1")
    more = {STAGE: has_all}
    image = f"arn:aws:ecr:{REGION}:{LOCAL_ACCOUNT}:repository/{OWN}"
    sender = f"arn:aws:ses:{REGION}:{LOCAL_ACCOUNT}:identity/shop.example"
    asked = (("lambda:GetLayerVersion", layer), ("ecr:DescribeImages", image), ("ses:GetEmailIdentity", sender))
    without = decided(deploying(STAGE, LOCAL_ACCOUNT, MAKER))
    monkeypatch.setattr(deploying_rights, "STAGES", {**STAGES, **more})
    having = decided(deploying(STAGE, LOCAL_ACCOUNT, MAKER))

    assert not any(allows(without, action, on) for action, on in asked)
    assert all(allows(having, action, on) for action, on in asked)


# --- CloudFormation, and the roles that it makes ---------------------------------------------------------------------
OTHER = "vibecode-production"
REACHED = (  # what another stage has that goes by a name, and what a stage's role could want of it
    ("s3:GetObject", f"arn:aws:s3:::{OTHER}-media-{LOCAL_ACCOUNT}/uploads/a"),
    ("s3:PutBucketPolicy", f"arn:aws:s3:::{OTHER}-packages-{LOCAL_ACCOUNT}"),
    ("sqs:DeleteQueue", f"arn:aws:sqs:{REGION}:{LOCAL_ACCOUNT}:{OTHER}-relay"),
    ("dynamodb:Scan", f"arn:aws:dynamodb:{REGION}:{LOCAL_ACCOUNT}:table/{OTHER}-connections"),
    ("lambda:UpdateFunctionCode", f"arn:aws:lambda:{REGION}:{LOCAL_ACCOUNT}:function:{OTHER}"),
    ("secretsmanager:GetSecretValue", f"arn:aws:secretsmanager:{REGION}:{LOCAL_ACCOUNT}:secret:{OTHER}/settings-a"),
    ("ssm:PutParameter", f"arn:aws:ssm:{REGION}:{LOCAL_ACCOUNT}:parameter/vibecode/production/hand-over"),
    ("events:PutEvents", f"arn:aws:events:{REGION}:{LOCAL_ACCOUNT}:event-bus/{OTHER}"),
    ("states:StartExecution", f"arn:aws:states:{REGION}:{LOCAL_ACCOUNT}:stateMachine:{OTHER}-orders"),
    ("sns:Publish", f"arn:aws:sns:{REGION}:{LOCAL_ACCOUNT}:{OTHER}-announcements"),
)
HERE = {"aws:RequestedRegion": REGION}
LIMIT = {"iam:PermissionsBoundary": limit_arn(STAGE, LOCAL_ACCOUNT)}
ROLE = f"arn:aws:iam::{LOCAL_ACCOUNT}:role/{OWN}-new"


@pytest.fixture(scope="module")
def maker() -> list[Statement]:
    """The policy of CloudFormation's role."""
    return decided(creating(STAGE, LOCAL_ACCOUNT))


def limited(action: str, on: str, **context: str) -> bool:
    """Whether a role of the stage may do it whose own policies allow everything."""
    return allows(decided(limiting(STAGE, LOCAL_ACCOUNT)), action, on, context)


@pytest.mark.parametrize(("action", "on"), REACHED)
def test_what_another_stage_has_is_out_of_reach_for_cloudformation_and_for_every_role_that_it_makes(
    maker: list[Statement], action: str, on: str
) -> None:
    mine = on.replace("production", STAGE)

    assert not allows(maker, action, on, HERE)
    assert not limited(action, on)
    assert allows(maker, action, mine, HERE)
    assert limited(action, mine)


def test_what_has_an_id_is_out_of_reach_where_another_stages_tag_is_on_it(maker: list[Statement]) -> None:
    for action, kind in (
        ("kms:Decrypt", "kms"),
        ("rds:DeleteDBProxy", "rds"),
        ("cognito-idp:DeleteUserPool", "cognito-idp"),
    ):
        on = f"arn:aws:{kind}:{REGION}:{LOCAL_ACCOUNT}:" + {"rds": "db-proxy:prx"}.get(kind, "userpool/id")
        for tag in ("production", "all"):
            told = {**HERE, "aws:ResourceTag/stage": tag}
            assert not allows(maker, action, on, told)
            assert not allows(decided(limiting(STAGE, LOCAL_ACCOUNT)), action, on, told)
        assert allows(maker, action, on, {**HERE, "aws:ResourceTag/stage": STAGE})


@pytest.mark.parametrize("deed", ["CreateRole", "PutRolePolicy", "AttachRolePolicy", "PutRolePermissionsBoundary"])
def test_cloudformation_makes_no_role_without_the_limit(maker: list[Statement], deed: str) -> None:
    administrator = {"iam:PermissionsBoundary": "arn:aws:iam::aws:policy/AdministratorAccess"}

    assert allows(maker, f"iam:{deed}", ROLE, LIMIT)
    assert not allows(maker, f"iam:{deed}", ROLE)
    assert not allows(maker, f"iam:{deed}", ROLE, administrator)
    assert not allows(maker, f"iam:{deed}", ROLE.replace(OWN, "vibecode-pipeline"), LIMIT)


def test_cloudformation_cannot_lift_the_limit(maker: list[Statement]) -> None:
    limit = limit_arn(STAGE, LOCAL_ACCOUNT)
    own = limit.replace("boundary", "web-shop")
    for deed in ("CreatePolicy", "DeletePolicy", "CreatePolicyVersion", "DeletePolicyVersion"):
        assert allows(maker, f"iam:{deed}", own)
        assert not allows(maker, f"iam:{deed}", limit)
    assert not allows(maker, "iam:SetDefaultPolicyVersion", limit)
    assert not allows(maker, "iam:DeleteRolePermissionsBoundary", ROLE, LIMIT)


@pytest.mark.parametrize(
    "action", ["iam:PutRolePolicy", "iam:CreateUser", "sts:AssumeRole", "cloudformation:UpdateStack"]
)
def test_a_role_of_the_stage_makes_no_rights_whatever_its_policies_say(action: str) -> None:
    assert not limited(action, "*")
    assert not limited(action, ROLE)
