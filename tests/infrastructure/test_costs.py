"""The estimator: what stands in the templates and in the usage makes the bill, and nothing else does."""

import copy
import json
from collections.abc import Mapping
from dataclasses import fields, replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

import infrastructure.costs
from benchmarks.one_order import HEAD, as_toml
from infrastructure.config import STAGES
from infrastructure.costs import __main__ as command
from infrastructure.costs.bill import bill, bill_of_account, change, cost_of_an_order, functions, own_metrics
from infrastructure.costs.counting import COUNTERS, count, runs_a_month
from infrastructure.costs.endpoints import break_even, endpoints
from infrastructure.costs.prices import HOURS, prices
from infrastructure.costs.usage import EXPECTED, TRACED, Traced, Usage, read_traced, traced
from infrastructure.judging import SNAPSHOTS
from vibecode.resources import STEPS

PRODUCTION, DEV = STAGES["production"], STAGES["dev"]
BUSY = Usage(
    orders=1000, requests=10_000, customers=20_000, websocket_hours=10, storage=10, pictures=10, batch_hours=10,
    delivered_requests=1000, delivered=10,
)  # fmt: skip

type Templates = dict[str, dict[str, Any]]

# One resource of each type that costs something, as small as it can be.
EVERYTHING: Mapping[str, Mapping[str, Any]] = {
    "AWS::EC2::NatGateway": {},
    "AWS::EC2::EIP": {},
    "AWS::EC2::VPCEndpoint": {
        "VpcEndpointType": "Interface", "ServiceName": "com.amazonaws.eu-north-1.sqs", "SubnetIds": ["a", "b"],
    },
    "AWS::EC2::FlowLog": {},
    "AWS::RDS::DBCluster": {
        "ServerlessV2ScalingConfiguration": {"MinCapacity": 1, "MaxCapacity": 8}, "ManageMasterUserPassword": True,
    },
    "AWS::RDS::DBInstance": {},
    "AWS::RDS::DBProxy": {},
    "AWS::ElastiCache::ServerlessCache": {},
    "AWS::DynamoDB::GlobalTable": {"Replicas": [{}]},
    "AWS::DynamoDB::Table": {},
    "AWS::Backup::BackupPlan": {"BackupPlan": {"BackupPlanRule": [{"Lifecycle": {"DeleteAfterDays": 7}}]}},
    "AWS::KMS::Key": {},
    "AWS::KMS::ReplicaKey": {},
    "AWS::SecretsManager::Secret": {},
    "AWS::WAFv2::WebACL": {"Rules": [{}, {}]},
    "AWS::CloudFront::Distribution": {
        "DistributionConfig": {
            "DefaultCacheBehavior": {"LambdaFunctionAssociations": [{}]},
            "CacheBehaviors": [{"FunctionAssociations": [{}]}],
        }
    },
    "AWS::CloudWatch::Alarm": {"MetricName": "Errors"},
    "AWS::CloudWatch::CompositeAlarm": {},
    "AWS::CloudWatch::Dashboard": {},
    "AWS::Logs::MetricFilter": {},
    "AWS::Synthetics::Canary": {"Schedule": {"Expression": "rate(5 minutes)"}},
    "AWS::Logs::LogGroup": {"RetentionInDays": 30},
    "AWS::SQS::Queue": {"KmsMasterKeyId": "key"},
    "AWS::Lambda::EventSourceMapping": {},
    "AWS::Events::Rule": {"ScheduleExpression": "rate(1 minute)"},
    "AWS::Scheduler::Schedule": {"ScheduleExpression": "rate(1 day)"},
    "AWS::Cognito::UserPool": {},
    "AWS::ApiGatewayV2::Api": {},
    "AWS::StepFunctions::StateMachine": {},
    "AWS::ECR::Repository": {},
    "AWS::EFS::FileSystem": {},
    "AWS::ECS::Service": {
        "TaskDefinition": {"Ref": "Task"}, "CapacityProviderStrategy": [{"CapacityProvider": "FARGATE"}],
    },
    "AWS::Route53::HostedZone": {},
    "AWS::Route53::HealthCheck": {"HealthCheckConfig": {"Type": "HTTPS_STR_MATCH"}},
    "AWS::CodePipeline::Pipeline": {},
}  # fmt: skip
TASK = {"Type": "AWS::ECS::TaskDefinition", "Properties": {"Cpu": "512", "Memory": "1024"}}


def one_of(*types: str, stack: str = "vibecode-production-made") -> Templates:
    """A template with one resource of each type."""
    resources = {
        kind.replace("::", ""): {"Type": kind, "Properties": copy.deepcopy(dict(EVERYTHING[kind]))} for kind in types
    }
    return {stack: {"Resources": {**resources, "Task": TASK}}}


@pytest.fixture(scope="module")
def snapshots() -> Templates:
    """The committed templates."""
    return {name: dict(template) for name, template in command.read_templates(SNAPSHOTS).items()}


# --- the table and the trace -----------------------------------------------------------------------------------------
def test_every_price_says_what_of_where_it_stands_and_how_far_it_was_checked() -> None:
    for name, price in prices().of.items():
        assert price.usd > 0, name
        assert price.source.startswith("https://aws.amazon.com/"), name
        assert price.checked in {"stockholm", "everywhere", "elsewhere"}, name
        assert price.note or price.checked == "everywhere", f"{name}: which region, or which record?"
    assert prices().region == "eu-north-1"


def test_every_price_is_asked_for_by_a_stage_that_has_everything() -> None:
    spot = one_of("AWS::ECS::Service", stack="vibecode-production-spot")
    service = spot["vibecode-production-spot"]["Resources"]["AWSECSService"]
    service["Properties"]["CapacityProviderStrategy"] = [{"CapacityProvider": "FARGATE_SPOT"}]
    pipeline = one_of("AWS::CodePipeline::Pipeline", stack="vibecode-pipeline")
    usage = replace(BUSY, requests=10_000_000)
    lines = [
        *bill(PRODUCTION, one_of(*EVERYTHING) | spot, usage).lines,
        *bill_of_account(pipeline, usage).lines,
    ]

    asked = {id(line.price) for line in lines}

    assert [name for name, price in prices().of.items() if id(price) not in asked] == []


def test_every_type_that_is_counted_is_tried_here() -> None:
    assert set(EVERYTHING) == set(COUNTERS)


def test_the_trace_of_one_order_is_the_benchmarks_and_knows_the_whole_way() -> None:
    order = traced()

    assert TRACED.read_text().startswith(HEAD)
    assert order.command == f"python -m benchmarks.one_order --orders {order.orders} --write"
    assert order.orders >= 5
    assert order.web.calls == 1
    # validate, pay, deduct and notify side by side, complete: with the state around two of them, and the start
    assert len(STEPS) > order.transitions - 1 >= 6
    assert order.facts >= 4, "created, paid, confirmed, completed"
    assert order.messages > order.facts, "a fact goes to several queues"
    assert order.letters == 1
    assert {"sqs", "events", "states", "sns", "ses", "dynamodb"} <= set(order.calls)


def test_what_the_benchmark_writes_is_what_the_estimator_reads() -> None:
    figures = {"calls": 1.0, "cpu_ms": 2.5, "wait_ms": 0.5}
    counts = dict.fromkeys(
        ("statements", "messages", "announcements", "letters", "pushes", "table_reads", "table_writes", "database_ms",
         "facts", "transitions", "log_bytes"),
        3.0,
    )  # fmt: skip
    calls = {"sqs": {"calls": 4.0, "bytes": 900.0}}
    table = {
        "measured": prices().read, "command": "x", "machine": "y", "orders": 5,
        "order": {**counts, "web": figures, "worker": figures, "calls": calls},
        "read": {"statements": 2.0, "log_bytes": 1.0, "web": figures}, "tick": figures,
    }  # fmt: skip

    order = read_traced(HEAD + as_toml(table))

    assert (order.facts, order.web.cpu_ms, order.calls["sqs"].bytes) == (Decimal("3.0"), Decimal("2.5"), Decimal(900))


# --- what stands in the templates ------------------------------------------------------------------------------------
@pytest.mark.parametrize("kind", sorted(set(EVERYTHING) - {
    # These cost what is asked of them, or where another stands beside them.
    "AWS::DynamoDB::GlobalTable", "AWS::DynamoDB::Table", "AWS::Cognito::UserPool", "AWS::ApiGatewayV2::Api",
    "AWS::StepFunctions::StateMachine", "AWS::CloudFront::Distribution", "AWS::RDS::DBInstance",
    "AWS::Backup::BackupPlan", "AWS::EC2::FlowLog", "AWS::CodePipeline::Pipeline",
}))  # fmt: skip
def test_one_more_of_it_makes_the_bill_larger(kind: str) -> None:
    idle = Usage()

    assert bill(PRODUCTION, one_of(kind), idle).usd > bill(PRODUCTION, one_of(), idle).usd


def test_a_change_of_the_stacks_is_told_by_service_and_nothing_else() -> None:
    before = one_of("AWS::KMS::Key", "AWS::EC2::NatGateway")
    after = one_of("AWS::KMS::Key", "AWS::RDS::DBProxy")

    changes = change(PRODUCTION, before, after, Usage())

    assert [(each.service, each.before, each.after) for each in changes] == [
        ("RDS Proxy", Decimal(0), 8 * HOURS * Decimal("0.015")),
        ("VPC", HOURS * Decimal("0.046"), Decimal(0)),
    ]
    assert change(PRODUCTION, before, before) == []


def test_the_deployment_is_told_one_sum_for_the_stacks_that_it_has() -> None:
    dev = one_of("AWS::KMS::Key", stack="vibecode-dev-foundation")

    assert infrastructure.costs.monthly({}) == 0
    assert infrastructure.costs.monthly(dev) == bill(DEV, dev, EXPECTED["dev"]).usd
    pipeline = one_of("AWS::CodePipeline::Pipeline", stack="vibecode-pipeline")
    assert infrastructure.costs.monthly(dev | pipeline) > infrastructure.costs.monthly(dev)


def test_a_bill_is_of_the_stage_alone() -> None:
    templates = one_of("AWS::EC2::NatGateway", stack="vibecode-staging-network")

    assert bill(PRODUCTION, templates, BUSY).services.get("VPC") is None
    assert bill(STAGES["staging"], templates, BUSY).services["VPC"] > HOURS * Decimal("0.046")


def test_an_alarm_is_paid_for_every_metric_that_it_reads() -> None:
    templates = one_of("AWS::CloudWatch::Alarm")
    (alarm, *_) = templates["vibecode-production-made"]["Resources"].values()
    alarm["Properties"] = {"Metrics": [{"MetricStat": {}}, {"MetricStat": {}}, {"Expression": "a / b"}]}

    assert count(templates).alarm_metrics == 2


def test_endpoints_are_paid_by_zone_and_gateway_endpoints_are_free() -> None:
    templates = one_of("AWS::EC2::VPCEndpoint")
    assert count(templates).endpoints == {"sqs": 2}

    (endpoint, *_) = templates["vibecode-production-made"]["Resources"].values()
    endpoint["Properties"]["VpcEndpointType"] = "Gateway"

    assert count(templates).endpoints == {}


@pytest.mark.parametrize(
    ("expression", "times"),
    [
        ("rate(1 minute)", 43830), ("rate(5 minutes)", 8766), ("rate(1440 minutes)", 30.4375),
        ("rate(2 hours)", 365.25),
        ("cron(0 3 * * ? *)", 30.4375), ("cron(0 3 ? * SUN *)", 30.4375 / 7),
    ],
)  # fmt: skip
def test_a_schedule_is_counted_by_the_month(expression: str, times: float) -> None:
    assert float(runs_a_month(expression)) == pytest.approx(times)


def test_a_schedule_that_cannot_be_counted_is_named() -> None:
    with pytest.raises(ValueError, match=r"cron\(0/5 \* \* \* \? \*\)"):
        runs_a_month("cron(0/5 * * * ? *)")


# --- what is asked for -----------------------------------------------------------------------------------------------
@pytest.mark.parametrize("name", sorted({each.name for each in fields(Usage)} - {"awake_hours"}))
def test_more_of_it_never_costs_less_and_much_more_costs_more(name: str) -> None:
    templates = one_of(*EVERYTHING)
    more = replace(BUSY, **{name: getattr(BUSY, name) + 1_000})
    if name == "orders":
        more = replace(more, requests=BUSY.requests + 1_000)

    assert bill(PRODUCTION, templates, more).usd > bill(PRODUCTION, templates, BUSY).usd


def test_a_database_that_sleeps_is_paid_while_it_is_awake() -> None:
    templates = one_of("AWS::RDS::DBCluster", "AWS::RDS::DBInstance", stack="vibecode-dev-data")
    cluster = templates["vibecode-dev-data"]["Resources"]["AWSRDSDBCluster"]["Properties"]
    cluster["ServerlessV2ScalingConfiguration"] = {"MinCapacity": 0, "MaxCapacity": 2}

    def capacity(hours: int) -> Decimal:
        lines = bill(DEV, templates, Usage(awake_hours=hours)).lines
        return sum((line.usd for line in lines if line.what == "capacity"), Decimal())

    assert capacity(0) == 0
    assert capacity(100) == 100 * Decimal("0.5") * Decimal("0.14")
    assert capacity(10_000) == HOURS * Decimal("0.5") * Decimal("0.14"), "a month has no more hours"


def test_capacity_grows_with_the_load_up_to_the_largest() -> None:
    templates = one_of("AWS::RDS::DBCluster", "AWS::RDS::DBInstance")
    order = replace(traced(), database_ms=Decimal(100))

    def acu(orders: int) -> Decimal:
        lines = bill(PRODUCTION, templates, Usage(orders=orders, requests=orders), order).lines
        return next(line.quantity for line in lines if line.what == "capacity") / HOURS

    assert acu(1) == 1
    assert 1 < acu(10_000_000) < 8
    assert acu(10**12) == 8


def test_with_less_memory_a_function_is_slower_at_what_it_computes_and_not_at_what_it_waits_for() -> None:
    run = replace(traced().web, cpu_ms=Decimal(100), wait_ms=Decimal(100))

    assert run.gb_seconds(1769) == Decimal("0.2") * 1769 / 1024
    assert run.gb_seconds(1024) == (Decimal(100) * 1769 / 1024 + 100) / 1000


def test_functions_are_as_large_as_zappa_makes_them() -> None:
    settings = json.loads((Path(command.__file__).parents[2] / "zappa_settings.json").read_text())

    web, worker = functions("production")

    assert web.memory == settings["production"]["memory_size"]
    assert worker.memory == settings["shared"]["memory_size"]
    assert (web.snapshots, worker.snapshots) == (True, False)
    assert web.versions == settings["production"]["num_retained_versions"]
    assert functions("dev")[0].snapshots is False


def test_our_own_metrics_are_found_in_the_code() -> None:
    assert own_metrics() > 10, "each outcome is a metric of its own"


def test_one_order_more_costs_the_same_however_many_there_are() -> None:
    templates = one_of(*EVERYTHING)
    one = cost_of_an_order(PRODUCTION, templates)
    cluster = templates["vibecode-production-made"]["Resources"]["AWSRDSDBCluster"]["Properties"]
    cluster["ServerlessV2ScalingConfiguration"]["MinCapacity"] = 8  # so that capacity follows no load
    few, many = (bill(PRODUCTION, templates, Usage(orders=n, requests=n)).usd for n in (10_000, 20_000))

    assert one.usd * 10_000 == pytest.approx(many - few)
    assert one.services["Step Functions"] == traced().transitions * Decimal("0.000025")
    assert "VPC" in one.services, "what an order sends through NAT"


def test_usage_that_cannot_be_is_refused() -> None:
    with pytest.raises(ValueError, match="storage must be 0 or more"):
        Usage(storage=-1)
    with pytest.raises(ValueError, match="requests must be at least as many as orders"):
        Usage(orders=2, requests=1)


# --- endpoints -------------------------------------------------------------------------------------------------------
def test_an_endpoint_pays_from_the_traffic_on_whose_nat_costs_as_much_as_its_hours() -> None:
    even = break_even(3)

    by_nat = even * Decimal("0.046")
    assert by_nat == pytest.approx(3 * HOURS * Decimal("0.011") + even * Decimal("0.01"))


@pytest.mark.parametrize("stage", STAGES.values(), ids=lambda stage: stage.name)
def test_a_stage_has_the_interface_endpoints_that_pay_and_no_others(stage: Any) -> None:
    pays = {each.service for each in endpoints(EXPECTED[stage.name]) if each.pays}

    assert set(stage.interface_endpoints) == pays


def test_what_no_endpoint_reaches_is_offered_none() -> None:
    offered = {each.service for each in endpoints(Usage(orders=1, requests=1))}

    assert offered == traced().calls.keys() - {"execute-api", "s3", "dynamodb"}
    assert "execute-api" in traced().calls


def test_with_enough_orders_an_endpoint_pays() -> None:
    service = next(iter(endpoints(Usage(orders=1, requests=1)))).service
    first = next(each for each in endpoints(Usage(orders=1, requests=1)) if each.service == service)
    assert first.even_orders is not None
    enough = int(first.even_orders) + 1_000

    assert not first.pays
    assert next(each for each in endpoints(Usage(orders=enough, requests=enough)) if each.service == service).pays


# --- the command -----------------------------------------------------------------------------------------------------
def test_the_committed_templates_of_every_stage_have_a_bill_below_their_budget(snapshots: Templates) -> None:
    for name, stage in STAGES.items():
        made = bill(stage, snapshots, EXPECTED[name])

        assert {"Aurora", "VPC", "KMS"} <= set(made.services), name
        assert made.usd < stage.budget, f"{name} costs {made.usd:.2f}"


def test_the_table_tells_every_line_the_sum_and_how_far_to_trust_it(capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["--stage", "production", "--orders", "10000", "--storage", "20"]) == 0

    said = capsys.readouterr().out

    for words in ("NAT gateways", "capacity", "together", "One order more", "pays from GB", "prices.toml"):
        assert words in said
    assert "10,000 orders" in said


def test_without_a_stage_all_of_them_stand_side_by_side(capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main([]) == 0

    said = capsys.readouterr().out

    assert all(name in said for name in STAGES)


def test_json_has_the_sum_of_its_lines(capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["--stage", "dev", "--orders", "30000", "--json"]) == 0

    told = json.loads(capsys.readouterr().out)["dev"]

    assert told["usage"]["requests"] == 30_000, "an order is a request"
    assert Decimal(told["usd"]) == sum(Decimal(line["usd"]) for line in told["lines"])


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--stage", "live"], "invalid choice"),
        (["--orders", "many"], "invalid int"),
        (["--storage", "-1"], "storage must be 0 or more"),
        (["--templates", "/nowhere"], "there are no templates in /nowhere"),
    ],
)
def test_an_option_that_cannot_be_is_refused(words: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        command.main(words)

    assert ended.value.code == 2
    assert said in capsys.readouterr().err


def test_an_order_traced_again_changes_the_bill() -> None:
    order: Traced = replace(traced(), transitions=traced().transitions * 2)

    twice = bill(PRODUCTION, one_of(), BUSY, order).services["Step Functions"]

    assert twice == 2 * bill(PRODUCTION, one_of(), BUSY).services["Step Functions"]
