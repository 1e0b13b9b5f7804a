"""A database that sleeps is woken once a day: all that the clock sets off in such a stage, and what it asks."""

import re
import time
import uuid
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from django.conf import settings as django_settings
from django.db import OperationalError, connections
from django.test import Client

from infrastructure.config import STAGES, WAKING
from tests.infrastructure.templates import Resource, Templates, of_stage, resources
from vibecode import aws
from vibecode.errors import DatabaseAway
from vibecode.lambda_entry import handler
from vibecode.local.lambda_runtime import Context
from vibecode.resources import SCHEDULES, Schedule

SLEEPING = [name for name, stage in STAGES.items() if stage.database_sleeps]
RULE = "AWS::Events::Rule"

# What runs by the clock is known by how its moment is written, by what the property is called, or by its type.
MOMENT = re.compile(r"(rate|cron|at)\(.+\)")
NAMED = re.compile(r"(Schedule|Rotation)\w*|\w*Window")
TYPES = {
    "AWS::ApplicationAutoScaling::ScheduledAction", "AWS::Route53::HealthCheck", "AWS::SSM::MaintenanceWindow",
    "AWS::SecretsManager::RotationSchedule", "AWS::Synthetics::Canary",
}  # fmt: skip
# By whom else than us a sleeping stage lets the clock be heard, and what each asks of the database.
OTHERS: Mapping[str, str] = {
    # https://docs.aws.amazon.com/AmazonRDS/latest/AuroraUserGuide/aurora-serverless-v2-auto-pause.html
    "AWS::Backup::BackupPlan": "copies the storage, which is there whether the instance runs or not",
    # https://docs.aws.amazon.com/AmazonRDS/latest/AuroraUserGuide/rds-secrets-manager.html
    "AWS::RDS::DBCluster": "backs up its storage; is woken for the master's new password once in seven days, and where "
    "there is something to install, in the window for it",
}


def by_the_clock(templates: Templates) -> Iterator[Resource]:
    """Everything that happens at a time, whatever it is."""
    for each in resources(templates):
        if each.type in TYPES or any(NAMED.fullmatch(name) or _is_moment(value) for name, value in _parts(each)):
            yield each


def _parts(resource: Resource) -> Iterator[tuple[str, Any]]:
    """Each property, however deep, by its name; of a list each of its values."""
    left: list[tuple[str, Any]] = list(resource.properties.items())
    while left:
        name, value = left.pop()
        yield name, value
        if isinstance(value, Mapping):
            left += value.items()
        elif isinstance(value, list):
            left += [("", each) for each in value]


def _is_moment(value: object) -> bool:
    return isinstance(value, str) and MOMENT.fullmatch(value) is not None


# --- what the clock sets off -----------------------------------------------------------------------------------------
def test_dev_sleeps_and_no_other() -> None:
    assert SLEEPING == ["dev"], "what is tried below is tried of it"


@pytest.mark.parametrize("stage", SLEEPING)
def test_all_that_wakes_the_database_comes_at_one_moment_of_the_day(templates: Templates, stage: str) -> None:
    mine = of_stage(templates, stage)
    ours = {f"vibecode-{stage}-{schedule.key}": schedule for schedule in SCHEDULES}
    clock = list(by_the_clock(mine))

    unknown = [str(each) for each in clock if each.type not in {RULE, *OTHERS}]
    assert unknown == [], "say in OTHERS what it asks of the database"
    moments = {each.properties["Name"]: each.properties["ScheduleExpression"] for each in clock if each.type == RULE}
    assert moments.keys() == ours.keys()
    wake = {moments[name] for name, schedule in ours.items() if schedule.wakes_database}
    assert wake == {WAKING}
    [plan] = resources(mine, "AWS::Backup::BackupPlan")
    [nightly] = plan.properties["BackupPlan"]["BackupPlanRule"]
    assert nightly["ScheduleExpression"] == WAKING, "the backup begins then too"


@pytest.mark.parametrize(
    ("kind", "properties"),
    [
        ("AWS::Scheduler::Schedule", {"ScheduleExpression": "rate(5 minutes)"}),
        ("AWS::SSM::Association", {"ApplyEvery": ["cron(0 * * * ? *)"]}),
        ("AWS::SecretsManager::RotationSchedule", {"RotationRules": {"AutomaticallyAfterDays": 1}}),
        ("AWS::SecretsManager::Secret", {"HostedRotation": {"RotationLambdaName": "x"}}),
        ("AWS::Glue::Crawler", {"Schedule": {"At": "hourly"}}),
        ("AWS::ElastiCache::ReplicationGroup", {"SnapshotWindow": "05:00-06:00"}),
        ("AWS::Route53::HealthCheck", {"HealthCheckConfig": {"Type": "HTTPS"}}),
        ("AWS::Synthetics::Canary", {"Name": "asks"}),
    ],
)
def test_what_comes_by_the_clock_is_found_whatever_it_is(kind: str, properties: dict[str, Any]) -> None:
    made = {"vibecode-dev-made": {"Resources": {"Made": {"Type": kind, "Properties": properties}}}}

    assert [each.type for each in by_the_clock(made)] == [kind]


# --- what keeps it awake ---------------------------------------------------------------------------------------------
def asked(resource: Resource) -> set[str]:
    """What of Performance Insights and enhanced monitoring is on, as a cluster and as an instance call them."""
    names = {"PerformanceInsightsEnabled", "EnablePerformanceInsights", "MonitoringInterval"}
    return {name for name in names if resource.properties.get(name)}


def test_what_asks_by_the_minute_is_found_where_it_is_on(templates: Templates) -> None:
    mine = resources(of_stage(templates, "production"), "AWS::RDS::DBCluster", "AWS::RDS::DBInstance")

    assert {"PerformanceInsightsEnabled", "MonitoringInterval"} <= {name for each in mine for name in asked(each)}


@pytest.mark.parametrize("stage", SLEEPING)
def test_nothing_of_aws_keeps_it_awake(templates: Templates, stage: str) -> None:
    mine = of_stage(templates, stage)

    assert not list(resources(mine, "AWS::RDS::DBProxy")), "it holds connections open"
    for each in resources(mine, "AWS::RDS::DBCluster", "AWS::RDS::DBInstance"):
        assert not asked(each), f"{each} is asked by the minute"
    [cluster] = resources(mine, "AWS::RDS::DBCluster")
    scaling = cluster.properties["ServerlessV2ScalingConfiguration"]
    [parameters] = resources(mine, "AWS::RDS::DBClusterParameterGroup")
    idle = int(parameters.properties["Parameters"]["idle_session_timeout"]) / 1000
    assert scaling["MinCapacity"] == 0
    assert 0 < idle < scaling["SecondsUntilAutoPause"] == STAGES[stage].sleeps_after


@pytest.mark.parametrize("stage", sorted(set(STAGES) - set(SLEEPING)))
def test_where_it_never_sleeps_nothing_ends_the_sessions_that_the_proxy_keeps(templates: Templates, stage: str) -> None:
    [parameters] = resources(of_stage(templates, stage), "AWS::RDS::DBClusterParameterGroup")
    assert "idle_session_timeout" not in parameters.properties["Parameters"]


# --- what runs all day -----------------------------------------------------------------------------------------------
@pytest.fixture
def woken(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """How often a connection was asked for, also where the error is swallowed; the database is asleep."""
    found: list[str] = []
    connections["default"].close()  # a sandbox that starts has none

    def refuse(*_: object) -> None:
        found.append("connection")
        raise OperationalError("asleep")

    for way in ("ensure_connection", "connect"):
        monkeypatch.setattr(type(connections["default"]), way, refuse)
    return found


def run_by_clock(schedule: Schedule) -> None:
    """As EventBridge does it."""
    event = {
        "version": "0",
        "id": str(uuid.uuid4()),
        "source": "aws.events",
        "detail-type": "Scheduled Event",
        "resources": [django_settings.RESOURCES.rule_arn(schedule.key)],
        "detail": {},
    }
    handler(event, Context("worker"))


@pytest.mark.parametrize("schedule", [each for each in SCHEDULES if not each.wakes_database], ids=lambda each: each.key)
def test_what_runs_oftener_does_its_work_without_a_connection(
    schedule: Schedule, woken: list[str], settings: Any
) -> None:
    settings.WEBSOCKET_API_URL = "http://127.0.0.1:9"
    table, row = settings.RESOURCES.connections_table, {"userId": {"S": "TICKET#old"}, "connectionId": {"S": "-"}}
    aws.client("dynamodb").put_item(TableName=table, Item=row | {"expiresAt": {"N": str(int(time.time()) - 1)}})

    run_by_clock(schedule)

    assert woken == []
    assert "Item" not in aws.client("dynamodb").get_item(TableName=table, Key=row), "it had nothing to do"


@pytest.mark.parametrize("schedule", [each for each in SCHEDULES if each.wakes_database], ids=lambda each: each.key)
def test_what_runs_once_a_day_asks_for_the_database_and_would_be_seen(schedule: Schedule, woken: list[str]) -> None:
    with pytest.raises(DatabaseAway):
        run_by_clock(schedule)

    assert woken != []


def test_what_a_canary_asks_opens_no_connection(woken: list[str]) -> None:
    answer = Client().get("/healthz")

    assert (answer.status_code, answer.json()) == (200, {"status": "ok"})
    assert woken == []
