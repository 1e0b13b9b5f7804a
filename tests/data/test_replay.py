"""The replay through HTTP: the sample's orders placed for real, once however often, and its patience."""

import json
import signal
import threading
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from django.core.management import CommandError, call_command
from django.db.models import F, Sum

from accounts.management.sign_in import sign_in_or_up
from catalog.demo import SAMPLE
from orders.management.shop_client import MOST_TRIES, Interrupted, ShopAway, ShopClient
from orders.models import Order, OrderLine
from orders.services import audit_stock
from tests.over_http import Shop
from vibecode import aws
from vibecode.local.names import CLIENT_ID, POOL_ID


def replayed(capsys: pytest.CaptureFixture[str], shop: Shop, *options: str) -> dict[str, Any]:
    """The report of a replay of the sample."""
    capsys.readouterr()
    call_command("replay_orders", SAMPLE, "--base-url", shop.server.url, "--json", *options)
    report: dict[str, Any] = json.loads(capsys.readouterr().out)
    return report


def test_the_sample_is_placed_once_to_the_last_penny(shop: Shop, capsys: pytest.CaptureFixture[str]) -> None:
    call_command("load_online_retail", SAMPLE)
    former = set(Order.objects.values_list("pk", flat=True))

    first = replayed(capsys, shop, "--concurrency", "8")
    second = replayed(capsys, shop, "--concurrency", "8")

    orders = Order.objects.exclude(pk__in=former)
    worth = OrderLine.objects.filter(order__in=orders).aggregate(sum=Sum(F("quantity") * F("unit_price")))["sum"]
    assert (first["placed"], first["cancelled"], first["replayed"], first["refused"]) == (187, 2, 0, {})
    assert (second["placed"], second["cancelled"], second["replayed"], second["refused"]) == (0, 0, 189, {})
    for report in (first, second):
        assert report["mismatches"] == []
        assert report["lines"]["inInvoices"] == 701
        assert report["invoices"] == 189 + sum(report["leftOut"].values()) == 328
        assert report["total"] == str(worth) == str(orders.aggregate(sum=Sum("total"))["sum"])
    assert (orders.count(), orders.filter(status="cancelled").count()) == (187, 2)
    assert audit_stock() == []


def test_a_limit_takes_the_first_invoices(shop: Shop, capsys: pytest.CaptureFixture[str]) -> None:
    call_command("load_online_retail", SAMPLE)

    report = replayed(capsys, shop, "--limit", "5")

    assert report["invoices"] == 5


def test_a_price_that_moved_is_a_mismatch_and_exit_1(
    shop: Shop, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    call_command("load_online_retail", SAMPLE)
    real = ShopClient.prices
    monkeypatch.setattr(ShopClient, "prices", lambda client: {sku: p + 1 for sku, p in real(client).items()})

    with pytest.raises(CommandError, match="answers differ"):
        replayed(capsys, shop)

    (entry, *_) = json.loads(capsys.readouterr().out)["mismatches"]
    assert entry.keys() == {"invoice", "orderId", "what", "expected", "answered"}


# --- patience --------------------------------------------------------------------------------------------------------
CONFIG = {"cognito": {"userPoolId": "us-east-1_VibecodeLocal", "clientId": "vibecodelocalclient0000001"}}


@pytest.fixture
def client() -> ShopClient:
    return ShopClient("http://shop.example", connections=2, stop=threading.Event())


type Talk = Callable[[Callable[[httpx.Request], httpx.Response]], list[float]]


@pytest.fixture
def answered_by(client: ShopClient, monkeypatch: pytest.MonkeyPatch) -> Talk:
    """Let the client talk to a function; gives the seconds that it would wait."""
    return lambda answer: _answered_by(client, answer, monkeypatch)


def _answered_by(
    client: ShopClient, answer: Callable[[httpx.Request], httpx.Response], monkeypatch: pytest.MonkeyPatch
) -> list[float]:
    waits: list[float] = []

    def wait(seconds: float) -> bool:
        waits.append(seconds)
        return False

    monkeypatch.setattr(client.stop, "wait", wait)
    client._http = httpx.Client(transport=httpx.MockTransport(answer))
    return waits


def test_retry_after_is_obeyed_with_the_same_key(client: ShopClient, answered_by: Talk) -> None:
    keys: list[str] = []

    def busy(request: httpx.Request) -> httpx.Response:
        if request.url.path.endswith("/config"):
            return httpx.Response(200, json=CONFIG)
        keys.append(request.headers["Idempotency-Key"])
        refusals = {1: 429, 2: 503}
        status = refusals.get(len(keys), 201)
        return httpx.Response(status, headers={"Retry-After": "7"} if status > 400 else {})

    waits = answered_by(busy)
    with client:
        response = client.post("/api/v1/orders", {}, customer="shopper@example.com", key="k")

    assert (response.status_code, keys, waits) == (201, ["k"] * 3, [7, 7])
    assert client.retries == {"429": 1, "503": 1}


def test_a_lost_connection_is_tried_again_so_often_and_no_more(client: ShopClient, answered_by: Talk) -> None:
    def down(request: httpx.Request) -> httpx.Response:
        if request.url.path.endswith("/config"):
            return httpx.Response(200, json=CONFIG)
        raise httpx.ReadError("the answer was lost")

    waits = answered_by(down)
    with client:
        with pytest.raises(ShopAway, match="the answer was lost"):
            client.prices()
        with pytest.raises(ShopAway):  # whoever comes next is not as patient
            client.prices()

    assert (client.retries["no-answer"], len(waits)) == (MOST_TRIES + 1, MOST_TRIES - 1)


def test_an_expired_token_is_renewed_once(client: ShopClient, answered_by: Talk) -> None:
    tokens: list[str] = []

    def strict(request: httpx.Request) -> httpx.Response:
        if request.url.path.endswith("/config"):
            return httpx.Response(200, json=CONFIG)
        tokens.append(request.headers["Authorization"])
        return httpx.Response(401)

    answered_by(strict)
    with client:
        response = client.post("/api/v1/orders", {}, customer="shopper@example.com", key="k")

    assert (response.status_code, len(tokens)) == (401, 2)


def test_an_ended_replay_asks_nobody(client: ShopClient) -> None:
    client.stop.set()

    with pytest.raises(Interrupted), client:
        pass


def test_an_interrupted_replay_reports_what_it_did(
    shop: Shop, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    call_command("load_online_retail", SAMPLE)
    real = ShopClient.post
    ended: list[bool] = []

    def interrupt(client: ShopClient, *arguments: Any, **named: Any) -> httpx.Response:
        response = real(client, *arguments, **named)
        if not ended:
            ended.append(True)
            signal.raise_signal(signal.SIGINT)
        return response

    monkeypatch.setattr(ShopClient, "post", interrupt)

    with pytest.raises(CommandError, match="ended early") as end:
        replayed(capsys, shop, "--concurrency", "1")

    report = json.loads(capsys.readouterr().out)
    assert end.value.returncode == 130
    assert 1 <= report["placed"] + report["replayed"] < 187
    assert report["invoices"] == report["placed"] + report["replayed"] + sum(report["leftOut"].values())


def test_the_list_of_prices_is_read_to_its_last_page(client: ShopClient, answered_by: Talk) -> None:
    def pages(request: httpx.Request) -> httpx.Response:
        if request.url.path.endswith("/config"):
            return httpx.Response(200, json=CONFIG)
        more = "cursor" not in request.url.params
        row = {"sku": "A" if more else "B", "price": "1.50"}
        address = "https://elsewhere.example/api/v1/products?cursor=c" if more else None
        return httpx.Response(200, json={"results": [row], "next": address})

    answered_by(pages)
    with client:
        assert {sku: str(price) for sku, price in client.prices().items()} == {"A": "1.50", "B": "1.50"}


def test_a_shop_that_is_not_there_is_one_clear_line() -> None:
    with pytest.raises(CommandError, match=r"http://127\.0\.0\.1:9 does not answer"):
        call_command("replay_orders", SAMPLE, "--base-url", "http://127.0.0.1:9")


# --- the demo password -----------------------------------------------------------------------------------------------
def test_who_is_missing_is_signed_up_in_the_local_pool() -> None:
    first = sign_in_or_up(pool_id=POOL_ID, client_id=CLIENT_ID, email="replay-local@example.com")
    again = sign_in_or_up(pool_id=POOL_ID, client_id=CLIENT_ID, email="replay-local@example.com")

    assert first.is_fresh
    assert again.is_fresh


@pytest.mark.parametrize(("name", "value"), [("LOCAL", False), ("AWS_ENDPOINT_URL", None)])
def test_nobody_gets_the_demo_password_in_a_real_pool(
    settings: Any, monkeypatch: pytest.MonkeyPatch, name: str, value: object
) -> None:
    def no_aws(_service: str) -> None:
        raise AssertionError("a real pool was asked")

    setattr(settings, name, value)
    monkeypatch.setattr(aws, "client", no_aws)

    with pytest.raises(CommandError, match=r"published demo password.*nobody was put into us-east-1_Real"):
        sign_in_or_up(pool_id="us-east-1_Real", client_id="real", email="customer-1@example.com")


def test_a_replay_against_a_real_pool_ends_with_that_sentence(
    shop: Shop, settings: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    before = Order.objects.count()
    settings.LOCAL = False

    with pytest.raises(CommandError, match="published demo password"):
        replayed(capsys, shop, "--limit", "40")

    assert Order.objects.count() == before
