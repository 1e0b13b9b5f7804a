"""No page of staff, and no list of the API, looks at more of the shop the longer it has been open."""

from datetime import timedelta
from typing import Any

import pytest
from django.apps import apps
from django.contrib import admin
from django.utils import timezone

from accounts.models import User
from orders.admin.cards import SPANS
from orders.models import DailySales, Order
from orders.seeding import Size
from tests.admin.conftest import desk_of
from tests.in_process import Caller, sign_in
from tests.scale.pages import api_lists, known_things, queries_of
from tests.scale.plans import Cost, cost_of, explain

MOST_STATEMENTS = 12
MOST_LOOKED_AT = 25_000  # rows, by any node of any plan: more than the catalogue, less than what grows by the day
MOST_BLOCKS = 20_000  # of 8 kB, by a statement: half of the orders of a million
LISTS = sorted(model._meta.label_lower for model in admin.site._registry)


def dear(cost: Cost) -> list[str]:
    """What is wrong with a page's cost."""
    found = [] if len(cost.statements) <= MOST_STATEMENTS else [f"{len(cost.statements)} statements"]
    return found + [
        str(s) for s in cost.statements if s.looked_at > MOST_LOOKED_AT or s.blocks > MOST_BLOCKS or s.skips
    ]


@pytest.mark.parametrize("label", LISTS)
def test_every_page_of_a_list_costs_what_it_shows(large_shop: Size, label: str) -> None:
    boss, known = desk_of("admin"), known_things()
    name = f"{label.replace('.', '_')}_changelist"
    plain = boss.open(name)
    wrong = []
    for query in queries_of(admin.site.get_model_admin(apps.get_model(label)), plain, known):
        cost = cost_of(lambda query=query: boss.open(name, **query))  # type: ignore[misc]  # a closure of this round
        wrong += [f"{label} {query}: {fault}" for fault in dear(cost)]
        wrong += [f"{label} {query}: {cost.status}"] if cost.status != 200 else []

    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("span", [span.key for span in SPANS])
def test_the_home_page_costs_what_it_shows(large_shop: Size, span: str) -> None:
    boss = desk_of("admin")
    boss.open("index")

    cost = cost_of(lambda: boss.open("index", range=span))

    assert cost.status == 200
    sales = [each for each in cost.statements if "orders_dailysales" in each.sql]
    others = Cost([each for each in cost.statements if each not in sales], cost.milliseconds, cost.status)
    assert len(cost.statements) <= MOST_STATEMENTS
    assert not dear(others)
    # The best sellers of some days are the sums of these days' sales, however old the shop is.
    assert sum(each.looked_at for each in sales) <= sold_lately(days=30) + MOST_LOOKED_AT
    assert sum(each.blocks for each in sales) <= MOST_BLOCKS


def sold_lately(*, days: int) -> int:
    return DailySales.objects.filter(day__gt=timezone.localdate() - timedelta(days=days)).count()


def test_every_list_of_the_api_costs_what_it_shows(large_shop: Size) -> None:
    staff, known = Caller(sign_in("staff@example.com", "staff")["AccessToken"]), known_things()
    staff.get("/orders")
    wrong = []
    for address in api_lists():
        cost = cost_of(lambda address=address: staff.get(address.format(**known)))  # type: ignore[misc]  # of this round
        wrong += [f"{address}: {fault}" for fault in dear(cost)]
        # Names that many people here have: too many, or not, by how large the shop is.
        meant = {200, 400} if address.endswith(("grace hopper", "王小明")) else {200}
        wrong += [f"{address}: {cost.status}"] if cost.status not in meant else []

    assert not wrong, "\n".join(wrong)


def test_a_plan_that_an_older_postgresql_does_not_have_is_noticed(large_shop: Size) -> None:
    assert explain("SELECT id FROM vibecode_change WHERE page_id = 5").skips == "change_of_page"
    assert explain("SELECT id FROM vibecode_change WHERE page_kind = 'x' AND page_id = 5").skips == ""


def test_a_search_that_means_too_many_says_so(large_shop: Size) -> None:
    boss, staff = desk_of("admin"), Caller(sign_in("staff@example.com", "staff")["AccessToken"])
    assert User.objects.filter(email__contains="example").count() > 200

    page, answer = boss.open("orders_order_changelist", q="example"), staff.get("/orders?search=example")

    assert "More than 200 customers match" in page.content.decode()
    assert page.context["cl"].result_count == 0
    assert (answer.status_code, answer.json()["code"]) == (400, "search-too-common")


def test_a_long_list_says_that_it_is_cut_and_keeps_to_what_it_shows(large_shop: Size) -> None:
    boss = desk_of("admin")

    page = boss.open("orders_order_changelist")
    answer = boss.send("accounts_user_changelist", action="shut_all_out", select_across="1", _selected_action=["1"])

    html = page.content.decode()
    assert "more than 10,000 orders" in html.replace("\n", " ") or "more than 10,000" in html
    assert "narrow the list to reach the others" in html
    assert answer.status_code == 302
    assert not User.objects.filter(is_active=False, is_staff=True).exists()
    assert User.objects.filter(is_active=True).count() > 10_000


def test_a_job_of_too_many_orders_is_refused_before_it_is_written(large_shop: Size) -> None:
    from orders.jobs import export_orders, ship_orders
    from vibecode.errors import Conflict
    from vibecode.jobs.exports import MOST_EXPORTED
    from vibecode.rights import Actor

    def refusal(make: Any) -> str:
        with pytest.raises(Conflict) as refused:
            make()
        return refused.value.detail

    boss = Actor.person("sub-of-admin", ["admin"])
    assert "20,000" in refusal(lambda: ship_orders(orders=Order.objects.all(), actor=boss))
    if large_shop.orders > MOST_EXPORTED:
        assert "100,000" in refusal(lambda: export_orders(orders=Order.objects.all(), form="csv", actor=boss))
