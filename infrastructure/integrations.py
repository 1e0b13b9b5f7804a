"""What stands between AWS and the functions that Zappa made: queues, clock, callers, and API Gateway's own answers.

Deployed after `zappa deploy` and `zappa update`, told the API's id.
"""

import hashlib
import json
from http import HTTPStatus
from typing import Any

import aws_cdk as cdk
from aws_cdk import aws_apigateway as apigateway
from aws_cdk import aws_events as events
from aws_cdk import aws_lambda as lambda_
from constructs import Construct

from infrastructure import batch
from infrastructure.config import WAKING, Stage
from infrastructure.live import Live
from vibecode.resources import ROUTES, SCHEDULES, TRIGGERS, Resources, Schedule

# What API Gateway says by itself, by its name for it: status, our code, what to do. An API whose every method is one
# function's knows no others; for what is left it speaks in its own words, and of its status as AWS has it.
# https://docs.aws.amazon.com/apigateway/latest/developerguide/supported-gateway-response-types.html
NOTHING_HERE = (404, "not-found", "There is nothing at this address; /api/docs lists what there is.")
TOO_MANY = (429, "rate-limited", "The shop is asked too much at once. Try again shortly.")
NO_ANSWER = (
    504,
    "no-answer",
    "No answer came in time. It may have been done all the same: look, or send it again with its Idempotency-Key.",
)
ANSWERS = {
    "BAD_REQUEST_BODY": (400, "malformed", "The request's body cannot be read."),
    "BAD_REQUEST_PARAMETERS": (400, "malformed", "The request's parameters cannot be read."),
    "ACCESS_DENIED": (403, "forbidden", "You may not do this."),
    "WAF_FILTERED": (403, "forbidden", "The request looks like an attack."),
    "MISSING_AUTHENTICATION_TOKEN": NOTHING_HERE,
    "RESOURCE_NOT_FOUND": NOTHING_HERE,
    "REQUEST_TOO_LARGE": (413, "too-large", "The body is larger than anything that is taken here."),
    "UNSUPPORTED_MEDIA_TYPE": (415, "unsupported-media-type", "Send application/json."),
    "THROTTLED": TOO_MANY,
    "QUOTA_EXCEEDED": TOO_MANY,
    "API_CONFIGURATION_ERROR": (500, "internal-error", "Something broke on our side."),
    "INTEGRATION_FAILURE": NO_ANSWER,
    "INTEGRATION_TIMEOUT": NO_ANSWER,
}
LEFT = {
    "DEFAULT_4XX": ("malformed", "The request cannot be taken"),
    "DEFAULT_5XX": ("internal-error", "Something broke on our side"),
}
WAITS = {429: "2", 504: "2"}  # Retry-After, in seconds
EXPOSED = "Retry-After, X-Request-Id"
LATEST = 3600  # seconds after its time that a schedule is still run
# Lambda takes a run from EventBridge at once and keeps it in a queue of its own while it refuses to begin, by itself
# for six hours, with two more tries of what fails. Runs of each minute would gather there: they are given up soon, and
# what runs each day comes again. Where the database sleeps the sweeps run each day too, and wait for a burst to pass.
# https://docs.aws.amazon.com/lambda/latest/dg/invocation-async-error-handling.html
OLDEST_RUN, FURTHER_TRIES = 300, 1


class Integrations(cdk.Stack):
    """Each permission names who may ask: one rule, one route, one pool."""

    def __init__(
        self,
        scope: Construct,
        name: str,
        *,
        stage: Stage,
        resources: Resources,
        live: Live,
        user_pool_arn: str,
        public_url: str,
        **stack: Any,
    ) -> None:
        super().__init__(scope, name, **stack)
        self._resources = resources
        self._feed(stage)
        for schedule in SCHEDULES:
            self._run(schedule, database_sleeps=stage.database_sleeps)
        for route in ROUTES:
            self._let("apigateway", f"On{route.removeprefix('$').capitalize()}", live.route_arn(route))
        if TRIGGERS:
            self._let("cognito-idp", "OnTrigger", user_pool_arn)
        self._forget(database_sleeps=stage.database_sleeps)
        self._answer(stage, public_url)

    # --- the worker --------------------------------------------------------------------------------------------------
    def _feed(self, stage: Stage) -> None:
        """Each queue's messages, and only those back that failed; what containers work at is left to them."""
        for queue in self._resources.queues.values():
            if stage.batch and queue.key == batch.QUEUE:
                continue
            lambda_.CfnEventSourceMapping(
                self,
                f"{_capital(queue.key)}Messages",
                function_name=self._resources.worker,
                event_source_arn=self._resources.queue_arn(queue.key),
                batch_size=queue.batch_size,
                function_response_types=["ReportBatchItemFailures"],
                scaling_config=lambda_.CfnEventSourceMapping.ScalingConfigProperty(
                    maximum_concurrency=queue.most_at_once
                ),
            )

    def _run(self, schedule: Schedule, *, database_sleeps: bool) -> None:
        """What cannot be delivered until the next time is not delivered late."""
        minutes = schedule.minutes_between(database_sleeps=database_sleeps)
        rule = events.CfnRule(
            self,
            f"{_capital(schedule.key)}Clock",
            name=self._resources.schedule_name(schedule.key),
            description=f"Runs {schedule.handler}",
            schedule_expression=(
                WAKING
                if database_sleeps and schedule.wakes_database  # all at once, so that it is woken once
                else schedule.rate(database_sleeps=database_sleeps)
            ),
            targets=[
                events.CfnRule.TargetProperty(
                    id="worker",
                    arn=self._resources.worker_arn,
                    retry_policy=events.CfnRule.RetryPolicyProperty(
                        maximum_event_age_in_seconds=min(minutes * 60, LATEST), maximum_retry_attempts=10
                    ),
                )
            ],
        )
        self._let("events", f"On{_capital(schedule.key)}", rule.attr_arn)

    def _forget(self, *, database_sleeps: bool) -> None:
        """Runs that Lambda cannot begin: only the clock asks without waiting for the answer."""
        lambda_.CfnEventInvokeConfig(
            self,
            "Runs",
            function_name=self._resources.worker,
            qualifier="$LATEST",
            maximum_event_age_in_seconds=LATEST if database_sleeps else OLDEST_RUN,
            maximum_retry_attempts=FURTHER_TRIES,
        )

    def _let(self, service: str, name: str, source: str) -> None:
        """A service invokes the worker, for one thing of ours."""
        lambda_.CfnPermission(
            self,
            name,
            action="lambda:InvokeFunction",
            function_name=self._resources.worker,
            principal=f"{service}.amazonaws.com",
            source_arn=source,
        )

    # --- API Gateway's own answers -----------------------------------------------------------------------------------
    def _answer(self, stage: Stage, public_url: str) -> None:
        """As the app's own, and in force: the API is deployed anew whenever one of them changes.

        `zappa update` deploys it too. The deployment before stays: an API's stage may stand on none that is gone.
        """
        api = cdk.CfnParameter(self, "ApiId", description="Of the API that Zappa made").value_as_string
        responses = [
            self._response(
                api, kind, _problem(public_url, code, HTTPStatus(status).phrase, json.dumps(detail), status), status
            )
            for kind, (status, code, detail) in ANSWERS.items()
        ]
        responses += [
            self._response(api, kind, _problem(public_url, code, title, "$context.error.messageString"))
            for kind, (code, title) in LEFT.items()
        ]
        said = self.resolve(
            [[r.response_type, r.status_code, r.response_parameters, r.response_templates] for r in responses]
        )
        digest = hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()
        deployment = apigateway.CfnDeployment(
            self,
            f"Answers{digest[:8]}",  # another one: CloudFormation changes none
            rest_api_id=api,
            stage_name=stage.name,
            description="API Gateway's own answers are problems",
        )
        deployment.apply_removal_policy(cdk.RemovalPolicy.RETAIN)
        for response in responses:
            deployment.add_resource_dependency(response)

    def _response(self, api: str, kind: str, body: str, status: int | None = None) -> apigateway.CfnGatewayResponse:
        headers = {
            "Content-Type": "application/problem+json",
            "Cache-Control": "no-store",
            "Access-Control-Allow-Origin": "*",  # nothing of anybody's is in it
            "Access-Control-Expose-Headers": EXPOSED,
        }
        if status in WAITS:
            headers["Retry-After"] = WAITS[status]
        return apigateway.CfnGatewayResponse(
            self,
            "".join(map(str.capitalize, kind.split("_"))),
            rest_api_id=api,
            response_type=kind,
            status_code=str(status) if status else None,
            response_parameters={f"gatewayresponse.header.{name}": f"'{value}'" for name, value in headers.items()}
            | {"gatewayresponse.header.X-Request-Id": "context.requestId"},
            response_templates={"application/json": body},
        )


def _problem(public_url: str, code: str, title: str, detail: str, status: int | None = None) -> str:
    """RFC 9457, as vibecode.problems says it; ``detail`` is JSON. AWS does not tell the status of what is left."""
    members = {
        "type": json.dumps(f"{public_url}/api/problems#{code}"),
        "title": json.dumps(title),
        **({"status": str(status)} if status else {}),
        "detail": detail,
        "code": json.dumps(code),
        "requestId": '"$context.requestId"',
        "success": "false",
        "error": json.dumps(title),
    }
    return "{" + ", ".join(f'"{name}": {value}' for name, value in members.items()) + "}"


def _capital(key: str) -> str:
    return "".join(map(str.capitalize, key.split("-")))
