"""Alarms and their pages: each alarm leads to a page, each page to an alarm, and each says what it should."""

import dataclasses
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from infrastructure.config import STAGES
from orders.status import OrderStatus, PaymentState
from tests.infrastructure.templates import Resource, Templates, of_stage, resources
from vibecode.local.folder import REPOSITORY
from vibecode.resources import OPERATIONS, QUEUES, SCHEDULES, Resources

RUNBOOKS = REPOSITORY / "docs" / "runbooks"
PARTS = ("What it means", "Look first", "Do", "Over when")
WITHOUT_ALARM = {"README", "costs"}  # the budget's letters and the anomaly monitor's are no alarms
ALARMS = ("AWS::CloudWatch::Alarm", "AWS::CloudWatch::CompositeAlarm")


@pytest.fixture(scope="session")
def with_domain(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Any]:
    """What watches a production that has a domain, and so a certificate: the templates of its two stacks."""
    import aws_cdk as cdk

    from infrastructure.observability import WorldwideObservability

    app = cdk.App(outdir=str(tmp_path_factory.mktemp("with-domain")))
    stage = dataclasses.replace(STAGES["production"], domain="shop.example", alarms_to="night@shop.example")
    names = Resources(stage=stage.name, region="us-east-1", account=cdk.Aws.ACCOUNT_ID)
    stack = WorldwideObservability(
        app, "watch", stage=stage, resources=names, stack_name="vibecode-production-observability-worldwide"
    )
    return {stack.stack_name: app.synth().get_stack_by_name(stack.stack_name).template}


def alarms(templates: Templates) -> dict[str, Resource]:
    """Every alarm by its name."""
    return {found.properties["AlarmName"]: found for found in resources(templates, *ALARMS)}


def runbook_of(alarm: Resource) -> str:
    """The page that its description names."""
    [page] = re.findall(r"Runbook: docs/runbooks/([a-z-]+)\.md$", alarm.properties["AlarmDescription"])
    return str(page)


# --- pages -----------------------------------------------------------------------------------------------------------
def test_every_alarm_names_a_page_and_every_page_is_named_by_an_alarm(
    templates: Templates, with_domain: Templates
) -> None:
    named = {runbook_of(alarm) for some in (templates, with_domain) for alarm in alarms(some).values()}
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
@pytest.mark.parametrize("stage", STAGES)
def test_everything_that_calls_for_somebody_has_an_alarm(templates: Templates, stage: str) -> None:
    prefix = f"vibecode-{stage}-"
    found = {name.removeprefix(prefix) for name in alarms(of_stage(templates, stage))}

    wanted = {
        *("web-errors", "web-slow", "web-throttled", "worker-throttled", "worker-errors"),
        *(f"{what}-{queue.key}" for queue in QUEUES for what in ("dead", "late")),
        *("facts-unsent", "facts-parked", "payments-unknown", "refunds-failed", "orders-failed"),
        *("executions-failed", "executions-cut-off"),
        *("database-away", "database-capacity", "database-connections"),
        *(["database-lag"] if STAGES[stage].readers else []),
        *(["unreachable"] if STAGES[stage].watched.canary else []),
        "page",
    }
    assert found == wanted


@pytest.mark.parametrize("stage", STAGES)
def test_each_alarm_tells_somebody_by_itself_or_by_the_one_that_pages(templates: Templates, stage: str) -> None:
    mine = of_stage(templates, stage)
    page = alarms(mine)[f"vibecode-{stage}-page"]
    paging = {name for name, alarm in alarms(mine).items() if f"<{alarm.name}.Arn>" in page.properties["AlarmRule"]}

    assert {name.removeprefix(f"vibecode-{stage}-") for name in paging} == {
        *("web-errors", "web-slow", "web-throttled", "facts-unsent", "payments-unknown", "executions-failed"),
        *("database-away", "database-capacity", "database-connections"),
    }
    for name, alarm in alarms(mine).items():
        assert bool(alarm.properties.get("AlarmActions")) is (name not in paging), name
        assert alarm.properties.get("AlarmActions") == alarm.properties.get("OKActions"), "and says when it is over"


def test_silence_is_bad_only_where_somebody_measures_by_the_clock(templates: Templates) -> None:
    silent = {
        name: alarm.properties["TreatMissingData"]
        for name, alarm in alarms(templates).items()
        if alarm.type == "AWS::CloudWatch::Alarm" and alarm.properties["TreatMissingData"] != "notBreaching"
    }

    assert silent == {
        "vibecode-dev-facts-unsent": "ignore",  # measured once a day
        "vibecode-staging-facts-unsent": "breaching",
        "vibecode-production-facts-unsent": "breaching",
        **{f"vibecode-{stage}-facts-parked": "ignore" for stage in STAGES},
        "vibecode-staging-unreachable": "breaching",
        "vibecode-production-unreachable": "breaching",
    }


def test_a_share_of_few_requests_is_none(templates: Templates) -> None:
    for stage, sizes in STAGES.items():
        for name in ("web-errors", "web-slow"):
            alarm = alarms(templates)[f"vibecode-{stage}-{name}"]
            [formula] = [metric["Expression"] for metric in alarm.properties["Metrics"] if "Expression" in metric]
            assert f">= {sizes.watched.least_requests}," in formula


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


def test_a_domain_brings_the_certificates_alarm_and_an_address_its_letters(with_domain: Templates) -> None:
    alarm = alarms(with_domain)["vibecode-production-certificate-expires"]
    [check] = resources(with_domain, "AWS::Route53::HealthCheck")
    [letters] = resources(with_domain, "AWS::SNS::Subscription")

    assert (alarm.properties["ComparisonOperator"], alarm.properties["Threshold"]) == ("LessThanThreshold", 21)
    assert check.properties["HealthCheckConfig"]["FullyQualifiedDomainName"] == "shop.example"
    assert (letters.properties["Protocol"], letters.properties["Endpoint"]) == ("email", "night@shop.example")


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
