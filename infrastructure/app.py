"""All stacks of a stage, in the order in which they are deployed. A stack knows its stage by what it is told here.

`python -m infrastructure.app` writes the templates of all stages to cdk.out and judges them; `--write` keeps them as
the committed snapshots. Nothing here reads the environment.
"""

import argparse
import json
import sys
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import aws_cdk as cdk
import cdk_nag
from aws_cdk import aws_iam as iam

from infrastructure import judging
from infrastructure.config import APPROVALS_TO, EDGE_REGION, REGION, STAGES, Stage
from infrastructure.data import Data
from infrastructure.deploying_rights import EVERY_STAGE, limit_arn
from infrastructure.foundation import Foundation
from infrastructure.front import Front
from infrastructure.identity import Identity
from infrastructure.integrations import Integrations
from infrastructure.live import Live
from infrastructure.messaging import Messaging
from infrastructure.network import Network
from infrastructure.observability import Observability, WorldwideObservability
from infrastructure.pipeline import Pipeline
from infrastructure.privilege import check
from infrastructure.runtime import Runtime
from infrastructure.workflow import Workflow
from infrastructure.worldwide import Worldwide
from vibecode.resources import PROJECT, Resources

# What CDK does better since it was first released, and only where one asks for it.
FLAGS = (
    "@aws-cdk/aws-s3:serverAccessLogsUseBucketPolicy",
    "@aws-cdk/aws-iam:minimizePolicies",
    "@aws-cdk/core:checkSecretUsage",
    "@aws-cdk/aws-rds:databaseProxyUniqueResourceName",
    "@aws-cdk/aws-kms:aliasNameRef",
    "@aws-cdk/customresources:installLatestAwsSdkDefault",
)
QUIET = {"@aws-cdk/core:validationReportPrettyPrint": False}  # judging.py says it


def build(app: cdk.App, stage: Stage) -> Sequence[cdk.Stack]:
    """The stacks of a stage, in order."""
    scope = cdk.Stage(app, stage.name, env=cdk.Environment(region=REGION))
    resources = Resources(stage=stage.name, region=REGION, account=cdk.Aws.ACCOUNT_ID)

    def named(what: str, data_class: str) -> dict[str, object]:
        """What every stack is told: its name, its tags, and that it needs no bootstrap of CDK's."""
        tags = {"app": PROJECT, "stage": stage.name, "cost-centre": stage.cost_centre, "data-class": data_class}
        return {
            "stack_name": f"{stage.prefix}-{what}",
            "tags": tags,
            "synthesizer": cdk.BootstraplessSynthesizer(),
            "analytics_reporting": False,
            "termination_protection": True,
        }

    foundation = Foundation(
        scope, "foundation", resources=resources, log_days=stage.log_days, **named("foundation", "personal")
    )
    limit = iam.ManagedPolicy.from_managed_policy_arn(foundation, "Limits", limit_arn(stage.name, resources.account))
    iam.PermissionsBoundary.of(scope).apply(limit)  # every role of the stage
    network = Network(
        scope,
        "network",
        stage=stage,
        key=foundation.key,
        **named("network", "internal"),
    )
    data = Data(
        scope,
        "data",
        stage=stage,
        resources=resources,
        network=network,
        key=foundation.key,
        **named("data", "personal"),
    )
    messaging = Messaging(
        scope,
        "messaging",
        resources=resources,
        stage=stage,
        key=foundation.key,
        **named("messaging", "personal"),
    )
    workflow = Workflow(
        scope,
        "workflow",
        resources=resources,
        log_days=stage.log_days,
        key=foundation.key,
        **named("workflow", "internal"),
    )
    live = Live(scope, "live", stage=stage, resources=resources, key=foundation.key, **named("live", "personal"))
    worldwide = Worldwide(
        scope,
        "worldwide",
        stage=stage,
        env=cdk.Environment(region=EDGE_REGION),
        **named("worldwide", "personal"),
    )
    front = Front(
        scope,
        "front",
        stage=stage,
        resources=resources,
        key=foundation.key,
        access_logs=foundation.access_logs.bucket_name,
        **named("front", "personal"),
    )
    identity = Identity(
        scope,
        "identity",
        stage=stage,
        resources=resources,
        public_url=front.public_url,
        key=foundation.key,
        own_addresses=network.own_addresses,
        **named("identity", "personal"),
    )
    runtime = Runtime(
        scope,
        "runtime",
        stage=stage,
        resources=resources,
        network=network,
        data=data,
        key=foundation.key,
        packages_bucket=foundation.packages.bucket_name,
        media_bucket=front.media_bucket,
        public_url=front.public_url,
        user_pool_id=identity.pool.user_pool_id,
        client_id=identity.client.ref,
        desk_client_id=identity.desk.ref,
        sign_in_origin=identity.sign_in_origin,
        connections_arn=live.connections_arn,
        websocket_url=live.url,
        websocket_api_url=live.connections_url,
        **named("runtime", "personal"),
    )
    integrations = Integrations(
        scope,
        "integrations",
        stage=stage,
        resources=resources,
        live=live,
        user_pool_arn=identity.pool.user_pool_arn,
        public_url=front.public_url,
        **named("integrations", "internal"),
    )
    observability = Observability(
        scope,
        "observability",
        stage=stage,
        resources=resources,
        key=foundation.key,
        **named("observability", "internal"),
    )
    observability_worldwide = WorldwideObservability(
        scope,
        "observability-worldwide",
        stage=stage,
        resources=resources,
        env=cdk.Environment(region=EDGE_REGION),
        **named("observability-worldwide", "internal"),
    )
    return [
        foundation, network, data, messaging, workflow, live, worldwide, front, identity, runtime, integrations,
        observability, observability_worldwide,
    ]  # fmt: skip


def build_once(app: cdk.App) -> cdk.Stack:
    """What an account has once, beside its stages."""
    return Pipeline(
        app,
        "pipeline",
        approvals_to=APPROVALS_TO,
        env=cdk.Environment(region=REGION),
        stack_name=f"{PROJECT}-pipeline",
        tags={"app": PROJECT, "stage": EVERY_STAGE, "cost-centre": "engineering", "data-class": "internal"},
        synthesizer=cdk.BootstraplessSynthesizer(),
        analytics_reporting=False,
        termination_protection=True,
    )


def synthesize(
    folder: Path, stages: Collection[Stage] = tuple(STAGES.values()), *, judged: bool = True
) -> Mapping[str, Mapping[str, Any]]:
    """Write the templates of the stages to a folder, with cdk-nag's report: each template by its stack's name.

    Those that an earlier synth left there go. A deploy has them not ``judged`` once more: it is slow, and says aloud
    what was accepted.
    """
    app = cdk.App(outdir=str(folder), context=dict.fromkeys(FLAGS, True) | QUIET)
    stacks = [*(stack for stage in stages for stack in build(app, stage)), build_once(app)]
    for stack in stacks:
        _tag(stack)
    if judged:
        cdk.Validations.of(app).add_plugins(cdk_nag.AwsSolutionsChecks(), cdk_nag.HIPAASecurityChecks())
    for place in (folder, *folder.glob("assembly-*")):
        for old in (*place.glob("*.template.json"), *place.glob("*.metadata.json")):
            old.unlink()
    try:
        app.synth()
    except RuntimeError as error:  # its rules found something: the report says what
        if "ValidationFailed" not in str(error):
            raise
    return {stack.stack_name: json.loads((folder / _path(stack)).read_text()) for stack in stacks}


def _tag(stack: cdk.Stack) -> None:
    """Write the stack's tags to each of its resources: some have none of what CloudFormation only passes on."""
    for key, value in stack.tags.tag_values().items():
        cdk.Tags.of(stack).add(key, value)


def _path(stack: cdk.Stack) -> str:
    stage = cdk.Stage.of(stack)
    return f"assembly-{stage.stage_name}/{stack.template_file}" if stage and stage.stage_name else stack.template_file


def main() -> int:
    """Judge the templates; 1 where something is not as it should be, after saying all of it."""
    parser = argparse.ArgumentParser(description="Write the templates of all stages, and judge them.")
    parser.add_argument("--folder", type=Path, default=Path("cdk.out"), help="where they are written to")
    parser.add_argument("--write", action="store_true", help="keep them as the committed snapshots")
    arguments = parser.parse_args()
    templates = synthesize(arguments.folder)
    if arguments.write:
        judging.write_snapshots(templates)
    said = [
        *judging.complaints_of_nag(arguments.folder / "validation-report.json"),
        *judging.idle(arguments.folder),
        *judging.complaints_of_lint(arguments.folder),
        *judging.changes_of_snapshots(templates),
        *check.complaints(templates),
    ]
    count = sum(len(template["Resources"]) for template in templates.values())
    accepted = judging.accepted(arguments.folder)
    said_of_it = f"{len(accepted)} acknowledgments of cdk-nag's findings for {len({*accepted.values()})} reasons"
    print("\n".join([*said, f"{len(templates)} stacks, {count} resources, {said_of_it}"]))  # noqa: T201 -- the output of a command
    return 1 if said else 0


if __name__ == "__main__":
    sys.exit(main())
