"""Executions of the order workflow in Step Functions: begin by name, look, answer who waits. Called by services."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

from django.conf import settings

from vibecode import aws
from vibecode.errors import Away


class WorkflowAway(Away):
    """Step Functions does not answer."""

    code = "workflow-away"
    title = "The workflow does not answer right now"


def start_execution(*, name: str, data: dict[str, Any]) -> bool:
    """Begin an execution under its name; False where that name was begun before: Step Functions refuses a second one.

    A closed execution's name stays refused for 90 days:
    https://docs.aws.amazon.com/step-functions/latest/apireference/API_StartExecution.html
    Raises WorkflowAway.
    """
    try:
        aws.client("stepfunctions").start_execution(
            stateMachineArn=settings.RESOURCES.state_machine_arn, name=name, input=json.dumps(data, sort_keys=True)
        )
    except aws.service_errors() as error:
        if aws.error_code(error) == "ExecutionAlreadyExists":
            return False
        raise WorkflowAway(f"The execution {name} was not begun: {aws.error_code(error) or error}.") from error
    return True


def execution_status(name: str) -> str:
    """RUNNING, SUCCEEDED, FAILED, TIMED_OUT, ABORTED, PENDING_REDRIVE; "" where none was ever begun under this name.

    Raises WorkflowAway.
    """
    try:
        found = aws.client("stepfunctions").describe_execution(executionArn=settings.RESOURCES.execution_arn(name))
    except aws.service_errors() as error:
        if aws.error_code(error) == "ExecutionDoesNotExist":
            return ""
        raise WorkflowAway(f"The execution {name} cannot be looked at: {aws.error_code(error) or error}.") from error
    return str(found["status"])


def lost_executions() -> int:
    """How many executions timed out or were aborted in the last day, of the newest hundred of each. Waits two seconds.

    One that ended in a cancellation is none of them: its workflow did its work. Raises WorkflowAway.
    """
    since = datetime.now(UTC) - timedelta(days=1)
    lost = 0
    try:
        workflows = aws.client("stepfunctions", seconds=2, tries=1)
        for status in ("TIMED_OUT", "ABORTED"):
            found = workflows.list_executions(
                stateMachineArn=settings.RESOURCES.state_machine_arn,
                statusFilter=status,
                maxResults=100,
            )["executions"]
            lost += sum(execution["startDate"] >= since for execution in found)
    except aws.service_errors() as error:
        raise WorkflowAway(
            f"Step Functions does not answer ({aws.error_code(error) or type(error).__name__})."
        ) from error
    return lost


def answer_task(*, token: str, data: dict[str, Any]) -> bool:
    """Let an execution that waits by a task token go on; False where it waits no longer. Raises WorkflowAway."""
    try:
        aws.client("stepfunctions").send_task_success(taskToken=token, output=json.dumps(data))
    except aws.service_errors() as error:
        if aws.error_code(error) in {"TaskTimedOut", "TaskDoesNotExist", "InvalidToken"}:
            return False
        raise WorkflowAway(f"A waiting execution was not told: {aws.error_code(error) or error}.") from error
    return True
