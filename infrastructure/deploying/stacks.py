"""The stacks of a stage: read from the assembly that CDK wrote, planned and brought to AWS by change sets.

A parameter of a stack is the output of the same name of a stack before it, in whatever region, or is told by the
deployment: what Zappa has made, digests of secrets, the release. What nobody tells stays as it is.

One class, and so one long file: what a stack is told hangs on what all others put out, and plan and apply ask the
same.
"""

import hashlib
import json
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
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
SAID = 30  # seconds between two lines on what is waited for
NOTHING_CHANGES = ("didn't contain changes", "No updates are to be performed")
UNFINISHED = {"REVIEW_IN_PROGRESS", "ROLLBACK_COMPLETE", "DELETE_COMPLETE"}  # of a first creation that came to nothing
FINE = {"CREATE_COMPLETE", "UPDATE_COMPLETE", "IMPORT_COMPLETE"}
WENT_BACK = FINE | {"UPDATE_ROLLBACK_COMPLETE", "IMPORT_ROLLBACK_COMPLETE"}  # it stands, and can be updated
# What holds nothing that the next deploy would not make again: rules, references, and what is new with each content.
# A type that is not here counts as one that holds something.
HOLDS_NOTHING = frozenset({
    "AWS::ApiGateway::Deployment", "AWS::ApiGateway::GatewayResponse", "AWS::ApiGatewayV2::Integration",
    "AWS::ApiGatewayV2::Route", "AWS::CloudFront::CachePolicy", "AWS::CloudFront::Function",
    "AWS::CloudFront::OriginAccessControl", "AWS::CloudFront::ResponseHeadersPolicy", "AWS::CloudWatch::Alarm",
    "AWS::CloudWatch::CompositeAlarm", "AWS::CloudWatch::Dashboard", "AWS::EC2::Route",
    "AWS::EC2::SecurityGroupEgress", "AWS::EC2::SecurityGroupIngress", "AWS::EC2::SubnetRouteTableAssociation",
    "AWS::ECS::TaskDefinition", "AWS::Events::Rule", "AWS::IAM::ManagedPolicy", "AWS::IAM::Policy",
    "AWS::Lambda::EventSourceMapping", "AWS::Lambda::Permission", "AWS::Lambda::Version", "AWS::Logs::MetricFilter",
    "AWS::Logs::QueryDefinition", "AWS::S3::BucketPolicy", "AWS::SNS::TopicPolicy", "AWS::SQS::QueuePolicy",
    "AWS::WAFv2::LoggingConfiguration",
})  # fmt: skip


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
    def imports(self) -> set[str]:
        """The exports of other stacks that it takes."""
        return set(_imported(json.loads(self.body)))

    @property
    def puts_out(self) -> set[str]:
        """The names by which others take what it puts out: as a parameter, or as an import."""
        outputs = json.loads(self.body).get("Outputs", {})
        exports = {about["Export"]["Name"] for about in outputs.values() if "Export" in about}
        return {*_with_other_names(dict.fromkeys(outputs, "")), *exports}

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


KINDS = ("made", "modified", "remade", "kept", "lost")  # of changes, as Changes has them


@dataclass(frozen=True, slots=True)
class Changes:
    """What a change set would do, each as `Type LogicalId`."""

    made: Sequence[str] = ()
    modified: Sequence[str] = ()
    remade: Sequence[str] = ()  # removed or replaced, and it holds nothing
    kept: Sequence[str] = ()  # the stack lets go of it, and it stays
    lost: Sequence[str] = ()  # removed or replaced: what was in it goes, or the shop no longer has it
    new_stack: int = 0  # resources, where there is no stack yet
    waits_for: Sequence[str] = ()  # what a stack before it does not put out yet: nobody can say before
    none: bool = False  # all is as it should be

    def __str__(self) -> str:
        if self.new_stack:
            return f"new, {self.new_stack} resources"
        if self.waits_for:
            return f"known when a stack before it puts out {', '.join(self.waits_for)}"
        counted = {
            "made": self.made,
            "modified": self.modified,
            "removed or made anew": self.remade,
            "let go": self.kept,
            "removed or replaced": self.lost,
        }
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
    may_lose: bool = False  # also what no plan could show, because a stack before it had to come first
    hear: Callable[[str], object] = lambda _: None  # what is waited for
    _unforeseen: set[str] = field(default_factory=set)

    def plan(self) -> dict[str, Changes]:
        """What would change, stack by stack, as they are now. Raises Refused for what nobody will ever tell a stack.

        A new stack is told by its template alone. What needs something that a stack before it is only about to put out
        cannot be asked yet: it is looked at when it is its turn.
        """
        there = self._all()
        known, exports = self._known(there), {name for about in there.values() for name in _exports(about)}
        self._check_exports(there)
        coming: set[str] = set()
        changes = {}
        for what, template in self.templates.items():
            about = there[what]
            if not _stands(about):
                changes[what] = Changes(new_stack=template.resources)
            elif waits_for := self._missing(template, about, {*known, *exports}, coming):
                self._unforeseen.add(what)
                changes[what] = Changes(waits_for=waits_for)
            else:
                made = self._change_set(template, "UPDATE", "plan", self._parameters(template, about, known))
                changes[what] = self._changes(template, made)
                self._cloud(template).delete_change_set(StackName=template.name, ChangeSetName=made)
            coming |= template.puts_out
        return changes

    def stands(self, what: str) -> bool:
        """Whether this stack was ever made whole."""
        return what in self.templates and _stands(self._describe(self.templates[what]))

    def deployed(self, what: str) -> Mapping[str, Any] | None:
        """The template that is deployed now, if any."""
        template = self.templates[what]
        if not self.stands(what):
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
            if (left := self._settled(template)).endswith("_FAILED"):
                raise StackFailed(f"{template.name} is {left}: {'; '.join(self._reasons(template))}. {_mend(left)}")
            status = ""
        if status and status not in WENT_BACK:
            raise Refused(f"{template.name} is {status}: {_mend(status)}")
        there = self._all()
        parameters = self._parameters(template, there[what], self._known(there))
        made = self._change_set(template, "UPDATE" if status else "CREATE", "deploy", parameters)
        changes = self._changes(template, made) if status else Changes(new_stack=template.resources)
        if changes.none:
            cloud.delete_change_set(StackName=template.name, ChangeSetName=made)
        else:
            self._check_losses(template, made, changes, agreed)
            # What a change made that then fails goes again, or it would stand in the way of the next try.
            cloud.execute_change_set(StackName=template.name, ChangeSetName=made, RetainExceptOnCreate=True)
            if (status := self._settled(template)) not in FINE:
                raise StackFailed(f"{template.name} is {status}: {'; '.join(self._reasons(template))}")
        if template.protected:
            cloud.update_termination_protection(StackName=template.name, EnableTerminationProtection=True)
        return str(changes)

    def parameter(self, what: str, name: str) -> str:
        """What a stack that is there was told; empty where it was told nothing."""
        return _told(self._describe(self.templates[what])).get(name, "") if what in self.templates else ""

    def output(self, what: str, name: str) -> str:
        """What a stack puts out by this name; empty where it does not, or is not there."""
        about = self._describe(self.templates[what]) if what in self.templates else {}
        return {each["OutputKey"]: str(each["OutputValue"]) for each in about.get("Outputs", [])}.get(name, "")

    def trouble(self) -> Iterator[str]:
        """Which stacks cannot be deployed as they are, after waiting for what CloudFormation is still doing."""
        for template in self.templates.values():
            status = self._settled(template)
            if status.endswith("_FAILED"):
                yield f"{template.name} is {status}: {_mend(status)}"

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

    def _all(self) -> dict[str, dict[str, Any]]:
        """Every stack of the stage as it is now; empty where there is none."""
        return {what: self._describe(template) for what, template in self.templates.items()}

    def _settled(self, template: Template) -> str:
        """Its status when nothing is in progress any more, also of what a deploy began that was cut off."""
        began, said = time.monotonic(), 0
        while (status := _status(self._describe(template))).endswith("_IN_PROGRESS") and status not in UNFINISHED:
            if (waited := time.monotonic() - began) >= said * SAID:
                self.hear(f"{template.name} is {status}" + (f", {waited:.0f} s" if said else ""))
                said += 1
            time.sleep(POLLED)
        return status

    # --- what a stack is told ----------------------------------------------------------------------------------------
    def _known(self, there: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
        """What stacks put out now, and what the deployment tells them."""
        outputs = (output for about in there.values() for output in about.get("Outputs", []))
        return _with_other_names({each["OutputKey"]: each["OutputValue"] for each in outputs}) | self.told

    def _missing(self, template: Template, about: Mapping[str, Any], there: set[str], coming: set[str]) -> list[str]:
        """What this stack needs that is not there yet, but will be. Raises Refused for what will not."""
        untold = {name for name in template.parameters if name not in _told(about)}
        needed = {name for name in untold if "Default" not in template.parameters[name]} | template.imports
        if never := sorted(needed - there - coming):
            raise Refused(f"{template.name} needs {', '.join(never)}, which no stack before it puts out.")
        return sorted(((untold | template.imports) - there) & coming)

    def _check_exports(self, there: Mapping[str, Mapping[str, Any]]) -> None:
        """Raises Refused where a stack would take back what another still takes: CloudFormation would, half-way."""
        gone = {
            name: template
            for what, template in self.templates.items()
            for name in _exports(there[what]) - template.puts_out
        }
        for what, template in self.templates.items() if gone else ():
            if taken := sorted(gone.keys() & set(_imported(self.deployed(what)))):
                raise Refused(
                    f"{gone[taken[0]].name} no longer puts out {', '.join(taken)}, which {template.name} still takes "
                    "when it is its turn. Let this release put it out still (export_value in its stack), the next not."
                )

    def _parameters(
        self, template: Template, about: Mapping[str, Any], known: Mapping[str, str]
    ) -> list[dict[str, str | bool]]:
        told: list[dict[str, str | bool]] = []
        for name, declared in template.parameters.items():
            if name in known:
                told.append({"ParameterKey": name, "ParameterValue": known[name]})
            elif name in _told(about):
                told.append({"ParameterKey": name, "UsePreviousValue": True})
            elif "Default" not in declared:
                raise Refused(f"{template.name} needs {name}, which no stack before it puts out.")
        return told

    # --- change sets -------------------------------------------------------------------------------------------------
    def _change_set(
        self, template: Template, kind: str, purpose: str, parameters: Sequence[Mapping[str, str | bool]]
    ) -> str:
        """The ARN of a change set that is ready, or that changes nothing."""
        cloud = self._cloud(template)
        made = cloud.create_change_set(
            StackName=template.name,
            ChangeSetName=f"{purpose}-{time.time_ns()}",
            ChangeSetType=kind,
            Parameters=parameters,
            Capabilities=["CAPABILITY_NAMED_IAM"],
            Tags=[{"Key": key, "Value": value} for key, value in sorted(template.tags.items())],
            **self._where(template),
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

    def _changes(self, template: Template, change_set: str) -> Changes:
        found: dict[str, list[str]] = defaultdict(list)
        asked: dict[str, Any] = {"StackName": template.name, "ChangeSetName": change_set}
        while True:
            about = self._cloud(template).describe_change_set(**asked)
            if about["Status"] == "FAILED":  # _change_set has seen why
                return Changes(none=True)
            for each in about.get("Changes", []):
                change = each["ResourceChange"]
                found[_kind(change)].append(f"{change['ResourceType']} {change['LogicalResourceId']}")
            if not about.get("NextToken"):
                made, modified, remade, kept, lost = (sorted(found[kind]) for kind in KINDS)
                return Changes(made, modified, remade, kept, lost)
            asked["NextToken"] = about["NextToken"]

    def _check_losses(self, template: Template, made: str, changes: Changes, agreed: Sequence[str]) -> None:
        """Raises Refused for what nobody agreed to lose, and forgets the change set."""
        unforeseen = sorted(set(changes.lost) - set(agreed))
        if not unforeseen or (self.may_lose and template.what in self._unforeseen):
            return
        self._cloud(template).delete_change_set(StackName=template.name, ChangeSetName=made)
        raise Refused(
            f"{template.name} would lose what the plan did not show: {', '.join(unforeseen)}. "
            "Run it again: what stood in the way of seeing it is there now, and the plan shows it."
        )

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


def _kind(change: Mapping[str, Any]) -> str:
    """Which of Changes it is."""
    # https://docs.aws.amazon.com/AWSCloudFormation/latest/APIReference/API_ResourceChange.html
    action, replaced = change["Action"], change.get("Replacement", "False") != "False"
    if action in {"Add", "Import"}:
        return "made"
    if action == "SyncWithActual" or (action == "Modify" and not replaced):
        return "modified"
    if change["ResourceType"] in HOLDS_NOTHING:
        return "remade"
    # One that is replaced is lost also where the old one is kept: the shop goes on with an empty one.
    return "kept" if action == "Remove" and change.get("PolicyAction") == "Retain" else "lost"


def _status(about: Mapping[str, Any]) -> str:
    return str(about.get("StackStatus", ""))


def _stands(about: Mapping[str, Any]) -> bool:
    return _status(about) not in {"", *UNFINISHED}


def _told(about: Mapping[str, Any]) -> dict[str, str]:
    """The parameters that a stack was given."""
    return {each["ParameterKey"]: str(each.get("ParameterValue", "")) for each in about.get("Parameters", [])}


def _exports(about: Mapping[str, Any]) -> set[str]:
    return {output["ExportName"] for output in about.get("Outputs", []) if "ExportName" in output}


def _imported(part: object) -> Iterator[str]:
    """Every export that a template takes, wherever it stands in it."""
    if isinstance(part, dict):
        if isinstance(name := part.get("Fn::ImportValue"), str):
            yield name
        for each in part.values():
            yield from _imported(each)
    elif isinstance(part, list):
        for each in part:
            yield from _imported(each)


def _mend(status: str) -> str:
    """What helps where CloudFormation is stuck."""
    if status in {"ROLLBACK_FAILED", "DELETE_FAILED"}:
        return "docs/deploy.md says how it is cleared (A first creation that failed)."
    return "mend it in the console of CloudFormation (continue its roll-back), then run it again."


def _with_other_names(outputs: dict[str, str]) -> dict[str, str]:
    """With what some stacks want a part of."""
    more = dict(outputs)
    if "PublicUrl" in outputs:
        more["PublicDomain"] = urlsplit(outputs["PublicUrl"]).netloc
    return more
