"""A front before PostgreSQL that sleeps, refuses, listens along, or speaks TLS: what stands between us and Aurora."""

import contextlib
import socket
import ssl
import threading
import time
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Self

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

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
        for each in (self.socket, *self.open):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()

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


def _copy(source: socket.socket, target: socket.socket, heard: bytearray | None) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            if heard is not None:
                heard += data
            target.sendall(data)
    with contextlib.suppress(OSError):
        target.shutdown(socket.SHUT_WR)


class Authority:
    """A certificate authority of our own, and what it has signed."""

    def __init__(self, folder: Path, name: str) -> None:
        self.folder, self.name = folder, name
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        self.root = self._sign(self.subject, self.key, x509.BasicConstraints(ca=True, path_length=None))
        self.pem = self.root.public_bytes(serialization.Encoding.PEM)

    def server(self, host: str) -> ssl.SSLContext:
        """What a server of that name or number proves itself with."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, host)])
        try:
            named: x509.GeneralName = x509.IPAddress(ip_address(host))
        except ValueError:
            named = x509.DNSName(host)
        signed = self._sign(subject, key, x509.SubjectAlternativeName([named]))
        chain = self.folder / f"{self.name}-{host}.pem"
        private = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        chain.write_bytes(private + signed.public_bytes(serialization.Encoding.PEM))
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(chain)
        return context

    def _sign(
        self, subject: x509.Name, key: ec.EllipticCurvePrivateKey, extension: x509.ExtensionType
    ) -> x509.Certificate:
        now = datetime.now(UTC)
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self.subject)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(minutes=5))
            .not_valid_after(now + timedelta(days=1))
            .add_extension(extension, critical=isinstance(extension, x509.BasicConstraints))
            .sign(self.key, hashes.SHA256())
        )
