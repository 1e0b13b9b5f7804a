"""The audit trail at the desk: on each object's page, on its history, and all of it, in words and few statements."""

import html
import re
from collections.abc import Callable
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from accounts.services import register_user
from catalog.models import Category, Product
from catalog.services import change_product
from orders.models import Order
from tests.admin.conftest import Desk, a_product, an_order, desk_of
from tests.in_process import FULL
from vibecode.acting import acting
from vibecode.lists import MOST_LISTED
from vibecode.models import Change
from vibecode.rights import Actor

TESTS = Actor.part("tests")
MANY = 200_000 if FULL else 25_000  # more than a list counts


def words(page: Any) -> str:
    """What a page says, without its marks."""
    return re.sub(r"\s+", " ", html.unescape(re.sub(r"<[^>]+>", " ", page.content.decode())))


def reprice(product: Product, *prices: str, by: str = "somebody") -> None:
    """Change a price, once for each of these."""
    with acting(by):
        for price in prices:
            change_product(product=product, values={"price": price}, actor=TESTS)


def many_changes(count: int) -> None:
    """Fill the trail with changes of a day long ago, each of another product."""
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO vibecode_change (at, actor, deed, kind, name, page_kind, page_id, before, after) "
            "SELECT timestamptz '2020-06-01' + n * interval '1 minute', 'sub-' || n %% 500, 'update', "
            "'catalog.product', 'OLD-' || n, 'catalog.product', 1000000 + n, '{\"price\": 1.00}', '{\"price\": 2.00}' "
            "FROM generate_series(1, %s) AS n",
            [count],
        )
        cursor.execute("ANALYZE vibecode_change")


# --- on an object's own page -----------------------------------------------------------------------------------------
def test_a_products_page_and_history_say_who_changed_what_from_what_to_what(staff: Desk) -> None:
    lamps = Category.objects.create(name="Lamps", slug="lamps")
    product = a_product("LAMP-1", price="2.50", name="Dim")
    staff.dialog("catalog_product_reprice", product.pk, price="1234.5", seen_version="1")
    with acting(staff.user.cognito_sub):
        values = {"name": "<b>Bright</b>", "category": "lamps", "status": "archived", "description": "x" * 500}
        change_product(product=product, values=values, actor=TESTS)

    for page in ("catalog_product_change", "catalog_product_history", "catalog_stock_history"):
        shown = staff.open(page, product.pk)
        told = words(shown)
        assert "staff@example.com" in told, page
        assert "Price £2.50 → £1,234.50" in told, page
        assert "Name Dim → <b>Bright</b>" in told, page
        assert f"Category nothing → {lamps.name}" in told, page
        assert "Status Published → Archived" in told, page
        assert "x" * 200 + "…" in told, page
        assert told.index("Archived") < told.rindex("£1,234.50"), "newest first"
        assert "<b>Bright" not in shown.content.decode()
    assert "Product created" in words(staff.open("catalog_product_history", product.pk))


def test_an_orders_history_holds_its_payment_and_refunds_with_parts_of_the_shop(
    staff: Desk, completed: Callable[..., Order]
) -> None:
    with acting("workflow"):
        order = completed(("LAMP", 2))
    staff.dialog(
        "orders_order_refund", order.pk, version=order.version, what="amount", amount="1", restock="", reason="Typed"
    )

    told = words(staff.open("orders_order_history", order.pk))

    for said in (
        "workflow Payment created",
        "Payment status Pending → Paid",
        "Fulfilment status Reserved → Deducted",
        "Refund created",
        "Refunded £0.00 → £1.00",
        "Actor staff@example.com",
    ):
        assert said.lower() in told.lower(), said
    assert "Typed" not in told


def test_times_are_the_shops_to_the_second(staff: Desk) -> None:
    many_changes(1)

    told = words(staff.open("vibecode_change_changelist", q="OLD-1"))

    assert "1 Jun 2020, 01:01:00" in told  # London is an hour ahead of UTC in June


def test_a_history_is_paged_newest_first_and_each_page_costs_the_same(staff: Desk) -> None:
    product = a_product(price="1.00")

    def pages() -> tuple[list[str], list[int]]:
        found, costs, address = [], [], ""
        while True:
            with CaptureQueriesContext(connection) as statements:
                page = staff.open("catalog_product_history", product.pk, **({"before": address} if address else {}))
            costs.append(len(statements))
            found += re.findall(r'class="shop-is">£(\d+)\.00<', page.content.decode())
            older = re.search(r'href="\?before=(\d+)"', page.content.decode())
            if older is None:
                return found, costs
            address = older[1]

    reprice(product, *(f"{n}.00" for n in range(2, 122)))
    staff.open("catalog_product_history", product.pk)  # the first page of a session writes that
    found, costs = pages()

    assert found == [str(n) for n in range(121, 0, -1)]
    assert len(costs) == 3
    assert max(costs) <= 12
    assert len(set(costs)) == 1, costs


@pytest.mark.parametrize("before", ["x", "-1", "0", "9" * 30, "１"])
def test_an_address_that_makes_no_sense_is_no_error(staff: Desk, before: str) -> None:
    product = a_product()

    assert staff.open("catalog_product_history", product.pk, before=before).status_code == 200


def test_a_history_of_nothing_is_a_404_and_one_of_what_nobody_may_see_a_403(staff: Desk) -> None:
    assert staff.open("catalog_product_history", 10**9).status_code == 404
    assert staff.open("catalog_product_history", "x").status_code == 404
    assert desk_of("catalogue").open("orders_order_history", an_order().pk).status_code == 403


def test_only_the_latest_stand_under_the_page_with_the_way_to_all(staff: Desk) -> None:
    product = a_product(price="1.00")
    reprice(product, *(f"{n}.00" for n in range(2, 12)))

    page = staff.open("catalog_product_change", product.pk).content.decode()

    under = page[page.index('id="latest-changes"') :]
    assert re.findall(r'class="shop-is">£(\d+)\.00<', under) == ["11", "10", "9", "8", "7"]
    assert f"/admin/catalog/product/{product.pk}/history/" in under


def test_who_may_not_see_people_is_not_led_to_them(db: None) -> None:
    product, catalogue = a_product(), desk_of("catalogue")
    reprice(product, "3.00", by=catalogue.user.cognito_sub)

    page = catalogue.open("catalog_product_history", product.pk).content.decode()

    assert "catalogue@example.com" in page
    assert f"/admin/accounts/user/{catalogue.user.pk}/" not in page


# --- all of it -------------------------------------------------------------------------------------------------------
def found(desk: Desk, **query: str) -> list[str]:
    """The names in the list that a search and filters leave."""
    page = desk.open("vibecode_change_changelist", **query)
    assert page.status_code == 200, page.headers.get("Location")
    return [change.name for change in page.context["cl"].result_list]


def test_the_trail_is_searched_by_object_person_and_part(staff: Desk) -> None:
    order, product = an_order(), a_product("SHADE-7")
    other = register_user(sub="sub-of-other", email="other@example.com", name="Other Person")
    reprice(product, "3.00", by=staff.user.cognito_sub)
    with acting("workflow"):
        Order.objects.filter(pk=order.pk).update(payment_status="paid")
        type(other).objects.filter(pk=other.pk).update(is_active=False)

    assert found(staff, q=order.number) == [order.number]
    assert found(staff, q=order.number[:12].lower()) == [order.number]
    assert found(staff, q="shade-7") == ["SHADE-7", "SHADE-7"]  # its price, and that it was made
    for words_of_a_person in ("staff@example", staff.user.cognito_sub):
        assert set(found(staff, q=words_of_a_person)) == {
            "SHADE-7",
            "sub-of-staff",
        }  # by them, to them
    assert found(staff, q="other person") == ["sub-of-other"]
    assert set(found(staff, q="workflow")) == {order.number, "sub-of-other"}
    assert found(staff, q="nothing of the kind") == []
    assert found(staff, q="\x00") != []


def test_the_trail_is_narrowed_by_kind_deed_and_day(staff: Desk) -> None:
    many_changes(3)
    order = an_order()
    Order.objects.filter(pk=order.pk).update(payment_status="paid")

    assert found(staff, kind="orders.order") == [order.number]
    assert len(found(staff, kind="nonsense")) > 3
    assert found(staff, deed__exact="update", kind="catalog.product") == ["OLD-3", "OLD-2", "OLD-1"]
    assert found(staff, at_from="01/06/2020", at_to="01/06/2020") == ["OLD-3", "OLD-2", "OLD-1"]
    assert found(staff, at_from="02/06/2020", at_to="03/06/2020") == []


def test_the_page_is_for_staff_and_admin_alone(db: None) -> None:
    for group in ("support", "warehouse", "catalogue", "finance"):
        desk = desk_of(group)
        assert desk.open("vibecode_change_changelist").status_code == 403, group
        assert "Audit trail" not in desk.open("index").content.decode(), group
    for group in ("staff", "admin"):
        assert "Audit trail" in desk_of(group).open("index").content.decode(), group


def test_what_is_gone_is_told_without_a_way_to_it(staff: Desk) -> None:
    category = Category.objects.create(name="Gone for good", slug="gone")
    Category.objects.filter(pk=category.pk).delete()

    first = staff.open("vibecode_change_changelist", q="gone").context["cl"].result_list[0]
    assert first.deed == "delete"
    told = words(staff.open("vibecode_change_changelist", q="gone"))
    assert "Name Gone for good" in told
    assert staff.open("vibecode_change_change", first.pk).status_code == 200


def test_a_large_trail_is_counted_no_further_than_a_list_goes(staff: Desk) -> None:
    """What each of its statements reads is looked at in tests/scale."""
    many_changes(MANY)
    staff.open("vibecode_change_changelist")  # the first page of a session writes that
    queries: list[dict[str, str]] = [
        {},
        {"p": "20"},
        {"q": "OLD-77"},
        {"q": "staff@example.com"},
        {"kind": "orders.refund"},
        {"at_from": "02/06/2020", "at_to": "02/06/2020"},
    ]
    for query in queries:
        with CaptureQueriesContext(connection) as statements:
            page = staff.open("vibecode_change_changelist", **query)
        assert page.status_code == 200
        assert len(statements) <= 12, query
        assert page.context["cl"].result_count <= MOST_LISTED, query


def test_nobody_writes_it_at_the_desk(boss: Desk) -> None:
    a_product()
    change = Change.objects.latest("id")

    for page, arguments in (("add", ()), ("change", (change.pk,)), ("delete", (change.pk,))):
        assert boss.send(f"vibecode_change_{page}", *arguments, actor="x", post="yes").status_code == 403
    assert Change.objects.get(pk=change.pk).actor == change.actor
