"""A database that sleeps is left asleep: everything that the clock sets off in such a stage, and what it asks."""

import contextlib
import re
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from django.conf import settings
from django.db import connection, connections
from django.test import Client

from infrastructure.config import STAGES
from tests.infrastructure.templates import Resource, Templates, of_stage, resources
from vibecode.lambda_entry import handler
from vibecode.resources import SCHEDULES

SLEEPING = [name for name, stage in STAGES.items() if stage.database_sleeps]
DAY = 24 * 60

# All of AWS that has a clock of its own, and where its rhythm stands.
CLOCKS: Mapping[str, str] = {
    "AWS::Events::Rule": "ScheduleExpression",
    "AWS::Scheduler::Schedule": "ScheduleExpression",
    "AWS::Synthetics::Canary": "Schedule",
    "AWS::Route53::HealthCheck": "HealthCheckConfig",
    "AWS::SecretsManager::RotationSchedule": "RotationRules",
    "AWS::ApplicationAutoScaling::ScalableTarget": "ScheduledActions",
    "AWS::Backup::BackupPlan": "BackupPlan",
    "AWS::SSM::MaintenanceWindow": "Schedule",
    "AWS::SSM::Association": "ScheduleExpression",
    "AWS::RDS::DBCluster": "ManageMasterUserPassword",
}
# A copy of the storage, which is there whether the instance runs or not.
# https://docs.aws.amazon.com/AmazonRDS/latest/AuroraUserGuide/aurora-serverless-v2-auto-pause.html
ASKS_STORAGE_ONLY = {"AWS::Backup::BackupPlan"}
# RDS changes the master's password once in seven days, which wakes the cluster: oftener than never, and seldom enough.
# https://docs.aws.amazon.com/AmazonRDS/latest/AuroraUserGuide/rds-secrets-manager.html
WAKES_ONCE_A_WEEK = {"AWS::RDS::DBCluster"}


def scheduled(templates: Templates, stage: str) -> Iterator[Resource]:
    """What runs by the clock."""
    for resource in resources(of_stage(templates, stage), *CLOCKS):
        if resource.properties.get(CLOCKS[resource.type]):
            yield resource


@pytest.mark.parametrize("stage", SLEEPING)
def test_what_the_clock_sets_off_is_ours_and_wakes_the_database_once_a_day_at_most(
    templates: Templates, stage: str
) -> None:
    ours = {f"vibecode-{stage}-{schedule.key}": schedule for schedule in SCHEDULES}

    for found in scheduled(templates, stage):
        if found.type in ASKS_STORAGE_ONLY | WAKES_ONCE_A_WEEK:
            continue
        assert found.type == "AWS::Events::Rule", f"{found}: say here what it asks"
        schedule = ours[found.properties["Name"]]
        minutes = int(re.fullmatch(r"rate\((\d+) minutes?\)", found.properties["ScheduleExpression"])[1])  # type: ignore[index]  # None fails the test
        assert minutes == (DAY if schedule.wakes_database else schedule.minutes), found


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
    [parameters] = resources(mine, "AWS::RDS::DBClusterParameterGroup")
    assert 0 < int(parameters.properties["Parameters"]["idle_session_timeout"]) < STAGES[stage].sleeps_after * 1000


@pytest.mark.parametrize("stage", sorted(set(STAGES) - set(SLEEPING)))
def test_where_it_never_sleeps_nothing_ends_the_sessions_that_the_proxy_keeps(templates: Templates, stage: str) -> None:
    [parameters] = resources(of_stage(templates, stage), "AWS::RDS::DBClusterParameterGroup")
    assert "idle_session_timeout" not in parameters.properties["Parameters"]


class Opened(AssertionError):
    """Somebody asked for the database."""


@pytest.fixture
def sealed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """No connection is open, and whoever opens one is written down, also where the error is swallowed."""
    asked: list[str] = []

    def refuse(*_: Any, **__: Any) -> None:
        asked.append("connected")
        raise Opened

    connection.close()
    monkeypatch.setattr(connections["default"], "ensure_connection", refuse)
    monkeypatch.setattr(connections["default"], "connect", refuse)
    return asked


@pytest.mark.parametrize("key", [schedule.key for schedule in SCHEDULES if not schedule.wakes_database])
def test_what_runs_more_often_opens_no_connection(sealed: list[str], key: str) -> None:
    event = {
        "source": "aws.events",
        "detail-type": "Scheduled Event",
        "resources": [settings.RESOURCES.rule_arn(key)],
        "detail": {},
    }

    handler(event, None)  # type: ignore[arg-type]  # the clock needs nothing of the context

    assert sealed == []


def test_the_seal_holds_for_what_does_ask(sealed: list[str]) -> None:
    event = {"source": "aws.events", "detail-type": "Scheduled Event", "detail": {}}

    with contextlib.suppress(Exception):
        handler({**event, "resources": [settings.RESOURCES.rule_arn("sweep-outbox")]}, None)  # type: ignore[arg-type]  # the same

    assert sealed


def test_what_a_canary_asks_opens_no_connection(sealed: list[str]) -> None:
    answer = Client().get("/healthz")

    assert (answer.status_code, answer.json()) == (200, {"status": "ok"})
    assert sealed == []
