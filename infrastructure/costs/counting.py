"""What the templates of a stage contain that costs money by being there. Called by bill.py.

A resource that is not counted here is free, or costs what is asked of it: bill.py asks for that.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from infrastructure.costs.prices import DAYS

type Template = Mapping[str, Any]
type Properties = Mapping[str, Any]

LEAST_DAYS = 30  # of logs that are kept for ever, for the sake of a sum: the templates name days for each group


@dataclass(slots=True)
class Counted:
    """How many of what."""

    nat_gateways: int = 0
    addresses: int = 0
    endpoints: dict[str, int] = field(default_factory=dict)  # service → zones
    instances: int = 0
    least_acu: Decimal = Decimal()
    most_acu: Decimal = Decimal()
    proxies: int = 0
    caches: int = 0
    backup_days: int = 0  # of the longest plan
    keys: int = 0
    secrets: int = 0
    web_acls: int = 0
    rules: int = 0
    distributions: int = 0
    edge_functions: int = 0  # of CloudFront
    edge_lambdas: int = 0  # Lambda@Edge
    alarm_metrics: int = 0
    composite_alarms: int = 0
    dashboards: int = 0
    metric_filters: int = 0
    canary_runs: Decimal = Decimal()
    log_days: int = 0  # of the group that keeps longest
    flow_logs: int = 0
    queues: int = 0
    encrypted_queues: int = 0
    polled_queues: int = 0
    runs: Decimal = Decimal()  # of schedules
    tables: int = 0
    pools: int = 0
    websocket_apis: int = 0
    state_machines: int = 0
    repositories: int = 0
    file_systems: int = 0
    hosted_zones: int = 0
    health_checks: int = 0
    health_features: int = 0
    pipelines: int = 0
    tasks: list[tuple[Decimal, Decimal, Decimal, bool]] = field(default_factory=list)  # how many, vCPU, GB, spot


def count(templates: Mapping[str, Template]) -> Counted:
    """Look through templates, by the names of their stacks."""
    counted = Counted()
    for template in templates.values():
        resources = template["Resources"]
        for resource in resources.values():
            if counter := COUNTERS.get(resource["Type"]):
                counter(counted, resource.get("Properties", {}), resources)
    return counted


def of_stage(templates: Mapping[str, Template], prefix: str) -> dict[str, Template]:
    """Those whose stacks begin with the prefix of a stage."""
    return {name: template for name, template in templates.items() if name.startswith(f"{prefix}-")}


def runs_a_month(expression: str) -> Decimal:
    """How often a schedule runs. Raises ValueError for one that this cannot count."""
    if rate := re.fullmatch(r"rate\((\d+) (minute|hour|day)s?\)", expression):
        minutes = int(rate[1]) * {"minute": 1, "hour": 60, "day": 24 * 60}[rate[2]]
        return DAYS * 24 * 60 / minutes
    if re.fullmatch(r"cron\(\d+ \d+ \* \* \? \*\)", expression):  # once a day
        return DAYS
    if re.fullmatch(r"cron\(\d+ \d+ \? \* [\w-]+ \*\)", expression):  # on a day of the week
        return DAYS / 7
    raise ValueError(f"how often is {expression}?")


# --- one function a type ---------------------------------------------------------------------------------------------
def _add(name: str, many: Callable[[Properties], int | Decimal] = lambda _: 1) -> Callable[..., None]:
    """A counter that adds to a field."""

    def counter(counted: Counted, properties: Properties, _: Mapping[str, Any]) -> None:
        setattr(counted, name, getattr(counted, name) + many(properties))

    return counter


def _endpoint(counted: Counted, properties: Properties, _: Mapping[str, Any]) -> None:
    if properties.get("VpcEndpointType") == "Interface":
        service = "".join(_texts(properties["ServiceName"])).rpartition(".")[2]
        counted.endpoints[service] = counted.endpoints.get(service, 0) + len(properties["SubnetIds"])


def _texts(value: Any) -> Iterator[str]:
    """The plain texts of a name that CloudFormation puts together."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for inner in value.values():
            yield from _texts(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _texts(inner)


def _cluster(counted: Counted, properties: Properties, _: Mapping[str, Any]) -> None:
    scaling = properties["ServerlessV2ScalingConfiguration"]
    counted.least_acu += Decimal(str(scaling["MinCapacity"]))
    counted.most_acu += Decimal(str(scaling["MaxCapacity"]))
    counted.secrets += bool(properties.get("ManageMasterUserPassword"))


def _distribution(counted: Counted, properties: Properties, _: Mapping[str, Any]) -> None:
    config = properties["DistributionConfig"]
    counted.distributions += 1
    for behavior in (config["DefaultCacheBehavior"], *config.get("CacheBehaviors", ())):
        counted.edge_functions += len(behavior.get("FunctionAssociations", ()))
        counted.edge_lambdas += len(behavior.get("LambdaFunctionAssociations", ()))


def _web_acl(counted: Counted, properties: Properties, _: Mapping[str, Any]) -> None:
    counted.web_acls += 1
    counted.rules += len(properties.get("Rules", ()))


def _backups(counted: Counted, properties: Properties, _: Mapping[str, Any]) -> None:
    for rule in properties["BackupPlan"]["BackupPlanRule"]:
        counted.backup_days = max(counted.backup_days, rule.get("Lifecycle", {}).get("DeleteAfterDays", 0))


def _log_group(counted: Counted, properties: Properties, _: Mapping[str, Any]) -> None:
    counted.log_days = max(counted.log_days, properties.get("RetentionInDays", LEAST_DAYS))


def _queue(counted: Counted, properties: Properties, _: Mapping[str, Any]) -> None:
    counted.queues += 1
    counted.encrypted_queues += "KmsMasterKeyId" in properties


def _canary(counted: Counted, properties: Properties, _: Mapping[str, Any]) -> None:
    counted.canary_runs += runs_a_month(properties["Schedule"]["Expression"])


def _health_check(counted: Counted, properties: Properties, _: Mapping[str, Any]) -> None:
    kind = properties["HealthCheckConfig"]["Type"]
    counted.health_checks += 1
    counted.health_features += kind.startswith("HTTPS") + kind.endswith("STR_MATCH")


def _schedule(counted: Counted, properties: Properties, _: Mapping[str, Any]) -> None:
    if properties.get("State", "ENABLED") == "ENABLED" and "ScheduleExpression" in properties:
        counted.runs += runs_a_month(properties["ScheduleExpression"])


def _mapping(counted: Counted, properties: Properties, _: Mapping[str, Any]) -> None:
    counted.polled_queues += properties.get("Enabled", True)


def _tasks(counted: Counted, properties: Properties, resources: Mapping[str, Any]) -> None:
    """A service, with its task's size; one whose task stands in another stack is counted with none."""
    reference = properties.get("TaskDefinition", {})
    name = reference.get("Ref", "") if isinstance(reference, dict) else ""
    task = resources.get(name, {}).get("Properties", {})
    providers = [each["CapacityProvider"] for each in properties.get("CapacityProviderStrategy", ())]
    size = Decimal(str(task.get("Cpu", 0))) / 1024, Decimal(str(task.get("Memory", 0))) / 1024
    many = properties.get("DesiredCount", 1)
    tasks = many if isinstance(many, int) else 1  # how many there are is its scaling's to say
    counted.tasks.append((Decimal(tasks), *size, "FARGATE_SPOT" in providers))


def _alarm_metrics(properties: Properties) -> int:
    """An alarm that computes is paid for each metric that it reads."""
    read = [each for each in properties.get("Metrics", ()) if "MetricStat" in each]
    return len(read) or 1


COUNTERS: Mapping[str, Callable[..., None]] = {
    "AWS::EC2::NatGateway": _add("nat_gateways"),
    "AWS::EC2::EIP": _add("addresses"),
    "AWS::EC2::VPCEndpoint": _endpoint,
    "AWS::EC2::FlowLog": _add("flow_logs"),
    "AWS::RDS::DBCluster": _cluster,
    "AWS::RDS::DBInstance": _add("instances"),
    "AWS::RDS::DBProxy": _add("proxies"),
    "AWS::ElastiCache::ServerlessCache": _add("caches"),
    "AWS::DynamoDB::GlobalTable": _add("tables", lambda properties: len(properties["Replicas"])),
    "AWS::DynamoDB::Table": _add("tables"),
    "AWS::Backup::BackupPlan": _backups,
    "AWS::KMS::Key": _add("keys"),
    "AWS::KMS::ReplicaKey": _add("keys"),
    "AWS::SecretsManager::Secret": _add("secrets"),
    "AWS::WAFv2::WebACL": _web_acl,
    "AWS::CloudFront::Distribution": _distribution,
    "AWS::CloudWatch::Alarm": _add("alarm_metrics", _alarm_metrics),
    "AWS::CloudWatch::CompositeAlarm": _add("composite_alarms"),
    "AWS::CloudWatch::Dashboard": _add("dashboards"),
    "AWS::Logs::MetricFilter": _add("metric_filters"),
    "AWS::Synthetics::Canary": _canary,
    "AWS::Logs::LogGroup": _log_group,
    "AWS::SQS::Queue": _queue,
    "AWS::Lambda::EventSourceMapping": _mapping,
    "AWS::Events::Rule": _schedule,
    "AWS::Scheduler::Schedule": _schedule,
    "AWS::Cognito::UserPool": _add("pools"),
    "AWS::ApiGatewayV2::Api": _add("websocket_apis"),
    "AWS::StepFunctions::StateMachine": _add("state_machines"),
    "AWS::ECR::Repository": _add("repositories"),
    "AWS::EFS::FileSystem": _add("file_systems"),
    "AWS::ECS::Service": _tasks,
    "AWS::Route53::HostedZone": _add("hosted_zones"),
    "AWS::Route53::HealthCheck": _health_check,
    "AWS::CodePipeline::Pipeline": _add("pipelines"),
}
