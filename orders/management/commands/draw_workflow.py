"""The order workflow as a picture: a Mermaid state diagram of the ASL file, as docs/workflow.md shows it."""

import json
from collections.abc import Iterator
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand

WORKFLOW = settings.BASE_DIR / "infrastructure" / "order_workflow.asl.json"


def draw(machine: dict[str, Any], indent: str = "    ") -> Iterator[str]:
    """The lines of a Mermaid diagram of a state machine, or of one branch of it."""
    yield f"{indent}[*] --> {machine['StartAt']}"
    for name, state in machine["States"].items():
        for number, branch in enumerate(state.get("Branches", ()), start=1):
            if number == 1:
                yield f"{indent}state {name} {{"
            else:
                yield f"{indent}    --"
            yield from draw(branch, indent + "    ")
        if state.get("Branches"):
            yield f"{indent}}}"
        if "Next" in state:
            yield f"{indent}{name} --> {state['Next']}"
        if state.get("End") or state["Type"] in {"Succeed", "Fail"}:
            yield f"{indent}{name} --> [*]"
        for catch in state.get("Catch", ()):
            errors = ", ".join("any error" if error == "States.ALL" else error for error in catch["ErrorEquals"])
            yield f"{indent}{name} --> {catch['Next']}: {errors}"
        for retry in state.get("Retry", ()):
            if "PaymentError" in retry["ErrorEquals"]:
                yield f"{indent}{name} --> {name}: {', '.join(retry['ErrorEquals'])}, {retry['MaxAttempts']} times"


class Command(BaseCommand):
    """A picture that is drawn from the file cannot tell another story than the file."""

    requires_system_checks = ()  # they ask the database, which has nothing to say here
    help = "Print the order workflow as a Mermaid diagram (docs/workflow.md)."

    def handle(self, *_: Any, **__: Any) -> None:
        """Draw it."""
        self.stdout.write("stateDiagram-v2")
        for line in draw(json.loads(WORKFLOW.read_text())):
            self.stdout.write(line)
