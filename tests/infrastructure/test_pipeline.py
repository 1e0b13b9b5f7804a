"""From a commit to production: the pipeline and the workflow do the same, with rights for one stage and no key."""

import json
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

import pytest
import yaml

from infrastructure.config import STAGES
from infrastructure.deploying_rights import creating, limit_arn
from infrastructure.privilege.policies import Statement, allows, matches
from infrastructure.privilege.policies import statements as read
from infrastructure.privilege.templates import CannotTell
from infrastructure.privilege.templates import Templates as Known
from tests.infrastructure.templates import Resource, Templates, as_list, named, of_stage, policies, resources
from tests.infrastructure.test_deploying_rights import decided
from tests.infrastructure.test_quality_checklist import SCHEMAS, known_types
from vibecode.local.folder import REPOSITORY

STACK = "vibecode-pipeline"
PIPELINE = "AWS::CodePipeline::Pipeline"
COMMANDS = [
    ["make test"],
    ["make check", "make test-previous"],
    ["make deploy STAGE=staging"],
    ["make deploy STAGE=production"],
]
WORKFLOW = REPOSITORY / ".github" / "workflows" / "deploy.yml"
APPROVAL = "infrastructure/approval.py"
# A plan that nobody carries out; an old version, and what a release was tried out in; a file; a function's limit.
MAY_BE_DELETED = {
    "cloudformation:DeleteChangeSet",
    "lambda:DeleteFunction",
    "lambda:DeleteFunctionConcurrency",
    "s3:DeleteObject",
}
# What AWS's handlers could call of which our templates give them no occasion, by the beginning of the action.
NO_OCCASION = {
    "acm-pca:": "certificates of a private authority",
    "amplify:": "firewalls of others than a pool", "apprunner:": "firewalls of others than a pool",
    "appsync:": "firewalls of others than a pool", "bedrock-agentcore:": "firewalls of others than a pool",
    "elasticloadbalancing:": "firewalls of others than a pool",
    "autoscaling:": "instances in a security group",
    "cognito-sync:": "identity pools that synchronize",
    "events:PutPermission": "policies of buses", "events:RemovePermission": "policies of buses",
    "firehose:": "logs that Firehose delivers",
    "iam:AttachGroup": "groups", "iam:AttachUser": "users", "iam:DeleteGroup": "groups", "iam:DeleteUser": "users",
    "iam:DetachGroup": "groups", "iam:DetachUser": "users", "iam:GetGroup": "groups", "iam:GetUser": "users",
    "iam:PutGroup": "groups", "iam:PutUser": "users",
    "iam:DeleteRolePermissionsBoundary": "the limit of a role stays",
    "iam:DescribeOrganization": "firewalls of an organization",
    "iam:ListRoles": "looking for a role that has no name",
    "kinesis:": "streams of a table",
    "logs:DeleteIndexPolicy": "indexes of logs", "logs:PutIndexPolicy": "indexes of logs",
    "logs:DeleteResourcePolicy": "what lets services write stays: others of the account may need it",
    "payments:": "rules of the firewall that are bought",
    "route53-recovery-control-config:": "health checks of routing controls",
    "s3files:": "files of a function", "s3tables:": "tables of a bucket",
    "vpc-lattice:": "endpoints of a service network", "vpce:": "endpoints in several regions",
}  # fmt: skip


# What a stage has by a setting only: a domain, files, what runs long. (Records and certificates have no handlers.)
BY_SETTING = [
    f"AWS::{kind}"
    for kind in (
        "ApiGatewayV2::ApiMapping", "ApiGatewayV2::DomainName", "ApplicationAutoScaling::ScalableTarget",
        "ApplicationAutoScaling::ScalingPolicy", "CertificateManager::Certificate", "ECS::Cluster", "ECS::Service",
        "ECS::TaskDefinition", "EFS::AccessPoint", "EFS::FileSystem", "EFS::MountTarget", "Route53::RecordSet",
        "SES::EmailIdentity", "SNS::Subscription",
    )
]  # fmt: skip


@pytest.fixture
def mine(templates: Templates) -> Templates:
    """The pipeline's own template."""
    return {STACK: templates[STACK]}


@pytest.fixture
def workflow() -> dict[str, Any]:
    """GitHub's, parsed."""
    read: dict[str, Any] = yaml.safe_load(WORKFLOW.read_text())
    return read


def role(templates: Templates, name: str) -> Resource:
    """A role by its name, less what all of the pipeline's begin with."""
    return next(
        found
        for found in resources(templates, "AWS::IAM::Role")
        if found.properties["RoleName"] == f"vibecode-pipeline-{name}"
    )


def allowed(templates: Templates, stage: str) -> list[Any]:
    """The statements of a stage's deploying policy."""
    return next(
        found.properties["PolicyDocument"]["Statement"]
        for found in resources(templates, "AWS::IAM::ManagedPolicy")
        if found.properties["ManagedPolicyName"] == f"vibecode-pipeline-{stage}-deploy"
    )


# --- the same at both places -----------------------------------------------------------------------------------------
def test_the_pipeline_tests_checks_deploys_staging_asks_and_deploys_production(mine: Templates) -> None:
    [pipeline] = resources(mine, PIPELINE)
    commands = {
        f"<{project.name}>": re.findall(r"- (make .+)", project.properties["Source"]["BuildSpec"])
        for project in resources(mine, "AWS::CodeBuild::Project")
    }

    actions = [action for stage in pipeline.properties["Stages"] for action in stage["Actions"]]

    assert [stage["Name"] for stage in pipeline.properties["Stages"]] == [
        "Source", "Test", "Gates", "Staging", "Approve", "Production",
    ]  # fmt: skip
    built = [commands[a["Configuration"]["ProjectName"]] for a in actions if "ProjectName" in a["Configuration"]]
    assert built == COMMANDS
    assert [a["ActionTypeId"]["Provider"] for a in actions] == [
        "CodeStarSourceConnection", "CodeBuild", "CodeBuild", "CodeBuild", "Manual", "CodeBuild",
    ]  # fmt: skip


def test_a_run_takes_the_commit_that_was_pushed_and_ends_before_the_next_one_begins(mine: Templates) -> None:
    [pipeline] = resources(mine, PIPELINE)
    source, *others = [action for stage in pipeline.properties["Stages"] for action in stage["Actions"]]

    told = source["Configuration"]
    assert (told["FullRepositoryId"], told["BranchName"]) == ("<Repository>", "<Branch>")
    assert told["OutputArtifactFormat"] == "CODEBUILD_CLONE_REF", "a clone, which knows its commit"
    for action in others:
        taken = [] if action["ActionTypeId"]["Provider"] == "Manual" else source["OutputArtifacts"]
        assert action["InputArtifacts"] == taken, action["Name"]
    assert pipeline.properties["ExecutionMode"] == "QUEUED"


def test_who_approves_is_told_that_something_waits_and_that_a_run_has_failed(mine: Templates) -> None:
    [pipeline] = resources(mine, PIPELINE)
    [topic] = resources(mine, "AWS::SNS::Topic")
    [rule] = resources(mine, "AWS::Events::Rule")
    [asks] = [stage for stage in pipeline.properties["Stages"] if stage["Name"] == "Approve"]
    publishing = [s for _, s in policies(role(mine, "run")) if "sns:Publish" in as_list(s["Action"])]

    assert asks["Actions"][0]["Configuration"]["NotificationArn"] == f"<{topic.name}>"
    assert [statement["Resource"] for statement in publishing] == [f"<{topic.name}>"]
    assert rule.properties["EventPattern"] == {
        "source": ["aws.codepipeline"],
        "detail-type": ["CodePipeline Pipeline Execution State Change"],
        "detail": {"pipeline": [pipeline.properties["Name"]], "state": ["FAILED"]},
    }
    assert [target["Arn"] for target in rule.properties["Targets"]] == [f"<{topic.name}>"]


def test_the_workflow_runs_the_same_commands_in_the_same_order(workflow: dict[str, Any]) -> None:
    jobs = workflow["jobs"]
    run = [[step["run"] for step in job["steps"] if "make " in step.get("run", "")] for job in jobs.values()]

    assert [commands for commands in run if commands] == COMMANDS
    assert jobs["staging"]["needs"] == ["test", "gates"]
    assert jobs["approval"]["needs"] == ["staging"]
    assert jobs["production"]["needs"] == ["approval"]
    assert jobs["production"]["environment"] == "production", "whose reviewers approve"


def test_tests_run_side_by_side_and_deploys_of_a_stage_one_after_the_other(workflow: dict[str, Any]) -> None:
    assert "concurrency" not in workflow
    for name, job in workflow["jobs"].items():
        deploys = name in {"staging", "production"}
        alone = {"group": f"deploy-{name}", "cancel-in-progress": False}
        assert job.get("concurrency") == (alone if deploys else None), name


# --- somebody approves -----------------------------------------------------------------------------------------------
# As GitHub answers: https://docs.github.com/en/rest/deployments/environments#get-an-environment
REVIEWED = {"type": "required_reviewers", "reviewers": [{"type": "User", "reviewer": {"login": "octocat"}}]}
BRANCHES = {"protected_branches": False, "custom_branch_policies": True}


@pytest.mark.parametrize(
    ("environment", "missing"),
    [
        ({"protection_rules": [REVIEWED, {"type": "branch_policy"}], "deployment_branch_policy": BRANCHES}, []),
        ({"protection_rules": [REVIEWED], "deployment_branch_policy": None}, ["branches"]),
        (
            {"protection_rules": [{"type": "wait_timer", "wait_timer": 30}], "deployment_branch_policy": BRANCHES},
            ["reviewers"],
        ),
        ({"protection_rules": [{**REVIEWED, "reviewers": []}], "deployment_branch_policy": BRANCHES}, ["reviewers"]),
        ({"message": "Not Found", "status": "404"}, ["reviewers", "branches"]),
    ],
)
def test_no_release_goes_to_production_where_nobody_is_asked(environment: dict[str, Any], missing: list[str]) -> None:
    done = subprocess.run(
        [sys.executable, "-S", REPOSITORY / APPROVAL],
        input=json.dumps(environment),
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == (1 if missing else 0), done.stderr
    assert [word for word in ("reviewers", "branches") if word in done.stderr] == missing


def test_the_workflow_asks_github_who_approves_before_production(workflow: dict[str, Any]) -> None:
    job = workflow["jobs"]["approval"]
    [asked] = [step for step in job["steps"] if "run" in step]

    assert asked["run"] == f'gh api "repos/$GITHUB_REPOSITORY/environments/production" | python3 {APPROVAL}'
    assert asked["shell"] == "bash", "which fails where either of the two does"
    assert job["permissions"] == {"actions": "read", "contents": "read"}


# --- rights of a run -------------------------------------------------------------------------------------------------
def test_nobody_is_asked_and_cloudformation_works_by_its_own_role_at_both_places(
    mine: Templates, workflow: dict[str, Any]
) -> None:
    projects = {found.properties["Name"]: found for found in resources(mine, "AWS::CodeBuild::Project")}
    for stage in ("staging", "production"):
        maker = role(mine, f"{stage}-cloudformation")
        told = projects[f"vibecode-pipeline-{stage}"].properties["Environment"]["EnvironmentVariables"]
        [said] = [step["env"] for step in workflow["jobs"][stage]["steps"] if "env" in step]
        assert {each["Name"]: each["Value"] for each in told} == {"ROLE": f"<{maker.name}.Arn>", "YES": "1"}
        assert said["ROLE"].endswith(f":role/{maker.properties['RoleName']}")
        assert str(said["YES"]) == "1"


def test_the_workflow_has_no_key_and_no_more_rights_than_each_job_needs(workflow: dict[str, Any]) -> None:
    assert workflow["permissions"] == {"contents": "read"}
    for name, job in workflow["jobs"].items():
        deploys = any("make deploy" in step.get("run", "") for step in job["steps"])
        if name != "approval":
            assert job.get("permissions") == ({"contents": "read", "id-token": "write"} if deploys else None), name
        for step in job["steps"]:
            if "uses" in step:
                assert re.fullmatch(r"[\w-]+/[\w-]+@[0-9a-f]{40}", step["uses"]), "a commit, for a tag can be moved"
    assert "secrets." not in WORKFLOW.read_text()


@pytest.mark.parametrize("stage", ["staging", "production"])
def test_the_role_that_a_job_takes_is_there_for_its_own_environment_alone(
    mine: Templates, workflow: dict[str, Any], stage: str
) -> None:
    given = [step.get("with", {}) for step in workflow["jobs"][stage]["steps"]]
    [taken] = [each["role-to-assume"] for each in given if "role-to-assume" in each]
    there = role(mine, f"{stage}-github")
    [trust] = there.properties["AssumeRolePolicyDocument"]["Statement"]

    assert taken.endswith(f":role/{there.properties['RoleName']}")
    assert trust["Action"] == "sts:AssumeRoleWithWebIdentity"
    assert trust["Condition"] == {
        "StringEquals": {
            "token.actions.githubusercontent.com:aud": "sts.amazonaws.com",
            "token.actions.githubusercontent.com:sub": f"repo:<Subject>:environment:{stage}",
            "token.actions.githubusercontent.com:ref": "refs/heads/<Branch>",
        }
    }
    assert len(there.properties["ManagedPolicyArns"]) == 1
    assert "Policies" not in there.properties


# --- rights ----------------------------------------------------------------------------------------------------------
def test_each_build_and_the_pipeline_work_by_a_role_of_their_own_which_nobody_else_takes(mine: Templates) -> None:
    taken = {
        "codepipeline": [(found.properties["RoleArn"], "run") for found in resources(mine, PIPELINE)],
        "codebuild": [
            (found.properties["ServiceRole"], found.properties["Name"].removeprefix("vibecode-pipeline-"))
            for found in resources(mine, "AWS::CodeBuild::Project")
        ],
    }

    assert sorted(name for _, name in taken["codebuild"]) == ["check", "production", "staging", "test"]
    for service, theirs in taken.items():
        for arn, name in theirs:
            there = role(mine, name)
            [trust] = there.properties["AssumeRolePolicyDocument"]["Statement"]
            assert arn == f"<{there.name}.Arn>", name
            assert trust["Principal"] == {"Service": f"{service}.amazonaws.com"}, name


@pytest.mark.parametrize("stage", ["staging", "production"])
def test_who_deploys_a_stage_has_the_rights_of_that_stage_at_both_places(mine: Templates, stage: str) -> None:
    [policy] = [
        found.name
        for found in resources(mine, "AWS::IAM::ManagedPolicy")
        if found.properties["ManagedPolicyName"] == f"vibecode-pipeline-{stage}-deploy"
    ]

    for name in (stage, f"{stage}-github"):
        assert role(mine, name).properties["ManagedPolicyArns"] == [f"<{policy}>"], name


def test_tests_and_checks_run_without_any_right_on_the_shop(mine: Templates) -> None:
    for name in ("test", "check"):
        found = role(mine, name)
        deeds = {deed for _, statement in policies(found) for deed in as_list(statement["Action"])}
        assert "ManagedPolicyArns" not in found.properties
        assert {deed.split(":")[0] for deed in deeds} == {"s3", "kms", "logs", "codeconnections"}
        assert not any(deed.startswith(("s3:Put", "s3:Delete", "kms:Enc", "kms:Gen")) for deed in deeds)


# https://docs.aws.amazon.com/codepipeline/latest/userguide/how-to-custom-role.html and, of what encrypts,
# https://docs.aws.amazon.com/codebuild/latest/userguide/setting-up-kms.html
READS = {
    "s3:GetObject", "s3:GetObjectVersion", "s3:GetBucketAcl", "s3:GetBucketLocation", "s3:GetBucketVersioning",
    "kms:Decrypt",
}  # fmt: skip
MAKES = {"s3:PutObject"} | {
    f"kms:{deed}" for deed in ("DescribeKey", "Encrypt", "GenerateDataKey", "ReEncryptFrom", "ReEncryptTo")
}


@pytest.mark.parametrize("name", ["run", "test", "check", "staging", "production"])
def test_whoever_takes_an_artifact_may_read_the_version_that_it_is_and_the_pipeline_alone_makes_one(
    mine: Templates, name: str
) -> None:
    [key] = resources(mine, "AWS::KMS::Key")
    bucket = "arn:aws:s3:::vibecode-pipeline-123456789012"
    document = {"Version": "2012-10-17", "Statement": [said for _, said in policies(role(mine, name))]}
    may = {
        action
        for action in READS | MAKES
        if any(allows([*read(document)], action, on) for on in (bucket, f"{bucket}/a", f"<{key.name}.Arn>"))
    }

    assert may == (READS | MAKES if name == "run" else READS)


@pytest.mark.parametrize("stage", ["staging", "production"])
def test_by_their_own_rights_who_deploys_makes_no_role_deletes_no_stack_and_reaches_no_other_stage(
    mine: Templates, stage: str
) -> None:
    statements = allowed(mine, stage)
    other = {"staging": "production", "production": "staging"}[stage]
    deeds = {deed for s in statements if s["Effect"] == "Allow" for deed in as_list(s["Action"])}

    assert {deed for deed in deeds if deed.startswith("iam:")} == {"iam:PassRole"}
    assert not {deed for deed in deeds if ":Delete" in deed} - MAY_BE_DELETED
    assert not any(deed.endswith("*") for deed in deeds)
    for statement in statements:
        for on in as_list(statement["Resource"]):
            assert f"vibecode-{other}" not in on
    gone = {on for s in statements if "lambda:DeleteFunction" in as_list(s["Action"]) for on in as_list(s["Resource"])}
    assert all(on.endswith((":*", f":vibecode-{stage}-next")) for on in gone), "never a function that works"
    layers = [s["Resource"] for s in statements if s["Action"] == "lambda:GetLayerVersion"]
    assert layers == list(filter(None, [STAGES[stage].tracing_layer])), "or no function of the stage could have it"
    [denied] = [s for s in statements if s["Effect"] == "Deny"]
    assert denied["Condition"]["StringNotEquals"] == {"aws:ResourceTag/stage": [stage, "all"]}


@pytest.mark.parametrize("stage", ["staging", "production"])
def test_nobody_but_cloudformation_takes_its_role_which_makes_roles_of_the_stage_alone(
    mine: Templates, stage: str
) -> None:
    maker = role(mine, f"{stage}-cloudformation")
    [trust] = maker.properties["AssumeRolePolicyDocument"]["Statement"]
    statements = [statement for _, statement in policies(maker)]
    roles = {on for s in statements if "iam:CreateRole" in as_list(s["Action"]) for on in as_list(s["Resource"])}

    assert trust["Principal"] == {"Service": "cloudformation.amazonaws.com"}
    assert roles == {f"arn:aws:iam::123456789012:role/vibecode-{stage}-*"}
    assert not any("iam:*" in as_list(s["Action"]) or "sts:AssumeRole" in as_list(s["Action"]) for s in statements)
    assert any(s["Effect"] == "Deny" for s in statements)


@pytest.mark.parametrize("stage", ["staging", "production"])
def test_every_role_of_a_stage_has_the_limit_of_the_stage(templates: Templates, stage: str) -> None:
    made = list(resources(of_stage(templates, stage), "AWS::IAM::Role"))
    [limit] = [
        found
        for found in resources(of_stage(templates, stage), "AWS::IAM::ManagedPolicy")
        if found.properties["ManagedPolicyName"] == f"vibecode-{stage}-boundary"
    ]

    assert limit.stack == f"vibecode-{stage}-foundation", "which comes before all that have roles"
    assert not any(role.stack == limit.stack for role in made)
    assert {role.properties["PermissionsBoundary"] for role in made} == {
        f"arn:aws:iam::123456789012:policy/vibecode-{stage}-boundary"
    }
    assert len(made) > 10


@pytest.mark.parametrize("stage", ["staging", "production"])
def test_cloudformation_may_make_what_the_stacks_are_made_of(templates: Templates, stage: str) -> None:
    found = refused(templates, stage)
    unexcused = {line for line, action in found.items() if not action.startswith(tuple(NO_OCCASION))}

    assert not unexcused, named(sorted(unexcused))
    idle = [each for each in NO_OCCASION if not any(action.startswith(each) for action in found.values())]
    assert idle == [], "and nothing is excused that is not refused"


def refused(templates: Templates, stage: str) -> dict[str, str]:
    """What AWS's own code could call for the stacks of a stage and CloudFormation may not: each by a line on it."""
    statements = decided(creating(stage, "123456789012"))
    known = Known(templates)
    made = [
        (f"{each['Type']}, such as {stack}/{name}", each["Type"], arn_of(known, stack, name))
        for stack in of_stage(templates, stage)
        for name, each in templates[stack]["Resources"].items()
    ]
    return {
        f"{action} for {told}": action
        for told, kind, arn in [*made, *((kind, kind, "") for kind in BY_SETTING)]
        for action in handled(kind)
        if not makes(statements, stage, action, arn)
    }


@cache
def handled(kind: str) -> frozenset[str]:
    """What AWS's own code calls to make, read, change and delete a resource of a type, as its schema says."""
    schema = json.loads((SCHEMAS / "resources" / f"{known_types()[kind]}.json").read_text())
    handlers = {deed: told for deed, told in schema.get("handlers", {}).items() if deed != "list"}
    assert handlers, f"{kind} has no handlers"
    return frozenset(action for told in handlers.values() for action in told.get("permissions", ()))


def arn_of(known: Known, stack: str, name: str) -> str:
    """A resource's ARN, where its name makes it."""
    try:
        return known.arn(stack, name)
    except CannotTell:
        return ""


def makes(statements: Sequence[Statement], stage: str, action: str, arn: str) -> bool:
    """Whether CloudFormation may do this: on the resource itself where it is of the action's service, else anywhere."""
    limit = limit_arn(stage, "123456789012")
    worker = f"arn:aws:lambda:eu-north-1:123456789012:function:vibecode-{stage}-worker"
    context = {"aws:RequestedRegion": "eu-north-1", "lambda:FunctionArn": worker, "iam:PermissionsBoundary": limit}
    service, _, deed = action.partition(":")
    if re.fullmatch(r"iam:\w+RolePolicy", action):  # also of a policy, which is attached to a role
        arn = f"arn:aws:iam::123456789012:role/vibecode-{stage}-web"
    if not actions_of_aws().get(service, {}).get(deed.lower(), {"Resources": [deed]}).get("Resources"):
        return allows(statements, action, "*", context)  # AWS knows no resource for it
    if arn.startswith(f"arn:aws:{service}:"):
        return any(allows(statements, action, on, context) for on in (arn, f"{arn}/*", "*"))
    return any(
        matches(pattern, action, any_case=True)
        for statement in statements
        for pattern in statement.actions
        if statement.effect == "Allow"
    )


@cache
def actions_of_aws() -> Mapping[str, Mapping[str, Any]]:
    """Of each service the actions, with the resources that they know: as AWS's service authorization reference says."""
    read = json.loads((SCHEMAS.parent / "AdditionalSpecs" / "Policies.json").read_text())
    return {service: about["Actions"] for service, about in read.items()}


def test_what_is_built_and_said_is_encrypted_with_the_pipelines_key(mine: Templates) -> None:
    [key] = resources(mine, "AWS::KMS::Key")
    mark = f"<{key.name}.Arn>"
    [pipeline] = resources(mine, PIPELINE)

    assert pipeline.properties["ArtifactStore"]["EncryptionKey"] == {"Id": mark, "Type": "KMS"}
    for project in resources(mine, "AWS::CodeBuild::Project"):
        assert project.properties["EncryptionKey"] == mark
        assert project.properties["Environment"]["PrivilegedMode"] is False
    for topic in resources(mine, "AWS::SNS::Topic"):
        assert topic.properties["KmsMasterKeyId"] == mark
