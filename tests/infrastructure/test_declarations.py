"""The local AWS and the stacks are made from the same declarations: what one has, the other has too, and alike.

Whoever changes one alone, be it a stack, vibecode/local/provision.py or vibecode/local/cognito.py, fails here.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import pytest

from infrastructure.config import STAGES, WAKING
from orders.letters import OUTCOMES
from tests.infrastructure import declared
from tests.infrastructure.declared import Described, Stack, Template
from vibecode import aws
from vibecode.local.names import CLIENT_ID, POOL_ID
from vibecode.resources import QUEUES, SCHEDULES, TRIGGERS, Resources, bucket_cors, bucket_lifecycle

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
    local, real = (
        {where: rule for where, rule in cloud["rules"].items() if rule["pattern"]}
        for cloud in (clouds.local, clouds.real)
    )

    assert len(local) == sum(bool(queue.pattern) for queue in QUEUES)
    assert real == local


def test_a_queue_takes_in_what_its_own_rule_sends_and_nothing_else(clouds: Clouds) -> None:
    wanted: dict[str, set[str]] = {arn: set() for arn in clouds.local["queues"]}
    for (bus, name), rule in clouds.local["rules"].items():
        if rule["pattern"]:
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
    def by_queue(mappings: list[Described]) -> Described:
        """One queue each. The worker may be named by its ARN as well."""
        return {
            each["EventSourceArn"]: each | {"FunctionName": each["FunctionName"].rpartition(":")[2]}
            for each in mappings
        }

    assert len(clouds.real["mappings"]) == len(QUEUES)
    assert by_queue(clouds.real["mappings"]) == by_queue(clouds.local["mappings"])


def test_the_schedules_are_the_same_and_rarer_only_where_they_would_wake_a_database(clouds: Clouds) -> None:
    sleeps = STAGES[clouds.stage].database_sleeps
    local, real = (
        {name: rule for (bus, name), rule in cloud["rules"].items() if bus == "default" and rule["rate"]}
        for cloud in (clouds.local, clouds.real)
    )
    daily = {clouds.names.schedule_name(each.key) for each in SCHEDULES if sleeps and each.wakes_database}

    assert len(local) == len(SCHEDULES)
    assert real == {name: rule | ({"rate": WAKING} if name in daily else {}) for name, rule in local.items()}


# --- files -----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("stage", STAGES)
def test_the_media_bucket_lets_browsers_post_and_forgets_uploads_as_declared(
    templates: Mapping[str, Template], stage: str
) -> None:
    stack = stack_of(templates, stage, "front")
    [media] = [told for _, told in stack.each("AWS::S3::Bucket") if "-media-" in told["BucketName"]]
    [cors] = bucket_cors(["https://shop.example"])
    [forget] = bucket_lifecycle()

    [rule] = media["CorsConfiguration"]["CorsRules"]
    assert (rule["AllowedMethods"], rule["AllowedHeaders"], rule["MaxAge"]) == (
        cors["AllowedMethods"],
        cors["AllowedHeaders"],
        cors["MaxAgeSeconds"],
    )
    [lives] = [each for each in media["LifecycleConfiguration"]["Rules"] if each.get("Id") == forget["ID"]]
    assert (lives["Prefix"], lives["ExpirationInDays"], lives["AbortIncompleteMultipartUpload"], lives["Status"]) == (
        forget["Filter"]["Prefix"],  # type: ignore[index]  # a dict, as S3 takes it
        forget["Expiration"]["Days"],  # type: ignore[index]  # as above
        forget["AbortIncompleteMultipartUpload"],
        forget["Status"],
    )


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
