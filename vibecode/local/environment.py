"""manage.py on the laptop: joins the running local cloud, or starts what a command needs. Called by manage.py."""

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Iterator, MutableMapping, Sequence
from urllib.parse import urlsplit

from vibecode.local import aws, ports
from vibecode.local.folder import REPOSITORY, CannotStart, LocalFolder, read_json
from vibecode.local.parts import Parts
from vibecode.local.postgres import Postgres
from vibecode.local.shop import OTHER_ACCOUNT, local_aws, starting_environment

SERVERS = {"runserver"}
NEEDS_AWS = {
    *SERVERS,
    "token",
    "shell",
    "relay",
    "replay_events",
    "sweep_orders",
    "recover",
}
NEEDS_NOTHING = {
    "",
    "help",
    "version",
    "startapp",
    "makemessages",
    "compilemessages",
    "diffsettings",
    "collectstatic",
    "findstatic",
    "spectacular",
    "draw_workflow",
    "write_event_schemas",
    "costs",  # of a real account
}
HELP = {"-h", "--help", "--version"}
PATIENCE = 30.0  # seconds for a cloud that is starting or restarting a part


@contextlib.contextmanager
def local_cloud(arguments: Sequence[str], folder: LocalFolder | None = None) -> Iterator[None]:
    """Complete os.environ for this manage.py command; what had to be started ends with the block.

    What the user set wins. The autoreloader's child inherits all of it and does nothing here.
    """
    if os.environ.get("RUN_MAIN") == "true":
        yield
        return
    folder = folder or LocalFolder()
    command = arguments[1] if len(arguments) > 1 else ""
    idle = command in NEEDS_NOTHING or not HELP.isdisjoint(arguments)
    _take_address(arguments)
    try:
        with contextlib.ExitStack() as stack:
            joined = {} if idle else running_environment(folder)
            if joined:
                _complete(os.environ, joined)
            _complete(os.environ, starting_environment(folder))
            if not idle:
                _start_missing(stack, folder, command)
            yield
    except CannotStart as error:
        sys.exit(f"Cannot start: {error}")


def running_environment(folder: LocalFolder) -> dict[str, str]:
    """The environment of the local cloud that runs now, its engines really answering; empty when none does."""
    deadline = time.monotonic() + PATIENCE
    while folder.runner() is not None and time.monotonic() < deadline:
        environment = {name: str(value) for name, value in read_json(folder.environment).items()}
        addresses = [environment.get("DATABASE_URL"), environment.get("AWS_ENDPOINT_URL")]
        if all(address and _answers(address) for address in addresses):
            return environment
        time.sleep(0.2)
    return {}


def start_aws(stack: contextlib.ExitStack, folder: LocalFolder, environment: MutableMapping[str, str]) -> None:
    """Start the local AWS until the stack closes, and say where it is in `environment`. Raises CannotStart."""
    parts = stack.enter_context(Parts([local_aws(folder.aws)], folder, environment))
    parts.start("aws")
    environment.update(parts.environment)


def _start_missing(stack: contextlib.ExitStack, folder: LocalFolder, command: str) -> None:
    if not os.environ.get("DATABASE_URL"):
        postgres = Postgres(folder.postgres)
        running = postgres.running()
        if running and folder.runner() is None:
            os.environ["DATABASE_URL"] = postgres.url(running[1])  # another manage.py has it
        else:
            os.environ["DATABASE_URL"] = postgres.start(ports.free_port(read_json(folder.ports).get("postgres")))
            stack.callback(postgres.stop)
    if not os.environ.get("AWS_ENDPOINT_URL"):
        if command in NEEDS_AWS:
            start_aws(stack, folder, os.environ)
        else:
            port = read_json(folder.ports).get("aws", ports.LISTENERS.start)  # nobody listens, and nobody is called
            _complete(os.environ, aws.environment(f"http://{ports.HOST}:{port}"))
    if command in SERVERS:
        prepare = [sys.executable, "-m", "vibecode.local.prepare"]
        subprocess.run(prepare, cwd=REPOSITORY, check=False)  # noqa: S603 - our own


def _complete(environment: MutableMapping[str, str], values: dict[str, str]) -> None:
    """Fill in what is unset or empty. The local AWS's own values come whole, or its keys and region would not fit."""
    ours = values.get("AWS_ENDPOINT_URL") if not environment.get("AWS_ENDPOINT_URL") else None
    for name, value in values.items():
        if not environment.get(name) or (ours and name.startswith("AWS_")):
            environment[name] = value
    if ours:
        for name in OTHER_ACCOUNT:
            environment.pop(name, None)


def _take_address(arguments: Sequence[str]) -> None:
    """`runserver 8005` says which port is ours."""
    if len(arguments) > 1 and arguments[1] in SERVERS and "PORT" not in os.environ:
        for word in arguments[2:]:
            port = word.rpartition(":")[2]
            if port.isdecimal():
                os.environ["PORT"] = port


def _answers(address: str) -> bool:
    where = urlsplit(address)
    default = 443 if where.scheme == "https" else 5432
    return where.hostname is not None and ports.connects(where.hostname, where.port or default)
