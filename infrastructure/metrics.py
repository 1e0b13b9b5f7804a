"""The metrics of a stage by name: what AWS counts of the things in the other stacks, and what the app counts itself.

Read by observability.py and dashboard.py. Every name here is deterministic, so that no stack hands another one over.
"""

from collections.abc import Mapping

import aws_cdk as cdk
from aws_cdk import aws_cloudwatch as cloudwatch

from vibecode.observability import NAMESPACE
from vibecode.resources import Resources

type Period = int  # minutes


class Metrics:
    """Each method gives one metric over so many minutes."""

    def __init__(self, resources: Resources) -> None:
        self._resources = resources
        self._web = resources.prefix  # Zappa calls the function and its API like this
        self._database = {"DBClusterIdentifier": f"{resources.prefix}-database"}
        self._proxy = {
            "ProxyName": f"{resources.prefix}-data-proxy",
            "TargetGroup": "default",
            "TargetRole": "READ_WRITE",
        }

    def own(self, name: str, statistic: str = "Sum", minutes: Period = 5, **dimensions: str) -> cloudwatch.Metric:
        """What the app writes to its log: vibecode.observability.metric, with the dimensions that it has there."""
        return _metric(NAMESPACE, name, {"Stage": self._resources.stage, **dimensions}, statistic, minutes)

    def api(self, name: str, statistic: str = "Sum", minutes: Period = 5) -> cloudwatch.Metric:
        """Of API Gateway, in front of the web function."""
        dimensions = {"ApiName": self._web, "Stage": self._resources.stage}
        return _metric("AWS/ApiGateway", name, dimensions, statistic, minutes)

    def web(self, name: str, statistic: str = "Sum", minutes: Period = 5) -> cloudwatch.Metric:
        """Of the function that answers requests."""
        return _metric("AWS/Lambda", name, {"FunctionName": self._web}, statistic, minutes)

    def worker(self, name: str, statistic: str = "Sum", minutes: Period = 5) -> cloudwatch.Metric:
        """Of the function behind queues, schedules, workflow and websocket."""
        return _metric("AWS/Lambda", name, {"FunctionName": self._resources.worker}, statistic, minutes)

    def queue(self, name: str, key: str, *, dead: bool = False, minutes: Period = 5) -> cloudwatch.Metric:
        """Of a queue, or of its dead-letter queue."""
        dimensions = {"QueueName": self._resources.queue_name(key, dead=dead)}
        return _metric("AWS/SQS", name, dimensions, "Maximum", minutes)

    def executions(self, name: str, minutes: Period = 5) -> cloudwatch.Metric:
        """Of the order workflow."""
        dimensions = {"StateMachineArn": self._resources.state_machine_arn}
        return _metric("AWS/States", name, dimensions, "Sum", minutes)

    def proxy(self, name: str, minutes: Period = 5) -> cloudwatch.Metric:
        """Of RDS Proxy towards the writer: summed over its machines, of which each counts its own every minute.

        https://docs.aws.amazon.com/AmazonRDS/latest/AuroraUserGuide/rds-proxy.monitoring.html
        """
        return _metric("AWS/RDS", name, self._proxy, "Sum", minutes)

    def database(self, name: str, statistic: str = "Maximum", minutes: Period = 5) -> cloudwatch.Metric:
        """Of the cluster."""
        return _metric("AWS/RDS", name, self._database, statistic, minutes)


def share(
    part: cloudwatch.Metric, whole: cloudwatch.Metric, *, least: int, few: int, label: str
) -> cloudwatch.MathExpression:
    """A part in percent of the whole; none where so little was asked, and so little failed, that it says nothing."""
    return cloudwatch.MathExpression(
        expression=f"IF(whole >= {least} OR FILL(part, 0) >= {few}, 100 * FILL(part, 0) / whole, 0)",
        using_metrics={"part": part, "whole": whole},
        period=part.period,
        label=label,
    )


def where_enough(
    metric: cloudwatch.Metric, count: cloudwatch.Metric, *, least: int, label: str
) -> cloudwatch.MathExpression:
    """A metric as it is; 0 where too few were counted for it to say anything."""
    return cloudwatch.MathExpression(
        expression=f"IF(count >= {least}, measured, 0)",
        using_metrics={"measured": metric, "count": count},
        period=metric.period,
        label=label,
    )


def total(label: str, **metrics: cloudwatch.Metric) -> cloudwatch.MathExpression:
    """The sum of several, of which some may have counted nothing."""
    return cloudwatch.MathExpression(
        expression=" + ".join(f"FILL({name}, 0)" for name in metrics),
        using_metrics=metrics,
        period=next(iter(metrics.values())).period,
        label=label,
    )


def _metric(
    namespace: str, name: str, dimensions: Mapping[str, str], statistic: str, minutes: Period
) -> cloudwatch.Metric:
    return cloudwatch.Metric(
        namespace=namespace,
        metric_name=name,
        dimensions_map=dimensions,
        statistic=statistic,
        period=cdk.Duration.minutes(minutes),
    )
