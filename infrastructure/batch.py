"""A service of containers for what runs longer than a function may: it works at the queue `jobs`. Called by runtime.py.

Off unless a stage asks for it (`batch`); with it the mapping of `jobs` to the worker function is left out, or both
would take its messages.
"""

from collections.abc import Mapping

import aws_cdk as cdk
from aws_cdk import aws_applicationautoscaling as scaling
from aws_cdk import aws_cloudwatch as cloudwatch
from aws_cdk import aws_ec2 as ec2
from aws_cdk import aws_ecr as ecr
from aws_cdk import aws_ecs as ecs
from aws_cdk import aws_efs as efs
from aws_cdk import aws_iam as iam
from aws_cdk import aws_kms as kms
from constructs import Construct

from infrastructure.config import Stage
from infrastructure.network import PRIVATE, Network
from infrastructure.parts import accept, log_group
from infrastructure.permissions import Statements, allow, attach
from vibecode.resources import Resources

QUEUE = "jobs"
MOST = 3  # containers side by side, as many as the function may have (vibecode/resources.py)
BUSY = 20  # messages: with more than these, all of them
USER = 10001  # of the Dockerfile
SHARED = "/mnt/shared"
NO_IMAGE = "none"  # ImageTag, until a deploy tells the first
SPOT_WARNING = 120  # seconds between AWS's warning and the end: the chunk in hand is done by then


class Batch(Construct):
    """A cluster, its one service, and the file system where a stage has one."""

    def __init__(
        self,
        scope: Construct,
        name: str,
        *,
        stage: Stage,
        resources: Resources,
        network: Network,
        key: kms.IKey,
        images: ecr.IRepository,
        statements: Statements,
        environment: Mapping[str, str],
    ) -> None:
        super().__init__(scope, name)
        self._stage, self._resources, self._network, self._key = stage, resources, network, key
        cluster = ecs.Cluster(
            self,
            "Cluster",
            cluster_name=f"{resources.prefix}-batch",
            vpc=network.vpc,
            container_insights_v2=ecs.ContainerInsights.ENABLED,
            enable_fargate_capacity_providers=True,
        )
        tag = cdk.CfnParameter(
            self,
            "ImageTag",
            description="Of the image in the repository: the release's",
            allowed_pattern="[\\w.-]{1,128}",
            default=NO_IMAGE,
        )
        tag.override_logical_id("ImageTag")
        task = self._task(images, tag, statements, environment)
        service = ecs.FargateService(
            self,
            "Service",
            service_name=f"{resources.prefix}-batch",
            cluster=cluster,
            task_definition=task,
            capacity_provider_strategies=[ecs.CapacityProviderStrategy(capacity_provider="FARGATE_SPOT", weight=1)],
            circuit_breaker=ecs.DeploymentCircuitBreaker(rollback=True),
            min_healthy_percent=0,
            max_healthy_percent=200,
            assign_public_ip=False,
            vpc_subnets=ec2.SubnetSelection(subnet_group_name=PRIVATE),
            security_groups=[network.group(self, "batch")],
        )
        self._count(service, tag)
        self._scale(service)

    # --- the task ----------------------------------------------------------------------------------------------------
    def _task(
        self,
        images: ecr.IRepository,
        tag: cdk.CfnParameter,
        statements: Statements,
        environment: Mapping[str, str],
    ) -> ecs.FargateTaskDefinition:
        logs = log_group(self, "Logs", f"/{self._resources.prefix}/batch", days=self._stage.log_days, key=self._key)
        shared = self._shared_files() if self._stage.shared_files else None
        may = [*statements, may_mount(shared)] if shared else statements
        task = ecs.FargateTaskDefinition(
            self,
            "Task",
            family=f"{self._resources.prefix}-batch",
            cpu=512,
            memory_limit_mib=1024,
            runtime_platform=ecs.RuntimePlatform(
                cpu_architecture=ecs.CpuArchitecture.ARM64, operating_system_family=ecs.OperatingSystemFamily.LINUX
            ),
            task_role=self._role("batch", may).without_policy_updates(),
            execution_role=self._role(
                "batch-start", self._to_start(images, logs.log_group_arn)
            ).without_policy_updates(),
        )
        task.add_volume(name="tmp")
        container = task.add_container(
            "app",
            image=ecs.ContainerImage.from_ecr_repository(images, tag.value_as_string),
            command=["python", "-m", "django", "work_queue", QUEUE],
            environment={
                **environment,
                "STAGE": self._stage.name,
                "AWS_REGION": self._resources.region,
                "AWS_ACCOUNT_ID": self._resources.account,
            },
            readonly_root_filesystem=True,
            user=str(USER),
            stop_timeout=cdk.Duration.seconds(SPOT_WARNING),
            logging=ecs.LogDrivers.aws_logs(stream_prefix="batch", log_group=logs),
        )
        container.add_mount_points(ecs.MountPoint(container_path="/tmp", source_volume="tmp", read_only=False))  # noqa: S108 -- a volume of the task's own
        accept(task, {"ECS2": "Nothing in it is secret: secrets are read by ARN, with the task's role"})
        if shared:
            self._mount(shared, task, container)
        return task

    def _to_start(self, images: ecr.IRepository, log_group_arn: str) -> Statements:
        """What ECS itself does before the container runs."""
        pulls = ["ecr:BatchCheckLayerAvailability", "ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer"]
        return [
            allow("AskForTheRegistry", ["ecr:GetAuthorizationToken"], ["*"]),
            allow("PullTheImage", pulls, [images.repository_arn]),
            allow("WriteItsLog", ["logs:CreateLogStream", "logs:PutLogEvents"], [log_group_arn]),
        ]

    def _role(self, name: str, statements: Statements) -> iam.Role:
        role = iam.Role(
            self,
            f"{name}-role",
            role_name=f"{self._resources.prefix}-{name}",
            assumed_by=iam.ServicePrincipal(
                "ecs-tasks.amazonaws.com",
                conditions={"StringEquals": {"aws:SourceAccount": cdk.Stack.of(self).account}},
            ),
        )
        attach(self, f"{name}-policy", role, f"{self._resources.prefix}-{name}", statements)
        return role

    # --- the service -------------------------------------------------------------------------------------------------
    def _count(self, service: ecs.FargateService, tag: cdk.CfnParameter) -> None:
        """How many run is the scaling's to say: a count written here would end them at each release.

        ECS begins a new service with one where none is written. The first deploy has no image yet, no secret of
        Stripe's and no schema: until it tells the image, none runs.
        https://docs.aws.amazon.com/AWSCloudFormation/latest/TemplateReference/aws-resource-ecs-service.html
        """
        has_image = cdk.CfnCondition(
            self, "HasImage", expression=cdk.Fn.condition_not(cdk.Fn.condition_equals(tag.value_as_string, NO_IMAGE))
        )
        has_image.override_logical_id("HasImage")
        service.node.default_child.add_property_override(
            "DesiredCount", cdk.Fn.condition_if(has_image.logical_id, cdk.Aws.NO_VALUE, 0)
        )

    def _scale(self, service: ecs.FargateService) -> None:
        """None while the queue is empty and nothing is in work; one for a few messages, all for many."""
        counts = {
            name: cloudwatch.Metric(
                namespace="AWS/SQS",
                metric_name=f"ApproximateNumberOfMessages{which}",
                dimensions_map={"QueueName": self._resources.queue_name(QUEUE)},
                statistic="Maximum",
                period=cdk.Duration.minutes(1),
            )
            for name, which in (("waiting", "Visible"), ("working", "NotVisible"))
        }
        service.auto_scale_task_count(min_capacity=0, max_capacity=MOST).scale_on_metric(
            "Depth",
            metric=cloudwatch.MathExpression(
                expression="waiting + working", using_metrics=counts, period=cdk.Duration.minutes(1), label="to do"
            ),
            adjustment_type=scaling.AdjustmentType.EXACT_CAPACITY,
            scaling_steps=[
                scaling.ScalingInterval(upper=0, change=0),
                scaling.ScalingInterval(lower=1, change=1),
                scaling.ScalingInterval(lower=BUSY, change=MOST),
            ],
            evaluation_periods=1,
            cooldown=cdk.Duration.minutes(2),
        )

    # --- shared files ------------------------------------------------------------------------------------------------
    def _shared_files(self) -> efs.AccessPoint:
        """A folder that all containers see, as the one user whom they run as; nobody else, and only by TLS."""
        files = efs.FileSystem(
            self,
            "Files",
            file_system_name=f"{self._resources.prefix}-files",
            vpc=self._network.vpc,
            vpc_subnets=ec2.SubnetSelection(subnet_group_name=PRIVATE),
            security_group=self._network.group(self, "files"),
            encrypted=True,
            kms_key=self._key,
            enable_automatic_backups=True,
            lifecycle_policy=efs.LifecyclePolicy.AFTER_30_DAYS,
            # It allows nothing: who has no right of their own to mount it, as the task has, is refused.
            file_system_policy=iam.PolicyDocument(
                statements=[
                    iam.PolicyStatement(
                        sid="ByTlsOnly",
                        effect=iam.Effect.DENY,
                        principals=[iam.AnyPrincipal()],
                        actions=["elasticfilesystem:*"],
                        conditions={"Bool": {"aws:SecureTransport": "false"}},
                    )
                ]
            ),
            removal_policy=cdk.RemovalPolicy.RETAIN,
        )
        accept(files, {"EFSInBackupPlan": "EFS backs it up by itself, every day, for 35 days"})
        return files.add_access_point(
            "Shared",
            path="/shared",
            create_acl=efs.Acl(owner_uid=str(USER), owner_gid=str(USER), permissions="750"),
            posix_user=efs.PosixUser(uid=str(USER), gid=str(USER)),
        )

    def _mount(
        self, shared: efs.AccessPoint, task: ecs.FargateTaskDefinition, container: ecs.ContainerDefinition
    ) -> None:
        task.add_volume(
            name="shared",
            efs_volume_configuration=ecs.EfsVolumeConfiguration(
                file_system_id=shared.file_system.file_system_id,
                transit_encryption="ENABLED",
                authorization_config=ecs.AuthorizationConfig(access_point_id=shared.access_point_id, iam="ENABLED"),
            ),
        )
        container.add_mount_points(ecs.MountPoint(container_path=SHARED, source_volume="shared", read_only=False))


def may_mount(shared: efs.AccessPoint) -> iam.PolicyStatement:
    """Through the one access point alone."""
    return allow(
        "ShareFiles",
        ["elasticfilesystem:ClientMount", "elasticfilesystem:ClientWrite"],
        [shared.file_system.file_system_arn],
        {"StringEquals": {"elasticfilesystem:AccessPointArn": shared.access_point_arn}},
    )
