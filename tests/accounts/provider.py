"""A real OpenID provider on this machine, and somebody between it and us who can lie. Used by the sign-in's tests.

The provider is oidc-provider-mock in a process of its own. It answers under the name by which it is asked, so that the
one in between is the provider for all who ask there; what it lies about is signed by the provider all the same.
"""

import json
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, parse_qsl, urlencode, urlsplit

import httpx
import jwt
import pytest

from tests.accounts import forge
from tests.plain import PLAIN
from vibecode.local import ports
from vibecode.local.guard import Guard

CONFIGURATION = "/.well-known/openid-configuration"
KEPT = {"content-type", "location", "authorization", "cookie", "set-cookie"}


class Provider:
    """The provider's process."""

    def __init__(self) -> None:
        self.port = ports.free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        command = [sys.executable, "-m", "oidc_provider_mock", "--port", str(self.port), "--require-nonce", "yes"]
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.guard = Guard()
        self.guard.watch(self.process.pid, signal.SIGTERM)
        deadline = time.monotonic() + 60
        while not ports.answers(self.port, CONFIGURATION):
            assert time.monotonic() < deadline, "the provider does not start"
            assert self.process.poll() is None, "the provider ended"
            time.sleep(0.05)

    def knows(self, sub: str, *groups: str, **claims: Any) -> str:
        """Let it know somebody, as the pool would; a claim that is None is left out."""
        told = {
            "email": f"{sub}@example.com", "email_verified": True, "name": sub.title(),
            "cognito:groups": list(groups), "amr": ["pwd", "mfa"],
        } | claims  # fmt: skip
        body = {name: value for name, value in told.items() if value is not None}
        httpx.put(f"{self.url}/users/{sub}", json=body, **PLAIN).raise_for_status()
        return sub

    def stop(self) -> None:
        """End the process."""
        self.process.terminate()
        self.process.wait(timeout=30)
        self.guard.close()


class Between:
    """Who passes everything on. ``lies`` changes what is asked, ``forge`` the ID token that comes back.

    A token that it forges is signed with a key of its own, which it shows as the provider's, unless ``hides_key``; and
    it offers every algorithm.
    """

    def __init__(self, provider: Provider) -> None:
        self.provider = provider
        self.asked: list[tuple[str, dict[str, str]]] = []
        self.lies: dict[str, str] = {}
        self.called = ""  # the name under which the provider signs, where it is not the one that was asked
        self.forge: Callable[[dict[str, Any]], str] | None = None
        self.hides_key = False
        self.away: set[str] = set()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                outer._pass_on(self)

            def do_POST(self) -> None:
                outer._pass_on(self)

            def log_message(self, *args: object) -> None:
                """Nothing."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.02})
        self.thread.start()

    def _pass_on(self, handler: BaseHTTPRequestHandler) -> None:
        parts = urlsplit(handler.path)
        body = handler.rfile.read(int(handler.headers.get("Content-Length") or 0)).decode()
        self.asked.append((parts.path, dict(parse_qsl(parts.query)) | dict(parse_qsl(body))))
        if parts.path in self.away:
            handler.send_error(502)
            return
        token = parts.path == "/oauth2/token"
        headers = {name: value for name, value in handler.headers.items() if name.lower() in KEPT}
        headers["Host"] = self.called if token and self.called else handler.headers["Host"]
        if token and "client_id" in self.lies:
            headers.pop("Authorization", None)
            body += "&" + urlencode({"client_id": self.lies["client_id"], "client_secret": "any"})
        answer = httpx.request(
            handler.command,
            f"{self.provider.url}{parts.path}?{self._changed(parts.query)}",
            content=body if token else self._changed(body),
            headers=headers,
            **PLAIN,
            timeout=20,
        )
        content = self._forged(parts.path, answer.content)
        handler.send_response(answer.status_code)
        for name, value in answer.headers.items():
            if name in KEPT:
                handler.send_header(name, value)
        handler.send_header("Content-Length", str(len(content)))
        handler.end_headers()
        handler.wfile.write(content)

    def _changed(self, query: str) -> str:
        return urlencode({name: self.lies.get(name, value) for name, value in parse_qsl(query, keep_blank_values=True)})

    def _forged(self, path: str, content: bytes) -> bytes:
        if self.forge is None:
            return content
        told = json.loads(content) if path in {"/oauth2/token", "/jwks", CONFIGURATION} else {}
        if path == CONFIGURATION:
            told["id_token_signing_alg_values_supported"] = ["RS256", "RS512", "HS256", "none"]
        if path == "/jwks" and not self.hides_key:
            public = json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(forge.foreign_key().public_key()))
            told["keys"] = [public | {"kid": "between", "alg": "RS256", "use": "sig"}]
        if "id_token" in told:
            claims = jwt.decode(told["id_token"], options={"verify_signature": False})
            told["id_token"] = self.forge(claims)
        return json.dumps(told).encode() if told else content

    def consent(self, address: str, sub: str, **form: str) -> str:
        """Do at the provider's page what somebody does there; where it sends the browser."""
        page = httpx.get(address, **PLAIN)
        assert page.status_code == 200, page.text
        answer = httpx.post(address, data={"sub": sub, **form}, **PLAIN)
        assert answer.status_code == 302, answer.text
        return str(answer.headers["Location"])

    def stop(self) -> None:
        """End."""
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()


def asked_of(address: str) -> dict[str, str]:
    """The query of an address."""
    return {name: values[0] for name, values in parse_qs(urlsplit(address).query).items()}


def title_of(page: Any) -> str:
    """What a page says on top."""
    found = re.search(r"<title>\s*(.*?)\s*\|", page.content.decode(), re.DOTALL)
    return found[1].strip() if found else ""


@pytest.fixture(scope="session")
def provider() -> Iterator[Provider]:
    """The provider of the run."""
    running = Provider()
    yield running
    running.stop()
