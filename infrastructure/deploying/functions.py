"""Both functions of a stage: deployed by the unmodified `zappa` command, asked for operations, and by customers.

And for a while a third one beside them: the release that comes, before anybody else asks it.

Longer than most modules: Zappa, Lambda and the operations are waited for in one way, and end together when the lock is
lost.
"""

import base64
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
from botocore.exceptions import BotoCoreError, ClientError

from infrastructure.config import REGION
from infrastructure.deploying.account import Account, Refused, code_of
from infrastructure.deploying.confidential import origin_secret
from infrastructure.deploying.pages import Said, complaints, proxy_event, said_by
from infrastructure.deploying.record import Lost
from infrastructure.hand_over import REPOSITORY, Document, Incomplete, check, complete
from vibecode.local import child

SETTINGS = REPOSITORY / "zappa_settings.json"
WEB, WORKER = "web", "worker"
PATIENCE = 600  # seconds: CloudFront takes its time with what is new
PAUSE = 5  # seconds between two tries
SETTLED = 900  # seconds within which Lambda has done what was begun: it joins a function to the network
LOOKED = 1  # seconds between two looks at a lock, and at a command that runs
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


NEXT = "next"  # what the function beside them is called, after the stage


class WentWrong(Exception):
    """What was deployed does not do what it should; the text says what it does."""


class Functions:
    """The web function and the worker of a stage.

    ``ours`` says whether the stage is still ours to deploy: where it is not, what runs is ended and Lost raised.
    ``tell`` is told how it goes where it takes long.
    """

    def __init__(
        self, account: Account, ours: Callable[[], bool] = lambda: True, tell: Callable[[str], None] = lambda _: None
    ) -> None:
        self._account, self._ours, self._tell = account, ours, tell
        self._lambda = account.client("lambda")

    def hand_over(self) -> Document:
        """What the stacks hand over. Raises Refused where it is not there, or not whole."""
        try:
            told = self._account.client("ssm").get_parameter(
                Name=self._account.hand_over_parameter, WithDecryption=True
            )
            return check(json.loads(told["Parameter"]["Value"]))
        except ClientError as error:
            if code_of(error) != "ParameterNotFound":
                raise
            raise Refused(f"The stacks hand nothing over: {self._account.hand_over_parameter} is missing.") from None
        except (ValueError, Incomplete) as error:
            raise Refused(f"{self._account.hand_over_parameter}: {error}") from None

    # --- the code ----------------------------------------------------------------------------------------------------
    def put(self, which: str, package: str, *, first: bool = False) -> str:
        """Give a function the package of this key, and what the stacks hand over; make it where there is none.

        A ``first`` deploy that was cut off before there was an API leaves a function that nobody has ever asked: it
        makes way. Raises Refused where the API of a later one is gone.
        """
        name = self._name(which)
        there = self._settled(name)
        if which == WEB:
            self._stack_settled(name)
        if there and which == WEB and not self.api():
            if not first:
                raise Refused(
                    f"{name} is deployed, but no API of that name is there. If Zappa's stack {name} is gone, make both "
                    f"anew: aws lambda delete-function --function-name {name}, then deploy again."
                )
            self._lambda.delete_function(FunctionName=name)
            there = False
        verb = "update" if there else "deploy"
        self._zappa(verb, self._stage(which), "--zip", f"s3://{self._account.bucket('packages')}/{package}")
        return f"zappa {verb}"

    @contextmanager
    def beside(self, which: str, package: str) -> Iterator[str]:
        """A function with this package beside the one of this kind, as Zappa would make it; its name.

        Nobody asks it but we. It goes at the end, and so does one of a run that was killed.
        """
        name = f"{self._account.stage.prefix}-{NEXT}"
        self._make(
            FunctionName=name,
            Code={"S3Bucket": self._account.bucket("packages"), "S3Key": package},
            LoggingConfig={"LogGroup": f"/aws/lambda/{self._name(which)}"},  # its role may write to no other
            **configuration(inherited(self._settings(), self._stage(which))),
        )
        try:
            self._settled(name)
            yield name
        finally:
            if self._ours():  # else it is the one of whoever deploys now
                self._delete(name)

    def api(self) -> str:
        """The id of the API that Zappa made; empty where there is none."""
        pages = self._account.client("apigateway").get_paginator("get_rest_apis").paginate()
        found = [api["id"] for page in pages for api in page["items"] if api["name"] == self._name(WEB)]
        if len(found) > 1:
            raise Refused(f"{len(found)} APIs are called {self._name(WEB)}: delete what Zappa's stack does not hold.")
        return found[0] if found else ""

    def api_parameters(self) -> dict[str, str]:
        """What the stacks are told of it."""
        api = self.api()
        return {"ApiId": api, "ApiDomain": f"{api}.execute-api.{REGION}.amazonaws.com"} if api else {}

    def _name(self, which: str) -> str:
        resources = self._account.resources
        return resources.prefix if which == WEB else resources.worker

    def _stage(self, which: str) -> str:
        """What Zappa calls it."""
        return self._account.stage.name if which == WEB else f"{self._account.stage.name}-worker"

    def _settings(self) -> dict[str, dict[str, Any]]:
        """The committed settings of Zappa, completed by the hand-over."""
        return complete(json.loads(SETTINGS.read_text()), self.hand_over())

    def _settled(self, name: str) -> bool:
        """Whether the function is there, when Lambda is done with what was begun: it refuses more before."""
        deadline = time.monotonic() + SETTLED
        while True:
            try:
                now = self._lambda.get_function_configuration(FunctionName=name)
            except ClientError as error:
                if code_of(error) == "ResourceNotFoundException":
                    return False
                raise
            if now.get("State") == "Failed":
                raise WentWrong(f"{name} could not be made: {now.get('StateReason')}")
            if now.get("State") != "Pending" and now.get("LastUpdateStatus") != "InProgress":
                return True
            if time.monotonic() > deadline:
                raise WentWrong(f"{name} is still being changed by Lambda after {SETTLED} s.")
            self._wait(PAUSE)

    def _stack_settled(self, name: str) -> None:
        """Zappa's stack of the API, where there is one, is done with what was begun."""
        cloud, deadline = self._account.client("cloudformation"), time.monotonic() + SETTLED
        try:
            while cloud.describe_stacks(StackName=name)["Stacks"][0]["StackStatus"].endswith("_IN_PROGRESS"):
                if time.monotonic() > deadline:
                    raise WentWrong(f"Zappa's stack {name} is still being changed after {SETTLED} s.")
                self._wait(PAUSE)
        except ClientError as error:
            if code_of(error) != "ValidationError":  # it says so of a stack that is not there
                raise

    def _make(self, **told: Any) -> None:
        """Make a function in the place of one that was left, as soon as that is gone and Lambda knows its role."""
        deadline = time.monotonic() + TOLD
        while True:
            self._delete(told["FunctionName"])
            try:
                self._lambda.create_function(**told)
            except ClientError as error:
                soon = code_of(error) == "ResourceConflictException" or "cannot be assumed by Lambda" in str(error)
                if not soon or time.monotonic() > deadline:
                    raise
                self._wait(PAUSE)
            else:
                return

    def _delete(self, name: str) -> None:
        try:
            self._lambda.delete_function(FunctionName=name)
        except ClientError as error:
            if code_of(error) != "ResourceNotFoundException":
                raise

    def _zappa(self, *words: str) -> None:
        """`zappa …` with the completed settings. It ends with us (Linux), and when the stage is no longer ours."""
        with tempfile.TemporaryDirectory(prefix="vibecode-zappa-") as folder:
            settings, said = Path(folder) / "zappa_settings.json", Path(folder) / "said"
            settings.write_text(json.dumps(self._settings()))
            command = [str(Path(sys.executable).with_name("zappa")), *words, "--settings_file", str(settings)]
            with said.open("wb") as output:
                started = child.start(command, output=output, folder=Path(folder), environment=dict(os.environ))
                try:
                    code = self._ended(started)
                except BaseException:
                    started.terminate()
                    started.wait()
                    raise
            told = said.read_text(errors="replace")
        if code or "Traceback" in told:
            raise WentWrong(f"zappa {words[0]} {words[1]} failed:\n{told[-3000:]}")

    def _ended(self, started: subprocess.Popen[bytes]) -> int:
        while True:
            try:
                return started.wait(LOOKED)
            except subprocess.TimeoutExpired:
                self._go_on()

    def _go_on(self) -> None:
        if not self._ours():
            raise Lost("Somebody else deploys this stage by now.")

    def _wait(self, seconds: float) -> None:
        time.sleep(seconds)
        self._go_on()

    # --- operations --------------------------------------------------------------------------------------------------
    def operate(self, operation: str, *, of: str = "", **arguments: Any) -> dict[str, Any]:
        """The worker's answer to an operation, or that ``of`` another function; asked again while it is busy.

        Raises WentWrong.
        """
        payload = json.dumps({"operation": operation, "arguments": arguments})
        began = told = time.monotonic()
        self._go_on()
        while True:
            answer, said, seconds = self._asked(of or self._name(WORKER), payload)
            if not said:
                return dict(answer)
            now = time.monotonic()
            if now - began >= seconds:
                raise WentWrong(f"{operation}: {said}")
            if now - told >= TOLD:
                told = now
                self._tell(f"  {operation}, since {(now - began) / 60:.0f} min: {said}")
            self._wait(PAUSE)

    def _asked(self, name: str, payload: str) -> tuple[Any, str, int]:
        """What a function answers; what it says instead, and for how many seconds it is worth asking again."""
        try:
            answer = self._account.invoker.invoke(FunctionName=name, Payload=payload)
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

    def migrate(self, package: str) -> list[str]:
        """Let the code of this package migrate, beside the worker, until nothing is left; what was applied.

        The worker would meet columns that are not there yet, for as long as the migrations take.
        """
        applied: list[str] = []
        with self.beside(WORKER, package) as name:
            while True:
                answer = self.operate("migrate", of=name)
                applied += answer["applied"]
                if not answer["left"]:
                    return applied
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

    def check_code(self, sha256: str) -> None:
        """Both functions have this package, to the byte: also where a deploy whose lock was broken ran on a little."""
        wanted = base64.b64encode(bytes.fromhex(sha256)).decode()
        for which in (WEB, WORKER):
            name = self._name(which)
            if self._lambda.get_function_configuration(FunctionName=name)["CodeSha256"] != wanted:
                raise WentWrong(f"{name} has another package than this release: somebody else deploys it, too.")

    # --- customers ---------------------------------------------------------------------------------------------------
    def try_out(self, release: str, package: str, seconds: float) -> str:
        """Ask the release that comes, beside the one that customers ask, as API Gateway would. Raises WentWrong."""
        public = str(self.hand_over()["environment"]["PUBLIC_URL"])
        secret = origin_secret(self._account)
        with self.beside(WEB, package) as name:

            def ask(page: str) -> Said:
                event = proxy_event(page, public, secret, self._account.stage.name)
                answer, wrong, _ = self._asked(name, json.dumps(event))
                return Said(wrong=wrong) if wrong else said_by(answer)

            self._until_fine(ask, release, seconds, name)
        return "fine"

    def smoke_test(self, release: str, seconds: float = PATIENCE) -> str:
        """Ask through the public address until this release answers well. Raises WentWrong with what it said last."""
        address = str(self.hand_over()["environment"]["PUBLIC_URL"])
        with httpx.Client(base_url=address, timeout=30) as client:

            def ask(page: str) -> Said:
                try:
                    answer = client.get(page)
                except httpx.HTTPError as error:
                    return Said(wrong=f"{type(error).__name__} {error}")
                return Said(status=answer.status_code, text=answer.text, release=answer.headers.get("X-Release", ""))

            self._until_fine(ask, release, seconds, address)
        return address

    def _until_fine(self, ask: Callable[[str], Said], release: str, seconds: float, where: str) -> None:
        deadline = time.monotonic() + seconds
        while wrong := next(complaints(ask, release), ""):
            if time.monotonic() > deadline:
                raise WentWrong(f"{where}{wrong}")
            self._wait(PAUSE)


def configuration(settings: Mapping[str, Any]) -> dict[str, Any]:
    """What Lambda is told of a function with these settings, as Zappa tells it."""
    return {
        "Role": settings["role_arn"],
        "Description": settings["lambda_description"],
        "Runtime": settings["runtime"],
        "Handler": settings["lambda_handler"],
        "Architectures": [settings["architecture"]],
        "MemorySize": settings["memory_size"],
        "Timeout": settings["timeout_seconds"],
        "VpcConfig": settings["vpc_config"],
        "Environment": {"Variables": settings["aws_environment_variables"]},
        "KMSKeyArn": settings["aws_kms_key_arn"],
        "TracingConfig": {"Mode": "Active" if settings["xray_tracing"] else "PassThrough"},
        "Layers": settings["layers"],
        "Tags": settings["tags"],
    }


def inherited(settings: Mapping[str, Mapping[str, Any]], name: str) -> dict[str, Any]:
    """A stage of Zappa's settings with all that it extends, the nearest word last."""
    own = settings[name]
    return {**(inherited(settings, own["extends"]) if "extends" in own else {}), **own}
