"""What the app runs as: its roles do what the code does and no more, and the hand-over is whole."""

import json
import re
from collections.abc import Mapping
from email.utils import parseaddr
from importlib.util import find_spec
from typing import Any

import pytest

from infrastructure.config import STAGES
from infrastructure.hand_over import check, complete
from tests.infrastructure.plausible import ACCOUNT, REGION, Plausible, Template
from tests.infrastructure.templates import as_list, of_stage, resources
from vibecode.local.folder import REPOSITORY
from vibecode.resources import QUEUES, Resources

SETTINGS = json.loads((REPOSITORY / "zappa_settings.json").read_text())

type Statements = dict[str, dict[str, Any]]


@pytest.fixture(scope="module")
def account(templates: Mapping[str, Template]) -> Plausible:
    """The stages as they would be."""
    return Plausible(templates)


def named(stage: str) -> Resources:
    return Resources(stage=stage, region=REGION, account=ACCOUNT)


def of_type(template: Template, kind: str) -> dict[str, dict[str, Any]]:
    """The properties of the resources of a type, by their logical ids."""
    return {name: each["Properties"] for name, each in template["Resources"].items() if each["Type"] == kind}


def role_of(account: Plausible, template: Template, name: str) -> Statements:
    """The statements of a role by their sids, with actions and resources as lists."""
    [logical] = [key for key, role in of_type(template, "AWS::IAM::Role").items() if role["RoleName"] == name]
    assert {"Policies", "ManagedPolicyArns"}.isdisjoint(template["Resources"][logical]["Properties"])
    found: Statements = {}
    for policy in of_type(template, "AWS::IAM::ManagedPolicy").values():
        if policy["Roles"] == [{"Ref": logical}]:
            for statement in account.value(template, policy["PolicyDocument"])["Statement"]:
                assert statement["Sid"] not in found
                found[statement["Sid"]] = {
                    **statement,
                    **{
                        part: each if isinstance(each := statement[part], list) else [each]
                        for part in ("Action", "Resource")
                    },
                }
    return found


def allowed(statements: Statements) -> set[str]:
    return {action for each in statements.values() if each["Effect"] == "Allow" for action in each["Action"]}


@pytest.fixture
def runtime(templates: Mapping[str, Template], stage: str) -> Template:
    return templates[f"vibecode-{stage}-runtime"]


@pytest.fixture
def web(account: Plausible, runtime: Template, stage: str) -> Statements:
    return role_of(account, runtime, f"vibecode-{stage}-web")


@pytest.fixture
def worker(account: Plausible, runtime: Template, stage: str) -> Statements:
    return role_of(account, runtime, f"vibecode-{stage}-worker")


# --- the roles -------------------------------------------------------------------------------------------------------
def test_only_the_worker_writes_mails_pushes_announces_and_makes_staff(web: Statements, worker: Statements) -> None:
    assert allowed(worker) - allowed(web) == {
        "ses:SendEmail", "ses:SendRawEmail", "sns:Publish", "events:PutEvents", "execute-api:ManageConnections",
        "cognito-idp:AdminCreateUser", "cognito-idp:CreateGroup", "cognito-idp:AdminAddUserToGroup",
        "dynamodb:UpdateItem", "dynamodb:DeleteItem", "dynamodb:Query", "dynamodb:Scan", "sqs:ChangeMessageVisibility",
    }  # fmt: skip
    assert allowed(web) - allowed(worker) == {"states:ListExecutions"}


def test_only_the_worker_owns_the_tables(web: Statements, worker: Statements, stage: str) -> None:
    def doors(statements: Statements) -> set[tuple[str, str]]:
        arns = [
            each for said in statements.values() if said["Action"] == ["rds-db:connect"] for each in said["Resource"]
        ]
        found = [re.fullmatch(r"arn:aws:rds-db:eu-north-1:\d{12}:dbuser:(cluster|prx)-\w+/(\w+)", arn) for arn in arns]
        return {(arn[1], arn[2]) for arn in found if arn}

    door = "prx" if STAGES[stage].proxied else "cluster"
    assert doors(web) == {(door, "vibecode_app")}
    assert doors(worker) == {(door, "vibecode_app"), ("cluster", "vibecode_owner")}


def test_the_web_writes_tickets_and_no_connection(web: Statements) -> None:
    tickets = web["KeepTickets"]

    assert tickets["Action"] == ["dynamodb:PutItem"]
    assert tickets["Condition"] == {
        "ForAllValues:StringLike": {"dynamodb:LeadingKeys": ["TICKET#*"]},
        "Null": {"dynamodb:LeadingKeys": "false"},
    }


def test_the_web_receives_from_dead_letter_queues_alone_and_the_worker_from_all_others(
    web: Statements, worker: Statements, stage: str
) -> None:
    def receives(statements: Statements) -> set[str]:
        found = [each["Resource"] for each in statements.values() if "sqs:ReceiveMessage" in each["Action"]]
        return {queue for queues in found for queue in queues}

    assert receives(web) == {named(stage).queue_arn(queue.key, dead=True) for queue in QUEUES}
    assert receives(worker) == {named(stage).queue_arn(queue.key) for queue in QUEUES}
    sends = {each for said in worker.values() if "sqs:SendMessage" in said["Action"] for each in said["Resource"]}
    assert sends == {named(stage).queue_arn("relay"), named(stage).queue_arn("jobs")}


def test_mails_are_sent_as_the_shop_and_as_nobody_else(worker: Statements, stage: str) -> None:
    said = worker["WriteToCustomers"]

    assert said["Condition"] == {"StringEquals": {"ses:FromAddress": parseaddr(STAGES[stage].sender)[1]}}
    assert any(each.endswith(f":configuration-set/{named(stage).mail_configuration}") for each in said["Resource"])


def test_pushes_reach_the_connections_of_this_stages_api_alone(worker: Statements, stage: str) -> None:
    [resource] = worker["PushToCustomers"]["Resource"]

    assert resource == f"arn:aws:execute-api:{REGION}:{ACCOUNT}:a1b2c3d4e5/{stage}/*/@connections/*"


def test_the_key_is_used_through_services_and_never_by_asking_kms(web: Statements, worker: Statements) -> None:
    for statements in (web, worker):
        uses = [each for each in statements.values() if any(action.startswith("kms:") for action in each["Action"])]
        assert [each["Sid"] for each in uses] == ["UseTheKey", "UseTheKeyOfTheTable"]
        for condition in (each["Condition"]["StringEquals"] for each in uses):
            assert condition.keys() == {"kms:ViaService"}
            through = as_list(condition["kms:ViaService"])
            assert all(service.endswith(".eu-north-1.amazonaws.com") for service in through)
        assert statements["UseTheKeyOfTheTable"]["Condition"]["StringEquals"]["kms:ViaService"].startswith("dynamodb.")


def test_our_own_code_touches_no_network_interface(web: Statements, worker: Statements, stage: str) -> None:
    for statements, function in ((web, f"vibecode-{stage}"), (worker, f"vibecode-{stage}-worker")):
        refused = statements["ButNotByOurOwnCode"]
        given = {action for action in allowed(statements) if action.startswith("ec2:")}
        assert refused["Effect"] == "Deny"
        assert given <= set(refused["Action"])
        assert refused["Condition"] == {
            "ArnEquals": {
                "lambda:SourceFunctionArn": [
                    f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:{each}"
                    for each in (function, f"vibecode-{stage}-next")
                ]
            }
        }


def test_each_writes_to_its_own_log_which_is_kept_for_a_while_and_encrypted(
    web: Statements, worker: Statements, runtime: Template, stage: str
) -> None:
    groups = {each["LogGroupName"]: each for each in of_type(runtime, "AWS::Logs::LogGroup").values()}

    assert groups.keys() == {f"/aws/lambda/vibecode-{stage}", f"/aws/lambda/vibecode-{stage}-worker"}
    for statements, name in ((web, f"vibecode-{stage}"), (worker, f"vibecode-{stage}-worker")):
        writes = statements["WriteItsOwnLog"]
        assert writes["Action"] == ["logs:CreateLogStream", "logs:PutLogEvents"], "no group is made but by the stack"
        assert writes["Resource"] == [f"arn:aws:logs:{REGION}:{ACCOUNT}:log-group:/aws/lambda/{name}:*"]
        assert groups[f"/aws/lambda/{name}"]["RetentionInDays"] == STAGES[stage].log_days
        assert "KmsKeyId" in groups[f"/aws/lambda/{name}"]


# --- the hand-over ---------------------------------------------------------------------------------------------------
@pytest.fixture
def document(account: Plausible, runtime: Template) -> dict[str, Any]:
    [parameter] = of_type(runtime, "AWS::SSM::Parameter").values()
    text = account.value(runtime, parameter["Value"])
    assert len(text) < 4096, "SSM takes no longer one for nothing"
    return dict(json.loads(text))


def test_the_hand_over_is_whole_and_holds_no_secret(document: dict[str, Any], runtime: Template, stage: str) -> None:
    [parameter] = of_type(runtime, "AWS::SSM::Parameter").values()

    assert check(document) == document
    assert parameter["Name"] == f"/vibecode/{stage}/hand-over"
    assert len(document["subnetIds"]) == 3
    assert (document["web"]["roleArn"], document["worker"]["roleArn"]) == tuple(
        f"arn:aws:iam::{ACCOUNT}:role/vibecode-{stage}-{which}" for which in ("web", "worker")
    )
    assert document["web"]["securityGroupIds"] != document["worker"]["securityGroupIds"]
    assert document["environment"]["SECRETS_ARN"].split(":")[-1].startswith(f"vibecode-{stage}/settings-")


def test_what_is_handed_over_is_what_the_stage_is(document: dict[str, Any], stage: str) -> None:
    told, owner = document["environment"], document["workerEnvironment"]["DATABASE_OWNER_URL"]

    assert told["DATABASE_RESUME_SECONDS"] == ("25" if STAGES[stage].database_sleeps else "3")
    assert told["DATABASE_PROXIED"] == ("yes" if STAGES[stage].proxied else "no")
    assert (".proxy-" in told["DATABASE_URL"]) is STAGES[stage].proxied
    assert ".cluster-" in owner, "migrations go to the cluster itself"
    assert owner.startswith("postgresql://vibecode_owner@")
    assert told["DATABASE_URL"].startswith("postgresql://vibecode_app@")
    assert ("CACHE_URL" in told) is STAGES[stage].cached


def test_lambda_takes_what_its_functions_are_told(document: dict[str, Any], stage: str) -> None:
    """https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html: 4 KB of environment variables in all."""
    completed = complete(SETTINGS, check(document))
    for name in (stage, f"{stage}-worker"):
        variables = completed[name]["aws_environment_variables"]
        assert sum(len(key) + len(value) for key, value in variables.items()) < 4096


# --- the secret, the images ------------------------------------------------------------------------------------------
def test_what_was_put_into_the_secret_outlives_every_deploy(runtime: Template, stage: str) -> None:
    """CloudFormation writes it anew whenever this property changes: whoever changes it loses Stripe's keys."""
    [resource] = [each for each in runtime["Resources"].values() if each["Type"] == "AWS::SecretsManager::Secret"]

    assert resource["Properties"]["Name"] == f"vibecode-{stage}/settings"
    assert "SecretString" not in resource["Properties"]
    assert resource["Properties"]["GenerateSecretString"] == {
        "ExcludeCharacters": '"\\', "GenerateStringKey": "SECRET_KEY", "PasswordLength": 64,
        "SecretStringTemplate": "{}",
    }  # fmt: skip
    assert (resource["DeletionPolicy"], resource["UpdateReplacePolicy"]) == ("Retain", "Retain")


def test_an_image_once_pushed_stays_what_it_is_and_is_looked_through(runtime: Template) -> None:
    [images] = of_type(runtime, "AWS::ECR::Repository").values()

    assert images["ImageTagMutability"] == "IMMUTABLE"
    assert images["ImageScanningConfiguration"] == {"ScanOnPush": True}
    assert images["EncryptionConfiguration"]["EncryptionType"] == "KMS"


# --- what runs long --------------------------------------------------------------------------------------------------
def test_no_stage_pays_for_containers_or_shared_files_that_it_did_not_ask_for(
    templates: Mapping[str, Template],
) -> None:
    for name, stage in STAGES.items():
        services = {each.type.split("::")[1] for each in resources(of_stage(templates, name))}
        assert ("ECS" in services) is stage.batch
        assert ("EFS" in services) is stage.shared_files


def test_containers_come_with_the_work_and_go_with_it(everything: Mapping[str, Template]) -> None:
    runtime = everything["vibecode-production-runtime"]
    [service] = of_type(runtime, "AWS::ECS::Service").values()
    [target] = of_type(runtime, "AWS::ApplicationAutoScaling::ScalableTarget").values()
    alarms = of_type(runtime, "AWS::CloudWatch::Alarm").values()

    assert service["DesiredCount"] == {"Fn::If": ["HasImage", {"Ref": "AWS::NoValue"}, 0]}, "a release ends nothing"
    assert [each["CapacityProvider"] for each in service["CapacityProviderStrategy"]] == ["FARGATE_SPOT"]
    assert service["NetworkConfiguration"]["AwsvpcConfiguration"]["AssignPublicIp"] == "DISABLED"
    assert (target["MinCapacity"], target["MaxCapacity"]) == (0, 3)
    steps = of_type(runtime, "AWS::ApplicationAutoScaling::ScalingPolicy").values()
    adjusted = [
        each["ScalingAdjustment"]
        for step in steps
        for each in step["StepScalingPolicyConfiguration"]["StepAdjustments"]
    ]
    assert sorted(adjusted) == [0, 1, 3]
    for alarm in alarms:
        counts = [each["MetricStat"]["Metric"] for each in alarm["Metrics"] if "MetricStat" in each]
        assert {count["Dimensions"][0]["Value"] for count in counts} == {"vibecode-production-jobs"}
        assert len(counts) == 2, "what is in work counts: or its container would be ended"


def test_no_container_begins_before_a_deploy_has_told_an_image(everything: Mapping[str, Template]) -> None:
    """ECS begins a new service with one, which would find no image, no secret and no schema; then its stack fails."""
    runtime = everything["vibecode-production-runtime"]
    tag = runtime["Parameters"]["ImageTag"]

    assert runtime["Conditions"]["HasImage"] == {"Fn::Not": [{"Fn::Equals": [{"Ref": "ImageTag"}, tag["Default"]]}]}
    assert re.fullmatch(tag["AllowedPattern"], tag["Default"])
    assert not re.fullmatch("[0-9a-f]{12}", tag["Default"]), "the name of a release"


def test_the_task_is_the_image_with_a_role_of_its_own_and_nothing_to_write_to(
    everything: Mapping[str, Template],
) -> None:
    runtime, account = everything["vibecode-production-runtime"], Plausible(everything)
    [task] = of_type(runtime, "AWS::ECS::TaskDefinition").values()
    [container] = task["ContainerDefinitions"]
    told = {each["Name"]: account.value(runtime, each["Value"]) for each in container["Environment"]}
    may = role_of(account, runtime, "vibecode-production-batch")

    assert container["ReadonlyRootFilesystem"] is True
    assert f"USER {container['User']}:" in (REPOSITORY / "Dockerfile").read_text()
    *_, command, queue = container["Command"]
    assert find_spec(f"vibecode.management.commands.{command}")
    assert queue in named("production").queues
    assert told["STAGE"] == "production"
    assert not {"SECRET_KEY", "STRIPE_API_KEY", "DATABASE_OWNER_URL"} & told.keys()
    assert may["TakeJobs"]["Resource"] == [named("production").queue_arn("jobs")]
    assert all(not door.endswith("vibecode_owner") for door in may["SignInToTheDatabase"]["Resource"])


def test_shared_files_are_encrypted_and_mounted_through_one_door(everything: Mapping[str, Template]) -> None:
    runtime, account = everything["vibecode-production-runtime"], Plausible(everything)
    [files] = of_type(runtime, "AWS::EFS::FileSystem").values()
    [point] = of_type(runtime, "AWS::EFS::AccessPoint").values()
    [task] = of_type(runtime, "AWS::ECS::TaskDefinition").values()
    [volume] = [each["EFSVolumeConfiguration"] for each in task["Volumes"] if "EFSVolumeConfiguration" in each]
    mounts = role_of(account, runtime, "vibecode-production-batch")["ShareFiles"]

    assert files["Encrypted"] is True
    assert all(each["Effect"] == "Deny" for each in files["FileSystemPolicy"]["Statement"])
    assert volume["TransitEncryption"] == "ENABLED"
    assert volume["AuthorizationConfig"]["IAM"] == "ENABLED"
    assert point["PosixUser"]["Uid"] != "0"
    assert mounts["Condition"]["StringEquals"].keys() == {"elasticfilesystem:AccessPointArn"}
