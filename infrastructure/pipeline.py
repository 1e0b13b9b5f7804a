"""From a commit to production, once an account: CodePipeline, and the roles that a GitHub workflow takes for the same.

Both run `make test`, `make check` and `make deploy STAGE=…`, and nothing that a laptop does not:
.github/workflows/deploy.yml is the other one. Use one of the two. No key outlives its run.

Deploying is a right of its own for each stage: it changes what is the stage's, by CloudFormation in the name of a role
that nobody else can take (deploying_rights.py). `make pipeline` brings it to AWS (deploying/pipeline.py).

One stack, and so one long file.
"""

from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import aws_cdk as cdk
from aws_cdk import aws_codebuild as codebuild
from aws_cdk import aws_codeconnections as codeconnections
from aws_cdk import aws_codepipeline as codepipeline
from aws_cdk import aws_events as events
from aws_cdk import aws_events_targets as targets
from aws_cdk import aws_iam as iam
from aws_cdk import aws_kms as kms
from aws_cdk import aws_sns as sns
from aws_cdk import aws_sns_subscriptions as subscriptions
from constructs import Construct

from infrastructure.deploying_rights import creating, deploying
from infrastructure.parts import accept, accept_wildcards, forgetting, let_logs_use, log_group, private_bucket
from vibecode.resources import PROJECT

STAGES = ("staging", "production")  # dev is deployed from laptops
GITHUB = "token.actions.githubusercontent.com"
NAME = f"{PROJECT}-pipeline"
# Ubuntu, with a Chrome for the browser tests: https://github.com/aws/aws-codebuild-docker-images/issues/562
IMAGE = "aws/codebuild/standard:7.0"
SOURCE = "source"

# What HIPAA's rules find in who deploys a stage.
WIDE = dict.fromkeys(
    ("IAMPolicyNoStatementsWithAdminAccess", "IAMPolicyNoStatementsWithFullAccess"),
    "What is a stage's alone, by its name and tags (deploying_rights.py)",
)

type Action = codepipeline.CfnPipeline.ActionDeclarationProperty


class Pipeline(cdk.Stack):
    """Source, test, gates, staging, a person's yes, production."""

    def __init__(self, scope: Construct, name: str, *, approvals_to: str, **stack: Any) -> None:
        super().__init__(scope, name, **stack)
        self._repository = cdk.CfnParameter(
            self, "Repository", allowed_pattern=r"[\w.-]+/[\w.-]+", description="At GitHub, as owner/name"
        ).value_as_string
        self._branch = cdk.CfnParameter(
            self, "Branch", default="main", description="What is pushed to it is released"
        ).value_as_string
        # https://github.blog/changelog/2026-04-23-immutable-subject-claims-for-github-actions-oidc-tokens
        self._subject = cdk.CfnParameter(
            self,
            "Subject",
            allowed_pattern=r"[\w.-]+/[\w.-]+",
            description="The repository as GitHub's tokens call it: owner/name, or owner-ID/name-ID since June 2026",
        ).value_as_string
        self._provider = cdk.CfnParameter(
            self,
            "Provider",
            default="",
            description="ARN of GitHub's OIDC provider, of which an account has one; empty where this is to make it",
        ).value_as_string
        self._key = self._make_key()
        self._connection = codeconnections.CfnConnection(
            self, "Connection", connection_name=PROJECT, provider_type="GitHub"
        ).attr_connection_arn
        self._topic = self._make_topic(approvals_to)
        self._artifacts = f"{NAME}-{self.account}"
        bucket = private_bucket(self, "Artifacts", self._artifacts, key=self._key, lifecycle_rules=[forgetting(30)])
        reason = "What is in it is a commit that the repository has, for a month"
        accept(bucket, dict.fromkeys(("S1", "S3BucketReplicationEnabled", "S3BucketLoggingEnabled"), reason))
        self._makers: dict[str, str] = {}
        rights = {stage: self._rights(stage) for stage in STAGES}
        self._doors_of_github(rights)
        self._pipeline(rights)
        self._tell_of_failures()
        cdk.CfnOutput(self, "ConnectionArn", value=self._connection, description="A person completes it in the console")

    # --- what it works with ------------------------------------------------------------------------------------------
    def _make_key(self) -> kms.Key:
        key = kms.Key(
            self,
            "Key",
            alias=f"alias/{NAME}",
            description="Encrypts what is built, and what is said of it",
            enable_key_rotation=True,
            removal_policy=cdk.RemovalPolicy.DESTROY,
        )
        let_logs_use(key)
        return key

    def _make_topic(self, address: str) -> sns.Topic:
        """Tells who approves that something waits for them, and that a run has failed."""
        topic = sns.Topic(self, "Topic", topic_name=NAME, master_key=self._key, enforce_ssl=True)
        if address:
            topic.add_subscription(subscriptions.EmailSubscription(address))
        return topic

    def _tell_of_failures(self) -> None:
        events.Rule(
            self,
            "Failed",
            rule_name=f"{NAME}-failed",
            event_pattern=events.EventPattern(
                source=["aws.codepipeline"],
                detail_type=["CodePipeline Pipeline Execution State Change"],
                detail={"pipeline": [PROJECT], "state": ["FAILED"]},
            ),
            targets=[targets.SnsTopic(self._topic)],
        )

    # --- who may deploy ----------------------------------------------------------------------------------------------
    def _rights(self, stage: str) -> iam.ManagedPolicy:
        """What deploying a stage takes; with the role in whose name CloudFormation makes the stage."""
        statements = list(creating(stage, self.account))
        maker = self._role(
            f"{stage}-cloudformation",
            # Without aws:SourceAccount, which nobody says that CloudFormation sends here: who may pass it holds it.
            iam.ServicePrincipal("cloudformation.amazonaws.com"),
            statements,
            reason="It makes whatever the stacks declare; names hold it, and tags where AWS gives the ids",
        )
        accept(maker, WIDE)
        self._makers[stage] = maker.role_arn
        statements = list(deploying(stage, self.account, maker.role_arn))
        policy = iam.ManagedPolicy(
            self,
            f"{stage}-deploy",
            managed_policy_name=f"{NAME}-{stage}-deploy",
            description=f"Deploys {stage}",
            statements=statements,
        )
        accept(policy, WIDE)
        accept_wildcards(policy, statements, "Each is a thing of the stage, whose name ends in what AWS gave it")
        return policy

    def _doors_of_github(self, rights: Mapping[str, iam.IManagedPolicy]) -> None:
        """A workflow on our branch of our repository takes a stage's role, in that stage's environment and in no other.

        https://aws.amazon.com/about-aws/whats-new/2026/01/aws-sts-supports-validation-identity-provider-claims/
        """
        missing = cdk.CfnCondition(self, "MakesProvider", expression=cdk.Fn.condition_equals(self._provider, ""))
        made = iam.CfnOIDCProvider(self, "GitHub", url=f"https://{GITHUB}", client_id_list=["sts.amazonaws.com"])
        made.cfn_options.condition = missing
        provider = cdk.Fn.condition_if(missing.logical_id, made.attr_arn, self._provider).to_string()
        for stage, policy in rights.items():
            said = {
                f"{GITHUB}:aud": "sts.amazonaws.com",
                f"{GITHUB}:sub": f"repo:{self._subject}:environment:{stage}",
                f"{GITHUB}:ref": f"refs/heads/{self._branch}",
            }
            door = iam.FederatedPrincipal(
                provider, {"StringEquals": said}, assume_role_action="sts:AssumeRoleWithWebIdentity"
            )
            self._role(f"{stage}-github", door, policies=[policy])

    def _role(
        self,
        name: str,
        principal: iam.IPrincipal,
        statements: Iterable[iam.PolicyStatement] = (),
        *,
        policies: Sequence[iam.IManagedPolicy] = (),
        reason: str = "",
    ) -> iam.Role:
        role = iam.Role(
            self,
            f"{name}-role",
            role_name=f"{NAME}-{name}",
            assumed_by=principal,
            managed_policies=list(policies),
            inline_policies={"own": iam.PolicyDocument(statements=list(statements))} if statements else None,
        )
        accept_wildcards(role, statements, reason)
        if statements:
            accept(role, {"IAMNoInlinePolicy": "A role's policy goes with its role"})
        return role

    # --- the pipeline ------------------------------------------------------------------------------------------------
    def _pipeline(self, rights: Mapping[str, iam.IManagedPolicy]) -> None:
        projects = {
            "test": self._project("test", "make test", minutes=60),
            "check": self._project("check", "make check", "make test-previous", minutes=60),
            **{stage: self._deploy(stage, policy) for stage, policy in rights.items()},
        }
        stages = {
            "Source": self._source(),
            "Test": _run("test", projects),
            "Gates": _run("check", projects),
            "Staging": _run("staging", projects),
            "Approve": self._approval(),
            "Production": _run("production", projects),
        }
        codepipeline.CfnPipeline(
            self,
            "Pipeline",
            name=PROJECT,
            pipeline_type="V2",
            execution_mode="QUEUED",  # a release is finished before the next one begins
            role_arn=self._role_of_the_pipeline(projects).role_arn,
            artifact_store=codepipeline.CfnPipeline.ArtifactStoreProperty(
                type="S3",
                location=self._artifacts,
                encryption_key=codepipeline.CfnPipeline.EncryptionKeyProperty(id=self._key.key_arn, type="KMS"),
            ),
            stages=[
                codepipeline.CfnPipeline.StageDeclarationProperty(name=name, actions=[action])
                for name, action in stages.items()
            ],
        )

    def _role_of_the_pipeline(self, projects: Mapping[str, codebuild.CfnProject]) -> iam.Role:
        builds = [f"arn:aws:codebuild:{self.region}:{self.account}:project/{NAME}-{name}" for name in projects]
        statements = [
            *self._with_artifacts(),
            *self._makes_artifacts(),
            _allow(["codeconnections:UseConnection"], [self._connection]),
            _allow(["codebuild:StartBuild", "codebuild:StopBuild", "codebuild:BatchGetBuilds"], builds),
            _allow(["sns:Publish"], [self._topic.topic_arn]),
        ]
        principal = iam.ServicePrincipal("codepipeline.amazonaws.com")
        return self._role("run", principal, statements, reason="Objects in the bucket of artifacts")

    def _source(self) -> Action:
        """A clone and no archive: the package has the files that git knows, and carries its commit."""
        return _action(
            "github",
            ("Source", "CodeStarSourceConnection"),
            {
                "ConnectionArn": self._connection,
                "FullRepositoryId": self._repository,
                "BranchName": self._branch,
                "OutputArtifactFormat": "CODEBUILD_CLONE_REF",
            },
            outputs=[SOURCE],
        )

    def _approval(self) -> Action:
        said = "Staging is deployed and has passed its smoke test. Production is next."
        return _action("yes", ("Approval", "Manual"), {"NotificationArn": self._topic.topic_arn, "CustomData": said})

    def _deploy(self, stage: str, policy: iam.IManagedPolicy) -> codebuild.CfnProject:
        told = {"ROLE": self._makers[stage], "YES": "1"}  # make reads them: nobody is there to be asked
        return self._project(stage, f"make deploy STAGE={stage}", minutes=120, policies=[policy], told=told)

    def _project(
        self,
        name: str,
        *commands: str,
        minutes: int,
        policies: Sequence[iam.IManagedPolicy] = (),
        told: Mapping[str, str] = MappingProxyType({}),
    ) -> codebuild.CfnProject:
        """Commands in a clone, by a role that may read it, write its own log, and what is given here besides."""
        log = f"/{NAME}/{name}"
        log_group(self, f"{name}-log", log, days=30, key=self._key)
        statements = [
            *self._with_artifacts(),
            _allow(["codeconnections:UseConnection"], [self._connection]),
            _allow(
                ["logs:CreateLogStream", "logs:PutLogEvents"],
                [f"arn:aws:logs:{self.region}:{self.account}:log-group:{log}:*"],
            ),
        ]
        role = self._role(
            name,
            iam.ServicePrincipal("codebuild.amazonaws.com"),
            statements,
            policies=policies,
            reason="Streams of its own log, and objects in the bucket of artifacts",
        )
        project = codebuild.CfnProject(
            self,
            name,
            name=f"{NAME}-{name}",
            description=", ".join(commands),
            service_role=role.role_arn,
            encryption_key=self._key.key_arn,
            timeout_in_minutes=minutes,
            source=codebuild.CfnProject.SourceProperty(
                type="CODEPIPELINE",
                build_spec="\n".join(
                    ('version: "0.2"', "phases:", "  build:", "    commands:", *(f"      - {c}" for c in commands), "")
                ),
            ),
            artifacts=codebuild.CfnProject.ArtifactsProperty(type="CODEPIPELINE"),
            environment=codebuild.CfnProject.EnvironmentProperty(
                type="LINUX_CONTAINER",
                image=IMAGE,
                compute_type="BUILD_GENERAL1_MEDIUM",
                privileged_mode=False,
                environment_variables=[
                    codebuild.CfnProject.EnvironmentVariableProperty(name=name, value=value)
                    for name, value in told.items()
                ],
            ),
            logs_config=codebuild.CfnProject.LogsConfigProperty(
                cloud_watch_logs=codebuild.CfnProject.CloudWatchLogsConfigProperty(status="ENABLED", group_name=log)
            ),
        )
        reason = "The source comes from CodePipeline, by a connection of CodeConnections"
        accept(project, {"CodeBuildProjectSourceRepoUrl": reason})
        return project

    def _with_artifacts(self) -> list[iam.PolicyStatement]:
        """What reading takes: an artifact is a version of an object, in a bucket that keeps them.

        https://docs.aws.amazon.com/codebuild/latest/userguide/setting-up-service-role.html
        """
        looks = [f"s3:GetBucket{what}" for what in ("Acl", "Location", "Versioning")]
        return [
            _allow(["s3:GetObject", "s3:GetObjectVersion"], [f"arn:aws:s3:::{self._artifacts}/*"]),
            _allow(looks, [f"arn:aws:s3:::{self._artifacts}"]),
            _allow(["kms:Decrypt"], [self._key.key_arn]),
        ]

    def _makes_artifacts(self) -> list[iam.PolicyStatement]:
        """And what making one does. No build makes any: what it builds goes to its stage.

        Without an object's tags and its ACL, which AWS's example has: nobody sets them, and the bucket knows none.
        https://docs.aws.amazon.com/codepipeline/latest/userguide/how-to-custom-role.html
        https://docs.aws.amazon.com/codebuild/latest/userguide/setting-up-kms.html
        """
        encrypts = [
            f"kms:{deed}" for deed in ("DescribeKey", "Encrypt", "GenerateDataKey", "ReEncryptFrom", "ReEncryptTo")
        ]
        return [
            _allow(["s3:PutObject"], [f"arn:aws:s3:::{self._artifacts}/*"]),
            _allow(encrypts, [self._key.key_arn]),
        ]


def _run(name: str, projects: Mapping[str, codebuild.CfnProject]) -> Action:
    return _action(name, ("Build", "CodeBuild"), {"ProjectName": projects[name].ref}, inputs=[SOURCE])


def _action(
    name: str,
    what: tuple[str, str],
    configuration: Mapping[str, str],
    *,
    inputs: Sequence[str] = (),
    outputs: Sequence[str] = (),
) -> Action:
    """An action of a service of AWS's own: its category and its provider."""
    kinds = codepipeline.CfnPipeline
    category, provider = what
    return kinds.ActionDeclarationProperty(
        name=name,
        action_type_id=kinds.ActionTypeIdProperty(category=category, owner="AWS", provider=provider, version="1"),
        configuration=dict(configuration),
        input_artifacts=[kinds.InputArtifactProperty(name=artifact) for artifact in inputs],
        output_artifacts=[kinds.OutputArtifactProperty(name=artifact) for artifact in outputs],
    )


def _allow(actions: Sequence[str], on: Sequence[str]) -> iam.PolicyStatement:
    return iam.PolicyStatement(actions=list(actions), resources=list(on))
