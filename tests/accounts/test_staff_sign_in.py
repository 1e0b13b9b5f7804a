"""Staff sign in through a real OpenID provider, which is also made to lie in every way that counts."""

import base64
import hashlib
import re
import time
from collections.abc import Callable
from typing import Any

import jwt
import pytest
from django.contrib.sessions.models import Session
from django.test import Client

from accounts import openid
from accounts.models import User
from accounts.services import set_active
from tests.accounts import forge
from tests.accounts.conftest import Staff
from tests.accounts.provider import Between, Provider, asked_of, title_of
from tests.platform.logs import read_log
from vibecode.bearer import has_second_factor
from vibecode.local import ports
from vibecode.models import OutboxEvent
from vibecode.rights import Actor

WANTED = '<input type="hidden" name="next" value="/admin/orders/order/">'


def nobody_was_signed_in(staff: Staff) -> bool:
    """No session, no row, no fact."""
    assert not staff.is_inside
    assert not User.objects.exists()
    assert not OutboxEvent.objects.exists()
    return True


# --- it works --------------------------------------------------------------------------------------------------------
def test_staff_sign_in_and_get_the_rights_of_their_groups(provider: Provider, browser_of_staff: Staff) -> None:
    answer = browser_of_staff.signs_in(provider.knows("grace", "staff", "accounting"), "/admin/orders/order/?q=1")

    assert (answer.status_code, answer.headers["Location"]) == (302, "/admin/orders/order/?q=1")
    assert browser_of_staff.is_inside
    user = User.objects.get(cognito_sub="grace")
    assert (user.email, user.name, user.is_staff) == ("grace@example.com", "Grace", True)
    assert [group.name for group in user.groups.all()] == ["staff"]


def test_the_code_flow_is_asked_for_with_pkce_and_an_answer_that_is_good_once(
    provider: Provider, browser_of_staff: Staff, between: Between
) -> None:
    first, second = (asked_of(browser_of_staff.begins()) for _ in range(2))

    names = ("response_type", "client_id", "redirect_uri", "scope", "prompt", "max_age")
    assert {name: first[name] for name in names} == {
        "response_type": "code",
        "client_id": "desk",
        "redirect_uri": "http://127.0.0.1:8000/admin/sign-in/callback",
        "scope": "openid email profile",
        "prompt": "login",
        "max_age": "900",
    }
    for once in ("state", "nonce", "code_challenge"):
        assert first[once] != second[once]
        assert len(first[once]) >= 20
    browser_of_staff.signs_in(provider.knows("pkce", "staff"))
    began = [asked for path, asked in between.asked if path == "/oauth2/authorize"][-1]
    proved = next(asked for path, asked in between.asked if path == "/oauth2/token")
    digest = hashlib.sha256(proved["code_verifier"].encode()).digest()
    assert began["code_challenge_method"] == "S256"
    assert base64.urlsafe_b64encode(digest).decode().rstrip("=") == began["code_challenge"]


def test_groups_are_taken_anew_at_each_sign_in(provider: Provider, browser_of_staff: Staff) -> None:
    browser_of_staff.signs_in(provider.knows("ida", "admin", "staff"))
    browser_of_staff.signs_in(provider.knows("ida", "staff"))

    assert [group.name for group in User.objects.get(cognito_sub="ida").groups.all()] == ["staff"]
    assert browser_of_staff.is_inside

    browser_of_staff.signs_in(provider.knows("ida"))

    user = User.objects.get(cognito_sub="ida")
    assert (user.is_staff, user.groups.count()) == (False, 0)
    assert not browser_of_staff.is_inside, "the session of before has lost its rights too"


def test_people_are_their_sub_and_never_joined_by_e_mail(provider: Provider, browser_of_staff: Staff) -> None:
    browser_of_staff.signs_in(provider.knows("one", "admin", email="same@example.com"))
    browser_of_staff.signs_in(provider.knows("two", "staff", email="same@example.com"))
    browser_of_staff.signs_in(provider.knows("three", "staff", email="same@example.com", email_verified=False))

    people = {user.cognito_sub: user for user in User.objects.all()}
    assert {sub: user.email for sub, user in people.items()} == {
        "one": "same@example.com", "two": "same@example.com", "three": "",
    }  # fmt: skip
    assert [group.name for group in people["one"].groups.all()] == ["admin"]


def test_a_session_from_before_the_sign_in_is_worth_nothing_after_it(
    provider: Provider, browser_of_staff: Staff
) -> None:
    address = browser_of_staff.begins()
    planted = browser_of_staff.client.cookies["sessionid"].value

    answer = browser_of_staff.comes_back(browser_of_staff.between.consent(address, provider.knows("fix", "staff")))

    cookie = answer.cookies["sessionid"]
    assert cookie.value != planted
    assert not Session.objects.filter(session_key=planted).exists()
    assert (cookie["httponly"], cookie["samesite"], cookie["path"]) == (True, "Lax", "/")
    assert int(cookie["max-age"]) <= 30 * 60
    assert "no-store" in answer.headers["Cache-Control"]


def test_no_link_begins_a_sign_in_and_no_stranger_leaves_a_row(between: Between, settings: Any) -> None:
    strict = Client(enforce_csrf_checks=True)

    led = strict.get("/admin/sign-in", {"next": "/admin/orders/order/?q=1"})
    forged = strict.post("/admin/sign-in", {"next": "/admin/"})
    page = strict.get(led.headers["Location"])

    assert led.headers["Location"] == "/admin/login/?next=%2Fadmin%2Forders%2Forder%2F%3Fq%3D1"
    assert forged.status_code == 403
    elsewhere = strict.get("/admin/sign-in", {"next": "//elsewhere.example"})
    assert elsewhere.headers["Location"] == "/admin/login/?next=%2Fadmin%2F"
    assert not Session.objects.exists()
    assert between.asked == []
    assert f"form-action 'self' {settings.SIGN_IN_ORIGIN}".strip() in page.headers["Content-Security-Policy"]
    token = re.findall(r'name="csrfmiddlewaretoken" value="([^"]+)"', page.content.decode())[0]
    begun = strict.post("/admin/sign-in", {"csrfmiddlewaretoken": token})
    assert begun.headers["Location"].startswith(f"{between.url}/oauth2/authorize?")
    assert Session.objects.count() == 1


# --- where to ---------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("wanted", [
    "https://elsewhere.example/", "//elsewhere.example/admin/", "/\\elsewhere.example", "javascript:alert(1)",
    "https:///elsewhere.example", "/api/docs", "/admin/sign-in?next=/admin/", "http://testserver@elsewhere.example/admin/",
])  # fmt: skip
def test_nobody_is_led_elsewhere(provider: Provider, browser_of_staff: Staff, wanted: str) -> None:
    answer = browser_of_staff.signs_in(provider.knows("led", "staff"), wanted)

    assert answer.headers["Location"] == "/admin/"


# --- the provider lies, or somebody in between ------------------------------------------------------------------------
def test_a_wrong_state_is_refused(provider: Provider, browser_of_staff: Staff) -> None:
    back = browser_of_staff.between.consent(browser_of_staff.begins(), provider.knows("eve", "admin"))

    for state in ("", "state=", "state=wrong"):
        page = browser_of_staff.comes_back(back.partition("&state=")[0].replace("state=", "was=") + f"&{state}")
        assert (page.status_code, title_of(page)) == (400, "This sign-in is over")
    assert nobody_was_signed_in(browser_of_staff)


def test_a_stranger_at_the_callback_makes_us_ask_the_provider_for_nothing(between: Between) -> None:
    assert Client().get("/admin/sign-in/callback", {"code": "any", "state": "any"}).status_code == 400

    assert between.asked == []


def test_a_sign_in_begun_in_another_browser_is_refused(
    provider: Provider, browser_of_staff: Staff, between: Between
) -> None:
    attacker = Staff(between)
    back = between.consent(attacker.begins(), provider.knows("mallory", "staff"))

    page = browser_of_staff.comes_back(back)

    assert (page.status_code, title_of(page)) == (400, "This sign-in is over")
    assert nobody_was_signed_in(browser_of_staff)
    assert not [path for path, _ in between.asked if path == "/oauth2/token"], "its code was not even tried"


def test_a_sign_in_that_took_too_long_is_refused(provider: Provider, browser_of_staff: Staff) -> None:
    back = browser_of_staff.between.consent(browser_of_staff.begins(), provider.knows("slow", "staff"))
    session = browser_of_staff.client.session
    (begun,) = [held["data"] for name, held in session.items() if name.startswith("_state_")]
    assert 0 < begun["until"] - time.time() <= openid.PATIENCE
    begun["until"] -= openid.PATIENCE
    session.save()

    assert browser_of_staff.comes_back(back).status_code == 400
    assert nobody_was_signed_in(browser_of_staff)


def test_a_replayed_answer_is_refused(provider: Provider, browser_of_staff: Staff, between: Between) -> None:
    back = between.consent(browser_of_staff.begins(), provider.knows("again", "staff"))
    browser_of_staff.comes_back(back)
    signed_in = browser_of_staff.client.cookies["sessionid"].value

    page = browser_of_staff.comes_back(back)

    assert (page.status_code, title_of(page)) == (400, "This sign-in is over")
    assert browser_of_staff.client.cookies["sessionid"].value == signed_in


def test_a_replayed_code_is_refused(provider: Provider, browser_of_staff: Staff, between: Between) -> None:
    back = between.consent(browser_of_staff.begins(), provider.knows("used", "staff"))
    assert browser_of_staff.comes_back(back).status_code == 302
    replayer = Staff(between)

    with read_log() as lines:
        page = replayer.comes_back_with(code=asked_of(back)["code"], state=asked_of(replayer.begins())["state"])

    assert (page.status_code, title_of(page)) == (400, "The sign-in could not be verified")
    assert [line["reason"] for line in lines if "reason" in line] == ["the token endpoint says invalid_grant"]
    assert not replayer.is_inside


def test_a_code_stolen_on_its_way_signs_nobody_else_in(
    provider: Provider, browser_of_staff: Staff, between: Between
) -> None:
    back = between.consent(browser_of_staff.begins(), provider.knows("victim", "staff"))
    thief = Staff(between)

    page = thief.comes_back_with(code=asked_of(back)["code"], state=asked_of(thief.begins())["state"])

    assert (page.status_code, title_of(page)) == (400, "The sign-in could not be verified")
    assert nobody_was_signed_in(thief)


def test_a_wrong_nonce_is_refused(provider: Provider, browser_of_staff: Staff, between: Between) -> None:
    between.lies = {"nonce": "of-another-sign-in"}

    page = browser_of_staff.signs_in(provider.knows("nonce", "staff"))

    assert (page.status_code, title_of(page)) == (400, "The sign-in could not be verified")
    assert nobody_was_signed_in(browser_of_staff)


def test_a_wrong_issuer_is_refused(provider: Provider, browser_of_staff: Staff, between: Between) -> None:
    between.called = "elsewhere.example"

    assert browser_of_staff.signs_in(provider.knows("issuer", "staff")).status_code == 400
    assert nobody_was_signed_in(browser_of_staff)


def test_a_wrong_audience_is_refused(provider: Provider, browser_of_staff: Staff, between: Between) -> None:
    between.lies = {"client_id": "another-client"}

    assert browser_of_staff.signs_in(provider.knows("audience", "staff")).status_code == 400
    assert nobody_was_signed_in(browser_of_staff)


HEADER = {"kid": "between"}


def signed(claims: dict[str, Any], key: Any = None, algorithm: str = "RS256", **header: Any) -> str:
    """A token by whoever stands between."""
    return jwt.encode(claims, key or forge.foreign_key(), algorithm=algorithm, headers=HEADER | header)


def test_a_token_with_a_key_that_the_provider_shows_is_taken(
    provider: Provider, browser_of_staff: Staff, between: Between
) -> None:
    """So that the refusals below are due to what they change."""
    between.forge = signed

    assert browser_of_staff.signs_in(provider.knows("sound", "staff")).status_code == 302
    assert browser_of_staff.is_inside


FORGED: dict[str, Callable[[dict[str, Any]], str]] = {
    "expired": lambda claims: signed(claims | {"iat": claims["iat"] - 7200, "exp": claims["iat"] - 3600}),
    "without an end": lambda claims: signed({name: value for name, value in claims.items() if name != "exp"}),
    "without a nonce": lambda claims: signed({name: value for name, value in claims.items() if name != "nonce"}),
    "without an audience": lambda claims: signed({name: value for name, value in claims.items() if name != "aud"}),
    "for others, in our name": lambda claims: signed(claims | {"aud": "another", "azp": "desk"}),
    "for many, issued to another": lambda claims: signed(claims | {"aud": ["desk", "another"], "azp": "another"}),
    "an access token": lambda claims: signed(claims | {"token_use": "access"}),
    "a sub that is none": lambda claims: signed(claims | {"sub": "x" * 129}),
    "a key nobody knows": lambda claims: signed(claims, kid="unknown"),
    "RS512": lambda claims: signed(claims, algorithm="RS512"),
    "HS256": lambda claims: forge.hs256(HEADER | {"alg": "HS256"}, claims, forge.public_pem(forge.foreign_key())),
    "no signature": lambda claims: forge.parts(HEADER | {"alg": "none"}, claims),
    "no token": lambda _: "nonsense",
}  # fmt: skip


@pytest.mark.parametrize(("seconds", "verdict"), [(0, 302), (-4, 302), (-120, 400), (-86_400, 400)])
def test_whom_the_provider_did_not_ask_again_is_not_signed_in(
    provider: Provider, browser_of_staff: Staff, between: Between, seconds: int, verdict: int
) -> None:
    between.forge = lambda claims: signed(claims | {"auth_time": claims["iat"] + seconds})

    assert browser_of_staff.signs_in(provider.knows("again", "staff")).status_code == verdict
    assert browser_of_staff.is_inside == (verdict == 302)


def test_a_provider_that_does_not_say_when_it_asked_signs_nobody_in(
    provider: Provider, browser_of_staff: Staff, between: Between
) -> None:
    between.forge = lambda claims: signed({name: value for name, value in claims.items() if name != "auth_time"})

    assert browser_of_staff.signs_in(provider.knows("again", "staff")).status_code == 400
    assert nobody_was_signed_in(browser_of_staff)


@pytest.mark.parametrize("auth_time", ["soon", True, 1.5, []])
def test_a_time_that_is_none_proves_nothing(
    provider: Provider, browser_of_staff: Staff, between: Between, auth_time: Any
) -> None:
    between.forge = lambda claims: signed(claims | {"auth_time": auth_time})

    assert browser_of_staff.signs_in(provider.knows("again", "staff")).status_code in {400, 503}
    assert nobody_was_signed_in(browser_of_staff)


@pytest.mark.parametrize("how", FORGED)
def test_a_forged_token_is_refused(provider: Provider, browser_of_staff: Staff, between: Between, how: str) -> None:
    between.forge = FORGED[how]

    page = browser_of_staff.signs_in(provider.knows("forged", "staff"))

    assert page.status_code in {400, 503}
    assert "could not be verified" in title_of(page) or how == "no token"
    assert nobody_was_signed_in(browser_of_staff)


def test_a_wrong_signature_is_refused(provider: Provider, browser_of_staff: Staff, between: Between) -> None:
    between.forge, between.hides_key = signed, True

    assert browser_of_staff.signs_in(provider.knows("signature", "staff")).status_code == 400
    assert nobody_was_signed_in(browser_of_staff)


# --- the provider is away, or says no ---------------------------------------------------------------------------------
def test_a_provider_that_is_away_is_told_with_a_way_to_try_again(between: Between, settings: Any) -> None:
    settings.OIDC_ISSUER = f"http://127.0.0.1:{ports.free_port()}"

    page = Client().post("/admin/sign-in", {"next": "/admin/orders/order/"})

    assert (page.status_code, title_of(page)) == (503, "The sign-in service does not answer")
    assert page.headers["Retry-After"] == "60"
    assert WANTED in page.content.decode()


@pytest.mark.parametrize("path", ["/oauth2/token", "/jwks"])
def test_a_provider_that_goes_away_in_between_is_told_too(
    provider: Provider, browser_of_staff: Staff, between: Between, path: str
) -> None:
    between.away = {path}

    assert browser_of_staff.signs_in(provider.knows("away", "staff")).status_code == 503
    assert nobody_was_signed_in(browser_of_staff)

    between.away = set()
    assert browser_of_staff.signs_in("away").status_code == 302, "it is back, and so are we"


def test_refused_consent_is_told(provider: Provider, browser_of_staff: Staff, between: Between) -> None:
    back = between.consent(browser_of_staff.begins(), provider.knows("no", "staff"), action="deny")

    page = browser_of_staff.comes_back(back)

    assert (page.status_code, title_of(page)) == (403, "You were not signed in")
    assert nobody_was_signed_in(browser_of_staff)


@pytest.mark.parametrize("group", ["staff", "none"])
def test_whoever_tries_again_still_gets_to_where_they_wanted(
    provider: Provider, browser_of_staff: Staff, between: Between, group: str
) -> None:
    between.lies = {"nonce": "of-another-sign-in"} if group == "staff" else {}

    page = browser_of_staff.signs_in(provider.knows("patient", group), "/admin/orders/order/")

    assert page.status_code in {400, 403}
    assert WANTED in page.content.decode()


def test_what_an_error_says_is_not_repeated(between: Between) -> None:
    page = Client().get("/admin/sign-in/callback", {"error": "call-0800", "error_description": "Call 0800 now"})

    assert page.status_code == 403
    assert "0800" not in page.content.decode()


def test_the_log_names_the_reason_and_no_code_and_no_token(
    provider: Provider, browser_of_staff: Staff, between: Between, capsys: pytest.CaptureFixture[str]
) -> None:
    between.lies = {"nonce": "of-another-sign-in"}
    back = between.consent(browser_of_staff.begins(), provider.knows("logged", "staff"))

    with read_log() as lines:
        browser_of_staff.comes_back(back)

    told = asked_of(back)
    (line,) = [line for line in lines if line["event"] == "staff sign-in failed"]
    assert (line["kind"], line["reason"]) == ("Unproven", "InvalidClaimError nonce")
    assert told["code"] not in str(lines)
    assert told["state"] not in str(lines)
    assert "eyJ" not in str(lines)


# --- who may not come in ----------------------------------------------------------------------------------------------
def test_who_has_no_group_of_staff_is_told_and_can_sign_in_as_somebody_else(
    provider: Provider, browser_of_staff: Staff
) -> None:
    page = browser_of_staff.signs_in(provider.knows("customer", "wholesale"))

    html = page.content.decode()
    assert (page.status_code, title_of(page)) == (403, "This account may not work here")
    assert "customer@example.com" in html
    assert "Sign in as somebody else" in html
    assert nobody_was_signed_in(browser_of_staff)


@pytest.mark.parametrize("claims", [
    {"amr": ["pwd"]}, {"amr": None}, {"amr": None, "custom:mfa": "false"}, {"amr": None, "custom:mfa": True},
])  # fmt: skip
def test_groups_count_for_nothing_without_a_second_factor(
    provider: Provider, browser_of_staff: Staff, claims: dict[str, Any]
) -> None:
    page = browser_of_staff.signs_in(provider.knows("password-only", "admin", **claims))

    assert (page.status_code, title_of(page)) == (403, "Your account needs a second factor")
    assert "authenticator app" in page.content.decode()
    assert nobody_was_signed_in(browser_of_staff)


def test_the_pools_trigger_may_vouch_for_the_second_factor(provider: Provider, browser_of_staff: Staff) -> None:
    browser_of_staff.signs_in(provider.knows("vouched", "staff", amr=None, **{"custom:mfa": "true"}))

    assert browser_of_staff.is_inside


def test_a_stage_may_do_without_a_second_factor(provider: Provider, browser_of_staff: Staff, settings: Any) -> None:
    settings.STAFF_NEED_MFA = False

    browser_of_staff.signs_in(provider.knows("single", "staff", amr=None))

    assert browser_of_staff.is_inside


@pytest.mark.parametrize(("claims", "verdict"), [
    ({"amr": ["pwd", "mfa"]}, True), ({"amr": ["mfa"]}, True), ({"custom:mfa": "true"}, True),
    ({}, False), ({"amr": []}, False), ({"amr": "mfa"}, False), ({"amr": ["pwd", "otp"]}, False),
    ({"custom:mfa": "false"}, False), ({"custom:mfa": True}, False), ({"mfa": "true"}, False),
])  # fmt: skip
def test_what_counts_as_a_second_factor(claims: dict[str, Any], verdict: bool) -> None:
    assert has_second_factor(claims) is verdict


def test_who_was_shut_out_is_told_and_stays_outside(provider: Provider, browser_of_staff: Staff) -> None:
    browser_of_staff.signs_in(provider.knows("former", "admin"))
    set_active(users=User.objects.all(), active=False, actor=Actor.part("tests"))
    assert not browser_of_staff.is_inside, "the session that they had is over"

    page = browser_of_staff.signs_in("former")

    assert (page.status_code, title_of(page)) == (403, "This account is closed")
    assert not browser_of_staff.is_inside
    assert not User.objects.get(cognito_sub="former").is_staff


# --- signing out ------------------------------------------------------------------------------------------------------
def test_signing_out_ends_the_providers_session_too(provider: Provider, browser_of_staff: Staff) -> None:
    browser_of_staff.signs_in(provider.knows("leaver", "staff"))

    answer = browser_of_staff.client.post("/admin/logout/")

    address, _, query = answer.headers["Location"].partition("?")
    assert address == f"{browser_of_staff.between.url}/oauth2/end_session"
    assert asked_of(f"?{query}") == {
        "client_id": "desk",
        "post_logout_redirect_uri": "http://127.0.0.1:8000/admin/signed-out",
    }
    assert not browser_of_staff.is_inside
    assert title_of(browser_of_staff.client.get("/admin/signed-out")) == "You are signed out"


def test_cognito_ends_its_session_in_its_own_way(between: Between, settings: Any) -> None:
    settings.OIDC_ISSUER = settings.COGNITO_ISSUER
    settings.COGNITO_DOMAIN = "https://sign-in.shop.example"

    answer = Client().post("/admin/logout/")

    address, _, query = answer.headers["Location"].partition("?")
    assert address == "https://sign-in.shop.example/logout"
    assert asked_of(f"?{query}") == {"client_id": "desk", "logout_uri": "http://127.0.0.1:8000/admin/signed-out"}


def test_a_provider_that_is_away_keeps_nobody_signed_in_here(
    provider: Provider, browser_of_staff: Staff, settings: Any
) -> None:
    browser_of_staff.signs_in(provider.knows("stuck", "staff"))
    settings.OIDC_ISSUER = f"http://127.0.0.1:{ports.free_port()}"

    page = browser_of_staff.client.post("/admin/logout/")

    assert (page.status_code, title_of(page)) == (503, "You are signed out here, but not everywhere")
    assert not browser_of_staff.is_inside


def test_signing_out_is_a_form_of_ours(provider: Provider, between: Between) -> None:
    strict = Client(enforce_csrf_checks=True)

    assert strict.get("/admin/logout/").status_code == 405
    assert strict.post("/admin/logout/").status_code == 403


# --- passwords --------------------------------------------------------------------------------------------------------
def test_where_a_provider_signs_in_no_password_is_asked_for_and_none_is_taken(between: Between) -> None:
    page = Client().get("/admin/login/", {"next": "/admin/orders/order/"}).content.decode()
    answer = Client().post("/admin/login/", {"username": "staff@example.com", "password": "Vibecode-demo-1!"})

    assert 'type="password"' not in page
    assert WANTED in page
    assert answer.status_code == 403
    assert "sessionid" not in answer.cookies


def test_without_a_provider_there_is_no_such_door(db: None) -> None:
    assert Client().get("/admin/sign-in").status_code == 404
    assert Client().get("/admin/sign-in/callback?code=1&state=2").status_code == 404
    assert "company account" not in Client().get("/admin/login/").content.decode()
    assert Client().post("/admin/logout/").headers["Location"] == "/admin/signed-out"
