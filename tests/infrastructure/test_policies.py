"""What a policy allows, as IAM decides it: each rule from AWS's pages, by a small table."""

from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from infrastructure.privilege.policies import Role, holds, matches, roles, statements
from infrastructure.privilege.templates import CannotTell, Templates

BUCKET = "arn:aws:s3:::shop"


def role(*said: Mapping[str, Any]) -> Role:
    """A role with one policy of these statements."""
    told: list[dict[str, Any]] = [
        {"Effect": "Allow", "Action": "s3:GetObject", "Resource": "*", **each} for each in said
    ]
    for each in told:
        if "NotAction" in each:
            del each["Action"]
        if "NotResource" in each:
            del each["Resource"]
    return Role("tried", "stack", tuple(statements({"Version": "2012-10-17", "Statement": told})))


# --- actions and resources -------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("said", "action", "resource", "allowed"),
    [
        ({}, "s3:GetObject", f"{BUCKET}/a", True),
        ({}, "S3:getobject", f"{BUCKET}/a", True),  # the names of actions have no case
        ({}, "s3:GetObjectAcl", f"{BUCKET}/a", False),
        ({"Action": ["s3:Get*", "s3:Put?bject"]}, "s3:PutObject", BUCKET, True),
        ({"Action": "s3:*"}, "sqs:SendMessage", BUCKET, False),
        ({"Action": "*"}, "sqs:SendMessage", BUCKET, True),
        ({"NotAction": "s3:Delete*"}, "s3:GetObject", BUCKET, True),
        ({"NotAction": "s3:Delete*"}, "s3:DeleteObject", BUCKET, False),
        ({"Resource": f"{BUCKET}/uploads/*"}, "s3:GetObject", f"{BUCKET}/uploads/jobs/a", True),
        ({"Resource": f"{BUCKET}/uploads/*"}, "s3:GetObject", f"{BUCKET}/products/a", False),
        ({"Resource": f"{BUCKET}/Uploads/*"}, "s3:GetObject", f"{BUCKET}/uploads/a", False),  # a resource has
        ({"Resource": BUCKET}, "s3:GetObject", f"{BUCKET}/a", False),
        ({"NotResource": f"{BUCKET}/secret/*"}, "s3:GetObject", f"{BUCKET}/a", True),
        ({"NotResource": [f"{BUCKET}/secret/*"]}, "s3:GetObject", f"{BUCKET}/secret/a", False),
        ({"Resource": f"{BUCKET}/a.b"}, "s3:GetObject", f"{BUCKET}/aXb", False),  # a point is a point
        ({"Resource": f"{BUCKET}/${{*}}"}, "s3:GetObject", f"{BUCKET}/a", False),
        ({"Resource": f"{BUCKET}/${{*}}"}, "s3:GetObject", f"{BUCKET}/*", True),
    ],
)
def test_a_statement_covers_its_actions_and_resources(
    said: Mapping[str, Any], action: str, resource: str, allowed: bool
) -> None:
    assert role(said).may(action, resource) is allowed


def test_nothing_is_allowed_that_no_statement_allows() -> None:
    assert not role().may("s3:GetObject", BUCKET)


def test_an_explicit_deny_wins_wherever_it_stands() -> None:
    deny = {"Effect": "Deny", "Resource": f"{BUCKET}/secret/*"}
    for tried in (role({}, deny), role(deny, {})):
        assert tried.may("s3:GetObject", f"{BUCKET}/a")
        assert not tried.may("s3:GetObject", f"{BUCKET}/secret/a")


def test_a_deny_whose_condition_does_not_hold_denies_nothing() -> None:
    deny = {"Effect": "Deny", "Condition": {"Bool": {"aws:SecureTransport": "false"}}}
    assert role({}, deny).may("s3:GetObject", BUCKET, {"aws:SecureTransport": "true"})
    assert not role({}, deny).may("s3:GetObject", BUCKET, {"aws:SecureTransport": "false"})


@settings(deadline=None)  # a busy machine is no error
@given(st.text(st.characters(codec="ascii", exclude_characters="*?$"), max_size=20), st.integers(0, 20))
def test_a_star_stands_for_anything_also_for_nothing(text: str, place: int) -> None:
    assert matches(text, text)
    assert matches(f"{text[:place]}*", text)
    assert matches(f"*{text[place:]}", text)
    assert matches(f"{text[:place]}*{text[place:]}", text)
    assert not matches(f"{text}?", text)


# --- conditions ------------------------------------------------------------------------------------------------------
ARN = "arn:aws:lambda:eu-north-1:123456789012:function:vibecode-dev"


@pytest.mark.parametrize(
    ("operator", "wanted", "context", "holding"),
    [
        ("StringEquals", ["a", "b"], {"K": "b"}, True),
        ("StringEquals", ["a*"], {"K": "ab"}, False),
        ("StringEquals", ["a"], {}, False),
        ("StringEqualsIfExists", ["a"], {}, True),
        ("StringEqualsIfExists", ["a"], {"k": "b"}, False),
        ("StringEqualsIgnoreCase", ["A"], {"k": "a"}, True),
        ("StringNotEquals", ["a", "b"], {"k": "b"}, False),  # none of them
        ("StringNotEquals", ["a", "b"], {"k": "c"}, True),
        ("StringNotEquals", ["a"], {}, True),  # who has none has not this one
        ("StringLike", ["TICKET#*"], {"k": "TICKET#1"}, True),
        ("StringLike", ["TICKET#*"], {"k": "somebody"}, False),
        ("StringNotLike", ["a*"], {"k": "ab"}, False),
        ("ArnLike", ["arn:aws:lambda:*:123456789012:function:vibecode-*"], {"k": ARN}, True),
        ("ArnLike", ["arn:aws:lambda:*:function:vibecode-dev"], {"k": ARN}, False),  # a star reaches over no colon
        ("ArnEquals", [ARN], {"k": ARN}, True),
        ("ArnNotEquals", [ARN], {"k": ARN}, False),
        ("Bool", ["true"], {"k": "True"}, True),
        ("Bool", ["true"], {}, False),
        ("Null", ["true"], {}, True),
        ("Null", ["false"], {}, False),
        ("Null", ["false"], {"k": "a"}, True),
        ("NumericLessThan", ["10"], {"k": "9"}, True),
        ("NumericLessThan", ["10"], {"k": "10"}, False),
        ("NumericNotEquals", ["10"], {"k": "10.0"}, False),
        ("ForAllValues:StringLike", ["a*"], {"k": ["ab", "ac"]}, True),
        ("ForAllValues:StringLike", ["a*"], {"k": ["ab", "b"]}, False),
        ("ForAllValues:StringLike", ["a*"], {}, True),  # of nothing all is true: AWS says so, and to add Null
        ("ForAnyValue:StringLike", ["a*"], {"k": ["b", "ab"]}, True),
        ("ForAnyValue:StringLike", ["a*"], {}, False),
        ("ForAnyValue:StringNotEquals", ["a"], {"k": ["a", "b"]}, True),
        ("StringEquals", ["${aws:username}"], {"k": "jane", "aws:username": "jane"}, True),
        ("StringEquals", ["${aws:username}"], {"k": "jane"}, False),
        ("StringEquals", ["${aws:username, 'jane'}"], {"k": "jane"}, True),
        ("StringLike", ["${aws:username}"], {"k": "jane", "aws:username": "*"}, False),  # a value is no pattern
    ],
)
def test_a_condition_holds_as_its_operator_says(
    operator: str, wanted: Sequence[str], context: Mapping[str, Any], holding: bool
) -> None:
    assert holds(operator, "k", wanted, context) is holding


@pytest.mark.parametrize("operator", ["IpAddress", "DateLessThan", "StringMatches", "ForSomeValues:StringEquals", ""])
def test_an_operator_that_is_not_known_is_no_pass(operator: str) -> None:
    with pytest.raises(CannotTell, match="not known"):
        role({"Condition": {operator: {"k": "a"}}}).may("s3:GetObject", BUCKET, {"k": "a"})


def test_several_values_need_a_word_of_how_many() -> None:
    with pytest.raises(CannotTell, match="several values"):
        holds("StringEquals", "k", ["a"], {"k": ["a", "b"]})


def test_all_conditions_of_a_statement_must_hold() -> None:
    tried = role({"Condition": {"StringEquals": {"a": "1", "b": "2"}, "Bool": {"c": True}}})
    assert tried.may("s3:GetObject", BUCKET, {"a": "1", "b": "2", "c": "true"})
    for missing in ("a", "b", "c"):
        context = {"a": "1", "b": "2", "c": "true"} | {missing: "other"}
        assert not tried.may("s3:GetObject", BUCKET, context)


def test_a_variable_in_a_resource_is_the_callers_own() -> None:
    tried = role({"Resource": f"{BUCKET}/people/${{cognito-identity.amazonaws.com:sub}}/*"})
    me = {"cognito-identity.amazonaws.com:sub": "me"}
    assert tried.may("s3:GetObject", f"{BUCKET}/people/me/a", me)
    assert not tried.may("s3:GetObject", f"{BUCKET}/people/you/a", me)
    assert not tried.may("s3:GetObject", f"{BUCKET}/people//a")


@pytest.mark.parametrize(
    ("said", "why"),
    [
        ({"Principal": "*"}, "Principal"),
        ({"NotAction": "s3:*", "Action": "s3:*"}, "exactly one"),
        ({"Effect": "allow"}, "effect"),
    ],
)
def test_a_statement_that_is_not_understood_is_refused(said: Mapping[str, Any], why: str) -> None:
    told = {"Effect": "Allow", "Action": "s3:*", "Resource": "*", **said}
    with pytest.raises(CannotTell, match=why):
        list(statements({"Version": "2012-10-17", "Statement": told}))


# --- templates -------------------------------------------------------------------------------------------------------
KEY = {
    "Resources": {"Key": {"Type": "AWS::KMS::Key", "Properties": {}}},
    "Outputs": {"Arn": {"Value": {"Fn::GetAtt": ["Key", "Arn"]}, "Export": {"Name": "the-key"}}},
}
QUEUE: dict[str, Any] = {
    "Type": "AWS::SQS::Queue",
    "Properties": {"QueueName": {"Fn::Join": ["-", ["vibecode", "dev-a"]]}},
}


def stack(**resources: Any) -> Templates:
    """A stack of these resources beside one that exports a key."""
    made = {"Resources": resources, "Parameters": {"ApiId": {"Type": "String"}, "Size": {"Default": "2"}}}
    return Templates({"vibecode-dev-foundation": KEY, "vibecode-dev-tried": made})


@pytest.mark.parametrize(
    ("said", "value"),
    [
        ({"Fn::GetAtt": ["A", "Arn"]}, "arn:aws:sqs:eu-north-1:123456789012:vibecode-dev-a"),
        ({"Fn::GetAtt": "A.QueueName"}, "vibecode-dev-a"),
        ({"Ref": "A"}, "https://sqs.eu-north-1.amazonaws.com/123456789012/vibecode-dev-a"),
        ({"Fn::Sub": "${A.QueueName}/${AWS::Region}/${!kept}"}, "vibecode-dev-a/eu-north-1/${kept}"),
        ({"Fn::Sub": ["${x}:${Size}", {"x": {"Ref": "Size"}}]}, "2:2"),
        ({"Fn::Select": [1, {"Fn::Split": [":", "a:b:c"]}]}, "b"),
        ({"Fn::ImportValue": "the-key"}, "arn:aws:kms:eu-north-1:123456789012:key/vibecode-dev-foundation-Key"),
        ([{"Ref": "AWS::Partition"}, {"a": {"Ref": "AWS::AccountId"}}], ["aws", {"a": "123456789012"}]),
    ],
)
def test_names_are_put_in_as_cloudformation_does(said: Any, value: Any) -> None:
    assert stack(A=QUEUE).value("vibecode-dev-tried", said) == value


@pytest.mark.parametrize(
    "said",
    [
        {"Ref": "Nothing"},
        {"Ref": "ApiId"},  # a parameter that the deployment gives
        {"Fn::If": ["A", "b", "c"]},
        {"Fn::ImportValue": "another"},
        {"Fn::GetAtt": ["A", "Colour"]},
        {"Ref": "Strange"},
    ],
)
def test_a_name_that_is_not_known_is_not_guessed(said: Any) -> None:
    templates = stack(A=QUEUE, Strange={"Type": "AWS::Strange::Thing"})
    with pytest.raises(CannotTell):
        templates.value("vibecode-dev-tried", said)


def policy(action: str) -> dict[str, Any]:
    """A document that allows one action."""
    return {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": action, "Resource": "*"}]}


def test_a_role_has_its_own_policies_and_all_that_are_attached_to_it() -> None:
    made = {
        "Type": "AWS::IAM::Role",
        "Properties": {
            "RoleName": "vibecode-dev-web",
            "Policies": [{"PolicyName": "own", "PolicyDocument": policy("a:Inline")}],
            "ManagedPolicyArns": [{"Ref": "Kept"}, "arn:aws:iam::aws:policy/service-role/Some"],
        },
    }
    kept = {"Type": "AWS::IAM::ManagedPolicy", "Properties": {"PolicyDocument": policy("a:Managed")}}
    by_ref = {
        "Type": "AWS::IAM::Policy",
        "Properties": {"Roles": [{"Ref": "Web"}], "PolicyDocument": policy("a:ByRef")},
    }
    by_name = {
        "Type": "AWS::IAM::ManagedPolicy",
        "Properties": {"Roles": ["vibecode-dev-web"], "PolicyDocument": policy("a:ByName")},
    }
    other = {"Type": "AWS::IAM::RolePolicy", "Properties": {"RoleName": "other", "PolicyDocument": policy("a:Other")}}
    templates = stack(Web=made, Kept=kept, ByRef=by_ref, ByName=by_name, Other=other)

    (found,) = roles(templates, "dev")

    assert {action for each in found.statements for action in each.actions} == {
        "a:Inline", "a:Managed", "a:ByRef", "a:ByName",
    }  # fmt: skip
    assert found.of_aws == ("service-role/Some",)
    with pytest.raises(CannotTell, match="AWS's to change"):
        found.may("a:Inline", "*")


def test_a_role_may_what_its_policies_and_its_boundary_both_allow() -> None:
    limit = {
        "Version": "2012-10-17",
        "Statement": [
            {"Effect": "Allow", "Action": "*", "Resource": "*"},
            {"Effect": "Deny", "Action": "s3:*", "NotResource": "arn:aws:s3:::vibecode-dev-*"},
        ],
    }
    kept = {"Type": "AWS::IAM::ManagedPolicy", "Properties": {"ManagedPolicyName": "limit", "PolicyDocument": limit}}
    own = [{"PolicyName": "own", "PolicyDocument": policy("s3:GetObject")}]
    made = {"Type": "AWS::IAM::Role", "Properties": {"PermissionsBoundary": {"Ref": "Kept"}, "Policies": own}}

    (role,) = roles(stack(Web=made, Kept=kept), "dev")

    assert role.may("s3:GetObject", "arn:aws:s3:::vibecode-dev-media/a")
    assert not role.may("s3:GetObject", "arn:aws:s3:::vibecode-production-media/a"), "its limit denies it"
    assert not role.may("s3:PutObject", "arn:aws:s3:::vibecode-dev-media/a"), "a limit allows nothing"


def test_a_role_whose_boundary_stands_in_no_template_is_not_judged() -> None:
    made = {"Type": "AWS::IAM::Role", "Properties": {"PermissionsBoundary": "arn:aws:iam::aws:policy/Some"}}
    with pytest.raises(CannotTell, match="boundary"):
        roles(stack(Web=made), "dev")
