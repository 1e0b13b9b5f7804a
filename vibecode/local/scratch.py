"""A PostgreSQL and a local AWS for one run, with nothing kept. Called by tests/conftest.py and the benchmarks."""

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

from vibecode.local.environment import start_aws
from vibecode.local.folder import LocalFolder
from vibecode.local.postgres import Postgres
from vibecode.local.shop import CARRIED, starting_environment

SHOP_SETTINGS = ("MEDIA_URL", "CORS_ALLOWED_ORIGINS", "RATE_ANONYMOUS", "RATE_SIGNED_IN", "SHOP_CURRENCY", "LOG_FORMAT")


@contextlib.contextmanager
def scratch_cloud() -> Iterator[None]:
    """Point os.environ at fresh engines; nothing that it said before reaches the run. Raises CannotStart."""
    for name in (*CARRIED, *SHOP_SETTINGS):
        os.environ.pop(name, None)
    with contextlib.ExitStack() as stack:
        parent = stack.enter_context(tempfile.TemporaryDirectory(prefix="vibecode-run-"))
        folder = LocalFolder(Path(parent) / "local")
        folder.make()
        os.environ.update(starting_environment(folder))
        postgres = Postgres(folder.postgres, durable=False)
        os.environ["DATABASE_URL"] = postgres.start()
        stack.callback(postgres.stop)
        start_aws(stack, folder, os.environ)
        os.environ["DJANGO_SETTINGS_MODULE"] = "vibecode.settings"
        yield
