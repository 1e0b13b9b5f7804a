"""POST /me/websocket-tickets and the doors behind it: a ticket lets its owner in once, within a minute."""

import contextlib
import functools
import hashlib
import json
import time
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
from django.db import connections
from pytest_django import DjangoDbBlocker

from accounts.consumers import on_connect, on_disconnect, on_message, on_password_changed, on_sign_up_confirmed
from accounts.models import User
from tests.accounts.forge import claims, sign
from tests.in_process import Caller
from tests.over_http import together
from tests.platform.answers import assert_refused
from tests.platform.live import HOUR, change_row, forget_clients, rows, somebody
from vibecode.local.ports import HOST, free_port
from vibecode.models import IdempotencyKey, OutboxEvent
from vibecode.websockets import issue_ticket

PATH = "/me/websocket-tickets"


def connect_event(ticket: str | None, connection_id: str = "L0SM9cOFvHcCIhw=") -> dict[str, Any]:
    """What API Gateway sends for a handshake."""
    event: dict[str, Any] = {"requestContext": {"connectionId": connection_id, "routeKey": "$connect"}}
    return event if ticket is None else event | {"queryStringParameters": {"token": ticket}}


def opened(ticket: str | None, connection_id: str = "L0SM9cOFvHcCIhw=") -> int:
    """The status of a handshake with this ticket."""
    return on_connect(connect_event(ticket, connection_id), None)["statusCode"]


def ticket_of(sub: str, seconds: int = HOUR) -> str:
    """A ticket of somebody whose token lasts so long."""
    return issue_ticket(user_id=sub, session_ends=int(time.time()) + seconds)


def row_of(ticket: str) -> dict[str, Any]:
    """What is kept of a ticket."""
    [row] = rows(f"TICKET#{hashlib.sha256(ticket.encode()).hexdigest()}")
    return row


# --- the endpoint ----------------------------------------------------------------------------------------------------
def test_a_customer_gets_a_ticket_that_lets_them_in_once(shopper: Caller) -> None:
    answer = shopper.post(PATH)

    assert answer.status_code == 201
    assert answer.json() == {"ticket": answer.json()["ticket"], "expiresIn": 60}
    assert answer.headers["Cache-Control"] == "no-store"
    ticket = answer.json()["ticket"]
    assert opened(ticket) == 200
    assert [row["connectionId"]["S"] for row in rows(shopper.sub)] == ["L0SM9cOFvHcCIhw="]
    assert opened(ticket, "another=") == 401
    assert len(rows(shopper.sub)) == 1


def test_only_its_digest_is_kept_and_only_its_owner_comes_in(shopper: Caller, other: Caller) -> None:
    ticket = shopper.post(PATH).json()["ticket"]

    assert ticket not in json.dumps(rows())
    assert row_of(ticket)["sub"]["S"] == shopper.sub
    assert opened(ticket, "theirs=") == 200
    assert rows(other.sub) == []


def test_a_key_makes_no_difference_and_keeps_no_ticket(shopper: Caller) -> None:
    tickets = {shopper.post(PATH, Idempotency_Key="one").json()["ticket"] for _ in range(2)}

    assert len(tickets) == 2
    assert not IdempotencyKey.objects.exists()


def test_a_stranger_gets_none(stranger: Caller) -> None:
    before = len(rows())

    assert_refused(stranger.post(PATH), 401, "not-authenticated")
    assert_refused(stranger.get(PATH), 401, "not-authenticated")
    assert len(rows()) == before


def test_a_closed_account_gets_none(shopper: Caller) -> None:
    User.objects.filter(pk=shopper.user.pk).update(is_active=False)
    before = len(rows())

    assert_refused(shopper.post(PATH), 401, "not-authenticated")
    assert len(rows()) == before


def test_the_connection_ends_with_the_token_that_asked(db: None) -> None:
    sub = somebody()
    token = sign(claims(sub, exp=int(time.time()) + 600))
    asked_at = time.time()

    assert opened(Caller(token).post(PATH).json()["ticket"]) == 200

    [row] = rows(sub)
    assert abs(int(row["expiresAt"]["N"]) - asked_at - 600) < 5


def test_without_dynamodb_there_is_a_problem_that_says_so(shopper: Caller, settings: Any) -> None:
    assert shopper.get("/me").status_code == 200
    settings.AWS_ENDPOINT_URL = f"http://{HOST}:{free_port()}"
    forget_clients()
    try:
        assert_refused(shopper.post(PATH), 503, "websocket-away")
    finally:
        forget_clients()


# --- $connect, $disconnect, $default ---------------------------------------------------------------------------------
@pytest.mark.parametrize("ticket", [None, "", "nonsense", "TICKET#", "é" * 5000])
def test_what_is_no_ticket_of_ours_lets_nobody_in(ticket: str | None) -> None:
    before = rows()

    assert opened(ticket) == 401
    assert rows() == before


def test_a_handshake_whose_query_is_null_lets_nobody_in() -> None:
    assert on_connect(connect_event(None) | {"queryStringParameters": None}, None) == {"statusCode": 401}


def test_sixteen_with_one_ticket_at_the_same_moment_let_one_in() -> None:
    for _ in range(5):
        sub = somebody()
        ticket = ticket_of(sub)

        answers = together([functools.partial(opened, ticket, f"connection-{number}=") for number in range(16)])

        assert Counter(answers) == {200: 1, 401: 15}
        assert len(rows(sub)) == 1


def test_a_ticket_lasts_a_minute() -> None:
    sub = somebody()
    ticket = ticket_of(sub)
    assert 58 < int(row_of(ticket)["expiresAt"]["N"]) - time.time() <= 60

    change_row(row_of(ticket), expiresAt=int(time.time()) - 1)

    assert opened(ticket) == 401
    assert rows(sub) == []


def test_a_ticket_dies_with_its_token() -> None:
    sub = somebody()

    assert opened(ticket_of(sub, seconds=-1)) == 401
    assert rows(sub) == []


def test_no_connection_lasts_longer_than_api_gateway_keeps_it() -> None:
    sub = somebody()

    assert opened(ticket_of(sub, seconds=24 * HOUR)) == 200

    [row] = rows(sub)
    assert abs(int(row["expiresAt"]["N"]) - time.time() - 2 * HOUR) < 5


def test_whoever_leaves_is_forgotten_and_nobody_else() -> None:
    sub = somebody()
    for connection_id in ("left=", "stays="):
        assert opened(ticket_of(sub), connection_id) == 200

    for _ in range(2):
        assert on_disconnect(connect_event(None, "left="), None) == {"statusCode": 200}

    assert [row["connectionId"]["S"] for row in rows(sub)] == ["stays="]
    on_disconnect(connect_event(None, "stays="), None)


def test_a_word_from_the_browser_changes_nothing() -> None:
    before = rows()

    assert on_message(connect_event(None) | {"body": '{"type": "ping"}'}, None) == {"statusCode": 200}
    assert rows() == before


# --- Cognito ---------------------------------------------------------------------------------------------------------
def confirmed(sub: str, **attributes: str) -> dict[str, Any]:
    """What Cognito sends once somebody has confirmed their address."""
    return {
        "version": "1",
        "triggerSource": "PostConfirmation_ConfirmSignUp",
        "userName": sub,
        "request": {"userAttributes": {"sub": sub, **attributes}},
        "response": {},
    }


def test_a_confirmed_sign_up_makes_the_user_once(db: None) -> None:
    sub = somebody()
    event = confirmed(sub, email="ada@example.com", email_verified="true", name="Ada")

    for _ in range(2):
        assert on_sign_up_confirmed(json.loads(json.dumps(event)), None) == event

    user = User.objects.get(cognito_sub=sub)
    assert (user.email, user.name) == ("ada@example.com", "Ada")
    assert OutboxEvent.objects.filter(subject=sub, detail_type="User Registered").count() == 1


@pytest.mark.parametrize("verified", [{}, {"email_verified": "false"}])
def test_an_address_that_is_not_verified_counts_for_nothing(db: None, verified: dict[str, str]) -> None:
    sub = somebody()

    on_sign_up_confirmed(confirmed(sub, email="ada@example.com", **verified), None)

    assert User.objects.get(cognito_sub=sub).email == ""


def test_who_has_forgotten_their_password_is_let_through_and_nobody_is_made(db: None) -> None:
    sub = somebody()
    event = confirmed(sub, email="ada@example.com") | {"triggerSource": "PostConfirmation_ConfirmForgotPassword"}

    assert on_password_changed(json.loads(json.dumps(event)), None) == event

    assert not User.objects.filter(cognito_sub=sub).exists()


@contextlib.contextmanager
def database_away(blocker: DjangoDbBlocker) -> Iterator[None]:
    """Nobody listens where PostgreSQL should be."""
    ours = connections["default"].settings_dict
    before = ours["PORT"]
    connections["default"].close()
    ours["PORT"] = str(free_port())
    try:
        with blocker.unblock():
            yield
    finally:
        connections["default"].close()
        vars(connections["default"]).pop("_closed_until", None)  # or the next test were refused for a second, too
        ours["PORT"] = before


def test_a_sleeping_database_fails_no_sign_up(django_db_blocker: DjangoDbBlocker) -> None:
    event = confirmed(somebody(), email="ada@example.com", email_verified="true")

    with database_away(django_db_blocker):
        assert on_sign_up_confirmed(event, None) == event
