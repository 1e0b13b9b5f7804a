"""Somebody who works here at a browser, and things for them to look at."""

from dataclasses import dataclass
from typing import Any

import pytest
from django.contrib.auth.models import Group
from django.db.models import Model
from django.test import Client
from django.urls import reverse
from django.utils.crypto import get_random_string

from accounts.models import User
from accounts.services import add_address, register_user, take_over_groups
from catalog.models import Category, Product, ProductImage
from catalog.services import adjust_stock, change_product, create_product
from orders.models import Order, Wishes
from orders.services import Basket, place_order
from vibecode.acting import acting
from vibecode.jobs.running import make_job
from vibecode.models import Change, IdempotencyKey, OutboxEvent
from vibecode.rights import Actor

BACKEND = "accounts.authentication.CognitoPasswordBackend"
HOME = {"name": "Ada", "line1": "12 St James Square", "city": "London", "postal_code": "SW1Y 4JH", "country": "GB"}


@dataclass
class Desk:
    """A browser in which somebody of a group is signed in."""

    user: User
    client: Client

    def open(self, page: str, *args: object, **query: str) -> Any:
        """GET a page by its name in the admin."""
        return self.client.get(reverse(f"admin:{page}", args=args, query=query))

    def send(self, page: str, *args: object, **form: Any) -> Any:
        """POST a form to a page."""
        return self.client.post(reverse(f"admin:{page}", args=args), form)

    def changes(self) -> list[Change]:
        """What the audit trail says that they did, first to last."""
        return list(Change.objects.filter(actor=self.user.cognito_sub).order_by("id"))

    def dialog(self, page: str, pk: object, **form: Any) -> Any:
        """Confirm an action's dialog."""
        return self.send(page, pk, _form_submitted="True", **form)


def desk_of(group: str) -> Desk:
    """Somebody of that group, signed in."""
    user = register_user(sub=f"sub-of-{group}", email=f"{group}@example.com")
    user = take_over_groups(user=user, groups=[group])
    client = Client()
    client.force_login(user, backend=BACKEND)
    return Desk(user, client)


@pytest.fixture
def staff(db: None) -> Desk:
    """Somebody of the group staff."""
    return desk_of("staff")


@pytest.fixture
def boss(db: None) -> Desk:
    """Somebody of the group admin."""
    return desk_of("admin")


@pytest.fixture(params=["staff", "admin"])
def desk(request: pytest.FixtureRequest, db: None) -> Desk:
    """Each of the two in turn."""
    return desk_of(request.param)


def a_product(sku: str = "", *, on_hand: int = 10, **values: Any) -> Product:
    """A published product with something on its shelf."""
    sku = sku or f"SKU-{get_random_string(8).upper()}"
    values = {"price": "2.50", "status": Product.Status.PUBLISHED, **values}
    product = create_product(sku=sku, name=values.pop("name", f"Thing {sku}"), values=values, actor=Actor.part("tests"))
    if on_hand:
        adjust_stock(product=product, delta=on_hand, reason="delivery", actor=Actor.part("tests"))
    return product


def an_order(*products: Product, customer: User | None = None) -> Order:
    """An order of one piece each."""
    number = get_random_string(8)
    customer = customer or register_user(sub=f"sub-{number}", email=f"{number}@example.org", name="Grace Hopper")
    wanted = products or (a_product(),)
    basket = Basket({product.sku: 1 for product in wanted}, wishes=Wishes(shipping_address={"name": "Grace"}))
    return place_order(customer=customer, basket=basket)


def one_of_everything(by: User) -> dict[str, Model]:
    """A row for every list of the admin, by its model's label, each with what its columns show beside it."""
    tag = get_random_string(8).lower()
    above = Category.objects.create(name=f"Above {tag}", slug=f"above-{tag}")
    category = Category.objects.create(name=f"Below {tag}", slug=f"below-{tag}", parent=above)
    product = a_product(category=category)
    ProductImage.objects.create(product=product, file=f"products/{tag}.jpg", alt="A picture", width=4, height=3)
    order = an_order(product)
    group = Group.objects.create(name=f"group {tag}")
    order.user.groups.add(group)
    movement = product.movements.order_by("id")[0]
    with acting(by.cognito_sub):
        change_product(product=product, values={"price": "2.60"}, actor=Actor.part("tests"))
        change_product(product=product, values={"price": "2.50"}, actor=Actor.part("tests"))
    return {
        "orders.order": order,
        "catalog.product": product,
        "catalog.category": category,
        "catalog.stock": product.stock,
        "catalog.stockmovement": movement,
        "accounts.user": order.user,
        "accounts.address": add_address(user=order.user, values=HOME),
        "auth.group": group,
        "vibecode.outboxevent": OutboxEvent.objects.get(subject=order.number),
        "vibecode.idempotencykey": IdempotencyKey.objects.create(
            user_id=order.user_id, method="POST", path="/api/v1/orders", key=tag, body_sha256="0" * 64, status=201
        ),
        "vibecode.job": make_job(kind="import-prices", rows=[{"sku": tag}], actor=Actor.part("tests")),
        "vibecode.change": Change.objects.filter(page_kind="catalog.product", page_id=product.pk).newest_first()[0],
    }
