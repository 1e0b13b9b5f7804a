"""What the roles of the synthesized templates may do, decided as IAM decides it. Called by check.py.

https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_evaluation-logic_policy-eval-denyallow.html
An explicit Deny wins over every Allow, and what no statement allows is denied. A role's own policies are read, as all
that it reaches stands in one account, and within its boundary; what a policy of AWS's own would say is refused. Who is
let in by another way is the question of doors.py.

Longer than most modules: statements, patterns and conditions are IAM's one algorithm.
"""

import functools
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from infrastructure.privilege.templates import CannotTell, Templates

AWS_OWN = "arn:aws:iam::aws:policy/"
ATTACHED = ("Roles", "RoleName", "PolicyDocument")
SPECIAL = frozenset("*?$")
ELEMENTS = {"Sid", "Effect", "Action", "NotAction", "Resource", "NotResource", "Condition"}

# What is known of a call beside its action and resource: by the condition keys of IAM, one value or several.
type Context = Mapping[str, str | Sequence[str]]
type Comparison = Callable[[str, str], bool]


@dataclass(frozen=True, slots=True)
class Statement:
    """One statement of a policy of a role. ``actions`` are all but these where ``but`` says so; resources likewise."""

    sid: str
    effect: Literal["Allow", "Deny"]
    actions: tuple[str, ...]
    all_actions_but: bool
    resources: tuple[str, ...]
    all_resources_but: bool
    conditions: Mapping[str, Mapping[str, tuple[str, ...]]]

    def covers(self, action: str, resource: str, context: Context) -> bool:
        """Whether it says anything of this call."""
        if any(matches(pattern, action, any_case=True) for pattern in self.actions) == self.all_actions_but:
            return False
        found = any(covers_resource(pattern, resource, context) for pattern in self.resources)
        return found != self.all_resources_but and all(
            holds(operator, key, wanted, context)
            for operator, keys in self.conditions.items()
            for key, wanted in keys.items()
        )


@dataclass(frozen=True, slots=True)
class Role:
    """A role, and every statement that stands in its policies."""

    name: str
    stack: str
    statements: tuple[Statement, ...]
    of_aws: tuple[str, ...] = ()  # names of policies that are AWS's own
    boundary: tuple[Statement, ...] | None = None  # it may what its policies and this allow

    def may(self, action: str, resource: str, context: Context | None = None) -> bool:
        """Whether it may do this. Raises CannotTell where that hangs on a policy of AWS's own."""
        if self.of_aws:
            raise CannotTell(f"{self.name} has {', '.join(self.of_aws)}, whose statements are AWS's to change")
        said = [self.statements] if self.boundary is None else [self.statements, self.boundary]
        return all(allows(each, action, resource, context) for each in said)


def allows(policy: Iterable[Statement], action: str, resource: str, context: Context | None = None) -> bool:
    """Whether these statements, taken together, allow a call."""
    covering = [each for each in policy if each.covers(action, resource, context or {})]
    return bool(covering) and all(each.effect == "Allow" for each in covering)


def roles(templates: Templates, stage: str) -> list[Role]:
    """All roles of a stage's stacks, with their inline policies and those that are attached, from whatever stack."""
    stacks = templates.of(stage)
    attached: dict[str, list[Any]] = {}
    managed: dict[str, Any] = {}
    for stack in templates.by_stack:
        for logical_id, made in templates.resources(
            stack, "AWS::IAM::Policy", "AWS::IAM::RolePolicy", "AWS::IAM::ManagedPolicy"
        ).items():
            said = {name: made["Properties"][name] for name in ATTACHED if name in made["Properties"]}
            told = templates.value(stack, said)
            for name in [*told.get("Roles", ()), *filter(None, [told.get("RoleName")])]:
                attached.setdefault(name, []).append(told["PolicyDocument"])
            if made["Type"] == "AWS::IAM::ManagedPolicy":
                managed[templates.arn(stack, logical_id)] = told["PolicyDocument"]
    return [
        _role(templates, stack, logical_id, attached, managed)
        for stack in stacks
        for logical_id in templates.resources(stack, "AWS::IAM::Role")
    ]


def _role(
    templates: Templates, stack: str, logical_id: str, attached: Mapping[str, list[Any]], managed: Mapping[str, Any]
) -> Role:
    name = templates.ref(stack, logical_id)
    properties = templates.by_stack[stack]["Resources"][logical_id].get("Properties", {})
    boundary = None
    if "PermissionsBoundary" in properties:
        arn = templates.value(stack, properties["PermissionsBoundary"])
        if arn not in managed:
            raise CannotTell(f"{name} has the boundary {arn}, which stands in no template")
        boundary = tuple(statements(managed[arn]))
    documents = [templates.value(stack, policy["PolicyDocument"]) for policy in properties.get("Policies", ())]
    documents += attached.get(name, [])
    of_aws = []
    for arn in templates.value(stack, properties.get("ManagedPolicyArns", [])):
        if arn in managed:
            documents.append(managed[arn])
        elif arn.startswith(AWS_OWN):
            of_aws.append(arn.removeprefix(AWS_OWN))
        else:
            raise CannotTell(f"{name} has {arn}, which stands in no template")
    own = tuple(statement for each in documents for statement in statements(each))
    return Role(name, stack, own, tuple(of_aws), boundary)


def statements(document: Mapping[str, Any]) -> Iterator[Statement]:
    """The statements of a policy document whose names are put in. Raises CannotTell."""
    if document.get("Version") != "2012-10-17":
        raise CannotTell(f"A policy of the version {document.get('Version')} knows no variables")
    for told in _listed(document["Statement"]):
        if unknown := set(told) - ELEMENTS:
            raise CannotTell(f"A statement says {', '.join(sorted(unknown))}, which is not understood here")
        if ("Action" in told) == ("NotAction" in told) or ("Resource" in told) == ("NotResource" in told):
            raise CannotTell(
                f"A statement says not exactly one of Action and NotAction, Resource and NotResource: {told}"
            )
        if told["Effect"] not in {"Allow", "Deny"}:
            raise CannotTell(f"A statement's effect is {told['Effect']}")
        yield Statement(
            sid=told.get("Sid", ""),
            effect=told["Effect"],
            actions=tuple(_listed(told.get("Action", told.get("NotAction")))),
            all_actions_but="NotAction" in told,
            resources=tuple(_listed(told.get("Resource", told.get("NotResource")))),
            all_resources_but="NotResource" in told,
            conditions={
                operator: {key: tuple(map(_as_text, _listed(wanted))) for key, wanted in keys.items()}
                for operator, keys in told.get("Condition", {}).items()
            },
        )


def _listed(said: Any) -> list[Any]:
    return list(said) if isinstance(said, list | tuple) else [said]


def _as_text(said: Any) -> str:
    return str(said).lower() if isinstance(said, bool) else str(said)


# --- patterns --------------------------------------------------------------------------------------------------------
@functools.cache
def _compiled(pattern: str) -> re.Pattern[str]:
    """``*`` is any number of characters and ``?`` one; ``${*}``, ``${?}`` and ``${$}`` are these characters themselves.

    https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_variables.html#policy-vars-specialchars
    """
    parts = re.split(r"(\$\{[*?$]\}|[*?])", pattern)
    made = {"*": ".*", "?": "."}
    return re.compile(
        "".join(made.get(part) or re.escape(part[2] if part.startswith("${") else part) for part in parts), re.DOTALL
    )


def matches(pattern: str, text: str, *, any_case: bool = False) -> bool:
    """Whether a pattern with wildcards matches a text; case counts, but not in the names of actions.

    https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_elements_action.html
    """
    if any_case:
        pattern, text = pattern.lower(), text.lower()
    if SPECIAL.isdisjoint(pattern):
        return pattern == text
    return _compiled(pattern).fullmatch(text) is not None


def covers_resource(pattern: str, resource: str, context: Context) -> bool:
    """The same of a resource, after the policy's variables were put in."""
    filled = _filled(pattern, context)
    return filled is not None and matches(filled, resource)


def _filled(pattern: str, context: Context) -> str | None:
    """A pattern with its variables put in, literally; None where one has no value: then it matches nothing.

    https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_variables.html
    """
    missing = False

    def put_in(found: re.Match[str]) -> str:
        nonlocal missing
        name, _, default = found[1].partition(",")
        value = _found(name.strip(), context)
        if value is None and default:
            value = default.strip().strip("'")
        if not isinstance(value, str):
            missing = True
            return ""
        return re.sub(r"[*?$]", lambda special: f"${{{special[0]}}}", value)

    filled = re.sub(r"\$\{([^}*?$][^}]*)\}", put_in, pattern)
    return None if missing else filled


# --- conditions ------------------------------------------------------------------------------------------------------
def _number(compare: Callable[[float, float], bool]) -> Comparison:
    return lambda wanted, found: compare(float(found), float(wanted))


def _arn_matches(pattern: str, arn: str) -> bool:
    """Part by part: a wildcard reaches over no colon but in the last of an ARN's six parts."""
    wanted, found = pattern.split(":", 5), arn.split(":", 5)
    return len(wanted) == len(found) and all(map(matches, wanted, found))


def _plain(text: str) -> str:
    return re.sub(r"\$\{([*?$])\}", r"\1", text)


# Each gets what the policy wants and what the call has.
COMPARISONS: Mapping[str, Comparison] = {
    "StringEquals": lambda wanted, found: _plain(wanted) == found,
    "StringEqualsIgnoreCase": lambda wanted, found: _plain(wanted).lower() == found.lower(),
    "StringLike": matches,
    "ArnEquals": _arn_matches,  # the two behave identically, says AWS
    "ArnLike": _arn_matches,
    "Bool": lambda wanted, found: wanted.lower() == found.lower(),
    "NumericEquals": _number(float.__eq__),
    "NumericLessThan": _number(float.__lt__),
    "NumericLessThanEquals": _number(float.__le__),
    "NumericGreaterThan": _number(float.__gt__),
    "NumericGreaterThanEquals": _number(float.__ge__),
}
# Each turns one of the above around: true where the call has none of the values, or has no such key at all.
NEGATIONS = {
    "StringNotEquals": "StringEquals",
    "StringNotEqualsIgnoreCase": "StringEqualsIgnoreCase",
    "StringNotLike": "StringLike",
    "ArnNotEquals": "ArnEquals",
    "ArnNotLike": "ArnLike",
    "NumericNotEquals": "NumericEquals",
}


def holds(operator: str, key: str, wanted: Sequence[str], context: Context) -> bool:
    """Whether one line of a Condition block holds. Raises CannotTell for an operator that is not known.

    https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_elements_condition_operators.html
    https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_condition-single-vs-multi-valued-context-keys.html
    """
    quantifier, _, named = operator.rpartition(":")
    name = named.removesuffix("IfExists")
    found = _found(key, context)
    if name == "Null" and not quantifier:
        return (found is None) == (wanted[0].lower() == "true")
    negated = name in NEGATIONS
    compare = COMPARISONS.get(NEGATIONS.get(name, name))
    if compare is None or quantifier not in {"", "ForAllValues", "ForAnyValue"}:
        raise CannotTell(f"The condition operator {operator} is not known here")
    values = [found] if isinstance(found, str) else list(found or ())
    if not values:
        if quantifier:
            return quantifier == "ForAllValues"
        return negated or named.endswith("IfExists")
    if len(values) > 1 and not quantifier:
        raise CannotTell(f"{key} has several values: {operator} does not say of how many it speaks")
    filled = [each for each in (_filled(each, context) for each in wanted) if each is not None]
    if negated and len(filled) < len(wanted):
        raise CannotTell(f"{operator} of {key} hangs on a variable that this call has not")
    fits = [any(compare(each, value) for each in filled) != negated for value in values]
    return any(fits) if quantifier == "ForAnyValue" else all(fits)


def _found(key: str, context: Context) -> str | Sequence[str] | None:
    """What the call has under a key; their names have no case."""
    return next((value for name, value in context.items() if name.lower() == key.lower()), None)
