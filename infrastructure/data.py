"""What the shop keeps: the Aurora cluster with its proxy, the cache, the websocket connections, and the backups."""

from typing import Any

import aws_cdk as cdk
from aws_cdk import aws_backup as backup
from aws_cdk import aws_dynamodb as dynamodb
from aws_cdk import aws_ec2 as ec2
from aws_cdk import aws_elasticache as elasticache
from aws_cdk import aws_events as events
from aws_cdk import aws_iam as iam
from aws_cdk import aws_kms as kms
from aws_cdk import aws_rds as rds
from constructs import Construct

from infrastructure import database_roles as roles
from infrastructure.config import Stage
from infrastructure.network import DATA, PRIVATE, Network
from infrastructure.parts import accept, log_group, managed, pin
from vibecode.resources import Resources

DATABASE = roles.DATABASE
OWNER, APPLICATION, READER = roles.OWNER, roles.APPLICATION, roles.READER
MONITORING_POLICY = "service-role/AmazonRDSEnhancedMonitoringRole"
BACKUP_POLICY = "service-role/AWSBackupServiceRolePolicyForBackup"
ENGINE = rds.DatabaseClusterEngine.aurora_postgres(version=rds.AuroraPostgresEngineVersion.VER_17_9)


class Data(cdk.Stack):
    """The database, the connections and the backups outlive their stack; proxy and cache hold nothing."""

    def __init__(
        self,
        scope: Construct,
        name: str,
        *,
        stage: Stage,
        resources: Resources,
        network: Network,
        key: kms.IKey,
        **stack: Any,
    ) -> None:
        super().__init__(scope, name, **stack)
        self.cluster = self._cluster(stage, network, key)
        self._cluster_id = self.cluster.cluster_resource_identifier
        if stage.cluster_id:
            self.export_value(self._cluster_id)  # of the one that is gone: stacks import it until they follow
            self._cluster_id = stage.cluster_id
        self.proxy = self._proxy(network) if stage.proxied else None
        self.cache = self._cache(resources, network, key) if stage.cached else None
        self.connections = self._connections(resources, key)
        self._back_up(stage, key)

    @property
    def address(self) -> str:
        """What the functions connect to: host, port and database."""
        host = self.proxy.endpoint if self.proxy else self.cluster.cluster_endpoint.hostname
        return f"{host}:5432/{DATABASE}"

    def may_sign_in(self, role: str) -> list[str]:
        """The ARNs that let somebody sign in as a role of PostgreSQL: the application at the proxy, if there is one."""
        door = self._cluster_id
        if self.proxy and role == APPLICATION:
            door = cdk.Fn.select(6, cdk.Fn.split(":", self.proxy.db_proxy_arn))
        return [self._user(door, role)]

    def _user(self, door: str, role: str) -> str:
        return f"arn:aws:rds-db:{self.region}:{self.account}:dbuser:{door}/{role}"

    # --- Aurora ------------------------------------------------------------------------------------------------------
    def _cluster(self, stage: Stage, network: Network, key: kms.IKey) -> rds.DatabaseCluster:
        """TLS and IAM only; the master's password is managed and rotated by RDS, and used by the deployment alone."""
        cluster = rds.DatabaseCluster(
            self,
            "Cluster",
            cluster_identifier=f"{stage.prefix}-database",
            engine=ENGINE,
            default_database_name=DATABASE,
            credentials=rds.Credentials.from_username("vibecode_master", encryption_key=key),
            manage_master_user_password=True,
            iam_authentication=True,
            enable_data_api=True,
            writer=rds.ClusterInstance.serverless_v2("writer", auto_minor_version_upgrade=True),
            readers=[
                rds.ClusterInstance.serverless_v2(f"reader{n}", scale_with_writer=True, auto_minor_version_upgrade=True)
                for n in range(stage.readers)
            ],
            serverless_v2_min_capacity=stage.smallest_acu,
            serverless_v2_max_capacity=stage.largest_acu,
            serverless_v2_auto_pause_duration=(
                cdk.Duration.seconds(stage.sleeps_after) if stage.database_sleeps else None
            ),
            vpc=network.vpc,
            vpc_subnets=ec2.SubnetSelection(subnet_group_name=DATA),
            security_groups=[network.group(self, "database")],
            parameter_group=rds.ParameterGroup(
                self,
                "Parameters",
                engine=ENGINE,
                parameters={
                    "rds.force_ssl": "1",
                    "timezone": "UTC",
                    "log_min_duration_statement": "500",  # ms
                    "log_lock_waits": "1",
                    # ms: what is forgotten lets the cluster sleep; where it never does, the proxy keeps idle sessions
                    **({"idle_session_timeout": "240000"} if stage.database_sleeps else {}),
                },
            ),
            storage_encrypted=True,
            storage_encryption_key=key,
            backup=rds.BackupProps(retention=cdk.Duration.days(stage.backup_days), preferred_window="01:00-02:00"),
            preferred_maintenance_window="sun:02:30-sun:03:30",
            copy_tags_to_snapshot=True,
            deletion_protection=True,
            removal_policy=cdk.RemovalPolicy.RETAIN,
            cloudwatch_logs_exports=["postgresql"],
            enable_performance_insights=not stage.database_sleeps,  # it would ask, and so wake, the instance
            performance_insight_encryption_key=None if stage.database_sleeps else key,
            monitoring_interval=None if stage.database_sleeps else cdk.Duration.seconds(60),
        )
        pin(cluster, "Database")
        for instance in ("writer", *(f"reader{n}" for n in range(stage.readers))):
            pin(cluster.node.find_child(instance), instance.capitalize())
        # RDS would make it without an end and without our key.
        logs = f"/aws/rds/cluster/{stage.prefix}-database/postgresql"
        cluster.node.add_dependency(log_group(self, "DatabaseLog", logs, days=stage.log_days, key=key))
        accept(cluster, {"RDSInBackupPlan": "Instances of Aurora hold nothing: their cluster is in the plan"})
        if stage.database_sleeps:
            accept(cluster, {"RDSEnhancedMonitoringEnabled": "On wherever the cluster does not sleep"})
        else:
            accept(cluster, {managed(MONITORING_POLICY): "AWS's own policy for what RDS writes of its instances"})
        return cluster

    def _proxy(self, network: Network) -> rds.DatabaseProxy:
        """Connections of functions, kept: it signs in with IAM on both of its sides and so needs no secret."""
        return rds.DatabaseProxy(
            self,
            "Proxy",
            db_proxy_name=f"{self.stack_name}-proxy",
            proxy_target=rds.ProxyTarget.from_cluster(self.cluster),
            default_auth_scheme=rds.DefaultAuthScheme.IAM_AUTH,
            role=self._role_of_proxy(),
            iam_auth=True,
            require_tls=True,
            borrow_timeout=cdk.Duration.seconds(3),
            idle_client_timeout=cdk.Duration.minutes(5),
            max_connections_percent=80,  # the rest is for migrations and people
            vpc=network.vpc,
            vpc_subnets=ec2.SubnetSelection(subnet_group_name=PRIVATE),
            security_groups=[network.group(self, "proxy")],
        )

    def _role_of_proxy(self) -> iam.Role:
        """It signs in at the cluster with IAM, as the application alone.

        https://docs.aws.amazon.com/AmazonRDS/latest/AuroraUserGuide/rds-proxy-iam-setup.html
        """
        role = iam.Role(
            self,
            "ProxyRole",
            role_name=f"{self.stack_name}-proxy",
            assumed_by=iam.ServicePrincipal("rds.amazonaws.com"),
        )
        iam.ManagedPolicy(
            self,
            "ProxySignsIn",
            managed_policy_name=f"{self.stack_name}-proxy",
            roles=[role],
            statements=[
                iam.PolicyStatement(
                    sid="SignsInAsTheApplication",
                    actions=["rds-db:connect"],
                    resources=[self._user(self._cluster_id, APPLICATION)],
                )
            ],
        )
        return role

    # --- beside it ---------------------------------------------------------------------------------------------------
    def _cache(self, resources: Resources, network: Network, key: kms.IKey) -> elasticache.CfnServerlessCache:
        """Counts of the throttles; what is lost with it is a minute's counts."""
        return elasticache.CfnServerlessCache(
            self,
            "Cache",
            serverless_cache_name=f"{resources.prefix}-cache",
            description="Counts of the throttles",
            engine="valkey",
            major_engine_version="8",
            kms_key_id=key.key_arn,
            security_group_ids=[network.group(self, "cache").security_group_id],
            subnet_ids=network.vpc.select_subnets(subnet_group_name=DATA).subnet_ids,
            cache_usage_limits=elasticache.CfnServerlessCache.CacheUsageLimitsProperty(
                data_storage=elasticache.CfnServerlessCache.DataStorageProperty(unit="GB", maximum=1),
                ecpu_per_second=elasticache.CfnServerlessCache.ECPUPerSecondProperty(maximum=5000),
            ),
        )

    def _connections(self, resources: Resources, key: kms.IKey) -> dynamodb.TableV2:
        """Who is connected by websocket, and the tickets of who is about to be; each row ends by itself."""
        table = dynamodb.TableV2(
            self,
            "Connections",
            table_name=resources.connections_table,
            partition_key=_text("userId"),
            sort_key=_text("connectionId"),
            time_to_live_attribute="expiresAt",
            global_secondary_indexes=[
                dynamodb.GlobalSecondaryIndexPropsV2(index_name="by_connection", partition_key=_text("connectionId"))
            ],
            billing=dynamodb.Billing.on_demand(),
            encryption=dynamodb.TableEncryptionV2.customer_managed_key(key),
            point_in_time_recovery_specification=dynamodb.PointInTimeRecoverySpecification(
                point_in_time_recovery_enabled=True
            ),
            deletion_protection=True,
            removal_policy=cdk.RemovalPolicy.RETAIN,
        )
        pin(table, "Connections")
        return table

    def _back_up(self, stage: Stage, key: kms.IKey) -> None:
        """A copy a night besides Aurora's own; in production nobody shortens its life without bypassing governance."""
        vault = backup.BackupVault(
            self,
            "Vault",
            backup_vault_name=f"{stage.prefix}-vault",
            encryption_key=key,
            removal_policy=cdk.RemovalPolicy.RETAIN,
            # Without a date from which on it can never be changed again, a lock is in governance mode.
            lock_configuration=(
                backup.LockConfiguration(min_retention=cdk.Duration.days(7)) if stage.vault_locked else None
            ),
        )
        pin(vault, "Vault")
        plan = backup.BackupPlan(
            self,
            "Backups",
            backup_plan_name=f"{stage.prefix}-backups",
            backup_vault=vault,
            backup_plan_rules=[
                backup.BackupPlanRule(
                    rule_name="nightly",
                    schedule_expression=events.Schedule.cron(hour="3", minute="0"),
                    start_window=cdk.Duration.hours(1),
                    completion_window=cdk.Duration.hours(4),
                    delete_after=cdk.Duration.days(max(stage.backup_days, 7)),
                )
            ],
        )
        role = iam.Role(
            self,
            "BackupRole",
            role_name=f"{stage.prefix}-backups",
            assumed_by=iam.ServicePrincipal("backup.amazonaws.com"),
            managed_policies=[iam.ManagedPolicy.from_aws_managed_policy_name(BACKUP_POLICY)],
        )
        accept(role, {managed(BACKUP_POLICY): "AWS's own policy for its backups: it may copy, and delete nothing"})
        plan.add_selection(
            "Kept",
            backup_selection_name=f"{stage.prefix}-kept",
            resources=[backup.BackupResource.from_arn(self.cluster.cluster_arn)],
            role=role,
        )


def _text(name: str) -> dynamodb.Attribute:
    return dynamodb.Attribute(name=name, type=dynamodb.AttributeType.STRING)
