"""News for staff and partners: facts on the SNS topic, in words for people and as JSON for machines.

Called by the consumer behind the queue `announce`.
"""

import json
import re
from collections.abc import Mapping
from typing import Any

from django.conf import settings

from vibecode import aws

# What the reader of a mail has no use for.
UNREAD = {"schemaVersion", "orderVersion", "userId"}
LONGEST_SUBJECT = 100  # https://docs.aws.amazon.com/sns/latest/api/API_Publish.html


def announce(*, source: str, detail_type: str, detail: Mapping[str, Any]) -> None:
    """Publish a fact to the topic. Calls SNS; a repeat is a second message with the same ``eventId``.

    ``detail`` is the fact's own: it holds no name, address or e-mail. Subscribers by e-mail get words, all others the
    detail as JSON; attributes (source, detailType, eventId, stage) let them filter and drop repeats. Raises what boto3
    raises.
    """
    attributes = {
        "source": source,
        "detailType": detail_type,
        "eventId": str(detail["eventId"]),
        "stage": settings.STAGE,
    }
    aws.client("sns").publish(
        TopicArn=settings.RESOURCES.topic_arn,
        Subject=_subject(detail_type, detail),
        Message=json.dumps({"default": json.dumps(detail), "email": _words(detail_type, detail)}),
        MessageStructure="json",
        MessageAttributes={name: {"DataType": "String", "StringValue": value} for name, value in attributes.items()},
    )


def _subject(detail_type: str, detail: Mapping[str, Any]) -> str:
    about = detail.get("orderId") or detail.get("sku") or ""
    stage = "" if settings.STAGE == "production" else f" ({settings.STAGE})"
    return f"{detail_type} {about}".strip()[: LONGEST_SUBJECT - len(stage)] + stage


def _words(detail_type: str, detail: Mapping[str, Any]) -> str:
    """A line for each value, lists by their length: who wants them reads the JSON."""
    told = {name: value for name, value in detail.items() if name not in UNREAD}
    lines = [
        f"{_label(name)}: {len(value) if isinstance(value, list | tuple) else value}" for name, value in told.items()
    ]
    return "\n".join([f"{detail_type} ({settings.STAGE})", "", *lines, ""])


def _label(name: str) -> str:
    return re.sub("([A-Z])", lambda letter: f" {letter[1].lower()}", name).capitalize()
