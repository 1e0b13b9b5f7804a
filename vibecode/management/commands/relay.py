"""`manage.py relay`: sends the outbox on, on laptops and in containers. On Lambda the queue and the sweep do it."""

import signal
import threading
from argparse import ArgumentParser
from contextlib import suppress
from typing import Any

import structlog
from django.core.management.base import BaseCommand, CommandError
from django.db import Error, connection

from vibecode.relay import Passed, relay

LONGEST_PAUSE = 30.0  # seconds, while the database or the bus is away

log = structlog.stdlib.get_logger("vibecode.relay")


class Command(BaseCommand):
    """Looks again every moment until SIGTERM or Ctrl-C, which let it finish the batch in hand."""

    requires_system_checks = ()  # they ask a database that may be starting; the relay waits for it
    help = "Put the facts of the outbox on the bus."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """How long, how often."""
        parser.add_argument("--once", action="store_true", help="end when nothing is due")
        parser.add_argument("--poll", type=float, default=1.0, metavar="SECONDS", help="between two looks (1)")

    def handle(self, *, once: bool, poll: float, **_options: Any) -> None:
        """Relay, pause, relay."""
        if not 0.01 <= poll <= 3600:
            raise CommandError(f"--poll must be from 0.01 to 3600 seconds; it is {poll}.")
        ended = threading.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: ended.set())
        pause = poll
        while not ended.is_set():
            passed = self._pass(ended)
            if once:
                self._report(passed)
                return
            away = passed is None or passed.bus_away
            pause = min(LONGEST_PAUSE, 2 * pause) if away else poll
            if passed is None or not passed.out_of_time:
                ended.wait(pause)

    def _pass(self, ended: threading.Event) -> Passed | None:
        """One pass; None while the database is away."""
        try:
            return relay(stop=ended.is_set)
        except Error as error:
            log.warning("database away", error=str(error).strip())
            with suppress(Error):
                connection.close()
            return None

    def _report(self, passed: Passed | None) -> None:
        if passed is None:
            raise CommandError("The database does not answer.")
        self.stdout.write(f"{passed.sent:,} sent, {len(passed.pauses):,} to be tried again, {passed.parked:,} parked")
