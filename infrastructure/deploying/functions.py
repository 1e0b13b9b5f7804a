"""Both functions of a stage: deployed by the unmodified `zappa` command, asked for operations, and by customers."""

import base64
import json
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
from botocore.exceptions import BotoCoreError, ClientError

from infrastructure.config import REGION
from infrastructure.deploying.account import Account, Refused, code_of
from infrastructure.hand_over import REPOSITORY, Document, Incomplete, check, complete
from vibecode.local import child

WEB, WORKER = "web", "worker"
PAGES = ("/healthz", "/readyz", "/api/v1/products")
PATIENCE = 600  # seconds: CloudFront takes its time with what is new
PAUSE = 5  # seconds between two tries
TRIES = 40  # of an operation that is not done yet, or that is busy
# What an operation says when it is worth asking again: docs/operations.md, "Migrations".
AGAIN = {"Busy", "MigrationsRun", "DatabaseAway", "Sandbox.Timedout"}


class WentWrong(Exception):
    """What was deployed does not do what it should; the text says what it does."""


class Functions:
    """The web function and the worker of a stage."""

    def __init__(self, account: Account) -> None:
        self._account = account
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
    def put(self, which: str, package: str) -> str:
        """Give a function the package of this key, and what the stacks hand over; make it where there is none."""
        name = self._name(which)
        wanted = "deploy"
        if self._exists(name):
            if which == WORKER or self.api():
                wanted = "update"
            else:  # a first deploy was cut off before there was an API: nobody has ever asked this function
                self._lambda.delete_function(FunctionName=name)
        stage = self._account.stage.name if which == WEB else f"{self._account.stage.name}-worker"
        archive = f"s3://{self._account.bucket('packages')}/{package}"
        self._zappa(wanted, stage, "--zip", archive)
        return f"zappa {wanted}"

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

    def _exists(self, name: str) -> bool:
        try:
            self._lambda.get_function_configuration(FunctionName=name)
        except ClientError as error:
            if code_of(error) == "ResourceNotFoundException":
                return False
            raise
        return True

    def _zappa(self, *words: str) -> None:
        """`zappa …` with the committed settings, completed by the hand-over. It ends with us (Linux)."""
        with tempfile.TemporaryDirectory(prefix="vibecode-zappa-") as folder:
            settings, said = Path(folder) / "zappa_settings.json", Path(folder) / "said"
            committed = json.loads((REPOSITORY / "zappa_settings.json").read_text())
            settings.write_text(json.dumps(complete(committed, self.hand_over())))
            command = [str(Path(sys.executable).with_name("zappa")), *words, "--settings_file", str(settings)]
            with said.open("wb") as output:
                started = child.start(command, output=output, folder=Path(folder), environment=dict(os.environ))
                try:
                    code = started.wait()
                except BaseException:
                    started.terminate()
                    started.wait()
                    raise
            told = said.read_text(errors="replace")
        if code or "Traceback" in told:
            raise WentWrong(f"zappa {words[0]} {words[1]} failed:\n{told[-3000:]}")

    # --- operations --------------------------------------------------------------------------------------------------
    def operate(self, operation: str, **arguments: Any) -> dict[str, Any]:
        """The worker's answer to an operation; asked again while it is busy. Raises WentWrong."""
        payload = json.dumps({"operation": operation, "arguments": arguments})
        said = ""
        for _ in range(TRIES):
            try:
                answer = self._account.invoker.invoke(FunctionName=self._name(WORKER), Payload=payload)
            except (BotoCoreError, ClientError) as error:
                said = f"{type(error).__name__}: {error}"
                if isinstance(error, ClientError) and error.response["ResponseMetadata"]["HTTPStatusCode"] < 429:
                    break
            else:
                told = json.loads(answer["Payload"].read())
                if "FunctionError" not in answer:
                    return dict(told)
                said = f"{told.get('errorType', '')}: {told.get('errorMessage', '')}"
                if told.get("errorType") not in AGAIN and "timed out" not in said.lower():
                    break
            time.sleep(PAUSE)
        raise WentWrong(f"{operation}: {said}")

    def migrate(self) -> list[str]:
        """Call `migrate` until nothing is left; what was applied."""
        applied: list[str] = []
        while True:
            answer = self.operate("migrate")
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
    def smoke_test(self, release: str, seconds: float = PATIENCE) -> str:
        """Ask through the public address until this release answers well. Raises WentWrong with what it said last."""
        address = str(self.hand_over()["environment"]["PUBLIC_URL"])
        deadline = time.monotonic() + seconds
        with httpx.Client(base_url=address, timeout=30) as client:
            while wrong := next(self._complaints(client, release), ""):
                if time.monotonic() > deadline:
                    raise WentWrong(f"{address}{wrong}")
                time.sleep(PAUSE)
        return address

    def _complaints(self, client: httpx.Client, release: str) -> Iterator[str]:
        for page in PAGES:
            try:
                answer = client.get(page)
            except httpx.HTTPError as error:
                yield f"{page}: {type(error).__name__} {error}"
                continue
            if answer.status_code != httpx.codes.OK:
                yield f"{page} answers {answer.status_code}: {answer.text[:200]}"
            elif page == "/healthz" and (said := answer.headers.get("X-Release", "")) != release:
                yield f"{page} says release {said}, not {release}"
