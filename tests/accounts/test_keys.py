"""The cache of the user pool's keys, against a real server that counts, stalls, lies or is gone."""

import base64
import contextlib
import json
import socket
import threading
import time
from collections import Counter
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import jwt
import pytest

from accounts.authentication import MOST_KEYS, BadToken, KeySet, SignInAway
from tests.accounts.forge import foreign_key
from tests.over_http import together


def jwk(kid: str, **changes: Any) -> dict[str, Any]:
    """A public key as a JWKS has it."""
    entry: dict[str, Any] = json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(foreign_key().public_key()))
    return {**entry, "kid": kid, "use": "sig", "alg": "RS256", **changes}


class Pool:
    """A tiny Cognito: answers with its document and counts."""

    def __init__(self) -> None:
        self.hits = 0
        self.document: bytes = b""
        self.status = 200
        pool = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                pool.hits += 1
                self.send_response(pool.status)
                self.end_headers()
                self.wfile.write(pool.document)

            def log_message(self, *_: Any) -> None:
                """Say nothing."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True)
        self.thread.start()
        self.url = f"http://127.0.0.1:{self.server.server_port}/jwks.json"

    def publish(self, *entries: Any) -> None:
        """Change the keys."""
        self.document = json.dumps({"keys": list(entries)}).encode()

    def close(self) -> None:
        """Stop answering."""
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()


@pytest.fixture
def pool() -> Iterator[Pool]:
    pool = Pool()
    pool.publish(jwk("one"))
    with contextlib.closing(pool):
        yield pool


def test_the_keys_are_fetched_once(pool: Pool) -> None:
    keys = KeySet(pool.url)

    assert {id(keys.key("one")) for _ in range(5)} == {id(keys.keys["one"])}
    assert pool.hits == 1


def test_many_who_ask_first_at_one_moment_make_one_fetch(pool: Pool) -> None:
    keys = KeySet(pool.url)

    found = together([lambda: keys.key("one")] * 16)

    assert len(found) == 16
    assert pool.hits == 1


def test_keys_that_came_along_are_believed_without_a_fetch_and_others_are_asked_for(pool: Pool) -> None:
    keys = KeySet(pool.url, seed=json.dumps({"keys": [jwk("two")]}))

    assert keys.key("two").key_id == "two"
    assert pool.hits == 0
    assert keys.key("one").key_id == "one", "the pool has changed its keys since"
    assert pool.hits == 1


@pytest.mark.parametrize("seed", ["nonsense", "[]", '{"keys": []}', '{"keys": [{"kty": "RSA", "kid": "one"}]}'])
def test_what_came_along_and_is_no_key_set_stands_in_nobodys_way(pool: Pool, seed: str) -> None:
    assert KeySet(pool.url, seed=seed).key("one").key_id == "one"


def test_an_unknown_kid_fetches_the_keys_again_at_most_once_a_minute(pool: Pool) -> None:
    keys = KeySet(pool.url)
    keys.key("one")
    keys.next_fetch -= keys.pause  # a minute has gone
    pool.publish(jwk("one"), jwk("two"))

    def ask(kid: str) -> str:
        try:
            return str(keys.key(kid).key_id)
        except BadToken:
            return "refused"

    answers = Counter(together([lambda: ask("two")] * 8 + [lambda: ask("stranger's")] * 8))

    assert answers == {"two": 8, "refused": 8}
    assert pool.hits == 2
    assert 55 < keys.next_fetch - time.monotonic() <= 60


def test_old_keys_serve_on_when_the_pool_is_gone(pool: Pool) -> None:
    keys = KeySet(pool.url)
    keys.key("one")
    pool.close()
    keys.next_fetch = 0.0

    with pytest.raises(BadToken):
        keys.key("two")
    assert keys.key("one").key_id == "one"


def test_without_any_key_the_service_is_away_and_asks_again_a_second_later(pool: Pool) -> None:
    pool.status = 500
    keys = KeySet(pool.url)

    for _ in range(3):
        with pytest.raises(SignInAway):
            keys.key("one")
    hits = pool.hits
    pool.status = 200
    keys.next_fetch -= 1.0

    assert keys.key("one").key_id == "one"
    assert (hits, pool.hits) == (1, 2)


def test_a_pool_that_never_answers_costs_two_seconds_once() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        keys = KeySet(f"http://127.0.0.1:{silent.getsockname()[1]}/")

        def ask() -> float:
            started = time.monotonic()
            with pytest.raises(SignInAway):
                keys.key("one")
            return time.monotonic() - started

        waited = together([ask] * 8)

    assert 1.5 < max(waited) < 3.5


def test_sixteen_keys_are_kept_at_most(pool: Pool) -> None:
    pool.publish(*(jwk(f"key-{n}") for n in range(40)))
    keys = KeySet(pool.url)
    keys.key("key-0")

    assert len(keys.keys) == MOST_KEYS == 16


GARBAGE = {
    "no JSON": b"{",
    "a page": b"<html>",
    "nothing": b"",
    "a list": b"[]",
    "null": b"null",
    "no keys": b'{"keys": []}',
    "keys that are none": b'{"keys": ["one", 1, null]}',
    "keys that are a word": b'{"keys": "one"}',
    "a key without kid": b'{"keys": [{"kty": "RSA"}]}',
    "a key without a modulus": b'{"keys": [{"kty": "RSA", "kid": "one"}]}',
    "a kid that is a list": json.dumps({"keys": [jwk("x") | {"kid": ["x"]}]}).encode(),
    "a secret for HMAC": json.dumps(
        {"keys": [{"kty": "oct", "kid": "one", "k": base64.b64encode(b"x" * 32).decode()}]}
    ).encode(),
    "a key for encryption": json.dumps({"keys": [jwk("one", use="enc")]}).encode(),
    "invalid UTF-8": b'{"keys": "\xff"}',
    "nested 30,000 deep": b"[" * 30_000,
    "more than 64 KB": b" " * 70_000 + b'{"keys": []}',
}


@pytest.mark.parametrize("document", GARBAGE.values(), ids=GARBAGE.keys())
def test_garbage_takes_no_key_away_and_brings_none(pool: Pool, document: bytes) -> None:
    keys = KeySet(pool.url)
    keys.key("one")
    pool.document = document
    keys.next_fetch = 0.0
    with pytest.raises(BadToken):
        keys.key("two")
    assert set(keys.keys) == {"one"}

    fresh = KeySet(pool.url)
    with pytest.raises(SignInAway):
        fresh.key("one")
    assert fresh.keys == {}


def test_what_is_no_http_is_an_answer_too() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:

        def talk() -> None:
            line, _ = server.accept()
            with line:
                line.recv(1000)
                line.sendall(b"SSH-2.0-none\r\n\r\n")

        threading.Thread(target=talk, daemon=True).start()
        with pytest.raises(SignInAway):
            KeySet(f"http://127.0.0.1:{server.getsockname()[1]}/").key("one")
