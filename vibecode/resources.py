"""What the shop has on AWS beside the app: names, patterns, limits, and which of our functions stands behind each.

Pure data without Django: read by settings.py, by the local cloud, by the Lambda entry and by the stacks, so that local
and real cannot drift apart. Longer than most modules: who asks what there is reads one file.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

PROJECT = "vibecode"
LOCAL_ACCOUNT = "123456789012"

# A provider call is shorter than a task, a task than the function, the function than an execution. Seconds.
FUNCTION_TIMEOUT = 120
# AWS asks for at least six times the function's time-out, so that a message in work is not given out again.
# https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-configure.html
VISIBILITY_TIMEOUT = 6 * FUNCTION_TIMEOUT

# Of the application's role: shorter than the 29 s of the gateway and the 25 s of a task, so that the database gives up
# before Lambda does and nobody works for a caller who has left. An idle session would keep a sleeping Aurora awake.
# https://docs.aws.amazon.com/AmazonRDS/latest/AuroraUserGuide/aurora-serverless-v2-auto-pause.html
TIME_OUTS: Mapping[str, str] = {
    "statement_timeout": "20s",
    "lock_timeout": "10s",
    "idle_in_transaction_session_timeout": "15s",
    "idle_session_timeout": "240s",
}
# RDS Proxy keeps the application's sessions for the next one who asks: PostgreSQL would only break them under it.
# https://www.postgresql.org/docs/current/runtime-config-client.html
PROXIED_TIME_OUTS: Mapping[str, str] = {**TIME_OUTS, "idle_session_timeout": "0"}

ARCHIVE_DAYS = 14
DAY = 24 * 60  # minutes

# Seconds until a message that failed comes back, at most: longer pauses each time, up to this.
REDELIVERY_SECONDS = 120

# Tries, at most REDELIVERY_SECONDS apart: nobody looks after a letter but its message, and SES may be away for long.
HOURS = 120

# Where browsers put pictures, each under a key of its own that we have signed. Nobody but us reads there: CloudFront
# may read the pictures of products, and nothing else of the bucket.
UPLOADS = "uploads/"
UPLOAD_SECONDS = 600  # how long a signature is good
UPLOAD_DAYS = 1  # then what nobody completed goes

# What a customer has for their bank, in seconds: no longer than a queue can hold a message back.
# https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-delay-queues.html
ACTION_SECONDS = 900


@dataclass(frozen=True, slots=True, kw_only=True)
class Queue:
    """An SQS queue, its dead-letter queue, and the function of ours that its messages go to, one at a time.

    ``handler`` is the dotted path of a function of one argument, the message's body as parsed JSON. What it raises
    brings this message back and no other. ``detail_types`` are the facts that a rule on our bus sends here; ``source``
    names another sender of EventBridge's default bus instead.
    """

    key: str
    handler: str
    detail_types: Sequence[str] = ()
    source: str = ""
    batch_size: int = 10
    delay: int = 0  # seconds until a message is given out for the first time
    # Then it lies in the dead-letter queue. The pauses between so many are longer than any lease that it may wait for,
    # and a schedule sees to what was lost; what has no such net is tried for hours (HOURS).
    tries: int = 12
    keep_days: int = 4
    keep_dead_days: int = 14
    most_at_once: int = 5  # invocations side by side, so that a backlog leaves connections to the web

    @property
    def pattern(self) -> Mapping[str, Sequence[str]]:
        """The event pattern of its rule; empty where no rule feeds it."""
        if self.source:
            return {"source": [self.source]}
        return {"detail-type": list(self.detail_types)} if self.detail_types else {}


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """A function of ours that runs by the clock. ``handler`` takes no argument."""

    key: str
    handler: str
    minutes: int  # between two runs, where the database is awake anyway
    local_seconds: int
    wakes_database: bool = True  # once a day only, in a stage whose database may sleep

    def minutes_between(self, *, database_sleeps: bool) -> int:
        """Between two runs in a stage."""
        return max(self.minutes, DAY) if database_sleeps and self.wakes_database else self.minutes

    def rate(self, *, database_sleeps: bool) -> str:
        """The same, as EventBridge writes it."""
        minutes = self.minutes_between(database_sleeps=database_sleeps)
        return "rate(1 minute)" if minutes == 1 else f"rate({minutes} minutes)"


ORDER_FACTS = (
    "Order Created", "Order Paid", "Order Confirmed", "Order Completed", "Order Shipped", "Order Delivered",
    "Order Cancelled", "Order Failed", "Order Refunded", "Refund Failed",
)  # fmt: skip

# Every queue stands alone, so that one whose consumer fails holds no other up.
QUEUES = (
    Queue(key="relay", handler="vibecode.outbox.on_wake_up", batch_size=10, most_at_once=2),
    Queue(key="workflow", handler="orders.consumers.on_order_created", detail_types=("Order Created",)),
    Queue(
        key="payments",
        handler="orders.consumers.on_money_to_settle",
        detail_types=("Order Cancelled", "Refund Requested"),
        batch_size=1,  # each may wait for the provider
    ),
    Queue(
        key="overdue",  # a message, so that a sleeping database is woken for a payment that waits, and for nothing else
        handler="orders.consumers.on_time_for_the_bank_over",
        detail_types=("Payment Requires Action",),
        delay=ACTION_SECONDS,
    ),
    Queue(
        key="mail",
        handler="orders.consumers.on_news_for_the_customer",
        detail_types=("Order Confirmed", "Order Shipped", "Order Cancelled", "Order Refunded"),
        batch_size=5,
        tries=HOURS,
    ),
    Queue(key="mail-outcomes", handler="orders.consumers.on_mail_outcome", source="aws.ses", tries=HOURS),
    Queue(
        key="announce",
        handler="orders.consumers.on_news_for_partners",
        detail_types=(*ORDER_FACTS, "Stock Low"),
        tries=HOURS,
    ),
    Queue(
        key="pictures",
        handler="catalog.consumers.on_picture_stored",
        detail_types=("Picture Stored",),
        batch_size=1,  # each takes seconds, and the memory of a large picture
        most_at_once=2,
    ),
    Queue(
        key="live",
        handler="orders.consumers.on_order_moved",
        detail_types=(
            *(fact for fact in ORDER_FACTS if fact != "Order Confirmed"),
            "Payment Requires Action",
            "Refund Requested",
        ),
    ),
    Queue(
        key="figures",
        handler="orders.consumers.on_order_counts",
        # Confirming moves no state and no money; asking for a refund may ship or withdraw the rest of an order.
        detail_types=(*(fact for fact in ORDER_FACTS if fact != "Order Confirmed"), "Refund Requested"),
        tries=HOURS,
        most_at_once=2,  # all of them write to today's row
    ),
    Queue(key="jobs", handler="vibecode.jobs.on_message", batch_size=1, most_at_once=3),  # each is a chunk of work
)

SCHEDULES = (
    Schedule(key="sweep-outbox", handler="vibecode.outbox.sweep", minutes=1, local_seconds=2),
    Schedule(key="sweep-orders", handler="orders.workflow.sweep", minutes=1, local_seconds=5),
    Schedule(key="sweep-uploads", handler="catalog.consumers.sweep", minutes=DAY, local_seconds=3600),
    Schedule(key="sweep-jobs", handler="vibecode.jobs.sweep", minutes=5, local_seconds=5),
    Schedule(key="recount", handler="orders.workflow.recount", minutes=DAY, local_seconds=3600),
    Schedule(key="purge", handler="vibecode.outbox.purge", minutes=DAY, local_seconds=3600),
    Schedule(
        key="close-websockets",
        handler="vibecode.websockets.close_expired",
        minutes=1,
        local_seconds=15,
        wakes_database=False,
    ),
)

# What the workflow may call by name: {"command": "orders.workflow.validate_order", …}, each exactly (event, context).
STEPS = (
    "orders.workflow.validate_order",
    "orders.workflow.process_payment",
    "orders.workflow.await_customer",
    "orders.workflow.deduct_stock",
    "orders.workflow.send_notification",
    "orders.workflow.complete_order",
    "orders.workflow.cancel_order",
    "orders.workflow.fail_order",
)

# Long work that staff begin at the desk, by its name: the class that knows how.
JOBS: Mapping[str, str] = {
    "import-products": "catalog.jobs.ImportProducts",
    "import-prices": "catalog.jobs.ImportPrices",
    "import-stock": "catalog.jobs.ImportStock",
    "export-products": "catalog.jobs.ExportProducts",
    "export-prices": "catalog.jobs.ExportPrices",
    "export-stock": "catalog.jobs.ExportStock",
    "ship-orders": "orders.jobs.ShipOrders",
    "export-orders": "orders.jobs.ExportOrders",
    "packing-slips": "orders.jobs.PackingSlips",
}

# The websocket API's three routes, each exactly (event, context).
ROUTES: Mapping[str, str] = {
    "$connect": "accounts.consumers.on_connect",
    "$disconnect": "accounts.consumers.on_disconnect",
    "$default": "accounts.consumers.on_message",
}

# What the engineer who deploys may ask of the worker by name: {"operation": "migrate", "arguments": {…}}.
OPERATIONS: Mapping[str, str] = {
    "migrate": "vibecode.operations.migrate",
    "create-staff-user": "accounts.operations.create_staff_user",
    "audit": "orders.operations.audit",
    "replay-events": "vibecode.operations.replay_events",
    "sweep": "orders.operations.sweep",
    "rebuild-figures": "orders.operations.rebuild_figures",
}

# Cognito's triggers that we answer, each exactly (event, context) and giving the event back: all that our pool names,
# as it tells people that something failed where nobody answers.
TRIGGERS: Mapping[str, str] = {
    "PostConfirmation_ConfirmSignUp": "accounts.consumers.on_sign_up_confirmed",
    "PostConfirmation_ConfirmForgotPassword": "accounts.consumers.on_password_changed",
}


def bucket_cors(origins: Sequence[str]) -> list[dict[str, object]]:
    """S3's CORS rules of the media bucket: pages of ours may post what we signed. A preflight asks even for that."""
    return [
        {
            "AllowedOrigins": list(origins),
            "AllowedMethods": ["POST"],
            "AllowedHeaders": ["content-type"],
            "MaxAgeSeconds": 3600,
        }
    ]


def bucket_lifecycle() -> list[dict[str, object]]:
    """S3's lifecycle rules of the media bucket: what a signature let in after its row had gone, S3 itself forgets."""
    return [
        {
            "ID": "forget-uploads",
            "Status": "Enabled",
            "Filter": {"Prefix": UPLOADS},
            "Expiration": {"Days": UPLOAD_DAYS},
            "NoncurrentVersionExpiration": {"NoncurrentDays": UPLOAD_DAYS},  # the bucket is versioned
            "AbortIncompleteMultipartUpload": {"DaysAfterInitiation": UPLOAD_DAYS},
        }
    ]


@dataclass(frozen=True, slots=True, kw_only=True)
class Resources:
    """Names, ARNs and addresses of one stage."""

    stage: str
    region: str
    account: str
    endpoint: str | None = None  # of the local AWS
    queues: Mapping[str, Queue] = field(default_factory=lambda: {queue.key: queue for queue in QUEUES})

    @property
    def prefix(self) -> str:
        """What every name begins with."""
        return f"{PROJECT}-{self.stage}"

    @property
    def bus(self) -> str:
        """The event bus."""
        return self.prefix

    @property
    def archive(self) -> str:
        """The bus's archive."""
        return f"{self.prefix}-archive"

    @property
    def topic_arn(self) -> str:
        """The SNS topic of staff and partners."""
        return self._arn("sns", f"{self.prefix}-announcements")

    @property
    def state_machine(self) -> str:
        """The name of the order workflow."""
        return f"{self.prefix}-orders"

    @property
    def state_machine_arn(self) -> str:
        """The order workflow."""
        return self._arn("states", f"stateMachine:{self.state_machine}")

    def execution_arn(self, name: str) -> str:
        """One execution of the order workflow."""
        return self._arn("states", f"execution:{self.state_machine}:{name}")

    @property
    def worker(self) -> str:
        """The Lambda function behind queues, schedules, workflow and websocket."""
        return f"{self.prefix}-worker"

    @property
    def worker_arn(self) -> str:
        """The same as an ARN."""
        return self._arn("lambda", f"function:{self.worker}")

    @property
    def connections_table(self) -> str:
        """The DynamoDB table of websocket connections and tickets."""
        return f"{self.prefix}-connections"

    @property
    def mail_configuration(self) -> str:
        """SES's configuration set, whose outcomes come back through EventBridge's default bus."""
        return f"{self.prefix}-mail"

    def queue_name(self, key: str, *, dead: bool = False) -> str:
        """A queue, or its dead-letter queue."""
        return f"{self.prefix}-{key}-dead" if dead else f"{self.prefix}-{key}"

    def queue_arn(self, key: str, *, dead: bool = False) -> str:
        """The same as an ARN."""
        return self._arn("sqs", self.queue_name(key, dead=dead))

    def queue_url(self, key: str, *, dead: bool = False) -> str:
        """The same as an address."""
        host = self.endpoint or f"https://sqs.{self.region}.amazonaws.com"
        return f"{host}/{self.account}/{self.queue_name(key, dead=dead)}"

    def pattern_of(self, queue: Queue) -> Mapping[str, Any]:
        """The event pattern of a queue's rule; empty where no rule feeds it.

        Of SES's news those of this stage's mails alone: others would wake its database.
        """
        if queue.source != "aws.ses":
            return queue.pattern
        ours = {"mail": {"tags": {"ses:configuration-set": [self.mail_configuration]}}}
        return {**queue.pattern, "detail": ours}

    def queue_of(self, arn: str) -> Queue | None:
        """The queue of ours behind an ARN, whose messages we handle; None for every other."""
        return next((queue for queue in self.queues.values() if self.queue_arn(queue.key) == arn), None)

    def schedule_name(self, key: str) -> str:
        """A schedule's rule."""
        return f"{self.prefix}-{key}"

    def schedule_of(self, arn: str) -> Schedule | None:
        """The schedule of ours behind a rule's ARN; None for every other."""
        return next((s for s in SCHEDULES if self.rule_arn(s.key) == arn), None)

    def rule_arn(self, key: str) -> str:
        """A schedule's rule as an ARN."""
        return self._arn("events", f"rule/{self.schedule_name(key)}")

    def _arn(self, service: str, what: str) -> str:
        return f"arn:aws:{service}:{self.region}:{self.account}:{what}"
