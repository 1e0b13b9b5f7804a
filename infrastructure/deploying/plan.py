"""What a deploy would do, said before it is done: who and where, limits of the account, each stack, money a month."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal

from botocore.exceptions import BotoCoreError, ClientError

from infrastructure.config import QUEUES_AT_ONCE, REGION, Stage
from infrastructure.costs import change, monthly
from infrastructure.costs.bill import Change
from infrastructure.deploying.account import Account, Refused, code_of
from infrastructure.deploying.changes import Changes
from infrastructure.deploying.images import missing
from infrastructure.deploying.record import Record, Release
from infrastructure.deploying.say import Say
from infrastructure.deploying.stacks import Stacks

BACKUPS = "AWS::Backup::BackupSelection"  # where a stack has one, the account must let AWS Backup do it


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


@dataclass(frozen=True, slots=True)
class Money:
    """What the stage's stacks cost a month when this is done, in USD, and what of it is new."""

    monthly: Decimal
    changes: Sequence[Change]

    def __str__(self) -> str:
        more = sum((each.after - each.before for each in self.changes), Decimal())
        return f"≈ {self.monthly:.2f} USD a month, {more:+.2f}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What was found out; nothing of it has been done."""

    account: Account
    release: Release
    before: Release | None
    resumes: bool
    changes: Mapping[str, Changes]
    warnings: tuple[str, ...]
    unknown: tuple[str, ...]
    money: Money

    @property
    def losses(self) -> dict[str, Sequence[str]]:
        """What would be removed or replaced, by stack: who says yes to the plan agrees to it."""
        return {what: changes.lost for what, changes in self.changes.items() if changes.lost}

    def show(self, say: Say) -> None:
        """All of it, line by line."""
        number, who = self.account.identity
        now = self.before.name if self.before else "nothing"
        say.line(f"{self.account.stage.name} in account {number}, {REGION}", "bold")
        say.line(f"  as {who}")
        say.line(f"  release {self.release.name} ({self.release.source}), where there is {now}")
        if self.resumes:
            say.line("  a deploy of it was cut off: it goes on where that was")
        for what, changes in self.changes.items():
            say.line(f"  stack {what}: {changes}", "dim" if changes.none else "yellow" if changes.waits_for else "")
            say.changes(changes)
        for warning in self.warnings:
            say.line(f"  {warning}", "bold red")
        for each in self.unknown:
            say.line(f"  not known: {each}", "yellow")
        say.line(f"  {self.money}")
        for service in self.money.changes:
            say.line(f"    {service.service}: {service.before:.2f} → {service.after:.2f}", "dim")


def make_plan(stacks: Stacks, record: Record, release: Release, *, resumes: bool) -> Plan:
    """Look at the account, and change nothing. Raises Refused, naming everything that stands in the way."""
    account = stacks.account
    wrong = [*stacks.trouble(), *_orphaned(stacks, record)]
    warnings: list[str] = []
    unknown: list[str] = []
    if not account.stage.alarms_to and account.stage.name != "dev":
        said = "nobody hears the alarms: name an address in infrastructure/config.py (alarms_to)"
        (wrong if account.stage.name == "production" else warnings).append(said)
    is_new = "network" in stacks.templates and not stacks.stands("network")
    for quota in QUOTAS:
        if quota.once and not is_new:
            continue
        limit = _limit(account, quota)
        needed, used = quota.needed(account.stage), quota.used(account)
        if limit is None:
            unknown.append(f"the quota of {quota.what} ({quota.service} {quota.code}); {needed} more are needed")
        elif used + needed > limit:
            wrong.append(f"{quota.what}: {used} of {limit:g} are used, {needed} more are needed; ask for {quota.code}")
    wrong += missing(account, release.name)
    if wrong:
        raise Refused(f"{account.stage.name} is not ready:\n" + "\n".join(f"  {each}" for each in wrong))
    match _backs_up_aurora(stacks):
        case False:
            warnings.append(
                "AWS Backup does not back up Aurora in this account. Once an account and region: aws backup "
                f"update-region-settings --region {REGION} --resource-type-opt-in-preference Aurora=true"
            )
        case None:
            unknown.append("whether AWS Backup may back up Aurora in this account (backup:DescribeRegionSettings)")
    return Plan(
        account=account,
        release=release,
        before=record.releases.get(record.current),
        resumes=resumes,
        changes=stacks.plan(),
        warnings=tuple(warnings),
        unknown=tuple(unknown),
        money=_money(stacks),
    )


def _orphaned(stacks: Stacks, record: Record) -> Iterator[str]:
    """A release whose web function stands without its API: nothing leads to it, and another API has another address."""
    if not record.current or "ApiId" in stacks.told:
        return
    function = stacks.account.stage.prefix
    try:
        stacks.account.client("lambda").get_function_configuration(FunctionName=function)
    except ClientError as error:
        if code_of(error) != "ResourceNotFoundException":
            raise
        return  # then Zappa makes both anew
    yield f"the API of the function {function} is gone: docs/deploy.md says what helps (When it does not go on)"


def _backs_up_aurora(stacks: Stacks) -> bool | None:
    """Whether the account lets AWS Backup do what the stacks want of it; None where it does not say."""
    if not any(f'"{BACKUPS}"' in template.body for template in stacks.templates.values()):
        return True
    try:
        said = stacks.account.client("backup").describe_region_settings()
    except (BotoCoreError, ClientError):
        return None
    return bool(said["ResourceTypeOptInPreference"].get("Aurora", False))


def _limit(account: Account, quota: Quota) -> float | None:
    try:
        asked = {"ServiceCode": quota.service, "QuotaCode": quota.code}
        return float(account.client("service-quotas").get_service_quota(**asked)["Quota"]["Value"])
    except (BotoCoreError, ClientError):
        return None


def _money(stacks: Stacks) -> Money:
    there = {template.name: stacks.deployed(what) for what, template in stacks.templates.items()}
    before = {name: template for name, template in there.items() if template is not None}
    after = {template.name: json.loads(template.body) for template in stacks.templates.values()}
    return Money(monthly(after), change(stacks.account.stage, before, after))
