"""What is watched in a stage's own region: each alarm with its reason, its threshold by stage, and what silence means.

Made into alarms by observability.py; each has its page in docs/runbooks/.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from aws_cdk import aws_cloudwatch as cloudwatch

from infrastructure.config import Stage
from infrastructure.messaging import BUS
from infrastructure.metrics import Metrics, share, total, where_enough
from vibecode.resources import REDELIVERY_SECONDS, Queue, Resources

# What it means that a metric has no value. Nobody asked, or nothing broke, so nothing was counted:
QUIET = cloudwatch.TreatMissingData.NOT_BREACHING
# What was measured last still holds, for nobody measures while the database sleeps:
HOLD = cloudwatch.TreatMissingData.IGNORE
# It is measured by the clock, so that silence is the fault:
DEAF = cloudwatch.TreatMissingData.BREACHING

# PostgreSQL's max_connections, which follows the largest capacity: 189 at 1 ACU, and no more than 2,000 where the
# smallest is half an ACU or less, else 5,000.
# https://docs.aws.amazon.com/AmazonRDS/latest/AuroraUserGuide/aurora-serverless-v2.setting-capacity.html
CONNECTIONS_OF_AN_ACU = 189

# So many failures ring whatever the share is counted of: in a stage with few visitors more would never come together.
FEW = 3
LEAST_EXECUTIONS, LEAST_INVOCATIONS = 10, 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Watch:
    """One alarm. It goes off where the metric reaches the threshold, or falls below it, for `periods` in a row."""

    name: str
    says: str  # what it means, in a sentence that a person reads at night
    runbook: str
    metric: cloudwatch.IMetric
    threshold: float = 1
    below: bool = False
    periods: int = 1
    missing: cloudwatch.TreatMissingData = QUIET
    pages: bool = False


def watches_of(stage: Stage, resources: Resources, metrics: Metrics) -> Iterator[Watch]:
    """Every alarm of a stage in its own region."""
    yield from _of_the_web(stage, metrics)
    yield from _of_the_worker(metrics)
    for queue in resources.queues.values():
        yield from _of_a_queue(queue, metrics)
    yield from _of_facts(stage, metrics)
    yield from _of_orders(stage, metrics)
    yield from _of_the_database(stage, metrics)


def _of_the_web(stage: Stage, metrics: Metrics) -> Iterator[Watch]:
    watched = stage.watched
    minutes = watched.requests_minutes
    requests = metrics.api("Count", minutes=minutes)
    yield Watch(
        name="web-errors",
        says=f"{watched.errors_percent:g} % or more of the answers are 5xx.",
        runbook="web-errors",
        metric=share(
            metrics.api("5XXError", minutes=minutes), requests, least=watched.least_requests, few=FEW, label="5xx, %"
        ),
        threshold=watched.errors_percent,
        pages=True,
    )
    yield Watch(
        name="web-slow",
        says=f"One answer of twenty takes {watched.slow_ms} ms or longer.",
        runbook="web-slow",
        metric=where_enough(
            metrics.api("Latency", "p95", minutes), requests, least=watched.least_requests, label="p95, ms"
        ),
        threshold=watched.slow_ms,
        periods=3,
        pages=True,
    )
    yield Watch(
        name="web-throttled",
        says="Lambda refused requests: there were too many at once.",
        runbook="throttled",
        metric=metrics.web("Throttles"),
        pages=True,
    )


def _of_the_worker(metrics: Metrics) -> Iterator[Watch]:
    yield Watch(
        name="worker-throttled",
        says="Lambda has refused the worker's invocations for a quarter of an hour.",
        runbook="throttled",
        metric=metrics.worker("Throttles"),
        periods=3,  # a burst is tried again by itself
    )
    yield Watch(
        name="worker-errors",
        says="A quarter of the worker's invocations fail.",
        runbook="worker-errors",
        metric=share(
            metrics.worker("Errors", minutes=15),
            metrics.worker("Invocations", minutes=15),
            least=LEAST_INVOCATIONS,
            few=FEW,
            label="failed, %",
        ),
        threshold=25,  # steps of the workflow say no by raising: a card that is declined is an error here
    )


def _of_a_queue(queue: Queue, metrics: Metrics) -> Iterator[Watch]:
    yield Watch(
        name=f"dead-{queue.key}",
        says=f"A message of {queue.key} was tried {queue.tries} times in vain and lies in its dead-letter queue.",
        runbook="dead-letters",
        metric=metrics.queue("ApproximateNumberOfMessagesVisible", queue.key, dead=True, minutes=1),
    )
    patience = queue.delay + queue.tries * REDELIVERY_SECONDS
    yield Watch(
        name=f"late-{queue.key}",
        says=f"A message of {queue.key} is older than all of its tries take: nobody works on it.",
        runbook="late-messages",
        metric=metrics.queue("ApproximateAgeOfOldestMessage", queue.key),
        threshold=patience,
    )


def _of_facts(stage: Stage, metrics: Metrics) -> Iterator[Watch]:
    """The sweep counts them: every minute, or once a day where the database sleeps."""
    yield Watch(
        name=f"dead-{BUS}",
        says="The bus could not read a fact by the stage's key and has put it aside.",
        runbook="dead-letters",
        metric=metrics.queue("ApproximateNumberOfMessagesVisible", BUS, dead=True, minutes=1),
    )
    yield Watch(
        name="facts-unsent",
        says=f"A fact has waited for the bus for {stage.watched.unsent_seconds} s, or the sweep does not run.",
        runbook="facts-unsent",
        metric=metrics.own("OldestUnsentSeconds", "Maximum"),
        threshold=stage.watched.unsent_seconds,
        periods=1 if stage.database_sleeps else 2,
        missing=HOLD if stage.database_sleeps else DEAF,
        pages=True,
    )
    yield Watch(
        name="facts-parked",
        says="The bus refused a fact for good: it holds back all later ones of its order.",
        runbook="facts-parked",
        metric=metrics.own("EventsParked", "Maximum"),
        missing=HOLD,
    )


def _of_orders(stage: Stage, metrics: Metrics) -> Iterator[Watch]:
    watched = stage.watched
    yield Watch(
        name="payments-unknown",
        says="The payment provider's answers get lost: nobody knows whether customers have paid.",
        runbook="payments-unknown",
        metric=metrics.own("PaymentsByOutcome", minutes=watched.orders_minutes, outcome="unknown"),
        threshold=watched.unknown_payments,
        pages=True,
    )
    yield Watch(
        name="refunds-failed",
        says="The payment provider could not give money back.",
        runbook="refunds-failed",
        metric=metrics.own("RefundsByOutcome", outcome="failed"),
    )
    yield Watch(
        name="orders-failed",
        says="An order could be neither completed nor undone: it holds its stock until its money is settled or a "
        "person cancels it.",
        runbook="orders-failed",
        metric=metrics.own("OrdersByOutcome", outcome="failed"),
    )
    yield Watch(
        name="executions-failed",
        says=f"{watched.failed_percent:g} % or more of the workflow's executions fail.",
        runbook="executions-failed",
        metric=share(
            metrics.executions("ExecutionsFailed", minutes=watched.orders_minutes),
            metrics.executions("ExecutionsStarted", minutes=watched.orders_minutes),
            least=LEAST_EXECUTIONS,
            few=FEW,
            label="failed, %",
        ),
        threshold=watched.failed_percent,
        pages=True,
    )
    yield Watch(
        name="executions-cut-off",
        says="Executions of the workflow ran out of time, or were ended by hand.",
        runbook="executions-cut-off",
        metric=total(
            "cut off",
            late=metrics.executions("ExecutionsTimedOut"),
            ended=metrics.executions("ExecutionsAborted"),
            refused=metrics.executions("ExecutionThrottled"),
        ),
    )


def _of_the_database(stage: Stage, metrics: Metrics) -> Iterator[Watch]:
    yield Watch(
        name="database-away",
        says="Functions waited for the database in vain and answered 503.",
        runbook="database-away",
        metric=metrics.own("DatabaseAway", minutes=stage.watched.requests_minutes),
        threshold=5,
        pages=True,
    )
    yield Watch(
        name="database-capacity",
        says=f"The database needs nearly all of the {stage.largest_acu:g} ACU that it may have.",
        runbook="database-capacity",
        metric=metrics.database("ACUUtilization", "Average"),
        threshold=90,
        periods=3,
        pages=True,
    )
    yield _of_connections(stage, metrics)
    if stage.readers:
        yield Watch(
            name="database-lag",
            says="A reader is a second or more behind the writer.",
            runbook="database-lag",
            metric=metrics.database("AuroraReplicaLagMaximum"),
            threshold=1000,
            periods=2,
        )


def _of_connections(stage: Stage, metrics: Metrics) -> Watch:
    """Behind a proxy it is the proxy that may take no more: it counts its own, and how many those may be."""
    taken: cloudwatch.IMetric = metrics.database("DatabaseConnections")
    if stage.proxied:
        taken = cloudwatch.MathExpression(
            expression="100 * taken / allowed",
            using_metrics={
                "taken": metrics.proxy("DatabaseConnections"),
                "allowed": metrics.proxy("MaxDatabaseConnectionsAllowed"),
            },
            label="taken, %",
        )
    return Watch(
        name="database-connections",
        says=f"Four fifths of the connections that {'the proxy' if stage.proxied else 'the database'} has are taken.",
        runbook="database-connections",
        metric=taken,
        threshold=80 if stage.proxied else connections_of(stage) * 4 // 5,
        pages=True,
    )


def connections_of(stage: Stage) -> int:
    """How many connections the cluster takes, by its largest capacity."""
    return min(2000 if stage.smallest_acu < 1 else 5000, int(stage.largest_acu * CONNECTIONS_OF_AN_ACU))
