"""An HTTPS server of which each request is one call of a function. Under rest_gateway.py and public_origin.py."""

import re
import ssl
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from vibecode.local.ports import HOST

type Headers = Sequence[tuple[str, str]]

LONGEST_LINE = 65536
MOUTHFUL = 65536
MOST_DISCARDED = 64 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Asked:
    """A request as it came: nothing is decoded, put together or left out. ``target`` is path and query."""

    method: str
    target: str
    headers: Headers
    body: bytes
    peer: str  # the address of whoever connected

    def header(self, name: str) -> str:
        """The last value of a header, or ""."""
        return next((value for known, value in reversed(self.headers) if known.lower() == name.lower()), "")


@dataclass(frozen=True, slots=True)
class Answered:
    """A response; Content-Length is the server's to say."""

    status: int
    headers: Headers
    body: bytes


type Answer = Callable[[Asked], Answered]


class TooLong(Exception):
    """The body is longer than the server takes."""


class Garbled(Exception):
    """Nobody can tell where the body ends."""


class WebServer(ThreadingHTTPServer):
    """Serves ``answer`` on 127.0.0.1 until closed, by TLS; bodies longer than ``longest`` bytes get ``too_long``."""

    daemon_threads = True
    request_queue_size = 256

    def __init__(self, port: int, answer: Answer, tls: ssl.SSLContext, *, longest: int, too_long: Answered) -> None:
        self.answer, self.tls, self.longest, self.too_long = answer, tls, longest, too_long
        super().__init__((HOST, port), Exchange)

    def finish_request(self, request: Any, client_address: Any) -> None:
        """In the request's own thread: the handshake too, so that one slow client holds nobody up."""
        try:
            with self.tls.wrap_socket(request, server_side=True) as secure:
                super().finish_request(secure, client_address)
        except (ConnectionError, ssl.SSLError):
            return  # they went away, or do not trust us


class Exchange(BaseHTTPRequestHandler):
    """One connection with its requests."""

    server: WebServer
    protocol_version = "HTTP/1.1"
    wbufsize = -1  # head and body leave together

    def handle_one_request(self) -> None:
        """Whatever the method is called."""
        self.raw_requestline = self.rfile.readline(LONGEST_LINE + 1)
        if not self.raw_requestline or not self.parse_request():
            self.close_connection = True
            return
        try:
            answered = self.server.answer(self._asked())
        except TooLong:
            self.close_connection = True
            answered = self.server.too_long
        except Garbled:
            self.close_connection = True
            answered = Answered(400, [("Content-Type", "text/plain")], b"Bad Request")
        self._send(answered)

    def handle_expect_100(self) -> bool:
        """Say at once that the body may come."""
        fine = super().handle_expect_100()
        self.wfile.flush()
        return fine

    def _asked(self) -> Asked:
        headers = [(name, str(value)) for name, value in self.headers.items()]
        return Asked(self.command, self.path, headers, self._body(), str(self.client_address[0]))

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding", "").lower() == "chunked":
            return b"".join(self._chunks())
        length = self.headers.get("Content-Length", "0")
        if not length.isdecimal():
            raise Garbled
        if int(length) > self.server.longest:
            left = min(int(length), MOST_DISCARDED)
            while left > 0 and self.rfile.read(min(left, MOUTHFUL)):  # or the sender would hear no answer
                left -= MOUTHFUL
            raise TooLong
        return self.rfile.read(int(length))

    def _chunks(self) -> Iterator[bytes]:
        left = self.server.longest
        while size := self._size_of_chunk():
            if (left := left - size) < 0:
                raise TooLong
            yield self.rfile.read(size)
            self.rfile.readline(LONGEST_LINE)
        while self.rfile.readline(LONGEST_LINE).strip():
            pass  # trailers

    def _size_of_chunk(self) -> int:
        said = self.rfile.readline(LONGEST_LINE).partition(b";")[0].strip()
        if not re.fullmatch(rb"[0-9a-fA-F]{1,8}", said):
            raise Garbled
        return int(said, 16)

    def _send(self, answered: Answered) -> None:
        self.send_response_only(answered.status)
        for name, value in answered.headers:
            self.send_header(name, value)
        empty = answered.status in {204, 304} or answered.status < 200
        if not empty:
            self.send_header("Content-Length", str(len(answered.body)))
        self.end_headers()
        if not empty and self.command != "HEAD":
            self.wfile.write(answered.body)
        self.wfile.flush()

    def log_message(self, *_: object) -> None:
        """Say nothing: the application logs its own."""


@contextmanager
def serving(server: WebServer) -> Iterator[None]:
    """Serve during the block."""
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
