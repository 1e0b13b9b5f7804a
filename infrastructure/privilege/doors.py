"""Who is let in by another way than by a role's own policies: what things say themselves, and who may take a role.

Called by check.py. A thing may name services of AWS, and the account itself, which lets its roles do what their own
policies say and no more; a role may be taken by a service, and by whoever has signed in elsewhere for us. All others
are strangers.
https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_elements_principal.html
"""

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from infrastructure.privilege.templates import CannotTell, Templates
from vibecode.resources import LOCAL_ACCOUNT

PEOPLE = {"AWS::IAM::User", "AWS::IAM::UserPolicy", "AWS::IAM::Group", "AWS::IAM::GroupPolicy", "AWS::IAM::AccessKey"}
OPEN = {  # what is public, or another's, by a property and without a policy, and its value that is neither
    "AWS::S3::Bucket": ("AccessControl", "Private"),
    "AWS::Lambda::Url": ("AuthType", "AWS_IAM"),
}
POOLS = "cognito-identity.amazonaws.com"
OURSELVES = f"arn:aws:iam::{LOCAL_ACCOUNT}:root"
SERVICE = re.compile(r"[a-z0-9.-]+\.amazonaws\.com")
WRITTEN = re.compile(r'\\"(Not)?Principal\\"')  # in the JSON of a text that is JSON itself


def strangers(templates: Templates) -> Iterator[str]:
    """Every such way in, of whatever stack, a line each."""
    for stack, template in templates.by_stack.items():
        for logical_id, made in template["Resources"].items():
            for what in _of(templates, stack, made):
                yield f"{stack}: {logical_id} {what}"


def _of(templates: Templates, stack: str, made: Mapping[str, Any]) -> Iterator[str]:
    if made["Type"] in PEOPLE:
        yield f"is a {made['Type']}: only roles are judged here"
    if WRITTEN.search(json.dumps(made)):
        yield "has a policy that is a text: write it as what it is, so that it can be judged"
    name, closed = OPEN.get(made["Type"], ("", ""))
    if name and (said := made.get("Properties", {}).get(name, closed)) != closed:
        yield f"lets in others by {name} {said}"
    for statement in _admitting(made.get("Properties", {})):
        try:
            for who in _strangers(templates, stack, made["Type"], statement):
                yield f"lets in {who}: say it in a role's own policy"
        except CannotTell as cannot:
            yield f"lets in somebody of whom nothing can be said: {cannot}"


def _admitting(said: Any) -> Iterator[Mapping[str, Any]]:
    """What names somebody and does not refuse them, wherever it stands: statements, and permissions of functions."""
    if isinstance(said, Mapping):
        if {"Principal", "NotPrincipal"} & said.keys() and said.get("Effect") != "Deny":
            yield said
        for inner in said.values():
            yield from _admitting(inner)
    elif isinstance(said, list):
        for inner in said:
            yield from _admitting(inner)


def _strangers(templates: Templates, stack: str, kind: str, statement: Mapping[str, Any]) -> Iterator[str]:
    if "NotPrincipal" in statement:
        yield "all but somebody"
        return
    principal = statement["Principal"]
    if kind == "AWS::Lambda::Permission":
        # A function's permission names one service, which asks for everybody whose thing it does not leave out.
        principal = {"Service": principal} if _asks_for_us(templates, stack, statement) else principal
    if not isinstance(principal, Mapping):
        yield str(principal)
        return
    for how, named in principal.items():
        if how == "Federated":
            if kind != "AWS::IAM::Role" or not _is_for_us(templates, stack, statement):
                yield f"whoever signs in at {json.dumps(named)}"
            continue
        told = templates.value(stack, named)
        for who in told if isinstance(told, list) else [told]:
            service = how == "Service" and SERVICE.fullmatch(str(who))
            ourselves = how == "AWS" and who == OURSELVES and kind != "AWS::IAM::Role"
            if not service and not ourselves:
                yield f"{how} {who}"


def _asks_for_us(templates: Templates, stack: str, permission: Mapping[str, Any]) -> bool:
    """Whether what a service may invoke a function for is this account's; of a bucket only its name says so."""
    if "SourceAccount" in permission and templates.value(stack, permission["SourceAccount"]) == LOCAL_ACCOUNT:
        return True
    parts = str(templates.value(stack, permission.get("SourceArn", ""))).split(":", 5)
    if parts[:3] == ["arn", "aws", "s3"]:
        return parts[-1] in _refs(templates, "AWS::S3::Bucket")
    return parts[4:5] == [LOCAL_ACCOUNT]


def _is_for_us(templates: Templates, stack: str, statement: Mapping[str, Any]) -> bool:
    """Whether who takes a role has signed in elsewhere for us, and not for anybody else.

    At a provider that serves everybody, as GitHub's, all are told the same audience: only the subject says who it is.
    Cognito's audience is the pool of identities, which also gives some to who has not signed in.
    """
    asked = statement.get("Condition", {})
    equal = asked.get("StringEquals", {})
    if statement["Principal"]["Federated"] != POOLS:
        provider = next((key.removesuffix(":sub") for key in equal if key.endswith(":sub")), "")
        return all(_is_one_text(equal.get(f"{provider}:{what}")) for what in ("sub", "aud"))
    pools = templates.value(stack, equal.get(f"{POOLS}:aud", []))
    pools = pools if isinstance(pools, list) else [pools]
    signed_in = any(
        asked.get(f"ForAnyValue:{operator}", {}).get(f"{POOLS}:amr") in ("authenticated", ["authenticated"])
        for operator in ("StringLike", "StringEquals")
    )
    return signed_in and bool(pools) and {*pools} <= _refs(templates, "AWS::Cognito::IdentityPool")


def _is_one_text(said: object) -> bool:
    """Also where a parameter stands in it; what is a parameter as a whole could be a list."""
    return isinstance(said, str) or (isinstance(said, dict) and said.keys() <= {"Fn::Join", "Fn::Sub"})


def _refs(templates: Templates, kind: str) -> set[str]:
    """What all things of a type are called, in whatever stack."""
    return {
        templates.ref(stack, logical_id)
        for stack in templates.by_stack
        for logical_id in templates.resources(stack, kind)
    }
