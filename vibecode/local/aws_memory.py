"""What the local AWS must still know after a restart: users, tokens, media objects, in one SQLite file. Used by aws.py.

Each change is one small transaction, so a SIGKILL at any moment leaves the state before it or after it.
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
"""


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

    def close(self) -> None:
        """Fold the write-ahead log into the file."""
        with self._lock:
            self._database.close()

    def _write(self, statement: str, *values: object) -> None:
        with self._lock:
            self._database.execute(statement, values)

    def _read(self, statement: str, *values: object) -> Iterator[tuple[Any, ...]]:
        """Read row by row; only at the start, before any other thread writes."""
        yield from self._database.execute(statement, values)
