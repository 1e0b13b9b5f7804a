"""The functions that the local AWS was given, run from their own zips in AWS's own runtime. Used by the rehearsal.

A function's code, handler, limits and environment are what GetFunction says of it at the moment of the invocation: what
was deployed last is what runs, and nothing else.
"""

import contextlib
import io
import json
import logging
import threading
import urllib.request
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
from botocore.exceptions import ClientError

from vibecode.local.lambda_runtime import Answer, Server
from vibecode.local.names import REGION
from vibecode.local.sandboxes import Function, Pool, SandboxDied

log = logging.getLogger(__name__)

CALLERS = 64  # invocations that may wait at one moment
FAILED = {"X-Amz-Function-Error": "Unhandled"}


class UnknownFunction(Exception):
    """The local AWS knows no function of this name."""


class Fleet:
    """Every function with its pool of sandboxes. A function that was changed gets new ones; the old ones finish."""

    def __init__(self, endpoint: str, folder: Path, *, most: int = 6) -> None:
        self._lambda = boto3.client(
            "lambda",
            region_name=REGION,
            endpoint_url=endpoint,
            aws_access_key_id="fleet",
            aws_secret_access_key="fleet",  # noqa: S106 -- moto takes every key
        )
        folder.mkdir(parents=True)
        self._folder, self._most = folder, most
        self._pools: dict[tuple[str, str], tuple[str, Pool]] = {}
        self._retired: list[Pool] = []
        self._turn = threading.Lock()

    def invoke(self, name: str, event: Any) -> Any:
        """A function's answer, or its error as ``errorType`` and ``errorMessage``.

        ``name`` is its name or ARN, as Invoke takes it. Raises UnknownFunction, and SandboxDied where it was cut off.
        """
        return self._pool(name).invoke(event)

    def log(self, name: str) -> str:
        """All that a function's sandboxes have written."""
        path = self._folder / f"{name}.log"
        return path.read_text(errors="replace") if path.exists() else ""

    def function(self, name: str) -> Function:
        """What the local AWS was told of a function, its zip unpacked. Raises UnknownFunction."""
        return self._pool(name).function

    def close(self) -> None:
        """End every sandbox."""
        with self._turn:
            for pool in (*self._retired, *(pool for _, pool in self._pools.values())):
                pool.close()

    def _pool(self, asked: str) -> Pool:
        name, _, qualifier = asked.rpartition("function:")[2].partition(":")
        which = name, qualifier or "$LATEST"
        with self._turn:
            try:
                found = self._lambda.get_function_configuration(FunctionName=name, Qualifier=which[1])
            except ClientError as error:
                raise UnknownFunction(f"There is no function {asked}: {error}") from error
            mark = json.dumps([found["CodeSha256"], found.get("Environment"), found["Handler"], found["Timeout"]])
            if which not in self._pools or self._pools[which][0] != mark:
                pool = Pool(self._described(found, which[1]), self._folder / f"{name}.log", self._most)
                if which in self._pools:
                    self._retired.append(self._pools[which][1])
                    self._retired[-1].retire()
                self._pools[which] = mark, pool
            return self._pools[which][1]

    def _described(self, found: Any, qualifier: str) -> Function:
        name, digest = found["FunctionName"], found["CodeSha256"].replace("/", "_")
        task = self._folder / digest
        if not task.exists():
            location = self._lambda.get_function(FunctionName=name, Qualifier=qualifier)["Code"]["Location"]
            opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
            with opener.open(location) as answer, zipfile.ZipFile(io.BytesIO(answer.read())) as archive:
                archive.extractall(task.with_suffix(".new"))
            task.with_suffix(".new").rename(task)
        return Function(
            name=name,
            folder=task,
            handler=found["Handler"],
            timeout=found["Timeout"],
            memory=found["MemorySize"],
            environment={
                "AWS_REGION": REGION,
                "AWS_DEFAULT_REGION": REGION,
                **found.get("Environment", {}).get("Variables", {}),
            },
        )


def has_failed(answer: Any) -> bool:
    """Whether a function's answer is the error that it ended with."""
    return isinstance(answer, dict) and "errorType" in answer and "errorMessage" in answer


class Invocations(Server):
    """Lambda's Invoke for the local AWS and the websocket gateway."""

    def __init__(self, port: int, fleet: Fleet) -> None:
        self.fleet = fleet
        super().__init__(port, fleet.invoke, CALLERS)

    def answer(self, function: str, body: bytes) -> Answer:
        """What a function gives back; a sandbox that was cut off as AWS words it."""
        try:
            given = self.fleet.invoke(function, json.loads(body or b"{}"))
        except SandboxDied as error:
            given = {"errorType": "Sandbox.Timedout", "errorMessage": str(error)}
        except Exception:
            log.exception("%s was not invoked", function)
            raise  # no answer at all: to the caller Lambda has failed, and is tried again
        return json.dumps(given).encode(), FAILED if has_failed(given) else {}


@contextlib.contextmanager
def serve(fleet: Fleet, port: int) -> Iterator[None]:
    """Serve invocations during the block; then every sandbox ends."""
    server = Invocations(port, fleet)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        fleet.close()
