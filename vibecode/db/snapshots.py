"""SnapStart: no connection is in a snapshot, and a restored sandbox has its own. Called by vibecode.lambda_entry.

https://docs.aws.amazon.com/lambda/latest/dg/snapstart-runtime-hooks-python.html
"""

import contextlib
import importlib
import random

from django.db import Error, connection, connections

RESTORE_SECONDS = 8  # AWS gives a restored sandbox ten for all of its hooks


def keep_out_of_snapshots() -> None:
    """Register both hooks, where the runtime has them: Lambda's has, on a laptop there are no snapshots."""
    try:
        hooks = importlib.import_module("snapshot_restore_py")
    except ModuleNotFoundError:
        return
    hooks.register_before_snapshot(connections.close_all)
    hooks.register_after_restore(_begin_anew)


def _begin_anew() -> None:
    """Connect now and not in the first request, unless the database may sleep for longer than a restore may take."""
    random.seed()  # or every sandbox of the snapshot would wait the same random times
    if connection.settings_dict["RESUME_SECONDS"] <= RESTORE_SECONDS:
        with contextlib.suppress(Error):  # the first request tries again, and says so
            connection.ensure_connection()
