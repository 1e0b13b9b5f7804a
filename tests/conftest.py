"""What the tests run on: one embedded PostgreSQL and one local AWS, the application in-process and over HTTP."""

import contextlib
import os

import django
import pytest
from django.conf import settings
from django.core.cache import cache

from vibecode.local.scratch import scratch_cloud

RUN = contextlib.ExitStack()
if "PYTEST_XDIST_WORKER" not in os.environ:  # else we are one of the processes of a run: its engines are there
    if "DJANGO_SETTINGS_MODULE" in os.environ:
        raise pytest.UsageError("Unset DJANGO_SETTINGS_MODULE: the tests bring their own settings.")
    RUN.enter_context(scratch_cloud())
django.setup()
# Each test's client makes the middleware anew: a static file is looked for when one is asked for, not all of them then.
settings.WHITENOISE_AUTOREFRESH = True
# They import models: after the settings.
pytest_plugins = [
    "tests.side_by_side",
    "tests.signing_as",
    "tests.in_process",
    "tests.over_http",
    "tests.books",
    "tests.whole_shop",
    "tests.accounts.provider",
    "tests.browser.windows",
    "tests.jobs.clerks",
]


def pytest_unconfigure() -> None:
    """Stop the engines."""
    RUN.close()


@pytest.fixture(autouse=True)
def _empty_cache() -> None:
    """No rate limit of one test reaches the next."""
    cache.clear()
