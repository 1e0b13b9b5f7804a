"""From a commit to production: the pipeline and the workflow do the same, with rights for one stage and no key."""

import re
from typing import Any

import pytest
import yaml

from infrastructure.config import TRACING_LAYER
from infrastructure.deploying_rights import SERVICES
from tests.infrastructure.templates import Resource, Templates, as_list, policies, resources
from vibecode.local.folder import REPOSITORY

STACK = "vibecode-pipeline"
COMMANDS = ["make test", "make check", "make deploy STAGE=staging", "make deploy STAGE=production"]
WORKFLOW = REPOSITORY / ".github" / "workflows" / "deploy.yml"
# A plan that nobody carries out; a version that is old (a function has no `:` at its end); a file; a function's limit.
MAY_BE_DELETED = {
    "cloudformation:DeleteChangeSet",
    "lambda:DeleteFunction",
    "lambda:DeleteFunctionConcurrency",
    "s3:DeleteObject",
}
# What CloudFormation calls a service, where IAM calls it otherwise.
IN_IAM = {
    "applicationautoscaling": "application-autoscaling", "apigatewayv2": "apigateway", "certificatemanager": "acm",
    "cognito": "cognito-idp", "efs": "elasticfilesystem", "stepfunctions": "states",
}  # fmt: skip


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
    [pipeline] = resources(mine, "AWS::CodePipeline::Pipeline")
    commands = {
        f"<{project.name}>": re.findall(r"- (make .+)", project.properties["Source"]["BuildSpec"])
        for project in resources(mine, "AWS::CodeBuild::Project")
    }

    actions = [action for stage in pipeline.properties["Stages"] for action in stage["Actions"]]

    assert [stage["Name"] for stage in pipeline.properties["Stages"]] == [
        "Source", "Test", "Gates", "Staging", "Approve", "Production",
    ]  # fmt: skip
    built = [commands[a["Configuration"]["ProjectName"]] for a in actions if "ProjectName" in a["Configuration"]]
    assert built == [[command] for command in COMMANDS]
    assert [a["ActionTypeId"]["Provider"] for a in actions].index("Manual") == 4


def test_the_workflow_runs_the_same_commands_in_the_same_order(workflow: dict[str, Any]) -> None:
    jobs = workflow["jobs"]
    run = [step["run"] for job in jobs.values() for step in job["steps"] if "run" in step]

    assert run == COMMANDS
    assert jobs["staging"]["needs"] == ["test", "gates"]
    assert jobs["production"]["needs"] == ["staging"]
    assert jobs["production"]["environment"] == "production", "whose reviewers approve"


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
        asked = {"contents": "read", "id-token": "write"} if deploys else None
        assert job.get("permissions") == asked, name
        for step in job["steps"]:
            if "uses" in step:
                assert re.fullmatch(r"[\w-]+/[\w-]+@[0-9a-f]{40}", step["uses"]), "a commit, for a tag can be moved"
    assert "secrets." not in WORKFLOW.read_text()
    assert workflow["concurrency"] == {"group": "deploy", "cancel-in-progress": False}


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
            "token.actions.githubusercontent.com:sub": f"repo:<Repository>:environment:{stage}",
        }
    }
    assert len(there.properties["ManagedPolicyArns"]) == 1
    assert "Policies" not in there.properties


# --- rights ----------------------------------------------------------------------------------------------------------
def test_tests_and_checks_run_without_any_right_on_the_shop(mine: Templates) -> None:
    for name in ("test", "check"):
        found = role(mine, name)
        deeds = {deed for _, statement in policies(found) for deed in as_list(statement["Action"])}
        assert "ManagedPolicyArns" not in found.properties
        assert {deed.split(":")[0] for deed in deeds} == {"s3", "kms", "logs", "codeconnections"}
        assert not any(deed.startswith(("s3:Put", "s3:Delete", "kms:Enc", "kms:Gen")) for deed in deeds)


@pytest.mark.parametrize("stage", ["staging", "production"])
def test_who_deploys_makes_no_role_deletes_no_stack_and_reaches_no_other_stage(mine: Templates, stage: str) -> None:
    statements = allowed(mine, stage)
    other = {"staging": "production", "production": "staging"}[stage]
    deeds = {deed for s in statements if s["Effect"] == "Allow" for deed in as_list(s["Action"])}

    assert {deed for deed in deeds if deed.startswith("iam:")} == {"iam:PassRole", "iam:GetRole"}
    assert not {deed for deed in deeds if ":Delete" in deed} - MAY_BE_DELETED
    assert not any(deed.endswith("*") for deed in deeds)
    for statement in statements:
        for on in as_list(statement["Resource"]):
            assert f"vibecode-{other}" not in on
    [versions] = [s for s in statements if s["Action"] == "lambda:DeleteFunction"]
    assert all(on.endswith(":*") for on in versions["Resource"]), "never the function"
    [layer] = [s for s in statements if s["Action"] == "lambda:GetLayerVersion"]
    assert layer["Resource"] == TRACING_LAYER, "or no function of the stage could have it"
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
    assert roles == {f"arn:aws:iam::123456789012:{kind}/vibecode-{stage}-*" for kind in ("role", "policy")}
    assert not any("iam:*" in as_list(s["Action"]) or "sts:AssumeRole" in as_list(s["Action"]) for s in statements)
    assert any(s["Effect"] == "Deny" for s in statements)


def test_cloudformation_may_make_what_the_stacks_are_made_of(templates: Templates) -> None:
    used = set()
    for resource in resources(templates):
        if resource.stack != STACK:
            service = resource.type.split("::")[1].lower()
            used.add(IN_IAM.get(service, service))

    assert used - {"iam"} <= set(SERVICES)


def test_what_is_built_and_said_is_encrypted_with_the_pipelines_key(mine: Templates) -> None:
    [key] = resources(mine, "AWS::KMS::Key")
    mark = f"<{key.name}.Arn>"
    [pipeline] = resources(mine, "AWS::CodePipeline::Pipeline")

    assert pipeline.properties["ArtifactStore"]["EncryptionKey"] == {"Id": mark, "Type": "KMS"}
    for project in resources(mine, "AWS::CodeBuild::Project"):
        assert project.properties["EncryptionKey"] == mark
        assert project.properties["Environment"]["PrivilegedMode"] is False
    for topic in resources(mine, "AWS::SNS::Topic"):
        assert topic.properties["KmsMasterKeyId"] == mark
