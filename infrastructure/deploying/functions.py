"""Both functions of a stage: deployed by Zappa, and looked at as Lambda has them.

And for a while a third one beside them: the release that comes, before anybody else asks it.
"""

import base64
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

from botocore.exceptions import ClientError

from infrastructure.config import REGION
from infrastructure.deploying.account import Account, Refused, WentWrong, code_of
from infrastructure.deploying.cloudformation import Stack, status_of
from infrastructure.deploying.waiting import SETTLED, Turn
from infrastructure.deploying.zappa import Endless, Zappa, configuration, inherited

WEB, WORKER = "web", "worker"
NEXT = "next"  # what the function beside them is called, after the stage
ASSUMED = 60  # seconds within which Lambda knows a new role


class Functions:
    """The web function and the worker of a stage, while it is our ``turn`` to deploy it."""

    def __init__(self, account: Account, turn: Turn) -> None:
        self.account, self.turn = account, turn
        self._zappa = Zappa(account, turn)
        self._lambda = account.client("lambda")

    def put(self, which: str, package: str, *, first: bool = False) -> str:
        """Give a function the package of this key, and what the stacks hand over; make it where there is none.

        Done when Lambda is done with it, settings too. Raises WentWrong; Refused where the API of a later one is gone.
        """
        name = self.name(which)
        there = bool(self._settled(name))
        if which == WEB:
            there = self._with_api(there=there, first=first)
        verb = "update" if there else "deploy"
        try:
            self._zappa.run(verb, self._stage(which), "--zip", f"s3://{self.account.bucket('packages')}/{package}")
        except Endless as endless:
            wrong = self._api_stack().complaint() if which == WEB else ""
            raise WentWrong(f"{endless}\n{wrong}".strip()) from None
        now = self._settled(name)
        if now.get("LastUpdateStatus") == "Failed":  # Zappa does not wait for what it has told Lambda last
            raise WentWrong(f"{name} could not be given its settings: {now.get('LastUpdateStatusReason')}")
        return f"zappa {verb}"

    @contextmanager
    def beside(self, which: str, package: str) -> Iterator[str]:
        """A function with this package beside the one of this kind, as Zappa would make it; its name.

        Nobody asks it but we. It goes at the end, and so does one of a run that was killed.
        """
        name = self._beside
        self._make(
            FunctionName=name,
            Code={"S3Bucket": self.account.bucket("packages"), "S3Key": package},
            LoggingConfig={"LogGroup": f"/aws/lambda/{self.name(which)}"},  # its role may write to no other
            **configuration(inherited(self._zappa.settings(), self._stage(which))),
        )
        try:
            self._settled(name)
            yield name
        finally:
            if self.turn.is_ours():  # else it is the one of whoever deploys now
                with suppress(ClientError):  # Lambda is not done with it: the next one takes its place, or it goes last
                    self._delete(name)

    def clear_beside(self) -> None:
        """Delete the one beside that a deploy has left which was killed, and which nobody deploys over."""
        self._delete(self._beside)

    @property
    def _beside(self) -> str:
        return f"{self.account.stage.prefix}-{NEXT}"

    def api(self) -> str:
        """The id of the API that Zappa made; empty where there is none."""
        pages = self.account.client("apigateway").get_paginator("get_rest_apis").paginate()
        found = [api["id"] for page in pages for api in page["items"] if api["name"] == self.name(WEB)]
        if len(found) > 1:
            raise Refused(f"{len(found)} APIs are called {self.name(WEB)}: delete what Zappa's stack does not hold.")
        return found[0] if found else ""

    def api_parameters(self) -> dict[str, str]:
        """What the stacks are told of it."""
        api = self.api()
        return {"ApiId": api, "ApiDomain": f"{api}.execute-api.{REGION}.amazonaws.com"} if api else {}

    def name(self, which: str) -> str:
        """Of one of the two."""
        resources = self.account.resources
        return resources.prefix if which == WEB else resources.worker

    def _stage(self, which: str) -> str:
        """What Zappa calls it."""
        return self.account.stage.name if which == WEB else f"{self.account.stage.name}-worker"

    def _api_stack(self) -> Stack:
        """Zappa's own, of the API."""
        return Stack(self.account, self.name(WEB), turn=self.turn)

    def _with_api(self, *, there: bool, first: bool) -> bool:
        """Whether the web function is there, and Zappa can go on with its API; what a first deploy left makes way.

        A ``first`` deploy that was cut off, or whose API could not be made, leaves what nobody has ever asked.
        """
        name, stack = self.name(WEB), self._api_stack()
        status = status_of(stack.settled())
        if self.api() or not (there or status):
            return there
        if first:
            if status:
                stack.delete()
            self._delete(name)
            return False
        raise Refused(
            f"No API of the name {name} is there, and Zappa's stack is {status or 'gone'}. Make API and function anew: "
            f"aws cloudformation delete-stack --stack-name {name}; aws lambda delete-function --function-name {name}; "
            "then deploy again."
        )

    def _settled(self, name: str) -> Mapping[str, Any]:
        """The function when Lambda is done with what was begun: it refuses more before. Empty where there is none."""
        deadline = time.monotonic() + SETTLED
        while True:
            try:
                now: Mapping[str, Any] = self._lambda.get_function_configuration(FunctionName=name)
            except ClientError as error:
                if code_of(error) == "ResourceNotFoundException":
                    return {}
                raise
            if now.get("State") == "Failed":
                raise WentWrong(f"{name} could not be made: {now.get('StateReason')}")
            if now.get("State") != "Pending" and now.get("LastUpdateStatus") != "InProgress":
                return now
            if time.monotonic() > deadline:
                raise WentWrong(f"{name} is still being changed by Lambda after {SETTLED} s.")
            self.turn.wait()

    def _make(self, **told: Any) -> None:
        """Make a function in the place of one that was left, as soon as that is gone and Lambda knows its role."""
        began = time.monotonic()
        while True:
            try:
                self._delete(told["FunctionName"])
                self._lambda.create_function(**told)
            except ClientError as error:
                busy, new = code_of(error) == "ResourceConflictException", "cannot be assumed by Lambda" in str(error)
                if time.monotonic() - began >= (SETTLED if busy else ASSUMED if new else 0):
                    raise
                self.turn.wait()
            else:
                return

    def _delete(self, name: str) -> None:
        """Where there is one."""
        try:
            self._lambda.delete_function(FunctionName=name)
        except ClientError as error:
            if code_of(error) != "ResourceNotFoundException":
                raise

    def check_code(self, sha256: str) -> None:
        """Both functions have this package, to the byte: also where a deploy whose lock was broken ran on a little."""
        wanted = base64.b64encode(bytes.fromhex(sha256)).decode()
        for which in (WEB, WORKER):
            name = self.name(which)
            if self._lambda.get_function_configuration(FunctionName=name)["CodeSha256"] != wanted:
                raise WentWrong(f"{name} has another package than this release: somebody else deploys it, too.")
