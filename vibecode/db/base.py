"""PostgreSQL as Aurora serves it: asleep at times, failing over at others, with passwords that rotate, soon crowded.

Django imports this as the engine ``vibecode.db``. Beside Django's own keys its entry in DATABASES has ``SIGN_IN``
(see credentials.py), ``RESUME_SECONDS`` (how long a connection is waited for) and ``PROXIED`` (by RDS Proxy).
"""

import random
import re
import time
from collections.abc import Mapping
from typing import Any

import structlog
from django.db.backends.postgresql.base import DatabaseWrapper as PostgreSQL
from psycopg import Connection, OperationalError

from vibecode.acting import name_actor
from vibecode.db.credentials import sign_in
from vibecode.observability import metric

# libpq tells no SQLSTATE of a connection that was refused, so its words are read: those of PostgreSQL, of RDS's IAM
# check, of RDS Proxy.
WRONG_PASSWORD = re.compile(r"password authentication failed|PAM authentication failed|IAM authentication failed")
HOPELESS = re.compile(
    r"does not exist|no pg_hba\.conf entry|not permitted to log in|certificate|no password supplied"
    r"|does not support SSL|permission denied|could not translate host name .* Name or service not known"
)
CROWDED = re.compile(r"too many (clients|connections)|remaining connection slots")

LONGEST_ATTEMPT, SHORTEST_ATTEMPT = 3, 2  # seconds; psycopg takes less than two for two
SHORTEST_PAUSE, LONGEST_PAUSE = 0.1, 1.0  # seconds between two attempts
CLOSED_SECONDS = 1.0  # after a wait in vain the next is refused at once for so long
SHARED = 0.2  # of the server's connections: who gets one of these gives it back after each request

_CROWD = "SELECT sum(numbackends), current_setting('max_connections')::int FROM pg_stat_database"

log = structlog.stdlib.get_logger("vibecode.database")


class DatabaseWrapper(PostgreSQL):
    """One connection, kept between requests while there are enough for everybody."""

    _closed_until = 0.0  # by the monotonic clock

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.execute_wrappers.append(name_actor)

    def get_new_connection(self, conn_params: dict[str, Any]) -> Connection[Any]:
        """Connect, waiting RESUME_SECONDS at most for a server that resumes, fails over or has no connection left.

        A password that is refused is fetched anew once, where it is a secret. Raises psycopg's OperationalError: at
        once for what no waiting mends, and in the second after a wait in vain, so that a sandbox is not parked again.
        """
        started = time.monotonic()
        if started < self._closed_until:
            raise OperationalError("The database did not answer a moment ago.")
        deadline = started + self.settings_dict["RESUME_SECONDS"]
        anew = False
        longest_pause = SHORTEST_PAUSE
        while True:
            seconds = min(LONGEST_ATTEMPT, max(SHORTEST_ATTEMPT, int(deadline - time.monotonic())))
            try:
                connection: Connection[Any] = super().get_new_connection(
                    {**conn_params, **self._sign_in(anew=anew), "connect_timeout": seconds}
                )
            except OperationalError as error:
                said = str(error)
                if WRONG_PASSWORD.search(said):
                    if anew or not self.settings_dict["SIGN_IN"]:
                        raise
                    anew = True
                    continue
                if HOPELESS.search(said):
                    raise
                pause = random.uniform(0.5, 1) * longest_pause  # noqa: S311 -- spreads load, guards nothing
                longest_pause = min(LONGEST_PAUSE, 2 * longest_pause)
                if time.monotonic() + pause + SHORTEST_ATTEMPT > deadline:
                    self._closed_until = time.monotonic() + CLOSED_SECONDS
                    metric("DatabaseAway", 1)
                    raise
                log.warning("waiting for the database", crowded=bool(CROWDED.search(said)))
                time.sleep(pause)
            else:
                if time.monotonic() - started > SHORTEST_PAUSE:
                    metric("DatabaseWait", round(time.monotonic() - started, 3), "Seconds")
                return connection

    def connect(self) -> None:
        """Connect as above; where few of the server's connections are left, give this one back after the request.

        Who came first keeps theirs, and the others take turns with the rest: a frozen sandbox cannot give its own back,
        so that without this rule those that come last would find none. RDS Proxy shares them itself.
        """
        super().connect()
        if not self.settings_dict["PROXIED"]:
            taken, most = self.connection.execute(_CROWD).fetchone()
            if taken > (1 - SHARED) * most:
                self.close_at = time.monotonic()
                metric("DatabaseCrowded", 1)

    def _sign_in(self, *, anew: bool) -> Mapping[str, str]:
        entry = self.settings_dict
        return sign_in(entry["SIGN_IN"], host=entry["HOST"], port=int(entry["PORT"]), user=entry["USER"], anew=anew)
