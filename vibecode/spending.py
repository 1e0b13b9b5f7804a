"""What AWS has billed, by service and month, as Cost Explorer tells it. Called by the command ``costs``.

https://docs.aws.amazon.com/aws-cost-management/latest/APIReference/API_GetCostAndUsage.html
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal
from typing import Any

from vibecode import aws
from vibecode.resources import PROJECT

TRIES = 5  # Cost Explorer admits few requests at a time, and says LimitExceededException to the rest
MONTHS_BACK = 13  # before this one: what Cost Explorer keeps by month, unless an account asks for more
# https://docs.aws.amazon.com/cost-management/latest/userguide/ce-exploring-data.html

PERMISSION = "The role needs ce:GetCostAndUsage, and IAM access to billing must be on for the account."
# What AWS says of us, and what to do about it.
REASONS: Mapping[str, str] = {
    "AccessDeniedException": PERMISSION,
    "UnrecognizedClientException": "The access key is unknown: are AWS_PROFILE or the keys those of the right account?",
    "InvalidClientTokenId": "The access key is unknown: are AWS_PROFILE or the keys those of the right account?",
    "ExpiredTokenException": "The credentials have expired: sign in again.",
    "DataUnavailableException": "Cost Explorer has no data yet: it takes a day after it was switched on.",
    "LimitExceededException": "Cost Explorer admits no more requests for now: ask again in some minutes.",
}


class NotTold(Exception):
    """There is no answer, and the sentence says why."""


@dataclass(frozen=True, slots=True)
class Month:
    """What one month cost, or the part of it that was asked for; an estimate until AWS has closed its bill."""

    start: date
    end: date  # the first day after it
    currency: str
    services: Mapping[str, Decimal]
    estimated: bool

    @property
    def total(self) -> Decimal:
        """Of all services."""
        return sum(self.services.values(), Decimal())


def spent(*, start: date, end: date, today: date, stage: str = "") -> list[Month]:
    """The unblended cost of each month from ``start`` up to the day before ``end``; with ``stage`` of its tags alone.

    Every page costs a cent, at AWS too. Raises NotTold, also for days that Cost Explorer would refuse.
    """
    _check(start, end, today)
    # With the SDK's own address, whatever the shop talks to: a bill is AWS's alone.
    cost_explorer = aws.client("ce", seconds=20, tries=TRIES)
    asked: dict[str, Any] = {
        "TimePeriod": {"Start": start.isoformat(), "End": end.isoformat()},
        "Granularity": "MONTHLY",
        "Metrics": ["UnblendedCost"],
        "GroupBy": [{"Type": "DIMENSION", "Key": "SERVICE"}],
    }
    if stage:
        tags = {"app": PROJECT, "stage": stage}
        asked["Filter"] = {"And": [{"Tags": {"Key": key, "Values": [value]}} for key, value in tags.items()]}
    months: dict[str, Month] = {}
    page: dict[str, Any] = {}
    while not page or page.get("NextPageToken"):
        more = {"NextPageToken": page["NextPageToken"]} if page else {}
        try:
            page = cost_explorer.get_cost_and_usage(**asked, **more)
        except aws.service_errors() as error:
            raise NotTold(_reason(error)) from error
        for result in page["ResultsByTime"]:
            _add(months, result)
    return list(months.values())


def _check(start: date, end: date, today: date) -> None:
    """What Cost Explorer would refuse, in words that say what to ask for instead."""
    this_month = today.replace(day=1)
    if start >= end:
        raise NotTold(f"--end is the first day that is left out: it must be after --start, and {end} is not.")
    if start > today:
        raise NotTold(f"--start is in the future: nothing was spent after today, {today}.")
    if end > (last := _next_month(this_month)):
        raise NotTold(f"--end is in the future: the last one that Cost Explorer takes is {last}.")
    earliest = this_month
    for _ in range(MONTHS_BACK):
        earliest = (earliest - timedelta(days=1)).replace(day=1)
    if start < earliest:
        raise NotTold(f"--start is too long ago: Cost Explorer goes back to {earliest}.")


def _next_month(day: date) -> date:
    return (day.replace(day=28) + timedelta(days=4)).replace(day=1)


def _add(months: dict[str, Month], result: Mapping[str, Any]) -> None:
    """A month of a page: the services of one month may be spread over several pages."""
    period = result["TimePeriod"]
    known = months.get(period["Start"])
    services = dict(known.services) if known else {}
    currency = known.currency if known else ""
    for group in result["Groups"]:
        amount = group["Metrics"]["UnblendedCost"]
        services[group["Keys"][0]] = services.get(group["Keys"][0], Decimal()) + Decimal(amount["Amount"])
        currency = amount["Unit"]
    months[period["Start"]] = Month(
        start=date.fromisoformat(period["Start"]),
        end=date.fromisoformat(period["End"]),
        currency=currency or "USD",
        services=services,
        estimated=result["Estimated"] or bool(known and known.estimated),
    )


def _reason(error: Exception) -> str:
    code = aws.error_code(error)
    if not code:
        hint = " Set AWS_PROFILE, or sign in." if "credentials" in str(error).lower() else ""
        return f"Cost Explorer was not reached: {error}.{hint}"
    told = str(getattr(error, "response", {})["Error"].get("Message", "")).rstrip(".")
    return " ".join(filter(None, [f"Cost Explorer refuses: {code}: {told}.", REASONS.get(code, "")]))
