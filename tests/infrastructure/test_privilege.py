"""Least privilege, both ways: what is called is allowed, and what is allowed is called; on small roles and on ours."""

import copy
import itertools
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pytest

from infrastructure.config import STAGES
from infrastructure.privilege import recorder
from infrastructure.privilege.check import complaints
from infrastructure.privilege.doors import strangers
from infrastructure.privilege.policies import allows, roles
from infrastructure.privilege.recorder import Call
from infrastructure.privilege.templates import Templates
from tests.infrastructure.templates import Template, as_list
from vibecode import resources

ACCOUNT = "123456789012"
RELAY = f"arn:aws:sqs:eu-north-1:{ACCOUNT}:vibecode-dev-relay"
NONE: Mapping[str, Any] = {
    "unseen": [],
    "alike": [],
    "policies of AWS": [],
    "everywhere": {},
    "patterns": {},
    "refused": [],
}


def allow(action: str | list[str], resource: str | list[str], **more: Any) -> dict[str, Any]:
    """A statement."""
    return {"Sid": "Tried", "Effect": "Allow", "Action": action, "Resource": resource, **more}


def small(*web: dict[str, Any]) -> dict[str, Any]:
    """The templates of a stage whose roles are the two functions', the web's with these statements."""
    resources: dict[str, Any] = {}
    for name, said in (("web", web), ("worker", ())):
        document = {"Version": "2012-10-17", "Statement": list(said)}
        policies = [{"PolicyName": "all", "PolicyDocument": document}] if said else []
        resources[name] = {
            "Type": "AWS::IAM::Role",
            "Properties": {"RoleName": f"vibecode-dev-{name}", "Policies": policies},
        }
    return {"vibecode-dev-runtime": {"Resources": resources}}


def seen(call: str, by: str = "web", **on: str) -> dict[str, Any]:
    """A recording of one call."""
    return {"tests": {"sources": {}, "calls": [{"by": by, "call": call, "on": on}]}}


RUNG = seen("sqs:SendMessageBatch", queue="vibecode-{stage}-relay")


# --- both ways, small ------------------------------------------------------------------------------------------------
def test_what_is_called_and_allowed_is_well() -> None:
    assert complaints(small(allow("sqs:SendMessage", RELAY)), RUNG, NONE) == []


def test_a_call_that_nothing_allows_is_named() -> None:
    (said,) = complaints(small(), RUNG, NONE)
    why = "web calls sqs:SendMessageBatch, queue vibecode-{stage}-relay"
    assert said == f"dev: web is not allowed sqs:SendMessage on {RELAY}: {why}"


def test_a_call_of_one_function_is_no_others() -> None:
    called = seen("sqs:SendMessageBatch", by="worker", queue="vibecode-{stage}-relay")
    said = complaints(small(allow("sqs:SendMessage", RELAY)), called, NONE)
    assert [line.partition(" on ")[0] for line in said] == [
        "dev: web is allowed sqs:SendMessage",
        "dev: worker is not allowed sqs:SendMessage",
    ]


@pytest.mark.parametrize(
    ("statement", "said"),
    [
        (
            allow(["sqs:SendMessage", "sqs:PurgeQueue"], RELAY),
            f"is allowed sqs:PurgeQueue on {RELAY} (Tried), and nothing",
        ),
        (
            allow("sqs:SendMessage", [RELAY, RELAY + "-dead"]),
            f"is allowed sqs:SendMessage on {RELAY}-dead (Tried), and",
        ),
        (allow("sqs:SendMessage", "*"), "is allowed sqs:SendMessage on everything (Tried): name the resource"),
        (allow("sqs:SendMessage", RELAY.replace("relay", "*")), "-* (Tried): name what it needs"),
        (allow("sqs:Send*", RELAY), "is allowed sqs:Send* (Tried): name each action"),
        (
            {"Sid": "Tried", "Effect": "Allow", "NotAction": "iam:*", "Resource": RELAY},
            "is allowed all but something (Tried): say what it needs",
        ),
    ],
)
def test_what_is_allowed_beyond_the_calls_is_named(statement: dict[str, Any], said: str) -> None:
    (found,) = complaints(small(allow("sqs:SendMessage", RELAY), statement), RUNG, NONE)
    assert found.startswith("dev: web ")
    assert said in found


def test_a_statement_whose_condition_no_call_meets_is_too_much() -> None:
    never = allow("sqs:SendMessage", RELAY, Condition={"Bool": {"aws:SecureTransport": "false"}})
    (found,) = complaints(small(allow("sqs:SendMessage", RELAY), never), RUNG, NONE)
    assert "and nothing does it" in found


def test_a_deny_that_stands_in_the_way_of_a_call_is_found() -> None:
    deny = {"Sid": "No", "Effect": "Deny", "Action": "sqs:*", "Resource": "*"}
    (found,) = complaints(small(allow("sqs:SendMessage", RELAY), deny), RUNG, NONE)
    assert "is not allowed sqs:SendMessage" in found


def test_an_operation_that_the_table_has_not_is_named() -> None:
    (found,) = complaints(small(), seen("s3:PutObject?tagging", bucket="media", key="products/{id}"), NONE)
    assert "add it to infrastructure/privilege/needs.py" in found


# --- what no test can see --------------------------------------------------------------------------------------------
WRITES = {
    "roles": ["web"],
    "actions": ["logs:PutLogEvents"],
    "resources": ["arn:aws:logs:{region}:{account}:log-group:/aws/lambda/vibecode-{stage}:log-stream:{id}"],
    "reason": "Lambda writes the log",
}
GROUP = f"arn:aws:logs:eu-north-1:{ACCOUNT}:log-group:/aws/lambda/vibecode-dev:*"
STREAMS = "arn:aws:logs:{region}:{account}:log-group:/aws/lambda/vibecode-{stage}:*"
LISTED = {**NONE, "unseen": [WRITES], "patterns": {STREAMS: "a log"}}


def test_what_stands_on_the_list_is_needed_like_a_call() -> None:
    assert complaints(small(allow("logs:PutLogEvents", GROUP)), {}, LISTED) == []
    (found,) = complaints(small(), {}, LISTED | {"patterns": {}})
    assert found.startswith("dev: web is not allowed logs:PutLogEvents")
    assert found.endswith(": Lambda writes the log")


def test_the_list_excuses_only_what_it_names() -> None:
    (found,) = complaints(small(allow(["logs:PutLogEvents", "logs:DeleteLogGroup"], GROUP)), {}, LISTED)
    assert "is allowed logs:DeleteLogGroup" in found


def test_each_value_of_a_context_is_tried() -> None:
    key = {**WRITES, "actions": ["kms:Decrypt"], "resources": ["key"], "context": {"kms:ViaService": ["sqs", "s3"]}}
    only = allow("kms:Decrypt", "key", Condition={"StringEquals": {"kms:ViaService": "sqs"}})
    (found,) = complaints(small(only), {}, {**NONE, "unseen": [key]})
    assert "is not allowed kms:Decrypt on key" in found


def test_a_role_that_is_not_there_is_named() -> None:
    listed = {**NONE, "unseen": [{**WRITES, "roles": ["nobody"]}]}
    assert complaints(small(), {}, listed) == ["There is no role nobody"]


def test_everything_needs_a_source() -> None:
    traces = {**WRITES, "actions": ["xray:PutTraceSegments"], "resources": ["*"]}
    listed = {**NONE, "unseen": [traces]}
    (found,) = complaints(small(allow("xray:PutTraceSegments", "*")), {}, listed)
    assert "on everything" in found
    sourced = {
        "xray:PutTraceSegments": "https://docs.aws.amazon.com/service-authorization/latest/reference/list_awsx-ray.html"
    }
    assert complaints(small(allow("xray:PutTraceSegments", "*")), {}, listed | {"everywhere": sourced}) == []
    assert complaints(
        small(allow("xray:PutTraceSegments", "*")), {}, listed | {"everywhere": dict.fromkeys(sourced, "")}
    )


def test_a_policy_of_awss_own_stands_on_the_list_or_is_named() -> None:
    templates = small()
    web = templates["vibecode-dev-runtime"]["Resources"]["web"]["Properties"]
    web["ManagedPolicyArns"] = ["arn:aws:iam::aws:policy/Some"]
    (found,) = complaints(templates, {}, NONE)
    assert "policies of AWS's own" in found
    assert complaints(templates, {}, {**NONE, "policies of AWS": [{"roles": ["web"], "policy": "Some"}]}) == []


def test_what_our_code_does_alike_at_every_queue_is_seen_at_one() -> None:
    alike = {**NONE, "alike": [{"by": ["web"], "at": "queue", "calls": ["sqs:SendMessageBatch"], "reason": ""}]}
    jobs = RELAY.replace("relay", "jobs")
    assert complaints(small(allow("sqs:SendMessage", [RELAY, jobs])), {}, NONE) != []
    said = complaints(small(allow("sqs:SendMessage", [RELAY, jobs])), RUNG, alike)
    assert all("is not allowed" in line for line in said)  # at the other queues too, then
    assert not any("relay" in line or "-jobs:" in line for line in said)


@pytest.mark.parametrize(
    ("idle", "said"),
    [
        (
            {"patterns": {"arn:aws:s3:::{media}/old/*": "files"}},
            "Nobody is allowed arn:aws:s3:::{media}/old/*: it ",
        ),
        (
            {"alike": [{"by": ["web"], "at": "queue", "calls": ["sqs:PurgeQueue"], "reason": ""}]},
            "web was not seen to call sqs:PurgeQueue at a queue",
        ),
        (
            {"alike": [{"by": ["web"], "at": "dead", "calls": ["sqs:SendMessageBatch"], "reason": ""}]},
            "web was not seen to call sqs:SendMessageBatch at a dead",
        ),
        (
            {"refused": [{"roles": ["web"], "actions": ["s3:GetObject"], "resources": ["*"], "reason": "nobody's"}]},
            "No statement of web is about s3:GetObject",
        ),
        ({"everywhere": {"xray:PutTraceSegments": "https://docs.aws.amazon.com/"}}, "Nobody is allowed xray:PutTrace"),
    ],
)
def test_what_stands_on_the_list_and_is_of_no_use_any_more_is_named(idle: dict[str, Any], said: str) -> None:
    (found,) = complaints(small(allow("sqs:SendMessage", RELAY)), RUNG, {**NONE, **idle})
    assert found.startswith(said)


# --- operations whose action has another name ------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("called", "statements"),
    [
        (seen("s3:HeadObject", bucket="media", key="uploads/{id}"), [("s3:GetObject", "uploads/*")]),
        (seen("s3:PostObject", bucket="media", key="uploads/{id}"), [("s3:PutObject", "uploads/*")]),
        (
            seen("s3:GetObject", bucket="media", key="uploads/{id}", found="no"),
            [("s3:GetObject", "uploads/*"), ("s3:ListBucket", "")],
        ),
        (seen("s3:ListObjects", bucket="media", prefix="uploads/"), [("s3:ListBucket", "")]),
    ],
)
def test_files_need_what_s3_asks_for(called: dict[str, Any], statements: list[tuple[str, str]]) -> None:
    bucket = f"arn:aws:s3:::vibecode-dev-media-{ACCOUNT}"
    files = {"arn:aws:s3:::{media}/uploads/*": "files"} if any(key for _, key in statements) else {}
    said = [allow(action, f"{bucket}/{key}" if key else bucket) for action, key in statements]
    assert complaints(small(*said), called, {**NONE, "patterns": files}) == []
    for one in said:
        found = complaints(small(*(each for each in said if each is not one)), called, {**NONE, "patterns": files})
        assert any("is not allowed" in line for line in found)


def test_a_link_to_an_export_is_the_webs_to_follow_and_one_to_a_picture_only_a_laptops() -> None:
    export = seen("s3:GetObject", bucket="media", key="uploads/exports/{id}", signed="link")
    picture = seen("s3:GetObject", bucket="media", key="products/{id}", signed="link")
    assert len(complaints(small(), export, NONE)) == 1
    assert complaints(small(), picture, NONE) == []


def test_a_mail_that_is_composed_already_needs_both_actions_on_identity_and_configuration_set() -> None:
    called = seen("ses:SendEmail", composed="yes", **{"configuration set": "vibecode-{stage}-mail"})
    names = ("identity/orders@pending.invalid", "identity/pending.invalid", "configuration-set/vibecode-dev-mail")
    resources = [f"arn:aws:ses:eu-north-1:{ACCOUNT}:{name}" for name in names]
    sender = {"StringEquals": {"ses:FromAddress": "orders@pending.invalid"}}
    both = ["ses:SendEmail", "ses:SendRawEmail"]
    assert complaints(small(allow(both, resources, Condition=sender)), called, NONE) == []
    assert len(complaints(small(allow(both[:1], resources, Condition=sender)), called, NONE)) == 3
    other = {"StringEquals": {"ses:FromAddress": "somebody@pending.invalid"}}
    assert complaints(small(allow(both, resources, Condition=other)), called, NONE) != []


def test_a_ticket_is_told_from_a_connection() -> None:
    table = f"arn:aws:dynamodb:eu-north-1:{ACCOUNT}:table/vibecode-dev-connections"
    only = {
        "ForAllValues:StringLike": {"dynamodb:LeadingKeys": ["TICKET#*"]},
        "Null": {"dynamodb:LeadingKeys": "false"},
    }
    tickets = small(allow("dynamodb:PutItem", table, Condition=only))
    assert (
        complaints(tickets, seen("dynamodb:PutItem", table="vibecode-{stage}-connections", row="TICKET#{id}"), NONE)
        == []
    )
    assert complaints(tickets, seen("dynamodb:PutItem", table="vibecode-{stage}-connections", row="{id}"), NONE) != []


# --- the recording ---------------------------------------------------------------------------------------------------
def line(who: str, call: str, **about: str) -> str:
    """A line of the local AWS's trail."""
    return json.dumps({"who": who, "call": call, "about": about})


def test_what_changes_from_run_to_run_is_left_out() -> None:
    trail = [
        line("vibecode-dev", "s3:GetObject", Bucket="vibecode-local-media", Key="uploads/jobs/0a1b2c"),
        line("vibecode-local", "s3:GetObject", Bucket="vibecode-local-media", Key="uploads/jobs/ffff"),
        line(
            "vibecode-test-3f2a-worker",
            "sqs:SendMessage",
            QueueUrl="http://127.0.0.1:1/123456789012/vibecode-test-3f2a-jobs-dead",
        ),
        line(
            "vibecode-dev-worker",
            "secretsmanager:GetSecretValue",
            SecretId="arn:aws:x:y:1:secret:vibecode-dev/settings-0f-AbCdEf",
        ),
    ]
    assert recorder.seen(trail) == [
        Call("web", "s3:GetObject", (("bucket", "media"), ("key", "uploads/jobs/{id}"))),
        Call("worker", "secretsmanager:GetSecretValue", (("secret", "settings"),)),
        Call("worker", "sqs:SendMessage", (("queue", "vibecode-{stage}-jobs-dead"),)),
    ]


def test_nobodys_calls_and_what_tests_make_for_themselves_are_left_out() -> None:
    trail = [line(who, "sns:Publish") for who in ("local", "engineer", "zappa", "test")]
    assert recorder.seen(trail) == []
    assert recorder.seen([line("vibecode-local", "s3:GetObject", Bucket="no-such", Key="a", found="no")]) == []
    [other] = recorder.seen([line("vibecode-local", "s3:GetObject", Bucket="no-such", Key="a")])
    assert dict(other.on)["bucket"] == "no-such", "one that is there and is not ours must be allowed like any other"


def test_a_run_forgets_what_an_earlier_one_of_its_part_has_seen_and_leaves_the_other_part_alone() -> None:
    first = recorder.take("rehearsal", [line("vibecode-dev", "events:PutEvents")], {})
    second = recorder.take("tests", [line("vibecode-dev", "sns:Publish")], first)
    third = recorder.take("tests", [line("vibecode-dev", "sqs:SendMessage")], second)
    assert [call.call for call in recorder.calls(third)] == ["events:PutEvents", "sqs:SendMessage"]


def test_what_is_written_can_be_read_and_stands_in_order(tmp_path: Any) -> None:
    lines = [line("vibecode-dev", call) for call in ("sqs:SendMessage", "sns:Publish")]
    recorded = recorder.take("rehearsal", lines, recorder.take("tests", lines[:1], {}))
    recorder.write(recorded, tmp_path / "a")
    recorder.write(recorder.take("rehearsal", lines[::-1], recorded), tmp_path / "b")
    assert json.loads((tmp_path / "a").read_text()) == recorded
    assert (tmp_path / "a").read_text() == (tmp_path / "b").read_text()
    assert list(recorded) == ["rehearsal", "tests"]


def test_words_about_the_code_make_a_recording_no_older() -> None:
    code = '"""Why."""\n\ndef call(a: int) -> int:\n    """What."""\n    return a  # because\n'
    other = '"""Another."""\ndef call(a: int) -> int:\n    """Thing."""\n\n    return a\n'
    assert recorder.digest(code) == recorder.digest(other)
    assert recorder.digest(code) != recorder.digest(code.replace("return a", "return 'a'"))
    assert recorder.digest(code) != recorder.digest(code.replace("    return", "return"))


def test_the_code_that_calls_aws_is_known() -> None:
    found = recorder.sources()
    assert {"vibecode/aws.py", "vibecode/bucket.py", "vibecode/doorbell.py", "vibecode/sigv4.py"} <= found.keys()
    assert {"accounts/operations.py", "vibecode/resources.py", "vibecode/websockets.py"} <= found.keys()
    assert {"vibecode/outbox.py", "orders/consumers.py"} <= found.keys(), "who has them called"
    assert {"catalog/models.py", "orders/status.py", "catalog/admin/forms.py"}.isdisjoint(found), "which call nobody"
    of_laptops = [name for name in found if "local/" in name or "management/" in name]
    assert of_laptops == ["vibecode/management/commands/work_queue.py"], "which runs in a container on AWS"


def test_whatever_aws_has_us_run_is_of_that_code() -> None:
    """As vibecode.lambda_entry finds them: handlers, steps, routes, operations, triggers; and the kinds of jobs."""
    found = recorder.sources()
    paths = {each.handler for each in (*resources.QUEUES, *resources.SCHEDULES)} | {*resources.STEPS}
    for declared in (resources.JOBS, resources.ROUTES, resources.OPERATIONS, resources.TRIGGERS):
        paths |= {*declared.values()}
    modules = {path.rpartition(".")[0].replace(".", "/") for path in paths}

    assert {"orders/workflow", "orders/operations", "vibecode/operations", "vibecode/jobs"} <= modules
    assert {each for each in modules if not {f"{each}.py", f"{each}/__init__.py"} & found.keys()} == set()


@pytest.mark.recorded
def test_the_recording_is_as_old_as_the_code() -> None:
    older = recorder.older(recorder.recording())
    assert not older, (
        f"Record anew, with `make rehearse` and `make test-full` (docs/permissions.md): {', '.join(older)}"
    )


def test_a_file_that_has_changed_makes_the_recording_older() -> None:
    recorded: dict[str, Any] = {part: {"sources": recorder.sources(), "calls": []} for part in recorder.PARTS}
    assert recorder.older(recorded) == []
    recorded["tests"]["sources"] |= {"vibecode/bucket.py": "another", "vibecode/gone.py": "gone"}
    assert recorder.older(recorded) == ["tests: vibecode/bucket.py", "tests: vibecode/gone.py"]


# --- the real roles --------------------------------------------------------------------------------------------------
STAGE = "production"  # it has most of what the others have, and more
POLICIES = {"AWS::IAM::ManagedPolicy", "AWS::IAM::Policy"}


@pytest.fixture
def changed(templates: Mapping[str, Template]) -> dict[str, Any]:
    """The templates of a stage, to be changed."""
    return copy_of(templates, STAGE)


def copy_of(templates: Mapping[str, Template], stage: str) -> dict[str, Any]:
    """The templates of a stage, to be changed."""
    return {name: copy.deepcopy(made) for name, made in templates.items() if name.startswith(f"vibecode-{stage}-")}


@dataclass(frozen=True)
class Tried:
    """The templates of a stage, to be changed, and the statements in them that are to be tried, each by its name."""

    templates: dict[str, Any]
    statements: list[tuple[str, dict[str, Any]]]

    @property
    def sids(self) -> set[str]:
        return {told.rpartition(": ")[2] for told, _ in self.statements}


@pytest.fixture(params=["production", "dev", "production with all"])
def tried(
    request: pytest.FixtureRequest, templates: Mapping[str, Template], everything: Mapping[str, Template]
) -> Tried:
    """All of production; of dev, and of a stage that asks for everything, what production says in no other words."""
    first = copy_of(templates, STAGE)
    if request.param == STAGE:
        found = Tried(first, [*allowing(first)])
        assert len(found.statements) > 40
        return found
    stage = str(request.param).partition(" ")[0]
    asked = copy_of(everything if "all" in request.param else templates, stage)
    known = {json.dumps(statement) for _, statement in allowing(first)}
    found = Tried(asked, [each for each in allowing(asked) if as_production_says(stage, each[1]) not in known])
    assert {"TakeJobs", "ShareFiles"} <= found.sids if "all" in request.param else "SignInToTheDatabase" in found.sids
    return found


def as_production_says(stage: str, statement: Mapping[str, Any]) -> str:
    """A statement of another stage, with the name of this one."""
    return json.dumps(statement).replace(f"vibecode-{stage}", f"vibecode-{STAGE}").replace(f"/{stage}/", f"/{STAGE}/")


def allowing(templates: Mapping[str, Template]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every statement of a role that allows something, to be changed in place, with the name of its policy."""
    for template in templates.values():
        for name, made in template["Resources"].items():
            if made["Type"] in POLICIES and not is_limit(made):
                for statement in made["Properties"]["PolicyDocument"]["Statement"]:
                    if statement["Effect"] == "Allow":
                        yield f"{name}: {statement.get('Sid')}", statement


def is_limit(made: Mapping[str, Any]) -> bool:
    """Whether a policy is the boundary of a stage's roles, by which nobody is allowed anything."""
    return str(made["Properties"].get("ManagedPolicyName", "")).endswith("-boundary")


@contextmanager
def instead(statement: dict[str, Any], **other: Any) -> Iterator[None]:
    """A statement that says something else for a while; None takes an element away."""
    before = dict(statement)
    statement.update(other)
    for name in [name for name, said in statement.items() if said is None]:
        del statement[name]
    try:
        yield
    finally:
        statement.clear()
        statement.update(before)


@pytest.mark.recorded
def test_no_role_may_more_or_less_than_it_does(templates: Mapping[str, Template]) -> None:
    assert complaints(templates) == []


@pytest.mark.recorded
def test_without_any_one_action_a_call_is_refused(tried: Tried) -> None:
    for told, statement in tried.statements:
        actions = as_list(statement["Action"])
        for action in actions:
            with instead(statement, Action=[each for each in actions if each != action] or ["none:None"]):
                said = complaints(tried.templates)
            assert any(f"is not allowed {action} " in line for line in said), f"{told}: {action}"


@pytest.mark.recorded
def test_with_any_one_action_or_resource_more_it_is_named(tried: Tried) -> None:
    for told, statement in tried.statements:
        actions, resources = as_list(statement["Action"]), as_list(statement["Resource"])
        unneeded = f"{actions[0].partition(':')[0]}:DeleteEverything"
        with instead(statement, Action=[*actions, unneeded]):
            assert any(f"is allowed {unneeded} on " in line for line in complaints(tried.templates)), told
        wide = [f"arn:aws:{actions[0].partition(':')[0]}:*:*:vibecode-*", "arn:aws:*", "*"]
        more = [each for each in wide if each not in resources]
        with instead(statement, Resource=[*resources, *more]):
            said = complaints(tried.templates)
        for each in more:
            everything = "on everything" if each == "*" else f"is allowed {each} "
            assert any(everything in line or f" on {each} " in line for line in said), f"{told}: {each}"


@pytest.mark.recorded
def test_without_its_condition_a_statement_lets_in_what_must_be_refused(tried: Tried) -> None:
    for told, statement in tried.statements:
        for operator in statement.get("Condition", ()):
            fewer = {each: keys for each, keys in statement["Condition"].items() if each != operator}
            with instead(statement, Condition=fewer or None):
                assert any(" may " in line for line in complaints(tried.templates)), f"{told}: {operator}"


ELSEWHERE = "arn:aws:iam::999999999999:root"
GITHUB = "token.actions.githubusercontent.com"
POOLS = "cognito-identity.amazonaws.com"
SIGNED_IN = {f"{POOLS}:amr": "authenticated"}
OUR_POOL = {"Fn::ImportValue": "pool"}


def of_a_thing(kind: str, **statement: Any) -> dict[str, Any]:
    """A thing's policy that allows this."""
    return {"Type": kind, "Properties": {"PolicyDocument": {"Statement": [{"Effect": "Allow", **statement}]}}}


def taken_by(principal: Any, action: str = "sts:AssumeRole", **more: Any) -> dict[str, Any]:
    """A role that somebody may take."""
    trust = {"Statement": [{"Effect": "Allow", "Action": action, "Principal": principal, **more}]}
    return {"Type": "AWS::IAM::Role", "Properties": {"RoleName": "any", "AssumeRolePolicyDocument": trust}}


def signed_in_at(provider: str, **condition: Any) -> dict[str, Any]:
    """A role for who has signed in elsewhere."""
    asked = {operator.replace("_", ":"): keys for operator, keys in condition.items()}
    return taken_by({"Federated": provider}, "sts:AssumeRoleWithWebIdentity", Condition=asked)


def invoked_by(principal: str, **more: Any) -> dict[str, Any]:
    """A function's permission."""
    about = {"Action": "lambda:InvokeFunction", "FunctionName": "any", "Principal": principal}
    return {"Type": "AWS::Lambda::Permission", "Properties": about | more}


@pytest.mark.parametrize(
    ("resource", "said"),
    [
        ({"Type": "AWS::IAM::User"}, "is a AWS::IAM::User: only roles are judged here"),
        (of_a_thing("AWS::SQS::QueuePolicy", Action="sqs:*", Principal={"AWS": "*"}), "lets in AWS *: "),
        (of_a_thing("AWS::SQS::QueuePolicy", Action="sqs:*", Principal="*"), "lets in *: "),
        (of_a_thing("AWS::SQS::QueuePolicy", Action="sqs:*", Principal={"AWS": ELSEWHERE}), f"in AWS {ELSEWHERE}: "),
        (
            of_a_thing("AWS::SQS::QueuePolicy", Action="sqs:*", Principal={"AWS": f"arn:aws:iam::{ACCOUNT}:role/a"}),
            "lets in AWS arn:aws:iam::",
        ),
        (of_a_thing("AWS::S3::BucketPolicy", Action="s3:*", Principal={"CanonicalUser": "7a"}), "CanonicalUser 7a: "),
        (of_a_thing("AWS::S3::BucketPolicy", Action="s3:*", NotPrincipal={"AWS": ELSEWHERE}), "in all but somebody: "),
        (of_a_thing("AWS::S3::BucketPolicy", Action="s3:*", Principal={"Federated": "a"}), 'whoever signs in at "a"'),
        (of_a_thing("AWS::KMS::Key", Action="kms:*", Principal={"AWS": {"Ref": "Any"}}), "nothing can be said"),
        (
            {
                "Type": "AWS::Logs::ResourcePolicy",
                "Properties": {"PolicyDocument": '{"Statement": [{"Effect": "Allow", "Principal": "*"}]}'},
            },
            "has a policy that is a text",
        ),
        (invoked_by("999999999999"), "lets in 999999999999: "),
        (invoked_by("*", SourceAccount=ACCOUNT), "lets in Service *: "),
        (invoked_by("events.amazonaws.com"), "lets in events.amazonaws.com: "),
        *(
            (invoked_by(f"{source.split(':')[2]}.amazonaws.com", SourceArn=source), "amazonaws.com: say it in a role's")
            for source in (
                "arn:aws:events:eu-north-1:999999999999:rule/a",
                "arn:aws:events:eu-north-1:*:rule/a",
                "arn:aws:s3:::of-somebody-else",
                "arn:aws:s3:::*",
            )
        ),
        (invoked_by("events.amazonaws.com", SourceArn="*"), "lets in events.amazonaws.com: "),
        (invoked_by("s3.amazonaws.com", SourceAccount="999999999999"), "lets in s3.amazonaws.com: "),
        (invoked_by("events.amazonaws.com", SourceArn={"Ref": "Any"}), "nothing can be said"),
        (
            {"Type": "AWS::S3::Bucket", "Properties": {"BucketName": "b", "AccessControl": "PublicRead"}},
            "lets in others by AccessControl PublicRead",
        ),
        ({"Type": "AWS::Lambda::Url", "Properties": {"AuthType": "NONE"}}, "lets in others by AuthType NONE"),
        (signed_in_at(GITHUB, StringEquals={f"{GITHUB}:aud": "sts.amazonaws.com"}), f'signs in at "{GITHUB}"'),
        (
            signed_in_at(GITHUB, StringEquals={f"{GITHUB}:aud": "sts.amazonaws.com", f"{GITHUB}:sub": ["o/r", "p/q"]}),
            f'signs in at "{GITHUB}"',
        ),
        (
            signed_in_at(GITHUB, StringEquals={"another:aud": "sts.amazonaws.com", f"{GITHUB}:sub": "o/r"}),
            f'signs in at "{GITHUB}"',
        ),
        (
            signed_in_at(
                GITHUB,
                StringEquals={f"{GITHUB}:aud": "sts.amazonaws.com"},
                StringLike={f"{GITHUB}:sub": "repo:*"},
            ),
            f'signs in at "{GITHUB}"',
        ),
        (
            signed_in_at(POOLS, StringEquals={f"{POOLS}:aud": "eu-north-1:another"}, ForAnyValue_StringLike=SIGNED_IN),
            f'signs in at "{POOLS}"',
        ),
        (
            signed_in_at(POOLS, StringEquals={f"{POOLS}:aud": []}, ForAnyValue_StringLike=SIGNED_IN),
            f'signs in at "{POOLS}"',
        ),
        *(
            (signed_in_at(POOLS, StringEquals={f"{POOLS}:aud": OUR_POOL}, **asked), f'signs in at "{POOLS}"')
            for asked in (
                {},
                {"ForAllValues_StringLike": SIGNED_IN},
                {"ForAnyValue_StringLike": {f"{POOLS}:amr": "*authenticated"}},
            )
        ),
        (taken_by({"AWS": ELSEWHERE}), f"lets in AWS {ELSEWHERE}: "),
        (taken_by({"AWS": f"arn:aws:iam::{ACCOUNT}:root"}), "lets in AWS arn:aws:iam::"),
        (taken_by({"AWS": "*"}), "lets in AWS *: "),
        (taken_by({"Service": ["lambda.amazonaws.com", "*"]}), "lets in Service *: "),
        (
            taken_by({"Federated": "cognito-identity.amazonaws.com"}, "sts:AssumeRoleWithWebIdentity"),
            'whoever signs in at "cognito-identity.amazonaws.com"',
        ),
    ],
)
def test_whoever_is_let_in_by_another_way_is_named(
    templates: Mapping[str, Template], resource: dict[str, Any], said: str
) -> None:
    assert list(strangers(Templates(templates))) == []
    more = with_another(templates, resource)

    [line] = strangers(Templates(more))

    assert line.startswith("vibecode-dev-network: Another ")
    assert said in line
    assert line in complaints(more)


@pytest.mark.parametrize(
    "resource",
    [
        invoked_by("events.amazonaws.com", SourceArn=f"arn:aws:events:eu-north-1:{ACCOUNT}:rule/a"),
        invoked_by("s3.amazonaws.com", SourceArn=f"arn:aws:s3:::vibecode-dev-media-{ACCOUNT}"),
        invoked_by("s3.amazonaws.com", SourceArn="arn:aws:s3:::any", SourceAccount=ACCOUNT),
        {"Type": "AWS::S3::Bucket", "Properties": {"BucketName": "b", "AccessControl": "Private"}},
        {"Type": "AWS::Lambda::Url", "Properties": {"AuthType": "AWS_IAM"}},
        signed_in_at(GITHUB, StringEquals={f"{GITHUB}:aud": "sts.amazonaws.com", f"{GITHUB}:sub": "repo:o/r:ref:a"}),
        signed_in_at(POOLS, StringEquals={f"{POOLS}:aud": OUR_POOL}, ForAnyValue_StringLike=SIGNED_IN),
    ],
)
def test_who_asks_for_us_is_no_stranger(templates: Mapping[str, Template], resource: dict[str, Any]) -> None:
    assert list(strangers(Templates(with_another(templates, resource)))) == []


def with_another(templates: Mapping[str, Template], resource: dict[str, Any]) -> dict[str, Template]:
    """The stacks with one more thing, and with one output more that names our pool of identities."""
    network, identity = templates["vibecode-dev-network"], templates["vibecode-dev-identity"]
    [pool] = Templates(templates).resources("vibecode-dev-identity", "AWS::Cognito::IdentityPool")
    exported = {"Value": {"Ref": pool}, "Export": {"Name": "pool"}}
    return {
        **templates,
        "vibecode-dev-network": {**network, "Resources": {**network["Resources"], "Another": resource}},
        "vibecode-dev-identity": {**identity, "Outputs": {**identity.get("Outputs", {}), "OfPool": exported}},
    }


def test_a_policy_that_a_role_is_given_from_another_stack_is_judged(changed: dict[str, Any]) -> None:
    deletes = {"Effect": "Allow", "Action": "s3:DeleteBucket", "Resource": "arn:aws:s3:::b"}
    document = {"Version": "2012-10-17", "Statement": [deletes]}
    more = {"PolicyName": "more", "Roles": [f"vibecode-{STAGE}-web"], "PolicyDocument": document}
    changed[f"vibecode-{STAGE}-network"]["Resources"]["Another"] = {"Type": "AWS::IAM::Policy", "Properties": more}

    assert any("web is allowed s3:DeleteBucket on arn:aws:s3:::b" in line for line in complaints(changed))


def test_a_call_that_the_limit_of_the_stage_refuses_is_named(changed: dict[str, Any]) -> None:
    foundation = changed[f"vibecode-{STAGE}-foundation"]["Resources"]
    [limit] = [made for made in foundation.values() if made["Type"] == "AWS::IAM::ManagedPolicy" and is_limit(made)]
    [data] = [each for each in limit["Properties"]["PolicyDocument"]["Statement"] if "NotResource" in each]
    refused = "worker is not allowed sqs:ReceiveMessage on "
    assert not any(refused in line for line in complaints(changed))

    with instead(data, NotResource=[each for each in data["NotResource"] if ":sqs:" not in json.dumps(each)]):
        assert any(refused in line for line in complaints(changed))


@pytest.mark.parametrize("stage", STAGES)
def test_the_limit_of_a_stage_takes_away_nothing_that_its_roles_are_allowed(
    templates: Mapping[str, Template], stage: str
) -> None:
    taken = [
        f"{role.name}: {action} on {resource}"
        for role in roles(Templates(templates), stage)
        for statement in role.statements
        for action, resource in itertools.product(statement.actions, statement.resources)
        if statement.effect == "Allow"
        and not allows(role.boundary or (), action, resource if resource == "*" else resource.replace("*", "any"))
    ]

    assert taken == []


@pytest.mark.parametrize(("last", "other"), [("production", "dev"), ("dev", "production")])
def test_api_gateway_writes_the_logs_of_every_stage_by_the_role_of_the_one_that_was_deployed_last(
    templates: Mapping[str, Template], last: str, other: str
) -> None:
    told = Templates(templates)
    [setting] = told.resources(f"vibecode-{last}-live", "AWS::ApiGateway::Account").values()
    arn = told.value(f"vibecode-{last}-live", setting["Properties"]["CloudWatchRoleArn"])
    found = {f"arn:aws:iam::{ACCOUNT}:role/{each.name}": each for each in roles(told, last)}
    theirs = f"arn:aws:logs:eu-north-1:{ACCOUNT}:log-group:/vibecode-{other}/live:log-stream:a"

    def within_its_limit(who: str, action: str) -> bool:
        return allows(
            found[who].boundary or (), action, theirs, {"aws:PrincipalArn": who, "aws:ResourceTag/stage": other}
        )

    assert within_its_limit(arn, "logs:CreateLogStream")
    assert within_its_limit(arn, "logs:PutLogEvents")
    assert not within_its_limit(arn, "logs:DeleteLogGroup"), "and does nothing else there"
    assert not any(within_its_limit(who, "logs:PutLogEvents") for who in found.keys() - {arn}), "nor does anybody else"


# --- as IAM takes them -----------------------------------------------------------------------------------------------
# Characters without spaces: https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_iam-quotas.html
MANAGED, INLINE, TRUST = 6144, 10_240, 2048


def test_no_policy_is_longer_than_iam_takes(
    templates: Mapping[str, Template], everything: Mapping[str, Template]
) -> None:
    lengths = [each for made in (templates, everything) for each in lengths_of(made)]

    assert [f"{name} has {length} of {most}" for name, length, most in lengths if length > most] == []
    assert {most for _, _, most in lengths} == {MANAGED, INLINE, TRUST}
    assert {"vibecode-pipeline-production-deploy", "vibecode-dev-boundary"} <= {name for name, _, _ in lengths}


def lengths_of(templates: Mapping[str, Template]) -> Iterator[tuple[str, int, int]]:
    """Each policy by itself, all inline ones of a role together, and who may take it; with what IAM takes."""
    told = Templates(templates)

    def length(stack: str, document: Any) -> int:
        return len(json.dumps(told.value(stack, document), separators=(",", ":")))

    for stack in templates:
        inline: dict[str, int] = {}
        for made in told.resources(stack, "AWS::IAM::ManagedPolicy").values():
            said = made["Properties"]
            yield told.value(stack, said["ManagedPolicyName"]), length(stack, said["PolicyDocument"]), MANAGED
        for logical_id, made in told.resources(stack, "AWS::IAM::Role").items():
            role = told.ref(stack, logical_id)
            documents = [each["PolicyDocument"] for each in made["Properties"].get("Policies", ())]
            inline[role] = sum(length(stack, each) for each in documents)
            # What the deployment tells of GitHub is no longer than this.
            trust = json.dumps(made["Properties"]["AssumeRolePolicyDocument"], separators=(",", ":"))
            yield role, len(trust), TRUST
        for made in told.resources(stack, "AWS::IAM::Policy").values():
            for role in told.value(stack, made["Properties"]["Roles"]):
                inline[role] += length(stack, made["Properties"]["PolicyDocument"])
        yield from ((role, length, INLINE) for role, length in inline.items())
