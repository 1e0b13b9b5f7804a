"""Every event that AWS's own generator knows: handled, or refused with a reason, and none silently dropped.

They are made by the code behind `sam local generate-event`; beside each stands what must happen to it.
"""

import copy
from collections.abc import Mapping
from typing import Any

import pytest
from django.conf import settings

from vibecode.lambda_entry import Refused, handler
from vibecode.local.lambda_runtime import Context

NOBODYS = (
    "alexa-skills-kit end-session", "alexa-skills-kit intent-answer", "alexa-skills-kit intent-getnewfact",
    "alexa-skills-kit intent-mycoloris", "alexa-skills-kit intent-recipe", "alexa-skills-kit start-session",
    "alexa-smart-home smart-home-control-turn-off-request", "alexa-smart-home smart-home-control-turn-on-request",
    "alexa-smart-home smart-home-discovery-request", "apigateway authorizer", "apigateway http-api-proxy",
    "appsync resolver", "batch get-job", "batch submit-job", "cloudformation create-request", "codepipeline job",
    "cognito sync-trigger", "config item-change-notification", "config oversized-item-change-notification",
    "config periodic-rule", "connect contact-flow-event", "cloudwatch logs", "kinesis kinesis-firehose",
    "kinesis analytics", "kinesis analytics-compressed", "kinesis analytics-dynamodb", "kinesis analytics-kpl",
    "kinesis apachelog", "kinesis cloudwatch-logs-processor", "kinesis streams-as-source", "kinesis syslog",
    "lex book-car", "lex book-hotel", "lex make-appointment", "lex order-flowers", "lex-v2 banking-bot",
    "lex-v2 book-car", "lex-v2 book-hotel", "s3 batch-invocation", "sagemaker ground-truth-pre-human",
    "sagemaker ground-truth-annotation-consolidation", "stepfunctions error", "workmail email",
)  # fmt: skip
NOT_OF_SQS = (
    "cloudfront ab-test", "cloudfront access-request-in-response", "cloudfront http-redirect",
    "cloudfront modify-querystring", "cloudfront modify-response-header",
    "cloudfront multiple-remote-calls-aggregate-response", "cloudfront normalize-querystring-to-improve-cache-hit",
    "cloudfront redirect-on-viewer-country", "cloudfront redirect-unauthenticated-users",
    "cloudfront response-generation", "cloudfront serve-object-on-viewer-device", "cloudfront simple-remote-call",
    "codecommit repository", "dynamodb update", "kinesis get-records", "rekognition s3-request", "s3 delete",
    "s3 put", "ses email-receiving", "sns notification",
)  # fmt: skip
REFUSED: Mapping[str, str] = {
    **dict.fromkeys(NOBODYS, "Nobody sends such events."),
    **dict.fromkeys(NOT_OF_SQS, "Only records of SQS are handled here."),
    "alb request": "The request does not come from API Gateway.",
    "apigateway request-authorizer": "API Gateway sends no methodArn, type with a request.",
    "apigateway aws-proxy": "Zappa would make stage variables our environment.",
    "cloudwatch scheduled-event": "EventBridge wakes us by our own schedules only; facts come through queues.",
    "sqs receive-message": "The records are not of one queue of ours.",
}


def invoke(event: Any) -> Any:
    """As AWS does it."""
    return handler(event, Context("vibecode-dev"))


def test_the_table_names_each_event_of_the_generator(aws_events: dict[str, Any]) -> None:
    assert sorted(aws_events) == sorted(REFUSED)


@pytest.mark.parametrize("name", REFUSED)
def test_an_event_that_is_none_of_ours_is_refused_with_its_reason(aws_events: dict[str, Any], name: str) -> None:
    with pytest.raises(Refused) as refused:
        invoke(aws_events[name])

    assert str(refused.value) == REFUSED[name]


# --- ours ---------------------------------------------------------------------------------------------------
def test_a_message_of_our_queue_is_handled_and_given_back_where_it_is_no_json(
    db: None, aws_events: dict[str, Any]
) -> None:
    event = copy.deepcopy(aws_events["sqs receive-message"])
    event["Records"][0]["eventSourceARN"] = settings.RESOURCES.queue_arn("mail")

    assert invoke(event) == {"batchItemFailures": [{"itemIdentifier": event["Records"][0]["messageId"]}]}


def test_the_clock_of_our_schedule_runs_it(transactional_db: None, aws_events: dict[str, Any]) -> None:
    event = copy.deepcopy(aws_events["cloudwatch scheduled-event"])
    event["resources"] = [settings.RESOURCES.rule_arn("purge")]

    assert invoke(event) is None
