"""A PostgreSQL and a local AWS for one run, with nothing kept. Called by tests/conftest.py and the benchmarks.

Nobody listens at LAMBDA_RUNTIME_URL: what a test sends stays in the queues. Tests of the whole take `scratch_parts`.
"""

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

from vibecode.local import ports
from vibecode.local.environment import start_aws
from vibecode.local.folder import LocalFolder
from vibecode.local.parts import Parts
from vibecode.local.postgres import Postgres
from vibecode.local.shop import CARRIED, OTHER_ACCOUNT, shop, starting_environment


@contextlib.contextmanager
def scratch_cloud() -> Iterator[None]:
    """Point os.environ at fresh engines; nothing that it said before reaches the run. Raises CannotStart."""
    for name in (*CARRIED, *OTHER_ACCOUNT):
        os.environ.pop(name, None)
    with contextlib.ExitStack() as stack:
        parent = stack.enter_context(tempfile.TemporaryDirectory(prefix="vibecode-run-"))
        folder = LocalFolder(Path(parent) / "local")
        folder.make()
        os.environ.update(starting_environment(folder))
        postgres = Postgres(folder.postgres, durable=False)
        os.environ["DATABASE_URL"] = postgres.start()
        stack.callback(postgres.stop)
        os.environ["LAMBDA_RUNTIME_URL"] = f"http://{ports.HOST}:{ports.free_port()}"
        start_aws(stack, folder, os.environ)
        os.environ["DJANGO_SETTINGS_MODULE"] = "vibecode.settings"
        yield


@contextlib.contextmanager
def scratch_parts(database_url: str, **variables: str) -> Iterator[Parts]:
    """Every process of the shop over this database, none of them started, with a local AWS of its own.

    `parts.start("aws", "payments", "websocket", "lambda", "relay", "web")` starts what a test needs.
    """
    with tempfile.TemporaryDirectory(prefix="vibecode-parts-") as parent:
        folder = LocalFolder(Path(parent) / "local")
        folder.make()
        port = str(ports.free_port())
        kept = {name: value for name, value in os.environ.items() if name not in CARRIED}
        kept |= {"SECRET_KEY": os.environ["SECRET_KEY"], "DATABASE_URL": database_url, "PORT": port} | variables
        environment = starting_environment(folder, kept)
        with Parts(shop(folder, environment), folder, environment) as parts:
            yield parts
