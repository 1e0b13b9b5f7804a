"""Alarms and their pages: each alarm leads to a page, each page to an alarm, and each says what it should."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from infrastructure import watches
from infrastructure.config import STAGES, Stage
from infrastructure.costs.prices import DAYS
from infrastructure.costs.usage import EXPECTED, traced
from orders.status import OrderStatus, PaymentState
from tests.infrastructure.options import ALL
from tests.infrastructure.templates import Resource, Templates, of_stage, resources
from vibecode.local.folder import REPOSITORY
from vibecode.resources import OPERATIONS, QUEUES, SCHEDULES, Resources

RUNBOOKS = REPOSITORY / "docs" / "runbooks"
PARTS = ("What it means", "Look first", "Do", "Over when")
WITHOUT_ALARM = {"README", "costs"}  # the budget's letters and the anomaly monitor's are no alarms
A_MONTH = float(DAYS) * 24 * 60  # minutes
ALARMS = ("AWS::CloudWatch::Alarm", "AWS::CloudWatch::CompositeAlarm")


def alarms(templates: Templates) -> dict[str, Resource]:
    """Every alarm by its name; those by which AWS scales something have none."""
    return {
        found.properties["AlarmName"]: found
        for found in resources(templates, *ALARMS)
        if "AlarmName" in found.properties
    }


def runbook_of(alarm: Resource) -> str:
    """The page that its description names."""
    [page] = re.findall(r"Runbook: docs/runbooks/([a-z-]+)\.md$", alarm.properties["AlarmDescription"])
    return str(page)


# --- pages -----------------------------------------------------------------------------------------------------------
def test_every_alarm_names_a_page_and_every_page_is_named_by_an_alarm(
    templates: Templates, everything: Templates
) -> None:
    named = {runbook_of(alarm) for some in (templates, everything) for alarm in alarms(some).values()}
    written = {page.stem for page in RUNBOOKS.glob("*.md")} - WITHOUT_ALARM

    assert named == written


@pytest.mark.parametrize("page", sorted(RUNBOOKS.glob("[a-z]*.md")), ids=lambda page: page.stem)
def test_a_page_says_what_it_means_where_to_look_what_to_do_and_when_it_is_over(page: Path) -> None:
    _, *parts = re.split(r"^## (.+)$", page.read_text(), flags=re.MULTILINE)

    assert tuple(parts[::2]) == PARTS
    means, look, do, over = parts[1::2]
    assert "```" in look or "/admin/" in look or "Saved queries" in look, "a command or a page"
    assert min(len(part.strip()) for part in (means, do, over)) > 20
    for link in re.findall(r"\]\(([^)#]+)", page.read_text()):
        assert (RUNBOOKS / link).exists(), link


def test_the_index_and_the_page_of_dead_letters_leave_nothing_out() -> None:
    index = (RUNBOOKS / "README.md").read_text()
    for page in RUNBOOKS.glob("[a-z]*.md"):
        assert f"]({page.name})" in index
    listed = re.findall(r"^\| `([a-z-]+)` \|", (RUNBOOKS / "dead-letters.md").read_text(), flags=re.MULTILINE)
    assert listed == [queue.key for queue in QUEUES]


def test_commands_of_the_pages_name_what_there_is(templates: Templates) -> None:
    said = "\n".join(page.read_text() for page in RUNBOOKS.glob("*.md"))
    names = Resources(stage="$STAGE", region="eu-north-1", account="123456789012")
    known = {
        names.prefix,
        names.worker,
        f"{names.prefix}-",  # a beginning
        names.state_machine,
        *(names.schedule_name(schedule.key) for schedule in SCHEDULES),
        *(
            cluster.properties["DBClusterIdentifier"].replace("production", "$STAGE")
            for cluster in resources(of_stage(templates, "production"), "AWS::RDS::DBCluster")
        ),
        *(
            proxy.properties["DBProxyName"].replace("production", "$STAGE")
            for proxy in resources(of_stage(templates, "production"), "AWS::RDS::DBProxy")
        ),
    }

    assert set(re.findall(r"vibecode-\$STAGE[a-z-]*", said)) <= known
    assert set(re.findall(r'"operation": "([a-z-]+)"', said)) <= OPERATIONS.keys()


# --- alarms ----------------------------------------------------------------------------------------------------------
@pytest.fixture(params=[*STAGES, "everything"])
def sized(request: pytest.FixtureRequest) -> tuple[Stage, dict[str, Resource]]:
    """Each stage, and one that asks for everything, with its alarms by their names without the stage's."""
    stage = ALL if request.param == "everything" else STAGES[request.param]
    made = request.getfixturevalue("everything" if stage is ALL else "templates")
    found = alarms(of_stage(made, stage.name))
    return stage, {name.removeprefix(f"{stage.prefix}-"): alarm for name, alarm in found.items()}


def certificates(stage: Stage) -> tuple[str, ...]:
    """The alarms that a domain brings."""
    return ("certificate-expires", "certificate-expires-live") if stage.domain else ()


def test_everything_that_calls_for_somebody_has_an_alarm(sized: tuple[Stage, dict[str, Resource]]) -> None:
    stage, found = sized

    assert found.keys() == {
        *("web-errors", "web-slow", "web-throttled", "worker-throttled", "worker-errors"),
        *(f"{what}-{queue.key}" for queue in QUEUES for what in ("dead", "late")),
        *("dead-bus", "facts-unsent", "facts-parked", "payments-unknown", "refunds-failed", "orders-failed"),
        *("executions-failed", "executions-cut-off"),
        *("database-away", "database-capacity", "database-connections"),
        *(["database-lag"] if stage.readers else []),
        *(["unreachable"] if stage.watched.canary else []),
        *certificates(stage),
        "page",
    }


def test_each_alarm_tells_somebody_by_itself_or_by_the_one_that_pages(sized: tuple[Stage, dict[str, Resource]]) -> None:
    _, mine = sized
    paging = {name for name, alarm in mine.items() if f"<{alarm.name}.Arn>" in mine["page"].properties["AlarmRule"]}

    assert paging == {
        *("web-errors", "web-slow", "web-throttled", "facts-unsent", "payments-unknown", "executions-failed"),
        *("database-away", "database-capacity", "database-connections"),
    }
    for name, alarm in mine.items():
        assert bool(alarm.properties.get("AlarmActions")) is (name not in paging), name
        assert alarm.properties.get("AlarmActions") == alarm.properties.get("OKActions"), "and says when it is over"


def test_silence_is_bad_only_where_somebody_measures_by_the_clock(sized: tuple[Stage, dict[str, Resource]]) -> None:
    stage, mine = sized
    silent = {
        name: alarm.properties["TreatMissingData"]
        for name, alarm in mine.items()
        if alarm.type == "AWS::CloudWatch::Alarm" and alarm.properties["TreatMissingData"] != "notBreaching"
    }

    assert silent == {
        "facts-unsent": "ignore" if stage.database_sleeps else "breaching",  # measured once a day, or by the minute
        "facts-parked": "ignore",
        **({"unreachable": "breaching"} if stage.watched.canary else {}),
        **dict.fromkeys(certificates(stage), "breaching"),
    }


def rings(alarm: Resource, **counted: float) -> bool:
    """Whether an alarm is on where its metrics, by their ids, have these values: as CloudWatch works it out."""
    [formula] = [each["Expression"] for each in alarm.properties["Metrics"] if "Expression" in each]
    words = {"IF": lambda so, then, other: then if so else other, "FILL": lambda value, _: value}
    value = eval(formula.replace(" OR ", " or "), words, counted)  # noqa: S307 -- a formula of ours
    return bool(value >= alarm.properties["Threshold"])


def minutes_of(alarm: Resource) -> float:
    """Over how long an alarm counts."""
    [seconds] = {
        each["MetricStat"]["Period"] for each in alarm.properties.get("Metrics", []) if "MetricStat" in each
    } or {alarm.properties["Period"]}
    return float(seconds) / 60


@pytest.mark.parametrize("stage", STAGES)
def test_what_fails_altogether_rings_at_the_traffic_that_the_stage_is_made_for(
    templates: Templates, stage: str
) -> None:
    mine, sizes, expected = alarms(templates), STAGES[stage], EXPECTED[stage]
    runs = sum(1 / each.minutes_between(database_sleeps=sizes.database_sleeps) for each in SCHEDULES)
    a_minute = {
        "requests": expected.requests / A_MONTH,
        "orders": expected.orders / A_MONTH,
        "invocations": expected.orders / A_MONTH * float(traced().worker.calls) + runs,
    }

    def come(name: str, what: str) -> tuple[Resource, int]:
        alarm = mine[f"vibecode-{stage}-{name}"]
        return alarm, int(a_minute[what] * minutes_of(alarm))

    for name, what in (("web-errors", "requests"), ("executions-failed", "orders"), ("worker-errors", "invocations")):
        alarm, many = come(name, what)
        assert rings(alarm, part=many, whole=many), f"{name}: all of {many} fail"
        assert not rings(alarm, part=0, whole=many), name
    slow, many = come("web-slow", "requests")
    assert rings(slow, measured=sizes.watched.slow_ms, count=many)
    for name, what in (("payments-unknown", "orders"), ("database-away", "requests")):
        alarm, many = come(name, what)
        assert alarm.properties["Threshold"] <= many, f"{name}: all of {many} fail"


@pytest.mark.parametrize("stage", STAGES)
def test_one_failure_among_few_is_no_share(templates: Templates, stage: str) -> None:
    for name, least in (
        ("web-errors", STAGES[stage].watched.least_requests),
        ("executions-failed", watches.LEAST_EXECUTIONS),
        ("worker-errors", watches.LEAST_INVOCATIONS),
    ):
        alarm = alarms(templates)[f"vibecode-{stage}-{name}"]
        assert not rings(alarm, part=1, whole=1), name
        assert not rings(alarm, part=2, whole=least - 1), name
        assert rings(alarm, part=watches.FEW, whole=watches.FEW), name


@pytest.mark.parametrize("stage", STAGES)
def test_connections_are_counted_where_they_run_out(templates: Templates, stage: str) -> None:
    alarm = alarms(templates)[f"vibecode-{stage}-database-connections"]
    asked = {metric["MetricName"]: dimensions_of(metric) for metric in _metrics(alarm)}

    if STAGES[stage].proxied:
        [proxy] = resources(of_stage(templates, stage), "AWS::RDS::DBProxy")
        towards_the_writer = {
            "ProxyName": proxy.properties["DBProxyName"], "TargetGroup": "default", "TargetRole": "READ_WRITE",
        }  # fmt: skip
        assert asked == dict.fromkeys(("DatabaseConnections", "MaxDatabaseConnectionsAllowed"), towards_the_writer)
        assert rings(alarm, taken=80, allowed=100)
        assert not rings(alarm, taken=79, allowed=100)
    else:
        assert asked.keys() == {"DatabaseConnections"}
        assert alarm.properties["Threshold"] == watches.connections_of(STAGES[stage]) * 4 // 5


def test_a_queue_is_late_only_when_all_of_its_tries_are_over(templates: Templates) -> None:
    for queue in QUEUES:
        alarm = alarms(templates)[f"vibecode-production-late-{queue.key}"]
        assert alarm.properties["Threshold"] == queue.delay + 120 * queue.tries
        assert alarm.properties["Threshold"] < queue.keep_days * 86400, "before SQS forgets it"


def test_the_apps_own_metrics_are_asked_for_as_the_app_counts_them(templates: Templates) -> None:
    """Each name and each dimension of the namespace stands in a call of `metric` somewhere in the app."""
    counted: dict[str, set[str]] = {}
    for path in [*REPOSITORY.glob("vibecode/**/*.py"), *REPOSITORY.glob("orders/**/*.py")]:
        for name, more in re.findall(r'\bmetric\("(\w+)",([^\n]*)\)', path.read_text()):
            counted.setdefault(name, set()).update({"Stage", *re.findall(r"(\w+)=", more)})
    asked = [
        (metric["MetricName"], {dimension["Name"] for dimension in metric["Dimensions"]})
        for alarm in resources(templates, "AWS::CloudWatch::Alarm")
        for metric in _metrics(alarm)
        if metric["Namespace"] == "Vibecode"
    ]

    assert len({name for name, _ in asked}) >= 5
    for name, dimensions in asked:
        assert counted.get(name) == dimensions, name


def dimensions_of(metric: Mapping[str, Any]) -> dict[str, str]:
    """The dimensions of a metric by their names."""
    return {each["Name"]: each["Value"] for each in metric["Dimensions"]}


def _metrics(alarm: Resource) -> list[Mapping[str, Any]]:
    if "Metrics" not in alarm.properties:
        return [alarm.properties]
    return [metric["MetricStat"]["Metric"] for metric in alarm.properties["Metrics"] if "MetricStat" in metric]


def test_the_dashboard_shows_ends_that_orders_and_payments_have() -> None:
    from infrastructure import dashboard

    assert set(dashboard.ORDERS) <= set(OrderStatus.values)
    assert set(dashboard.PAYMENTS) <= set(PaymentState.values)


# --- from outside, and money -----------------------------------------------------------------------------------------
def test_the_canary_asks_for_what_touches_no_database_and_dev_has_none(templates: Templates) -> None:
    checks = {check.stage: check.properties["HealthCheckConfig"] for check in
              resources(templates, "AWS::Route53::HealthCheck")}  # fmt: skip

    assert set(checks) == {"staging", "production"}
    for asked in checks.values():
        assert (asked["Type"], asked["ResourcePath"], asked["SearchString"]) == ("HTTPS_STR_MATCH", "/healthz", '"ok"')
        assert asked["EnableSNI"] is True


def test_a_domain_brings_the_alarms_of_its_certificates(everything: Templates) -> None:
    for name, output, stack in (
        ("certificate-expires", "CertificateArn", "worldwide"),
        ("certificate-expires-live", "LiveCertificateArn", "live"),
    ):
        alarm = alarms(everything)[f"vibecode-production-{name}"]
        assert (alarm.properties["ComparisonOperator"], alarm.properties["Threshold"]) == ("LessThanThreshold", 21)
        assert dimensions_of(alarm.properties) == {"CertificateArn": f"<{output}>"}
        assert alarm.properties["TreatMissingData"] == "breaching", "of one that has ended ACM counts nothing"
        assert output in everything[f"vibecode-production-{stack}"]["Outputs"], "what the deployment tells it"
    [check] = resources(everything, "AWS::Route53::HealthCheck")
    assert check.properties["HealthCheckConfig"]["FullyQualifiedDomainName"] == "shop.example"
    assert "PublicDomain" not in everything["vibecode-production-observability-worldwide"].get("Parameters", {})


def heard(templates: Templates, stage: str) -> dict[str, set[str]]:
    """Who listens to each of a stage's topics of alarms, by its stack."""
    mine = of_stage(templates, stage)
    found: dict[str, set[str]] = {
        each.stack: set() for each in resources(mine, "AWS::SNS::Topic") if "observability" in each.stack
    }
    for letters in resources(mine, "AWS::SNS::Subscription"):
        assert letters.properties["Protocol"] == "email"
        found[letters.stack].add(letters.properties["Endpoint"])
    return found


def test_who_is_to_hear_of_alarms_hears_of_them_in_both_regions(templates: Templates, everything: Templates) -> None:
    both = ("observability", "observability-worldwide")

    assert heard(everything, "production") == {f"vibecode-production-{stack}": {"night@shop.example"} for stack in both}
    for name, stage in STAGES.items():
        who = {stage.alarms_to} if stage.alarms_to else set()
        assert heard(templates, name) == {f"vibecode-{name}-{stack}": who for stack in both}


def test_where_nobody_hears_of_alarms_the_pages_say_so() -> None:
    for page in ("runbooks/README.md", "security.md", "compliance.md", "deploy.md"):
        assert "`alarms_to`" in (REPOSITORY / "docs" / page).read_text(), page


def test_a_budget_may_be_replaced_by_another(templates: Templates) -> None:
    """Whoever it tells changes by another in its place; AWS makes none beside one of its name."""
    for budget in resources(templates, "AWS::Budgets::Budget"):
        assert "BudgetName" not in budget.properties["Budget"], budget


@pytest.mark.parametrize("stage", STAGES)
def test_nobody_writes_to_the_alarms_topic_but_aws_for_this_account(templates: Templates, stage: str) -> None:
    mine = [
        policy
        for policy in resources(of_stage(templates, stage), "AWS::SNS::TopicPolicy")
        if "observability" in policy.stack
    ]

    assert len(mine) == 2
    for policy in mine:
        for statement in policy.properties["PolicyDocument"]["Statement"]:
            if statement["Effect"] == "Allow":
                assert statement["Condition"] == {"StringEquals": {"aws:SourceAccount": "123456789012"}}
                assert "AWS" not in statement["Principal"]
