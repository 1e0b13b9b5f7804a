"""Every list and page of the admin: open to staff and admin, bounded in statements, closed where services write."""

import re

import pytest
from django.apps import apps
from django.contrib import admin
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from catalog.models import Product
from orders.models import Order
from tests.admin.conftest import Desk, a_product, an_order, one_of_everything
from vibecode.unfold import SECTIONS

LISTS = [page.model for pages in SECTIONS.values() for page in pages]
ADDED_BY_HAND = {"catalog.product", "catalog.category"}
READ_ONLY = sorted(set(LISTS) - ADDED_BY_HAND - {"catalog.stock"})
INLINE = {
    "vibecode.processedmessage",
    "vibecode.jobrow",
    "catalog.productimage",
    "orders.orderline",
    "orders.timelineentry",
    "orders.payment",
    "orders.refund",
    "orders.refundline",
    "orders.shipment",
    "orders.shipmentline",
    "orders.ordernote",
    "orders.letter",
}
ON_THE_HOME = {  # what orders add up to
    "orders.dailyfigures",
    "orders.dailysales",
    "orders.statusfigures",
    "orders.ordercontribution",
    "orders.refundcontribution",
}


def named(model: str, page: str) -> str:
    return f"{model.replace('.', '_')}_{page}"


def test_every_model_of_the_shop_is_registered_and_every_list_is_in_the_sidebar() -> None:
    ours = {
        model._meta.label_lower
        for app in ("vibecode", "accounts", "catalog", "orders")
        for model in apps.get_app_config(app).get_models()
    }

    registered = {model._meta.label_lower for model in admin.site._registry}

    assert ours <= registered | INLINE | ON_THE_HOME
    assert registered == set(LISTS)


def test_every_list_page_and_history_opens(desk: Desk) -> None:
    rows = one_of_everything(desk.user)

    for model, row in rows.items():
        assert desk.open(named(model, "changelist")).status_code == 200, model
        assert desk.open(named(model, "change"), row.pk).status_code == 200, model
        assert desk.open(named(model, "history"), row.pk).status_code == 200, model
        assert desk.open(named(model, "add")).status_code == (200 if model in ADDED_BY_HAND else 403), model
    assert set(rows) == set(LISTS)


def test_the_index_holds_every_list_and_opens_before_anything_was_sold(desk: Desk) -> None:
    page = desk.open("index")

    assert page.status_code == 200
    assert [section["name"] for section in page.context["app_list"]] == list(SECTIONS)
    for model in LISTS:
        assert desk.open(named(model, "changelist")).status_code == 200, model


def test_customers_and_strangers_are_sent_to_the_sign_in_page(db: None) -> None:
    shopper = Client()
    shopper.force_login(an_order().user, backend="accounts.authentication.CognitoPasswordBackend")

    for client in (shopper, Client()):
        answer = client.get("/admin/orders/order/")
        assert (answer.status_code, answer.headers["Location"].partition("?")[0]) == (302, "/admin/login/")


def test_a_list_costs_the_same_statements_for_1_row_and_50(desk: Desk) -> None:
    def costs() -> dict[str, int]:
        found = {}
        for model in LISTS:
            desk.open(named(model, "changelist"))  # caches of the process
            with CaptureQueriesContext(
                connection,
            ) as statements:
                desk.open(named(model, "changelist"))
            found[model] = len(statements)
        return found

    one_of_everything(desk.user)
    for_one = costs()
    for _ in range(49):
        one_of_everything(desk.user)

    for_50 = costs()
    assert max([*for_one.values(), *for_50.values()]) <= 12
    for costs_of in (for_one, for_50):
        costs_of.pop("vibecode.change")  # one for each kind of thing that its rows name
    assert for_50 == for_one


def test_an_orders_page_costs_the_same_statements_for_1_line_and_40(staff: Desk) -> None:
    def cost(order: Order) -> int:
        staff.open("orders_order_change", order.pk)
        with CaptureQueriesContext(connection) as statements:
            assert staff.open("orders_order_change", order.pk).status_code == 200
        return len(statements)

    assert cost(an_order(*(a_product() for _ in range(40)))) == cost(an_order())


def test_what_services_own_refuses_every_write(boss: Desk) -> None:
    rows = one_of_everything(boss.user)

    for model in READ_ONLY:
        before = apps.get_model(model).objects.values().get(pk=rows[model].pk)
        for page, arguments in (("add", ()), ("change", (rows[model].pk,)), ("delete", (rows[model].pk,))):
            answer = boss.send(named(model, page), *arguments, name="x", status="x", post="yes")
            assert answer.status_code == 403, (model, page)
        answer = boss.send(
            named(model, "changelist"), action="delete_selected", _selected_action=[rows[model].pk], post="yes"
        )
        assert answer.status_code in {200, 302, 403}, model
        assert apps.get_model(model).objects.values().get(pk=rows[model].pk) == before, model


@pytest.mark.parametrize("model", ["catalog.product", "catalog.stock"])
def test_products_and_their_stock_are_never_deleted(boss: Desk, model: str) -> None:
    product = a_product()

    assert boss.send(named(model, "delete"), product.pk, post="yes").status_code == 403
    assert Product.objects.filter(pk=product.pk).exists()


def test_no_page_needs_inline_scripts_or_another_origin(boss: Desk) -> None:
    rows = one_of_everything(boss.user)
    pages = [boss.open("index"), Client().get("/admin/login/")]
    for model, row in rows.items():
        pages += [boss.open(named(model, "changelist")), boss.open(named(model, "change"), row.pk)]

    for page in pages:
        html = page.content.decode()
        path = page.request["PATH_INFO"]
        policy = page.headers["Content-Security-Policy"]
        assert "'unsafe-inline'" not in re.search(r"script-src[^;]*", policy)[0], path  # type: ignore[index]  # every page has the header
        assert not re.search(r"<script(?![^>]*\bsrc=)(?![^>]*application/json)", html), path
        assert not re.search(r"<[^>]+\son[a-z]+=", html), path
        assert not re.search(r"""<(?:script|link|img)[^>]+(?:src|href)="(?:https?:)?//(?!127\.0\.0\.1)""", html), path


SEARCHES = [
    ("orders.order", "number", lambda order: order.number),
    ("orders.order", "the customer's e-mail", lambda order: order.user.email),
    ("orders.order", "the customer's name", lambda _: "hopper"),
    ("orders.order", "a SKU", lambda order: order.lines.get().sku.lower()),
    ("catalog.product", "SKU", lambda product: product.sku[:9].lower()),
    ("catalog.product", "name", lambda product: product.name),
    ("catalog.category", "name", lambda category: category.name),
    ("catalog.category", "slug", lambda category: category.slug),
    ("catalog.stock", "SKU", lambda stock: stock.product.sku.lower()),
    ("catalog.stock", "name", lambda stock: stock.product.name),
    ("catalog.stockmovement", "SKU", lambda movement: movement.product.sku),
    ("catalog.stockmovement", "reference", lambda movement: movement.product.movements.get(kind="reserve").reference),
    ("catalog.stockmovement", "actor", lambda _: "tests"),
    ("catalog.stockmovement", "reason", lambda _: "liver"),
    ("accounts.user", "e-mail", lambda user: user.email),
    ("accounts.user", "name", lambda _: "grace"),
    ("accounts.user", "sub", lambda user: user.cognito_sub),
    ("accounts.address", "name", lambda _: "ada"),
    ("accounts.address", "city", lambda _: "london"),
    ("accounts.address", "postal code", lambda _: "sw1y"),
    ("accounts.address", "the owner's e-mail", lambda address: address.user.email),
    ("auth.group", "name", lambda group: group.name),
    ("vibecode.outboxevent", "subject", lambda event: event.subject),
    ("vibecode.outboxevent", "event id", lambda event: str(event.event_id)),
    ("vibecode.idempotencykey", "key", lambda key: key.key),
    ("vibecode.idempotencykey", "path", lambda _: "/api/v1/o"),
    ("vibecode.idempotencykey", "user", lambda key: str(key.user_id)),
    ("vibecode.change", "who", lambda _: "staff@example.com"),
    ("vibecode.change", "what", lambda change: change.name[:7].lower()),
]


@pytest.mark.parametrize(("model", "by", "words"), SEARCHES, ids=[f"{model} by {by}" for model, by, _ in SEARCHES])
def test_a_list_is_searched_by(staff: Desk, model: str, by: str, words: object) -> None:
    row = one_of_everything(staff.user)[model]

    found = staff.open(named(model, "changelist"), q=words(row))  # type: ignore[operator]  # each row of the table is a maker

    assert found.status_code == 200
    assert found.context["cl"].result_count >= 1
    assert staff.open(named(model, "changelist"), q="zzz-nothing").context["cl"].result_count == 0


FILTERS = {
    "orders.order": {
        "status__exact": "pending", "payment_status__exact": "pending", "fulfilment_status__exact": "reserved",
        "total_from": "1", "total_to": "9", "created_at_from": "01/01/2020", "created_at_to": "31/12/2999",
    },
    "catalog.product": {
        "status__exact": "published", "shelf": "some", "price_from": "1", "created_at_from": "01/01/2020",
    },
    "catalog.stock": {"shelf": "reserved", "product__status__exact": "published"},
    "catalog.stockmovement": {"kind__exact": "receive", "cause__exact": "request", "created_at_to": "31/12/2999"},
    "accounts.user": {"is_active__exact": "1", "is_staff__exact": "0", "created_at_from": "01/01/2020"},
    "accounts.address": {"country__icontains": "gb"},
    "vibecode.outboxevent": {"state": "waiting", "detail_type__icontains": "created"},
    "vibecode.idempotencykey": {"method__icontains": "post"},
    "vibecode.change": {"kind": "catalog.product", "deed__exact": "update", "at_from": "01/01/2020"},
}  # fmt: skip


@pytest.mark.parametrize("model", FILTERS)
def test_a_list_is_narrowed_by_its_filters(staff: Desk, model: str) -> None:
    one_of_everything(staff.user)

    narrowed = staff.open(named(model, "changelist"), **FILTERS[model])

    assert narrowed.status_code == 200, narrowed.headers.get("Location")
    assert narrowed.context["cl"].result_count >= 1


def test_days_are_the_shops_and_both_ends_count(staff: Desk) -> None:
    order = an_order()
    for placed, day, expected in (
        ("2030-06-30T22:59:59Z", "30/06/2030", 1),  # London is an hour ahead of UTC in June
        ("2030-06-30T23:00:00Z", "30/06/2030", 0),
        ("2030-06-30T23:00:00Z", "01/07/2030", 1),
        ("2030-06-30T23:00:00Z", "no date", 1),
    ):
        Order.objects.filter(pk=order.pk).update(created_at=placed)

        page = staff.open("orders_order_changelist", created_at_from=day, created_at_to=day)

        assert page.context["cl"].result_count == expected, (placed, day)
