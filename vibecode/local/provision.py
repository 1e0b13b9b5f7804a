"""Makes what vibecode.resources declares in the local AWS, straight in moto's backends. Called by aws.py."""

import base64
import io
import json
import zipfile
from collections.abc import Iterator
from email.utils import parseaddr
from typing import Any

from moto.core.models import DEFAULT_ACCOUNT_ID as ACCOUNT
from moto.dynamodb.models import dynamodb_backends
from moto.events.models import events_backends
from moto.ses.models import ses_backends
from moto.sns.models import sns_backends
from moto.sqs.models import sqs_backends

from vibecode.local.folder import REPOSITORY
from vibecode.local.names import REGION
from vibecode.resources import ARCHIVE_DAYS, FUNCTION_TIMEOUT, SCHEDULES, VISIBILITY_TIMEOUT, Queue, Resources

WORKFLOW = REPOSITORY / "infrastructure" / "order_workflow.asl.json"
DAY = 86400


def provision(resources: Resources, *, mail_from: str) -> None:
    """Everything that loads quickly: bus, queues, rules, topic, table, mail."""
    events = events_backends[ACCOUNT][REGION]
    bus = events.create_event_bus(resources.bus)
    days: Any = ARCHIVE_DAYS  # moto's own type for it is not what its API passes
    events.create_archive(resources.archive, bus.arn, "", "", days)
    for queue in resources.queues.values():
        _make_queue(queue, resources)
    for schedule in SCHEDULES:
        name = resources.schedule_name(schedule.key)
        events.put_rule(name, scheduled_expression=schedule.rate(database_sleeps=False))
        events.put_targets(name, None, [{"Id": "worker", "Arn": resources.worker_arn}])
    sns_backends[ACCOUNT][REGION].create_topic(resources.topic_arn.rpartition(":")[2])
    _make_connections_table(resources.connections_table)
    mail = ses_backends[ACCOUNT][REGION]
    mail.verify_email_identity(parseaddr(mail_from)[1])
    mail.create_configuration_set(resources.mail_configuration)


def provision_workflow(resources: Resources) -> None:
    """What loads slowly: the state machine, and on the laptop the worker function, which Zappa makes elsewhere."""
    from moto.iam.models import iam_backends
    from moto.stepfunctions.parser.models import stepfunctions_parser_backends

    iam = iam_backends[ACCOUNT]["aws"]
    role = iam.create_role(f"{resources.prefix}-workflow", "{}", "/", None, "", [], "3600").arn
    definition = WORKFLOW.read_text().replace("${WorkerArn}", resources.worker_arn)
    workflows = stepfunctions_parser_backends[ACCOUNT][REGION]
    workflows.create_state_machine(resources.state_machine, definition, role, sm_type="STANDARD")
    if resources.stage == "local":
        _make_worker(resources, role)


def _make_worker(resources: Resources, role: str) -> None:
    """The worker function with its event source mappings."""
    from moto.awslambda.models import lambda_backends

    functions = lambda_backends[ACCOUNT][REGION]
    functions.create_function(
        {
            "FunctionName": resources.worker,
            "Role": role,
            "Runtime": "python3.13",
            "Handler": "vibecode.lambda_entry.handler",
            "Timeout": FUNCTION_TIMEOUT,
            "Code": {"ZipFile": _empty_zip()},  # what runs is the Lambda runtime's checkout
        }
    )
    for mapping in mappings(resources):
        functions.create_event_source_mapping(dict(mapping))


def mappings(resources: Resources) -> Iterator[dict[str, Any]]:
    """What feeds the worker from each queue, as Lambda's CreateEventSourceMapping takes it."""
    for queue in resources.queues.values():
        yield {
            "FunctionName": resources.worker,
            "EventSourceArn": resources.queue_arn(queue.key),
            "BatchSize": queue.batch_size,
            "FunctionResponseTypes": ["ReportBatchItemFailures"],
            "ScalingConfig": {"MaximumConcurrency": queue.most_at_once},
        }


def _make_queue(queue: Queue, resources: Resources) -> None:
    """A queue with its dead-letter queue, and the rule that feeds it."""
    queues, events = sqs_backends[ACCOUNT][REGION], events_backends[ACCOUNT][REGION]
    name, dead = resources.queue_name(queue.key), resources.queue_arn(queue.key, dead=True)
    queues.create_queue(
        resources.queue_name(queue.key, dead=True), MessageRetentionPeriod=str(queue.keep_dead_days * DAY)
    )
    queues.create_queue(
        name,
        DelaySeconds=str(queue.delay),
        VisibilityTimeout=str(VISIBILITY_TIMEOUT),
        MessageRetentionPeriod=str(queue.keep_days * DAY),
        RedrivePolicy=json.dumps({"deadLetterTargetArn": dead, "maxReceiveCount": queue.tries}),
    )
    if queue.pattern:
        bus = None if queue.source else resources.bus  # other services speak on the default bus
        events.put_rule(name, event_pattern=json.dumps(resources.pattern_of(queue)), event_bus_arn=bus)
        events.put_targets(name, bus, [{"Id": "queue", "Arn": resources.queue_arn(queue.key)}])


def _make_connections_table(name: str) -> None:
    tables = dynamodb_backends[ACCOUNT][REGION]
    tables.create_table(
        name,
        schema=[
            {"AttributeName": "userId", "KeyType": "HASH"},
            {"AttributeName": "connectionId", "KeyType": "RANGE"},
        ],
        attr=[
            {"AttributeName": "userId", "AttributeType": "S"},
            {"AttributeName": "connectionId", "AttributeType": "S"},
        ],
        global_indexes=[
            {
                "IndexName": "by_connection",
                "KeySchema": [{"AttributeName": "connectionId", "KeyType": "HASH"}],
                "Projection": {"ProjectionType": "ALL"},
            }
        ],
        indexes=[],
        throughput=None,
        streams=None,
        billing_mode="PAY_PER_REQUEST",
        sse_specification=None,
        tags=[],
        deletion_protection_enabled=False,
        warm_throughput=None,
    )
    tables.update_time_to_live(name, {"Enabled": True, "AttributeName": "expiresAt"})


def _empty_zip() -> str:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        archive.writestr("worker.py", "")
    return base64.b64encode(content.getvalue()).decode()
