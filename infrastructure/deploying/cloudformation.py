"""One stack at CloudFormation: what it is now, and what is done to it. Here alone it is waited for."""

import hashlib
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from botocore.exceptions import ClientError

from infrastructure.config import REGION
from infrastructure.deploying.account import Account, Refused, code_of
from infrastructure.deploying.assembly import Template
from infrastructure.deploying.changes import KINDS, Changes, kind_of
from infrastructure.deploying.waiting import Turn

SENT = 51_200  # bytes of a template; a longer one is read from the bucket of packages
POLLED = 1  # seconds between two looks at a change set
SAID = 30  # seconds between two lines on what is waited for
NOTHING_CHANGES = ("didn't contain changes", "No updates are to be performed")
UNFINISHED = {"REVIEW_IN_PROGRESS", "ROLLBACK_COMPLETE", "DELETE_COMPLETE"}  # of a first creation that came to nothing
FINE = {"CREATE_COMPLETE", "UPDATE_COMPLETE", "IMPORT_COMPLETE"}
WENT_BACK = FINE | {"UPDATE_ROLLBACK_COMPLETE", "IMPORT_ROLLBACK_COMPLETE"}  # it stands, and can be updated

type Description = Mapping[str, Any]  # a stack, as CloudFormation describes it; empty where there is none


class StackFailed(Exception):
    """CloudFormation could not do it, and has gone back by itself; the text says what failed."""


class Stack:
    """A stack of this name.

    ``role`` is in whose name CloudFormation works; ``report`` is told what is waited for. Where it is no longer our
    ``turn``, nothing more is waited for, nor begun: Lost is raised.
    """

    def __init__(
        self,
        account: Account,
        name: str,
        region: str = REGION,
        *,
        role: str = "",
        report: Callable[[str], object] = lambda _: None,
        turn: Turn | None = None,
    ) -> None:
        self.name = name
        self._account, self._role, self._report, self._turn = account, role, report, turn or Turn()
        self._cloud = account.client("cloudformation", region)

    # --- what it is --------------------------------------------------------------------------------------------------
    def describe(self) -> Description:
        """As it is now."""
        try:
            described: Description = self._cloud.describe_stacks(StackName=self.name)["Stacks"][0]
        except ClientError as error:
            if code_of(error) == "ValidationError":  # it says so of a stack that is not there
                return {}
            raise
        return described

    def settled(self) -> Description:
        """As it is when nothing is in progress any more, also of what a deploy began that was cut off."""
        began, said = time.monotonic(), 0
        while (status := status_of(about := self.describe())).endswith("_IN_PROGRESS") and status not in UNFINISHED:
            if (waited := time.monotonic() - began) >= said * SAID:
                self._report(f"{self.name} is {status}" + (f", {waited:.0f} s" if said else ""))
                said += 1
            self._turn.wait()
        return about

    def complaint(self) -> str:
        """Why it is not as it should be; empty where it is, or is not there."""
        about = self.describe()
        return "" if status_of(about) in {"", *FINE} else self._failed(about)

    def template(self) -> Any:
        """What it was made of last: text, or as botocore has parsed it."""
        return self._cloud.get_template(StackName=self.name, TemplateStage="Original")["TemplateBody"]

    # --- what is done to it ------------------------------------------------------------------------------------------
    def ready(self) -> str:
        """Its status when it can be changed, empty where there is none: what is left of a first creation makes way.

        Raises Refused, StackFailed.
        """
        status = status_of(self.settled())
        if status == "REVIEW_IN_PROGRESS":
            return ""  # nothing was made: another change set makes it
        if status in UNFINISHED:
            self.delete()
            return ""
        self._check(status)
        return status

    def create_change_set(
        self,
        kind: str,
        purpose: str,
        parameters: Sequence[Mapping[str, str | bool]],
        template: Template | None = None,
    ) -> str:
        """The ARN of a change set that is ready, or that changes nothing. Raises StackFailed, Lost.

        Without a template it is that which the stack has, and without a role of ours that which it was changed by last.
        """
        self._turn.check()
        made = self._cloud.create_change_set(
            StackName=self.name,
            ChangeSetName=f"{purpose}-{time.time_ns()}",
            ChangeSetType=kind,
            Parameters=parameters,
            Capabilities=["CAPABILITY_NAMED_IAM"],
            **(self._said_of(template) if template else {"UsePreviousTemplate": True}),
            **({"RoleARN": self._role} if self._role else {}),
        )
        arn = str(made["Id"])
        while (about := self._cloud.describe_change_set(StackName=self.name, ChangeSetName=arn))["Status"].endswith(
            ("_IN_PROGRESS", "_PENDING")
        ):
            time.sleep(POLLED)
            self._turn.check()
        reason = about.get("StatusReason", "")
        if about["Status"] == "FAILED" and not any(said in reason for said in NOTHING_CHANGES):
            # It stays: what CloudFormation has found wrong before it began may stand there alone.
            region = self._cloud.meta.region_name
            more = f"aws cloudformation describe-events --region {region} --change-set-name {arn}"
            raise StackFailed(f"{self.name} cannot be changed: {reason} More of it, where there is more: {more}")
        return arn

    def changes(self, change_set: str) -> Changes:
        """What a change set would do."""
        found: dict[str, list[str]] = defaultdict(list)
        asked: dict[str, Any] = {"StackName": self.name, "ChangeSetName": change_set}
        while True:
            about = self._cloud.describe_change_set(**asked)
            if about["Status"] == "FAILED":  # create_change_set has seen why
                return Changes(none=True)
            for each in about.get("Changes", []):
                change = each["ResourceChange"]
                found[kind_of(change)].append(f"{change['ResourceType']} {change['LogicalResourceId']}")
            if not about.get("NextToken"):
                made, modified, remade, kept, lost = (sorted(found[kind]) for kind in KINDS)
                return Changes(made, modified, remade, kept, lost)
            asked["NextToken"] = about["NextToken"]

    def delete_change_set(self, change_set: str) -> None:
        """Forget a change set."""
        self._cloud.delete_change_set(StackName=self.name, ChangeSetName=change_set)

    def execute_change_set(self, change_set: str) -> None:
        """Bring it about. Raises StackFailed, with what failed first; Lost."""
        self._turn.check()
        # What a change made that then fails goes again, or it would stand in the way of the next try.
        self._cloud.execute_change_set(StackName=self.name, ChangeSetName=change_set, RetainExceptOnCreate=True)
        if status_of(about := self.settled()) not in FINE:
            raise StackFailed(self._failed(about))

    def update_parameter(self, name: str, value: str) -> bool:
        """Tell it one thing anew, all else stays. False where it was told so, or takes no such thing.

        Raises Refused, StackFailed.
        """
        about = self.settled()
        self._check(status_of(about))
        told = parameters_of(about)
        if told.get(name, value) == value:
            return False
        parameters: list[dict[str, str | bool]] = [
            {"ParameterKey": each, **({"ParameterValue": value} if each == name else {"UsePreviousValue": True})}
            for each in told
        ]
        made = self.create_change_set("UPDATE", "parameter", parameters)
        if self.changes(made).none:
            self.delete_change_set(made)
        else:
            self.execute_change_set(made)
        return True

    def delete(self) -> None:
        """Delete it, and wait until it is gone. Raises Refused, StackFailed, Lost."""
        self._turn.check()
        try:
            self._cloud.delete_stack(StackName=self.name)
        except ClientError as error:
            if code_of(error) != "AccessDenied":
                raise
            raise Refused(
                f"The first creation of {self.name} came to nothing, and who deploys here may not delete what is left: "
                "an administrator deploys this stage once (docs/deploy.md, A stack that is new)."
            ) from None
        if (left := status_of(about := self.settled())).endswith("_FAILED"):
            raise StackFailed(f"{self._failed(about)}. {mend(left)}")

    def protect(self) -> None:
        """From being deleted."""
        self._cloud.update_termination_protection(StackName=self.name, EnableTerminationProtection=True)

    def _check(self, status: str) -> None:
        """Raises Refused where it cannot be changed as it is."""
        if status and status not in WENT_BACK:
            raise Refused(f"{self.name} is {status}: {mend(status)}")

    def _said_of(self, template: Template) -> dict[str, Any]:
        tags = [{"Key": key, "Value": value} for key, value in sorted(template.tags.items())]
        return {"Tags": tags, **self._where(template)}

    def _where(self, template: Template) -> dict[str, str]:
        """The template itself where it is short, else its address in the bucket, by a name that its content gives."""
        if len(template.body) <= SENT:
            return {"TemplateBody": template.body}
        bucket = self._account.bucket("packages")
        key = f"templates/{self.name}-{hashlib.sha256(template.body.encode()).hexdigest()[:16]}.json"
        self._account.client("s3").put_object(Bucket=bucket, Key=key, Body=template.body.encode())
        s3_region = self._account.client("s3").meta.region_name
        return {"TemplateURL": f"https://{bucket}.s3.{s3_region}.amazonaws.com/{key}"}

    def _failed(self, about: Description) -> str:
        """Why: what failed by itself since the last beginning, the first one first."""
        said = []
        pages = self._cloud.get_paginator("describe_stack_events").paginate(StackName=self.name)
        for event in (event for page in pages for event in page["StackEvents"]):  # the last one first
            reason = event.get("ResourceStatusReason", "")
            if event["ResourceStatus"].endswith("_FAILED") and "cancelled" not in reason:
                said.append(f"{event['LogicalResourceId']}: {reason}")
            if event["LogicalResourceId"] == self.name and reason == "User Initiated":
                break
        return f"{self.name} is {status_of(about)}: {'; '.join(said[::-1][:5])}"


def status_of(about: Description) -> str:
    """What CloudFormation says of it; empty where there is none."""
    return str(about.get("StackStatus", ""))


def stands(about: Description) -> bool:
    """Whether it was ever made whole."""
    return status_of(about) not in {"", *UNFINISHED}


def parameters_of(about: Description) -> dict[str, str]:
    """The parameters that it was given."""
    return {each["ParameterKey"]: str(each.get("ParameterValue", "")) for each in about.get("Parameters", [])}


def exports_of(about: Description) -> set[str]:
    """What it lets other stacks import."""
    return {output["ExportName"] for output in about.get("Outputs", []) if "ExportName" in output}


def mend(status: str) -> str:
    """What helps where CloudFormation is stuck."""
    if status in {"ROLLBACK_FAILED", "DELETE_FAILED"}:
        return "docs/deploy.md says how it is cleared (A first creation that failed)."
    return "mend it in the console of CloudFormation (continue its rollback), then run it again."
