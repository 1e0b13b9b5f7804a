"""Who deploys may do what a deploy calls, and nothing else: each call of one here, decided by the policy of its stage."""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import botocore.session
import pytest
from aws_cdk import aws_iam as iam

from infrastructure.config import REGION
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


def _unseen() -> Iterator[Need]:
    """What AWS asks of a deploy beside the calls that the local AWS can see: by other calls, or at other stages."""
    lambda_docs = "https://docs.aws.amazon.com/lambda/latest/dg"
    for what in ("SecurityGroups", "Subnets", "Vpcs"):  # for VpcConfig, by Lambda in our name
        yield Need(f"ec2:Describe{what}", "*", f"{lambda_docs}/configuration-vpc.html")
    for which in ("web", "worker"):
        role = f"arn:aws:iam::{LOCAL_ACCOUNT}:role/{OWN}-{which}"
        told = {"iam:PassedToService": "lambda.amazonaws.com"}
        yield Need("iam:PassRole", role, f"{lambda_docs}/lambda-api-permissions-ref.html", told)
    told = {"iam:PassedToService": "cloudformation.amazonaws.com"}
    docs = "https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide"
    yield Need("iam:PassRole", MAKER, f"{docs}/using-iam-servicerole.html", told)
    # CloudFormation describes why a stack failed, protects it, and passes on the tags of stacks.
    for deed in ("DescribeStackEvents", "TagResource", "UpdateTerminationProtection"):
        yield Need(f"cloudformation:{deed}", STACK, f"{docs}/using-iam-template.html")
    # Of Zappa's own stack: seen where its API changes. CloudFormation then calls API Gateway in our name.
    zappa = f"arn:aws:cloudformation:{REGION}:{LOCAL_ACCOUNT}:stack/{OWN}/id"
    for deed in ("DescribeStackEvents", "ListStackResources"):
        yield Need(f"cloudformation:{deed}", zappa, "https://github.com/zappa/Zappa/blob/master/zappa/core.py")
    for verb, path in (("PUT", "restapis/id/resources/id/methods/ANY"), ("DELETE", "restapis/id/resources/id")):
        permissions = "https://docs.aws.amazon.com/apigateway/latest/developerguide/permissions.html"
        yield Need(f"apigateway:{verb}", f"arn:aws:apigateway:{REGION}::/{path}", permissions)
    for function in FUNCTIONS:
        # A stage with SnapStart has versions, an alias that goes from one to the next, and forgets what is old.
        for deed in ("PublishVersion", "ListVersionsByFunction", "GetFunction", "GetFunctionConfiguration"):
            yield Need(f"lambda:{deed}", function, f"{lambda_docs}/snapstart.html")
        for deed in ("CreateAlias", "GetAlias", "UpdateAlias"):
            yield Need(f"lambda:{deed}", f"{function}:live", f"{lambda_docs}/configuration-aliases.html")
        yield Need("lambda:DeleteFunction", f"{function}:7", f"{lambda_docs}/configuration-versions.html")
        # Zappa sets what its settings say anew each time: the limit of what runs at once, who may call.
        for deed in ("PutFunctionConcurrency", "AddPermission", "RemovePermission", "GetPolicy"):
            yield Need(f"lambda:{deed}", function, "https://github.com/zappa/Zappa/blob/master/zappa/core.py")
    # Lambda encrypts a function's environment, S3 and Secrets Manager what they keep, in the name of who asks.
    for deed in ("CreateGrant", "Decrypt", "DescribeKey", "Encrypt", "GenerateDataKey"):
        key = f"arn:aws:kms:{REGION}:{LOCAL_ACCOUNT}:key/id"
        told = {"kms:ResourceAliases": f"alias/{OWN}"}
        yield Need(f"kms:{deed}", key, f"{lambda_docs}/configuration-envvars-encryption.html", told)
    cluster = f"arn:aws:rds:{REGION}:{LOCAL_ACCOUNT}:cluster:{OWN}-database"
    docs = "https://docs.aws.amazon.com/AmazonRDS/latest/AuroraUserGuide/data-api.access.html"
    yield Need("rds-data:ExecuteStatement", cluster, docs)
    master = f"arn:aws:secretsmanager:{REGION}:{LOCAL_ACCOUNT}:secret:rds!cluster-id"
    yield Need("secretsmanager:GetSecretValue", master, docs, {"aws:ResourceTag/aws:rds:primaryDBClusterArn": cluster})
    backups = "https://docs.aws.amazon.com/service-authorization/latest/reference/list_awsbackup.html"
    yield Need("backup:DescribeRegionSettings", "*", backups)  # whether AWS Backup minds Aurora in this account
    yield Need("s3:DeleteObject", f"arn:aws:s3:::{OWN}-packages-{LOCAL_ACCOUNT}/releases/old.zip", "an 11th release")


UNSEEN = list(_unseen())


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
            return Need(call, said if said.startswith("arn:") else f"arn:aws:secretsmanager:{here}:secret:{said}-Suffix")
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
        pattern = re.sub(r"\\\{(\w+)\\\}", r"(?P<\1>[^/]+)", re.escape(http["requestUri"].partition("?")[0].rstrip("/")))
        if http["method"] == method and (found := re.fullmatch(pattern, path.rstrip("/"))):
            said = found.groupdict()
            on = said.get("Resource") or said.get("FunctionName", "*")
            here = f"arn:aws:lambda:{REGION}:{LOCAL_ACCOUNT}:function:"
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
