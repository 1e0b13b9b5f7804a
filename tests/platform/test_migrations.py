"""The operation `migrate`: cut off anywhere it is called again, and goes on from there to the end."""

import json
import os
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import psycopg
import pytest

from vibecode.local.folder import REPOSITORY

OPERATE = """
import json, sys
from vibecode.lambda_entry import handler

class Context:
    aws_request_id = "one"
    def get_remaining_time_in_millis(self):
        return int(sys.argv[1])

print(json.dumps(handler({"operation": "migrate", "arguments": {}}, Context())))
"""
INDEXES = """
SELECT named.relname, (named.oid, index.indisvalid)::text
FROM pg_class AS named JOIN pg_index AS index ON index.indexrelid = named.oid
WHERE named.relnamespace = 'public'::regnamespace
"""


@dataclass(frozen=True)
class Fresh:
    """A database that is migrated as a deploy does it: by the worker's handler, in a process of its own."""

    url: str

    def session(self) -> psycopg.Connection[Any]:
        """Each statement by itself."""
        return psycopg.connect(self.url, autocommit=True)

    def begin(self, left: int = 120_000) -> subprocess.Popen[str]:
        """Call the operation, while the function has so many milliseconds left."""
        environment = {**os.environ, "DATABASE_URL": self.url, "DATABASE_OWNER_URL": self.url}
        return self._process([sys.executable, "-c", OPERATE, str(left)], environment)

    def migrate(self, left: int = 120_000) -> dict[str, Any]:
        """What it answers."""
        return answer_of(self.begin(left))

    def manage(self, *arguments: str) -> None:
        """A command of manage.py."""
        process = self._process([sys.executable, "manage.py", *arguments], {**os.environ, "DATABASE_URL": self.url})
        _, errors = process.communicate(timeout=120)
        assert process.returncode == 0, errors

    def indexes(self) -> dict[str, str]:
        """Every index: which one it is, and whether it is valid."""
        with self.session() as session:
            return dict(session.execute(INDEXES).fetchall())

    def rules(self) -> set[str]:
        """Every named constraint."""
        with self.session() as session:
            return {name for (name,) in session.execute("SELECT conname FROM pg_constraint").fetchall()}

    @staticmethod
    def _process(command: list[str], environment: dict[str, str]) -> subprocess.Popen[str]:
        return subprocess.Popen(
            command, cwd=REPOSITORY, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )


def answer_of(function: subprocess.Popen[str]) -> dict[str, Any]:
    """What it prints last, when it is done."""
    said, errors = function.communicate(timeout=120)
    assert function.returncode == 0, errors
    answer: dict[str, Any] = json.loads(said.splitlines()[-1])
    return answer


def refusal_of(function: subprocess.Popen[str]) -> str:
    """The error that it ends with."""
    _, errors = function.communicate(timeout=60)
    assert function.returncode != 0
    return errors.splitlines()[-1]


@pytest.fixture(scope="module")
def fresh() -> Iterator[Fresh]:
    """An empty database. Each test takes it to where it begins, whatever was there before."""
    server = os.environ["DATABASE_URL"]
    name = f"migrated_{uuid.uuid4().hex[:8]}"
    with psycopg.connect(server, autocommit=True) as admin:
        admin.execute(f"CREATE DATABASE {name}")
        try:
            yield Fresh(server.rpartition("/")[0] + f"/{name}")
        finally:
            admin.execute(f"DROP DATABASE {name} WITH (FORCE)")


def builder(session: psycopg.Connection[Any], index: str) -> int:
    """The session that builds the index, or clears its remains away, and waits for others: PostgreSQL's process."""
    until = time.monotonic() + 60
    while time.monotonic() < until:
        found = session.execute(
            "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock' "
            "AND query LIKE %s",
            [f'%INDEX CONCURRENTLY%"{index}"%'],
        ).fetchone()
        if found:
            return int(found[0])
        time.sleep(0.05)
    raise AssertionError(f"nobody builds {index}")


def test_when_time_is_short_no_other_migration_is_begun_and_the_answer_says_what_is_left(fresh: Fresh) -> None:
    first = fresh.migrate(left=1000)
    second = fresh.migrate(left=1000)

    assert (len(first["applied"]), len(second["applied"])) == (1, 1)
    assert first["left"] == second["applied"] + second["left"]
    assert "orders.0012_lists_at_scale" in second["left"]


def test_a_migration_that_is_killed_between_its_builds_goes_on_from_there(fresh: Fresh) -> None:
    fresh.manage("migrate", "catalog", "0004", "--verbosity", "0")
    with fresh.session() as writer, fresh.session() as session:
        # A build waits for whoever writes.
        writer.execute("BEGIN; LOCK TABLE catalog_stockmovement IN ROW EXCLUSIVE MODE")
        function = fresh.begin()
        pid = builder(session, "stock_movement_newest")
        function.kill()
        function.communicate(timeout=10)
        assert "MigrationsRun" in refusal_of(fresh.begin()), "PostgreSQL goes on building for whoever is gone"

        assert session.execute("SELECT pg_terminate_backend(%s, 10000)", [pid]).fetchone() == (True,)
        before = fresh.indexes()
        assert before["product_changed"].endswith("t)")
        assert before["stock_movement_newest"].endswith("f)"), "half made"
        again = fresh.begin()
        builder(session, "stock_movement_newest")
        time.sleep(3.5)  # longer than the lock time-out of a session that migrates
        writer.execute("ROLLBACK")
        assert answer_of(again)["left"] == []

    after = fresh.indexes()
    assert {name: what for name, what in after.items() if what.endswith("f)")} == {}
    assert after["product_changed"] == before["product_changed"], "what was whole is not built again"
    assert "stock_movement_of_product" not in after
    assert fresh.migrate()["applied"] == []


def test_back_and_forth_is_resumable_too(fresh: Fresh) -> None:
    assert fresh.migrate()["left"] == []
    with fresh.session() as session:
        session.execute("DROP INDEX order_by_total")  # as if cut off on the way back
        session.execute("CREATE INDEX order_line_sku ON orders_orderline (sku)")

    fresh.manage("migrate", "orders", "0011", "--verbosity", "0")
    assert "order_line_sku" in fresh.indexes()
    assert "order_by_total" not in fresh.indexes()
    with fresh.session() as session:
        session.execute("DROP INDEX order_line_sku")  # as if cut off before it was written down

    assert fresh.migrate()["applied"] == ["orders.0012_lists_at_scale"]
    assert "order_by_total" in fresh.indexes()


def test_a_statement_that_waits_for_a_lock_gives_up_before_writers_notice(fresh: Fresh) -> None:
    fresh.manage("migrate", "orders", "0007", "--verbosity", "0")
    with fresh.session() as desk:
        desk.execute("BEGIN; LOCK TABLE orders_refund IN ROW EXCLUSIVE MODE")
        assert "Busy" in refusal_of(fresh.begin())
        desk.execute("ROLLBACK")
    assert "order_line_ships_no_more_than_ordered" in fresh.rules(), "half of its migration is done"
    assert "refund_amount_is_not_negative" not in fresh.rules()

    assert fresh.migrate()["left"] == []

    assert "refund_amount_is_not_negative" in fresh.rules()
