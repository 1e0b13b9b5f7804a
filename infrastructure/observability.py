"""Who is called, when, and with which page in hand: alarms, what pages, the dashboard, the canary, the money.

Each alarm names its runbook, docs/runbooks/<name>.md. One that cannot wait until the morning has no letter of its own:
it is part of the composite alarm `page`, so that one outage is one letter.

Traces: Zappa switches on Lambda's own (`xray_tracing`) and knows no setting for API Gateway's, Step Functions' stack
its own; none of it needs anything in our process. Inside of it OpenTelemetry's layer traces where
`Stage.tracing_layer` names one (docs/decisions/0023-watching.md).

Longer than most modules: both of its stacks make alarms in one way.
"""

import json
from collections.abc import Iterator, Sequence
from typing import Any

import aws_cdk as cdk
from aws_cdk import aws_budgets as budgets
from aws_cdk import aws_ce as ce
from aws_cdk import aws_cloudwatch as cloudwatch
from aws_cdk import aws_cloudwatch_actions as actions
from aws_cdk import aws_iam as iam
from aws_cdk import aws_kms as kms
from aws_cdk import aws_logs as logs
from aws_cdk import aws_route53 as route53
from aws_cdk import aws_sns as sns
from aws_cdk import aws_sns_subscriptions as subscriptions
from constructs import Construct

from infrastructure.config import Stage
from infrastructure.dashboard import dashboard
from infrastructure.metrics import Metrics
from infrastructure.parts import accept, let_use
from infrastructure.watches import DEAF, Watch, watches_of
from vibecode.resources import Resources

RUNBOOKS = "docs/runbooks"

# Three is the least that Route 53 takes; it has no checkers nearer to Stockholm.
CHECKERS = ("eu-west-1", "us-east-1", "ap-northeast-1")
CERTIFICATE_DAYS = 21  # ACM renews 60 days ahead; what is this near is not going to renew


class Observability(cdk.Stack):
    """All that watches a stage from its own region."""

    def __init__(
        self, scope: Construct, name: str, *, stage: Stage, resources: Resources, key: kms.IKey, **stack: Any
    ) -> None:
        super().__init__(scope, name, **stack)
        metrics = Metrics(resources)
        self.topic = alarm_topic(self, resources, key, stage.alarms_to, ("cloudwatch",))
        watches = list(watches_of(stage, resources, metrics))
        if stage.domain:
            watches.append(certificate_watch(self, "live", "LiveCertificateArn", "The websocket API's"))
        alarms = {watch.name: _alarm(self, resources, watch, self.topic) for watch in watches}
        self._page(resources, [alarms[watch.name] for watch in watches if watch.pages])
        dashboard(self, stage=stage, resources=resources, metrics=metrics, alarms=list(alarms.values()))
        self._keep_questions(resources)

    def _page(self, resources: Resources, alarms: Sequence[cloudwatch.IAlarm]) -> None:
        """One letter for all that cannot wait: they tend to go off together."""
        composite = cloudwatch.CompositeAlarm(
            self,
            "Page",
            composite_alarm_name=f"{resources.prefix}-page",
            alarm_description=_description("Somebody is needed now.", "page"),
            alarm_rule=cloudwatch.AlarmRule.any_of(*alarms),
        )
        _tell(composite, self.topic)

    def _keep_questions(self, resources: Resources) -> None:
        """What the runbooks ask the log, under Logs Insights, Saved queries."""
        groups = [f"/aws/lambda/{function}" for function in (resources.prefix, resources.worker)]
        for name, question in QUESTIONS.items():
            logs.CfnQueryDefinition(
                self,
                f"Question-{name}",
                name=f"{resources.prefix}/{name}",
                query_string="\n".join(line.strip() for line in question.strip().splitlines()),
                log_group_names=groups,
            )


class WorldwideObservability(cdk.Stack):
    """What AWS counts in us-east-1 alone: the canary, the days that CloudFront's certificate still has, and the money.

    The canary is a health check of Route 53: no code and no browser to keep new, and it sees DNS, certificate and
    CloudFront as customers do. It asks for /healthz, which asks nothing of the database.
    """

    def __init__(self, scope: Construct, name: str, *, stage: Stage, resources: Resources, **stack: Any) -> None:
        super().__init__(scope, name, **stack)
        self._stage, self._resources = stage, resources
        writers = ("cloudwatch", "budgets", "costalerts")
        self._topic = alarm_topic(self, resources, self._key(writers), stage.alarms_to, writers)
        for watch in self._watches():
            _alarm(self, resources, watch, self._topic)
        self._watch_money(stage)

    def _watches(self) -> Iterator[Watch]:
        if self._stage.watched.canary:
            yield Watch(
                name="unreachable",
                says="The shop does not answer those who ask from outside.",
                runbook="unreachable",
                metric=_worldwide("AWS/Route53", "HealthCheckStatus", {"HealthCheckId": self._canary()}, minutes=1),
                below=True,
                periods=3,
                missing=DEAF,
            )
        if self._stage.domain:
            yield certificate_watch(self, "", "CertificateArn", "CloudFront's")

    def _canary(self) -> str:
        address = self._stage.domain or str(
            cdk.CfnParameter(
                self, "PublicDomain", default="pending.invalid", description="Where the shop is, an output of `front`"
            ).value_as_string
        )
        check = route53.CfnHealthCheck(
            self,
            "Canary",
            health_check_config=route53.CfnHealthCheck.HealthCheckConfigProperty(
                type="HTTPS_STR_MATCH",
                fully_qualified_domain_name=address,
                port=443,
                resource_path="/healthz",
                search_string='"ok"',
                enable_sni=True,
                request_interval=30,
                failure_threshold=3,
                regions=list(CHECKERS),
            ),
            health_check_tags=[
                route53.CfnHealthCheck.HealthCheckTagProperty(key="Name", value=f"{self._stage.prefix}-canary")
            ],
        )
        return str(check.attr_health_check_id)

    def _key(self, writers: Sequence[str]) -> kms.Key:
        """AWS's own key for SNS lets no alarm write, and the stage's is in another region."""
        key = kms.Key(
            self,
            "Key",
            alias=f"alias/{self._resources.prefix}-alarms",
            description=f"Encrypts what alarms of {self._resources.prefix} say",
            enable_key_rotation=True,
            removal_policy=cdk.RemovalPolicy.DESTROY,
        )
        let_use(
            key,
            "AlarmsWriteForUs",
            writers,
            ["kms:Decrypt", "kms:GenerateDataKey*"],
            {"StringEquals": {"aws:SourceAccount": self.account}},
        )
        return key

    def _watch_money(self, stage: Stage) -> None:
        """A budget a month, and what AWS finds odd about a day: both by the tag `stage`, which the account activates.

        There is one monitor of all services an account; those by a tag may be many.
        """
        budget = budgets.CfnBudget(
            self,
            "Budget",
            budget=budgets.CfnBudget.BudgetDataProperty(
                # CloudFormation names it: whoever is told by it changes only with another budget in its place, which
                # AWS does not make beside one of the same name.
                budget_type="COST",
                time_unit="MONTHLY",
                budget_limit=budgets.CfnBudget.SpendProperty(amount=stage.budget, unit="USD"),
                cost_filters={"TagKeyValue": [f"user:stage${stage.name}"]},
            ),
            notifications_with_subscribers=[
                budgets.CfnBudget.NotificationWithSubscribersProperty(
                    notification=budgets.CfnBudget.NotificationProperty(
                        notification_type=kind,
                        comparison_operator="GREATER_THAN",
                        threshold=percent,
                        threshold_type="PERCENTAGE",
                    ),
                    subscribers=[
                        budgets.CfnBudget.SubscriberProperty(address=self._topic.topic_arn, subscription_type="SNS")
                    ],
                )
                for kind, percent in (("ACTUAL", 80), ("FORECASTED", 100))
            ],
        )
        # cfn-lint asks every template by the rules of the stages' own region.
        budget.add_metadata("cfn-lint", {"config": {"ignore_checks": ["E3006"]}})
        monitor = ce.CfnAnomalyMonitor(
            self,
            "OddCosts",
            monitor_name=stage.prefix,
            monitor_type="CUSTOM",
            monitor_specification=json.dumps({"Tags": {"Key": "stage", "Values": [stage.name]}}),
        )
        odd = {
            "Key": "ANOMALY_TOTAL_IMPACT_ABSOLUTE",
            "MatchOptions": ["GREATER_THAN_OR_EQUAL"],
            "Values": [str(stage.budget // 20)],
        }
        ce.CfnAnomalySubscription(
            self,
            "OddCostsAreTold",
            subscription_name=stage.prefix,
            frequency="IMMEDIATE",  # the only one that SNS takes
            monitor_arn_list=[monitor.attr_monitor_arn],
            subscribers=[ce.CfnAnomalySubscription.SubscriberProperty(address=self._topic.topic_arn, type="SNS")],
            threshold_expression=json.dumps({"Dimensions": odd}),
        )


# In CloudWatch's own language for logs; each line of ours is JSON.
QUESTIONS = {
    "errors": """
        fields @timestamp, event, kind, path, queue, command, error, reason, request
        | filter level = "error" | sort @timestamp desc | limit 100
    """,
    "slowest": """
        fields @timestamp, ms, method, path, status, request
        | filter event = "request" | sort ms desc | limit 50
    """,
    "paths": """
        filter event = "request"
        | stats count(*) as requests, pct(ms, 95) as p95, max(status) as worst by method, path
        | sort worst desc, p95 desc | limit 50
    """,
}


# --- how it is told --------------------------------------------------------------------------------------------------
def alarm_topic(
    scope: Construct, resources: Resources, key: kms.IKey, address: str, services: Sequence[str]
) -> sns.Topic:
    """The topic to which services of AWS write for this account alone, and an e-mail address listens."""
    topic = sns.Topic(scope, "Alarms", topic_name=f"{resources.prefix}-alarms", master_key=key, enforce_ssl=True)
    topic.add_to_resource_policy(
        iam.PolicyStatement(
            sid="AlarmsOfThisAccount",
            actions=["sns:Publish"],
            principals=[iam.ServicePrincipal(f"{service}.amazonaws.com") for service in services],
            resources=[topic.topic_arn],
            conditions={"StringEquals": {"aws:SourceAccount": cdk.Stack.of(scope).account}},
        )
    )
    if address:
        topic.add_subscription(subscriptions.EmailSubscription(address))
    return topic


def certificate_watch(scope: Construct, of: str, parameter: str, whose: str) -> Watch:
    """The days that a certificate still has, as ACM counts them twice a day until it has none."""
    arn = cdk.CfnParameter(scope, parameter, description=f"The ARN of the certificate, {whose}, an output of its stack")
    return Watch(
        name=f"certificate-expires-{of}" if of else "certificate-expires",
        says=f"{whose} certificate ends in less than {CERTIFICATE_DAYS} days and was not renewed, or has ended.",
        runbook="certificate-expires",
        metric=cloudwatch.Metric(
            namespace="AWS/CertificateManager",
            metric_name="DaysToExpiry",
            dimensions_map={"CertificateArn": arn.value_as_string},
            statistic="Minimum",
            period=cdk.Duration.days(1),
        ),
        threshold=CERTIFICATE_DAYS,
        below=True,
        missing=DEAF,  # ACM counts nothing of one that has ended
    )


def _alarm(scope: Construct, resources: Resources, watch: Watch, topic: sns.ITopic) -> cloudwatch.Alarm:
    alarm = cloudwatch.Alarm(
        scope,
        watch.name,
        alarm_name=f"{resources.prefix}-{watch.name}",
        alarm_description=_description(watch.says, watch.runbook),
        metric=watch.metric,
        threshold=watch.threshold,
        comparison_operator=(
            cloudwatch.ComparisonOperator.LESS_THAN_THRESHOLD
            if watch.below
            else cloudwatch.ComparisonOperator.GREATER_THAN_OR_EQUAL_TO_THRESHOLD
        ),
        evaluation_periods=watch.periods,
        treat_missing_data=watch.missing,
    )
    if watch.pages:
        accept(alarm, {"CloudWatchAlarmAction": "It is part of the composite alarm, which sends the one letter"})
    else:
        _tell(alarm, topic)
    return alarm


def _tell(alarm: cloudwatch.AlarmBase, topic: sns.ITopic) -> None:
    """When it goes off, and when it is over."""
    alarm.add_alarm_action(actions.SnsAction(topic))
    alarm.add_ok_action(actions.SnsAction(topic))


def _description(says: str, runbook: str) -> str:
    return f"{says} Runbook: {RUNBOOKS}/{runbook}.md"


def _worldwide(namespace: str, name: str, dimensions: dict[str, str], *, minutes: int) -> cloudwatch.Metric:
    return cloudwatch.Metric(
        namespace=namespace,
        metric_name=name,
        dimensions_map=dimensions,
        statistic="Minimum",
        period=cdk.Duration.minutes(minutes),
    )
