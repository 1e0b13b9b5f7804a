"""What wakes the functions on AWS and who may, and API Gateway's own answers."""

import json
import re
from collections.abc import Mapping
from typing import Any

import aws_cdk as cdk
import pytest
from aws_cdk import aws_kms as kms

from infrastructure import integrations
from infrastructure.config import STAGES, WAKING
from infrastructure.live import Live
from tests.infrastructure.templates import ACCOUNT, Template, found, only
from vibecode import problems
from vibecode.local.provision import mappings
from vibecode.resources import QUEUES, ROUTES, SCHEDULES, TRIGGERS, Resources

type Templates = Mapping[str, Template]

REGION = "eu-north-1"


def resources(stage: str) -> Resources:
    """A stage's names as its templates have them."""
    return Resources(stage=stage, region=REGION, account=ACCOUNT)


@pytest.fixture
def after(templates: Templates, stage: str) -> Template:
    """The stack after Zappa."""
    return templates[f"vibecode-{stage}-integrations"]


# --- queues, clock, callers ------------------------------------------------------------------------------------------
def test_the_queues_feed_the_worker_as_they_do_on_this_machine(after: Template, stage: str) -> None:
    mapped = found(after, "AWS::Lambda::EventSourceMapping").values()
    made = [{name: value for name, value in each.items() if name != "Tags"} for each in mapped]

    assert _sorted(made) == _sorted(mappings(resources(stage)))


def test_what_containers_work_at_feeds_no_function(everything: Templates) -> None:
    mapped = found(everything["vibecode-production-integrations"], "AWS::Lambda::EventSourceMapping").values()
    fed = {each["EventSourceArn"].rpartition(":")[2] for each in mapped}

    assert fed == {resources("production").queue_name(queue.key) for queue in QUEUES if queue.key != "jobs"}


def test_runs_that_cannot_begin_do_not_gather(after: Template, stage: str) -> None:
    kept = only(after, "AWS::Lambda::EventInvokeConfig")

    assert (kept["FunctionName"], kept["Qualifier"]) == (resources(stage).worker, "$LATEST")
    if STAGES[stage].database_sleeps:  # a day's runs, of which no other comes soon
        assert kept["MaximumEventAgeInSeconds"] == 3600, "as long as the clock itself tries"
    else:
        assert 60 <= kept["MaximumEventAgeInSeconds"] <= 600, "Lambda's own is six hours"
    assert kept["MaximumRetryAttempts"] <= 1


def test_the_clock_runs_what_is_declared(after: Template, stage: str) -> None:
    sleeps = STAGES[stage].database_sleeps
    named = resources(stage)

    rules = {rule["Name"]: rule for rule in found(after, "AWS::Events::Rule").values()}

    assert {name: rule["ScheduleExpression"] for name, rule in rules.items()} == {
        named.schedule_name(each.key): WAKING if sleeps and each.wakes_database else each.rate(database_sleeps=sleeps)
        for each in SCHEDULES
    }
    for rule in rules.values():
        [target] = rule["Targets"]
        assert target["Arn"] == named.worker_arn
        assert target["RetryPolicy"]["MaximumEventAgeInSeconds"] <= 3600


def test_each_caller_of_the_worker_is_named_and_there_is_no_other(
    templates: Templates, after: Template, stage: str
) -> None:
    permissions = found(after, "AWS::Lambda::Permission").values()
    rules = {f"<{name}.Arn>" for name in found(after, "AWS::Events::Rule")}
    callers = {(each["Principal"], each["SourceArn"]) for each in permissions}

    assert {source for principal, source in callers if principal == "events.amazonaws.com"} == rules
    routes = {source for principal, source in callers if principal == "apigateway.amazonaws.com"}
    assert {source.rpartition("/")[2] for source in routes} == set(ROUTES)
    assert all(re.fullmatch(rf"arn:aws:execute-api:{REGION}:{ACCOUNT}:<[^>]+>/{stage}/\$\w+", each) for each in routes)
    pools = [source for principal, source in callers if principal == "cognito-idp.amazonaws.com"]
    assert len(pools) == bool(TRIGGERS)
    assert len(callers) == len(rules) + len(routes) + len(pools) == len(permissions)
    for each in permissions:
        assert each["FunctionName"] == resources(stage).worker
        assert each["Action"] == "lambda:InvokeFunction"


def test_the_websocket_api_has_the_workers_routes(templates: Templates, stage: str) -> None:
    live = templates[f"vibecode-{stage}-live"]
    integration = only(live, "AWS::ApiGatewayV2::Integration")
    deployed = only(live, "AWS::ApiGatewayV2::Stage")

    assert {route["RouteKey"] for route in found(live, "AWS::ApiGatewayV2::Route").values()} == set(ROUTES)
    assert f"/functions/{resources(stage).worker_arn}/invocations" in integration["IntegrationUri"]
    assert deployed["StageName"] == stage
    assert deployed["DefaultRouteSettings"]["ThrottlingRateLimit"] > 0
    logged = json.loads(deployed["AccessLogSettings"]["Format"])
    assert not any("query" in value.lower() for value in logged.values()), "a ticket stands there"


# --- API Gateway's own answers ---------------------------------------------------------------------------------------
def test_what_api_gateway_says_itself_is_a_problem_as_ours_are(after: Template) -> None:
    answers = found(after, "AWS::ApiGateway::GatewayResponse").values()
    ours = problems.problem(404, "/", "")

    assert {"DEFAULT_4XX", "DEFAULT_5XX", "REQUEST_TOO_LARGE", "THROTTLED", "INTEGRATION_TIMEOUT"} <= {
        answer["ResponseType"] for answer in answers
    }
    for answer in answers:
        written = answer["ResponseTemplates"]["application/json"]
        body = json.loads(written.replace("$context.error.messageString", '"Said by AWS"'))
        headers = {
            name.removeprefix("gatewayresponse.header."): value.strip("'")
            for name, value in answer["ResponseParameters"].items()
        }
        assert body["type"].endswith(f"/api/problems#{body['code']}")
        assert headers["Content-Type"] == problems.CONTENT_TYPE
        assert headers["Access-Control-Allow-Origin"] == "*"
        if answer["ResponseType"].startswith("DEFAULT_"):
            assert ours.keys() - body.keys() == {"status", "instance"}
            continue
        status = int(answer["StatusCode"])
        assert ours.keys() - body.keys() == {"instance"}
        assert (body["status"], body["code"]) == (status, problems.CODE_OF[status])
        assert ("Retry-After" in headers) == (status in {429, 504})


def test_the_api_is_deployed_after_its_answers_are_made_and_the_last_deployment_stays(after: Template) -> None:
    [deployment] = [each for each in after["Resources"].values() if each["Type"] == "AWS::ApiGateway::Deployment"]

    assert set(deployment["DependsOn"]) == set(found(after, "AWS::ApiGateway::GatewayResponse"))
    assert deployment["DeletionPolicy"] == "Retain"


def test_what_is_said_otherwise_is_deployed_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    """By another logical id: words that no table names count too."""

    def deployed() -> set[str]:
        app = cdk.App()
        stage = STAGES["dev"]
        names = Resources(stage="dev", region=REGION, account=cdk.Aws.ACCOUNT_ID)
        live = Live(app, "live", stage=stage, resources=names, key=kms.Key(cdk.Stack(app, "foundation"), "Key"))
        made = integrations.Integrations(
            app,
            "after",
            stage=stage,
            resources=names,
            live=live,
            user_pool_arn="pool",
            public_url="https://shop.example",
        )
        template = app.synth().get_stack_by_name(made.stack_name).template
        return set(found(template, "AWS::ApiGateway::Deployment"))

    before, again = deployed(), deployed()
    monkeypatch.setattr(integrations, "_problem", lambda *_: '{"code": "another"}')
    after = deployed()

    assert before == again
    assert not before & after


def _sorted(made: Any) -> list[dict[str, Any]]:
    return sorted(map(dict, made), key=lambda each: str(each["EventSourceArn"]))
