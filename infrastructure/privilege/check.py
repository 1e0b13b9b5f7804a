"""Least privilege, proved both ways: what is called must be allowed, and what is allowed must be called.

Called by infrastructure.app and the tests. A call that no test can see (Lambda's own, of other services with our roles)
stands in exceptions.json with its reason, and is held to the same: it must be allowed, and excuses nothing else.
"""

import itertools
import json
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from infrastructure.config import STAGES
from infrastructure.privilege import recorder
from infrastructure.privilege.doors import strangers
from infrastructure.privilege.needs import Need, UnknownCall, needs
from infrastructure.privilege.policies import Role, Statement, covers_resource, matches, roles
from infrastructure.privilege.recorder import FUNCTIONS, Call
from infrastructure.privilege.templates import CannotTell, Template, Templates, region_of
from vibecode.resources import LOCAL_ACCOUNT, PROJECT, QUEUES

WILDCARDS = re.compile(r"(?<!\$\{)[*?]")  # `${*}` is the character itself
EXCEPTIONS = Path(__file__).with_name("exceptions.json")
NOBODY = "orders@pending.invalid"  # who writes to customers where no hand-over says it


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a role needs, and must be allowed; ``why`` says who does it."""

    need: Need
    why: str


def complaints(
    by_stack: Mapping[str, Template],
    recorded: Mapping[str, Any] | None = None,
    exceptions: Mapping[str, Any] | None = None,
) -> list[str]:
    """All that is wrong with the roles of all stages, a line each; also where of a stage nothing can be said."""
    exceptions = json.loads(EXCEPTIONS.read_text()) if exceptions is None else exceptions
    recorded = recorder.recording() if recorded is None else recorded
    templates = Templates(by_stack)
    said = [f"{call.call}: {unknown}" for call, unknown in _unknown(recorded)]
    said += strangers(templates)
    known: dict[str, list[Role]] = {}
    every: list[Mapping[str, str]] = []
    for stage in (stage for stage in STAGES if templates.of(stage)):
        try:
            facts = facts_of(templates, stage)
            every.append(facts)
            for role in roles(templates, stage):
                name = short(role, stage)
                known.setdefault(name, []).append(role)
                wanted = [*_recorded(name, recorded, exceptions, facts), *_unseen(name, stage, exceptions, facts)]
                found = [*judged(name, role, wanted, exceptions, facts), *_refused(name, role, exceptions, facts)]
                said += [f"{stage}: {name} {line}" for line in found]
        except CannotTell as cannot:
            said.append(f"{stage}: {cannot}")
    return said + list(_stale(known, recorded, exceptions, every))


def _stale(
    known: Mapping[str, Sequence[Role]],
    recorded: Mapping[str, Any],
    exceptions: Mapping[str, Any],
    facts: Sequence[Mapping[str, str]],
) -> Iterator[str]:
    """What the list says of roles, actions, resources and calls that are not there (any more)."""
    named = [entry for part in ("unseen", "refused", "policies of AWS") for entry in exceptions[part]]
    always = {name for entry in named if "with" not in entry for name in entry["roles"]}
    yield from (f"There is no role {name}" for name in sorted({*FUNCTIONS, *always} - known.keys()))
    allowing = [
        statement
        for each in itertools.chain.from_iterable(known.values())
        for statement in each.statements
        if statement.effect == "Allow"
    ]
    optional = [entry for entry in named if "with" in entry]  # no stage has asked for it
    everywhere = {action for statement in allowing if "*" in statement.resources for action in statement.actions}
    for action, source in exceptions["everywhere"].items():
        if not source.startswith("https://"):
            yield f"That {action} has no narrower resource wants AWS's page that says so"
        if action not in everywhere and not any(action in entry["actions"] for entry in optional):
            yield f"Nobody is allowed {action} on everything: it need not be on the list"
    resources = {resource for statement in allowing for resource in statement.resources}
    wanted = [resource for entry in optional for resource in entry["resources"]]
    for pattern in exceptions["patterns"]:
        used = {pattern.format_map(each) for each in facts} & resources
        if not used and not any(matches(pattern, resource) for resource in wanted):
            yield f"Nobody is allowed {pattern}: it need not be on the list"
    yield from _idle(known, recorded, exceptions)


def _idle(
    known: Mapping[str, Sequence[Role]], recorded: Mapping[str, Any], exceptions: Mapping[str, Any]
) -> Iterator[str]:
    """Calls that are said to be alike and that nobody was seen to make; refusals of what no statement is about."""
    seen = {(call.by, call.call, _at(call)) for call in recorder.calls(recorded)}
    for entry in exceptions["alike"]:
        for by, call in itertools.product(entry["by"], entry["calls"]):
            if (by, call, entry["at"]) not in seen:
                yield f"{by} was not seen to call {call} at a {entry['at']}: it need not be alike at all of them"
    for entry in exceptions["refused"]:
        for name, action in itertools.product(entry["roles"], entry["actions"]):
            said = [statement for each in known.get(name, ()) for statement in each.statements]
            about = any(matches(each, action, any_case=True) for statement in said for each in statement.actions)
            if said and not about:
                yield f"No statement of {name} is about {action}: it need not be refused ({entry['reason']})"


def judged(
    name: str, role: Role, wanted: Sequence[Wanted], exceptions: Mapping[str, Any], facts: Mapping[str, str]
) -> Iterator[str]:
    """What is wrong with one role."""
    accepted = [entry["policy"] for entry in exceptions["policies of AWS"] if name in entry["roles"]]
    if strange := set(role.of_aws) ^ set(accepted):
        yield f"has policies of AWS's own of which exceptions.json says otherwise: {sorted(strange)}"
    for each in wanted:
        # What a policy of AWS's own says is AWS's to change: nothing is demanded of a role that has one.
        if not role.of_aws and not role.may(each.need.action, each.need.resource, each.need.context):
            yield f"is not allowed {each.need.action} on {each.need.resource}: {each.why}"
    patterns = {pattern.format_map(facts) for pattern in exceptions["patterns"]}
    for statement in role.statements:
        if statement.effect == "Allow":
            yield from _too_much(statement, wanted, patterns, exceptions)


def _too_much(
    statement: Statement, wanted: Sequence[Wanted], patterns: Collection[str], exceptions: Mapping[str, Any]
) -> Iterator[str]:
    told = f"({statement.sid})" if statement.sid else "(a statement without a Sid)"
    if statement.all_actions_but or statement.all_resources_but:
        yield f"is allowed all but something {told}: say what it needs"
        return
    for resource in statement.resources:
        if resource != "*" and WILDCARDS.search(resource) and resource not in patterns:
            yield f"is allowed {resource} {told}: name what it needs, or the pattern with its reason"
    for action, resource in itertools.product(statement.actions, statement.resources):
        if WILDCARDS.search(action):
            yield f"is allowed {action} {told}: name each action"
        if resource == "*" and action not in exceptions["everywhere"]:
            yield f"is allowed {action} on everything {told}: name the resource, or AWS's page that it has none"
        if not any(
            matches(action, need.action, any_case=True)
            and covers_resource(resource, need.resource, need.context)
            and statement.covers(need.action, need.resource, need.context)
            for need in (each.need for each in wanted)
        ):
            yield f"is allowed {action} on {resource} {told}, and nothing does it"


def _refused(name: str, role: Role, exceptions: Mapping[str, Any], facts: Mapping[str, str]) -> Iterator[str]:
    """What the conditions of a role are for, and what stands beside what it may reach: each must be refused."""
    for entry in exceptions["refused"]:
        if name in entry["roles"] and not role.of_aws:
            for need in _needs_of(entry, facts):
                if role.may(need.action, need.resource, need.context):
                    yield f"may {need.action} on {need.resource}: {entry['reason']}"


def short(role: Role, stage: str) -> str:
    """What exceptions.json calls a role: its name without the stage; one without a name by its stack and logical id."""
    return role.name.removeprefix(f"{PROJECT}-{stage}-")


# --- what is needed --------------------------------------------------------------------------------------------------
def _unknown(recorded: Mapping[str, Any]) -> Iterator[tuple[Call, UnknownCall]]:
    for call in recorder.calls(recorded):
        try:
            needs(call)
        except UnknownCall as unknown:
            yield call, unknown


def _recorded(
    name: str, recorded: Mapping[str, Any], exceptions: Mapping[str, Any], facts: Mapping[str, str]
) -> Iterator[Wanted]:
    """What a function, or the container, was seen to call."""
    source = {"lambda:SourceFunctionArn": facts[f"function {name}"]} if name in FUNCTIONS else {}
    unknown = {call for call, _ in _unknown(recorded)}
    for call in recorder.calls(recorded):
        for each in _alike(call, exceptions) if call.by == name and call not in unknown else ():
            told = f"{name} calls {each.call}" + "".join(f", {key} {value}" for key, value in each.on)
            for need in needs(each):
                yield Wanted(_filled(need, facts, source), told)


def _alike(call: Call, exceptions: Mapping[str, Any]) -> Iterator[Call]:
    """The call, and the same at all queues where our code makes no difference between them."""
    yield call
    which = _at(call)
    if any(
        call.by in entry["by"] and call.call in entry["calls"] and which == entry["at"] for entry in exceptions["alike"]
    ):
        for name in _queues("vibecode-{stage}-{queue}" + ("-dead" if which == "dead" else "")):
            yield replace(call, on=tuple(sorted({**dict(call.on), "queue": name}.items())))


def _at(call: Call) -> str:
    """Which kind of queue: one that works, or one of dead letters; "" of a call at no queue."""
    queue = dict(call.on).get("queue", "")
    return ("dead" if queue.endswith("-dead") else "queue") if queue else ""


def _queues(pattern: str) -> list[str]:
    """A name of each of our queues, where the pattern has one."""
    return [pattern.replace("{queue}", queue.key) for queue in QUEUES] if "{queue}" in pattern else [pattern]


def _unseen(name: str, stage: str, exceptions: Mapping[str, Any], facts: Mapping[str, str]) -> Iterator[Wanted]:
    """What exceptions.json says of it: each action on each resource, once with each value of its context."""
    for entry in exceptions["unseen"]:
        if name not in entry["roles"] or stage not in entry.get("stages", STAGES):
            continue
        for need in _needs_of(entry, facts):
            yield Wanted(need, entry["reason"])


def _needs_of(entry: Mapping[str, Any], facts: Mapping[str, str]) -> Iterator[Need]:
    """Each action of an entry on each resource, once with each value of its context."""
    keys = entry.get("context", {})
    contexts = itertools.product(*([value] if isinstance(value, str) else value for value in keys.values()))
    resources = itertools.chain.from_iterable(map(_queues, entry["resources"]))
    for action, resource, values in itertools.product(entry["actions"], list(resources), list(contexts)):
        yield _filled(Need(action, resource, dict(zip(keys, values, strict=True))), facts, {})


def _filled(need: Need, facts: Mapping[str, str], more: Mapping[str, str]) -> Need:
    context = {key: value.format_map(facts) for key, value in need.context.items()}
    known = {
        "aws:SecureTransport": "true",
        "aws:PrincipalAccount": facts["account"],
        "aws:RequestedRegion": facts["region"],
    }
    return Need(need.action, need.resource.format_map(facts), {**known, **more, **context})


def facts_of(templates: Templates, stage: str) -> dict[str, str]:
    """What the words in braces come to in a stage: names by our own rules, and what its templates make of the rest."""
    prefix = f"{PROJECT}-{stage}"
    region = region_of(prefix)
    sender = _sender(templates, stage)
    made = {
        "key": _first(templates, stage, "AWS::KMS::Key", arn=True, within="foundation"),
        "pool": _first(templates, stage, "AWS::Cognito::UserPool"),
        "websocket": f"{_first(templates, stage, 'AWS::ApiGatewayV2::Api')}/{stage}",
        "files": _first(templates, stage, "AWS::EFS::FileSystem", arn=True),
        "access point": _first(templates, stage, "AWS::EFS::AccessPoint", arn=True),
    }
    cluster = _attribute(templates, stage, "AWS::RDS::DBCluster", "DBClusterResourceId")
    proxy = _first(templates, stage, "AWS::RDS::DBProxy")
    arn = f"arn:aws:lambda:{region}:{LOCAL_ACCOUNT}:function:{prefix}"
    return made | {
        "stage": stage,
        "region": region,
        "account": LOCAL_ACCOUNT,
        "id": "made-of-chance",
        "media": f"{prefix}-media-{LOCAL_ACCOUNT}",
        "settings": f"{prefix}/settings-Suffix",
        "function web": arn,
        "function worker": f"{arn}-worker",
        "sender": sender,
        "domain of the sender": sender.rpartition("@")[2],
        "cluster": cluster,
        # Through the proxy where there is one; migrations pin it, and go to the cluster itself.
        "database of vibecode_app": proxy or cluster,
        "database of vibecode_owner": cluster,
    }


def _first(templates: Templates, stage: str, kind: str, *, arn: bool = False, within: str = "") -> str:
    """What the first resource of a type is called; "" in a stage without one, which then matches nothing."""
    for stack in (stack for stack in templates.of(stage) if stack.endswith(within)):
        for logical_id in templates.resources(stack, kind):
            return templates.arn(stack, logical_id) if arn else templates.ref(stack, logical_id)
    return ""


def _attribute(templates: Templates, stage: str, kind: str, name: str) -> str:
    for stack in templates.of(stage):
        for logical_id in templates.resources(stack, kind):
            return str(templates.value(stack, {"Fn::GetAtt": [logical_id, name]}))
    return ""


def _sender(templates: Templates, stage: str) -> str:
    """The address in the hand-over's MAIL_FROM."""
    for stack in templates.of(stage):
        for made in templates.resources(stack, "AWS::SSM::Parameter").values():
            if found := re.search(r'MAIL_FROM\W+[^"\\<]*<([^>]+)>', json.dumps(made["Properties"].get("Value"))):
                return found[1]
    return NOBODY
