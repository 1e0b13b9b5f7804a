"""What the engineer who deploys asks the worker function to do, by name: {"operation": "migrate", "arguments": {…}}.

Behind IAM: whoever may invoke the function. Called by vibecode.lambda_entry; each takes keyword arguments with types
and answers what JSON can say.
"""

import inspect
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from io import StringIO
from typing import Any

import structlog
from django.conf import settings
from django.core.management import CommandError, call_command
from django.core.management.commands.migrate import Command as MigrateCommand
from django.db import connection, connections
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.migrations.executor import MigrationExecutor
from psycopg import sql

from vibecode.errors import Conflict
from vibecode.models import Change
from vibecode.resources import FUNCTION_TIMEOUT, PROXIED_TIME_OUTS, TIME_OUTS

ALTERING = ("UPDATE", "DELETE", "TRUNCATE")  # what the application's role may not do to the audit trail
MIGRATION_LOCK = 0x5649_4245  # of PostgreSQL's advisory locks, the one that says "somebody migrates"
LEAST_LEFT = 45_000  # milliseconds: with less no migration is begun but the first
# Of the session that migrates. Writers queue behind a statement that waits for a lock: it gives up before they notice.
# And a session whose function was stopped ends soon after its statement, and lets go of what it holds.
WHILE_MIGRATING: Mapping[str, str] = {
    "lock_timeout": "3s",
    "idle_in_transaction_session_timeout": "60s",
    "idle_session_timeout": "60s",
}

log = structlog.stdlib.get_logger("vibecode.operations")


class BadArguments(Conflict):
    """The operation does not know what it was told."""

    code = "bad-arguments"
    title = "The operation cannot be carried out like this"


class TrailOpen(Conflict):
    """The application's role could change what the audit trail says."""

    code = "audit-trail-open"
    title = "The audit trail is not append-only"


class MigrationsRun(Conflict):
    """Another deploy migrates the same database."""

    code = "migrations-run"
    title = "Somebody else migrates right now"


def run(operation: Callable[..., Any], arguments: Any, *, left: Callable[[], int]) -> Any:
    """Carry an operation out with its arguments. Raises BadArguments, naming what it takes, and what it raises.

    ``left`` are the milliseconds that the function still has: told to the operation that asks for them by this name.
    """
    known = dict(inspect.signature(operation, eval_str=True).parameters)
    own = {"left": left} if known.pop("left", None) else {}
    told = ", ".join(f"{name} ({parameter.annotation})" for name, parameter in known.items()) or "none"
    if not isinstance(arguments, dict):
        raise BadArguments(f"arguments must be an object; {operation.__name__} takes: {told}.")
    missing = [name for name, parameter in known.items() if parameter.default is parameter.empty]
    wrong = sorted(arguments.keys() - known.keys()) + sorted(set(missing) - arguments.keys())
    wrong += [name for name in arguments if name in known and not _fits(arguments[name], known[name].annotation)]
    if wrong:
        raise BadArguments(f"Look at {', '.join(wrong)}: {operation.__name__} takes: {told}.")
    log.info("operation", operation=operation.__name__, arguments=arguments)
    return operation(**arguments, **own)


def _fits(value: Any, annotation: Any) -> bool:
    if annotation == list[str]:
        return isinstance(value, list) and all(isinstance(each, str) for each in value)
    return type(value) is annotation  # True is no number


# --- the schema ------------------------------------------------------------------------------------------------------
def migrate(*, plan: bool = False, left: Callable[[], int] | None = None) -> dict[str, Any]:
    """Bring the schema up to date as the role that owns it, one deploy at a time; with ``plan`` only say what would be.

    Begins no migration when little time is ``left`` (milliseconds), and says which ones wait: call it again. With the
    last one it sets the time-outs of the application's role too, and leaves the audit trail open to it for reading and
    adding alone. Raises MigrationsRun while another one is at it, TrailOpen where that role owns it or was given more.
    """
    started = time.monotonic()
    app_role = str(connection.settings_dict["USER"])
    with _as_owner() as owner, _alone(owner):
        waiting = still = _waiting(owner)
        if not plan:
            _must_not_own(owner, app_role)
            with _impatient(owner):
                call_command(
                    _WhileThereIsTime(left or _until(started + FUNCTION_TIMEOUT)), verbosity=0, interactive=False
                )
                still = _waiting(owner)
                if not still:
                    _set_time_outs(owner, app_role)
                    _close_trail(owner, app_role)
    seconds = round(time.monotonic() - started, 3)
    if plan:
        return {"planned": waiting, "seconds": seconds}
    return {"applied": [name for name in waiting if name not in still], "left": still, "seconds": seconds}


class _OutOfTime(Exception):
    """The next migration is for the next call."""


class _WhileThereIsTime(MigrateCommand):
    """Django's command, which does not begin another migration when little time is left. What is done is written."""

    def __init__(self, left: Callable[[], int]) -> None:
        super().__init__()
        self._left = left
        self._begun = False

    def execute(self, *args: Any, **options: Any) -> str | None:
        """As ever, up to there."""
        try:
            return super().execute(*args, **options)
        except _OutOfTime:
            return None

    def migration_progress_callback(self, action: str, migration: Any = None, fake: bool = False) -> None:
        """Called between migrations, outside of their transactions; the first one is always begun."""
        if action == "apply_start":
            if self._begun and self._left() < LEAST_LEFT:
                raise _OutOfTime
            self._begun = True
        super().migration_progress_callback(action, migration, fake)


def _until(end: float) -> Callable[[], int]:
    return lambda: int((end - time.monotonic()) * 1000)


def _waiting(owner: BaseDatabaseWrapper) -> list[str]:
    executor = MigrationExecutor(owner)
    return [f"{step.app_label}.{step.name}" for step, _ in executor.migration_plan(executor.loader.graph.leaf_nodes())]


@contextmanager
def _as_owner() -> Iterator[BaseDatabaseWrapper]:
    """The default connection is the owner's meanwhile: migrations write through whichever Django calls the default."""
    if "owner" not in settings.DATABASES:
        yield connections["default"]
        return
    app, owner = connections["default"], connections.create_connection("owner")
    owner.alias = "default"
    connections["default"] = owner
    try:
        yield owner
    finally:
        owner.close()
        connections["default"] = app


@contextmanager
def _alone(owner: BaseDatabaseWrapper) -> Iterator[None]:
    """The lock is the session's, so that it ends with a process that dies."""
    with owner.cursor() as cursor:
        cursor.execute("SELECT pg_try_advisory_lock(%s)", [MIGRATION_LOCK])
        if not cursor.fetchone()[0]:
            raise MigrationsRun("Another deploy migrates this database; try again when it is done.")
    try:
        yield
    finally:
        if owner.is_usable():
            with owner.cursor() as cursor:
                cursor.execute("SELECT pg_advisory_unlock(%s)", [MIGRATION_LOCK])


@contextmanager
def _impatient(owner: BaseDatabaseWrapper) -> Iterator[None]:
    with owner.cursor() as cursor:
        for name, value in WHILE_MIGRATING.items():
            cursor.execute("SELECT set_config(%s, %s, false)", [name, value])
    try:
        yield
    finally:
        if owner.is_usable():
            with owner.cursor() as cursor:
                for name in WHILE_MIGRATING:
                    cursor.execute(sql.SQL("RESET {}").format(sql.Identifier(name)))


def _set_time_outs(owner: BaseDatabaseWrapper, role: str) -> None:
    """On the role and not on the connection: RDS Proxy takes no options, and a SET would pin what it shares."""
    time_outs = PROXIED_TIME_OUTS if settings.DATABASES["default"]["PROXIED"] else TIME_OUTS
    with owner.cursor() as cursor:
        for name, value in time_outs.items():
            cursor.execute(
                sql.SQL("ALTER ROLE {} IN DATABASE {} SET {} = {}").format(
                    sql.Identifier(role), sql.Identifier(owner.settings_dict["NAME"]), sql.Identifier(name), value
                )
            )


def _must_not_own(owner: BaseDatabaseWrapper, role: str) -> None:
    """Before anything is made: whoever makes the trail's table can open it again. On a laptop there is one role."""
    if role == owner.settings_dict["USER"] and not settings.LOCAL:
        raise TrailOpen(
            f"{role} owns the audit trail and is the application's role: give DATABASE_URL a role of its own, and "
            "DATABASE_OWNER_URL the one that migrates."
        )


def _close_trail(owner: BaseDatabaseWrapper, role: str) -> None:
    """Take the rights to change what the trail says away from the application's role; an owner keeps its own."""
    if role == owner.settings_dict["USER"]:
        return
    table = Change._meta.db_table  # noqa: SLF001 -- Django's documented name for it
    with owner.cursor() as cursor:
        cursor.execute(
            sql.SQL("REVOKE {} ON {} FROM {}").format(
                sql.SQL(", ".join(ALTERING)), sql.Identifier(table), sql.Identifier(role)
            )
        )
        cursor.execute(_STILL_OPEN, {"altering": list(ALTERING), "role": role, "table": table})
        left, of = cursor.fetchone()
    if of:
        raise TrailOpen(f"{role} is a member of {of}, which owns {table}: REVOKE {of} FROM {role}.")
    if left:
        raise TrailOpen(f"{role} may still {left} {table}: a role that it belongs to, or PUBLIC, was granted that.")


# What the role may do to the table or a column of it, and the owner that it could become.
_STILL_OPEN = """
SELECT
    (
        SELECT string_agg(right_to, ', ') FROM unnest(%(altering)s::text[]) AS right_to
        WHERE has_table_privilege(%(role)s, %(table)s, right_to)
           OR (right_to = 'UPDATE' AND has_any_column_privilege(%(role)s, %(table)s, right_to))
    ),
    (
        SELECT relowner::regrole::text FROM pg_class
        WHERE oid = %(table)s::regclass AND pg_has_role(%(role)s, relowner, 'MEMBER')
    )
"""


# --- facts -----------------------------------------------------------------------------------------------------------
def replay_events(
    *,
    since: str = "",
    until: str = "",
    detail_type: list[str] = [],  # noqa: B006 -- read only
    subject: str = "",
    unsettled: bool = False,
    dry_run: bool = False,
) -> dict[str, Any]:
    """`manage.py replay_events`, with its options by their names. Raises BadArguments for what it refuses."""
    said = StringIO()
    options = {"since": since, "until": until, "detail_type": detail_type, "subject": subject, "unsettled": unsettled}
    try:
        call_command("replay_events", **options, dry_run=dry_run, stdout=said)
    except CommandError as error:
        raise BadArguments(str(error)) from error
    return {"said": said.getvalue().splitlines()}
