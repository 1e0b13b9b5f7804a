"""The page to look at first: the shop, then what it runs on, from left to right and from the customer inwards.

Made by observability.py. Thresholds stand in the graphs, so that near is seen before it is too near.
"""

from collections.abc import Sequence

from aws_cdk import aws_cloudwatch as cloudwatch
from constructs import Construct

from infrastructure.config import QUEUES_AT_ONCE, Stage
from infrastructure.metrics import Metrics
from vibecode.resources import Resources

WIDTH = 8  # of 24: three in a row


def dashboard(
    scope: Construct, *, stage: Stage, resources: Resources, metrics: Metrics, alarms: Sequence[cloudwatch.IAlarm]
) -> cloudwatch.Dashboard:
    """The dashboard of a stage, under the stage's own name."""
    queues = list(resources.queues)
    rows = [
        [cloudwatch.AlarmStatusWidget(title="Alarms", alarms=alarms, width=24, height=4)],
        [
            _graph("Orders, by how they ended", [_by(metrics, "OrdersByOutcome", end) for end in ORDERS]),
            _graph("Payments, by the provider's answer", [_by(metrics, "PaymentsByOutcome", end) for end in PAYMENTS]),
            _graph(
                "Facts: the oldest that waits, s; parked",
                [metrics.own("OldestUnsentSeconds", "Maximum")],
                right=[metrics.own("EventsParked", "Maximum"), metrics.own("EventsSent")],
                limit=stage.watched.unsent_seconds,
            ),
        ],
        [
            _graph("Requests; 4xx, 5xx", [metrics.api(name) for name in ("Count", "4XXError", "5XXError")]),
            _graph(
                "How long an answer takes, ms",
                [metrics.api("Latency", share) for share in ("p50", "p95", "p99")],
                limit=stage.watched.slow_ms,
            ),
            _graph(
                "The web function: side by side; refused, failed",
                [metrics.web("ConcurrentExecutions", "Maximum")],
                right=[metrics.web("Throttles"), metrics.web("Errors")],
            ),
        ],
        [
            _graph(
                "The worker: side by side (the line: queues); refused, failed",
                [metrics.worker("ConcurrentExecutions", "Maximum")],
                right=[metrics.worker("Throttles"), metrics.worker("Errors")],
                limit=QUEUES_AT_ONCE,
            ),
            _graph(
                "Queues: the oldest message, s", [metrics.queue("ApproximateAgeOfOldestMessage", q) for q in queues]
            ),
            _graph(
                "Dead letters",
                [metrics.queue("ApproximateNumberOfMessagesVisible", q, dead=True) for q in queues],
            ),
        ],
        [
            _graph(
                "Executions of the workflow",
                [metrics.executions(f"Executions{what}") for what in ("Started", "Succeeded", "Failed", "TimedOut")],
            ),
            _graph(
                "The database: ACU; connections",
                [metrics.database("ServerlessDatabaseCapacity")],
                right=[metrics.database("DatabaseConnections")],
                limit=stage.largest_acu,
            ),
            _graph(
                "Waiting for the database, s; in vain, shared",
                [metrics.own("DatabaseWait", "Maximum")],
                right=[metrics.own("DatabaseAway"), metrics.own("DatabaseCrowded")],
            ),
        ],
    ]
    return cloudwatch.Dashboard(scope, "Dashboard", dashboard_name=resources.prefix, widgets=rows)


# Ends of orders and answers of the provider, as the app names them where it counts.
ORDERS = ("completed", "cancelled", "failed")
PAYMENTS = ("captured", "declined", "requires_action", "unknown", "voided")


def _by(metrics: Metrics, name: str, outcome: str) -> cloudwatch.IMetric:
    return metrics.own(name, outcome=outcome).with_(label=outcome)


def _graph(
    title: str,
    left: Sequence[cloudwatch.IMetric],
    *,
    right: Sequence[cloudwatch.IMetric] = (),
    limit: float | None = None,
) -> cloudwatch.GraphWidget:
    """A graph of a third of the page; a line where an alarm or a limit is."""
    lines = [] if limit is None else [cloudwatch.HorizontalAnnotation(value=limit, color=cloudwatch.Color.RED)]
    return cloudwatch.GraphWidget(
        title=title, left=list(left), right=list(right), left_annotations=lines, width=WIDTH, height=6
    )
