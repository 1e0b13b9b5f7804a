"""The stacks of a stage: read from the assembly that CDK wrote, planned and brought to AWS by change sets.

A parameter of a stack is the output of the same name of a stack before it, in whatever region, or is told by the
deployment: what Zappa has made, digests of secrets, the release.
"""

import hashlib
import json
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from botocore.exceptions import ClientError

from infrastructure.deploying.account import Account, Refused, code_of

BEFORE_ZAPPA = (
    "foundation", "network", "data", "messaging", "workflow", "live", "worldwide", "front", "identity", "runtime",
)  # fmt: skip
AFTER_ZAPPA = (
    "front",
    "integrations",
    "observability",
    "observability-worldwide",
)  # the first once more: now it knows the API
SENT = 51_200  # bytes of a template; a longer one is read from the bucket of packages
POLLED = 5  # seconds
NOTHING_CHANGES = ("didn't contain changes", "No updates are to be performed")
UNFINISHED = {"REVIEW_IN_PROGRESS", "ROLLBACK_COMPLETE", "DELETE_COMPLETE"}  # of a first creation that came to nothing
FINE = {"CREATE_COMPLETE", "UPDATE_COMPLETE", "IMPORT_COMPLETE"}
WENT_BACK = FINE | {"UPDATE_ROLLBACK_COMPLETE", "IMPORT_ROLLBACK_COMPLETE"}  # it stands, and can be updated


@dataclass(frozen=True, slots=True, kw_only=True)
class Template:
    """A stack as it should be."""

    what: str  # network, data, …
    name: str
    region: str
    tags: Mapping[str, str]
    protected: bool  # from being deleted
    body: str

    @property
    def parameters(self) -> Mapping[str, Mapping[str, Any]]:
        """What it has to be told."""
        told: Mapping[str, Mapping[str, Any]] = json.loads(self.body).get("Parameters", {})
        return told

    @property
    def resources(self) -> int:
        """How many it makes."""
        return len(json.loads(self.body)["Resources"])


def read(folder: Path, stage: str, prefix: str) -> dict[str, Template]:
    """The stage's stacks from an assembly, by what they are, in the order of their deployment. Raises Refused."""
    assembly = folder / f"assembly-{stage}"
    try:
        artifacts = json.loads((assembly / "manifest.json").read_text())["artifacts"].values()
    except (OSError, ValueError) as error:
        raise Refused(f"{folder} holds no stacks of {stage}: {error}.") from None
    found = {}
    for artifact in artifacts:
        if artifact["type"] != "aws:cloudformation:stack":
            continue
        told = artifact["properties"]
        name = told["stackName"]
        what = name.removeprefix(f"{prefix}-")
        if what not in (*BEFORE_ZAPPA, *AFTER_ZAPPA):
            raise Refused(f"The stack {name} has no place in the order of the deployment (deploying/stacks.py).")
        found[what] = Template(
            what=what,
            name=name,
            region=artifact["environment"].rpartition("/")[2],
            tags=told.get("tags", {}),
            protected=told.get("terminationProtection", False),
            body=json.dumps(json.loads((assembly / told["templateFile"]).read_text()), separators=(",", ":")),
        )
    return {what: found[what] for what in dict.fromkeys((*BEFORE_ZAPPA, *AFTER_ZAPPA)) if what in found}


@dataclass(frozen=True, slots=True)
class Changes:
    """What a change set would do, each as `Type LogicalId`."""

    made: Sequence[str] = ()
    modified: Sequence[str] = ()
    lost: Sequence[str] = ()  # removed or replaced: what was in it goes
    new_stack: int = 0  # resources, where there is no stack yet
    none: bool = False  # all is as it should be

    def __str__(self) -> str:
        if self.new_stack:
            return f"new, {self.new_stack} resources"
        counted = {"made": self.made, "modified": self.modified, "removed or replaced": self.lost}
        said = ", ".join(f"{len(each)} {verb}" for verb, each in counted.items() if each)
        return "no change" if self.none else said or "what it puts out"


class StackFailed(Exception):
    """CloudFormation could not do it, and has gone back by itself; the text says what failed."""


@dataclass
class Stacks:
    """CloudFormation, for the stacks of one stage."""

    account: Account
    templates: Mapping[str, Template]
    told: dict[str, str] = field(default_factory=dict)  # parameters that no stack puts out
    role: str = ""  # in whose name CloudFormation works; ours where it is empty

    def plan(self, what: str) -> Changes:
        """What would change. A stack that is new is told by its template alone: it may refer to what is not there."""
        template = self.templates[what]
        if self._status(template) in {"", *UNFINISHED}:
            return Changes(new_stack=template.resources)
        made = self._change_set(template, "UPDATE", "plan")
        changes = self._changes(template, made)
        self._cloud(template).delete_change_set(StackName=template.name, ChangeSetName=made)
        return changes

    def deployed(self, what: str) -> Mapping[str, Any] | None:
        """The template that is deployed now, if any."""
        template = self.templates[what]
        if self._status(template) in {"", *UNFINISHED}:
            return None
        said = self._cloud(template).get_template(StackName=template.name, TemplateStage="Original")["TemplateBody"]
        parsed: Mapping[str, Any] = said if isinstance(said, dict) else json.loads(said)
        return parsed

    def apply(self, what: str, agreed: Sequence[str] = ()) -> str:
        """Bring it about, and say what changed. Raises Refused for a loss nobody agreed to, StackFailed."""
        template = self.templates[what]
        cloud, status = self._cloud(template), self._settled(template)
        if status in UNFINISHED:
            cloud.delete_stack(StackName=template.name)
            self._settled(template)
            status = ""
        if status and status not in WENT_BACK:
            raise Refused(f"{template.name} is {status}: mend it in the console of CloudFormation, then try again.")
        made = self._change_set(template, "UPDATE" if status else "CREATE", "deploy")
        changes = self._changes(template, made) if status else Changes(new_stack=template.resources)
        if changes.none:
            cloud.delete_change_set(StackName=template.name, ChangeSetName=made)
        else:
            if unforeseen := sorted(set(changes.lost) - set(agreed)):
                cloud.delete_change_set(StackName=template.name, ChangeSetName=made)
                raise Refused(
                    f"{template.name} would lose what the plan did not show: {', '.join(unforeseen)}. Plan again."
                )
            cloud.execute_change_set(StackName=template.name, ChangeSetName=made)
            if (status := self._settled(template)) not in FINE:
                raise StackFailed(f"{template.name} is {status}: {'; '.join(self._reasons(template))}")
        if template.protected:
            cloud.update_termination_protection(StackName=template.name, EnableTerminationProtection=True)
        return str(changes)

    def outputs(self) -> dict[str, str]:
        """Of all stacks that are there, by their names."""
        found: dict[str, str] = {}
        for template in self.templates.values():
            for output in self._describe(template).get("Outputs", []):
                found[output["OutputKey"]] = output["OutputValue"]
        return found

    def parameter(self, what: str, name: str) -> str:
        """What a stack that is there was told; empty where it was told nothing."""
        told = self._describe(self.templates[what]).get("Parameters", []) if what in self.templates else []
        return next((str(each["ParameterValue"]) for each in told if each["ParameterKey"] == name), "")

    def trouble(self) -> Iterator[str]:
        """Which stacks cannot be deployed as they are."""
        for template in self.templates.values():
            status = self._status(template)
            if status.endswith("_FAILED"):
                yield f"{template.name} is {status}: mend it in the console of CloudFormation"

    # --- CloudFormation ----------------------------------------------------------------------------------------------
    def _cloud(self, template: Template) -> Any:
        return self.account.client("cloudformation", template.region)

    def _describe(self, template: Template) -> dict[str, Any]:
        try:
            described: dict[str, Any] = self._cloud(template).describe_stacks(StackName=template.name)["Stacks"][0]
        except ClientError as error:
            if code_of(error) == "ValidationError":  # it says so of a stack that is not there
                return {}
            raise
        return described

    def _status(self, template: Template) -> str:
        return str(self._describe(template).get("StackStatus", ""))

    def _settled(self, template: Template) -> str:
        """Its status when nothing is in progress any more, also of what a deploy began that was cut off."""
        while (status := self._status(template)).endswith("_IN_PROGRESS") and status != "REVIEW_IN_PROGRESS":
            time.sleep(POLLED)
        return status

    def _change_set(self, template: Template, kind: str, purpose: str) -> str:
        """The ARN of a change set that is ready, or that changes nothing."""
        known = _with_other_names(self.outputs()) | self.told
        parameters = []
        for name, about in template.parameters.items():
            if name in known:
                parameters.append({"ParameterKey": name, "ParameterValue": known[name]})
            elif "Default" not in about:
                raise Refused(f"{template.name} needs {name}, which no stack before it puts out.")
        imports = {"ImportExistingResources": True} if kind == "CREATE" else {}  # what outlived a stack that failed
        cloud = self._cloud(template)
        made = cloud.create_change_set(
            StackName=template.name,
            ChangeSetName=f"{purpose}-{time.time_ns()}",
            ChangeSetType=kind,
            Parameters=parameters,
            Capabilities=["CAPABILITY_NAMED_IAM"],
            Tags=[{"Key": key, "Value": value} for key, value in sorted(template.tags.items())],
            **self._where(template),
            **imports,
            **({"RoleARN": self.role} if self.role else {}),
        )
        arn = str(made["Id"])
        while (about := cloud.describe_change_set(StackName=template.name, ChangeSetName=arn))["Status"].endswith(
            ("_IN_PROGRESS", "_PENDING")
        ):
            time.sleep(POLLED / 5)
        reason = about.get("StatusReason", "")
        if about["Status"] == "FAILED" and not any(said in reason for said in NOTHING_CHANGES):
            cloud.delete_change_set(StackName=template.name, ChangeSetName=arn)
            raise StackFailed(f"{template.name} cannot be changed: {reason}")
        return arn

    def _where(self, template: Template) -> dict[str, str]:
        """The template itself where it is short, else its address in the bucket, by a name that its content gives."""
        if len(template.body) <= SENT:
            return {"TemplateBody": template.body}
        bucket = self.account.bucket("packages")
        key = f"templates/{template.name}-{hashlib.sha256(template.body.encode()).hexdigest()[:16]}.json"
        self.account.client("s3").put_object(Bucket=bucket, Key=key, Body=template.body.encode())
        s3_region = self.account.client("s3").meta.region_name
        return {"TemplateURL": f"https://{bucket}.s3.{s3_region}.amazonaws.com/{key}"}

    def _changes(self, template: Template, made: str) -> Changes:
        found: dict[str, list[str]] = {"made": [], "modified": [], "lost": []}
        asked: dict[str, Any] = {"StackName": template.name, "ChangeSetName": made}
        while True:
            about = self._cloud(template).describe_change_set(**asked)
            if about["Status"] == "FAILED":  # _change_set has seen why
                return Changes(none=True)
            for each in about.get("Changes", []):
                change = each["ResourceChange"]
                named = f"{change['ResourceType']} {change['LogicalResourceId']}"
                replaced = change.get("Replacement", "False") != "False"
                if change["Action"] == "Remove" or (change["Action"] == "Modify" and replaced):
                    found["lost"].append(named)
                else:
                    found["made" if change["Action"] in {"Add", "Import"} else "modified"].append(named)
            if not about.get("NextToken"):
                return Changes(sorted(found["made"]), sorted(found["modified"]), sorted(found["lost"]))
            asked["NextToken"] = about["NextToken"]

    def _reasons(self, template: Template) -> list[str]:
        """Why it failed: what failed by itself since the last beginning, the first one first."""
        said = []
        for event in self._cloud(template).describe_stack_events(StackName=template.name)["StackEvents"]:
            reason = event.get("ResourceStatusReason", "")
            if event["ResourceStatus"].endswith("_FAILED") and "cancelled" not in reason:
                said.append(f"{event['LogicalResourceId']}: {reason}")
            if event["LogicalResourceId"] == template.name and reason == "User Initiated":
                break
        return said[::-1][:5]


def _with_other_names(outputs: dict[str, str]) -> dict[str, str]:
    """With what some stacks call otherwise, or want a part of."""
    more = dict(outputs)
    if "PublicUrl" in outputs:
        more["PublicDomain"] = urlsplit(outputs["PublicUrl"]).netloc
    if "CertificateArn" in outputs:
        more["Certificate"] = outputs["CertificateArn"]
    return more
