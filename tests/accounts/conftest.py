"""The provider of the sign-in's tests, and our side told of it as a real stage is."""

from collections.abc import Iterator
from typing import Any

import pytest
from django.test import Client

from accounts import openid
from tests.accounts.provider import Between, Provider


@pytest.fixture
def between(provider: Provider, settings: Any, db: None) -> Iterator[Between]:
    """The provider as we see it: through somebody who can lie. Passwords are refused, a second factor is needed."""
    liar = Between(provider)
    settings.OIDC_ISSUER = liar.url
    settings.OIDC_CLIENT_ID = "desk"
    settings.OIDC_CLIENT_SECRET = "a secret of the desk"
    settings.STAFF_NEED_MFA = True
    settings.STAFF_PASSWORDS = False
    settings.AUTHENTICATION_BACKENDS = ["accounts.authentication.GroupRights"]
    openid._client.cache_clear()
    yield liar
    openid._client.cache_clear()
    liar.stop()


@pytest.fixture
def browser_of_staff(between: Between) -> "Staff":
    """A browser before the desk."""
    return Staff(between)


class Staff:
    """Somebody at a browser who signs in; each step can be taken alone."""

    def __init__(self, between: Between) -> None:
        self.between = between
        self.client = Client(raise_request_exception=False)

    def begins(self, wanted: str = "") -> str:
        """Press the button: the provider's address."""
        answer = self.client.post("/admin/sign-in", {"next": wanted} if wanted else {})
        assert answer.status_code == 302, answer.content
        return str(answer.headers["Location"])

    def comes_back(self, address: str) -> Any:
        """Follow the provider's redirect to us."""
        path = address.removeprefix("http://127.0.0.1:8000")
        assert path.startswith("/admin/sign-in/callback?"), address
        return self.client.get(path)

    def comes_back_with(self, **query: str) -> Any:
        """Come to the address to which the provider sends, with something else in it."""
        return self.client.get("/admin/sign-in/callback", query)

    def signs_in(self, sub: str, wanted: str = "") -> Any:
        """All of it; our last answer."""
        return self.comes_back(self.between.consent(self.begins(wanted), sub))

    @property
    def is_inside(self) -> bool:
        """Whether the desk opens."""
        return bool(self.client.get("/admin/").status_code == 200)
