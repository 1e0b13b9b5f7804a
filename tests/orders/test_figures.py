"""The figures of the home page are what the tables add up to, whatever happened and however its facts came."""

import functools
import random
import threading
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from datetime import date, timedelta
from decimal import Decimal
from types import SimpleNamespace
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import IntegrityError, connection, transaction
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from hypothesis import HealthCheck, given
from hypothesis import settings as trial
from hypothesis import strategies as st

from accounts.models import User
from catalog.models import Product
from orders import operations, workflow
from orders.consumers import on_order_counts
from orders.models import (
    DailyFigures,
    DailySales,
    IllegalTransition,
    Order,
    OrderContribution,
    Payment,
    Refund,
    RefundContribution,
    StatusFigures,
)
from orders.services import (
    NotRefundable,
    OrderIsOver,
    Place,
    audit_figures,
    cancel_order,
    complete_order,
    count_order,
    deduct_held_stock,
    fail_order,
    rebuild_figures,
    recount_lately,
    request_refund,
)
from orders.services.settling import fail_refund, record_refund
from orders.status import PaymentState, RefundState
from tests.in_process import FULL, make_product
from tests.orders.recount import charge, deliver_all, facts_since, kept, place, recounted
from tests.over_http import Shop
from vibecode.models import OutboxEvent
from vibecode.operations import BadArguments
from vibecode.rights import Actor

REFUSALS = (IllegalTransition, NotRefundable, OrderIsOver)


def somebody() -> User:
    sub = str(uuid.uuid4())
    return User.objects.create(cognito_sub=sub, email=f"{sub}@example.com")


@pytest.fixture
def customer(db: None) -> User:
    return somebody()


@pytest.fixture
def lamp(db: None) -> Product:
    return make_product(on_hand=100_000, price="2.50")


@pytest.fixture
def mug(db: None) -> Product:
    return make_product(on_hand=100_000, price="0.35")


def give_back(order: Order, amount: str | None = None) -> Refund:
    left = Payment.objects.get(order=order).refundable
    money = left if amount is None else Decimal(amount)
    refund = request_refund(order=order, amount=money, reason="", actor=Actor.part("me"))
    record_refund(refund=refund, provider_id="")
    refund.refresh_from_db()
    return refund


# --- what each figure means ------------------------------------------------------------------------------------------
def test_an_order_counts_on_the_day_it_was_placed_and_its_refund_on_the_day_it_was_settled(
    customer: User, lamp: Product, mug: Product
) -> None:
    order = charge(place(customer, (lamp, 2), (mug, 10), at="2026-03-05T12:00:00Z"))
    refund = give_back(order, "1.25")
    Refund.objects.filter(pk=refund.pk).update(settled_at="2026-03-09T12:00:00Z")

    deliver_all()

    assert kept() == {
        "days": {
            date(2026, 3, 5): (1, 1, 12, Decimal("8.50"), 0, Decimal(0)),
            date(2026, 3, 9): (0, 0, 0, Decimal(0), 1, Decimal("1.25")),
        },
        "sales": {
            (date(2026, 3, 5), lamp.pk): (2, Decimal("5.00")),
            (date(2026, 3, 5), mug.pk): (10, Decimal("3.50")),
        },
        "statuses": {"paid": (1,)},
    }


def test_what_was_captured_of_a_cancelled_order_stays_revenue_and_its_refund_stands_beside_it(
    customer: User, lamp: Product
) -> None:
    order = cancel_order(order=charge(place(customer, (lamp, 2))), reason="", actor=Actor.part("me"))
    record_refund(refund=Refund.objects.get(payment__order=order), provider_id="")

    deliver_all()

    [day] = DailyFigures.objects.all()
    assert (day.placed, day.paid, day.revenue, day.refunds, day.refunded) == (1, 1, Decimal(5), 1, Decimal(5))
    assert kept()["statuses"] == {"cancelled": (1,)}


def test_an_order_that_was_never_paid_sells_nothing(customer: User, lamp: Product) -> None:
    order = charge(place(customer, (lamp, 2)), PaymentState.DECLINED)
    cancel_order(order=order, reason="", actor=Actor.part("me"))

    deliver_all()

    [day] = DailyFigures.objects.all()
    assert (day.placed, day.paid, day.units, day.revenue) == (1, 0, 0, Decimal(0))
    assert not DailySales.objects.exists()


def test_a_refund_that_the_bank_sends_back_counts_no_longer_and_the_figures_hear_of_it(
    customer: User, lamp: Product
) -> None:
    order = charge(place(customer, (lamp, 2)))
    refund = give_back(order)
    deliver_all()
    assert kept()["statuses"] == {"refunded": (1,)}
    seen = OutboxEvent.objects.latest("pk").pk

    fail_refund(order=order, reference=refund.reference, reason="account closed")
    for fact in facts_since(seen):
        on_order_counts(fact)

    told = OutboxEvent.objects.get(pk__gt=seen)
    assert (told.detail_type, told.detail["status"], told.detail["amount"]) == ("Refund Failed", "paid", "5.00")
    assert told.detail["orderVersion"] == Order.objects.get(pk=order.pk).version
    assert "account closed" not in str(told.detail)
    assert kept()["statuses"] == {"paid": (1,)}
    assert DailyFigures.objects.get().refunds == DailyFigures.objects.get().refunded == 0
    assert not RefundContribution.objects.exists()


def test_a_refund_that_fails_twice_is_told_once(customer: User, lamp: Product) -> None:
    order = charge(place(customer, (lamp, 2)))
    refund = give_back(order)

    for _ in range(2):
        fail_refund(order=order, reference=refund.reference, reason="account closed")

    assert OutboxEvent.objects.filter(detail_type="Refund Failed").count() == 1


# In 2026 London's clocks go forward on 29 March at 1:00 and back on 25 October at 2:00.
@pytest.mark.parametrize(
    ("moment", "day"),
    [
        ("2026-03-29T00:00:00Z", date(2026, 3, 29)),  # the first moment of a day of 23 hours
        ("2026-03-28T23:59:59.999999Z", date(2026, 3, 28)),
        ("2026-03-29T22:59:59.999999Z", date(2026, 3, 29)),  # its last moment, in summer time
        ("2026-03-29T23:00:00Z", date(2026, 3, 30)),
        ("2026-10-24T22:59:59.999999Z", date(2026, 10, 24)),
        ("2026-10-24T23:00:00Z", date(2026, 10, 25)),  # the first moment of a day of 25 hours
        ("2026-10-25T23:59:59.999999Z", date(2026, 10, 25)),  # its last moment, in winter time
        ("2026-10-26T00:00:00Z", date(2026, 10, 26)),
    ],
)
def test_days_begin_and_end_at_the_shops_midnight_also_when_the_clock_changes(
    customer: User, lamp: Product, moment: str, day: date
) -> None:
    order = charge(place(customer, (lamp, 1), at=moment))
    refund = give_back(order)
    Refund.objects.filter(pk=refund.pk).update(settled_at=moment)

    deliver_all()

    assert {row.day: (row.placed, row.refunds) for row in DailyFigures.objects.all()} == {day: (1, 1)}
    assert {row.day for row in DailySales.objects.all()} == {day}
    assert kept() == recounted()


# --- whatever happens ------------------------------------------------------------------------------------------------
MOMENTS = [
    "2026-03-28T23:59:59Z", "2026-03-29T00:30:00Z", "2026-03-29T23:10:00Z",
    "2026-10-24T23:10:00Z", "2026-10-25T01:30:00Z", "2026-10-26T00:00:00Z",
]  # fmt: skip


class History:
    """Orders, what befalls them, and the facts of it that lie about."""

    def __init__(self, customer: User, shelf: list[Product], chance: random.Random) -> None:
        self.customer, self.shelf, self.chance = customer, shelf, chance
        self.orders: list[int] = []
        self.seen = OutboxEvent.objects.order_by("-pk").values_list("pk", flat=True).first() or 0
        self.lying: list[dict[str, Any]] = []

    def place(self) -> None:
        wanted = self.chance.sample(self.shelf, self.chance.randint(1, len(self.shelf)))
        lines = [(product, self.chance.randint(1, 9)) for product in wanted]
        self.orders.append(place(self.customer, *lines, at=self.chance.choice(MOMENTS)).pk)

    def befall(self, deed: Callable[["History", Order], object]) -> None:
        if self.orders:
            order = Order.objects.select_related("user").get(pk=self.chance.choice(self.orders[-3:]))
            try:
                with transaction.atomic():
                    deed(self, order)
            except REFUSALS:
                pass

    def gather(self) -> None:
        """Hear of what was published; some of it again and again."""
        for fact in facts_since(self.seen):
            self.seen = fact["id"]
            self.lying += [fact] * self.chance.choice([1, 1, 2, 3])

    def deliver(self, most: int) -> None:
        self.chance.shuffle(self.lying)
        for fact in self.lying[:most]:
            on_order_counts(fact)
            if self.chance.random() < 0.3:  # the inbox has forgotten
                count_order(number=fact["detail"]["orderId"])
        del self.lying[:most]


def _refund(history: History, order: Order) -> None:
    payment = Payment.objects.filter(order=order).first()
    left = payment.refundable if payment else Decimal(0)
    amount = history.chance.choice([None, Decimal("0.01"), left / 2])
    request_refund(order=order, amount=amount and amount.quantize(Decimal("0.01")), reason="", actor=Actor.part("me"))


def _settle(history: History, order: Order) -> None:
    for refund in Refund.objects.filter(payment__order=order, state=RefundState.PENDING):
        record_refund(refund=refund, provider_id="")
        Refund.objects.filter(pk=refund.pk).update(settled_at=history.chance.choice(MOMENTS))


def _give_back(history: History, order: Order) -> None:
    _refund(history, order)
    _settle(history, order)


def _fail_refund(history: History, order: Order) -> None:
    for refund in Refund.objects.filter(payment__order=order):
        if history.chance.random() < 0.5:
            fail_refund(order=order, reference=refund.reference, reason="no")


DEEDS: dict[str, Callable[[History, Order], object]] = {
    "capture": lambda _, order: charge(order),
    "decline": lambda _, order: charge(order, PaymentState.DECLINED),
    "lose the payment": lambda _, order: charge(order, PaymentState.UNKNOWN),
    "deduct": lambda _, order: deduct_held_stock(order=order),
    "complete": lambda _, order: complete_order(order=order),
    "cancel": lambda _, order: cancel_order(order=order, reason="", actor=Actor.part("me")),
    "fail": lambda _, order: fail_order(order=order),
    "refund": _refund,
    "settle": _settle,
    "give back": _give_back,
    "fail the refund": _fail_refund,
}


@trial(
    max_examples=150 if FULL else 30,
    deadline=None,
    database=None,
    print_blob=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    steps=st.lists(
        st.sampled_from(["place", "capture", "give back", "fail the refund", *DEEDS, *["deliver some"] * 3]),
        min_size=5,
        max_size=40,
    ),
    seed=st.integers(0, 2**32),
)
def test_after_any_history_the_figures_are_what_the_tables_add_up_to(
    customer: User, lamp: Product, mug: Product, steps: list[str], seed: int
) -> None:
    with transaction.atomic():  # the next history begins with nothing
        history = History(customer, [lamp, mug], random.Random(seed))
        for step in ["place", "place", *steps]:
            if step == "place":
                history.place()
            elif step == "deliver some":
                history.deliver(most=4)
            else:
                history.befall(DEEDS[step])
            history.gather()

        history.deliver(most=len(history.lying))

        assert kept() == recounted()
        assert audit_figures() == []
        transaction.set_rollback(True)


def test_counting_costs_the_same_statements_whatever_the_order(customer: User, lamp: Product, mug: Product) -> None:
    many = [make_product(on_hand=5) for _ in range(40)]
    small = charge(place(customer, (lamp, 1)))
    large = charge(place(customer, *((product, 1) for product in many)))
    give_back(large, "1.00")
    give_back(large, "1.00")

    costs = []
    for order in (small, large, large):
        with CaptureQueriesContext(connection) as statements:
            count_order(number=order.number)
        costs.append([query["sql"].split()[0] for query in statements])

    assert costs == [["SELECT", "INSERT", "WITH"]] * 3
    assert kept() == recounted()


def test_a_fact_about_no_order_comes_back(db: None) -> None:
    fact = {"detail-type": "Order Paid", "detail": {"orderId": "ORD-NONE", "eventId": str(uuid.uuid4())}}
    with pytest.raises(Order.DoesNotExist):
        on_order_counts(fact)


def test_another_zone_moves_what_is_counted_to_other_days(
    customer: User, lamp: Product, mug: Product, settings: Any
) -> None:
    orders = [charge(place(customer, (lamp, 1), (mug, 2), at=moment)) for moment in MOMENTS]
    give_back(orders[0], "1.00")
    deliver_all()
    before = kept()

    settings.TIME_ZONE = "Asia/Tokyo"
    for order in orders:
        count_order(number=order.number)

    assert kept() == recounted() != before


# --- many at once ----------------------------------------------------------------------------------------------------
def in_thread[T](work: Callable[[], T]) -> T:
    try:
        return work()
    finally:
        connection.close()


@pytest.mark.parametrize("rebuilding", [False, True])
def test_workers_that_count_and_change_at_once_neither_deadlock_nor_lose_anything(
    shop: Shop, rebuilding: bool, seed: int
) -> None:
    rebuild_figures()  # whatever other tests have left in this database
    chance = random.Random(seed)
    products = [shop.product(on_hand=10_000) for _ in range(4)]
    customer = somebody()
    orders = [place(customer, *((p, 1) for p in chance.sample(products, 3))) for _ in range(16)]
    done = threading.Event()

    def change(order: Order, chance: random.Random) -> None:
        for name in chance.sample([*DEEDS, "capture", "cancel", "refund", "settle"], 8):
            try:
                DEEDS[name](History(customer, products, chance), Order.objects.select_related("user").get(pk=order.pk))
            except REFUSALS:
                continue
            count_order(number=order.number)

    def count_about(chance: random.Random) -> int:
        counted = 0
        while not done.is_set():
            count_order(number=chance.choice(orders[:6]).number)
            counted += 1
        return counted

    def rebuild() -> int:
        rebuilt = 0
        while not done.is_set():
            rebuild_figures(start=Place(orders[0].pk - 1))
            rebuilt += 1
        return rebuilt

    with ThreadPoolExecutor(10) as pool:
        others = [pool.submit(in_thread, functools.partial(count_about, random.Random(seed + n))) for n in range(4)]
        if rebuilding:
            others.append(pool.submit(in_thread, rebuild))
        changes = [
            pool.submit(in_thread, functools.partial(change, order, random.Random(seed - n)))
            for n, order in enumerate(orders, start=1)
        ]
        wait(changes)
        done.set()
        assert [each.exception() for each in changes] == [None] * len(changes)
        worked = [each.result(timeout=120) for each in others]

    assert all(worked), worked
    assert kept() == recounted()
    assert audit_figures() == []


def test_who_counts_waits_until_another_who_counts_the_same_order_is_done(shop: Shop) -> None:
    order = charge(place(somebody(), (shop.product(on_hand=5), 1)))
    rebuild_figures()
    before = kept()
    with ThreadPoolExecutor(1) as pool:
        with transaction.atomic():
            OrderContribution.objects.count_anew([order.pk])
            cancel_order(order=order, reason="", actor=Actor.part("me"))
            counted = pool.submit(in_thread, functools.partial(count_order, number=order.number))
            with pytest.raises(TimeoutError):
                counted.result(timeout=0.5)
        counted.result(timeout=10)

    assert kept() == recounted() != before


# --- the audit and the repairs ---------------------------------------------------------------------------------------
def spoil(order: Order, lamp: Product) -> dict[str, Callable[[], object]]:
    """Each way in which figures may be wrong, by a part of the sentence that names it."""
    day = timezone.localdate()
    return {
        f"{order.number} is paid": lambda: OrderContribution.objects.filter(order=order).delete(),
        "its refund": lambda: RefundContribution.objects.update(amount=9),
        f"{day}: the contributions make 1 placed": lambda: DailyFigures.objects.update(revenue=1),
        f"2 of {lamp.sku} for 5.00": lambda: DailySales.objects.all().delete(),
        "paid: 1 orders contribute; the figures say 7": lambda: StatusFigures.objects.update(orders=7),
        "2020-01-01: the contributions make 0 placed": lambda: DailyFigures.objects.create(day="2020-01-01", placed=1),
        "shipped: 0 orders contribute": lambda: StatusFigures.objects.create(status="shipped", orders=1),
    }


def counted_order(customer: User, lamp: Product) -> Order:
    order = charge(place(customer, (lamp, 2)))
    give_back(order, "1.00")
    deliver_all()
    assert audit_figures() == []
    return order


@pytest.mark.parametrize("way", range(7))
def test_the_audit_names_what_differs_and_the_rebuild_puts_it_right(customer: User, lamp: Product, way: int) -> None:
    order = counted_order(customer, lamp)
    named, harm = list(spoil(order, lamp).items())[way]

    harm()

    assert any(named in sentence for sentence in audit_figures()), audit_figures()
    assert operations.audit()["agree"] is False
    with pytest.raises(CommandError, match="differences between stock, ledger, orders and figures"):
        call_command("audit_stock")
    call_command("rebuild_figures")
    assert kept() == recounted()
    assert operations.audit() == {"agree": True, "differences": []}


def test_an_order_whose_fact_is_on_its_way_is_no_difference(customer: User, lamp: Product) -> None:
    order = place(customer, (lamp, 2))
    assert audit_figures() == []

    [fact] = facts_since(0)
    on_order_counts(fact)
    OrderContribution.objects.filter(order=order).delete()

    assert [sentence.partition(" ")[0] for sentence in audit_figures() if "ORD-" in sentence] == [order.number]


def test_a_shop_that_had_orders_before_it_had_figures_gets_them_by_the_rebuild(
    customer: User, lamp: Product, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("orders.services.counting.AT_ONCE", 2)
    orders = [charge(place(customer, (lamp, 1), at=moment)) for moment in MOMENTS]

    call_command("rebuild_figures")

    assert kept() == recounted()
    said = capsys.readouterr().out.splitlines()
    assert said[0] == f"orders: {orders[1].pk:,} of {orders[-1].pk:,}"
    assert said[-1] == "the figures are what the orders add up to"


def test_a_rebuild_that_ran_out_of_time_goes_on_where_it_was(
    customer: User, lamp: Product, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("orders.services.counting.AT_ONCE", 1)
    orders = [charge(place(customer, (lamp, 1))) for _ in range(2)]
    monkeypatch.setattr("orders.operations.SECONDS", -1.0)
    assert operations.rebuild_figures() == {"done": False, "goOnAfter": 0}

    monkeypatch.setattr("orders.operations.SECONDS", 60.0)
    assert operations.rebuild_figures(after=orders[0].pk) == {"done": True}

    assert DailyFigures.objects.get().placed == 1
    assert operations.rebuild_figures() == {"done": True}
    assert kept() == recounted()


def test_a_rebuild_that_ran_out_of_time_among_its_days_goes_on_with_the_next_one(
    customer: User, lamp: Product, monkeypatch: pytest.MonkeyPatch
) -> None:
    orders = [charge(place(customer, (lamp, 1), at=moment)) for moment in MOMENTS]
    days = sorted({timezone.localdate(order.created_at) for order in orders})
    settled: list[date] = []
    settle = type(DailyFigures.objects.all()).settle

    def settle_and_note(rows: Any, day: date) -> None:
        settled.append(day)
        settle(rows, day)

    monkeypatch.setattr(type(DailyFigures.objects.all()), "settle", settle_and_note)
    clock = SimpleNamespace(monotonic=lambda: len(settled))  # its time is over after one day
    monkeypatch.setattr("orders.services.counting.time", clock)

    place_to_go_on = rebuild_figures(seconds=0.5)

    assert place_to_go_on == Place(orders[-1].pk, days[1])
    assert settled == days[:1]
    assert place_to_go_on is not None
    assert rebuild_figures(start=place_to_go_on) is None
    assert settled == days
    assert kept() == recounted()


def test_the_operation_takes_up_a_rebuild_at_a_day(
    customer: User, lamp: Product, monkeypatch: pytest.MonkeyPatch
) -> None:
    order = charge(place(customer, (lamp, 1)))
    monkeypatch.setattr("orders.operations.SECONDS", -1.0)

    answer = operations.rebuild_figures(after=order.pk)

    today = timezone.localdate().isoformat()
    call_command("rebuild_figures")
    assert answer == {"done": True}, "nothing was counted yet, so there is no day"
    assert operations.rebuild_figures(after=order.pk) == {"done": False, "goOnAfter": order.pk, "goOnFrom": today}
    monkeypatch.setattr("orders.operations.SECONDS", 60.0)
    assert operations.rebuild_figures(after=order.pk, day=today) == {"done": True}
    with pytest.raises(BadArguments, match="2026-11-26"):
        operations.rebuild_figures(day="tomorrow")


def test_a_recount_that_ran_out_of_time_goes_on_the_next_time(
    customer: User, lamp: Product, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("orders.services.counting.AT_ONCE", 1)
    orders = [charge(place(customer, (lamp, 1))) for _ in range(3)]

    assert recount_lately(seconds=-1) == (0, 3)
    assert recount_lately(seconds=60) == (3, 0)

    assert set(OrderContribution.objects.values_list("order", flat=True)) == {order.pk for order in orders}
    assert recount_lately() == (0, 0)


def test_the_nightly_recount_finds_what_facts_were_lost_of_the_last_two_days(customer: User, lamp: Product) -> None:
    old, lost = (f"{timezone.now() - timedelta(days=days):%Y-%m-%dT%H:%M:%SZ}" for days in (30, 1))
    charge(place(customer, (lamp, 1), at=lost))
    given_back = charge(place(customer, (lamp, 1), at=old))
    long_ago = charge(place(customer, (lamp, 1), at=old))
    give_back(given_back)

    workflow.recount()

    assert set(OrderContribution.objects.values_list("order", flat=True)) == set(
        Order.objects.exclude(pk=long_ago.pk).values_list("pk", flat=True)
    )
    assert audit_figures() == []
    written = list(OrderContribution.objects.values())
    workflow.recount()
    assert list(OrderContribution.objects.values()) == written


@pytest.mark.parametrize(
    ("constraint", "values"),
    [
        ("order_contribution_is_whole_or_nothing", {"status": "paid"}),
        ("order_contribution_is_whole_or_nothing", {"day": "2026-01-01"}),
        ("order_contribution_unpaid_sold_nothing", {"day": "2026-01-01", "status": "pending", "units": 1}),
    ],
)
def test_a_contribution_is_whole(customer: User, lamp: Product, constraint: str, values: dict[str, Any]) -> None:
    order = place(customer, (lamp, 1))
    with pytest.raises(IntegrityError, match=constraint), transaction.atomic():
        OrderContribution.objects.create(order=order, **values)


def test_sums_stand_once_and_statuses_are_known(customer: User, lamp: Product) -> None:
    DailySales.objects.create(day="2026-01-01", product=lamp)
    with pytest.raises(IntegrityError, match="daily_sales_stand_once"), transaction.atomic():
        DailySales.objects.create(day="2026-01-01", product=lamp)
    with pytest.raises(IntegrityError, match="status_figures_status_is_known"), transaction.atomic():
        StatusFigures.objects.create(status="lost")
