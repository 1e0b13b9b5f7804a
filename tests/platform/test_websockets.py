"""Pushes over real sockets: to the owner only, never backwards, never to who has gone."""

import functools
import json
import os
import random
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection

from tests.over_http import together
from tests.platform.live import HOUR, Gateway, change_row, forget_clients, rows, somebody, wait_until
from vibecode import websockets
from vibecode.local import child, lambda_runtime
from vibecode.local.folder import REPOSITORY
from vibecode.local.ports import HOST, answers, free_port
from vibecode.websockets import NotPushed, close_expired, issue_ticket, push_to_user


@pytest.fixture(scope="module")
def runtime_url() -> Iterator[str]:
    """Our functions, served as the gateway's routes find them."""
    port = free_port()
    process = child.start(
        lambda_runtime.command(port, 8), output=subprocess.DEVNULL, environment=os.environ, folder=REPOSITORY
    )
    try:
        wait_until(lambda: answers(port, "/healthz"))
        yield f"http://{HOST}:{port}"
    finally:
        process.terminate()
        process.wait(timeout=10)


@pytest.fixture(scope="module")
def served(runtime_url: str) -> Iterator[Gateway]:
    """The gateway of most tests here."""
    started = Gateway(runtime_url)
    yield started
    started.stop()


@pytest.fixture
def gateway(served: Gateway, settings: Any) -> Iterator[Gateway]:
    """The same, with this process pushing through it."""
    settings.WEBSOCKET_API_URL = served.api_url
    forget_clients()
    yield served
    forget_clients()


def admit(gateway: Gateway, user_id: str, seconds: int = HOUR) -> ClientConnection:
    """A socket of somebody whose token lasts so long."""
    return gateway.connect(issue_ticket(user_id=user_id, session_ends=int(time.time()) + seconds))


def push(user_id: str, order: str, version: int) -> int:
    """Tell somebody of an order's version."""
    return push_to_user(user_id=user_id, subject=order, version=version, message=told(order, version))


def told(order: str, version: int) -> dict[str, Any]:
    """A message such as orders make it."""
    return {"type": "order.updated", "orderId": order, "status": "paid", "version": version, "timestamp": "2026-11-01"}


def heard(socket: ClientConnection, seconds: float = 0.3) -> list[int]:
    """The versions that have come, in order."""
    versions = []
    while True:
        try:
            versions.append(json.loads(socket.recv(timeout=seconds))["version"])
        except TimeoutError:
            return versions


def test_every_connection_of_the_owner_hears_and_nobody_else(gateway: Gateway) -> None:
    owner, stranger = somebody(), somebody()
    with admit(gateway, owner) as one, admit(gateway, owner) as two, admit(gateway, stranger) as theirs:
        assert push(owner, "ORD-1", 2) == 2

        assert json.loads(one.recv(timeout=5)) == told("ORD-1", 2)
        assert json.loads(two.recv(timeout=5)) == told("ORD-1", 2)
        assert heard(theirs) == []
        assert push(somebody(), "ORD-1", 3) == 0


def test_an_old_or_repeated_version_is_dropped_and_another_order_is_not(gateway: Gateway) -> None:
    owner = somebody()
    with admit(gateway, owner) as socket:
        sent = [push(owner, order, version) for order, version in [("A", 2), ("A", 1), ("A", 2), ("B", 1), ("A", 3)]]

        assert sent == [1, 0, 0, 1, 1]
        assert heard(socket) == [2, 1, 3]


@pytest.mark.parametrize("attempt", range(3))
def test_sixteen_pushers_side_by_side_never_go_backwards(gateway: Gateway, attempt: int) -> None:
    owner, order = somebody(), f"ORD-{attempt}"
    versions = random.sample(range(1, 17), 16)
    with admit(gateway, owner) as socket:
        sent = together([functools.partial(push, owner, order, version) for version in versions])

        came = heard(socket)
        assert came == sorted(set(came)), f"pushed as {versions}"
        assert came[-1] == 16
        assert sum(sent) == len(came)


def test_a_pusher_waits_for_the_one_before(gateway: Gateway) -> None:
    owner = somebody()
    with admit(gateway, owner) as socket:
        [row] = rows(owner)
        change_row(row | {"lease": {"S": "another"}}, leaseEnds=time.time() + 1.0)

        started = time.monotonic()
        assert push(owner, "ORD-1", 1) == 1

        assert 0.5 < time.monotonic() - started < 4, "the lease of a pusher that died ends by itself"
        assert heard(socket) == [1]


def test_no_older_version_follows_one_whose_pusher_died_after_its_post(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    def dies(*_: object) -> None:
        raise RuntimeError

    owner = somebody()
    with admit(gateway, owner) as socket:
        with monkeypatch.context() as patch:
            patch.setattr(websockets._Connection, "_end_turn", dies)
            with pytest.raises(RuntimeError):
                push(owner, "ORD-1", 2)
        [row] = rows(owner)
        change_row(row, leaseEnds=time.time() - 1.0)  # its lease is over

        assert push(owner, "ORD-1", 1) == 0
        assert push(owner, "ORD-1", 2) == 1, "it comes back itself"
        assert push(owner, "ORD-1", 3) == 1
        assert heard(socket) == [2, 2, 3]


def test_a_lease_from_a_clock_that_has_jumped_back_holds_nobody_up(gateway: Gateway) -> None:
    owner = somebody()
    with admit(gateway, owner) as socket:
        [row] = rows(owner)
        change_row(row | {"lease": {"S": "another"}}, leaseEnds=time.time() + HOUR)

        assert push(owner, "ORD-1", 1) == 1
        assert heard(socket) == [1]


def test_who_waits_too_long_leaves_it_to_the_queue_and_the_others_hear(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(websockets, "PATIENCE_SECONDS", 0.2)
    owner = somebody()
    with admit(gateway, owner) as held, admit(gateway, owner) as free:
        row = rows(owner)[0]
        change_row(row | {"lease": {"S": "another"}}, leaseEnds=time.time() + 1.5)

        with pytest.raises(NotPushed):
            push(owner, "ORD-1", 1)
        assert sorted([heard(held), heard(free)]) == [[], [1]]

        time.sleep(1.5)
        assert push(owner, "ORD-1", 1) == 1, "only who did not hear"
        assert len(heard(held) + heard(free)) == 1


def test_a_lease_outlives_the_longest_post() -> None:
    longest = websockets.POST_TRIES * 2 * websockets.POST_SECONDS + (websockets.POST_TRIES - 1)

    assert longest < websockets.LEASE_SECONDS


def test_a_connection_that_closed_is_forgotten(gateway: Gateway) -> None:
    owner = somebody()
    with admit(gateway, owner):
        assert len(rows(owner)) == 1

    wait_until(lambda: not rows(owner))


def test_a_connection_that_went_without_a_word_is_forgotten_at_the_next_push(
    runtime_url: str, gateway: Gateway
) -> None:
    owner = somebody()
    killed = Gateway(runtime_url)
    with admit(killed, owner):
        killed.stop(signal.SIGKILL)
    assert len(rows(owner)) == 1

    assert push(owner, "ORD-1", 1) == 0
    assert rows(owner) == []


def test_a_push_during_the_handshake_waits_for_its_end(gateway: Gateway) -> None:
    owner = somebody()
    with admit(gateway, owner) as socket:
        [row] = rows(owner)
        # As API Gateway has it between $connect and the handshake's answer: a row, and nobody behind it yet.
        aside = {**row, "connectionId": {"S": "AAAAAAAAAAAAAAA="}}
        change_row(aside, openedAt=time.time())
        pusher = threading.Thread(target=push, args=(owner, "ORD-1", 1))
        pusher.start()
        time.sleep(0.5)
        assert len(rows(owner)) == 2, "it is still waited for"
        pusher.join(timeout=10)

        assert heard(socket) == [1]
        assert rows(owner)[0]["connectionId"] == row["connectionId"]
        assert len(rows(owner)) == 1, "in the end it is gone"


def test_an_expired_connection_hears_nothing_more_and_is_closed_by_the_schedule(gateway: Gateway) -> None:
    owner, other = somebody(), somebody()
    with admit(gateway, owner) as socket, admit(gateway, other) as theirs:
        [row] = rows(owner)
        change_row(row, expiresAt=int(time.time()) - 1)

        assert push(owner, "ORD-1", 1) == 0
        assert heard(socket) == []
        assert rows(owner), "a push does not close"

        close_expired()
        close_expired()

        with pytest.raises(ConnectionClosed):
            socket.recv(timeout=5)
        assert rows(owner) == []
        assert len(rows(other)) == 1
        assert push(other, "ORD-1", 1) == 1
        assert heard(theirs) == [1]


def test_the_schedule_forgets_old_tickets_and_keeps_fresh_ones(gateway: Gateway) -> None:
    owner = somebody()
    issue_ticket(user_id=owner, session_ends=int(time.time()) + HOUR)
    [fresh] = [row for row in rows() if row.get("sub") == {"S": owner}]
    change_row(fresh | {"userId": {"S": "TICKET#old"}}, expiresAt=int(time.time()) - 1)

    close_expired()

    assert [row for row in rows() if row.get("sub") == {"S": owner}] == [fresh]


def test_an_expired_connection_stays_known_until_it_could_be_closed(gateway: Gateway, settings: Any) -> None:
    owner = somebody()
    with admit(gateway, owner):
        [row] = rows(owner)
        change_row(row, expiresAt=int(time.time()) - 1)
        settings.WEBSOCKET_API_URL = f"http://{HOST}:{free_port()}"
        forget_clients()
        close_expired()
        assert len(rows(owner)) == 1

        settings.WEBSOCKET_API_URL = gateway.api_url
        forget_clients()
        close_expired()
        assert rows(owner) == []


def test_a_browser_that_comes_back_while_its_old_connection_is_waited_for_hears(gateway: Gateway) -> None:
    owner = somebody()
    with admit(gateway, owner) as old:
        [row] = rows(owner)
        change_row(row | {"lease": {"S": "one that died"}}, leaseEnds=time.time() + 1.5)
        pushed: list[int] = []
        pusher = threading.Thread(target=lambda: pushed.append(push(owner, "ORD-1", 7)))
        pusher.start()
        time.sleep(0.5)
        with admit(gateway, owner) as new:
            pusher.join(timeout=10)

            assert (heard(old), heard(new)) == ([7], [7])
            assert pushed == [2]
            assert push(owner, "ORD-1", 6) == 0, "nor does an older one come after it"


def test_a_gateway_that_is_away_makes_the_queue_bring_the_message_back(gateway: Gateway, settings: Any) -> None:
    owner = somebody()
    with admit(gateway, owner) as socket:
        settings.WEBSOCKET_API_URL = f"http://{HOST}:{free_port()}"
        forget_clients()
        with pytest.raises(NotPushed):
            push(owner, "ORD-1", 1)
        assert len(rows(owner)) == 1

        settings.WEBSOCKET_API_URL = gateway.api_url
        forget_clients()
        started = time.monotonic()
        assert push(owner, "ORD-1", 1) == 1
        assert time.monotonic() - started < websockets.LEASE_SECONDS / 2, "a refused post holds it no more"
        assert heard(socket) == [1]


def test_without_a_websocket_nothing_is_pushed(settings: Any) -> None:
    settings.WEBSOCKET_API_URL = ""

    assert push(somebody(), "ORD-1", 1) == 0
    close_expired()


def test_a_ticket_opens_one_connection_on_the_socket(gateway: Gateway) -> None:
    owner = somebody()
    ticket = issue_ticket(user_id=owner, session_ends=int(time.time()) + HOUR)
    with gateway.connect(ticket):
        for refused in (ticket, "", "nonsense"):
            with pytest.raises(Exception, match="HTTP 401"):
                gateway.connect(refused)
        assert len(rows(owner)) == 1
