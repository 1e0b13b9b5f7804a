"""What a deploy would do, said before it is done: who and where, limits of the account, each stack, money a month."""

import importlib
import importlib.util
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from infrastructure.config import QUEUES_AT_ONCE, REGION, Stage
from infrastructure.deploying.account import Account, Refused
from infrastructure.deploying.record import Record, Release
from infrastructure.deploying.say import Say
from infrastructure.deploying.stacks import Changes, Stacks

COSTS = "infrastructure.costs"  # monthly(templates) -> Decimal, in USD


@dataclass(frozen=True, slots=True, kw_only=True)
class Quota:
    """A limit of the account that a stage could meet: its code is Service Quotas' own."""

    what: str
    service: str
    code: str
    needed: Callable[[Stage], int]
    used: Callable[[Account], int] = lambda _: 0
    once: bool = False  # asked for by a network that is not there yet


QUOTAS = (
    Quota(
        what="functions running at once",
        service="lambda",
        code="L-B99A9384",
        needed=lambda _: QUEUES_AT_ONCE + 100,  # and as many for the web, which nothing else must take
    ),
    Quota(
        what="VPCs",
        service="vpc",
        code="L-F678F1CE",
        needed=lambda _: 1,
        used=lambda account: len(account.client("ec2").describe_vpcs()["Vpcs"]),
        once=True,
    ),
    Quota(
        what="elastic IP addresses",
        service="ec2",
        code="L-0263D0A3",
        needed=lambda stage: stage.nat_gateways,
        used=lambda account: len(account.client("ec2").describe_addresses()["Addresses"]),
        once=True,
    ),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What was found out; nothing of it has been done."""

    account: Account
    release: Release
    before: Release | None
    resumes: bool
    changes: Mapping[str, Changes]
    limits: tuple[str, ...]  # not known, or not asked
    costs: tuple[Decimal, Decimal] | None  # a month: now, and then

    @property
    def lost(self) -> tuple[str, ...]:
        """What would be removed or replaced."""
        return tuple(each for changes in self.changes.values() for each in changes.lost)

    def show(self, say: Say) -> None:
        """All of it, line by line."""
        number, who = self.account.identity
        now = self.before.name if self.before else "nothing"
        say.line(f"{self.account.stage.name} in {REGION}, account {number}, as {who}", "bold")
        say.line(f"  release {self.release.name} ({self.release.source}), where there is {now}")
        if self.resumes:
            say.line("  a deploy of it was cut off: what it has done is not done again")
        for what, changes in self.changes.items():
            say.line(f"  stack {what}: {changes}", "dim" if changes.none else "")
            for each in changes.lost:
                say.line(f"    REMOVED OR REPLACED: {each}", "bold red")
        for limit in self.limits:
            say.line(f"  not known: {limit}", "yellow")
        if self.costs:
            now_, then = self.costs
            say.line(f"  ≈ {then:.2f} USD a month, {then - now_:+.2f}")
        else:
            say.line("  what it costs a month is not known here", "yellow")


def make_plan(stacks: Stacks, record: Record, release: Release, *, resumes: bool) -> Plan:
    """Look at the account, and change nothing. Raises Refused, naming everything that stands in the way."""
    account = stacks.account
    wrong = list(stacks.trouble())
    unknown: list[str] = []
    is_new = "network" in stacks.templates and stacks.deployed("network") is None
    for quota in QUOTAS:
        if quota.once and not is_new:
            continue
        limit = _limit(account, quota)
        needed, used = quota.needed(account.stage), quota.used(account)
        if limit is None:
            unknown.append(f"the quota of {quota.what} ({quota.service} {quota.code}); {needed} more are needed")
        elif used + needed > limit:
            wrong.append(f"{quota.what}: {used} of {limit:g} are used, {needed} more are needed; ask for {quota.code}")
    if wrong:
        raise Refused("The account is not ready:\n" + "\n".join(f"  {each}" for each in wrong))
    return Plan(
        account=account,
        release=release,
        before=record.releases.get(record.current),
        resumes=resumes,
        changes={what: stacks.plan(what) for what in stacks.templates},
        limits=tuple(unknown),
        costs=_costs(stacks),
    )


def _limit(account: Account, quota: Quota) -> float | None:
    try:
        asked = {"ServiceCode": quota.service, "QuotaCode": quota.code}
        return float(account.client("service-quotas").get_service_quota(**asked)["Quota"]["Value"])
    except (BotoCoreError, ClientError):
        return None


def _costs(stacks: Stacks) -> tuple[Decimal, Decimal] | None:
    """What the stage's stacks cost now and then, where somebody can say so."""
    if importlib.util.find_spec(COSTS) is None:
        return None
    monthly: Callable[[Mapping[str, Any]], Decimal] = importlib.import_module(COSTS).monthly
    then = {template.name: json.loads(template.body) for template in stacks.templates.values()}
    return monthly(dict(_deployed(stacks))), monthly(then)


def _deployed(stacks: Stacks) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for what, template in stacks.templates.items():
        if (now := stacks.deployed(what)) is not None:
            yield template.name, now
