"""How long somebody stays signed in at the desk: the clock is moved by moving every moment of their session back."""

from datetime import datetime, timedelta

import pytest
from django.contrib.sessions.backends.db import SessionStore
from django.contrib.sessions.models import Session
from django.test import Client

from tests.accounts.conftest import Staff
from tests.accounts.provider import Provider
from vibecode import sessions
from vibecode.local.names import DEMO_PASSWORD
from vibecode.outbox import purge


def let_pass(client: Client, **time: float) -> None:
    """Let time pass for a browser's session."""
    gone = timedelta(**time)
    row = Session.objects.get(session_key=client.cookies["sessionid"].value)
    held = row.get_decoded()
    held[sessions.BEGUN] -= gone.total_seconds()
    held["_session_expiry"] = (datetime.fromisoformat(held["_session_expiry"]) - gone).isoformat()
    row.session_data = SessionStore().encode(held)
    row.expire_date -= gone
    row.save()


@pytest.fixture
def colleague(provider: Provider, browser_of_staff: Staff) -> Staff:
    """Somebody who has just signed in."""
    browser_of_staff.signs_in(provider.knows("colleague", "staff"))
    return browser_of_staff


def test_half_an_hour_without_a_page_ends_a_session(colleague: Staff) -> None:
    assert colleague.is_inside
    let_pass(colleague.client, minutes=28)
    assert colleague.is_inside
    let_pass(colleague.client, minutes=28)
    assert colleague.is_inside

    let_pass(colleague.client, minutes=31)

    assert not colleague.is_inside


def test_eight_hours_end_a_session_that_is_in_use_all_the_time(colleague: Staff) -> None:
    for _ in range(8 * 4 - 1):
        let_pass(colleague.client, minutes=15)
        assert colleague.is_inside

    let_pass(colleague.client, minutes=15)

    assert not colleague.is_inside


def test_the_cookie_ends_with_the_session(colleague: Staff) -> None:
    let_pass(colleague.client, hours=7, minutes=50)
    row = Session.objects.get(session_key=colleague.client.cookies["sessionid"].value)
    row.expire_date += timedelta(hours=7, minutes=40)
    row.save()

    answer = colleague.client.get("/admin/")

    assert 9 * 60 <= int(answer.cookies["sessionid"]["max-age"]) <= 10 * 60


def test_signing_in_again_begins_a_new_eight_hours(colleague: Staff) -> None:
    for _ in range(7 * 4):
        let_pass(colleague.client, minutes=15)
        assert colleague.is_inside

    colleague.signs_in("colleague")

    for _ in range(7 * 4):
        let_pass(colleague.client, minutes=15)
        assert colleague.is_inside


def test_a_page_soon_after_another_writes_no_session(colleague: Staff) -> None:
    colleague.client.get("/admin/")

    assert "sessionid" not in colleague.client.get("/admin/").cookies


def test_a_password_of_local_mode_opens_no_longer_session(db: None) -> None:
    client = Client()

    answer = client.post("/admin/login/?next=/admin/", {"username": "staff@example.com", "password": DEMO_PASSWORD})

    assert answer.status_code == 302
    let_pass(client, minutes=31)
    assert client.get("/admin/").status_code == 302


def test_an_ended_session_leads_back_to_where_it_ended(colleague: Staff) -> None:
    let_pass(colleague.client, minutes=31)

    sent_away = colleague.client.post("/admin/orders/order/?q=1", {"action": "x"})

    assert sent_away.headers["Location"] == "/admin/login/?next=/admin/orders/order/%3Fq%3D1"
    page = colleague.client.get(sent_away.headers["Location"]).content.decode()
    assert '<input type="hidden" name="next" value="/admin/orders/order/?q=1">' in page
    assert colleague.signs_in("colleague", "/admin/orders/order/?q=1").headers["Location"] == "/admin/orders/order/?q=1"


def test_a_dialog_under_which_the_session_ended_takes_the_whole_window_to_the_sign_in(colleague: Staff) -> None:
    let_pass(colleague.client, minutes=31)

    answer = colleague.client.post(
        "/admin/orders/order/1/cancel/",
        headers={"HX-Request": "true", "HX-Current-URL": "http://testserver/admin/orders/order/1/change/?p=1"},
    )

    assert answer.status_code == 200
    assert answer.content == b""
    assert answer.headers["HX-Redirect"] == "/admin/login/?next=%2Fadmin%2Forders%2Forder%2F1%2Fchange%2F"


def test_sessions_that_ended_are_purged_and_no_others(colleague: Staff) -> None:
    stranger = Staff(colleague.between)
    stranger.begins()
    let_pass(colleague.client, minutes=31)

    purge()

    assert [row.session_key for row in Session.objects.all()] == [stranger.client.cookies["sessionid"].value]
