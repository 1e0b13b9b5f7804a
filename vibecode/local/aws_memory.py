"""What the local AWS still knows after a restart: users, tokens, media, tables, mails, facts. Used by aws.py.

All in one SQLite file. Each change is one small transaction, so a SIGKILL at any moment leaves the state before it or
after it.
"""

import json
import os
import sqlite3
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

TOKEN_LIFETIMES = {"access": 3600, "refresh": 30 * 86400}

TABLES = """
CREATE TABLE IF NOT EXISTS users (sub TEXT PRIMARY KEY, record TEXT NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS tokens (
    token TEXT PRIMARY KEY, kind TEXT NOT NULL, record TEXT NOT NULL, issued_at INTEGER NOT NULL
) STRICT;
CREATE TABLE IF NOT EXISTS objects (
    bucket TEXT NOT NULL, key TEXT NOT NULL, record TEXT NOT NULL, body BLOB NOT NULL, PRIMARY KEY (bucket, key)
) STRICT;
CREATE TABLE IF NOT EXISTS mails (message_id TEXT PRIMARY KEY, at REAL NOT NULL, record TEXT NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS tables (name TEXT PRIMARY KEY, items TEXT NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS facts (number INTEGER PRIMARY KEY, record TEXT NOT NULL) STRICT;
"""
MAILS_KEPT = 10_000
FACTS_KEPT = 100_000


class Memory:
    """The lasting side of the local AWS; safe to call from many threads."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        path = folder / "state.sqlite3"
        os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))  # SQLite's side files take its mode
        self._lock = threading.Lock()
        self._database = sqlite3.connect(path, check_same_thread=False, autocommit=True)
        self._database.execute("PRAGMA journal_mode = WAL")
        self._database.execute("PRAGMA synchronous = NORMAL")
        self._database.executescript(TABLES)
        forget = "DELETE FROM {0} WHERE rowid <= (SELECT max(rowid) FROM {0}) - ?"
        self._write(forget.format("mails"), MAILS_KEPT)
        self._write(forget.format("facts"), FACTS_KEPT)

    def save_user(self, sub: str, record: dict[str, Any]) -> None:
        """Write one user as it is now."""
        self._write("INSERT OR REPLACE INTO users VALUES (?, ?)", sub, json.dumps(record))

    def forget_user(self, sub: str) -> None:
        """The user was deleted."""
        self._write("DELETE FROM users WHERE sub = ?", sub)

    def users(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """Every user, in the order they came."""
        for sub, record in self._read("SELECT sub, record FROM users ORDER BY rowid"):
            yield sub, json.loads(record)

    def save_token(self, kind: str, token: str, record: object) -> None:
        """Write one token that was issued, or revoked (a record of None)."""
        statement = "INSERT OR REPLACE INTO tokens VALUES (?, ?, ?, ?)"
        self._write(statement, token, kind, json.dumps(record), int(time.time()))

    def forget_token(self, token: str) -> None:
        """The token counts no longer."""
        self._write("DELETE FROM tokens WHERE token = ?", token)

    def tokens(self, kind: str) -> Iterator[tuple[str, Any]]:
        """The tokens of a kind that may still be in use; older ones are erased."""
        self._write(
            "DELETE FROM tokens WHERE kind = ? AND issued_at < ?",
            kind,
            int(time.time()) - TOKEN_LIFETIMES[kind],
        )
        for token, record in self._read("SELECT token, record FROM tokens WHERE kind = ?", kind):
            yield token, json.loads(record)

    def save_object(self, bucket: str, key: str, record: dict[str, Any], body: bytes) -> None:
        """Write one object with its metadata, both or neither."""
        self._write("INSERT OR REPLACE INTO objects VALUES (?, ?, ?, ?)", bucket, key, json.dumps(record), body)

    def forget_object(self, bucket: str, key: str) -> None:
        """The object was deleted."""
        self._write("DELETE FROM objects WHERE bucket = ? AND key = ?", bucket, key)

    def objects(self) -> Iterator[tuple[str, str, dict[str, Any], bytes]]:
        """Every object: bucket, key, metadata, bytes."""
        for bucket, key, record, body in self._read("SELECT bucket, key, record, body FROM objects ORDER BY rowid"):
            yield bucket, key, json.loads(record), body

    def save_mail(self, message_id: str, at: float, record: dict[str, Any]) -> None:
        """Write one mail that was accepted at a time."""
        self._write("INSERT INTO mails VALUES (?, ?, ?)", message_id, at, json.dumps(record))

    def mails(self, *, since: float = 0) -> list[dict[str, Any]]:
        """The mails accepted since a time, the newest last."""
        rows = self._read("SELECT record FROM mails WHERE at >= ? ORDER BY rowid", since)
        return [json.loads(record) for (record,) in rows]

    def save_facts(self, records: list[dict[str, Any]]) -> None:
        """Write the facts of one PutEvents."""
        with self._lock:
            rows = [(json.dumps(record),) for record in records]
            self._database.execute("BEGIN")
            self._database.executemany("INSERT INTO facts (record) VALUES (?)", rows)
            self._database.execute("COMMIT")

    def facts(self, last: int) -> list[dict[str, Any]]:
        """So many facts at most, the newest last."""
        rows = self._read("SELECT record FROM facts ORDER BY number DESC LIMIT ?", last)
        return [json.loads(record) for (record,) in rows][::-1]

    def save_table(self, name: str, items: list[dict[str, Any]]) -> None:
        """Write all items of a DynamoDB table, in its own typed JSON."""
        self._write("INSERT OR REPLACE INTO tables VALUES (?, ?)", name, json.dumps(items))

    def tables(self) -> Iterator[tuple[str, list[dict[str, Any]]]]:
        """Every table with its items."""
        for name, items in self._read("SELECT name, items FROM tables"):
            yield name, json.loads(items)

    def close(self) -> None:
        """Fold the write-ahead log into the file."""
        with self._lock:
            self._database.close()

    def _write(self, statement: str, *values: object) -> None:
        with self._lock:
            self._database.execute(statement, values)

    def _read(self, statement: str, *values: object) -> list[tuple[Any, ...]]:
        with self._lock:
            return self._database.execute(statement, values).fetchall()
