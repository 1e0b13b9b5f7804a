"""/me: who somebody is here."""

import pytest

from tests.in_process import Caller
from tests.platform.answers import assert_refused, pointers


def test_somebody_reads_who_they_are(shopper: Caller, staff: Caller) -> None:
    mine, theirs = shopper.get("/me").json(), staff.get("/me").json()

    assert mine.keys() == {"userId", "email", "name", "groups", "createdAt"}
    assert (mine["email"], mine["groups"]) == ("shopper@example.com", [])
    assert mine["createdAt"].endswith("Z")
    assert theirs["groups"] == ["staff"]
    assert mine["userId"] != theirs["userId"]


def test_somebody_changes_their_name(shopper: Caller, other: Caller) -> None:
    answer = shopper.patch("/me", {"name": "  Jane Doe "})

    assert (answer.status_code, answer.json()["name"]) == (200, "Jane Doe")
    assert shopper.get("/me").json()["name"] == "Jane Doe"
    assert other.get("/me").json()["name"] == ""
    assert shopper.patch("/me", {"name": ""}).json()["name"] == ""
    assert shopper.patch("/me", {}).status_code == 200


def test_a_stranger_is_nobody(stranger: Caller) -> None:
    assert_refused(stranger.get("/me"), 401, "not-authenticated")
    assert_refused(stranger.patch("/me", {"name": "x"}), 401, "not-authenticated")


@pytest.mark.parametrize(
    ("body", "where"),
    [
        ({"name": "n" * 151}, "/name"),
        ({"name": None}, "/name"),
        ({"name": 1}, "/name"),
        ({"email": "new@example.com"}, "/email"),
        ({"userId": "x"}, "/userId"),
        ({"groups": ["admin"]}, "/groups"),
    ],
)
def test_nothing_else_can_be_changed_here(shopper: Caller, body: dict[str, object], where: str) -> None:
    before = shopper.get("/me").json()

    assert pointers(assert_refused(shopper.patch("/me", body), 400, "invalid")) == [where]
    assert shopper.get("/me").json() == before
