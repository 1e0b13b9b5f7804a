"""The demo payment provider: an HTTP server with books of its own, whose payment methods fail in every way on request.

`python -m vibecode.local.payments --port PORT --books FILE`, run by the supervisor and by tests. It is somebody else's
system: the shop knows it only by its API.
"""

import argparse
import html
import json
import re
import signal
import socket
import sqlite3
import sys
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from vibecode.local.page import page
from vibecode.local.payment_books import METHODS, Books, Refused, Request
from vibecode.local.ports import HOST, may_ask

LONGEST_BODY = 64 * 1024
GLANCE = 0.05  # seconds between two looks at a charge that a caller is held for
FORMS = {
    "reference": r"[\w.:-]{1,80}",
    "refund_reference": r"[\w.:-]{1,80}",
    "amount": r"\d{1,15}(\.\d{1,2})?",
    "currency": r"[A-Z]{3}",
    "method": "|".join(METHODS),
}
STATUS_OF = {"captured": 201, "requires_action": 201, "declined": 402, "voided": 409}


def environment(port: int) -> dict[str, str]:
    """What the application needs in its environment to be paid here."""
    return {"DEMO_PAYMENTS_URL": f"http://{HOST}:{port}"}


def command(port: int, books: Path) -> list[str]:
    """The command line that runs it."""
    return [sys.executable, "-m", "vibecode.local.payments", "--port", str(port), "--books", str(books)]


class Provider(ThreadingHTTPServer):
    """The server; each request in a thread of its own that never outlives it."""

    daemon_threads = True
    request_queue_size = 512

    def __init__(self, port: int, books: Books) -> None:
        self.books = books
        super().__init__((HOST, port), Door)

    def service_actions(self) -> None:
        """Between two requests: capture what is due."""
        self.books.capture_due()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A caller who has left is no news."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


class Door(BaseHTTPRequestHandler):
    """The provider's API: JSON in, JSON out, amounts as decimal strings."""

    server: Provider
    protocol_version = "HTTP/1.1"
    wbufsize = -1  # headers and body leave together

    def do_GET(self) -> None:
        """Look up, read the books."""
        address = urlsplit(self.path)
        match address.path:
            case "/healthz":
                self._answer(200, {"status": "ok"})
            case "/books":
                self._answer(200, self.server.books.everything())
            case "/charges":
                known = self.server.books.look_up(parse_qs(address.query).get("reference", [""])[0])
                self._answer(200, {**known, "charges": [in_words(charge) for charge in known["charges"]]})
            case "/":
                self._send(200, "text/html; charset=utf-8", books_page(self.server.books.everything()))
            case _:
                self._answer(404, {"code": "not_found"})

    def do_POST(self) -> None:
        """Charge, confirm, void, refund."""
        path = urlsplit(self.path).path
        try:
            body = self._body()
            if path == "/charges":
                self._charge(body)
            elif confirmed := re.fullmatch(r"/charges/([^/]+)/confirm", path):
                self._answer(200, in_words(self.server.books.confirm(unquote(confirmed[1]))))
            elif path == "/voids":
                (reference,) = _read(body, "reference")
                captured = self.server.books.void(reference)
                self._answer(200, in_words(captured) if captured else {"reference": reference, "status": "voided"})
            elif path == "/refunds":
                self._answer(201, self._refund(body))
            else:
                self._answer(404, {"code": "not_found"})
        except Refused as refused:
            self._answer(refused.status, {"code": refused.code})

    def _charge(self, body: Mapping[str, Any]) -> None:
        reference, amount, currency, method = _read(body, "reference", "amount", "currency", "method")
        request = Request(reference, _hundredths(amount), currency, method, self.headers.get("Idempotency-Key", ""))
        outcome, charge = self.server.books.charge(request)
        match outcome:
            case "unavailable":
                self._answer(503, {"code": "unavailable"})
            case "lost":
                self.close_connection = True
            case "held":
                self._hold(charge)
            case _:
                self._answer_charge(charge, replayed=outcome == "replayed")

    def _hold(self, charge: Mapping[str, Any]) -> None:
        """Answer when the charge is decided, which may be never; let go when the caller leaves."""
        while not self._caller_left():
            if charge and (now := self.server.books.read(charge["id"]))["state"] != "pending":
                return self._answer_charge(now)
        self.close_connection = True
        return None

    def _caller_left(self) -> bool:
        self.connection.settimeout(GLANCE)
        try:
            return not self.connection.recv(1, socket.MSG_PEEK)
        except TimeoutError:
            return False
        finally:
            self.connection.settimeout(None)

    def _answer_charge(self, charge: Mapping[str, Any], *, replayed: bool = False) -> None:
        headers = {"Idempotent-Replayed": "true"} if replayed else {}
        self._answer(STATUS_OF[charge["state"]], in_words(charge), headers)

    def _refund(self, body: Mapping[str, Any]) -> Mapping[str, Any]:
        reference, amount, refund_reference = _read(body, "reference", "amount", "refund_reference")
        if not (hundredths := _hundredths(amount)):
            raise Refused(400, "invalid_amount")
        key = self.headers.get("Idempotency-Key", "")
        return self.server.books.refund(reference, hundredths, refund_reference, key)

    def _body(self) -> Mapping[str, Any]:
        if not may_ask(self.headers.get("Origin")):
            self.close_connection = True
            raise Refused(403, "foreign_page")
        length = self.headers.get("Content-Length", "0")
        if not length.isdecimal() or int(length) > LONGEST_BODY:
            self.close_connection = True
            raise Refused(413, "too_large")
        try:
            body = json.loads(self.rfile.read(int(length)) or b"{}")
        except ValueError:
            raise Refused(400, "invalid_json") from None
        if not isinstance(body, dict):
            raise Refused(400, "invalid_json")
        return body

    def _answer(self, status: int, body: Mapping[str, Any], headers: Mapping[str, str] | None = None) -> None:
        self._send(status, "application/json", json.dumps(body), headers)

    def _send(self, status: int, kind: str, text: str, headers: Mapping[str, str] | None = None) -> None:
        content = text.encode()
        self.send_response(status)
        for name, value in {"Content-Type": kind, "Content-Length": str(len(content)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 -- the library's name
        """Log no request: the books hold them all."""


def in_words(charge: Mapping[str, Any]) -> Mapping[str, Any]:
    """A charge as the API writes it."""
    names = ("id", "reference", "amount", "captured", "currency", "method", "client_secret")
    code = {"declined": "card_declined", "voided": "voided"}.get(charge["state"])
    said = {name: charge[name] for name in names if name in charge}
    return {**said, "status": charge["state"]} | ({"code": code} if code else {})


def _read(body: Mapping[str, Any], *names: str) -> list[str]:
    """These members of a body, each in its form. Refused for the first that is not."""
    for name in names:
        if not isinstance(body.get(name), str) or not re.fullmatch(FORMS[name], body[name]):
            raise Refused(400, f"invalid_{name}")
    return [body[name] for name in names]


def _hundredths(amount: str) -> int:
    whole, _, rest = amount.partition(".")
    return int(whole) * 100 + int(rest.ljust(2, "0"))


def books_page(books: Mapping[str, Any]) -> str:
    """The books for eyes, newest first, with a button where the bank waits for its customer."""
    columns: Mapping[str, tuple[str, ...]] = {
        "charges": ("reference", "method", "amount", "currency", "state", "id"),
        "voids": ("reference",),
        "refunds": ("reference", "refund_reference", "amount", "id"),
    }
    tables = []
    for name, fields in columns.items():
        rows = "".join(
            "<tr>" + "".join(f"<td>{html.escape(str(row.get(field, '')))}" for field in fields) + _button(row)
            for row in reversed(books[name])
        )
        head = "".join(f"<th>{field}" for field in fields)
        table = f'<div class="wide"><table><tr>{head}{rows}</table></div>' if rows else "<p>None yet."
        tables.append(f"<h2>{name.capitalize()} ({len(books[name])})</h2>{table}")
    attempts = '<p>As JSON, with the attempts by reference: <a href="/books">/books</a></p>'
    return page("Demo payment provider", attempts + "".join(tables))


def _button(row: Mapping[str, Any]) -> str:
    if row.get("state") != "requires_action":
        return ""
    address = f"/charges/{html.escape(row['reference'])}/confirm"
    return f'<td><form method="post" action="{address}"><button>Confirm as the customer</button></form>'


def main() -> None:
    """Read the command line and serve until SIGTERM."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--books", type=Path, required=True)
    parser.add_argument("--slow", type=float, default=12.0, help="seconds until demo_slow charges")
    parser.add_argument("--late", type=float, default=2.0, help="seconds from a void to demo_late's capture")
    parser.add_argument("--lag", type=float, default=0.0, help="seconds until a charge is found by its reference")
    arguments = parser.parse_args()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: sys.exit(0))
    try:
        arguments.books.parent.mkdir(parents=True, exist_ok=True)
        Provider(arguments.port, Books(arguments.books, arguments.slow, arguments.late, arguments.lag)).serve_forever(
            GLANCE
        )
    except (OSError, sqlite3.Error) as error:
        sys.exit(f"the demo provider cannot run on port {arguments.port} with {arguments.books}: {error}")


if __name__ == "__main__":
    main()
