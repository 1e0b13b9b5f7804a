"""The books of the demo payment provider: what was asked, charged, voided and given back. Kept by payments.py.

They last in one SQLite file. Each change is one transaction, so a provider killed at any moment forgets nothing that it
has answered. They allow a double charge on purpose: a caller who forgets its idempotency key can be found out.
"""

import contextlib
import dataclasses
import secrets
import sqlite3
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

TABLES = """
CREATE TABLE IF NOT EXISTS attempt (
    id INTEGER PRIMARY KEY, at REAL NOT NULL, reference TEXT NOT NULL, method TEXT NOT NULL, key TEXT NOT NULL,
    outcome TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS attempt_of ON attempt (reference);
CREATE TABLE IF NOT EXISTS charge (
    id TEXT PRIMARY KEY, at REAL NOT NULL, reference TEXT NOT NULL, method TEXT NOT NULL, key TEXT UNIQUE,
    amount INTEGER NOT NULL CHECK (amount >= 0), currency TEXT NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('pending', 'requires_action', 'captured', 'declined', 'voided')),
    due REAL, client_secret TEXT);
CREATE INDEX IF NOT EXISTS charge_of ON charge (reference);
CREATE INDEX IF NOT EXISTS charge_due ON charge (due) WHERE due IS NOT NULL;
CREATE TABLE IF NOT EXISTS void (reference TEXT PRIMARY KEY, at REAL NOT NULL);
CREATE TABLE IF NOT EXISTS refund (
    id TEXT PRIMARY KEY, at REAL NOT NULL, reference TEXT NOT NULL, refund_reference TEXT NOT NULL, key TEXT UNIQUE,
    amount INTEGER NOT NULL CHECK (amount > 0));
CREATE INDEX IF NOT EXISTS refund_of ON refund (reference);
"""
METHODS = (
    "demo_ok", "demo_decline", "demo_flaky", "demo_down", "demo_lost", "demo_slow", "demo_late", "demo_action",
)  # fmt: skip
SAID_NO = 2  # times that demo_flaky fails for each reference


class Refused(Exception):
    """The provider says no; ``status`` is HTTP's."""

    def __init__(self, status: int, code: str) -> None:
        super().__init__(code)
        self.status = status
        self.code = code


@dataclass(frozen=True, slots=True)
class Request:
    """What somebody asks to be charged. ``amount`` in hundredths; an empty key is none."""

    reference: str
    amount: int
    currency: str
    method: str
    key: str = ""


@dataclass
class Books:
    """What the provider knows. Safe for many threads: they take turns, and every turn is short."""

    path: Path
    slow: float = 12.0  # seconds until demo_slow charges
    late: float = 2.0  # seconds from a void to demo_late's capture
    lag: float = 0.0  # seconds until a charge is found by its reference: real providers search a copy of their books
    _turn: threading.RLock = field(default_factory=threading.RLock, init=False, repr=False)

    def __post_init__(self) -> None:
        """Open the file, and make what is missing in it."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._file = sqlite3.connect(self.path, check_same_thread=False, isolation_level=None, timeout=10)
        self._file.row_factory = sqlite3.Row
        self._file.execute("PRAGMA journal_mode = WAL")
        self._file.execute("PRAGMA synchronous = NORMAL")  # lasts through a kill of the process
        self._file.executescript(TABLES)

    # --- charges --------------------------------------------------------------------------------------------
    def charge(self, request: Request) -> tuple[str, Mapping[str, Any]]:
        """Do what the method says. Gives what became of this attempt and the charge (empty where there is none).

        ``lost``: charged, and the caller must not hear of it. ``held``: no answer while the charge is pending, and
        none at all where there is no charge. Raises Refused for a voided reference and for a key that was used for
        something else.
        """
        with self._change():
            first = self._row("charge WHERE key = ?", request.key) if request.key else None
            outcome, charge = self._replay(first, request) if first else self._charge(request)
            self._file.execute(
                "INSERT INTO attempt (at, reference, method, key, outcome) VALUES (?, ?, ?, ?, ?)",
                [time.time(), request.reference, request.method, request.key, outcome],
            )
        if outcome == "voided":
            raise Refused(409, "voided")
        if outcome == "key_reused":
            raise Refused(422, "idempotency_key_reused")
        return outcome, _shown(charge) if charge else {}

    def _replay(self, first: sqlite3.Row, request: Request) -> tuple[str, sqlite3.Row]:
        if any(first[name] != getattr(request, name) for name in ("reference", "amount", "currency")):
            return "key_reused", first
        return {"pending": "held", "voided": "voided"}.get(first["state"], "replayed"), first

    def _charge(self, request: Request) -> tuple[str, sqlite3.Row | None]:
        if self._row("void WHERE reference = ?", request.reference):
            return "voided", None
        before = [attempt["outcome"] for attempt in self._rows("attempt WHERE reference = ?", request.reference)]
        match request.method:
            case "demo_flaky" if before.count("unavailable") < SAID_NO:
                return "unavailable", None
            case "demo_down":
                return "held", None
            case "demo_lost" if "lost" not in before:
                return "lost", self._write(request, "captured")
            case "demo_slow":
                return "held", self._write(request, "pending", due=time.time() + self.slow)
            case "demo_late":
                return "held", self._write(request, "pending")
        state = {"demo_decline": "declined", "demo_action": "requires_action"}.get(request.method, "captured")
        return state, self._write(request, state)

    def confirm(self, reference: str) -> Mapping[str, Any]:
        """The customer has answered the bank: what waited for it is captured. Refused where nothing waits."""
        with self._change():
            self._file.execute(
                "UPDATE charge SET state = 'captured' WHERE reference = ? AND state = 'requires_action'", [reference]
            )
            charges = self._rows("charge WHERE reference = ?", reference)
        captured = [charge for charge in charges if charge["state"] == "captured"]
        if not captured:
            raise Refused(409 if charges else 404, charges[-1]["state"] if charges else "unknown_reference")
        return _shown(captured[-1])

    def capture_due(self) -> None:
        """Capture what has waited for its moment."""
        with self._change():
            self._file.execute("UPDATE charge SET state = 'captured', due = NULL WHERE due <= ?", [time.time()])

    def read(self, charge_id: str) -> Mapping[str, Any]:
        """A charge as it is now, looked at again and again for a caller who is held."""
        with self._turn:
            return _shown(self._rows("charge WHERE id = ?", charge_id)[0])

    # --- voids and refunds ----------------------------------------------------------------------------------
    def void(self, reference: str) -> Mapping[str, Any] | None:
        """Refuse every later charge of a reference; the capture, where there is one to refund.

        demo_late says voided, and captures a little later.
        """
        with self._change():
            now = time.time()
            self._file.execute("INSERT INTO void VALUES (?, ?) ON CONFLICT DO NOTHING", [reference, now])
            self._file.execute(
                "UPDATE charge SET due = ? WHERE reference = ? AND method = 'demo_late' AND state = 'pending'"
                " AND due IS NULL",
                [now + self.late, reference],
            )
            self._file.execute(
                "UPDATE charge SET state = 'voided', due = NULL WHERE reference = ? AND method != 'demo_late'"
                " AND state IN ('pending', 'requires_action')",
                [reference],
            )
            captured = self._row("charge WHERE reference = ? AND state = 'captured'", reference)
        return _shown(captured) if captured else None

    def refund(self, reference: str, amount: int, refund_reference: str, key: str) -> Mapping[str, Any]:
        """Give back ``amount`` hundredths, once for each key. Refused above what was captured."""
        with self._change():
            if key and (first := self._row("refund WHERE key = ?", key)):
                if (first["reference"], first["amount"]) != (reference, amount):
                    raise Refused(422, "idempotency_key_reused")
                return _shown(first)
            captured = sum(
                c["amount"] for c in self._rows("charge WHERE reference = ?", reference) if c["state"] == "captured"
            )
            if amount > captured - self._refunded(reference):
                raise Refused(409, "more_than_captured")
            row = self._file.execute(
                "INSERT INTO refund VALUES (?, ?, ?, ?, ?, ?) RETURNING *",
                [_new_id("re"), time.time(), reference, refund_reference, key or None, amount],
            ).fetchone()
        return _shown(row)

    # --- reading --------------------------------------------------------------------------------------------
    def look_up(self, reference: str) -> Mapping[str, Any]:
        """Everything about a reference; charges as old as the lag."""
        seen = time.time() - self.lag
        with self._turn:
            return {
                "reference": reference,
                "voided": self._row("void WHERE reference = ?", reference) is not None,
                "refunded": str(_money(self._refunded(reference))),
                "charges": [
                    _shown(row) for row in self._rows("charge WHERE reference = ? AND at <= ?", reference, seen)
                ],
                "refunds": [_shown(row) for row in self._rows("refund WHERE reference = ?", reference)],
            }

    def everything(self) -> Mapping[str, Any]:
        """The whole books, for people and tests: attempts by reference."""
        attempts: dict[str, list[Any]] = {}
        with self._turn:
            for row in self._rows("attempt"):
                attempts.setdefault(row["reference"], []).append(_shown(row))
            lists = {f"{table}s": [_shown(row) for row in self._rows(table)] for table in ("charge", "void", "refund")}
        return {**lists, "attempts": attempts}

    # --- inside ---------------------------------------------------------------------------------------------
    @contextlib.contextmanager
    def _change(self) -> Iterator[None]:
        with self._turn:
            self._file.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._file.execute("COMMIT")
            finally:
                if self._file.in_transaction:
                    self._file.execute("ROLLBACK")

    def _write(self, request: Request, state: str, due: float | None = None) -> sqlite3.Row:
        row = {
            "id": _new_id("ch"),
            "at": time.time(),
            **dataclasses.asdict(request),
            "key": request.key or None,  # without one, every request is another charge
            "state": state,
            "due": due,
            "client_secret": secrets.token_hex(8) if state == "requires_action" else None,
        }
        names = ", ".join(row)
        places = ", ".join(f":{name}" for name in row)
        self._file.execute(f"INSERT INTO charge ({names}) VALUES ({places})", row)  # noqa: S608 -- our own names
        return self._rows("charge WHERE id = ?", row["id"])[0]

    def _rows(self, what: str, *values: str | float) -> list[sqlite3.Row]:
        return self._file.execute(f"SELECT * FROM {what} ORDER BY rowid", values).fetchall()  # noqa: S608 -- our own words

    def _row(self, what: str, value: str) -> sqlite3.Row | None:
        return next(iter(self._rows(what, value)), None)

    def _refunded(self, reference: str) -> int:
        return sum(refund["amount"] for refund in self._rows("refund WHERE reference = ?", reference))


def _money(hundredths: int) -> Decimal:
    return Decimal(hundredths).scaleb(-2)


def _new_id(kind: str) -> str:
    return f"{kind}_{secrets.token_hex(8)}"


def _shown(row: sqlite3.Row) -> Mapping[str, Any]:
    """A row with its money as decimal strings and without what is empty."""
    shown = {name: row[name] for name in row.keys() if row[name] is not None}  # noqa: SIM118 -- a sqlite3.Row
    if "amount" in shown:
        shown["amount"] = str(_money(row["amount"]))
    if "state" in shown:
        shown["captured"] = shown["amount"] if row["state"] == "captured" else "0.00"
    return shown
