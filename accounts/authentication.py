"""Who calls: Cognito's tokens for the API, its passwords for the local admin. Called by DRF and django.contrib.auth.

The rules of a token are those of AWS's "Verifying JSON Web Tokens" (Amazon Cognito Developer Guide).
"""

import http.client
import json
import threading
import time
from collections.abc import Callable
from contextlib import closing
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, ClassVar
from urllib.parse import urlsplit

import structlog
from django.conf import settings
from django.contrib.auth.backends import ModelBackend
from django.http import HttpRequest
from rest_framework.authentication import BaseAuthentication, get_authorization_header
from rest_framework.exceptions import AuthenticationFailed, NotAuthenticated
from rest_framework.request import Request

from accounts.models import User
from accounts.services import admit_staff, refresh_email, register_user
from vibecode import aws
from vibecode.acting import act_as
from vibecode.bearer import Token, groups_of, is_sub, verified_email
from vibecode.connections import connection_to
from vibecode.errors import Away, Denied
from vibecode.observability import note

if TYPE_CHECKING:
    import jwt  # slow to import: only where somebody brings a token

log = structlog.stdlib.get_logger("accounts.authentication")

CLOCK_SKEW = 5  # seconds that our clock and Cognito's may differ
LARGEST_KEY_SET = 64 * 1024  # bytes; Cognito's has two keys
MOST_KEYS = 16
# No answer, an answer that is no HTTP, and whatever a document that is no key set makes of the reading of it.
_FETCH_ERRORS = (
    OSError,
    http.client.HTTPException,
    ValueError,
    LookupError,
    TypeError,
    AttributeError,
    RecursionError,
)


class SignInAway(Away):
    """Cognito does not answer."""

    code = "sign-in-away"
    title = "The sign-in service does not answer right now"


class BadToken(AuthenticationFailed):
    """The token proves nothing; ``detail`` says why, for the log and for the client's developer."""

    auth_header = 'Bearer realm="vibecode", error="invalid_token"'


class KeySet:
    """The public keys of the user pool: fetched once, kept, and fetched again when an unknown ``kid`` comes.

    ``seed`` is the document as the deployment found it: with it a new sandbox fetches nothing for its first token.
    Thread-safe and bounded: at most one fetch a minute and 16 keys, whatever strangers send.
    """

    def __init__(self, url: str, *, seed: str = "", timeout: float = 2.0, pause: float = 60.0) -> None:
        self.url, self.seed, self.timeout, self.pause = url, seed, timeout, pause
        self.lock = threading.Lock()
        self.keys: dict[str, jwt.PyJWK] = {}
        self.next_fetch = 0.0  # by the monotonic clock

    def key(self, kid: str) -> "jwt.PyJWK":
        """The key of that id. Raises BadToken when the pool has none, SignInAway when it cannot be asked."""
        if found := self.keys.get(kid):
            return found
        with self.lock:
            if not self.keys and self.seed:
                self._take(lambda: self.seed)
            if kid not in self.keys and time.monotonic() >= self.next_fetch:
                self._take(self._download)
                # The keys we have still serve when a fetch fails; with none at all, the next second may bring them.
                self.next_fetch = time.monotonic() + (self.pause if self.keys else 1.0)
        if found := self.keys.get(kid):
            return found
        if not self.keys:  # nothing to go by: every token would look false
            raise SignInAway("The keys of the user pool cannot be fetched; try again shortly.")
        raise BadToken("The token is signed with a key that is not of this user pool.")

    def _take(self, document_of: Callable[[], str | bytes]) -> None:
        """Keep the keys of a document; those that we have where it has none, or cannot be had."""
        import jwt

        try:
            document = json.loads(document_of())
            keys = {
                entry["kid"]: jwt.PyJWK(entry, algorithm="RS256")
                for entry in document["keys"][:MOST_KEYS]
                if entry.get("kty") == "RSA" and entry.get("use", "sig") == "sig" and isinstance(entry["kid"], str)
            }
            if not keys:
                raise ValueError("there is no key for signatures among them")
            self.keys = keys
        except (*_FETCH_ERRORS, jwt.PyJWTError) as error:
            log.error("the user pool's keys cannot be read", error=str(error))

    def _download(self) -> bytes:
        parts = urlsplit(self.url)
        with closing(connection_to(self.url, seconds=self.timeout)) as connection:
            connection.request("GET", parts.path + (f"?{parts.query}" if parts.query else ""))
            answer = connection.getresponse()
            if answer.status != HTTPStatus.OK:
                raise ValueError(f"{self.url} answers {answer.status}")
            return answer.read(LARGEST_KEY_SET)


_key_sets: dict[str, KeySet] = {}


def _key_set() -> KeySet:
    url = settings.COGNITO_JWKS_URL
    return _key_sets.setdefault(url, KeySet(url, seed=settings.COGNITO_JWKS))


def verify(raw: str) -> Token:
    """Check a token of ours, access or id. Raises BadToken saying what is wrong, SignInAway without keys."""
    import jwt

    try:
        header = jwt.get_unverified_header(raw)
        if header.get("alg") != "RS256":  # before any key is looked at: no HS256 with the public key, no "none"
            raise BadToken("The token is not signed with RS256.")
        kid = header.get("kid")
        if not isinstance(kid, str) or not kid:
            raise BadToken("The token names no key.")
        claims = jwt.decode(
            raw,
            _key_set().key(kid),
            algorithms=["RS256"],
            issuer=settings.COGNITO_ISSUER,
            leeway=CLOCK_SKEW,
            options={"require": ["exp", "iat", "iss", "sub", "token_use"], "verify_aud": False},
        )
    except jwt.ExpiredSignatureError:
        raise BadToken("The token has expired; refresh it.") from None
    except jwt.PyJWTError as error:
        raise BadToken(f"The token is not valid: {error}.") from None
    _check_purpose(claims)
    if not is_sub(claims["sub"]):
        raise BadToken("The token's sub is none of Cognito's.")
    return Token(claims["sub"], groups_of(claims), claims, raw)


def _check_purpose(claims: dict[str, Any]) -> None:
    """Access tokens name our client in client_id, id tokens in aud; refresh tokens and others are no sign-in."""
    ours = {"access": "client_id", "id": "aud"}
    name = ours.get(str(claims["token_use"]))
    if name is None:
        raise BadToken("The token is neither an access nor an id token.")
    if claims.get(name) != settings.COGNITO_CLIENT_ID:
        raise BadToken("The token was issued to another client.")


class CognitoAuthentication(BaseAuthentication):
    """``Authorization: Bearer`` with a Cognito token. One statement for the user; no call to Cognito once warm."""

    challenge: ClassVar[str] = 'Bearer realm="vibecode"'

    def authenticate(self, request: Request) -> tuple[User, Token] | None:
        """The user and their token; None where there is no token. Raises BadToken or SignInAway."""
        parts = get_authorization_header(request).split()
        if not parts:
            return None
        if parts[0].lower() != b"bearer" or len(parts) != 2:
            raise BadToken("Authorization must be: Bearer <token>.")
        try:
            token = verify(parts[1].decode("ascii"))
        except UnicodeDecodeError:
            raise BadToken("The token is not ASCII.") from None
        note(user=token.sub)
        user = User.objects.filter(cognito_sub=token.sub).first() or _first_sight(token)
        if not user.is_active:
            raise BadToken("This account is closed.")
        act_as(token.sub)
        if token.claims["token_use"] == "id":
            refresh_email(user=user, email=verified_email(token.claims))
        return user, token

    def authenticate_header(self, request: Request) -> str:  # noqa: ARG002 -- the signature is DRF's
        """WWW-Authenticate of a 401 (RFC 6750, section 3)."""
        return self.challenge


def _first_sight(token: Token) -> User:
    claims = token.claims if token.claims["token_use"] == "id" else _ask_cognito(token)
    return register_user(sub=token.sub, email=verified_email(claims), name=str(claims.get("name", "")))


def _ask_cognito(token: Token) -> dict[str, Any]:
    """The attributes of an access token's bearer, by GetUser with that token. Raises BadToken once it is revoked."""
    try:
        answer = aws.client("cognito-idp").get_user(AccessToken=token.raw)
    except aws.service_errors() as error:
        code = aws.error_code(error)
        if code == "NotAuthorizedException" and "scope" not in str(error):
            raise BadToken("The token was revoked.") from None
        if code in {"UserNotFoundException", "PasswordResetRequiredException", "UserNotConfirmedException"}:
            raise BadToken("This account cannot sign in.") from None
        if code == "NotAuthorizedException":  # a token without the scope aws.cognito.signin.user.admin
            return {}
        log.error("Cognito does not answer GetUser", error=str(error))
        raise SignInAway("The sign-in service does not answer; try again shortly.") from None
    return {attribute["Name"]: attribute.get("Value", "") for attribute in answer["UserAttributes"]}


def signed_in(request: Request) -> User:
    """The user of a request whose view lets nobody else in."""
    if not isinstance(request.user, User):
        raise NotAuthenticated
    return request.user


class GroupRights(ModelBackend):
    """Rights of a session: those of its Django groups. It signs nobody in."""

    def authenticate(self, request: HttpRequest | None, **credentials: Any) -> User | None:  # type: ignore[override]  # noqa: ARG002 -- the framework's signature
        """Nobody."""
        return None


class CognitoPasswordBackend(GroupRights):
    """Local mode's sign-in to the admin: the local Cognito checks the password, its groups give the rights."""

    def authenticate(  # type: ignore[override]  # the signature is that of a sign-in form
        self,
        request: HttpRequest | None,  # noqa: ARG002 -- the framework's signature
        username: str = "",
        password: str = "",
        **_: Any,
    ) -> User | None:
        """The user when Cognito takes the password and they may work here."""
        try:
            answer = aws.client("cognito-idp").initiate_auth(
                ClientId=settings.COGNITO_CLIENT_ID,
                AuthFlow="USER_PASSWORD_AUTH",
                AuthParameters={"USERNAME": username, "PASSWORD": password},
            )
        except aws.service_errors() as error:
            log.warning("sign-in refused", reason=aws.error_code(error) or "Cognito does not answer")
            return None
        token = verify(answer["AuthenticationResult"]["IdToken"])
        try:
            return admit_staff(claims=token.claims)
        except Denied as refusal:
            log.warning("sign-in refused", reason=refusal.code)
            return None
