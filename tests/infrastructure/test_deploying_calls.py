"""What the deployment asks of AWS where the local one cannot answer as AWS does: exact calls, by botocore's Stubber."""

import base64
import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import boto3
import pytest
from botocore.stub import ANY, Stubber

from infrastructure.config import EDGE_REGION, REGION, STAGES
from infrastructure.database_roles import statements
from infrastructure.deploying import plan, stacks
from infrastructure.deploying.account import Account, Refused
from infrastructure.deploying.confidential import complete_settings, origin_parameters
from infrastructure.deploying.database import make_roles
from infrastructure.deploying.functions import Functions, WentWrong
from infrastructure.deploying.plan import make_plan
from infrastructure.deploying.record import Release
from infrastructure.deploying.stacks import StackFailed, Stacks, Template

NUMBER = "123456789012"
NAME = "vibecode-dev-network"
ARN = f"arn:aws:cloudformation:{REGION}:{NUMBER}:changeSet/deploy-1/1"
TAGS = {"app": "vibecode", "stage": "dev", "cost-centre": "engineering", "data-class": "internal"}
BODY = '{"Resources":{"Vpc":{"Type":"AWS::EC2::VPC"}}}'
NETWORK = Template(what="network", name=NAME, region=REGION, tags=TAGS, protected=True, body=BODY)
NOW = datetime(2026, 11, 26, tzinfo=UTC)
STACK = {"StackName": NAME, "CreationTime": NOW}


class Aws:
    """boto3's clients, each with what is expected of it; nothing else is answered."""

    def __init__(self) -> None:
        self.stubs: dict[tuple[str, str], Stubber] = {}
        self.account = Account(STAGES["dev"], self._make)
        self("sts").add_response("get_caller_identity", {"Account": NUMBER, "Arn": f"arn:aws:iam::{NUMBER}:user/me"})

    def __call__(self, service: str, region: str = REGION) -> Stubber:
        if (service, region) not in self.stubs:
            keys = {"aws_access_key_id": "tests", "aws_secret_access_key": "tests"}
            client: Any = boto3.client(service, region_name=region, **keys)  # type: ignore[call-overload]  # any service
            self.stubs[service, region] = Stubber(client)
            self.stubs[service, region].activate()
        return self.stubs[service, region]

    def _make(self, service: str, *, region_name: str, **_: object) -> Any:
        return self(service, region_name).client

    def is_now(self, status: str, **more: Any) -> None:
        """A question about the stack network."""
        cloud = self("cloudformation")
        if status:
            answer = {"Stacks": [{**STACK, "StackStatus": status, **more}]}
            cloud.add_response("describe_stacks", answer, {"StackName": NAME})
        else:
            cloud.add_client_error("describe_stacks", "ValidationError", expected_params={"StackName": NAME})

    def is_changed(self, kind: str, changes: list[dict[str, Any]] | None, **expected: Any) -> None:
        """A change set of the stack network, made and looked at; without changes only made."""
        cloud = self("cloudformation")
        cloud.add_response(
            "create_change_set",
            {"Id": ARN},
            {
                "StackName": NAME,
                "ChangeSetName": ANY,
                "ChangeSetType": kind,
                "Parameters": [],
                "Capabilities": ["CAPABILITY_NAMED_IAM"],
                "Tags": [{"Key": key, "Value": value} for key, value in sorted(TAGS.items())],
                **expected,
            },
        )
        asked = {"StackName": NAME, "ChangeSetName": ARN}
        described = {"Status": "CREATE_COMPLETE", "Changes": changes or []}
        cloud.add_response("describe_change_set", {"Status": "CREATE_COMPLETE"}, asked)
        if kind == "UPDATE" and changes is not None:
            cloud.add_response("describe_change_set", described, asked)

    def done(self) -> None:
        """Everything that was expected was asked."""
        for (service, _), stub in self.stubs.items():
            if service != "sts":
                stub.assert_no_pending_responses()


@pytest.fixture
def aws(monkeypatch: pytest.MonkeyPatch) -> Iterator[Aws]:
    for name in ("AWS_ENDPOINT_URL", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    made = Aws()
    yield made
    made.done()


def change(action: str, kind: str, name: str, replacement: str = "False") -> dict[str, Any]:
    about = {"Action": action, "ResourceType": kind, "LogicalResourceId": name}
    return {"Type": "Resource", "ResourceChange": about | ({"Replacement": replacement} if action == "Modify" else {})}


# --- stacks ----------------------------------------------------------------------------------------------------------
def test_a_new_stack_is_made_by_a_change_set_and_then_protected(aws: Aws) -> None:
    cloud = aws("cloudformation")
    aws.is_now("")
    aws.is_now("")  # which outputs there are
    role = f"arn:aws:iam::{NUMBER}:role/maker"
    aws.is_changed("CREATE", [], TemplateBody=BODY, ImportExistingResources=True, RoleARN=role)
    cloud.add_response("execute_change_set", {}, {"StackName": NAME, "ChangeSetName": ARN})
    aws.is_now("CREATE_COMPLETE")
    protect = {"StackName": NAME, "EnableTerminationProtection": True}
    cloud.add_response("update_termination_protection", {"StackId": ARN}, protect)

    assert Stacks(aws.account, {"network": NETWORK}, role=role).apply("network") == "new, 1 resources"


def test_what_is_left_of_a_first_creation_that_failed_makes_way_and_what_outlived_it_is_taken_in(aws: Aws) -> None:
    cloud = aws("cloudformation")
    aws.is_now("ROLLBACK_COMPLETE")
    cloud.add_response("delete_stack", {}, {"StackName": NAME})
    aws.is_now("")
    aws.is_now("")
    aws.is_changed("CREATE", [], TemplateBody=BODY, ImportExistingResources=True)
    cloud.add_response("execute_change_set", {}, {"StackName": NAME, "ChangeSetName": ARN})
    aws.is_now("CREATE_COMPLETE")

    Stacks(aws.account, {"network": replace(NETWORK, protected=False)}).apply("network")


def test_a_long_template_is_read_from_the_bucket_of_packages(aws: Aws) -> None:
    body = json.dumps({"Description": "x" * stacks.SENT, "Resources": {}})
    key = f"templates/{NAME}-{hashlib.sha256(body.encode()).hexdigest()[:16]}.json"
    bucket = f"vibecode-dev-packages-{NUMBER}"
    aws("s3").add_response("put_object", {}, {"Bucket": bucket, "Key": key, "Body": body.encode()})
    aws.is_now("UPDATE_COMPLETE")
    aws.is_now("UPDATE_COMPLETE")
    aws.is_changed("UPDATE", [], TemplateURL=f"https://{bucket}.s3.{REGION}.amazonaws.com/{key}")
    cloud = aws("cloudformation")
    cloud.add_response("execute_change_set", {}, {"StackName": NAME, "ChangeSetName": ARN})
    aws.is_now("UPDATE_COMPLETE")

    Stacks(aws.account, {"network": replace(NETWORK, body=body, protected=False)}).apply("network")


def test_a_plan_names_what_is_replaced_from_every_page_and_leaves_no_change_set(aws: Aws) -> None:
    cloud = aws("cloudformation")
    aws.is_now("UPDATE_COMPLETE")
    aws.is_now("UPDATE_COMPLETE")
    aws.is_changed("UPDATE", None, TemplateBody=BODY)
    asked = {"StackName": NAME, "ChangeSetName": ARN}
    first = {"Status": "CREATE_COMPLETE", "NextToken": "more", "Changes": [change("Add", "AWS::EC2::VPC", "Other")]}
    rest = [
        change("Modify", "AWS::EC2::Subnet", "Zone", "Conditional"),
        change("Modify", "AWS::EC2::VPC", "Vpc"),
        change("Remove", "AWS::EC2::NatGateway", "Nat"),
    ]
    cloud.add_response("describe_change_set", first, asked)
    cloud.add_response(
        "describe_change_set", {"Status": "CREATE_COMPLETE", "Changes": rest}, {**asked, "NextToken": "more"}
    )
    cloud.add_response("delete_change_set", {}, asked)

    found = Stacks(aws.account, {"network": NETWORK}).plan("network")

    assert found.made == ["AWS::EC2::VPC Other"]
    assert found.modified == ["AWS::EC2::VPC Vpc"]
    assert found.lost == ["AWS::EC2::NatGateway Nat", "AWS::EC2::Subnet Zone"]


def test_what_the_plan_did_not_show_is_not_lost(aws: Aws) -> None:
    aws.is_now("UPDATE_COMPLETE")
    aws.is_now("UPDATE_COMPLETE")
    aws.is_changed("UPDATE", [change("Remove", "AWS::RDS::DBCluster", "Cluster")], TemplateBody=BODY)
    asked = {"StackName": NAME, "ChangeSetName": ARN}
    aws("cloudformation").add_response("delete_change_set", {}, asked)

    with pytest.raises(Refused, match="would lose what the plan did not show: AWS::RDS::DBCluster Cluster"):
        Stacks(aws.account, {"network": NETWORK}).apply("network", agreed=["AWS::EC2::VPC Vpc"])


def test_a_stack_that_fails_says_what_failed_first(aws: Aws) -> None:
    cloud = aws("cloudformation")
    aws.is_now("UPDATE_COMPLETE")
    aws.is_now("UPDATE_COMPLETE")
    aws.is_changed("UPDATE", [], TemplateBody=BODY)
    cloud.add_response("execute_change_set", {}, {"StackName": NAME, "ChangeSetName": ARN})
    aws.is_now("UPDATE_ROLLBACK_COMPLETE")
    told = [
        ("Subnet", "CREATE_FAILED", "Resource creation cancelled"),
        ("Vpc", "CREATE_FAILED", "The limit of VPCs is reached"),
        (NAME, "UPDATE_IN_PROGRESS", "User Initiated"),
        ("Old", "CREATE_FAILED", "of last year"),
    ]
    events = [
        {
            "StackId": ARN, "EventId": str(n), "StackName": NAME, "Timestamp": NOW,
            "LogicalResourceId": name, "ResourceStatus": status, "ResourceStatusReason": reason,
        }
        for n, (name, status, reason) in enumerate(told)
    ]  # fmt: skip
    cloud.add_response("describe_stack_events", {"StackEvents": events}, {"StackName": NAME})

    with pytest.raises(StackFailed) as failed:
        Stacks(aws.account, {"network": NETWORK}).apply("network")

    assert str(failed.value) == f"{NAME} is UPDATE_ROLLBACK_COMPLETE: Vpc: The limit of VPCs is reached"


def test_a_deploy_that_was_cut_off_is_waited_for(aws: Aws, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stacks, "POLLED", 0)
    aws.is_now("UPDATE_IN_PROGRESS")
    aws.is_now("UPDATE_ROLLBACK_FAILED")

    with pytest.raises(Refused, match=f"{NAME} is UPDATE_ROLLBACK_FAILED"):
        Stacks(aws.account, {"network": NETWORK}).apply("network")


def test_a_parameter_that_nobody_tells_is_named(aws: Aws) -> None:
    needs = replace(NETWORK, body='{"Parameters":{"ApiId":{"Type":"String"}},"Resources":{}}')
    aws.is_now("UPDATE_COMPLETE")
    aws.is_now("UPDATE_COMPLETE")

    with pytest.raises(Refused, match=f"{NAME} needs ApiId"):
        Stacks(aws.account, {"network": needs}).apply("network")


def test_outputs_of_another_region_fill_parameters_also_by_what_others_call_them(aws: Aws) -> None:
    body = json.dumps({"Parameters": {n: {"Type": "String"} for n in ("WebAclArn", "PublicDomain")}, "Resources": {}})
    edge = replace(NETWORK, what="worldwide", name="vibecode-dev-worldwide", region=EDGE_REGION)
    outputs = {"WebAclArn": "arn:acl", "PublicUrl": "https://shop.example"}
    told = [{"OutputKey": key, "OutputValue": value} for key, value in outputs.items()]
    stack = {**STACK, "StackName": edge.name, "StackStatus": "UPDATE_COMPLETE", "Outputs": told}
    aws("cloudformation", EDGE_REGION).add_response("describe_stacks", {"Stacks": [stack]}, {"StackName": edge.name})
    aws.is_now("UPDATE_COMPLETE")
    aws.is_now("UPDATE_COMPLETE")
    filled = {"WebAclArn": "arn:acl", "PublicDomain": "shop.example"}
    parameters = [{"ParameterKey": key, "ParameterValue": value} for key, value in filled.items()]
    aws.is_changed("UPDATE", [], TemplateBody=body, Parameters=parameters)
    cloud = aws("cloudformation")
    cloud.add_response("delete_change_set", {}, {"StackName": NAME, "ChangeSetName": ARN})

    Stacks(aws.account, {"worldwide": edge, "network": replace(NETWORK, body=body)}).plan("network")


# --- the account -----------------------------------------------------------------------------------------------------
def limited(aws: Aws, code: str, service: str, value: float) -> None:
    asked = {"ServiceCode": service, "QuotaCode": code}
    aws("service-quotas").add_response("get_service_quota", {"Quota": {"Value": value}}, asked)


def test_every_limit_that_a_new_stage_would_meet_is_named(aws: Aws) -> None:
    for _ in range(2):  # whether something is wrong with it, and whether it is there
        aws.is_now("")
    limited(aws, "L-B99A9384", "lambda", 10)
    limited(aws, "L-F678F1CE", "vpc", 5)
    limited(aws, "L-0263D0A3", "ec2", 5)
    aws("ec2").add_response("describe_vpcs", {"Vpcs": [{}] * 5})
    aws("ec2").add_response("describe_addresses", {"Addresses": [{}] * 4})
    record: Any = SimpleNamespace(releases={}, current="")

    with pytest.raises(Refused) as refused:
        make_plan(Stacks(aws.account, {"network": NETWORK}), record, Release(name="r", source="s"), resumes=False)

    said = str(refused.value)
    assert "functions running at once: 0 of 10 are used, 144 more are needed; ask for L-B99A9384" in said
    assert "VPCs: 5 of 5 are used, 1 more are needed; ask for L-F678F1CE" in said
    assert "elastic" not in said


def test_a_plan_says_what_the_month_will_cost_where_somebody_knows(aws: Aws, monkeypatch: pytest.MonkeyPatch) -> None:
    known: Any = SimpleNamespace(monthly=lambda templates: Decimal(40 * len(templates)))
    monkeypatch.setattr("importlib.util.find_spec", lambda _: known)
    monkeypatch.setattr("importlib.import_module", lambda _: known)
    aws.is_now("")

    assert plan._costs(Stacks(aws.account, {"network": NETWORK})) == (Decimal(0), Decimal(40))


def test_the_roles_are_made_by_the_masters_secret_statement_by_statement_also_of_a_cluster_that_sleeps(
    aws: Aws, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("infrastructure.deploying.database.PAUSE", 0)
    cluster, secret = (
        f"arn:aws:rds:{REGION}:{NUMBER}:cluster:vibecode-dev-database",
        f"arn:aws:secretsmanager:{REGION}:1:x",
    )
    found = {"DBClusterArn": cluster, "MasterUserSecret": {"SecretArn": secret}}
    asked = {"DBClusterIdentifier": "vibecode-dev-database"}
    aws("rds").add_response("describe_db_clusters", {"DBClusters": [found]}, asked)
    said = [{"resourceArn": cluster, "secretArn": secret, "database": "vibecode", "sql": sql} for sql in statements()]
    data = aws("rds-data")
    data.add_client_error("execute_statement", "DatabaseResumingException", expected_params=said[0])
    for expected in said:
        data.add_response("execute_statement", {"numberOfRecordsUpdated": 0}, expected)

    assert make_roles(aws.account) == f"{len(said)} statements"


def settings_of(aws: Aws, **known: str) -> tuple[dict[str, Any], str]:
    """A stage's secret with what it holds, and the document that names it; the pool's client has another secret."""
    arn = f"arn:aws:secretsmanager:{REGION}:{NUMBER}:secret:vibecode-dev/settings-AbCdEf"
    aws("secretsmanager").add_response("get_secret_value", {"SecretString": json.dumps(known)}, {"SecretId": arn})
    aws("cognito-idp").add_response(
        "describe_user_pool_client",
        {"UserPoolClient": {"ClientSecret": "made and kept by Cognito"}},
        {"UserPoolId": "pool_1", "ClientId": "desk"},
    )
    told = {"SECRETS_ARN": arn, "COGNITO_USER_POOL_ID": "pool_1", "OIDC_CLIENT_ID": "desk"}
    return {"environment": told | {"PUBLIC_URL": "https://shop.example"}}, arn


def test_the_desks_client_secret_goes_from_cognito_to_the_stages_own(aws: Aws) -> None:
    known = {"SECRET_KEY": "k", "STRIPE_API_KEY": "sk", "STRIPE_WEBHOOK_SECRET": "wh"}
    document, arn = settings_of(aws, **known)
    whole = json.dumps({**known, "OIDC_CLIENT_SECRET": "made and kept by Cognito"})
    aws("secretsmanager").add_response("put_secret_value", {}, {"SecretId": arn, "SecretString": whole})

    assert "made and kept by Cognito" not in complete_settings(aws.account, document)


def test_without_stripes_keys_nothing_goes_on(aws: Aws) -> None:
    document, _ = settings_of(aws, OIDC_CLIENT_SECRET="made and kept by Cognito", STRIPE_API_KEY="sk")

    with pytest.raises(Refused, match=r"lacks STRIPE_WEBHOOK_SECRET: .*https://shop.example/api/v1/payments"):
        complete_settings(aws.account, document)


@pytest.mark.parametrize(("switched", "said"), [(False, "old"), (True, "new")])
def test_a_new_origin_secret_is_known_to_the_functions_before_cloudfront_says_it(
    aws: Aws, switched: bool, said: str
) -> None:
    manager, name = aws("secretsmanager"), "vibecode-dev/origin"
    manager.add_response("get_secret_value", {"VersionId": "new" * 11, "SecretString": "2"}, {"SecretId": name})
    old = {"SecretId": name, "VersionId": "old" * 11}
    manager.add_response("get_secret_value", {"VersionId": "old" * 11, "SecretString": "1"}, old)

    told = origin_parameters(aws.account, "old" * 11, switched=switched)

    digests = [hashlib.sha256(value.encode()).hexdigest() for value in ("2", "1")]
    assert told == {"OriginSecretSha256": ",".join(digests), "OriginVersion": said * 11}


# --- operations ------------------------------------------------------------------------------------------------------
@pytest.fixture
def answers(aws: Aws, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Let the worker answer an operation."""
    monkeypatch.setattr("infrastructure.deploying.functions.PAUSE", 0)

    def answer(operation: str, payload: dict[str, Any], *, failed: bool = False, **arguments: Any) -> None:
        asked = json.dumps({"operation": operation, "arguments": arguments})
        answered = {"Payload": SimpleNamespace(read=lambda: json.dumps(payload).encode())}
        aws("lambda").add_response(
            "invoke",
            answered | ({"FunctionError": "Unhandled"} if failed else {}),
            {"FunctionName": "vibecode-dev-worker", "Payload": asked},
        )

    return answer


def test_migrations_are_called_until_nothing_is_left_and_again_while_the_database_is_busy(
    aws: Aws, answers: Callable[..., None]
) -> None:
    answers("migrate", {"errorType": "Busy", "errorMessage": "Others"}, failed=True)
    answers("migrate", {"applied": ["orders.0001"], "left": ["orders.0002"]})
    answers("migrate", {"errorMessage": "2026-11-26 Task timed out after 120.00 seconds"}, failed=True)
    answers("migrate", {"errorType": "MigrationsRun", "errorMessage": "A build"}, failed=True)
    answers("migrate", {"applied": ["orders.0002"], "left": []})

    assert Functions(aws.account).migrate() == ["orders.0001", "orders.0002"]


def test_an_operation_that_fails_for_good_is_not_asked_again(aws: Aws, answers: Callable[..., None]) -> None:
    answers("migrate", {"errorType": "TrailOpen", "errorMessage": "REVOKE it"}, failed=True)

    with pytest.raises(WentWrong, match="migrate: TrailOpen: REVOKE it"):
        Functions(aws.account).migrate()


def test_a_function_that_somebody_else_has_given_another_package_is_noticed(aws: Aws) -> None:
    mine, theirs = (base64.b64encode(hashlib.sha256(each).digest()).decode() for each in (b"mine", b"theirs"))
    for name, digest in (("vibecode-dev", mine), ("vibecode-dev-worker", theirs)):
        aws("lambda").add_response("get_function_configuration", {"CodeSha256": digest}, {"FunctionName": name})

    with pytest.raises(WentWrong, match="vibecode-dev-worker has another package than this release"):
        Functions(aws.account).check_code(hashlib.sha256(b"mine").hexdigest())


def test_figures_are_counted_call_by_call(aws: Aws, answers: Callable[..., None]) -> None:
    answers("rebuild-figures", {"done": False, "goOnAfter": 7, "goOnFrom": "2026-11-01"})
    answers("rebuild-figures", {"done": True}, after=7, day="2026-11-01")

    Functions(aws.account).rebuild_figures()


# --- the assembly ----------------------------------------------------------------------------------------------------
def test_a_stack_without_a_place_in_the_order_is_refused(tmp_path: Path) -> None:
    (tmp_path / "assembly-dev").mkdir()
    artifact = {
        "type": "aws:cloudformation:stack",
        "environment": f"aws://unknown-account/{REGION}",
        "properties": {"stackName": "vibecode-dev-somewhere", "templateFile": "x.json"},
    }
    (tmp_path / "assembly-dev" / "manifest.json").write_text(json.dumps({"artifacts": {"x": artifact}}))

    with pytest.raises(Refused, match="vibecode-dev-somewhere has no place in the order"):
        stacks.read(tmp_path, "dev", "vibecode-dev")
