"""EventBridge of the local AWS: moto's bus giving targets what AWS gives them, and remembering. Used by aws.py."""

import functools
import json
import time
from typing import Any

from moto.events.models import EventsBackend, Rule
from moto.events.utils import EventTemplateParser

from vibecode.local.aws_memory import Memory
from vibecode.local.mend import mend

# https://docs.aws.amazon.com/eventbridge/latest/ref/overiew-event-structure.html
ENVELOPE = ("version", "id", "detail-type", "source", "account", "time", "region", "resources", "detail")


def correct_events(memory: Memory) -> None:
    """Give a target the whole event, and write every accepted fact down.

    moto builds what a target gets by replacing words in a text: slowly, without the account, and also inside a detail.
    And it takes a schedule for a rule that every event matches.
    """
    parse, put_events, send = EventTemplateParser.parse, EventsBackend.put_events, Rule.send_to_targets

    def parse_template(input_template: str | None, input_paths_map: dict[str, str], event: Any) -> Any:
        if input_template is None:
            return {name: event[name] for name in ENVELOPE}
        if input_template.startswith('{"archive-arn": "'):
            return {"archive-arn": input_template.split('"')[3]}  # all that moto reads of it
        return parse(input_template, input_paths_map, event)

    def send_by_pattern(rule: Rule, event: Any, transform_input: bool = True) -> None:
        if not rule.scheduled_expression:
            send(rule, event, transform_input)

    @functools.wraps(put_events)
    def put_and_note(backend: EventsBackend, events: list[dict[str, Any]]) -> list[dict[str, Any]]:
        entries: list[dict[str, Any]] = put_events(backend, events)
        accepted = [
            {
                "id": entry["EventId"],
                "bus": str(event.get("EventBusName", "default")).rpartition("/")[2],
                "source": event["Source"],
                "detail-type": event["DetailType"],
                "detail": json.loads(event["Detail"]),
                "at": time.time(),
            }
            for event, entry in zip(events, entries, strict=True)
            if "EventId" in entry
        ]
        memory.save_facts(accepted)
        return entries

    mend(EventTemplateParser, "parse", staticmethod(parse_template))
    mend(Rule, "send_to_targets", send_by_pattern)
    mend(EventsBackend, "put_events", put_and_note)
