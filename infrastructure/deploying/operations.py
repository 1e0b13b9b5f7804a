"""Operations of the worker, as the deployment asks for them: again and again, while it is worth it."""

import json
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from infrastructure.deploying.account import Account, WentWrong, code_of
from infrastructure.deploying.functions import WORKER, Functions

TOLD = 60  # seconds between two words of an operation that takes its time
# For how many seconds an operation is asked again, by what it says: docs/operations.md, "Migrations".
SOON, LONG = 300, 3600
AGAIN: Mapping[str, int] = {
    "Busy": SOON,
    "DatabaseAway": SOON,
    "MigrationsRun": LONG,  # PostgreSQL builds an index on, whatever became of the function that asked for it
    "Sandbox.Timedout": LONG,
    "ResourceConflictException": SOON,  # the function has slept for weeks, and joins the network anew
}


class Operations:
    """What the worker is asked for; ``report`` is told how it goes where it takes long."""

    def __init__(self, functions: Functions, report: Callable[[str], None] = lambda _: None) -> None:
        self._functions, self._report = functions, report

    def operate(self, operation: str, *, of: str = "", **arguments: Any) -> dict[str, Any]:
        """The worker's answer to an operation, or that ``of`` another function; asked again while it is busy.

        Raises WentWrong.
        """
        functions = self._functions
        payload = json.dumps({"operation": operation, "arguments": arguments})
        began = told = time.monotonic()
        functions.turn.check()
        while True:
            answer, said, seconds = invoked(functions.account, of or functions.name(WORKER), payload)
            if not said:
                return dict(answer)
            now = time.monotonic()
            if now - began >= seconds:
                raise WentWrong(f"{operation}: {said}")
            if now - told >= TOLD:
                told = now
                self._report(f"  {operation}, since {(now - began) / 60:.0f} min: {said}")
            functions.turn.wait()

    def migrate(self, package: str, learn: Callable[[Sequence[str]], object]) -> None:
        """Let the code of this package migrate, beside the worker, until nothing is left.

        The worker would meet columns that are not there yet, for as long as the migrations take. ``learn`` is told what
        was applied, call by call: a deploy that is cut off between two knows what stays. Raises WentWrong.
        """
        with self._functions.beside(WORKER, package) as name:
            while True:
                answer = self.operate("migrate", of=name)
                learn(answer["applied"])
                if not answer["left"]:
                    return
                if not answer["applied"]:
                    raise WentWrong(f"migrate gets no further than {answer['left'][0]}")

    def rebuild_figures(self) -> str:
        """Count what there is into the desk's figures, call by call."""
        asked: dict[str, Any] = {}
        while not (answer := self.operate("rebuild-figures", **asked)).get("done"):
            asked = {"after": answer["goOnAfter"]}
            if answer.get("goOnFrom"):
                asked["day"] = answer["goOnFrom"]
        return "rebuilt"


def invoked(account: Account, function: str, payload: str) -> tuple[Any, str, int]:
    """What a function answers; what it says instead, and for how many seconds it is worth asking again."""
    try:
        answer = account.invoker.invoke(FunctionName=function, Payload=payload)
    except ClientError as error:
        theirs = error.response["ResponseMetadata"]["HTTPStatusCode"] >= 429  # Lambda's, or too much at once
        return None, f"{code_of(error)}: {error}", SOON if theirs else AGAIN.get(code_of(error), 0)
    except BotoCoreError as error:
        return None, f"{type(error).__name__}: {error}", SOON
    told = json.loads(answer["Payload"].read())
    if "FunctionError" not in answer:
        return told, "", 0
    said = f"{told.get('errorType', '')}: {told.get('errorMessage', '')}"
    return None, said, LONG if "timed out" in said.lower() else AGAIN.get(told.get("errorType", ""), 0)
