"""How facts travel: the bus, a queue for each consumer, the topic of staff and partners, and the shop's mail.

All of it is what vibecode/resources.py declares, as the local cloud makes it too (vibecode/local/provision.py), but for
the bus's own dead letters: the local bus encrypts nothing, and so puts nothing aside.
"""

from typing import Any

import aws_cdk as cdk
from aws_cdk import aws_events as events
from aws_cdk import aws_iam as iam
from aws_cdk import aws_kms as kms
from aws_cdk import aws_route53 as route53
from aws_cdk import aws_ses as ses
from aws_cdk import aws_sns as sns
from aws_cdk import aws_sqs as sqs
from constructs import Construct

from infrastructure.config import Stage
from infrastructure.parts import accept
from vibecode.resources import ARCHIVE_DAYS, VISIBILITY_TIMEOUT, Queue, Resources

BUS = "bus"  # by which the bus's own dead letters are called as those of a queue are: `queue_name(BUS, dead=True)`
DEAD_DAYS = 14  # as long as those of the queues

# What SES tells us of a mail: each is a word that orders/letters.py understands (OUTCOMES).
OUTCOMES = (
    ses.EmailSendingEvent.SEND,
    ses.EmailSendingEvent.DELIVERY,
    ses.EmailSendingEvent.BOUNCE,
    ses.EmailSendingEvent.REJECT,
    ses.EmailSendingEvent.COMPLAINT,
)


class Messaging(cdk.Stack):
    """The bus, the queues with their rules, the topic, the mail."""

    def __init__(
        self,
        scope: Construct,
        name: str,
        *,
        stage: Stage,
        resources: Resources,
        key: kms.IKey,
        **stack: Any,
    ) -> None:
        super().__init__(scope, name, **stack)
        self.bus = self._bus(resources, key)
        for queue in resources.queues.values():
            self._queue(queue, resources, key)
        self._announcements(resources, key)
        self._mail(resources)
        if stage.domain:
            self._sender(stage)

    # --- facts -------------------------------------------------------------------------------------------------------
    def _bus(self, resources: Resources, key: kms.IKey) -> events.CfnEventBus:
        """What it should lose is in the outbox still, and sent again by the operation replay-events.

        A fact that it cannot read or write by the key lies in a queue of its own, and tells somebody by an alarm.
        https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-encryption-event-bus-dlq.html
        """
        dead = self._encrypted(
            f"{BUS}-dead",
            queue_name=resources.queue_name(BUS, dead=True),
            retention_period=cdk.Duration.days(DEAD_DAYS),
            encryption_master_key=key,
        )
        accept(dead, {"SQS3": "It is a dead-letter queue: the bus's, where the rule knows those of queues alone"})
        bus = events.CfnEventBus(
            self,
            "Bus",
            name=resources.bus,
            kms_key_identifier=key.key_arn,
            dead_letter_config=events.CfnEventBus.DeadLetterConfigProperty(arn=dead.queue_arn),
        )
        self._let_send(dead, bus.attr_arn, "ItsBusSends")
        events.CfnArchive(
            self,
            "Archive",
            archive_name=resources.archive,
            source_arn=bus.attr_arn,
            retention_days=ARCHIVE_DAYS,
            kms_key_identifier=key.key_arn,
        )
        return bus

    # --- queues ------------------------------------------------------------------------------------------------------
    def _queue(self, queue: Queue, resources: Resources, key: kms.IKey) -> None:
        """A queue and its dead-letter queue, which takes in what comes from it and from its rule alone."""
        itself = resources.queue_arn(queue.key)
        dead = self._encrypted(
            f"{queue.key}-dead",
            queue_name=resources.queue_name(queue.key, dead=True),
            retention_period=cdk.Duration.days(queue.keep_dead_days),
            redrive_allow_policy=sqs.RedriveAllowPolicy(
                source_queues=[sqs.Queue.from_queue_arn(self, f"{queue.key}-source", itself)]
            ),
            encryption_master_key=key,
        )
        made = self._encrypted(
            queue.key,
            queue_name=resources.queue_name(queue.key),
            visibility_timeout=cdk.Duration.seconds(VISIBILITY_TIMEOUT),
            retention_period=cdk.Duration.days(queue.keep_days),
            delivery_delay=cdk.Duration.seconds(queue.delay),
            dead_letter_queue=sqs.DeadLetterQueue(queue=dead, max_receive_count=queue.tries),
            encryption_master_key=key,
        )
        if queue.pattern:
            self._feed(queue, resources, made, dead)

    def _encrypted(self, name: str, **properties: Any) -> sqs.Queue:
        return sqs.Queue(self, name, encryption=sqs.QueueEncryption.KMS, enforce_ssl=True, **properties)

    def _feed(self, queue: Queue, resources: Resources, made: sqs.Queue, dead: sqs.Queue) -> None:
        """The rule that feeds a queue; what EventBridge cannot deliver for a day lies in its dead-letter queue too."""
        rule = events.CfnRule(
            self,
            f"{queue.key}-rule",
            name=resources.queue_name(queue.key),
            event_bus_name=None if queue.source else self.bus.ref,  # AWS itself speaks on the default bus
            event_pattern=dict(resources.pattern_of(queue)),
            targets=[
                events.CfnRule.TargetProperty(
                    id="queue",
                    arn=made.queue_arn,
                    dead_letter_config=events.CfnRule.DeadLetterConfigProperty(arn=dead.queue_arn),
                )
            ],
        )
        for queue_of_rule in (made, dead):
            self._let_send(queue_of_rule, rule.attr_arn, "ItsRuleSends")

    def _let_send(self, queue: sqs.Queue, source: str, sid: str) -> None:
        """EventBridge, for one rule or one bus of this account."""
        queue.add_to_resource_policy(
            iam.PolicyStatement(
                sid=sid,
                actions=["sqs:SendMessage"],
                principals=[iam.ServicePrincipal("events.amazonaws.com")],
                resources=[queue.queue_arn],
                conditions={
                    "ArnEquals": {"aws:SourceArn": source},
                    "StringEquals": {"aws:SourceAccount": self.account},
                },
            )
        )

    # --- people ------------------------------------------------------------------------------------------------------
    def _announcements(self, resources: Resources, key: kms.IKey) -> None:
        sns.Topic(
            self,
            "Announcements",
            topic_name=resources.topic_arn.rpartition(":")[2],
            master_key=key,
            enforce_ssl=True,
        )

    def _mail(self, resources: Resources) -> None:
        """SES's side of a letter: TLS on its way, and what became of it on the default bus."""
        mail = ses.ConfigurationSet(
            self,
            "Mail",
            configuration_set_name=resources.mail_configuration,
            tls_policy=ses.ConfigurationSetTlsPolicy.REQUIRE,
            reputation_metrics=True,
            suppression_reasons=ses.SuppressionReasons.BOUNCES_AND_COMPLAINTS,
        )
        mail.add_event_destination(
            "Outcomes",
            configuration_set_event_destination_name="outcomes",
            destination=ses.EventDestination.event_bus(
                events.EventBus.from_event_bus_name(self, "DefaultBus", "default")
            ),
            events=list(OUTCOMES),
        )

    def _sender(self, stage: Stage) -> None:
        """The domain that mails come from, signed by DKIM in its zone."""
        zone = route53.PublicHostedZone.from_public_hosted_zone_attributes(
            self, "Zone", hosted_zone_id=stage.hosted_zone, zone_name=stage.domain
        )
        ses.EmailIdentity(self, "Sender", identity=ses.Identity.public_hosted_zone(zone))
