"""Lets the local AWS's trail know which function a call of this process is made by. A plugin of tests/conftest.py.

Only where LOCAL_TRAIL asks for it (make test-full). A test's client is the web, what stands behind queues, schedules,
workflow, websocket and operations is the worker, whoever calls it, but for what `manage.py work_queue` takes: that is
the container's. All else is the test itself, which has no role.
"""

import contextlib
import functools
import os
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from importlib import import_module
from typing import Any

from botocore.credentials import Credentials
from django.conf import settings
from django.test.client import ClientHandler

from vibecode import lambda_entry, sigv4
from vibecode.local.mend import mend
from vibecode.local.trail import VARIABLE
from vibecode.management.commands.work_queue import Command
from vibecode.resources import OPERATIONS, QUEUES, ROUTES, SCHEDULES, STEPS, TRIGGERS

WORKER = "-worker"
BATCH = "-batch"
_speaks = ContextVar[str | None]("speaks", default=None)


@contextlib.contextmanager
def signing_as(which: str) -> Iterator[None]:
    """Sign with the name of the web's function (""), the worker's (WORKER) or the container's (BATCH) in the block.

    What the container does it does by itself.
    """
    before = _speaks.set(BATCH if _speaks.get() == BATCH else which)
    try:
        yield
    finally:
        _speaks.reset(before)


def _named(access_key: str | None) -> str:
    which = _speaks.get()
    return access_key or "" if which is None else f"{settings.RESOURCES.prefix}{which}"


def _signing[**P, T](call: Callable[P, T], which: str) -> Callable[P, T]:
    @functools.wraps(call)
    def run(*args: P.args, **kwargs: P.kwargs) -> T:
        with signing_as(which):
            return call(*args, **kwargs)

    return run


def _name_functions() -> None:
    """From now on, for all of this process."""
    frozen, keys, entry = Credentials.get_frozen_credentials, sigv4.keys, lambda_entry.handler

    def get_frozen_credentials(credentials: Credentials) -> Any:
        found = frozen(credentials)
        return found._replace(access_key=_named(found.access_key))

    def own_keys() -> sigv4.Keys:
        found = keys()
        return found._replace(access=_named(found.access))

    def handler(event: Any, context: Any) -> Any:
        with signing_as("" if isinstance(event, dict) and "httpMethod" in event else WORKER):
            return entry(event, context)

    mend(Credentials, "get_frozen_credentials", get_frozen_credentials)
    mend(sigv4, "keys", own_keys)
    mend(lambda_entry, "handler", handler)
    mend(Command, "handle", _signing(Command.handle, BATCH))
    mend(ClientHandler, "__call__", _signing(ClientHandler.__call__, ""))
    handlers = [declared.handler for declared in (*QUEUES, *SCHEDULES)]
    for path in {*handlers, *STEPS, *ROUTES.values(), *OPERATIONS.values(), *TRIGGERS.values()}:
        module, _, name = path.rpartition(".")
        owner = import_module(module)
        mend(owner, name, _signing(getattr(owner, name), WORKER))


if os.environ.get(VARIABLE):
    _name_functions()
