"""How the local AWS runs functions: every invocation goes to the Lambda runtime over HTTP. Used by aws.py.

moto would start a container for each; ours are one process that stays (lambda_runtime.py), at LAMBDA_RUNTIME_URL.
"""

import http.client
import json
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from vibecode.local import ports
from vibecode.local.mend import mend
from vibecode.resources import FUNCTION_TIMEOUT


class RuntimeLost(Exception):
    """The runtime did not answer: it is not there, or died with the event in its hands."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a function gave back: its answer, or the error it raised as {"errorType", "errorMessage", …}."""

    payload: Any
    failed: bool


class Runtime:
    """The Lambda runtime, as seen from the local AWS."""

    def __init__(self, url: str) -> None:
        where = urlsplit(url)
        self._host, self._port = where.hostname or ports.HOST, where.port or 0  # port 0: nobody ever listens

    def listens(self) -> bool:
        """Tell whether it accepts connections now."""
        return bool(self._port) and ports.connects(self._host, self._port)

    def invoke(self, function: str, event: Any) -> Outcome:
        """Run one event. Raises RuntimeLost; then nobody knows how far the function came."""
        connection = http.client.HTTPConnection(self._host, self._port, timeout=FUNCTION_TIMEOUT)
        try:
            path = f"/2015-03-31/functions/{function}/invocations"
            connection.request("POST", path, json.dumps(event), {"Content-Type": "application/json"})
            answer = connection.getresponse()
            text = answer.read()
            failed = "X-Amz-Function-Error" in answer.headers
        except TimeoutError:
            # as AWS words it: https://docs.aws.amazon.com/step-functions/latest/dg/connect-lambda.html
            told = {"errorType": "Sandbox.Timedout", "errorMessage": f"Task timed out after {FUNCTION_TIMEOUT} s"}
            return Outcome(told, failed=True)
        except (OSError, http.client.HTTPException) as error:
            raise RuntimeLost(f"the Lambda runtime does not answer: {error!r}") from error
        finally:
            connection.close()
        if answer.status != http.HTTPStatus.OK:
            raise RuntimeLost(f"the Lambda runtime answers {answer.status}")
        return Outcome(json.loads(text), failed)


def correct_lambda(runtime: Runtime) -> None:
    """Let moto's Lambda invoke through the runtime; its loss is AWS's ServiceException."""
    from moto.awslambda.models import LambdaFunction
    from moto.core.exceptions import JsonRESTError

    class ServiceException(JsonRESTError):
        """Lambda's own failure."""

        code = 500

    def invoke(function: Any, event: Any = None) -> tuple[str, bool, str]:
        try:
            outcome = runtime.invoke(function.function_arn, event)
        except RuntimeLost as lost:
            raise ServiceException("ServiceException", str(lost)) from lost
        return json.dumps(outcome.payload), outcome.failed, ""

    mend(LambdaFunction, "_invoke_lambda", invoke)


def correct_tasks(runtime: Runtime) -> None:
    """Let tasks of Step Functions invoke through the runtime; its loss is ``Lambda.ServiceException``, to be retried.

    moto would make a boto3 client a task and call itself over HTTP, and its name for every failed call is Exception.
    """
    from moto.stepfunctions.parser.asl.component.state.exec.state_task import lambda_eval_utils as tasks

    def invoke(parameters: dict[str, Any], **_: object) -> dict[str, Any]:
        try:
            outcome = runtime.invoke(parameters["FunctionName"], json.loads(parameters["Payload"]))
        except RuntimeLost as lost:
            told = {"errorType": "Lambda.ServiceException", "errorMessage": str(lost)}
            raise tasks.LambdaFunctionErrorException("Unhandled", json.dumps(told)) from lost
        answer = {"StatusCode": 200, "ExecutedVersion": "$LATEST", "Payload": outcome.payload}
        return answer | ({"FunctionError": "Unhandled"} if outcome.failed else {})

    mend(tasks, "_invoke_lambda_function", invoke)
