"""/me/addresses: what somebody keeps for next time."""

from typing import Any

import pytest

from accounts.models import Address
from tests.in_process import Caller
from tests.platform.answers import assert_refused, pointers

HOME: dict[str, Any] = {
    "name": "Jane Doe",
    "line1": "1 High Street",
    "city": "Bath",
    "postalCode": "BA1 1AA",
    "country": "GB",
}


def test_an_address_is_kept_read_changed_and_forgotten(shopper: Caller) -> None:
    made = shopper.post("/me/addresses", HOME)
    path = f"/me/addresses/{made.json()['id']}"

    assert made.status_code == 201
    assert made.headers["Location"].endswith(f"/api/v1{path}")
    assert made.json() == {"id": made.json()["id"], "line2": "", "region": "", "phone": "", **HOME}
    assert shopper.get(path).json() == made.json()
    assert shopper.get("/me/addresses").json() == {"results": [made.json()], "next": None, "previous": None}
    assert shopper.patch(path, {"city": "Wells"}).json() == {**made.json(), "city": "Wells"}
    assert shopper.delete(path).status_code == 204
    assert_refused(shopper.get(path), 404, "not-found")
    assert not Address.objects.exists()


def test_a_stranger_has_no_addresses(stranger: Caller) -> None:
    assert_refused(stranger.get("/me/addresses"), 401, "not-authenticated")
    assert_refused(stranger.post("/me/addresses", HOME), 401, "not-authenticated")


def test_somebody_elses_address_is_not_there(shopper: Caller, other: Caller, staff: Caller) -> None:
    path = f"/me/addresses/{shopper.post('/me/addresses', HOME).json()['id']}"

    for caller in (other, staff):
        for answer in (caller.get(path), caller.patch(path, {"city": "X"}), caller.delete(path)):
            assert_refused(answer, 404, "not-found")
        assert caller.get("/me/addresses").json()["results"] == []
    assert shopper.get(path).json()["city"] == "Bath"


@pytest.mark.parametrize(
    ("change", "where"),
    [
        ({"country": "gb"}, "/country"),
        ({"country": "GBR"}, "/country"),
        ({"country": "GB\n"}, ""),
        ({"country": 1}, "/country"),
        ({"city": ""}, "/city"),
        ({"city": "   "}, "/city"),
        ({"city": None}, "/city"),
        ({"name": 1}, "/name"),
        ({"line1": "l" * 201}, "/line1"),
        ({"planet": "Earth"}, "/planet"),
        ({"postal_code": "X"}, "/postal_code"),
        ({"id": 7}, "/id"),
    ],
)
def test_an_address_that_is_none_is_told_where(shopper: Caller, change: dict[str, Any], where: str) -> None:
    answers = [shopper.post("/me/addresses", HOME | change)]
    if not where:  # white space around a word is no fault
        assert answers[0].status_code == 201
        return
    kept = shopper.post("/me/addresses", HOME).json()
    answers.append(shopper.patch(f"/me/addresses/{kept['id']}", change))

    for answer in answers:
        assert pointers(assert_refused(answer, 400, "invalid")) == [where]
    assert shopper.get("/me/addresses").json()["results"] == [kept]


def test_a_new_address_needs_all_that_a_letter_needs(shopper: Caller) -> None:
    refusal = assert_refused(shopper.post("/me/addresses", {}), 400, "invalid")

    assert pointers(refusal) == ["/name", "/line1", "/city", "/postalCode", "/country"]
    assert not Address.objects.exists()


def test_the_same_request_twice_keeps_one_address(shopper: Caller) -> None:
    first, again = (shopper.post("/me/addresses", HOME, Idempotency_Key="k") for _ in range(2))

    assert first.content == again.content
    assert again.headers["Idempotent-Replayed"] == "true"
    assert Address.objects.count() == 1


def test_an_order_keeps_its_copy_of_an_address(shopper: Caller, product: Any) -> None:
    product("LAMP")
    body = {"items": [{"sku": "LAMP", "quantity": 1}], "shippingAddress": {**HOME, "line2": "Flat 2"}}

    placed = shopper.post("/orders", body).json()

    assert shopper.get(f"/orders/{placed['orderId']}").json()["shippingAddress"] == {**HOME, "line2": "Flat 2"}
