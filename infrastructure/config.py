"""What differs between the stages: sizes, limits, and what a stage does without. Read by app.py and the deployment."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from vibecode.resources import PROJECT

REGION = "eu-north-1"
ZONES = ("eu-north-1a", "eu-north-1b", "eu-north-1c")
EDGE_REGION = "us-east-1"  # where CloudFront reads its certificates and its web ACL
APPROVALS_TO = ""  # the e-mail address of who lets a release into production

type Name = Literal["dev", "staging", "production"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Watched:
    """When a stage calls for somebody. What is an outage in production is an afternoon's work in dev."""

    canary: bool  # asked from outside, day and night
    least_requests: int  # in five minutes; a share of fewer says nothing
    errors_percent: float  # of the answers, 5xx
    slow_ms: int  # the slowest twentieth of the answers took this or longer
    unsent_seconds: int  # the oldest fact that waits for the bus
    unknown_payments: int  # in a quarter of an hour; one alone is looked up by the workflow
    failed_percent: float  # of the executions: a card that is declined fails one too


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """One stage. Money is in USD a month, memory in MB, an ACU is 2 GB of memory with its share of a processor."""

    name: Name
    cost_centre: str
    account: str = ""  # twelve digits: the only one that it is deployed to; docs/deploy.md, "Before the first time"
    domain: str = ""  # of the shop, such as shop.example; CloudFront's own where it is empty
    hosted_zone: str = ""  # of Route 53, where the domain and its certificate are made
    alarms_to: str = ""  # an e-mail address
    mail_from: str = ""  # such as Shop <orders@shop.example>; of the domain where it is empty

    # --- network: one NAT gateway a zone where a zone may fail, and interface endpoints where they cost less than it
    cidr: str
    nat_gateways: int
    interface_endpoints: tuple[str, ...] = ()

    # --- database: with 0 ACU it sleeps after `sleeps_after` seconds, and nothing scheduled may wake it
    smallest_acu: float
    largest_acu: float
    sleeps_after: int = 300
    readers: int
    proxied: bool
    backup_days: int
    vault_locked: bool  # nobody but who may bypass governance deletes a backup
    cached: bool  # ElastiCache; else throttles count in each sandbox

    # --- functions, and what runs long
    worker_at_once: int  # invocations of the worker side by side: connections that the web is left with
    batch: bool = False  # a Fargate service for what runs longer than a function may
    shared_files: bool = False  # EFS

    log_days: int
    budget: int
    watched: Watched
    tracing_layer: str = ""  # ARN with its version: OpenTelemetry's layer in both functions (docs/decisions/0023)

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
            worker_at_once=10,
            log_days=14,
            budget=100,
            watched=Watched(
                canary=False,
                least_requests=20,
                errors_percent=20,
                slow_ms=10_000,
                unsent_seconds=3600,
                unknown_payments=10,
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
            proxied=True,
            backup_days=7,
            vault_locked=False,
            cached=False,
            worker_at_once=20,
            log_days=30,
            budget=300,
            watched=Watched(
                canary=True,
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
            worker_at_once=50,
            log_days=365,
            budget=1500,
            watched=Watched(
                canary=True,
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
