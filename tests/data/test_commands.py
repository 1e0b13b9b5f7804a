"""The operators' commands: audit_stock, token, purge_idempotency_keys."""

from datetime import timedelta
from typing import Any

import jwt
import pytest
from django.core.management import CommandError, call_command
from django.db import connection
from django.utils import timezone

from catalog.models import Stock
from tests.in_process import Caller, order_body
from vibecode.models import IdempotencyKey

pytestmark = pytest.mark.django_db


def test_a_clean_audit_is_one_line(product: Any, shopper: Caller, capsys: pytest.CaptureFixture[str]) -> None:
    shopper.post("/orders", order_body((product().sku, 2)))

    call_command("audit_stock")

    assert capsys.readouterr().out == "stock, ledger, orders and figures agree: 1 products, 2 movements, 1 orders\n"


def test_an_audit_names_the_sku_that_differs_and_fails(product: Any, capsys: pytest.CaptureFixture[str]) -> None:
    wrong = product()
    Stock.objects.filter(product=wrong).update(on_hand=11)

    with pytest.raises(CommandError, match="1 differences") as refusal:
        call_command("audit_stock")

    assert refusal.value.returncode == 1
    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith(f"{wrong.sku}: on hand 11")


def test_a_token_is_printed_and_nothing_else(capsys: pytest.CaptureFixture[str]) -> None:
    call_command("token", "shopper@example.com")

    token = capsys.readouterr().out
    claims = jwt.decode(token.strip(), options={"verify_signature": False})
    assert (claims["token_use"], token.count("\n")) == ("access", 1)
    assert Caller(token.strip()).get("/me").json()["email"] == "shopper@example.com"


def test_a_wrong_password_is_one_clear_line() -> None:
    with pytest.raises(CommandError, match=r"Cognito knows no shopper@example\.com with this password"):
        call_command("token", "shopper@example.com", "--password", "wrong")
    with pytest.raises(CommandError, match=r"Cognito knows no nobody@example\.com"):
        call_command("token", "nobody@example.com")


@pytest.fixture
def keys(settings: Any) -> list[str]:
    """An old key and a new one; what is left is told by their names."""
    for name, hours in (("old", settings.IDEMPOTENCY_KEEP_HOURS + 1), ("new", settings.IDEMPOTENCY_KEEP_HOURS - 1)):
        IdempotencyKey.objects.create(
            user_id=1, method="POST", path="/", key=name, created_at=timezone.now() - timedelta(hours=hours)
        )
    return ["old", "new"]


def test_old_keys_are_purged(keys: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    call_command("purge_idempotency_keys")

    assert list(IdempotencyKey.objects.values_list("key", flat=True)) == ["new"]
    assert capsys.readouterr().out == "1 keys older than 168 h deleted\n"


def test_a_dry_run_purges_none(keys: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    call_command("purge_idempotency_keys", "--dry-run")

    assert IdempotencyKey.objects.count() == 2
    assert "1 keys are older" in capsys.readouterr().out


def test_keys_are_purged_in_batches(
    keys: list[str], monkeypatch: pytest.MonkeyPatch, django_assert_num_queries: Any
) -> None:
    monkeypatch.setattr("vibecode.management.commands.purge_idempotency_keys.BATCH", 1)
    connection.ensure_connection()

    with django_assert_num_queries(3):
        call_command("purge_idempotency_keys")
