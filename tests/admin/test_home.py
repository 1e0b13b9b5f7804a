"""The admin's home page: its figures, the lists behind them, what needs somebody, and what it costs to look."""

import html
import json
import re
import socket
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.contrib.auth.models import Group, Permission
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from pytest_django import Settings

from accounts.models import User
from catalog.models import Product
from catalog.services import set_reorder_point
from orders.models import Order, Refund
from orders.models.needs import Need, orders_in_need
from orders.services import cancel_order, count_order, fail_order, rebuild_figures, request_refund
from orders.services.settling import fail_refund, record_refund
from orders.status import PaymentState
from tests.admin.conftest import Desk, a_product, desk_of
from tests.in_process import FULL
from tests.orders.recount import charge, deliver_all, place
from vibecode import aws
from vibecode.models import OutboxEvent
from vibecode.rights import Actor

NOON = datetime(2026, 11, 25, 12, tzinfo=UTC)  # a Wednesday


@pytest.fixture
def customer(db: None) -> User:
    return User.objects.create(cognito_sub="sub-of-ada", email="ada@example.org")


@pytest.fixture
def lamp(db: None) -> Product:
    return a_product("LAMP", on_hand=100, price="10.00", name="A brass lamp")


def set_clock(monkeypatch: pytest.MonkeyPatch, now: datetime) -> None:
    monkeypatch.setattr(timezone, "now", lambda: now)


def ask_back(order: Order) -> Refund:
    return request_refund(order=order, amount=order.total, reason="", actor=Actor.part("me"))


def give_back(order: Order, amount: Decimal, at: datetime) -> None:
    refund = request_refund(order=order, amount=amount, reason="", actor=Actor.part("me"))
    record_refund(refund=refund, provider_id="")
    Refund.objects.filter(pk=refund.pk).update(settled_at=at)


@pytest.fixture
def trade(customer: User, lamp: Product, monkeypatch: pytest.MonkeyPatch) -> list[Order]:
    """Orders of today, yesterday, some days and some weeks ago."""
    set_clock(monkeypatch, NOON)
    for days, quantities in {0: (1, 2), 1: (4,), 2: (1,), 6: (3,), 8: (5,), 20: (2,), 45: (1,)}.items():
        for quantity in quantities:
            placed = place(customer, (lamp, quantity), at=(NOON - timedelta(days=days)).isoformat())
            order = charge(placed)
    unpaid = place(customer, (lamp, 9), at=NOON.isoformat())
    cancel_order(order=unpaid, reason="", actor=Actor.part("me"))
    order = Order.objects.get(created_at=NOON - timedelta(days=1))
    give_back(order, Decimal(15), NOON)
    deliver_all()
    return list(Order.objects.all())


def words(page: Any) -> str:
    """A page's text, without tags."""
    bare = re.sub(r"<(script|style|svg).*?</\1>|<[^>]+>", " ", page.content.decode(), flags=re.DOTALL)
    return " ".join(html.unescape(bare).split())


def cards(page: Any) -> dict[str, tuple[str, str, str]]:
    found = page.context["home"]["cards"]
    return {
        card.title: (card.value, card.note, f"{card.trend.arrow} {card.trend.change} {card.trend.words}")
        for card in found
    }


# --- the figures -----------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("span", "expected"),
    [
        ("", {
            "Revenue": ("£30.00", "captured, before refunds", "↓ −25 % less than the whole of yesterday"),
            "Orders": ("3", "2 of them paid", "↑ +200 % more than the whole of yesterday"),
            "Average order": ("£15.00", "revenue by paid order", "↓ −62 % less than the whole of yesterday"),
            "Refunds": ("£15.00", "1 refund", "↑  more than the whole of yesterday, which had none"),
        }),
        ("yesterday", {
            "Revenue": ("£40.00", "captured, before refunds", "↑ +300 % more than the day before"),
            "Orders": ("1", "1 of them paid", "→  the same as the day before"),
            "Average order": ("£40.00", "revenue by paid order", "↑ +300 % more than the day before"),
            "Refunds": ("£0.00", "0 refunds", "→  the same as the day before"),
        }),
        ("7-days", {
            "Revenue": ("£110.00", "captured, before refunds", "↑ +120 % more than the 7 days before"),
            "Orders": ("6", "5 of them paid", "↑ +500 % more than the 7 days before"),
            "Average order": ("£22.00", "revenue by paid order", "↓ −56 % less than the 7 days before"),
            "Refunds": ("£15.00", "1 refund", "↑  more than the 7 days before, which had none"),
        }),
        ("30-days", {
            "Revenue": ("£180.00", "captured, before refunds", "↑ +1,700 % more than the 30 days before"),
            "Orders": ("8", "7 of them paid", "↑ +700 % more than the 30 days before"),
            "Average order": ("£25.71", "revenue by paid order", "↑ +157 % more than the 30 days before"),
            "Refunds": ("£15.00", "1 refund", "↑  more than the 30 days before, which had none"),
        }),
        ("nonsense", {"Orders": ("3", "2 of them paid", "↑ +200 % more than the whole of yesterday")}),
    ],
)  # fmt: skip
def test_each_span_says_its_figures_and_how_they_compare(
    staff: Desk, trade: list[Order], span: str, expected: dict[str, tuple[str, str, str]]
) -> None:
    page = staff.open("index", **({"range": span} if span else {}))

    found = cards(page)
    assert {title: found[title] for title in expected} == expected
    text = words(page)
    for value, note, trend in expected.values():
        assert f"{value} {note} {' '.join(trend.split())}" in text


def test_a_rise_of_refunds_is_no_good_news(staff: Desk, trade: list[Order]) -> None:
    tones = {card.title: card.trend.tone for card in staff.open("index").context["home"]["cards"]}

    assert tones == {
        "Revenue": "shop-down", "Orders": "shop-up", "Average order": "shop-down", "Refunds": "shop-down"
    }  # fmt: skip


@pytest.mark.parametrize(("span", "days"), [("today", 7), ("yesterday", 7), ("7-days", 7), ("30-days", 30)])
def test_the_charts_show_the_days_and_the_table_says_the_same(
    staff: Desk, trade: list[Order], span: str, days: int
) -> None:
    page = staff.open("index", range=span)

    [revenue, orders, *_] = [json.loads(card.chart) for card in page.context["home"]["cards"]]
    last = "Tue 24 Nov" if span == "yesterday" else "Wed 25 Nov"
    assert len(revenue["labels"]) == len(orders["datasets"][0]["data"]) == days
    assert revenue["labels"][-1] == last
    assert revenue["datasets"][0]["data"][-1] == (40.0 if span == "yesterday" else 30.0)
    rows = page.context["home"]["days"]
    assert [row["name"] for row in rows] == revenue["labels"][::-1]
    assert [row["sums"].placed for row in rows] == orders["datasets"][0]["data"][::-1]
    marked = [colour for colour in revenue["datasets"][0]["backgroundColor"] if "primary" in colour]
    assert len(marked) == (1 if span in {"today", "yesterday"} else days)
    assert page.content.decode().count('class="chart"') == 4


@pytest.mark.parametrize("span", ["today", "yesterday", "7-days", "30-days"])
def test_every_figure_opens_the_list_behind_it_with_the_same_count(staff: Desk, trade: list[Order], span: str) -> None:
    home = staff.open("index", range=span).context["home"]
    now = home["now"]
    behind = {card.title: card.link for card in home["cards"]}
    expected = {"Revenue": now.paid, "Orders": now.placed, "Average order": now.paid, "Refunds": now.refunds}

    for title, count in expected.items():
        assert count_of(staff, behind[title]) == count, title
    for row in home["days"]:
        assert count_of(staff, row["sums"].orders_list) == row["sums"].placed
    for row in home["statuses"]:
        assert count_of(staff, row["link"]) == row["count"], row
    assert sum(row["count"] for row in home["statuses"]) == len(trade) == 9


def count_of(desk: Desk, address: str) -> int:
    """How many rows the list at an address has; what narrows it can be seen there."""
    page = desk.client.get(html.unescape(address))
    assert page.status_code == 200, address
    assert page.context["cl"].has_active_filters, address
    return int(page.context["cl"].result_count)


def test_best_sellers_are_those_of_the_days_that_are_shown(
    staff: Desk, customer: User, trade: list[Order], lamp: Product
) -> None:
    mug = a_product("MUG", on_hand=100, price="1.00", name="A mug")
    charge(place(customer, (mug, 50), at=(NOON - timedelta(days=20)).isoformat()))
    deliver_all()

    today, month = (staff.open("index", range=span) for span in ("today", "30-days"))

    assert [(row["name"], row["sold"], row["taken"]) for row in today.context["home"]["best"]] == [
        ("A brass lamp", 3, "£30.00")
    ]
    assert [(row["sku"], row["sold"]) for row in month.context["home"]["best"]] == [("MUG", 50), ("LAMP", 18)]
    assert f'href="/admin/catalog/product/{mug.pk}/change/"' in month.content.decode()


# London's clocks go forward on 29 March and back on 25 October.
@pytest.mark.parametrize(
    ("now", "today", "placed", "counts"),
    [
        ("2026-06-30T23:30:00Z", date(2026, 7, 1), "2026-06-30T23:00:00Z", (1, 0)),
        ("2026-06-30T23:30:00Z", date(2026, 7, 1), "2026-06-30T22:59:59Z", (0, 1)),
        ("2026-03-29T12:00:00Z", date(2026, 3, 29), "2026-03-29T00:00:00Z", (1, 0)),
        ("2026-03-29T12:00:00Z", date(2026, 3, 29), "2026-03-28T23:59:59Z", (0, 1)),
        ("2026-03-30T12:00:00Z", date(2026, 3, 30), "2026-03-29T22:59:59Z", (0, 1)),
        ("2026-10-25T12:00:00Z", date(2026, 10, 25), "2026-10-24T23:00:00Z", (1, 0)),
        ("2026-10-25T12:00:00Z", date(2026, 10, 25), "2026-10-25T23:59:59Z", (1, 0)),
        ("2026-10-25T12:00:00Z", date(2026, 10, 25), "2026-10-24T22:59:59Z", (0, 1)),
    ],
)
def test_today_is_the_shops_day_also_when_the_clock_changes(
    staff: Desk,
    customer: User,
    lamp: Product,
    monkeypatch: pytest.MonkeyPatch,
    now: str,
    today: date,
    placed: str,
    counts: tuple[int, int],
) -> None:
    place(customer, (lamp, 1), at=placed)
    deliver_all()
    set_clock(monkeypatch, datetime.fromisoformat(now))

    pages = [staff.open("index", range=span).context["home"] for span in ("today", "yesterday")]

    assert pages[0]["now"].first == today
    assert tuple(page["now"].placed for page in pages) == counts
    assert tuple(count_of(staff, page["now"].orders_list) for page in pages) == counts


# --- what needs somebody ---------------------------------------------------------------------------------------------
@pytest.fixture
def trouble(customer: User, lamp: Product, settings: Any) -> dict[str, list[Order]]:
    """Orders of every need, beside those that are well."""
    long_ago = timezone.now() - timedelta(days=1)

    def order(**changes: Any) -> Order:
        made = place(customer, (lamp, 1))
        Order.objects.filter(pk=made.pk).update(**changes)
        return made

    fine = charge(order())
    unknown = charge(order(), PaymentState.UNKNOWN)
    declined = charge(order(), PaymentState.DECLINED)
    over = charge(order(), PaymentState.DECLINED)
    cancel_order(order=over, reason="", actor=Actor.part("me"))  # nobody is needed any more
    stuck = [order(updated_at=long_ago) for _ in range(2)]
    failed = fail_order(order=order())
    waiting = charge(order())
    ask_back(waiting)
    refused, mended = charge(order()), charge(order())
    for each in (refused, mended):
        fail_refund(order=each, reference=ask_back(each).reference, reason="account closed")
    record_refund(refund=ask_back(mended), provider_id="")
    large = charge(order())
    settings.REFUND_LIMIT = 0
    ask_back(large)
    deliver_all()
    assert fine.status == "paid"
    return {
        Need.PAYMENT_UNKNOWN: [unknown],
        Need.PAYMENT_DECLINED: [declined],
        Need.STUCK: stuck,
        Need.FAILED: [failed],
        Need.REFUND_WAITING: [waiting],
        Need.REFUND_FAILED: [refused],
        Need.REFUND_PROPOSED: [large],
    }


def test_what_needs_somebody_is_counted_and_opens_the_orders_it_means(
    staff: Desk, trouble: dict[str, list[Order]]
) -> None:
    page = staff.open("index")

    found = {need["kind"]: need for need in page.context["home"]["needs"]}
    assert "No order waits for anybody" not in words(page)
    for need, orders in trouble.items():
        assert found[need]["count"] == len(orders), need
        assert set(orders_in_need(Need(need))) == set(orders)
        listed = staff.client.get(found[need]["link"])
        assert {row.pk for row in listed.context["cl"].queryset} == {order.pk for order in orders}, need
        assert listed.context["cl"].has_active_filters


def test_parked_facts_and_low_stock_are_counted_and_listed(staff: Desk, lamp: Product, customer: User) -> None:
    place(customer, (lamp, 1))
    OutboxEvent.objects.update(parked_at=timezone.now())
    set_reorder_point(stock=lamp.stock, units=99, actor=Actor.part("tests"))
    a_product("DRAFT", on_hand=0, status=Product.Status.DRAFT)
    a_product("FULL", on_hand=5)
    a_product("GONE", on_hand=0, name="Sold out")

    page = staff.open("index")

    found = {need["kind"]: need for need in page.context["home"]["needs"]}
    for kind, count in (("parked", OutboxEvent.objects.count()), ("low", 2)):
        assert found[kind]["count"] == count > 0
        assert count_of(staff, found[kind]["link"]) == count
    assert [low["stock"].product.sku for low in page.context["home"]["low"]] == ["GONE", "LAMP"]
    assert "A brass lamp 99 left reorder at 99" in words(page)


def test_more_than_a_hundred_are_a_hundred_and_more(staff: Desk, customer: User, lamp: Product) -> None:
    charge(place(customer, (lamp, 1)))
    many_orders(customer, 150, stuck=True)

    found = {need["kind"]: need["shown"] for need in staff.open("index").context["home"]["needs"]}

    assert found["stuck"] == "100+"


def test_a_shop_that_has_sold_nothing_is_calm(desk: Desk) -> None:
    for span in ("today", "yesterday", "7-days", "30-days"):
        page = desk.open("index", range=span)
        text = words(page)
        assert page.status_code == 200
        assert "No order waits for anybody." in text
        assert "Nothing was sold yet." in text
        assert "Every shelf is full enough." in text
        assert {card.value for card in page.context["home"]["cards"]} == {"£0.00", "0", "-"}
        assert {need["shown"] for need in page.context["home"]["needs"]} == {"0"}


# --- who sees it -----------------------------------------------------------------------------------------------------
def reader(*rights: str) -> Desk:
    """Somebody at the desk with these rights alone."""
    found = desk_of("readers")
    group, _ = Group.objects.get_or_create(name="readers")
    group.permissions.set(Permission.objects.filter(codename__in=rights))
    found.user.groups.add(group)
    found.user.is_staff = True
    found.user.save()
    return found


def test_who_may_not_see_orders_sees_the_index_and_no_money(trade: list[Order]) -> None:
    page = reader("view_product", "view_stock").open("index")

    assert page.status_code == 200
    assert "home" not in page.context
    assert "£" not in words(page)
    assert "Products" in words(page)


def test_who_sees_orders_alone_sees_neither_shelves_nor_machinery(trade: list[Order], lamp: Product) -> None:
    set_reorder_point(stock=lamp.stock, units=100, actor=Actor.part("tests"))
    desk = reader("view_order")

    page = desk.open("index")

    assert "£30.00" in words(page)
    for hidden in ("Low stock", 'id="machinery"', "Dead letters", "Facts parked", "/catalog/product/"):
        assert hidden not in page.content.decode(), hidden
    assert desk.open("vibecode_queues").status_code == 403


# --- the machinery ---------------------------------------------------------------------------------------------------
def test_the_oldest_fact_that_waits_is_told(staff: Desk, customer: User, lamp: Product) -> None:
    assert "Oldest fact not yet sent all are sent" not in words(staff.open("index"))
    OutboxEvent.objects.update(sent_at=timezone.now())
    assert "Oldest fact not yet sent all are sent" in words(staff.open("index"))

    place(customer, (lamp, 1), at="")
    OutboxEvent.objects.filter(sent_at=None).update(queued_at=timezone.now() - timedelta(seconds=90))

    assert re.search(r"Oldest fact not yet sent 9\d s", words(staff.open("index")))


@pytest.fixture
def dead_letter(settings: Settings) -> Iterator[str]:
    """One letter in the dead-letter queue of the figures."""
    sqs, url = aws.client("sqs"), settings.RESOURCES.queue_url("figures", dead=True)
    sqs.send_message(QueueUrl=url, MessageBody="{}")
    yield "figures"
    sqs.purge_queue(QueueUrl=url)


def test_the_queues_and_their_dead_letters_come_after_the_page(
    staff: Desk, dead_letter: str, settings: Settings
) -> None:
    page = staff.open("index")
    assert 'hx-get="/admin/vibecode/outboxevent/queues/"' in page.content.decode()

    aws.client("stepfunctions").list_executions(stateMachineArn=settings.RESOURCES.state_machine_arn)  # loads it

    for _ in range(10):  # a busy machine's SQS may be slower than anybody should wait for a page
        part = staff.open("vibecode_queues")
        if "does not answer" not in words(part):
            break

    assert part.status_code == 200
    assert f"Queue {dead_letter} 0 waiting, 0 at work, 1 dead" in words(part)
    assert "Executions lost in a day none" in words(part)
    assert re.search(r'<span id="dead-letters" hx-swap-oob="true"><strong[^>]*>1</strong>', part.content.decode())
    assert "<html" not in part.content.decode()


def forget_clients() -> None:
    """They keep the address that they were made with."""
    aws.client.cache_clear()  # type: ignore[attr-defined]  # overloads hide the cache


def test_queues_that_do_not_answer_are_said_to_and_keep_nobody_waiting(staff: Desk, settings: Settings) -> None:
    with socket.create_server(("127.0.0.1", 0)) as deaf:  # takes connections and never answers
        settings.AWS_ENDPOINT_URL = f"http://127.0.0.1:{deaf.getsockname()[1]}"
        forget_clients()
        began = datetime.now(UTC)
        try:
            part = staff.open("vibecode_queues")
            page = staff.open("index")
        finally:
            forget_clients()

    assert datetime.now(UTC) - began < timedelta(seconds=9)
    assert part.status_code == page.status_code == 200
    assert words(part).count("does not answer") >= 3
    assert '<span id="dead-letters" hx-swap-oob="true"><span class="shop-down">does not answer' in part.content.decode()


# --- what it costs ---------------------------------------------------------------------------------------------------
def many_orders(customer: User, count: int, *, stuck: bool = False) -> None:
    """Completed orders of the last weeks with two lines, a payment, often a refund; or ones that are stuck."""
    products = sorted(Product.objects.values_list("pk", flat=True))
    with connection.cursor() as cursor:
        cursor.execute(
            """
            WITH made AS (
                INSERT INTO orders_order (
                    number, user_id, currency, subtotal, shipping_total, tax_total, total, payment_status,
                    fulfilment_status, payment_method, note, cancel_reason, version, created_at, updated_at,
                    completed_at
                )
                SELECT 'ORD-' || lpad(n::text, 26, '0'), %(user)s, 'GBP', 20, 0, 0, 20,
                       CASE WHEN %(stuck)s THEN 'pending' ELSE 'paid' END,
                       CASE WHEN %(stuck)s THEN 'reserved' ELSE 'deducted' END, '', '', '', 1,
                       now() - n %% 60 * interval '1 day', now() - interval '1 day',
                       CASE WHEN NOT %(stuck)s THEN now() END
                FROM generate_series(1, %(count)s) AS n RETURNING id, number
            ), line AS (
                INSERT INTO orders_orderline (order_id, position, product_id, sku, name, unit_price, quantity)
                SELECT made.id, position, (%(products)s::bigint[])[1 + (made.id + position) %% %(many)s],
                       'SKU' || position, 'x', 10, 1
                FROM made, generate_series(1, 2) AS position
            ), paid AS (
                INSERT INTO orders_payment (order_id, provider, reference, method, amount, currency, state, captured,
                                            refunded, attempts)
                SELECT id, 'demo', number, '', 20, 'GBP', 'captured', 20, 0, 1 FROM made WHERE NOT %(stuck)s
                RETURNING id, reference
            )
            INSERT INTO orders_refund (payment_id, reference, amount, reason, state, actor, settled_at)
            SELECT id, reference || '-R1', 5, '', 'settled', '', now() - id %% 60 * interval '1 day'
            FROM paid WHERE id %% 2 = 0
            """,
            {"user": customer.pk, "count": count, "stuck": stuck, "products": products, "many": len(products)},
        )


LARGE = {
    "orders_order", "orders_orderline", "orders_payment", "orders_refund", "orders_ordercontribution",
    "orders_refundcontribution", "orders_timelineentry", "vibecode_outboxevent", "catalog_stockmovement",
}  # fmt: skip


def scanned_whole(plan: dict[str, Any]) -> set[str]:
    """The tables that a plan reads from one end to the other."""
    own = {plan["Relation Name"]} if plan["Node Type"].endswith("Seq Scan") else set()
    return own.union(*(scanned_whole(below) for below in plan.get("Plans", [])))


def test_looking_costs_twelve_statements_at_most_and_scans_no_large_table(
    staff: Desk, customer: User, trouble: dict[str, list[Order]]
) -> None:
    for _ in range(20):
        a_product()
    many_orders(customer, 20_000 if FULL else 4_000)
    OutboxEvent.objects.bulk_create(
        OutboxEvent(source="tests", detail_type="Noted", subject=str(n), detail={}, sent_at=timezone.now())
        for n in range(4_000)
    )
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE")  # what is rolled back is no measure of what is here now
        rebuild_figures()
        cursor.execute("ANALYZE")
    staff.open("index")  # caches of the process

    for span in ("today", "30-days"):
        with CaptureQueriesContext(connection) as asked:
            page = staff.open("index", range=span)
        assert page.context["home"]["now"].placed > 50
        statements = [query["sql"] for query in asked if query["sql"].startswith(("SELECT", "(SELECT", "WITH"))]
        assert len(asked) <= 12, [query["sql"][:80] for query in asked]
        assert any("orders_dailyfigures" in sql for sql in statements)
        for sql in statements:
            with connection.cursor() as cursor:
                cursor.execute(f"EXPLAIN (FORMAT JSON) {sql}")
                [document] = cursor.fetchone()
            [top] = document if isinstance(document, list) else json.loads(document)
            assert not scanned_whole(top["Plan"]) & LARGE, sql


def test_a_day_that_nobody_counted_yet_is_put_right_when_its_fact_comes(
    staff: Desk, customer: User, lamp: Product
) -> None:
    order = place(customer, (lamp, 1))
    assert staff.open("index").context["home"]["now"].placed == 0

    count_order(number=order.number)

    assert staff.open("index").context["home"]["now"].placed == 1
