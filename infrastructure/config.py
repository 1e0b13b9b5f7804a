"""What differs between the stages: sizes, limits, and what a stage does without. Read by app.py and the deployment."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from vibecode.resources import PROJECT, QUEUES

REGION = "eu-north-1"
ZONES = ("eu-north-1a", "eu-north-1b", "eu-north-1c")
EDGE_REGION = "us-east-1"  # where CloudFront reads its certificates and its web ACL
# When a database that sleeps is woken for the day's work, all of it: as its backup begins (data.py). EventBridge's UTC.
WAKING = "cron(0 3 * * ? *)"
APPROVALS_TO = ""  # the e-mail address of who lets a release into production
# How many invocations of the worker queues may keep busy side by side: Lambda holds each queue to its own number
# (integrations.py). Steps, schedules and websockets come on top, held by the account's limit alone.
QUEUES_AT_ONCE = sum(queue.most_at_once for queue in QUEUES)
ORIGIN = re.compile(r"https://[a-z0-9.-]+(:\d+)?")
OF_AN_APP = re.compile(r"[a-z][a-z0-9.+-]*\.[a-z0-9.+-]+://[\w./-]*")

# OpenTelemetry's layer for Python, of both processors, in our region. AWS has another account and version in each:
# https://aws-otel.github.io/docs/getting-started/lambda/lambda-python
TRACING_LAYER = f"arn:aws:lambda:{REGION}:615299751070:layer:AWSOpenTelemetryDistroPython:25"

type Name = Literal["dev", "staging", "production"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Watched:
    """When a stage calls for somebody. What is an outage in production is an afternoon's work in dev."""

    canary: bool  # asked from outside, day and night
    # Over how many minutes answers, and orders, are counted: so many that what the stage is made for says something
    # (infrastructure/costs/usage.py; a test works it out).
    requests_minutes: int
    orders_minutes: int
    least_requests: int  # of fewer a share says nothing
    errors_percent: float  # of the answers, 5xx
    slow_ms: int  # the slowest twentieth of the answers took this or longer
    unsent_seconds: int  # the oldest fact that waits for the bus
    unknown_payments: int  # one alone is looked up by the workflow
    failed_percent: float  # of the executions: a card that is declined fails one too


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """One stage. Money is in USD a month, memory in MB, an ACU is 2 GB of memory with its share of a processor."""

    name: Name
    cost_centre: str
    account: str = ""  # twelve digits: the only one that it is deployed to; docs/deploy.md, "Before the first time"
    domain: str = ""  # of the shop, such as shop.example; CloudFront's own where it is empty
    hosted_zone: str = ""  # of Route 53, where the domain and its certificate are made
    alarms_to: str = ""  # an e-mail address; where it is empty alarms go off and nobody hears of it
    mail_from: str = ""  # such as Shop <orders@shop.example>; of the domain where it is empty
    front_ends: tuple[str, ...] = ()  # origins of storefronts elsewhere, such as https://www.shop.example
    apps: tuple[str, ...] = ()  # where people come back to in apps, such as example.shop.app://signed-in

    # --- network: one NAT gateway a zone where a zone may fail, and interface endpoints where they cost less than it
    cidr: str
    nat_gateways: int
    interface_endpoints: tuple[str, ...] = ()

    # --- database: with 0 ACU it sleeps after `sleeps_after` seconds, and the clock wakes it once a day (WAKING)
    smallest_acu: float
    largest_acu: float
    sleeps_after: int = 300
    cluster_id: str = ""  # of a cluster that was restored under the name of one that is gone; docs/restoring.md
    readers: int
    proxied: bool
    backup_days: int
    vault_locked: bool  # nobody but who may bypass governance deletes a backup
    cached: bool  # ElastiCache; else throttles count in each sandbox

    # --- functions, and what runs long
    batch: bool = False  # a Fargate service for what runs longer than a function may
    shared_files: bool = False  # EFS, for its containers

    log_days: int
    budget: int
    watched: Watched
    sign_in_guarded: bool  # a web ACL of its own before the pool, for 8 USD a month
    tracing_layer: str = ""  # ARN with its version: OpenTelemetry's layer in both functions (docs/decisions/0023)

    def __post_init__(self) -> None:
        """Refuse what no stack could be made of. Raises ValueError."""
        if self.domain and not self.hosted_zone:
            raise ValueError(f"{self.name}: {self.domain} needs its hosted_zone, where its records are made.")
        if self.shared_files and not self.batch:
            raise ValueError(f"{self.name}: shared_files needs batch, whose containers alone have them.")
        for value, form, example in (
            *((each, ORIGIN, "https://www.shop.example") for each in self.front_ends),
            *((each, OF_AN_APP, "example.shop.app://signed-in") for each in self.apps),
        ):
            if not form.fullmatch(value):
                raise ValueError(f"{self.name}: {value!r} must be such as {example}.")

    @property
    def prefix(self) -> str:
        """What every name begins with."""
        return f"{PROJECT}-{self.name}"

    @property
    def sender(self) -> str:
        """Who writes to customers. SES sends for a domain, or an address, that was verified."""
        return self.mail_from or f"Vibecode <orders@{self.domain or 'pending.invalid'}>"

    @property
    def database_sleeps(self) -> bool:
        """Whether the cluster pauses when nobody asks it anything."""
        return self.smallest_acu == 0


STAGES: Mapping[str, Stage] = {
    stage.name: stage
    for stage in (
        Stage(
            name="dev",
            cost_centre="engineering",
            cidr="10.10.0.0/16",
            nat_gateways=1,
            smallest_acu=0,
            largest_acu=2,
            readers=0,
            proxied=False,
            backup_days=1,
            vault_locked=False,
            cached=False,
            log_days=14,
            budget=100,
            sign_in_guarded=False,
            watched=Watched(
                canary=False,
                requests_minutes=60,
                orders_minutes=24 * 60,
                least_requests=20,
                errors_percent=20,
                slow_ms=10_000,
                unsent_seconds=3600,
                unknown_payments=3,
                failed_percent=80,
            ),
        ),
        Stage(
            name="staging",
            cost_centre="engineering",
            cidr="10.20.0.0/16",
            nat_gateways=1,
            smallest_acu=0.5,
            largest_acu=4,
            readers=0,
            proxied=True,  # over a third of its bill; without, production would be the first to sign in through it
            backup_days=7,
            vault_locked=False,
            cached=False,
            log_days=30,
            budget=300,
            sign_in_guarded=True,
            tracing_layer=TRACING_LAYER,
            watched=Watched(
                canary=True,
                requests_minutes=15,
                orders_minutes=6 * 60,
                least_requests=20,
                errors_percent=5,
                slow_ms=3_000,
                unsent_seconds=600,
                unknown_payments=5,
                failed_percent=60,
            ),
        ),
        Stage(
            name="production",
            cost_centre="shop",
            cidr="10.30.0.0/16",
            nat_gateways=3,
            smallest_acu=1,
            largest_acu=32,
            readers=1,
            proxied=True,
            backup_days=35,
            vault_locked=True,
            cached=True,
            log_days=365,
            budget=1500,
            sign_in_guarded=True,
            watched=Watched(
                canary=True,
                requests_minutes=5,
                orders_minutes=60,
                least_requests=50,
                errors_percent=1,
                slow_ms=1_000,
                unsent_seconds=300,
                unknown_payments=5,
                failed_percent=40,
            ),
        ),
    )
}
