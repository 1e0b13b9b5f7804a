"""People at the desk: let in and shut out by the service; and the desk's own door."""

import re

import pytest
from django.test import Client

from accounts.models import User
from accounts.services import register_user
from tests.admin.conftest import Desk
from vibecode.local.names import DEMO_PASSWORD, DEMO_USERS
from vibecode.models import Change


def a_customer(number: int = 1) -> User:
    return register_user(sub=f"customer-{number}", email=f"customer{number}@example.org")


def test_people_are_shut_out_and_let_in_again(boss: Desk) -> None:
    customer = a_customer()

    states = []
    for action in ("shut_out", "let_in"):
        boss.dialog(f"accounts_user_{action}", customer.pk)
        states.append(User.objects.active().filter(pk=customer.pk).exists())

    assert states == [False, True]
    trail = Change.objects.filter(kind="accounts.user", page_id=customer.pk).order_by("id")
    assert [(change.actor, change.after) for change in trail] == [
        (boss.user.cognito_sub, {"is_active": False}),
        (boss.user.cognito_sub, {"is_active": True}),
    ]


def test_many_are_shut_out_at_once_but_never_the_one_who_asks(boss: Desk) -> None:
    chosen = [a_customer(1).pk, a_customer(2).pk, boss.user.pk]

    boss.send("accounts_user_changelist", action="shut_all_out", _selected_action=chosen)

    assert list(User.objects.active()) == [boss.user]


def test_nobody_shuts_themselves_out(boss: Desk) -> None:
    page = boss.dialog("accounts_user_shut_out", boss.user.pk)

    boss.user.refresh_from_db()
    assert "ask a colleague" in page.content.decode()
    assert boss.user.is_active


def test_staff_may_not_shut_anybody_out(staff: Desk) -> None:
    customer = a_customer()

    answer = staff.dialog("accounts_user_shut_out", customer.pk)
    staff.send("accounts_user_changelist", action="shut_all_out", _selected_action=[customer.pk])

    customer.refresh_from_db()
    assert answer.status_code == 403
    assert customer.is_active
    assert "Deactivate" not in staff.open("accounts_user_change", customer.pk).content.decode()


@pytest.mark.parametrize("email", ["staff@example.com", "admin@example.com"])
@pytest.mark.parametrize(("page", "then"), [
    ("/admin/login/", "/admin/"),
    ("/admin/login/?next=/admin/orders/order/", "/admin/orders/order/"),
])  # fmt: skip
def test_who_works_here_signs_in_with_e_mail_and_password(db: None, page: str, then: str, email: str) -> None:
    client = Client()

    answer = client.post(page, {"username": email, "password": DEMO_PASSWORD})

    assert (answer.status_code, answer.headers["Location"]) == (302, then)
    assert client.get(then).status_code == 200


@pytest.mark.parametrize(("email", "password"), [
    ("shopper@example.com", DEMO_PASSWORD),
    ("staff@example.com", "wrong"),
    ("nobody@example.com", DEMO_PASSWORD),
])  # fmt: skip
def test_all_others_are_refused_with_the_same_sentence(db: None, email: str, password: str) -> None:
    page = Client().post("/admin/login/", {"username": email, "password": password})

    assert page.status_code == 200
    assert "do not belong to somebody who works here" in page.content.decode()


def test_the_sign_in_page_asks_for_an_e_mail_of_any_legal_length_and_shows_the_demo_logins(db: None) -> None:
    html = Client().get("/admin/login/").content.decode()

    field = re.search(r'<input[^>]+name="username"[^>]*>', html)
    assert field is not None
    assert 'maxlength="254"' in field[0]
    assert 'type="email"' in field[0]
    for shown in ("E-mail", "Vibecode", DEMO_PASSWORD, *(mail for mail, groups in DEMO_USERS.items() if groups)):
        assert shown in html


def test_passwords_are_not_changed_here(staff: Desk) -> None:
    assert staff.open("password_change").status_code == 302
    assert "Change password" not in staff.open("index").content.decode()
