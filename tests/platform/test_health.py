"""/healthz and /readyz: whether the process answers, and whether it may be sent work."""

import pytest
from django.db import OperationalError, connection
from django.test.utils import CaptureQueriesContext

from tests.in_process import Caller


def test_healthz_asks_the_database_nothing(client: object, stranger: Caller) -> None:
    answer = stranger.client.get("/healthz")  # the database is not even allowed in this test

    assert (answer.status_code, answer.json()) == (200, {"status": "ok"})
    assert answer.headers["X-Release"] == "checkout"


def test_readyz_asks_database_and_migrations(db: None, stranger: Caller) -> None:
    with CaptureQueriesContext(connection) as asked:
        answer = stranger.client.get("/readyz")

    assert (answer.status_code, answer.json()) == (200, {"status": "ready"})
    assert any("django_migrations" in query["sql"] for query in asked)


def test_a_migration_that_waits_makes_it_unready(db: None, stranger: Caller) -> None:
    with connection.cursor() as cursor:
        cursor.execute("DELETE FROM django_migrations WHERE app = 'orders'")

    answer = stranger.client.get("/readyz")

    assert (answer.status_code, answer.json()["status"]) == (503, "unready")
    assert "migrations wait" in answer.json()["reason"]
    assert answer.headers["Retry-After"] == "2"


def test_a_database_that_is_away_makes_it_unready(db: None, stranger: Caller, monkeypatch: pytest.MonkeyPatch) -> None:
    def away() -> None:
        raise OperationalError("connection to server at 10.0.0.1 failed: password=secret")

    with monkeypatch.context() as patch:
        patch.setattr(connection, "ensure_connection", away)
        answer = stranger.client.get("/readyz")

    assert (answer.status_code, answer.json()["reason"]) == (503, "the database does not answer")


@pytest.mark.parametrize("path", ["/healthz", "/readyz"])
def test_health_is_read_only(db: None, stranger: Caller, path: str) -> None:
    assert stranger.client.head(path).status_code == 200
    assert stranger.client.post(path).status_code == 405
