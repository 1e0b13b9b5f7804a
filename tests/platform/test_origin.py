"""The public origin before a container: only who comes through it is answered, and believed whom it speaks for."""

import hashlib
from collections.abc import Callable, Iterator
from typing import Any
from wsgiref.util import setup_testing_defaults

import pytest
from django.core.signals import request_finished, request_started
from django.db import close_old_connections
from pytest_django import Settings

from vibecode.wsgi import application

BALANCER, EDGE, VIEWER = "10.30.0.9", "203.0.113.7", "198.51.100.4"


type Ask = Callable[..., tuple[str, dict[str, Any]]]


@pytest.fixture
def ask(settings: Settings) -> Iterator[Ask]:
    """Ask as a load balancer does: the status, and what the shop took the request for. No database is asked."""
    for sent in (request_started, request_finished):
        sent.disconnect(close_old_connections)
    settings.PUBLIC_URL = "https://shop.example"
    settings.ALLOWED_HOSTS = ["shop.example"]
    settings.ORIGIN_SECRET_SHA256 = [hashlib.sha256(b"known").hexdigest()]

    def ask(path: str, **headers: Any) -> tuple[str, dict[str, Any]]:
        environ: dict[str, Any] = {
            "PATH_INFO": path, "REMOTE_ADDR": BALANCER, "HTTP_HOST": "10.30.0.17:8000",
            "HTTP_X_FORWARDED_FOR": f"192.0.2.1, {VIEWER}, {EDGE}", "HTTP_X_FORWARDED_PROTO": "https", **headers,
        }  # fmt: skip
        setup_testing_defaults(environ)
        said: list[str] = []
        application(environ, lambda status, _headers: said.append(status))
        return said[0], environ

    yield ask
    for sent in (request_started, request_finished):
        sent.connect(close_old_connections)


def test_who_comes_through_the_origin_is_answered_and_known_by_their_own_address(ask: Ask) -> None:
    status, environ = ask("/nowhere", HTTP_X_ORIGIN_SECRET="known")

    assert status.startswith("404")
    assert (environ["REMOTE_ADDR"], environ["HTTP_HOST"]) == (VIEWER, "shop.example")
    assert "HTTP_X_ORIGIN_SECRET" not in environ


@pytest.mark.parametrize("path", ["/nowhere", "/healthz/", "/healthzz", "/admin/"])
def test_who_goes_around_it_is_refused_and_named_by_nothing_they_say(ask: Ask, path: str) -> None:
    status, environ = ask(path, HTTP_X_ORIGIN_SECRET="guessed")

    assert status.startswith("403")
    assert environ["REMOTE_ADDR"] == BALANCER


def test_a_probe_at_the_containers_own_address_is_told_that_it_lives(ask: Ask) -> None:
    status, _ = ask("/healthz")

    assert status.startswith("200")


def test_at_api_gateways_own_address_not_even_a_probe_is_answered(ask: Ask) -> None:
    event = {"path": "/healthz", "requestContext": {"identity": {"sourceIp": "192.0.2.9"}}}

    status, environ = ask("/dev/healthz", **{"lambda.event": event})

    assert status.startswith("403")
    assert (environ["PATH_INFO"], environ["REMOTE_ADDR"]) == ("/healthz", "192.0.2.9")


def test_through_the_origin_and_api_gateway_the_path_is_the_senders(ask: Ask) -> None:
    event = {"path": "/healthz", "requestContext": {"identity": {"sourceIp": EDGE}}}

    status, environ = ask("/dev/healthz", HTTP_X_ORIGIN_SECRET="known", **{"lambda.event": event})

    assert status.startswith("200")
    assert (environ["PATH_INFO"], environ["REMOTE_ADDR"], environ["SCRIPT_NAME"]) == ("/healthz", VIEWER, "")


def test_without_a_secret_the_server_believes_its_own_eyes(ask: Ask, settings: Settings) -> None:
    settings.ORIGIN_SECRET_SHA256 = []

    status, environ = ask("/nowhere", HTTP_HOST="shop.example")

    assert status.startswith("404")
    assert environ["REMOTE_ADDR"] == BALANCER
