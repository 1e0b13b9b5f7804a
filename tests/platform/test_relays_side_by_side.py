"""Relays as processes, side by side, killed, cut off: no fact lost, none doubled, each subject in order."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from django.core.management import call_command
from django.db import connection, transaction
from django.db.models.functions import Now
from pytest_django import DjangoDbBlocker

from tests.in_process import FULL
from tests.over_http import looking_into
from tests.platform.bus import Listener, Noted
from vibecode.local.folder import REPOSITORY
from vibecode.local.guard import Guard
from vibecode.models import OutboxEvent
from vibecode.outbox import publish
from vibecode.relay import relay

NAME = "relayed"
SUBJECTS = 50
FACTS = 10_000 if FULL else 1_000


@pytest.fixture(scope="session")
def relayed_database(django_db_blocker: DjangoDbBlocker) -> str:
    """A database whose rows several processes see."""
    engine = os.environ["DATABASE_URL"]
    with psycopg.connect(engine, autocommit=True) as admin, contextlib.suppress(psycopg.errors.DuplicateDatabase):
        admin.execute(f"CREATE DATABASE {NAME}")  # test_inbox.py has it too
    with looking_into(NAME, django_db_blocker):
        call_command("migrate", verbosity=0)
    return engine.rpartition("/")[0] + f"/{NAME}"


class Relays:
    """Relay processes over that database."""

    def __init__(self, database_url: str, folder: Path) -> None:
        self.environment = {**os.environ, "DATABASE_URL": database_url, "OUTBOX_LEASE_SECONDS": "4"}
        self.folder = folder
        self.guard = Guard()
        self.running: list[subprocess.Popen[bytes]] = []

    def start(self) -> subprocess.Popen[bytes]:
        """One more."""
        command = [sys.executable, "manage.py", "relay", "--poll", "0.05"]
        with (self.folder / f"relay-{len(self.running)}.log").open("ab") as log:
            process = subprocess.Popen(command, cwd=REPOSITORY, env=self.environment, stdout=log, stderr=log)
        self.guard.watch(process.pid, signal.SIGKILL)
        self.running.append(process)
        return process

    def stop(self) -> None:
        """Ask all to end; they do, with what they had begun. Twice is harmless."""
        for process in self.running:
            process.terminate()
        codes = [process.wait(timeout=20) for process in self.running]
        self.guard.close()
        assert {code for code in codes if code != -signal.SIGKILL} <= {0}, self.logs()

    def logs(self) -> list[str]:
        """What each of them said."""
        return [(self.folder / f"relay-{number}.log").read_text() for number in range(len(self.running))]


@pytest.fixture
def relays(relayed_database: str, django_db_blocker: DjangoDbBlocker, tmp_path: Path) -> Iterator[Relays]:
    """Processes to start; this process looks into their database."""
    with looking_into(NAME, django_db_blocker):
        OutboxEvent.objects.all().delete()
        made = Relays(relayed_database, tmp_path)
        try:
            yield made
        finally:
            made.stop()


def fill(count: int) -> None:
    """Facts about fifty subjects in turn; nobody is woken, for these relays look by themselves."""
    for start in range(0, count, 1000):
        with transaction.atomic():
            publish(
                *(
                    Noted(thing=f"thing-{n % SUBJECTS}", number=n // SUBJECTS)
                    for n in range(start, min(start + 1000, count))
                )
            )


def wait_until_sent(seconds: float = 240) -> None:
    """Until nothing waits."""
    deadline = time.monotonic() + seconds
    while OutboxEvent.objects.waiting().exists():
        assert time.monotonic() < deadline, "they do not get through"
        time.sleep(0.1)


def by_subject(messages: list[dict[str, Any]]) -> dict[str, list[int]]:
    """What came about each thing, in the order in which it came."""
    found: dict[str, list[int]] = defaultdict(list)
    for message in messages:
        found[message["detail"]["thing"]].append(message["detail"]["number"])
    return found


def without_repeats(numbers: list[int]) -> list[int]:
    """Each number where it came first."""
    return list(dict.fromkeys(numbers))


def test_two_relays_side_by_side_lose_nothing_double_nothing_and_keep_each_subjects_order(relays: Relays) -> None:
    with contextlib.closing(Listener()) as listener, listener.listening() as heard:
        fill(FACTS)
        relays.start()
        relays.start()
        wait_until_sent()
    relays.stop()

    in_order = {f"thing-{n}": list(range(FACTS // SUBJECTS)) for n in range(SUBJECTS)}
    assert by_subject(heard) == in_order
    assert len(heard) == FACTS
    assert all('"EventsSent"' in log for log in relays.logs())  # neither had it all


def test_a_relay_killed_in_the_middle_loses_nothing_and_doubles_only_what_it_had_in_hand(relays: Relays) -> None:
    kills, count = (5, FACTS) if FULL else (2, FACTS // 2)
    with contextlib.closing(Listener()) as listener, listener.listening() as heard:
        fill(count)
        relays.start()
        for _ in range(kills):
            victim = relays.start()
            reach = OutboxEvent.objects.waiting().count() - count // (kills + 2)
            deadline = time.monotonic() + 60
            while OutboxEvent.objects.waiting().count() > reach:
                assert time.monotonic() < deadline, relays.logs()
                time.sleep(0.005)
            victim.kill()
            victim.wait()
        wait_until_sent()

    found = by_subject(heard)
    repeats = Counter((thing, number) for thing, numbers in found.items() for number in numbers)
    doubled = [fact for fact, times in repeats.items() if times > 1]
    print(f"{len(heard)} heard, {len(doubled)} doubled by {kills} kills")
    in_order = list(range(count // SUBJECTS))
    assert {thing: without_repeats(numbers) for thing, numbers in found.items()} == {
        f"thing-{n}": in_order for n in range(SUBJECTS)
    }
    assert len(doubled) <= 10 * kills  # one request of each that died
    assert max(repeats.values()) <= 1 + kills


def rows_read() -> int:
    """How many rows and entries of indexes were looked at in the outbox, ever."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_stat_force_next_flush()")
        cursor.execute(
            """
            SELECT (SELECT seq_tup_read FROM pg_stat_user_tables WHERE relname = 'vibecode_outboxevent')
                 + (SELECT sum(idx_tup_read) FROM pg_stat_user_indexes WHERE relname = 'vibecode_outboxevent')
            """
        )
        return int(cursor.fetchone()[0])


@pytest.mark.usefixtures("relays")
@pytest.mark.parametrize("there", [True, False])
def test_a_backlog_is_no_dearer_for_statistics_of_a_moment_when_nothing_waited(*, there: bool) -> None:
    """They mostly are of such a moment: with all sent, or with none there."""
    fill(SUBJECTS)
    OutboxEvent.objects.update(sent_at=Now())
    if not there:
        OutboxEvent.objects.all().delete()
    with connection.cursor() as cursor:
        cursor.execute("VACUUM ANALYZE vibecode_outboxevent")
    fill(500)
    before = rows_read()

    with contextlib.closing(Listener()):
        assert relay().sent == 500

    assert (rows_read() - before) / 500 < 50  # hundreds, where each is compared with each


def test_a_relay_told_to_end_finishes_the_batch_in_hand(relays: Relays) -> None:
    with contextlib.closing(Listener()) as listener, listener.listening() as heard:
        fill(500)
        process = relays.start()
        while OutboxEvent.objects.waiting().count() > 450:
            time.sleep(0.005)
        process.terminate()

        assert process.wait(timeout=20) == 0
    sent = OutboxEvent.objects.sent().count()
    assert 50 <= sent < 500
    assert len(heard) == sent
    assert OutboxEvent.objects.filter(lease__isnull=False).count() == 0


def test_a_relay_outlives_its_database(relays: Relays) -> None:
    def cut_off(allow: str) -> None:
        with psycopg.connect(os.environ["DATABASE_URL"], autocommit=True) as admin:
            admin.execute(f"ALTER DATABASE {NAME} ALLOW_CONNECTIONS {allow}")
            admin.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", [NAME])

    with contextlib.closing(Listener()) as listener, listener.listening() as heard:
        fill(SUBJECTS)
        process = relays.start()
        wait_until_sent()
        cut_off("false")
        time.sleep(0.5)
        cut_off("true")
        connection.close()
        fill(SUBJECTS)
        wait_until_sent()

        assert process.poll() is None
    assert len(heard) == 2 * SUBJECTS
    assert "database away" in relays.logs()[0]
