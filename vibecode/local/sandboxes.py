"""Sandboxes of Lambda: AWS's own runtime and its emulator around a package. Used by the rehearsal and the tests.

One sandbox takes one event at a time, so a function has a pool of them. Each is two processes: the emulator, which
speaks Invoke to us and the runtime API to the runtime, and `awslambdaric`, which imports the handler. Nothing of this
repository or its .venv is in their path: only the package, and what Lambda brings along (.lambda).
"""

import contextlib
import http.client
import json
import os
import platform
import secrets
import shutil
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vibecode.local import child, ports
from vibecode.local.folder import REPOSITORY, CannotStart
from vibecode.local.guard import Guard
from vibecode.local.output import why

RUNTIME = REPOSITORY / ".lambda"  # requirements/lambda.txt: what AWS's managed runtime has
INVOKE = "/2015-03-31/functions/function/invocations"
HOST = "a1b2c3.execute-api.eu-north-1.amazonaws.com"  # where nobody is: of functions that stand alone
PATIENCE = 60  # seconds until somebody who waits for a sandbox is told that there is none
KEPT = ("LD_LIBRARY_PATH", "PATH", "TZ", "LANG")  # of our environment, so that the interpreter starts


class NoSandbox(Exception):
    """All sandboxes of the function are at work, and for too long: it is throttled."""


class SandboxDied(Exception):
    """The function ran into its time-out, or its sandbox ended by itself: there is no answer."""


@dataclass(frozen=True, slots=True)
class Function:
    """What moto was told of a function: its files, its handler, its environment and its limits."""

    name: str
    folder: Path  # the unpacked package
    handler: str
    timeout: int  # seconds
    memory: int  # MB
    environment: Mapping[str, str]
    version: str = "$LATEST"


def environment_here(**more: str) -> dict[str, str]:
    """What a function of the stage dev is told, with the engines that Django's settings name in this process.

    A secret key is told too, unless ``more`` says otherwise.
    """
    from django.conf import settings  # only where Django is set up already
    from django.db import connection

    database = "postgresql://{USER}:{PASSWORD}@{HOST}:{PORT}/{NAME}".format(**connection.settings_dict)
    told = {
        "STAGE": "dev",
        "PUBLIC_URL": f"https://{HOST}/dev",
        "AWS_REGION": settings.AWS_REGION,
        "AWS_ENDPOINT_URL": str(settings.AWS_ENDPOINT_URL),
        "AWS_ACCOUNT_ID": settings.AWS_ACCOUNT_ID,
        "SECRET_KEY": secrets.token_urlsafe(50),
        "DATABASE_URL": database,
        "COGNITO_USER_POOL_ID": settings.COGNITO_USER_POOL_ID,
        "COGNITO_CLIENT_ID": settings.COGNITO_CLIENT_ID,
        "COGNITO_ISSUER": settings.COGNITO_ISSUER,
        "COGNITO_JWKS_URL": settings.COGNITO_JWKS_URL,
        "COGNITO_DOMAIN": "https://sign-in.shop.example",
        "OIDC_CLIENT_ID": "desk",
        "OIDC_CLIENT_SECRET": "not-a-secret",
        "MEDIA_BUCKET": settings.MEDIA_BUCKET,
        "MAIL_FROM": "Shop <orders@shop.example>",
        "PAYMENT_PROVIDER": "demo",
    }
    return told | more


class Sandbox:
    """One sandbox. ``invoke`` starts it when it is first used, as Lambda does: that is the cold start."""

    def __init__(self, function: Function, log: Path) -> None:
        self.function = function
        self.port, runtime_api = ports.free_port(), ports.free_port()
        self.used = 0
        interpreter = Path(getattr(sys, "_base_executable", sys.executable))
        emulator = RUNTIME / "samcli" / "local" / "rapid" / f"aws-lambda-rie-{_machine()}"
        command = [
            str(emulator),
            "--runtime-interface-emulator-address", f"{ports.HOST}:{self.port}",
            "--runtime-api-address", f"{ports.HOST}:{runtime_api}",
            str(interpreter), "-S", "-P", "-m", "awslambdaric", function.handler,
        ]  # fmt: skip
        environment = {
            **{name: os.environ[name] for name in KEPT if name in os.environ},
            "AWS_LAMBDA_FUNCTION_NAME": function.name,
            "AWS_LAMBDA_FUNCTION_VERSION": function.version,
            "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": str(function.memory),
            "AWS_LAMBDA_FUNCTION_TIMEOUT": str(function.timeout),
            "AWS_LAMBDA_LOG_GROUP_NAME": f"/aws/lambda/{function.name}",
            "AWS_ACCESS_KEY_ID": function.name,  # so that the local AWS's trail knows who calls
            "AWS_SECRET_ACCESS_KEY": "rehearsal",  # moto takes every key
            "AWS_SESSION_TOKEN": "rehearsal",
            "LAMBDA_TASK_ROOT": str(function.folder),
            "LAMBDA_RUNTIME_DIR": str(RUNTIME),
            "PYTHONPATH": os.pathsep.join((str(function.folder), str(RUNTIME))),
            "PYTHONDONTWRITEBYTECODE": "1",  # Lambda's files cannot be written either
            **function.environment,
        }
        if not environment.get("LOG_LEVEL"):
            environment.pop("LOG_LEVEL", None)  # the emulator takes it for its own, and stumbles over an empty one
        with log.open("ab") as output:
            self.process = child.start(command, output=output, folder=function.folder, environment=environment)
        self.guard = Guard()
        self.guard.watch(self.process.pid, signal.SIGKILL)
        deadline = time.monotonic() + 10
        while not ports.connects(ports.HOST, self.port):
            if self.process.poll() is not None or time.monotonic() > deadline:
                reason = why(log.read_text(errors="replace").splitlines())
                raise CannotStart(f"the Lambda emulator does not start: {reason or 'it does not answer'}")
            time.sleep(0.01)

    def invoke(self, event: Any) -> Any:
        """What the function answers an event with. Raises SandboxDied."""
        self.used += 1
        asked = urllib.request.Request(f"http://{ports.HOST}:{self.port}{INVOKE}", json.dumps(event).encode())
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with opener.open(asked, timeout=self.function.timeout + 20) as answer:
                body = answer.read()
        except (OSError, http.client.HTTPException) as error:
            raise SandboxDied(f"{self.function.name}: {error}") from error
        try:
            return json.loads(body)
        except ValueError:
            raise SandboxDied(body.decode(errors="replace")) from None  # the emulator says so in words

    def end(self) -> None:
        """End it, with all that it started."""
        if self.process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        self.guard.forget(self.process.pid)
        self.guard.close()


class Pool:
    """The sandboxes of a function: as many as there are events at one moment, ``most`` at most; then one waits."""

    def __init__(self, function: Function, log: Path, most: int = 4) -> None:
        self.function, self.log = function, log
        self.started = 0
        self._places = threading.Semaphore(most)
        self._turn = threading.Lock()
        self._idle: list[Sandbox] = []
        self._busy: list[Sandbox] = []
        self._retired = self._closed = False
        # a child ends with the thread that started it: this one lives as long as the pool
        self._starter = ThreadPoolExecutor(1, "sandboxes")

    def invoke(self, event: Any) -> Any:
        """Give an event to a free sandbox. Raises NoSandbox, or SandboxDied: that one is gone then, as on Lambda."""
        if not self._places.acquire(timeout=PATIENCE):
            raise NoSandbox(f"{self.function.name}: no sandbox came free within {PATIENCE} s")
        try:
            sandbox = self._take()
            try:
                answer = sandbox.invoke(event)
            except BaseException:
                self._give_back(sandbox, alive=False)
                raise
            self._give_back(sandbox, alive=True)
            return answer
        finally:
            self._places.release()

    def _take(self) -> Sandbox:
        with self._turn:
            if self._idle:
                self._busy.append(sandbox := self._idle.pop())
                return sandbox
        sandbox = self._starter.submit(Sandbox, self.function, self.log).result()
        with self._turn:
            if self._closed:
                sandbox.end()
                raise SandboxDied(f"{self.function.name} is gone")
            self.started += 1
            self._busy.append(sandbox)
        return sandbox

    def _give_back(self, sandbox: Sandbox, *, alive: bool) -> None:
        with self._turn:
            self._busy.remove(sandbox)
            if alive and not self._retired and not self._closed:
                self._idle.append(sandbox)
            else:
                sandbox.end()

    def retire(self) -> None:
        """End each as soon as it is free: another version takes what comes from now on."""
        with self._turn:
            self._retired = True
            while self._idle:
                self._idle.pop().end()

    def close(self) -> None:
        """End all of them, whatever they do."""
        with self._turn:
            self._closed = True
            for sandbox in (*self._idle, *self._busy):
                sandbox.end()
            self._idle.clear()
        self._starter.shutdown()


@contextlib.contextmanager
def pool(function: Function, log: Path, *, most: int = 4) -> Iterator[Pool]:
    """A pool that is ended with the block."""
    made = Pool(function, log, most)
    try:
        yield made
    finally:
        made.close()


def interpret(
    code: str, *, task: Path, environment: Mapping[str, str], event: Any = None, options: Sequence[str] = ()
) -> "subprocess.CompletedProcess[str]":
    """Run a script as a sandbox would: a fresh interpreter with Lambda's path, the event on its standard input."""
    return subprocess.run(  # noqa: S603 -- our own scripts
        [getattr(sys, "_base_executable", sys.executable), "-S", "-P", *options, "-c", code],
        env={
            **{name: os.environ[name] for name in KEPT if name in os.environ},
            "AWS_LAMBDA_FUNCTION_NAME": "vibecode-dev",
            "PYTHONPATH": os.pathsep.join((str(task), str(RUNTIME))),
            **environment,
        },
        cwd=task,
        input=json.dumps(event),
        capture_output=True,
        text=True,
        check=False,
    )


def install_runtime() -> None:
    """Install .lambda where it is missing or older than its lock. Raises CannotStart."""
    done = RUNTIME / "installed"
    lock = REPOSITORY / "requirements" / "lambda.txt"
    if done.exists() and done.stat().st_mtime >= lock.stat().st_mtime:
        return
    shell = shutil.which("sh") or "/bin/sh"
    result = subprocess.run(  # noqa: S603 -- our own script
        [shell, str(REPOSITORY / ".ci" / "lambda")], capture_output=True, text=True, check=False
    )
    if result.returncode:
        raise CannotStart(f"Lambda's runtime cannot be installed: {result.stderr.strip()}")


def _machine() -> str:
    return {"aarch64": "arm64", "arm64": "arm64"}.get(platform.machine(), "x86_64")
