"""The local AWS and the stacks are made from the same declarations: what one has, the other has too, and alike.

Whoever changes one alone, be it a stack, vibecode/local/provision.py or vibecode/local/cognito.py, fails here.
"""

import copy
from collections.abc import Mapping
from dataclasses import dataclass, replace

import pytest

from infrastructure.config import STAGES, WAKING
from orders.letters import OUTCOMES
from tests.infrastructure import declared
from tests.infrastructure.declared import Described, Stack, Template, different
from vibecode import aws, resources
from vibecode.local import provision
from vibecode.local.names import CLIENT_ID, MEDIA_BUCKET, POOL_ID
from vibecode.resources import QUEUES, SCHEDULES, TRIGGERS, Resources

# An event of SES's configuration set, and how EventBridge calls it.
# https://docs.aws.amazon.com/ses/latest/dg/monitoring-eventbridge.html#eventbridge-events
NAMED = {
    "send": "Email Sent",
    "delivery": "Email Delivered",
    "bounce": "Email Bounced",
    "reject": "Email Rejected",
    "complaint": "Email Complaint Received",
}


@dataclass(frozen=True, slots=True)
class Clouds:
    """A stage as both have it."""

    stage: str
    local: Described
    real: Described

    @property
    def names(self) -> Resources:
        return declared.resources_of(self.stage)


@pytest.fixture(scope="module", params=tuple(STAGES))
def clouds(request: pytest.FixtureRequest, templates: Mapping[str, Template]) -> Clouds:
    stage = request.param
    return Clouds(stage, declared.in_local_aws(stage), declared.in_templates(templates, stage))


def stack_of(templates: Mapping[str, Template], stage: str, part: str) -> Stack:
    return Stack.of(templates[f"vibecode-{stage}-{part}"])


# --- facts -----------------------------------------------------------------------------------------------------------
def test_the_queues_are_the_same_with_their_delays_timeouts_retention_and_tries(clouds: Clouds) -> None:
    assert len(clouds.local["queues"]) == 2 * len(QUEUES)
    assert clouds.real["queues"] == clouds.local["queues"]


def test_the_rules_are_the_same_with_their_patterns_and_targets(clouds: Clouds) -> None:
    assert len(clouds.local["rules"]) == sum(bool(queue.pattern) for queue in QUEUES)
    assert clouds.real["rules"] == clouds.local["rules"]


def test_a_queue_takes_in_what_its_own_rule_sends_and_nothing_else(clouds: Clouds) -> None:
    wanted: dict[str, set[str]] = {arn: set() for arn in clouds.local["queues"]}
    for (bus, name), rule in clouds.local["rules"].items():
        path = name if bus == "default" else f"{bus}/{name}"
        [queue] = rule["targets"]
        sender = clouds.names.rule_arn("").rpartition("/")[0] + f"/{path}"
        wanted[queue] |= {sender}
        wanted[clouds.local["queues"][queue]["dead"]] |= {sender}

    assert clouds.real["senders"] == wanted


def test_the_archive_the_topic_and_the_mail_are_called_the_same(clouds: Clouds) -> None:
    for kind in ("archives", "topics", "mail"):
        assert len(clouds.local[kind]) == 1
        assert clouds.real[kind] == clouds.local[kind]


def test_the_table_of_connections_has_the_same_keys_and_index_and_forgets_by_the_same_column(clouds: Clouds) -> None:
    assert clouds.local["tables"].keys() == {clouds.names.connections_table}
    assert clouds.real["tables"] == clouds.local["tables"]


def test_the_workflow_is_the_same_step_by_step(clouds: Clouds) -> None:
    [workflow] = clouds.local["workflows"].values()
    assert workflow["runs"]["States"]["ProcessPayment"]["Parameters"]["FunctionName"] == clouds.names.worker_arn

    assert clouds.real["workflows"] == clouds.local["workflows"]


@pytest.mark.parametrize("stage", STAGES)
def test_ses_tells_of_a_mail_what_a_letter_understands(templates: Mapping[str, Template], stage: str) -> None:
    stack = stack_of(templates, stage, "messaging")
    [(_, told)] = stack.each("AWS::SES::ConfigurationSetEventDestination")
    destination = told["EventDestination"]

    assert {NAMED[event] for event in destination["MatchingEventTypes"]} == OUTCOMES.keys()
    assert destination["EventBridgeDestination"]["EventBusArn"].endswith(":event-bus/default")
    assert told["ConfigurationSetName"] == declared.resources_of(stage).mail_configuration


# --- the functions ---------------------------------------------------------------------------------------------------
def test_each_queue_feeds_the_worker_by_as_much_at_once(clouds: Clouds) -> None:
    assert len(clouds.local["mappings"]) == len(QUEUES)
    assert clouds.real["mappings"] == clouds.local["mappings"]


def test_the_schedules_are_the_same_and_rarer_only_where_they_would_wake_a_database(clouds: Clouds) -> None:
    sleeps = STAGES[clouds.stage].database_sleeps
    daily = {clouds.names.schedule_name(each.key) for each in SCHEDULES if sleeps and each.wakes_database}

    assert len(clouds.local["schedules"]) == len(SCHEDULES)
    assert clouds.real["schedules"] == {
        (bus, name): rule | ({"rate": WAKING} if name in daily else {})
        for (bus, name), rule in clouds.local["schedules"].items()
    }


# --- files -----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("stage", STAGES)
def test_the_media_bucket_lets_browsers_post_and_forgets_uploads_alike(
    templates: Mapping[str, Template], stage: str
) -> None:
    s3 = aws.client("s3")
    [cors] = map(dict, s3.get_bucket_cors(Bucket=MEDIA_BUCKET)["CORSRules"])
    [forgets] = s3.get_bucket_lifecycle_configuration(Bucket=MEDIA_BUCKET)["Rules"]
    stack = stack_of(templates, stage, "front")
    [media] = [told for _, told in stack.each("AWS::S3::Bucket") if "-media-" in told["BucketName"]]

    [real] = media["CorsConfiguration"]["CorsRules"]
    assert real.pop("AllowedOrigins") != cors.pop("AllowedOrigins"), "each its own pages"
    assert {name.replace("MaxAge", "MaxAgeSeconds"): value for name, value in real.items()} == cors
    [real] = [rule for rule in media["LifecycleConfiguration"]["Rules"] if rule["Id"] == forgets["ID"]]
    assert real == {
        "Id": forgets["ID"],
        "Status": forgets["Status"],
        "Prefix": forgets["Filter"]["Prefix"],
        "ExpirationInDays": forgets["Expiration"]["Days"],
        "NoncurrentVersionExpiration": forgets["NoncurrentVersionExpiration"],
        "AbortIncompleteMultipartUpload": forgets["AbortIncompleteMultipartUpload"],
    }


# --- people ----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("stage", STAGES)
def test_the_pool_asks_the_same_of_a_password_and_signs_in_by_the_same_name(
    templates: Mapping[str, Template], stage: str
) -> None:
    local = aws.client("cognito-idp").describe_user_pool(UserPoolId=POOL_ID)["UserPool"]
    [(_, real)] = stack_of(templates, stage, "identity").each("AWS::Cognito::UserPool")

    asked = {name: real["Policies"]["PasswordPolicy"][name] for name in local["Policies"]["PasswordPolicy"]}
    assert asked["MinimumLength"] == 8
    assert asked == local["Policies"]["PasswordPolicy"]
    assert real["UsernameAttributes"] == local["UsernameAttributes"] == ["email"]
    assert real["AutoVerifiedAttributes"] == local["AutoVerifiedAttributes"] == ["email"]


@pytest.mark.parametrize("stage", STAGES)
def test_the_pool_has_the_same_groups_and_front_ends_may_sign_in_and_read_alike(
    templates: Mapping[str, Template], stage: str
) -> None:
    cognito = aws.client("cognito-idp")
    client = cognito.describe_user_pool_client(UserPoolId=POOL_ID, ClientId=CLIENT_ID)["UserPoolClient"]
    stack = stack_of(templates, stage, "identity")
    [real] = [told for _, told in stack.each("AWS::Cognito::UserPoolClient") if not told["GenerateSecret"]]

    groups = {(told["GroupName"], told["Description"]) for _, told in stack.each("AWS::Cognito::UserPoolGroup")}
    local = cognito.list_groups(UserPoolId=POOL_ID)["Groups"]
    assert groups == {(group["GroupName"], group["Description"]) for group in local}
    assert real["ReadAttributes"] == client["ReadAttributes"]
    assert real["WriteAttributes"] == client["WriteAttributes"]
    assert set(client["ExplicitAuthFlows"]) <= set(real["ExplicitAuthFlows"])


@pytest.mark.parametrize("stage", STAGES)
def test_the_pool_names_only_triggers_that_the_worker_answers_whatever_their_cause(
    templates: Mapping[str, Template], stage: str
) -> None:
    [(_, real)] = stack_of(templates, stage, "identity").each("AWS::Cognito::UserPool")
    ours = {trigger for trigger, arn in real["LambdaConfig"].items() if arn == declared.resources_of(stage).worker_arn}

    # A confirmation waits five seconds: too short for a database to wake.
    assert ours == (set() if STAGES[stage].database_sleeps else {"PostConfirmation"})
    # https://docs.aws.amazon.com/cognito/latest/developerguide/user-pool-lambda-post-confirmation.html
    assert TRIGGERS.keys() == {"PostConfirmation_ConfirmSignUp", "PostConfirmation_ConfirmForgotPassword"}


def test_the_stacks_that_are_compared_are_all_that_name_what_is_declared(templates: Mapping[str, Template]) -> None:
    """A queue of ours in yet another stack would escape the comparison."""
    names = {declared.resources_of(stage).queue_name(queue.key) for stage in STAGES for queue in QUEUES}
    found = {
        told["QueueName"]: name
        for name, template in templates.items()
        for _, told in Stack.of(template).each(declared.QUEUE)
        if told.get("QueueName") in names
    }

    assert found.keys() == names
    assert {name.split("-", 2)[2] for name in found.values()} == {"messaging"}


# --- one alone -------------------------------------------------------------------------------------------------------
QUEUED, CLOCKED = QUEUES[1], SCHEDULES[0]


@pytest.mark.parametrize(
    ("before", "after", "differs"),
    [
        (QUEUED, replace(QUEUED, tries=QUEUED.tries + 1), {"queues"}),
        (QUEUED, replace(QUEUED, delay=QUEUED.delay + 1), {"queues"}),
        (QUEUED, replace(QUEUED, keep_days=QUEUED.keep_days + 1), {"queues"}),
        (QUEUED, replace(QUEUED, detail_types=["Order Paid"]), {"rules"}),
        (QUEUED, replace(QUEUED, batch_size=QUEUED.batch_size - 1), {"mappings"}),
        (QUEUED, replace(QUEUED, most_at_once=QUEUED.most_at_once + 1), {"mappings"}),
        (QUEUED, replace(QUEUED, key="another"), {"queues", "rules", "mappings"}),
        (CLOCKED, replace(CLOCKED, minutes=CLOCKED.minutes + 1), {"schedules"}),
    ],
)
def test_what_is_changed_for_the_local_aws_alone_makes_a_difference(
    monkeypatch: pytest.MonkeyPatch, templates: Mapping[str, Template], before: object, after: object, differs: set[str]
) -> None:
    real = declared.in_templates(templates, "production")  # as it was declared before
    changed = [[after if each is before else each for each in all_of_them] for all_of_them in (QUEUES, SCHEDULES)]
    monkeypatch.setattr(resources, "QUEUES", changed[0])
    monkeypatch.setattr(provision, "SCHEDULES", changed[1])

    assert different(declared.in_local_aws("production"), real) == differs


@pytest.mark.parametrize(
    ("part", "kind", "change", "differs"),
    [
        ("messaging", declared.QUEUE, {"VisibilityTimeout": 7}, "queues"),
        ("messaging", declared.RULE, {"EventPattern": {"detail-type": ["Another"]}}, "rules"),
        ("messaging", "AWS::Events::Archive", {"RetentionDays": 7}, "archives"),
        ("messaging", "AWS::SNS::Topic", {"TopicName": "another"}, "topics"),
        ("messaging", "AWS::SES::ConfigurationSet", {"Name": "another"}, "mail"),
        ("data", "AWS::DynamoDB::GlobalTable", {"TimeToLiveSpecification": {"AttributeName": "another"}}, "tables"),
        ("workflow", "AWS::StepFunctions::StateMachine", {"StateMachineType": "EXPRESS"}, "workflows"),
        ("integrations", declared.RULE, {"ScheduleExpression": "rate(2 days)"}, "schedules"),
        ("integrations", "AWS::Lambda::EventSourceMapping", {"BatchSize": 7}, "mappings"),
    ],
)
def test_what_is_changed_in_the_stacks_alone_makes_a_difference(
    templates: Mapping[str, Template], part: str, kind: str, change: Mapping[str, object], differs: str
) -> None:
    stack = f"vibecode-production-{part}"
    template = copy.deepcopy(templates[stack])
    *_, made = (made for made in template["Resources"].values() if made["Type"] == kind)
    made["Properties"] |= change

    before, after = (declared.in_templates({**templates, **more}, "production") for more in ({}, {stack: template}))

    assert different(after, before) == {differs}
