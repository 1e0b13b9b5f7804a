"""What `make run` runs: the table that the supervisor works through. To add a process, add a row."""

import os
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from signal import SIGINT, SIGTERM, Signals
from urllib.parse import urlsplit

from vibecode.local import aws, lambda_runtime, ports
from vibecode.local.folder import REPOSITORY, CannotStart, LocalFolder
from vibecode.local.postgres import Postgres
from vibecode.resources import PROJECT

# Not through manage.py, which would join another local cloud that runs in this checkout.
DJANGO = (sys.executable, "-m", "django")
SETTINGS = "--settings=vibecode.settings"


def _gives_nothing(_: int) -> dict[str, str]:
    return {}


@dataclass(frozen=True)
class Process:
    """A child that is kept running."""

    name: str  # in processes.json, on each line of its output, and of its log file
    doing: str  # the step shown while it starts
    command: Callable[[int], Sequence[str]]  # from its port
    is_ready: Callable[[int, int], bool]  # from its pid and port
    needs: Sequence[str] = ()  # rows that must be ready before it starts; those that need nothing start together
    port: int | None = None  # None: a free one, the same as last time if it can be
    listens: bool = True
    gives: Callable[[int], Mapping[str, str]] = _gives_nothing  # environment of all processes, known from its port
    alone: Mapping[str, str] = field(default_factory=dict)  # environment of this process, of no other
    # Runs at the start and whenever the process came back: what it held in memory is made anew.
    on_return: "Task | None" = None
    stop_signal: Signals = SIGTERM
    ready_within: float = 60.0


@dataclass(frozen=True)
class Task:
    """A command that runs once, to its end."""

    name: str
    doing: str
    command: Sequence[str]
    needs: Sequence[str] = ()


type Shop = Sequence[Process | Task]


def shop(folder: LocalFolder, environment: Mapping[str, str]) -> list[Process | Task]:
    """Everything that runs: engines unless the environment names real ones, set-up, then what serves and works."""
    rows: list[Process | Task] = []
    if not environment.get("DATABASE_URL"):
        rows.append(postgres(folder.postgres))
    if not environment.get("AWS_ENDPOINT_URL"):
        rows.append(local_aws(folder.aws))
    if not environment.get("DEMO_PAYMENTS_URL"):
        rows.append(payments(folder.payments, whole_number(environment, "DEMO_PAYMENTS_LAG", 3, 60)))
    if not environment.get("WEBSOCKET_URL"):
        rows.append(websocket(folder))
    prepare = [sys.executable, "-m", "vibecode.local.prepare"]
    doing = "Bringing the database up to date, looking after the demo shop"
    rows.append(Task("shop", doing, prepare, needs=("postgres", "aws")))
    rows += [lambda_functions(environment), relay(), web(environment)]
    return rows


def postgres(folder: Path) -> Process:
    """The embedded PostgreSQL."""
    server = Postgres(folder)
    return Process(
        name="postgres",
        doing="Starting PostgreSQL",
        command=lambda port: postgres_command(folder, port),
        is_ready=lambda pid, _: server.is_ready(pid),
        gives=lambda port: {"DATABASE_URL": server.url(port)},
        stop_signal=SIGINT,
    )


def postgres_command(folder: Path, port: int) -> list[str]:
    """Prepare the folder, then become the server, under one pid."""
    return [sys.executable, "-m", "vibecode.local.postgres", "--data", str(folder), "--port", str(port)]


def local_aws(folder: Path, stage: str = "local") -> Process:
    """The local AWS on moto. Its queues and executions are in memory: what they held is looked for when it is back."""
    recover = [*DJANGO, "recover", SETTINGS]
    return Process(
        name="aws",
        doing="Starting the local AWS",
        command=lambda port: aws.command(port, folder, stage),
        is_ready=lambda _, port: ports.answers(port, aws.JWKS_PATH),
        gives=lambda port: aws.environment(f"http://{ports.HOST}:{port}"),
        on_return=Task("recover", "Looking for facts and orders that were on their way", recover),
    )


def payments(folder: Path, lag: int = 3) -> Process:
    """The demo payment provider with its books; a charge is found by its reference after ``lag`` seconds."""
    books = str(folder / "books.sqlite3")
    server = [sys.executable, "-m", "vibecode.local.payments", "--books", books, "--lag", str(lag)]
    return Process(
        name="payments",
        doing="Starting the demo payment provider",
        command=lambda port: [*server, "--port", str(port)],
        is_ready=lambda _, port: ports.answers(port, "/healthz"),
        gives=lambda port: {"DEMO_PAYMENTS_URL": f"http://{ports.HOST}:{port}"},
    )


def websocket(folder: LocalFolder) -> Process:
    """API Gateway's websocket side: one port for customers, another for what the app pushes."""
    api_port = folder.kept_port("websocket-api")
    server = [sys.executable, "-m", "vibecode.local.websocket_gateway", "--api-port", str(api_port)]
    return Process(
        name="websocket",
        doing="Starting the websocket gateway",
        command=lambda port: [*server, "--port", str(port)],
        is_ready=lambda *_: ports.answers(api_port, "/healthz"),
        gives=lambda port: {
            "WEBSOCKET_URL": f"ws://{ports.HOST}:{port}",
            "WEBSOCKET_API_URL": f"http://{ports.HOST}:{api_port}",
        },
    )


def lambda_functions(environment: Mapping[str, str]) -> Process:
    """The worker function: queues, schedules, workflow and websocket; where a running local AWS looks for it."""
    sandboxes = whole_number(environment, "LAMBDA_CONCURRENCY", lambda_runtime.SANDBOXES, 128)
    return Process(
        name="lambda",
        doing=f"Starting the worker function ({sandboxes} sandboxes)",
        command=lambda port: lambda_runtime.command(port, sandboxes),
        is_ready=lambda _, port: ports.answers(port, "/healthz"),
        needs=("shop",),
        port=urlsplit(environment.get("LAMBDA_RUNTIME_URL", "")).port,
        gives=lambda port: {"LAMBDA_RUNTIME_URL": f"http://{ports.HOST}:{port}"},
        alone=_keys(environment, "-worker"),
    )


def relay() -> Process:
    """What carries facts from the outbox to the bus."""
    return Process(
        name="relay",
        doing="Starting the relay",
        command=lambda _: [*DJANGO, "relay", SETTINGS],
        is_ready=lambda *_: True,
        needs=("shop",),
        listens=False,
    )


def web(environment: Mapping[str, str]) -> Process:
    """The web server."""
    workers = whole_number(environment, "WEB_CONCURRENCY", 2, 64)
    threads = whole_number(environment, "WEB_THREADS", 16, 512)
    server = [sys.executable, "-m", "gunicorn", "vibecode.wsgi:application", "--worker-class", "gthread"]
    server += [
        "--workers",
        str(workers),
        "--threads",
        str(threads),
        "--graceful-timeout",
        "8",
        "--keep-alive",
        "75",  # longer than clients keep an idle connection: they hang up, not we
    ]
    server += ["--preload", "--no-control-socket", "--log-level", "warning"]
    return Process(
        name="web",
        doing=f"Starting the web server ({workers} workers × {threads} threads)",
        command=lambda port: [*server, "--bind", f"{ports.HOST}:{port}"],
        is_ready=lambda _, port: ports.answers(port, "/readyz"),
        needs=("postgres", "aws"),  # it loads while the task brings the database up to date, which /readyz asks for
        port=whole_number(environment, "PORT", 8000, 65535),
        alone=_keys(environment),
    )


def _keys(environment: Mapping[str, str], which: str = "") -> dict[str, str]:
    """The local AWS knows a function by its name, which it signs with (trail.py); another AWS knows its own keys."""
    ours = not environment.get("AWS_ENDPOINT_URL")
    return {"AWS_ACCESS_KEY_ID": f"{PROJECT}-{environment.get('STAGE') or 'local'}{which}"} if ours else {}


def whole_number(environment: Mapping[str, str], name: str, default: int, most: int) -> int:
    """Read a number from 1 to `most` from the environment."""
    value = environment.get(name, "").strip() or str(default)
    if not value.isdecimal() or not 1 <= int(value) <= most:
        raise CannotStart(f"{name} must be a whole number from 1 to {most}, not {value!r}")
    return int(value)


def starting_environment(folder: LocalFolder, given: Mapping[str, str] | None = None) -> dict[str, str]:
    """The environment of the first child: what the user set, completed with safe local values."""
    environment = dict(os.environ if given is None else given)
    environment = {name: value for name, value in environment.items() if value or name not in CARRIED}
    environment.setdefault("STAGE", "local")
    environment.setdefault("PORT", "8000")
    environment.setdefault("PUBLIC_URL", f"http://{ports.HOST}:{environment['PORT']}")
    if "SECRET_KEY" not in environment:
        environment["SECRET_KEY"] = folder.secret_key()
    environment["PYTHONUNBUFFERED"] = "1"
    for name in ("NO_PROXY", "no_proxy"):  # a proxy of the company network knows nothing of our ports
        environment[name] = ",".join(filter(None, [environment.get(name), ports.HOST, "localhost"]))
    if "AWS_ENDPOINT_URL" not in environment:
        for name in OTHER_ACCOUNT:
            environment.pop(name, None)
    return environment


# What environment.json passes on to manage.py in another shell: every setting of the shop.
CARRIED = (
    *re.findall("^([A-Z_]+)=", (REPOSITORY / ".env.example").read_text(), re.MULTILINE),
    *(name for name in aws.environment("") if name.startswith("AWS_")),
    "NO_PROXY",
    "no_proxy",
)
# The local AWS comes with its own region and keys: somebody's real account must not leak in.
OTHER_ACCOUNT = ("AWS_PROFILE", "AWS_DEFAULT_PROFILE", "AWS_SESSION_TOKEN")
