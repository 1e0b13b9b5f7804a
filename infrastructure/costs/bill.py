"""The monthly bill of a stage, line by line, and what a change of its templates changes.

Called by the command, and by the deployment for its plan. Two kinds of lines: what is there whether anybody comes or
not, counted in the templates, and what a month's usage asks for. Where it is not known which, the line is the dearer.
Longer than most modules: who doubts a bill reads it from top to bottom.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from functools import cache
from pathlib import Path
from typing import Any

from infrastructure.config import STAGES, Stage
from infrastructure.costs.counting import Counted, Template, count, of_stage
from infrastructure.costs.prices import DAYS, HOURS, Price, prices
from infrastructure.costs.usage import EXPECTED, Traced, Usage, traced

REPOSITORY = Path(__file__).resolve().parents[2]
GB = Decimal(10**9)
GATEWAYS = {"s3", "dynamodb"}  # their traffic goes by gateway endpoints, which cost nothing
LEAST_PROXIED = 8  # ACU that a proxy pays for
LEAST_CACHED = Decimal("0.1")  # GB that a cache of Valkey pays for
LEAST_AWAKE = Decimal("0.5")  # ACU of a cluster that may sleep, while it does not
# Aurora grows where the load comes in waves: so many times what the same load takes when it is spread evenly.
WAVES = 3
# A processor's share of an ACU: 2 GB of memory, where Aurora's memory-optimized instances have 8 GB a processor.
# https://docs.aws.amazon.com/AmazonRDS/latest/AuroraUserGuide/aurora-serverless-v2.how-it-works.html
ACU_OF_PROCESSOR = 4
CHANGED_DAILY = Decimal("0.02")  # of the database: what each further day of backups keeps
# Lambda asks an idle queue with five long polls of 20 s at a time.
# https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-scaling.html
IDLE_POLLS = 5 * DAYS * 24 * 3600 / 20
# An encrypted queue asks KMS for one data key in five minutes at most, to write and to read.
# https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-key-management.html
KEY_CALLS = 2 * DAYS * 24 * 12
# A message is sent, received and deleted; the last two often for several at once, which is not counted.
QUEUE_REQUESTS = 3
CACHE_WORK = 2  # ECPU of one request: a throttle reads its count and writes it
PICTURE_OBJECTS = 4  # what was uploaded, what was made of it, two copies
LAMBDA_LINES = 400  # bytes that Lambda itself logs of an invocation: START, END, REPORT
FLOW_RECORD = 250  # bytes of flow logs, for one call to the outside
PROVIDER_BYTES = 20_000  # of one order, with the payment provider and its TLS
IMAGES_GB = 2  # of a repository: some releases of one image
FILES_GB = 1  # of a file system
ACTION_MINUTES, BUILD_MINUTES = 40, 30  # of one release in the pipeline
EDGE_GB_SECONDS = Decimal("0.125") * 2 / 1000  # a header renamed: 2 ms in the least memory
IDLE_DAYS = 14  # after so many without a call Lambda drops a version's snapshot
# https://docs.aws.amazon.com/lambda/latest/dg/snapstart.html


@dataclass(frozen=True, slots=True)
class Line:
    """So much of something, at a price."""

    service: str
    what: str
    quantity: Decimal
    price: Price

    @property
    def usd(self) -> Decimal:
        """A month's."""
        return max(self.quantity - self.price.free, Decimal()) / self.price.divisor * self.price.usd


@dataclass(frozen=True, slots=True)
class Bill:
    """All lines of a month; those of nothing are left out."""

    lines: Sequence[Line]

    @property
    def usd(self) -> Decimal:
        """Altogether."""
        return sum((line.usd for line in self.lines), Decimal())

    @property
    def services(self) -> Mapping[str, Decimal]:
        """By service, the dearest first."""
        sums: dict[str, Decimal] = {}
        for line in self.lines:
            sums[line.service] = sums.get(line.service, Decimal()) + line.usd
        return dict(sorted(sums.items(), key=lambda item: (-item[1], item[0])))


@dataclass(frozen=True, slots=True)
class Change:
    """What a service costs a month before and after."""

    service: str
    before: Decimal
    after: Decimal


@dataclass(frozen=True, slots=True)
class Function:
    """A function as zappa_settings.json sizes it."""

    memory: int  # MB
    snapshots: bool
    versions: int  # that are kept


def bill(stage: Stage, templates: Mapping[str, Template], usage: Usage, order: Traced | None = None) -> Bill:
    """What a month of this stage costs, with these templates of it (others are left out) and this usage."""
    counted = count(of_stage(templates, stage.prefix))
    order = order or traced()
    lines = [*_there(counted, stage, usage, order), *_asked(counted, stage, usage, order)]
    return Bill([line for line in lines if line.quantity])


def bill_of_account(templates: Mapping[str, Template], usage: Usage) -> Bill:
    """What belongs to no stage: the pipeline, and what it is built with."""
    prefixes = tuple(f"{stage.prefix}-" for stage in STAGES.values())
    counted = count({name: template for name, template in templates.items() if not name.startswith(prefixes)})
    actions = Decimal(counted.pipelines * usage.releases * ACTION_MINUTES)
    builds = Decimal(counted.pipelines * usage.releases * BUILD_MINUTES)
    lines = [
        *_fixed(counted),
        _line("minutes of actions", actions, "pipeline-minute"),
        _line("minutes of builds", builds, "build-minute"),
    ]
    return Bill([line for line in lines if line.quantity])


def cost_of_an_order(stage: Stage, templates: Mapping[str, Template], order: Traced | None = None) -> Bill:
    """What one order more costs, where everything else is there already: the difference that a thousand make."""
    some = Usage(orders=1_000_000, requests=1_000_000)
    counted = count(of_stage(templates, stage.prefix))
    order = order or traced()
    few = {(line.service, line.what): line for line in _asked(counted, stage, Usage(), order)}
    many = _asked(counted, stage, some, order)
    lines = [
        Line(line.service, line.what, (line.quantity - few[line.service, line.what].quantity) / some.orders, line.price)
        for line in many
    ]
    return Bill([line for line in lines if line.quantity])


def monthly(templates: Mapping[str, Template]) -> Decimal:
    """What these templates cost a month, by the names of their stacks, with what their stages are made for."""
    bills = [
        bill(stage, templates, EXPECTED[stage.name]) for stage in STAGES.values() if of_stage(templates, stage.prefix)
    ]
    return sum((each.usd for each in [*bills, bill_of_account(templates, EXPECTED["production"])]), Decimal())


def change(
    stage: Stage, before: Mapping[str, Template], after: Mapping[str, Template], usage: Usage | None = None
) -> list[Change]:
    """What a deployment changes of the monthly bill, by service, the largest first; nothing where nothing changes.

    ``before`` is what AWS has, ``after`` what will be there: all stacks of the stage, by their names.
    """
    usage = usage or EXPECTED[stage.name]
    new = bill(stage, after, usage).services
    old = bill(stage, before, usage).services if of_stage(before, stage.prefix) else {}  # no usage of what is not there
    changes = [Change(name, old.get(name, Decimal()), new.get(name, Decimal())) for name in {*old, *new}]
    changed = [each for each in changes if each.before != each.after]
    return sorted(changed, key=lambda each: (-abs(each.after - each.before), each.service))


@cache
def functions(stage: str) -> tuple[Function, Function]:
    """The web function and the worker of a stage."""
    settings: Mapping[str, Any] = json.loads((REPOSITORY / "zappa_settings.json").read_text())

    def resolved(name: str) -> dict[str, Any]:
        own = settings[name]
        return {**(resolved(own["extends"]) if "extends" in own else {}), **own}

    sizes = [resolved(name) for name in (stage, f"{stage}-worker")]
    web, worker = (
        Function(size["memory_size"], size.get("snap_start") == "PublishedVersions", size["num_retained_versions"])
        for size in sizes
    )
    return web, worker


@cache
def own_metrics() -> int:
    """Metrics that the code counts: one for each name and each outcome as the call writes it.

    A call that works its outcome out (a payment's state) is one here and some more on the bill, 0.30 USD each.
    """
    found = {
        (name, outcome[1] if (outcome := re.search(r"outcome=([^,)]+)", rest)) else "")
        for package in ("vibecode", "catalog", "accounts", "orders")
        for path in (REPOSITORY / package).rglob("*.py")
        for name, rest in re.findall(r'\bmetric\(\s*"(\w+)"([^)]*)', path.read_text())
    }
    return len(found)


def _line(what: str, quantity: Decimal | int, price: str) -> Line:
    row = prices().of[price]
    return Line(row.service, what, Decimal(quantity), row)


# --- what is there ---------------------------------------------------------------------------------------------------
def _fixed(counted: Counted) -> Iterator[Line]:
    """What is paid by the month or the hour, whatever happens."""
    yield _line("NAT gateways", counted.nat_gateways * HOURS, "nat-hour")
    yield _line("public addresses", counted.addresses * HOURS, "address-hour")
    for service, zones in sorted(counted.endpoints.items()):
        yield _line(f"endpoint of {service}", zones * HOURS, "endpoint-hour")
    yield _line("keys", counted.keys, "key")
    yield _line("secrets", counted.secrets, "secret")
    yield _line("web ACLs", counted.web_acls, "web-acl")
    yield _line("rules of web ACLs", counted.rules, "web-acl-rule")
    yield _line("metrics of alarms", counted.alarm_metrics, "alarm-metric")
    yield _line("composite alarms", counted.composite_alarms, "composite-alarm")
    yield _line("dashboards", counted.dashboards, "dashboard")
    yield _line("runs of canaries", counted.canary_runs, "canary-run")
    yield _line("zones of Route 53", counted.hosted_zones, "hosted-zone")
    yield _line("health checks", counted.health_checks, "health-check")
    yield _line("HTTPS and words of health checks", counted.health_features, "health-check-feature")
    yield _line("images", counted.repositories * IMAGES_GB, "image-gb")
    yield _line("files", counted.file_systems * FILES_GB, "files-gb")


def _there(counted: Counted, stage: Stage, usage: Usage, order: Traced) -> Iterator[Line]:
    """What the stage keeps running and keeps stored."""
    yield from _fixed(counted)
    hours = Decimal(min(usage.awake_hours, int(HOURS))) if counted.least_acu == 0 else HOURS
    acu = _acu(counted, usage, order, hours)
    yield _line("capacity", counted.instances * acu * hours, "acu-hour")
    yield _line(
        "proxy", counted.proxies * max(Decimal(LEAST_PROXIED), counted.instances * acu) * HOURS, "proxy-acu-hour"
    )
    if counted.instances:
        yield _line("storage", usage.storage, "database-gb")
        yield _line("backups", _backed_up(counted, usage), "backup-gb")
    yield _line("cache", counted.caches * LEAST_CACHED * HOURS, "cache-gb-hour")
    yield _line("objects", usage.pictures_storage, "bucket-gb")
    for function in functions(stage.name):
        if function.snapshots:
            alive = min(Decimal(function.versions), 1 + usage.releases * IDLE_DAYS / DAYS)
            gb_seconds = alive * function.memory / 1024 * HOURS * 3600
            yield _line(f"snapshots at {function.memory} MB", gb_seconds, "snapshot-gb-second")
    yield from _batch(counted, usage)


def _acu(counted: Counted, usage: Usage, order: Traced, hours: Decimal) -> Decimal:
    """ACUs of one instance on average: the least that it may have, or what the load takes.

    What a function waits for the database is more than that computes: the load is told too large, not too small.
    """
    per_statement = order.database_ms / order.statements
    statements = usage.orders * order.statements + (usage.requests - usage.orders) * order.read_statements
    busy = statements * per_statement / 1000 / 3600 * ACU_OF_PROCESSOR * WAVES
    least = counted.least_acu or LEAST_AWAKE
    return min(max(least, busy / hours if hours else Decimal()), counted.most_acu or least)


def _backed_up(counted: Counted, usage: Usage) -> Decimal:
    """GB that AWS Backup keeps: the whole once, and of every further day what changed."""
    return usage.storage * (1 + CHANGED_DAILY * (counted.backup_days - 1)) if counted.backup_days else Decimal()


def _batch(counted: Counted, usage: Usage) -> Iterator[Line]:
    """Tasks that always run, and of each service the hours that it is scaled up for."""
    for number, processors, memory, spot in counted.tasks:
        kind = "fargate-spot" if spot else "fargate"
        hours = number * HOURS + usage.batch_hours
        yield _line("processors of tasks", hours * processors, f"{kind}-cpu-hour")
        yield _line("memory of tasks", hours * memory, f"{kind}-gb-hour")


# --- what is asked for -----------------------------------------------------------------------------------------------
def _asked(counted: Counted, stage: Stage, usage: Usage, order: Traced) -> Iterator[Line]:
    """What requests, orders, clocks and browsers make."""
    yield from _invocations(counted, stage, usage, order)
    yield from _messaging(counted, usage, order)
    yield from _delivery(counted, usage)
    yield from _traffic(counted, usage, order)
    yield from _watching(counted, usage, order)
    if counted.instances:
        statements = usage.orders * order.statements + (usage.requests - usage.orders) * order.read_statements
        yield _line("reads and writes, one a statement at most", statements, "database-io")
    if counted.tables:
        yield _line("writes of connections and tickets", usage.orders * order.table_writes, "table-write")
        yield _line("reads of connections and tickets", usage.orders * order.table_reads, "table-read")
    if counted.caches:
        yield _line("counts of the throttles", usage.requests * CACHE_WORK, "cache-work")


def _invocations(counted: Counted, stage: Stage, usage: Usage, order: Traced) -> Iterator[Line]:
    web, worker = functions(stage.name)
    reads = usage.requests - usage.orders
    seconds = usage.orders * order.web.gb_seconds(web.memory) + reads * order.read.gb_seconds(web.memory)
    yield _line("requests in the web function", seconds, "function-gb-second")
    yield _line("orders in the worker", usage.orders * order.worker.gb_seconds(worker.memory), "function-gb-second")
    yield _line("schedules in the worker", counted.runs * order.tick.gb_seconds(worker.memory), "function-gb-second")
    calls = usage.requests + usage.orders * order.worker.calls + counted.runs
    yield _line("invocations", calls, "function-call")
    if web.snapshots:
        starts = calls / 1000  # one new sandbox a thousand calls
        yield _line("restored snapshots", starts * web.memory / 1024, "snapshot-gb")
    yield _line("requests", usage.requests, "request")


def _messaging(counted: Counted, usage: Usage, order: Traced) -> Iterator[Line]:
    yield _line("transitions", usage.orders * order.transitions, "transition")
    yield _line("facts", usage.orders * order.facts, "fact")
    yield _line("requests for messages", usage.orders * order.messages * QUEUE_REQUESTS, "queue-request")
    yield _line("polls of idle queues", counted.polled_queues * IDLE_POLLS, "queue-request")
    yield _line("data keys of queues", counted.encrypted_queues * KEY_CALLS, "key-call")
    yield _line("announcements", usage.orders * order.announcements, "announcement")
    yield _line("letters", usage.orders * order.letters, "letter")
    yield _line("minutes of websockets", usage.websocket_hours * 60, "websocket-minute")
    yield _line("pushed messages", usage.orders * order.pushes, "websocket-message")
    yield _line("people who sign in", usage.customers, "signed-in")


def _delivery(counted: Counted, usage: Usage) -> Iterator[Line]:
    yield _line("pictures put", usage.pictures * PICTURE_OBJECTS, "bucket-put")
    yield _line("files read", usage.delivered_requests + usage.pictures * PICTURE_OBJECTS, "bucket-get")
    if counted.distributions:
        through = usage.requests + usage.delivered_requests
        yield _line("delivered", usage.delivered, "delivered-gb")
        yield _line("requests at the edge", through, "delivered-request")
        yield _line("functions at the edge", usage.delivered_requests if counted.edge_functions else 0, "edge-call")
        at_edge = usage.requests if counted.edge_lambdas else 0
        yield _line("calls of Lambda@Edge", at_edge, "edge-function-call")
        yield _line("milliseconds of Lambda@Edge", at_edge * EDGE_GB_SECONDS, "edge-function-gb-second")
    if counted.web_acls:
        yield _line("inspected requests", usage.requests + usage.delivered_requests, "web-acl-request")


def _traffic(counted: Counted, usage: Usage, order: Traced) -> Iterator[Line]:
    """What leaves the VPC: by an interface endpoint where there is one, else by NAT."""
    by_nat = usage.orders * Decimal(PROVIDER_BYTES)
    for service, calls in order.calls.items():
        if service in counted.endpoints:
            yield _line(f"traffic of {service}", usage.orders * calls.bytes / GB, "endpoint-gb")
        elif service not in GATEWAYS:
            by_nat += usage.orders * calls.bytes
    yield _line("traffic by NAT", by_nat / GB if counted.nat_gateways else 0, "nat-gb")


def _watching(counted: Counted, usage: Usage, order: Traced) -> Iterator[Line]:
    reads = usage.requests - usage.orders
    calls = usage.orders * sum((each.calls for each in order.calls.values()), Decimal())
    runs = usage.requests + usage.orders * order.worker.calls + counted.runs
    written = usage.orders * order.log_bytes + reads * order.read_log_bytes + runs * LAMBDA_LINES
    flows = calls * FLOW_RECORD if counted.flow_logs else Decimal()
    yield _line("logs written", (written + flows) / GB, "log-gb")
    yield _line("logs kept", (written + flows) / GB * counted.log_days / DAYS, "log-kept-gb")
    yield _line("metrics of our own", counted.metric_filters + (own_metrics() if counted.log_days else 0), "metric")
    yield _line("traces", usage.requests + usage.orders * order.worker.calls, "trace")
