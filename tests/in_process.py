"""Fixtures for tests of one endpoint: the application in this process, real tokens, each test rolled back."""

import functools
import itertools
import json
import os
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest
from django.test import Client

from accounts.models import User
from catalog.models import Product
from catalog.services import adjust_stock, create_product
from vibecode import aws
from vibecode.local.names import CLIENT_ID, DEMO_PASSWORD, POOL_ID
from vibecode.rights import Actor

FULL = os.environ.get("TEST_SCALE") == "full"  # make test-full
_numbers = itertools.count(1)


@functools.cache
def sign_in(email: str, *groups: str) -> dict[str, str]:
    """Cognito's tokens (``AccessToken``, ``IdToken``, ``RefreshToken``) of a person, who is made if missing."""
    cognito = aws.client("cognito-idp")
    try:
        cognito.admin_create_user(
            UserPoolId=POOL_ID,
            Username=email,
            MessageAction="SUPPRESS",
            UserAttributes=[{"Name": "email", "Value": email}, {"Name": "email_verified", "Value": "true"}],
        )
    except cognito.exceptions.UsernameExistsException:
        pass
    else:
        cognito.admin_set_user_password(UserPoolId=POOL_ID, Username=email, Password=DEMO_PASSWORD, Permanent=True)
    for group in groups:
        cognito.admin_add_user_to_group(UserPoolId=POOL_ID, Username=email, GroupName=group)
    answer = cognito.initiate_auth(
        ClientId=CLIENT_ID,
        AuthFlow="USER_PASSWORD_AUTH",
        AuthParameters={"USERNAME": email, "PASSWORD": DEMO_PASSWORD},
    )
    return {name: str(value) for name, value in answer["AuthenticationResult"].items()}


class Caller:
    """Somebody who calls the API, through Django's test client; a 500 comes back as one."""

    def __init__(self, token: str = "") -> None:
        self.client = Client(raise_request_exception=False)
        self.token = token

    def call(self, method: str, path: str, body: Any = None, **headers: str) -> Any:
        """One request below /api/v1; ``body`` is sent as JSON, bytes and str as they are. Header names with ``_``."""
        sent = body if isinstance(body, bytes | str) or body is None else json.dumps(body, default=str)
        given = {name.replace("_", "-"): value for name, value in headers.items()}
        kind = given.pop("Content-Type", "application/json")
        if self.token:
            given.setdefault("Authorization", f"Bearer {self.token}")
        address = path if path.startswith("/api") else f"/api/v1{path}"
        return self.client.generic(method, address, sent or "", content_type=kind, headers=given)

    def get(self, path: str, **headers: str) -> Any:
        """GET."""
        return self.call("GET", path, **headers)

    def post(self, path: str, body: Any = None, **headers: str) -> Any:
        """POST."""
        return self.call("POST", path, body, **headers)

    def patch(self, path: str, body: Any = None, **headers: str) -> Any:
        """PATCH."""
        return self.call("PATCH", path, body, **headers)

    def delete(self, path: str, **headers: str) -> Any:
        """DELETE."""
        return self.call("DELETE", path, **headers)

    @property
    def sub(self) -> str:
        """The caller's Cognito sub."""
        return str(self.get("/me").json()["userId"])

    @property
    def user(self) -> User:
        """The caller's row."""
        return User.objects.get(cognito_sub=self.sub)


@pytest.fixture
def stranger() -> Caller:
    """Nobody."""
    return Caller()


@pytest.fixture
def shopper(db: None) -> Caller:
    """A customer."""
    return Caller(sign_in("shopper@example.com")["AccessToken"])


@pytest.fixture
def other(db: None) -> Caller:
    """Another customer."""
    return Caller(sign_in("other@example.com")["AccessToken"])


@pytest.fixture
def staff(db: None) -> Caller:
    """Somebody of the group staff."""
    return Caller(sign_in("staff@example.com")["AccessToken"])


def make_product(
    sku: str = "", *, on_hand: int = 10, price: str = "2.50", status: str = "published", **values: Any
) -> Product:
    """A product on the shelf, through the services, so that the ledger knows it."""
    sku = sku or f"TEST-{next(_numbers)}"
    name = values.pop("name", f"Product {sku}")
    product = create_product(
        sku=sku, name=name, values={"price": Decimal(price), "status": status, **values}, actor=Actor.part("tests")
    )
    if on_hand:
        adjust_stock(product=product, delta=on_hand, reason="opening stock", actor=Actor.part("tests"))
    return Product.objects.select_related("stock").get(pk=product.pk)


@pytest.fixture
def product(db: None) -> Callable[..., Product]:
    """A maker of products."""
    return make_product


def shelf(product: Product) -> tuple[int, int]:
    """(on hand, reserved) as the database has it now."""
    fresh = Product.objects.select_related("stock").get(pk=product.pk)
    return fresh.stock.on_hand, fresh.stock.reserved


def order_body(*items: tuple[str, Any], **more: Any) -> dict[str, Any]:
    """A basket of (SKU, quantity)."""
    return {"items": [{"sku": sku, "quantity": quantity} for sku, quantity in items], **more}
