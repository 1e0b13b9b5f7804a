"""What stands between AWS and the functions that Zappa made: queues, clock, callers, and API Gateway's own answers.

Deployed after `zappa deploy` and `zappa update`, told the API's id.
"""

import hashlib
import json
from typing import Any

import aws_cdk as cdk
from aws_cdk import aws_apigateway as apigateway
from aws_cdk import aws_events as events
from aws_cdk import aws_lambda as lambda_
from constructs import Construct

from infrastructure.config import Stage
from infrastructure.live import Live
from vibecode.resources import ROUTES, SCHEDULES, TRIGGERS, Resources, Schedule

# What API Gateway says by itself, by its name for it: status, our code, title and what to do. An API whose every method
# is one function's knows no others; DEFAULT_4XX and DEFAULT_5XX say in AWS's words what is left.
# https://docs.aws.amazon.com/apigateway/latest/developerguide/supported-gateway-response-types.html
ANSWERS = {
    "BAD_REQUEST_BODY": (400, "malformed", "Bad Request", "The request's body cannot be read."),
    "BAD_REQUEST_PARAMETERS": (400, "malformed", "Bad Request", "The request's parameters cannot be read."),
    "ACCESS_DENIED": (403, "forbidden", "Forbidden", "You may not do this."),
    "WAF_FILTERED": (403, "forbidden", "Forbidden", "The request looks like an attack."),
    "MISSING_AUTHENTICATION_TOKEN": (404, "not-found", "Not Found", "There is nothing at this address."),
    "RESOURCE_NOT_FOUND": (404, "not-found", "Not Found", "There is nothing at this address."),
    "REQUEST_TOO_LARGE": (
        413,
        "too-large",
        "Content Too Large",
        "The body is larger than anything that is taken here.",
    ),
    "UNSUPPORTED_MEDIA_TYPE": (415, "unsupported-media-type", "Unsupported Media Type", "Send application/json."),
    "THROTTLED": (429, "rate-limited", "Too Many Requests", "The shop is asked too much at once. Try again shortly."),
    "QUOTA_EXCEEDED": (
        429,
        "rate-limited",
        "Too Many Requests",
        "The shop is asked too much at once. Try again shortly.",
    ),
    "API_CONFIGURATION_ERROR": (500, "internal-error", "Internal Server Error", "Something broke on our side."),
    "INTEGRATION_FAILURE": (504, "no-answer", "Gateway Timeout", "No answer came. It may have been done all the same."),
    "INTEGRATION_TIMEOUT": (504, "no-answer", "Gateway Timeout", "No answer came. It may have been done all the same."),
}
WAITS = {429: "2", 504: "2"}  # Retry-After, in seconds
LEFT = {"DEFAULT_4XX": "malformed", "DEFAULT_5XX": "internal-error"}
EXPOSED = "Retry-After, X-Request-Id"


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
        self._feed()
        for schedule in SCHEDULES:
            self._run(schedule, database_sleeps=stage.database_sleeps)
        for route in ROUTES:
            self._let("apigateway", f"On{route.removeprefix('$').capitalize()}", live.route_arn(route))
        if TRIGGERS:
            self._let("cognito-idp", "OnTrigger", user_pool_arn)
        self._answer(stage, public_url)

    # --- the worker --------------------------------------------------------------------------------------------------
    def _feed(self) -> None:
        """Each queue's messages, and only those back that failed."""
        for queue in self._resources.queues.values():
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
        rule = events.CfnRule(
            self,
            f"{_capital(schedule.key)}Clock",
            name=self._resources.schedule_name(schedule.key),
            description=f"Runs {schedule.handler}",
            schedule_expression=schedule.rate(database_sleeps=database_sleeps),
            targets=[
                events.CfnRule.TargetProperty(
                    id="worker",
                    arn=self._resources.worker_arn,
                    retry_policy=events.CfnRule.RetryPolicyProperty(
                        maximum_event_age_in_seconds=max(60, min(3600, schedule.minutes * 60)),
                        maximum_retry_attempts=10,
                    ),
                )
            ],
        )
        self._let("events", f"On{_capital(schedule.key)}", rule.attr_arn)

    def _let(self, service: str, name: str, source: str) -> None:
        """A service invokes the worker, for one thing of ours."""
        lambda_.CfnPermission(
            self,
            name,
            action="lambda:InvokeFunction",
            function_name=self._resources.worker,
            principal=f"{service}.amazonaws.com",
            source_arn=source,
            source_account=self.account,
        )

    # --- API Gateway's own answers -----------------------------------------------------------------------------------
    def _answer(self, stage: Stage, public_url: str) -> None:
        """As the app's own, and in force: the API is deployed anew whenever one of them changes.

        `zappa update` deploys it too. The deployment before stays: an API's stage may stand on none that is gone.
        """
        api = cdk.CfnParameter(self, "ApiId", description="Of the API that Zappa made").value_as_string
        responses = [
            self._response(api, kind, _problem(public_url, code, title, _text(detail), status), status)
            for kind, (status, code, title, detail) in ANSWERS.items()
        ]
        responses += [
            self._response(api, kind, _problem(public_url, code, "$context.error.responseType", AWS_SAYS))
            for kind, code in LEFT.items()
        ]
        said = json.dumps([ANSWERS, WAITS, LEFT, EXPOSED])
        deployment = apigateway.CfnDeployment(
            self,
            f"Answers{hashlib.sha256(said.encode()).hexdigest()[:8]}",
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


AWS_SAYS = "$context.error.messageString"  # with its quotes


def _text(value: str) -> str:
    return json.dumps(value)


def _problem(public_url: str, code: str, title: str, detail: str, status: int | None = None) -> str:
    """RFC 9457, as vibecode.problems says it; AWS knows the status of what is left, and does not tell it."""
    members = {
        "type": _text(f"{public_url}/api/problems#{code}"),
        "title": _text(title),
        **({"status": str(status)} if status else {}),
        "detail": detail,
        "code": _text(code),
        "requestId": _text("$context.requestId"),
        "success": "false",
        "error": _text(title),
    }
    return "{" + ", ".join(f"{_text(name)}: {value}" for name, value in members.items()) + "}"


def _capital(key: str) -> str:
    return "".join(map(str.capitalize, key.split("-")))
