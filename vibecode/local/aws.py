"""The local AWS: moto on 127.0.0.1 with our Cognito pool and media bucket, whose contents last. Run by the supervisor.

`python -m vibecode.local.aws --port PORT --state FOLDER`; when the port accepts connections everything is there.
`environment(endpoint)` tells the application where it is; importing it costs nothing.
"""

import argparse
import os
import signal
import sqlite3
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from vibecode.local.names import CLIENT_ID, MEDIA_BUCKET, POOL_ID, REGION
from vibecode.local.ports import HOST

JWKS_PATH = f"/{POOL_ID}/.well-known/jwks.json"

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


def command(port: int, state: Path) -> list[str]:
    """The command line that runs it."""
    return [sys.executable, "-m", "vibecode.local.aws", "--port", str(port), "--state", str(state)]


def lasting(application: WSGI, flushes: list[Callable[[], None]]) -> WSGI:
    """Wrap moto so that what a request changed is written down before its answer leaves."""

    def call(environ: dict[str, Any], start_response: Callable[..., Any]) -> Any:
        answer = application(environ, start_response)
        for flush in flushes:
            flush()
        return answer

    return call


def serve(port: int, state: Path) -> None:
    """Put back what lasts, make what is missing, then listen until SIGTERM."""
    os.environ["MOTO_PORT"] = str(port)  # where moto's own services call each other
    os.environ["AWS_DEFAULT_REGION"] = REGION
    # heavy, and only this process needs them
    from moto.moto_server.werkzeug_app import (
        DomainDispatcherApplication,
        MotoRequestHandler,
        create_backend_app,
    )
    from werkzeug.serving import make_server

    from vibecode.local.aws_memory import Memory
    from vibecode.local.cognito import Cognito
    from vibecode.local.media import Media

    class QuietHandler(MotoRequestHandler):
        """Log no request: the application logs its own."""

        def log_request(self, *_: object) -> None:
            """Say nothing."""

    memory = Memory(state)
    cognito, media = Cognito(memory), Media(memory)
    cognito.provision()
    application = lasting(DomainDispatcherApplication(create_backend_app), [cognito.flush, media.flush])
    server = make_server(HOST, port, application, threaded=True, request_handler=QuietHandler)
    server.daemon_threads = True  # type: ignore[attr-defined]  # of the threading mix-in
    try:
        server.serve_forever()
    finally:
        memory.close()


def main() -> None:
    """Read the command line and serve."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--state", type=Path, required=True)
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    try:
        serve(arguments.port, arguments.state)
    except (OSError, sqlite3.Error) as error:
        sys.exit(f"the local AWS cannot run on port {arguments.port} with {arguments.state}: {error}")
    except KeyboardInterrupt:
        sys.exit(0)


if __name__ == "__main__":
    main()
