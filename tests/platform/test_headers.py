"""What stands around every answer: CORS, rate limits, request ids; and what a real failure looks like."""

import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from django.db import OperationalError, connection
from django.db.backends.utils import CursorWrapper
from rest_framework.test import APIRequestFactory

from catalog.models import Product
from tests.in_process import Caller, order_body
from tests.platform.answers import assert_refused
from tests.platform.logs import read_log
from vibecode import throttling
from vibecode.errors import Conflict
from vibecode.problems import problem_response

type Make = Callable[..., Product]
FRONT_END = "http://localhost:3000"


# --- CORS ------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("method", ["GET", "POST", "PATCH", "DELETE"])
def test_a_preflight_is_answered_without_the_database(stranger: Caller, method: str) -> None:
    answer = stranger.call(  # the database is not even allowed in this test
        "OPTIONS",
        "/orders",
        Origin=FRONT_END,
        Access_Control_Request_Method=method,
        Access_Control_Request_Headers="authorization,content-type,idempotency-key,if-match,if-none-match,x-request-id",
    )

    assert answer.status_code == 200
    assert answer.headers["Access-Control-Allow-Origin"] == FRONT_END
    assert method in answer.headers["Access-Control-Allow-Methods"].split(", ")
    assert set(answer.headers["Access-Control-Allow-Headers"].split(", ")) == {
        "authorization", "content-type", "idempotency-key", "if-match", "if-none-match", "x-request-id",
    }  # fmt: skip
    assert "Access-Control-Allow-Credentials" not in answer.headers


def test_a_front_end_may_read_our_headers_on_success_and_on_refusal(db: None, stranger: Caller) -> None:
    for answer in (stranger.get("/products", Origin=FRONT_END), stranger.get("/orders", Origin=FRONT_END)):
        assert answer.headers["Access-Control-Allow-Origin"] == FRONT_END
        assert set(answer.headers["Access-Control-Expose-Headers"].split(", ")) == {
            "Location", "ETag", "Idempotent-Replayed", "RateLimit-Limit", "RateLimit-Remaining", "RateLimit-Reset",
            "Retry-After", "X-Request-Id",
        }  # fmt: skip
        assert "origin" in answer.headers["Vary"].lower()


@pytest.mark.parametrize("origin", ["https://evil.example", "http://localhost:3000.evil.example", "null"])
def test_another_origin_gets_no_leave(stranger: Caller, origin: str) -> None:
    assert "Access-Control-Allow-Origin" not in stranger.get("/config", Origin=origin).headers


def test_pages_outside_the_api_are_nobody_elses(stranger: Caller) -> None:
    assert "Access-Control-Allow-Origin" not in stranger.client.get("/healthz", headers={"Origin": FRONT_END}).headers


# --- rate limits -----------------------------------------------------------------------------------------------------
@pytest.fixture
def noon(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """A clock that stands still until a test moves it: no window ends by chance."""
    now = [1_800_000_000.0]
    assert now[0] % 60 == 0
    monkeypatch.setattr(throttling, "time", SimpleNamespace(time=lambda: now[0]))
    return now


def test_who_asks_too_often_waits(stranger: Caller, noon: list[float], settings: Any) -> None:
    settings.API_RATES = {"anonymous": (2, 60), "signed_in": (5, 60)}
    noon[0] += 15

    answers = [stranger.get("/config") for _ in range(3)]

    assert [answer.status_code for answer in answers] == [200, 200, 429]
    assert [answer.headers["RateLimit-Remaining"] for answer in answers] == ["1", "0", "0"]
    assert {answer.headers["RateLimit-Limit"] for answer in answers} == {"2"}
    assert {answer.headers["RateLimit-Reset"] for answer in answers} == {"45"}
    assert_refused(answers[2], 429, "rate-limited")
    assert answers[2].headers["Retry-After"] == "45"
    noon[0] += 45
    assert stranger.get("/config").status_code == 200


def test_a_user_has_a_window_of_their_own(
    stranger: Caller, shopper: Caller, other: Caller, noon: list[float], settings: Any
) -> None:
    settings.API_RATES = {"anonymous": (1, 60), "signed_in": (2, 60)}

    assert [stranger.get("/products").status_code for _ in range(2)] == [200, 429]
    assert [shopper.get("/me").status_code for _ in range(3)] == [200, 200, 429]
    assert other.get("/me").headers["RateLimit-Remaining"] == "1"


def test_a_forwarded_address_opens_no_new_window(stranger: Caller, noon: list[float], settings: Any) -> None:
    settings.API_RATES = {"anonymous": (1, 60), "signed_in": (1, 60)}

    answers = [stranger.get("/config", X_Forwarded_For=f"10.0.0.{n}").status_code for n in range(3)]

    assert answers == [200, 429, 429]


def test_guessing_tokens_is_counted_by_address(noon: list[float], settings: Any) -> None:
    settings.API_RATES = {"anonymous": (2, 60), "signed_in": (5, 60)}

    answers = [Caller("guess").get("/me") for _ in range(3)]

    assert [answer.status_code for answer in answers] == [401, 401, 429]
    assert [answer.headers["RateLimit-Remaining"] for answer in answers] == ["1", "0", "0"]
    assert_refused(answers[2], 429, "rate-limited")


def test_who_is_refused_for_haste_has_ordered_nothing(
    shopper: Caller, product: Make, noon: list[float], settings: Any
) -> None:
    product("LAMP")
    shopper.get("/me")
    settings.API_RATES = {"anonymous": (1, 60), "signed_in": (1, 60)}

    refusal = assert_refused(shopper.post("/orders", order_body(("LAMP", 1))), 429, "rate-limited")

    assert refusal["success"] is False


# --- failures --------------------------------------------------------------------------------------------------------
def test_a_failure_of_ours_is_a_problem_without_a_trace_and_a_line_with_one(shopper: Caller, product: Make) -> None:
    product("LAMP")
    shopper.get("/me")
    with connection.cursor() as cursor:
        cursor.execute("DROP TABLE orders_timelineentry CASCADE")

    with read_log() as lines:
        answer = shopper.post("/orders", order_body(("LAMP", 1)), X_Request_Id="the-one")

    refusal = assert_refused(answer, 500, "internal-error")
    assert refusal["requestId"] == "the-one"
    assert "orders_timelineentry" not in answer.content.decode()
    failure, request = lines
    assert (failure["event"], failure["request"]) == ("unexpected error", "the-one")
    assert "orders_timelineentry" in failure["exception"]
    assert (request["event"], request["status"], request["request"]) == ("request", 500, "the-one")


def test_a_database_that_is_away_is_503_for_a_while(
    shopper: Caller, product: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    product("LAMP")
    shopper.get("/me")

    def away(*_: object) -> None:
        raise OperationalError("server closed the connection unexpectedly")

    with monkeypatch.context() as patch:
        patch.setattr(CursorWrapper, "execute", away)
        order = shopper.post("/orders", order_body(("LAMP", 1)))
        products = shopper.get("/products")

    assert_refused(order, 503, "database-away")
    assert_refused(products, 503, "database-away")
    assert order.headers["Retry-After"] == "2"


def test_every_answer_has_a_request_id_of_its_own(stranger: Caller) -> None:
    paths = ["/config", "/nothing", "/orders", "/config"]

    assert len({stranger.get(path).headers["X-Request-Id"] for path in paths}) == 4


def test_a_request_is_one_line_with_its_user_and_order(shopper: Caller, product: Make) -> None:
    product("LAMP")
    sub = shopper.sub
    with read_log() as lines:
        number = shopper.post("/orders", order_body(("LAMP", 1)), X_Request_Id="r-1").json()["orderId"]
        shopper.get(f"/orders/{number}")

    placed, read = lines
    assert (placed["request"], placed["user"], placed["order"], placed["status"]) == ("r-1", sub, number, 201)
    assert (placed["method"], placed["path"]) == ("POST", "/api/v1/orders")
    assert isinstance(placed["ms"], float)
    assert (read["order"], read["user"]) == (number, sub)
    assert "@" not in str(lines)


def test_nothing_of_one_request_stands_in_the_log_of_the_next(shopper: Caller, stranger: Caller) -> None:
    shopper.get("/me")
    with read_log() as lines:
        stranger.get("/config")

    [line] = lines
    assert not line.keys() & {"user", "order", "refused"}


def test_the_clock_of_the_log_is_utc(stranger: Caller) -> None:
    with read_log() as lines:
        stranger.get("/config")

    assert lines[0]["timestamp"].startswith(time.strftime("%Y-%m-%d", time.gmtime()))
    assert lines[0]["timestamp"].endswith("Z")


def test_no_member_of_a_refusal_takes_the_place_of_one_of_the_contract() -> None:
    refusal = Conflict("No.", status="shipped", code="other", orderStatus="shipped")
    view = {"request": APIRequestFactory().get("/api/v1/x")}

    response = problem_response(refusal, view)

    assert response is not None
    assert (response.status_code, response.data["status"], response.data["code"]) == (409, 409, "conflict")
    assert response.data["orderStatus"] == "shipped"
