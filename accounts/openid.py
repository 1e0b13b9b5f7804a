"""The provider that signs staff in: OpenID Connect's code flow with PKCE, by Authlib. Called by accounts.sign_in.

What the provider must answer to (state, nonce, the verifier of the code) waits in the browser's session, and is good
once.
"""

import functools
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlencode

from django.conf import settings
from django.http import HttpRequest

from vibecode.bearer import is_sub

TIMEOUT = 5.0  # seconds for each answer of the provider
PATIENCE = 15 * 60  # seconds from the button until the provider sends the browser back
CLOCK_SKEW = 5


class SignInFailed(Exception):
    """Nobody was signed in. The text is for the log: it holds no token and no code."""


class ProviderAway(SignInFailed):
    """The provider does not answer, or not as one does."""


class Declined(SignInFailed):
    """The provider sent the browser back without signing anybody in: refused, given up, or not allowed."""


class NotBegunHere(SignInFailed):
    """This browser has begun no such sign-in, or too long ago, or has finished it already."""


class Unproven(SignInFailed):
    """The provider's answer does not prove who it is about."""


def begin(request: HttpRequest, *, callback: str, then: str) -> str:
    """The provider's address to send the browser to. Raises ProviderAway.

    The person is asked for their password even where the provider remembers them: a session that ended has ended.
    """
    with _said_plainly():
        provider = _provider()
        # By max_age the provider has to say when it last asked; finish() looks at it.
        begun = provider.create_authorization_url(callback, prompt="login", max_age=PATIENCE)
    address, now = str(begun.pop("url")), time.time()
    provider.save_authorize_data(request, redirect_uri=callback, then=then, since=now, until=now + PATIENCE, **begun)
    return address


def wanted(request: HttpRequest) -> str:
    """Where somebody wanted to go who comes back from the provider now; "" where this browser has begun nothing."""
    begun = _begun(request)
    return begun["then"] if begun else ""


def finish(request: HttpRequest) -> dict[str, Any]:
    """The verified claims of whom the provider signed in. Raises SignInFailed."""
    begun = _begun(request)
    if begun is None or begun["until"] < time.time():  # no stranger makes us ask the provider for anything
        raise NotBegunHere("unknown state")
    with _said_plainly():
        token = _provider().authorize_access_token(
            request,
            claims_options={
                "iss": {"essential": True, "value": settings.OIDC_ISSUER},
                "aud": {"essential": True, "value": settings.OIDC_CLIENT_ID},
            },
            leeway=CLOCK_SKEW,
        )
    claims = token.get("userinfo")
    if claims is None:
        raise Unproven("no ID token")
    if not _signed_in_since(begun["since"], claims.get("auth_time")):
        raise Unproven("not asked for their password: auth_time is missing or before this sign-in")
    if claims.get("token_use", "id") != "id" or not is_sub(claims["sub"]):
        raise Unproven("not an ID token of the pool")
    return dict(claims)


def _signed_in_since(begun: float, auth_time: Any) -> bool:
    """Whether the provider has done as prompt=login says. Asked with max_age it has to tell when it was.

    https://openid.net/specs/openid-connect-core-1_0.html#IDToken
    """
    return isinstance(auth_time, int) and not isinstance(auth_time, bool) and auth_time >= begun - CLOCK_SKEW


def sign_out_address(back: str) -> str | None:
    """Where a browser ends its session at the provider and comes ``back``; None where there is no such place.

    Raises ProviderAway. Cognito has a way of its own, in its hosted pages and nowhere else:
    https://docs.aws.amazon.com/cognito/latest/developerguide/logout-endpoint.html
    """
    if settings.OIDC_ISSUER == settings.COGNITO_ISSUER:
        query = {"client_id": settings.OIDC_CLIENT_ID, "logout_uri": back}
        return f"{settings.COGNITO_DOMAIN}/logout?{urlencode(query)}"
    with _said_plainly():
        address = _provider().server_metadata.get("end_session_endpoint")
    query = {"client_id": settings.OIDC_CLIENT_ID, "post_logout_redirect_uri": back}
    return f"{address}?{urlencode(query)}" if address else None


def _begun(request: HttpRequest) -> dict[str, Any] | None:
    framework = _client(settings.OIDC_ISSUER, settings.OIDC_CLIENT_ID).framework
    begun: dict[str, Any] | None = framework.get_state_data(request.session, request.GET.get("state"))
    return begun


def _provider() -> Any:
    """Authlib's client, which has read what the provider says of itself. RS256 alone, whatever it offers besides."""
    provider = _client(settings.OIDC_ISSUER, settings.OIDC_CLIENT_ID)
    provider.load_server_metadata()["id_token_signing_alg_values_supported"] = ["RS256"]
    return provider


@functools.cache
def _client(issuer: str, client_id: str) -> Any:
    from authlib.integrations.django_client import OAuth  # heavy, with requests: only where somebody signs in

    return OAuth().register(
        "staff",
        client_id=client_id,
        client_secret=str(settings.OIDC_CLIENT_SECRET) or None,
        server_metadata_url=f"{issuer}/.well-known/openid-configuration",
        client_kwargs={
            "scope": "openid email profile",
            "code_challenge_method": "S256",
            "default_timeout": TIMEOUT,
        },
    )


@contextmanager
def _said_plainly() -> Iterator[None]:
    """Whatever Authlib, joserfc and requests raise, as one of ours. Their texts may quote an answer: names only."""
    from authlib.integrations.base_client import MismatchingStateError, OAuthError
    from joserfc.errors import JoseError
    from requests import RequestException

    try:
        yield
    except RequestException as error:
        raise ProviderAway(type(error).__name__) from None
    except MismatchingStateError:
        raise NotBegunHere("unknown state") from None
    except OAuthError as error:
        raise Unproven(f"the token endpoint says {error.error}") from None
    except JoseError as error:
        raise Unproven(f"{type(error).__name__} {getattr(error, 'claim', None) or error.error}") from None
    except (ValueError, TypeError, LookupError, AttributeError, RuntimeError) as error:
        # What is no OpenID answer at all makes whatever it makes of the reading of it.
        raise ProviderAway(f"an answer that is none: {type(error).__name__}") from None
