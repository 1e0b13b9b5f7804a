"""Sign-in: which tokens let somebody in, and what the log says of those that do not."""

import json
import time
from collections.abc import Callable
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from accounts import authentication
from accounts.models import User
from tests.accounts.forge import KID, claims, foreign_key, hs256, parts, pool_jwk, public_pem, sign
from tests.in_process import Caller, sign_in
from tests.platform.answers import assert_refused
from tests.platform.logs import read_log
from vibecode import aws
from vibecode.local.names import POOL_ID
from vibecode.models import OutboxEvent

SUB = "00000000-0000-4000-8000-000000000001"
EMAIL = "shopper@example.com"


def public_jwk() -> bytes:
    """The pool's public key as the JWKS has it."""
    return json.dumps({name: value for name, value in pool_jwk().items() if name in {"kty", "n", "e", "kid"}}).encode()


def now() -> int:
    return int(time.time())


def rs256(**changes: Any) -> str:
    """A token that our pool signed, with its claims changed."""
    return sign(claims(SUB, **changes))


# Each with a word that the log must have as the reason.
FALSE: dict[str, tuple[Callable[[], str], str]] = {
    "alg none": (lambda: parts({"alg": "none", "kid": KID}, claims(SUB)), "RS256"),
    "alg None": (lambda: parts({"alg": "None", "kid": KID}, claims(SUB)), "RS256"),
    "no alg": (lambda: parts({"kid": KID}, claims(SUB), b"x"), "RS256"),
    "alg a list": (lambda: parts({"alg": ["RS256"], "kid": KID}, claims(SUB), b"x"), "RS256"),
    "HS256 with the public PEM": (lambda: hs256({"alg": "HS256", "kid": KID}, claims(SUB), public_pem()), "RS256"),
    "HS256 with the JWK": (lambda: hs256({"alg": "HS256", "kid": KID}, claims(SUB), public_jwk()), "RS256"),
    "RS256 in name, HMAC in fact": (lambda: hs256({"alg": "RS256", "kid": KID}, claims(SUB), public_pem()), "ignature"),
    "another pool's key, our kid": (lambda: sign(claims(SUB), foreign_key()), "ignature"),
    "another pool's key, its kid": (lambda: sign(claims(SUB), foreign_key(), kid="theirs"), "key"),
    "a key that it brings along": (
        lambda: sign(
            claims(SUB), foreign_key(), jwk={"kty": "RSA"}, jku="http://127.0.0.1:1/", x5u="http://127.0.0.1:1/"
        ),
        "ignature",
    ),
    "no kid": (lambda: sign(claims(SUB), kid=None), "no key"),
    "an empty kid": (lambda: parts({"alg": "RS256", "kid": ""}, claims(SUB), b"x"), "no key"),
    "a kid that is a number": (lambda: parts({"alg": "RS256", "kid": 1}, claims(SUB), b"x"), "ey ID"),
    "a kid that is a list": (lambda: parts({"alg": "RS256", "kid": [KID]}, claims(SUB), b"x"), "ey ID"),
    "a kid with ../ and NUL": (lambda: parts({"alg": "RS256", "kid": "../\0"}, claims(SUB), b"x"), "key"),
    "a critical header that nobody knows": (lambda: sign(claims(SUB), crit=["exp2"], exp2=1), "rit"),
    "expired": (lambda: rs256(exp=now() - 60), "expired"),
    "expires at no time": (lambda: rs256(exp="soon"), "exp"),
    "no exp": (lambda: rs256(exp=None), "exp"),
    "valid from tomorrow": (lambda: rs256(nbf=now() + 86_400), "not yet valid"),
    "issued tomorrow": (lambda: rs256(iat=now() + 86_400), "not yet valid"),
    "another audience": (lambda: rs256(aud="another-client"), "another client"),
    "several audiences": (lambda: rs256(aud=["another-client"]), "another client"),
    "another client_id": (lambda: rs256(token_use="access", client_id="another-client"), "another client"),
    "an access token without client_id": (lambda: rs256(token_use="access", client_id=None), "another client"),
    "an access token with our aud alone": (
        lambda: rs256(token_use="access", client_id=None, aud=claims(SUB)["aud"]),
        "another client",
    ),
    "another issuer": (lambda: rs256(iss="https://cognito-idp.us-east-1.amazonaws.com/us-east-1_Theirs"), "ssuer"),
    "our issuer and more": (lambda: rs256(iss=claims(SUB)["iss"] + "/"), "ssuer"),
    "no issuer": (lambda: rs256(iss=None), "iss"),
    "no token_use": (lambda: rs256(token_use=None), "token_use"),
    "a refresh token's use": (lambda: rs256(token_use="refresh"), "neither"),
    "a use that is a list": (lambda: rs256(token_use=["id"]), "neither"),
    "no sub": (lambda: rs256(sub=None), "sub"),
    "an empty sub": (lambda: rs256(sub=""), "sub"),
    "a sub that is a number": (lambda: rs256(sub=1), "ubject"),
    "a sub with NUL": (lambda: rs256(sub="a\0b"), "sub"),
    "a sub of 129 letters": (lambda: rs256(sub="s" * 129), "sub"),
    "a refresh token": (lambda: sign_in(EMAIL)["RefreshToken"], ""),
    "truncated": (lambda: sign_in(EMAIL)["AccessToken"][:-5], ""),
    "without its signature": (lambda: sign_in(EMAIL)["AccessToken"].rpartition(".")[0] + ".", "ignature"),
    "the header alone": (lambda: sign_in(EMAIL)["AccessToken"].partition(".")[0], "egments"),
    "another body under the signature": (
        lambda: ".".join(
            [
                (token := sign_in(EMAIL)["AccessToken"].split("."))[0],
                parts({}, claims(SUB)).split(".")[1],
                token[2],
            ]
        ),
        "ignature",
    ),
    "a word": (lambda: "token", "egments"),
    "dots": (lambda: "..", ""),
    "a header that is no JSON": (lambda: parts(b"{", claims(SUB), b"x"), "eader"),
    "a header that is a list": (lambda: parts([], claims(SUB), b"x"), "eader"),
    "a header nested 100,000 deep": (lambda: parts(b"[" * 100_000, claims(SUB), b"x"), ""),
    "a header with a number of 5,000 digits": (lambda: parts(b'{"alg":' + b"9" * 5_000 + b"}", claims(SUB), b"x"), ""),
    "a header in invalid UTF-8": (lambda: parts(b'{"alg":"\xff"}', claims(SUB), b"x"), ""),
    "letters outside ASCII": (lambda: "clé", "ASCII"),
    "an e-mail": (lambda: "jane.doe@example.com", ""),
}


@pytest.mark.parametrize(("make", "reason"), FALSE.values(), ids=FALSE.keys())
def test_a_false_token_is_401_and_one_line_in_the_log(
    db: None, stranger: Caller, make: Callable[[], str], reason: str
) -> None:
    token = make()
    authentication._key_set().key(KID)  # known already: a fetch that fails would have a line of its own
    with read_log() as lines:
        answer = stranger.get("/me", Authorization=f"Bearer {token}")

    assert_refused(answer, 401, "not-authenticated")
    assert 'error="invalid_token"' in answer.headers["WWW-Authenticate"]
    [line] = lines
    assert (line["event"], line["status"], line["path"]) == ("request", 401, "/api/v1/me")
    assert reason in line["refused"]
    written = json.dumps(line) + answer.content.decode()
    assert "@" not in json.dumps(line)
    assert "eyJ" not in written
    assert len(token) < 10 or token not in written
    assert not User.objects.filter(cognito_sub=SUB).exists()
    assert not OutboxEvent.objects.exists()


@pytest.mark.parametrize(
    "header",
    ["Basic c2hvcHBlcjp4", "Bearer", "Bearer ", "Bearer{token}", "Token {token}", "Bearer {token} {token}", "{token}",
     "Bearer {token},Bearer {token}", "Bearer\t", "Bearer \xa0"],
)  # fmt: skip
def test_an_authorization_of_another_form_is_401(db: None, stranger: Caller, header: str) -> None:
    token = sign_in(EMAIL)["AccessToken"]
    with read_log() as lines:
        answer = stranger.get("/me", Authorization=header.format(token=token))

    assert_refused(answer, 401, "not-authenticated")
    [line] = lines
    assert line["refused"]
    assert token not in json.dumps(line)


def test_no_token_is_401_and_one_line(db: None, stranger: Caller) -> None:
    with read_log() as lines:
        answer = stranger.get("/me")

    assert_refused(answer, 401, "not-authenticated")
    assert answer.headers["WWW-Authenticate"] == 'Bearer realm="vibecode"'
    assert [line["refused"] for line in lines] == ["Authentication credentials were not provided."]


@pytest.mark.parametrize("kind", ["AccessToken", "IdToken"])
def test_both_kinds_of_token_sign_in(db: None, kind: str) -> None:
    answer = Caller(sign_in(EMAIL)[kind]).get("/me")

    assert (answer.status_code, answer.json()["email"]) == (200, EMAIL)


def test_the_scheme_may_be_written_in_any_case(db: None, stranger: Caller) -> None:
    assert stranger.get("/me", Authorization=f"bEARER {sign_in(EMAIL)['IdToken']}").status_code == 200


def test_a_clock_may_be_five_seconds_off(db: None, stranger: Caller) -> None:
    ahead = rs256(iat=now() + 3, nbf=now() + 3)
    behind = rs256(exp=now() - 2)

    assert [stranger.get("/me", Authorization=f"Bearer {token}").status_code for token in (ahead, behind)] == [200, 200]


def test_only_a_bearer_token_signs_in_under_api(client: Any, shopper: Caller) -> None:
    client.force_login(shopper.user)

    assert_refused(client.get("/api/v1/me"), 401, "not-authenticated")


def test_a_false_token_is_refused_where_none_is_needed(db: None, stranger: Caller) -> None:
    assert_refused(stranger.get("/products", Authorization="Bearer token"), 401, "not-authenticated")


# --- a warm request --------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("kind", ["AccessToken", "IdToken"])
def test_a_warm_request_asks_cognito_nothing_and_the_database_once(
    db: None, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    caller = Caller(sign_in(EMAIL)[kind])
    caller.get("/me")

    def nobody_home(*_: object, **__: object) -> None:
        raise AssertionError("Cognito was called")

    monkeypatch.setattr("accounts.authentication.connection_to", nobody_home)
    monkeypatch.setattr(aws, "client", nobody_home)
    with CaptureQueriesContext(connection) as asked:
        answer = caller.get("/me")

    assert answer.status_code == 200
    assert len(asked) == 1
    assert "accounts_user" in asked[0]["sql"]


# --- the account behind the token ------------------------------------------------------------------------------------
def test_an_email_counts_only_when_verified(db: None, stranger: Caller) -> None:
    def email_after(**changes: Any) -> str:
        token = rs256(email="jane@example.com", **changes)
        return str(stranger.get("/me", Authorization=f"Bearer {token}").json()["email"])

    assert email_after(email_verified=False) == ""
    assert email_after() == ""
    assert email_after(email_verified="false") == ""
    assert email_after(email_verified=True) == "jane@example.com"
    assert email_after(email_verified=False) == "jane@example.com"


def test_an_unverified_email_is_not_taken_from_cognito_either(db: None) -> None:
    tokens = sign_in("unverified@example.com")
    aws.client("cognito-idp").admin_update_user_attributes(
        UserPoolId=POOL_ID,
        Username="unverified@example.com",
        UserAttributes=[{"Name": "email_verified", "Value": "false"}],
    )

    assert Caller(tokens["AccessToken"]).get("/me").json()["email"] == ""


def test_accounts_are_never_joined_by_email(db: None, stranger: Caller) -> None:
    mail = {"email": "jane@example.com", "email_verified": True}
    subs = [SUB, SUB[:-1] + "2"]

    answers = [stranger.get("/me", Authorization=f"Bearer {sign(claims(sub, **mail))}").json() for sub in subs]

    assert [answer["userId"] for answer in answers] == subs
    assert User.objects.filter(email="jane@example.com").count() == 2


def test_the_first_sight_of_somebody_is_told_once(db: None) -> None:
    caller = Caller(sign_in("new-face@example.com")["AccessToken"])
    answers = [caller.get("/me") for _ in range(2)]

    assert [answer.status_code for answer in answers] == [200, 200]
    fact = OutboxEvent.objects.get(detail_type="User Registered")
    assert fact.detail["userId"] == fact.subject == answers[0].json()["userId"]
    assert "@" not in json.dumps(fact.detail)


def test_a_token_that_was_revoked_before_first_sight_makes_nobody(db: None, stranger: Caller) -> None:
    never_issued = sign(claims(SUB, "access"))

    assert_refused(stranger.get("/me", Authorization=f"Bearer {never_issued}"), 401, "not-authenticated")
    assert not User.objects.exists()


def test_a_disabled_user_is_401_and_comes_back_when_enabled(shopper: Caller) -> None:
    sub = shopper.sub
    User.objects.filter(cognito_sub=sub).update(is_active=False)
    with read_log() as lines:
        refused = shopper.get("/me")
    User.objects.filter(cognito_sub=sub).update(is_active=True)

    assert_refused(refused, 401, "not-authenticated")
    [line] = lines
    assert (line["user"], line["refused"]) == (sub, "This account is closed.")
    assert shopper.get("/me").status_code == 200


def test_rights_come_and_go_with_the_groups_of_the_token(db: None) -> None:
    name, cognito = "helper@example.com", aws.client("cognito-idp")

    def next_token() -> Caller:
        sign_in.cache_clear()
        return Caller(sign_in(name)["AccessToken"])

    before = next_token().patch("/products/NONE", {})
    cognito.admin_add_user_to_group(UserPoolId=POOL_ID, Username=name, GroupName="staff")
    during, seen = next_token().patch("/products/NONE", {}), next_token().get("/me").json()["groups"]
    cognito.admin_remove_user_from_group(UserPoolId=POOL_ID, Username=name, GroupName="staff")
    after = next_token().patch("/products/NONE", {})

    assert_refused(before, 403, "forbidden")
    assert_refused(during, 404, "not-found")
    assert seen == ["staff"]
    assert_refused(after, 403, "forbidden")


@pytest.mark.parametrize("groups", ["staff", None, {"staff": 1}, ["Staff"], [["staff"]], [None], ["staff2"]])
def test_groups_of_another_form_give_no_rights(db: None, stranger: Caller, groups: Any) -> None:
    token = sign(claims(SUB, **{"cognito:groups": groups}))

    assert_refused(
        stranger.post("/products", {"sku": "X", "name": "X", "price": "1"}, Authorization=f"Bearer {token}"),
        403,
        "forbidden",
    )
