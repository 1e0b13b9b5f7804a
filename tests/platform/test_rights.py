"""Who may do what: each group against each verb through the API, and the pages of the admin that each may open."""

import uuid
from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.auth.models import Permission

from accounts.services import register_user, set_active
from orders.models import Order
from tests.admin.conftest import desk_of
from tests.in_process import Caller, make_product, sign_in
from tests.platform.answers import assert_refused
from vibecode import dead_letters, outbox, resources
from vibecode.errors import Denied
from vibecode.models import Change, OutboxEvent
from vibecode.rights import GROUPS, Actor, Right

SEES_ORDERS = {"support", "warehouse", "finance", "staff", "admin"}
MAY = {
    "cancel": {"support", "staff", "admin"},
    "notes": {"support", "staff", "admin"},
    "shipments": {"warehouse", "staff", "admin"},
    "delivery": {"warehouse", "staff", "admin"},
    "refunds": {"finance", "staff", "admin"},
    "returns": {"finance", "staff", "admin"},
}
BODIES = {"notes": {"text": "hello"}, "refunds": {"amount": "1.00", "reason": "late"}, "returns": {"reason": "late"}}


def member(group: str) -> Caller:
    """Somebody of a group."""
    return Caller(sign_in(f"{group}-member@example.com", group)["AccessToken"])


def ask(who: Caller, path: str, body: Any) -> Any:
    """POST under a fresh key."""
    return who.post(path, body, Idempotency_Key=uuid.uuid4().hex)


@pytest.mark.parametrize("group", GROUPS)
def test_each_group_may_do_what_is_its_own_with_orders_and_nothing_else(
    group: str, completed: Callable[..., Order]
) -> None:
    order, who = completed(("LAMP", 2)), member(group)

    for verb in ("notes", "returns", "refunds", "delivery", "shipments", "cancel"):  # none of them stops the next
        answer = ask(who, f"/orders/{order.number}/{verb}", BODIES.get(verb, {}))
        if group not in SEES_ORDERS:
            assert_refused(answer, 404, "not-found")
        elif group in MAY[verb]:
            assert answer.status_code in {200, 201, 409}, (verb, answer.content)
        else:
            assert_refused(answer, 403, "forbidden")
    assert who.get(f"/orders/{order.number}").status_code == (200 if group in SEES_ORDERS else 404)


@pytest.mark.parametrize("group", GROUPS)
def test_only_who_may_changes_stock(db: None, group: str) -> None:
    product, who = make_product(), member(group)

    answer = ask(who, f"/products/{product.sku}/stock", {"delta": 1, "reason": "found"})

    if group in {"warehouse", "staff", "admin"}:
        assert answer.status_code == 200
    else:
        assert_refused(answer, 403, "forbidden")
        assert "the groups warehouse, staff and admin have it" in answer.json()["detail"]


@pytest.mark.parametrize("group", GROUPS)
def test_only_who_may_changes_the_catalogue(db: None, group: str) -> None:
    product, who = make_product(price="2.00"), member(group)
    asked: dict[str, Callable[[], Any]] = {
        "create": lambda: ask(who, "/products", {"sku": f"NEW-{group}".upper(), "name": "New", "price": "1.00"}),
        "change": lambda: who.patch(f"/products/{product.sku}", {"price": "3.00"}),
        "upload": lambda: ask(who, f"/products/{product.sku}/images", {"contentType": "image/png"}),
        "archive": lambda: who.delete(f"/products/{product.sku}"),
    }

    answers = {verb: call() for verb, call in asked.items()}

    if group in {"catalogue", "staff", "admin"}:
        assert {verb: answer.status_code for verb, answer in answers.items()} == {
            "create": 201, "change": 200, "upload": 201, "archive": 204,
        }  # fmt: skip
    else:
        for answer in answers.values():
            assert_refused(answer, 403, "forbidden")
        product.refresh_from_db()
        assert (str(product.price), product.status) == ("2.00", "published")


def test_groups_add_up_and_unknown_ones_are_nothing() -> None:
    both = Actor.person("sub", ["support", "warehouse", "chess club"])

    assert both.rights == GROUPS["support"] | GROUPS["warehouse"]
    assert Actor.person("sub", ["chess club"]).rights == frozenset()
    assert GROUPS["staff"] >= GROUPS["support"] | GROUPS["warehouse"] | GROUPS["catalogue"] | GROUPS["finance"]


def test_the_admin_opens_to_each_group_what_its_rights_need(db: None) -> None:
    needs = {
        Right.SEE_ORDERS: "view_order",
        Right.STOCK: "change_stock",
        Right.CATALOGUE: "change_product",
        Right.MACHINERY: "change_outboxevent",
        Right.AUDIT: "view_change",
        Right.PEOPLE: "change_user",
    }

    for group, rights in GROUPS.items():
        opened = set(Permission.objects.filter(group__name=group).values_list("codename", flat=True))
        for right, codename in needs.items():
            assert (codename in opened) == (right in rights), (group, right)
        assert "view_product" in opened, group
        assert not {name for name in opened if name.startswith("delete_order")} or group == "admin"


def test_the_trail_asks_for_its_right_whatever_permission_was_given_by_hand(db: None) -> None:
    desk = desk_of("support")
    change = Change.objects.create(actor="x", deed="update", kind="catalog.product", page_kind="catalog.product")
    desk.user.user_permissions.add(Permission.objects.get(codename="view_change"))

    assert desk.open("vibecode_change_changelist").status_code == 403
    assert desk.open("vibecode_change_change", change.pk).status_code == 403
    assert 'href="/admin/vibecode/change/"' not in desk.open("index").content.decode()


@pytest.mark.parametrize("group", GROUPS)
def test_services_ask_for_people_and_machinery_whoever_calls_them(db: None, group: str) -> None:
    somebody, actor = register_user(sub="somebody", email="somebody@example.com"), Actor.person("x", [group])
    asked: dict[Right, Callable[[], object]] = {
        Right.PEOPLE: lambda: set_active(users=[somebody], active=False, actor=actor),
        Right.MACHINERY: lambda: outbox.send_again(OutboxEvent.objects.none(), actor=actor),
    }

    for right, call in asked.items():
        if right in GROUPS[group]:
            call()
        else:
            with pytest.raises(Denied):
                call()
    if Right.MACHINERY not in GROUPS[group]:
        with pytest.raises(Denied):
            dead_letters.send_again(resources.QUEUES[0], actor=actor)
    somebody.refresh_from_db()
    assert somebody.is_active == (group != "admin")
