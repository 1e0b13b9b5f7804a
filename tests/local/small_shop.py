"""A shop of real PostgreSQL, real local AWS and a real gunicorn over ten lines of WSGI. Run by test_supervisor.py."""

import os
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

from vibecode.local.folder import CannotStart, LocalFolder
from vibecode.local.ports import HOST
from vibecode.local.shop import Process, Task, local_aws, postgres, web
from vibecode.local.supervisor import supervise


def application(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    """Say which database and AWS we were given; /stuck never answers."""
    if environ["PATH_INFO"] == "/stuck":
        time.sleep(60)
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [
        os.environ.get("DATABASE_URL", "").encode(),
        b" ",
        os.environ.get("AWS_ENDPOINT_URL", "").encode(),
    ]


def gunicorn(port: int) -> list[str]:
    """The real web server's command line, over our application."""
    server = [
        sys.executable,
        "-m",
        "gunicorn",
        "small_shop:application",
        "--chdir",
        str(Path(__file__).parent),
    ]
    return [*server, "--no-control-socket", "--workers", "2", "--bind", f"{HOST}:{port}"]


def main() -> int:
    """Run it in the folder given: small_shop.py FOLDER [FAILING TASK]."""
    folder = LocalFolder(Path(sys.argv[1]))
    rows: list[Process | Task] = [] if os.environ.get("DATABASE_URL") else [postgres(folder.postgres)]
    recover = Task("recover", "Looking for what was lost", [sys.executable, "-c", "print('recovered')"])
    rows.append(replace(local_aws(folder.aws), on_return=recover))
    rows += [
        Task("migrate", "Bringing up to date", [sys.executable, "-c", command], needs=("postgres",))
        for command in sys.argv[2:]
    ]
    try:
        rows.append(replace(web(os.environ), command=gunicorn))
    except CannotStart as error:
        sys.exit(f"Cannot start: {error}")
    return supervise(folder, rows)


if __name__ == "__main__":
    sys.exit(main())
