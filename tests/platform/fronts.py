"""A front before PostgreSQL or AWS that sleeps, refuses, listens along, or speaks TLS: what stands between."""

import contextlib
import socket
import ssl
import threading
import time
from typing import Self

# https://www.postgresql.org/docs/current/protocol-message-formats.html
SSL_REQUEST = bytes.fromhex("0000000804d2162f")


class Front:
    """Passes connections on to a server, once it is awake. ``met`` counts its clients, ``heard`` is what they said."""

    def __init__(self, target: int, *, tls: ssl.SSLContext | None = None) -> None:
        self.target = target
        self.tls = tls
        self.awake_at = 0.0
        self.silent = False
        self.met = 0
        self.heard = bytearray()
        self.socket = socket.create_server(("127.0.0.1", 0), backlog=256)
        self.port: int = self.socket.getsockname()[1]
        self.open: list[socket.socket] = []

    def sleep(self, seconds: float, *, silent: bool) -> None:
        """Be asleep for so long: whoever comes waits without an answer, or is sent away."""
        self.awake_at, self.silent = time.monotonic() + seconds, silent

    def __enter__(self) -> Self:
        threading.Thread(target=self._serve, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.hang_up()
        _end(self.socket)

    def hang_up(self) -> None:
        """End every open connection, and take new ones."""
        while self.open:
            _end(self.open.pop())

    def _serve(self) -> None:
        with contextlib.suppress(OSError):  # closed
            while True:
                client, _ = self.socket.accept()
                self.met += 1
                self.open.append(client)
                threading.Thread(target=self._receive, args=[client], daemon=True).start()

    def _receive(self, client: socket.socket) -> None:
        asleep = time.monotonic() < self.awake_at
        if asleep and self.silent:
            return  # open, and nobody ever answers
        with contextlib.suppress(OSError):
            if not asleep:
                self._pass_on(client)
        client.close()

    def _pass_on(self, client: socket.socket) -> None:
        if self.tls is not None:
            if client.recv(8) != SSL_REQUEST:
                return
            client.sendall(b"S")
            client = self.tls.wrap_socket(client, server_side=True)
        with client, socket.create_connection(("127.0.0.1", self.target)) as server:
            self.open += [client, server]
            back = threading.Thread(target=_copy, args=[server, client, None], daemon=True)
            back.start()
            _copy(client, server, self.heard)
            back.join()


def _end(connection: socket.socket) -> None:
    with contextlib.suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)
    connection.close()


def _copy(source: socket.socket, target: socket.socket, heard: bytearray | None) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            if heard is not None:
                heard += data
            target.sendall(data)
    with contextlib.suppress(OSError):
        target.shutdown(socket.SHUT_WR)
