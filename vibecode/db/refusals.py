"""What a refusal of PostgreSQL means: busy, or away? Asked by vibecode.problems for HTTP and by the Lambda entry."""

from django.db import InterfaceError, OperationalError
from psycopg import errors as postgres

from vibecode.errors import Busy, DatabaseAway

# PostgreSQL gave up waiting, or chose us to break a deadlock or a time-out: it is there, and busy.
LOCKED = (postgres.LockNotAvailable, postgres.DeadlockDetected, postgres.SerializationFailure, postgres.QueryCanceled)


def refusal(error: BaseException) -> Busy | DatabaseAway | None:
    """The error as ours, to be raised in its place; None for every other error."""
    if isinstance(error, OperationalError) and isinstance(error.__cause__, LOCKED):
        return Busy("Others are changing the same thing. Nothing was written; try again shortly.")
    if isinstance(error, OperationalError | InterfaceError):
        return DatabaseAway("The database does not answer. Nothing was written; try again shortly.")
    return None
