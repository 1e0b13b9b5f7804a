"""Both functions of a stage: deployed by Zappa, and looked at as Lambda has them.

And for a while a third one beside them: the release that comes, before anybody else asks it.
"""

import base64
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from botocore.exceptions import ClientError

from infrastructure.config import REGION
from infrastructure.deploying.account import Account, Refused, WentWrong, code_of
from infrastructure.deploying.waiting import SETTLED, Turn
from infrastructure.deploying.zappa import Zappa, configuration, inherited

WEB, WORKER = "web", "worker"
NEXT = "next"  # what the function beside them is called, after the stage
ASSUMED = 60  # seconds within which Lambda knows a new role, and a function is gone


class Functions:
    """The web function and the worker of a stage, while it is our ``turn`` to deploy it."""

    def __init__(self, account: Account, turn: Turn) -> None:
        self.account, self.turn = account, turn
        self._zappa = Zappa(account, turn)
        self._lambda = account.client("lambda")

    def put(self, which: str, package: str, *, first: bool = False) -> str:
        """Give a function the package of this key, and what the stacks hand over; make it where there is none.

        A ``first`` deploy that was cut off before there was an API leaves a function that nobody has ever asked: it
        makes way. Raises Refused where the API of a later one is gone.
        """
        name = self.name(which)
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
        self._zappa.run(verb, self._stage(which), "--zip", f"s3://{self.account.bucket('packages')}/{package}")
        return f"zappa {verb}"

    @contextmanager
    def beside(self, which: str, package: str) -> Iterator[str]:
        """A function with this package beside the one of this kind, as Zappa would make it; its name.

        Nobody asks it but we. It goes at the end, and so does one of a run that was killed.
        """
        name = f"{self.account.stage.prefix}-{NEXT}"
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
                self._delete(name)

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
            self.turn.wait()

    def _stack_settled(self, name: str) -> None:
        """Zappa's stack of the API, where there is one, is done with what was begun."""
        cloud, deadline = self.account.client("cloudformation"), time.monotonic() + SETTLED
        try:
            while cloud.describe_stacks(StackName=name)["Stacks"][0]["StackStatus"].endswith("_IN_PROGRESS"):
                if time.monotonic() > deadline:
                    raise WentWrong(f"Zappa's stack {name} is still being changed after {SETTLED} s.")
                self.turn.wait()
        except ClientError as error:
            if code_of(error) != "ValidationError":  # it says so of a stack that is not there
                raise

    def _make(self, **told: Any) -> None:
        """Make a function in the place of one that was left, as soon as that is gone and Lambda knows its role."""
        deadline = time.monotonic() + ASSUMED
        while True:
            self._delete(told["FunctionName"])
            try:
                self._lambda.create_function(**told)
            except ClientError as error:
                soon = code_of(error) == "ResourceConflictException" or "cannot be assumed by Lambda" in str(error)
                if not soon or time.monotonic() > deadline:
                    raise
                self.turn.wait()
            else:
                return

    def _delete(self, name: str) -> None:
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
