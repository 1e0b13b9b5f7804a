"""The local AWS: moto on 127.0.0.1 with all that the shop has on AWS; people, pictures and mails last.

Run by the supervisor. LAMBDA_RUNTIME_URL in its environment says where functions run; nothing is invoked while nobody
listens there. For developers and tests: GET /_local/mail (HTML for a browser) and /_local/events?last=1000.
`python -m vibecode.local.aws --port PORT --state FOLDER`; when the port accepts connections everything is there.
With `--stage dev` its names are that stage's, and Zappa makes the functions: `make rehearse`. LOCAL_TRAIL names a file
that every signed call is written to (trail.py).
`environment(endpoint)` tells the application where it is; importing it costs nothing.
"""

import argparse
import json
import logging
import os
import signal
import sqlite3
import sys
import threading
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs

from vibecode.local.names import CLIENT_ID, MEDIA_BUCKET, POOL_ID, REGION
from vibecode.local.ports import HOST, may_ask
from vibecode.resources import LOCAL_ACCOUNT, SCHEDULES, Resources

JWKS_PATH = f"/{POOL_ID}/.well-known/jwks.json"

WORKFLOW_STATES = "moto.stepfunctions.parser.asl.component.eval_component"
MAIL_PATH = "/_local/mail"
EVENTS_PATH = "/_local/events"
MOST_EVENTS = 1_000_000
MAIL_FROM = "orders@vibecode.example"  # who the shop's mails come from, as in settings.py

if TYPE_CHECKING:
    from vibecode.local.functions import Runtime

type WSGI = Callable[[dict[str, Any], Callable[..., Any]], Any]


def environment(endpoint: str) -> dict[str, str]:
    """What the application needs in its environment to use the local AWS at this address."""
    return {
        "AWS_ENDPOINT_URL": endpoint,
        "AWS_REGION": REGION,
        "AWS_DEFAULT_REGION": REGION,
        "AWS_ACCESS_KEY_ID": "local",
        "AWS_SECRET_ACCESS_KEY": "local",
        "COGNITO_USER_POOL_ID": POOL_ID,
        "COGNITO_CLIENT_ID": CLIENT_ID,
        "COGNITO_ISSUER": f"https://cognito-idp.{REGION}.amazonaws.com/{POOL_ID}",  # moto writes the real address
        "COGNITO_JWKS_URL": endpoint + JWKS_PATH,
        "MEDIA_BUCKET": MEDIA_BUCKET,
    }


def command(port: int, state: Path, stage: str = "local") -> list[str]:
    """The command line that runs it."""
    module = [sys.executable, "-m", "vibecode.local.aws"]
    return [*module, "--port", str(port), "--state", str(state), "--stage", stage]


def lasting(application: WSGI, flushes: list[Callable[[], None]]) -> WSGI:
    """Wrap moto so that what a request changed is written down before its answer leaves."""

    def call(environ: dict[str, Any], start_response: Callable[..., Any]) -> Any:
        answer = application(environ, start_response)
        for flush in flushes:
            flush()
        return answer

    return call


@dataclass(frozen=True)
class Page:
    """What one path shows: ``look`` finds it, from the query string; ``draw`` makes HTML of it for a browser."""

    look: Callable[[Mapping[str, list[str]]], Any]
    draw: Callable[[Any], str] | None = None


def with_pages(application: WSGI, pages: Mapping[str, Page]) -> WSGI:
    """Wrap moto so that a few paths answer with pages of ours, as JSON or HTML; 400 where the query makes no sense."""

    def call(environ: dict[str, Any], start_response: Callable[..., Any]) -> Any:
        page = pages.get(environ.get("PATH_INFO", ""))
        if page is None:
            return application(environ, start_response)
        status, kind = "200 OK", "application/json"
        try:
            found = page.look(parse_qs(environ.get("QUERY_STRING", "")))
        except ValueError as error:
            status, text = "400 Bad Request", json.dumps({"message": str(error)})
        else:
            if page.draw and "text/html" in environ.get("HTTP_ACCEPT", ""):
                kind, text = "text/html; charset=utf-8", page.draw(found)
            else:
                text = json.dumps(found)
        start_response(status, [("Content-Type", kind)])
        return [text.encode()]

    return call


def _how_many(said: str) -> int:
    if not said.isdecimal() or int(said) > MOST_EVENTS:
        raise ValueError(f"last must be a whole number up to {MOST_EVENTS}, not {said[:20]!r}")
    return int(said)


def for_this_machine(application: WSGI) -> WSGI:
    """Wrap moto, which answers every site's scripts: only those of pages on this machine may use the cloud in it."""

    def call(environ: dict[str, Any], start_response: Callable[..., Any]) -> Any:
        if may_ask(environ.get("HTTP_ORIGIN")):
            return application(environ, start_response)
        start_response("403 Forbidden", [("Content-Type", "application/json")])
        return [json.dumps({"message": "The local AWS answers pages of this machine only."}).encode()]

    return call


class Workflow:
    """Step Functions and Lambda, which take longer to load than all else: loaded when a call or the runtime comes.

    A workflow that cannot be loaded ends this process.
    """

    def __init__(self, load: Callable[[], None], runtime: "Runtime") -> None:
        self._load = load
        self._runtime = runtime
        self._asked, self._loaded = threading.Event(), threading.Event()
        threading.Thread(target=self._run, name="workflow", daemon=True).start()

    def awaited_by(self, application: WSGI) -> WSGI:
        """Wrap moto so that calls of either wait until both are there."""

        def call(environ: dict[str, Any], start_response: Callable[..., Any]) -> Any:
            target, path = environ.get("HTTP_X_AMZ_TARGET", ""), environ.get("PATH_INFO", "")
            if target.startswith("AWSStepFunctions") or path.startswith("/2015-03-31/"):
                self._asked.set()
                self._loaded.wait()
            return application(environ, start_response)

        return call

    def _run(self) -> None:
        while not self._asked.wait(0.5) and not self._runtime.listens():
            pass
        try:
            self._load()
        except Exception:  # noqa: BLE001 -- whatever it is: without the workflow no order moves
            traceback.print_exc()
            os._exit(1)
        self._loaded.set()


def serve(port: int, state: Path, stage: str) -> None:
    """Put back what lasts, make what is missing, then listen until SIGTERM."""
    os.environ["MOTO_PORT"] = str(port)  # where moto's own services call each other
    os.environ["AWS_DEFAULT_REGION"] = REGION
    # heavy, and only this process needs them
    from moto.core.config import default_user_config
    from moto.events.models import events_backends
    from moto.moto_server.werkzeug_app import (
        DomainDispatcherApplication,
        MotoRequestHandler,
        create_backend_app,
    )
    from werkzeug.serving import make_server

    from vibecode.local.aws_memory import Memory
    from vibecode.local.bus import correct_events
    from vibecode.local.clock import start_clock
    from vibecode.local.cognito import Cognito
    from vibecode.local.functions import Runtime
    from vibecode.local.mailbox import Mailbox, mails_page
    from vibecode.local.media import Media
    from vibecode.local.provision import provision
    from vibecode.local.queues import correct_sqs
    from vibecode.local.tables import correct_dynamodb, put_back
    from vibecode.local.trail import Trail, watched

    class QuietHandler(MotoRequestHandler):
        """Log no request: the application logs its own."""

        def log_request(self, *_: object) -> None:
            """Say nothing."""

    default_user_config["stepfunctions"] = {"execute_state_machine": True}
    resources = Resources(stage=stage, region=REGION, account=LOCAL_ACCOUNT, endpoint=f"http://{HOST}:{port}")
    memory = Memory(state)
    cognito, media = Cognito(memory), Media(memory)
    cognito.provision()
    correct_sqs()
    correct_events(memory)
    correct_dynamodb(memory)
    provision(resources, mail_from=os.environ.get("MAIL_FROM") or MAIL_FROM)
    put_back(memory)
    mailbox = Mailbox(memory, events_backends[LOCAL_ACCOUNT][REGION], resources)
    mailbox.tell_again()

    runtime = Runtime(os.environ.get("LAMBDA_RUNTIME_URL", ""))
    application = lasting(DomainDispatcherApplication(create_backend_app), [cognito.flush, media.flush])
    application = with_pages(
        Workflow(lambda: load_workflow(resources, runtime), runtime).awaited_by(application),
        {
            MAIL_PATH: Page(lambda _: memory.mails(), mails_page),
            EVENTS_PATH: Page(lambda query: memory.facts(_how_many(query.get("last", ["1000"])[0]))),
        },
    )
    if trail := Trail.wanted():
        application = watched(application, trail)
    server = make_server(HOST, port, for_this_machine(application), threaded=True, request_handler=QuietHandler)
    server.daemon_threads = True  # type: ignore[attr-defined]  # of the threading mix-in
    for schedule in SCHEDULES:
        start_clock(schedule, resources, runtime)
    try:
        server.serve_forever()
    finally:
        memory.close()


def load_workflow(resources: Resources, runtime: "Runtime") -> None:
    """Everything of Step Functions and Lambda."""
    from moto.sqs.models import sqs_backends

    from vibecode.local.deployments import correct_deployments
    from vibecode.local.functions import correct_lambda, correct_tasks
    from vibecode.local.provision import provision_workflow
    from vibecode.local.queues import correct_mappings

    correct_lambda(runtime)
    correct_tasks(runtime)
    correct_deployments(str(resources.endpoint))
    correct_mappings(sqs_backends[LOCAL_ACCOUNT][REGION], runtime)
    provision_workflow(resources)


def main() -> None:
    """Read the command line and serve."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--state", type=Path, required=True)
    parser.add_argument("--stage", default="local")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.WARNING, format="%(name)s: %(message)s")
    # A state that fails is what workflows are for: it stands in the execution's history.
    logging.getLogger(WORKFLOW_STATES).addFilter(lambda record: "FailureEventException" not in record.getMessage())
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    try:
        serve(arguments.port, arguments.state, arguments.stage)
    except (OSError, sqlite3.Error) as error:
        sys.exit(f"the local AWS cannot run on port {arguments.port} with {arguments.state}: {error}")
    except KeyboardInterrupt:
        sys.exit(0)


if __name__ == "__main__":
    main()
