"""Random lives of orders, each operation through its door, compared step by step with a model kept in plain numbers.

Money captured is kept or given back; no unit is lost, sold twice, or shipped after its refund; the ledger is right.
"""

import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, cast

import pytest
from django.db import IntegrityError, transaction
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from catalog.models import Stock
from orders import services, workflow
from orders.models import Order
from orders.services import audit_stock
from orders.status import FulfilmentStatus as F
from tests.books import Books
from tests.in_process import FULL, Caller, make_product, order_body, sign_in

PRICES = {"LAMP": Decimal("2.50"), "MUG": Decimal("1.25")}
LIMIT = 6
units_of = st.fixed_dictionaries({"LAMP": st.integers(0, 4), "MUG": st.integers(0, 4)})


@dataclass
class Line:
    """What became of the units of one line."""

    quantity: int
    shipped: int = 0
    refunded: int = 0
    withdrawn: int = 0
    restocked: int = 0

    @property
    def to_ship(self) -> int:
        """Still to leave the house."""
        return self.quantity - self.shipped - self.withdrawn

    @property
    def counters(self) -> tuple[int, int, int, int]:
        """As the table has them."""
        return self.shipped, self.refunded, self.withdrawn, self.restocked


@dataclass
class Given:
    """A refund: its money, what it is about (units, of these withdrawn), and where it is."""

    reference: str
    amount: Decimal
    by: int
    goods: dict[str, tuple[int, int]]
    restock: bool
    state: str = "pending"


@dataclass
class Life:
    """One order as it should be."""

    number: str
    lines: dict[str, Line]
    captured: Decimal = Decimal(0)
    held: bool = True
    cancelled: bool = False
    arrived: int = 0
    refunds: list[Given] = field(default_factory=list)

    @property
    def total(self) -> Decimal:
        """What it costs."""
        return sum((PRICES[sku] * line.quantity for sku, line in self.lines.items()), Decimal(0))

    @property
    def left(self) -> Decimal:
        """What can still be given back."""
        return self.captured - sum((each.amount for each in self.refunds if each.state != "rejected"), Decimal(0))

    @property
    def given_back(self) -> Decimal:
        """What has gone back or is on its way."""
        return sum((each.amount for each in self.refunds if each.state in {"pending", "settled"}), Decimal(0))

    @property
    def settled(self) -> Decimal:
        """What has gone back."""
        return sum((each.amount for each in self.refunds if each.state == "settled"), Decimal(0))

    @property
    def fulfilment(self) -> str:
        """Where the goods are."""
        if self.cancelled:
            return F.UNFULFILLED
        if self.held:
            return F.RESERVED
        waits = sum(w for each in self.refunds if each.state == "proposed" for _, w in each.goods.values())
        left = sum(line.to_ship for line in self.lines.values()) + waits
        shipped = sum(line.shipped for line in self.lines.values())
        if not shipped:
            return F.DEDUCTED if left else F.UNFULFILLED
        return F.PARTLY_SHIPPED if left else F.DELIVERED if self.arrived == shipped else F.SHIPPED

    @property
    def payment(self) -> str:
        """Where the money is."""
        if not self.captured:
            return "pending"
        return "paid" if not self.settled else "refunded" if self.settled == self.captured else "partly_refunded"


class Lives(RuleBasedStateMachine):
    """What customers, staff, workflow and consumers do to a few orders, in any order."""

    world: "World"  # set for a run

    def __init__(self) -> None:
        super().__init__()
        self.block = transaction.atomic()
        setattr(self.block, "_from_testcase", True)  # noqa: B010 -- Django's own mark: what is durable may stand in it
        self.block.__enter__()
        self.lives: list[Life] = []
        self.stock = dict.fromkeys(PRICES, 12)
        self.reserved = dict.fromkeys(PRICES, 0)

    def teardown(self) -> None:
        """Nothing of one sequence is in the next."""
        try:
            assert audit_stock() == []
            for life in self.lives:
                if life.captured:
                    book = self.world.books.of(life.number)
                    assert sum(map(Decimal, book["refunded"])) == life.settled, life
        finally:
            transaction.set_rollback(True)
            self.block.__exit__(None, None, None)

    @initialize()
    def open_shop(self) -> None:
        """Twelve of each."""
        for sku, price in PRICES.items():
            make_product(sku, on_hand=12, price=str(price))

    def post(self, who: Caller, path: str, body: Any, status: int) -> Any:
        """Ask for it; what was done is asked for again under the same key, which changes nothing."""
        key = uuid.uuid4().hex
        answer = who.post(path, body, Idempotency_Key=key)
        assert answer.status_code == status, (path, body, answer.content, self.lives)
        if status < 300:
            again = who.post(path, body, Idempotency_Key=key)
            assert (again.status_code, again.content) == (status, answer.content)
        return answer.json()

    # --- the customer ------------------------------------------------------------------------------------------------
    @precondition(lambda self: len(self.lives) < 3)
    @rule(wanted=units_of)
    def place(self, wanted: dict[str, int]) -> None:
        """An order, if there is enough."""
        wanted = {sku: count for sku, count in wanted.items() if count} or {"LAMP": 1}
        enough = all(count <= self.stock[sku] - self.reserved[sku] for sku, count in wanted.items())
        body = order_body(*wanted.items(), paymentMethod="demo_ok")
        answer = self.post(self.world.shopper, "/orders", body, 201 if enough else 409)
        if enough:
            self.lives.append(Life(answer["orderId"], {sku: Line(count) for sku, count in wanted.items()}))
            for sku, count in wanted.items():
                self.reserved[sku] += count

    # --- the machinery -----------------------------------------------------------------------------------------------
    @precondition(lambda self: any(not life.captured and not life.cancelled for life in self.lives))
    @rule(data=st.data())
    def pay(self, data: st.DataObject) -> None:
        """The workflow's step, twice: it may come again."""
        life = data.draw(st.sampled_from([each for each in self.lives if not each.captured and not each.cancelled]))
        for _ in range(2):
            workflow.process_payment({"orderId": life.number}, None)
        life.captured = life.total

    @precondition(lambda self: any(life.captured and life.held and not life.cancelled for life in self.lives))
    @rule(data=st.data())
    def deduct(self, data: st.DataObject) -> None:
        """The workflow's step, twice."""
        open_lives = [each for each in self.lives if each.captured and each.held and not each.cancelled]
        life = data.draw(st.sampled_from(open_lives))
        for _ in range(2):
            workflow.deduct_stock({"orderId": life.number}, None)
        life.held = False
        for sku, line in life.lines.items():
            self.stock[sku] -= line.quantity
            self.reserved[sku] -= line.quantity

    @precondition(lambda self: self.lives)
    @rule(data=st.data())
    def settle(self, data: st.DataObject) -> None:
        """The consumer gives the money back."""
        life = self.one(data)
        services.settle_money(order=Order.objects.get(number=life.number))
        for each in life.refunds:
            if each.state == "pending":
                each.state = "settled"

    # --- staff -------------------------------------------------------------------------------------------------------
    def one(self, data: st.DataObject) -> Life:
        """Any of the orders."""
        return data.draw(st.sampled_from(self.lives))

    @precondition(lambda self: self.lives)
    @rule(data=st.data(), wanted=units_of, whole=st.booleans())
    def ship(self, data: st.DataObject, wanted: dict[str, int], whole: bool) -> None:
        """A parcel, of all that is left or of some units."""
        life = self.one(data)
        wanted = _some(wanted, life)
        units = {sku: line.to_ship for sku, line in life.lines.items() if line.to_ship} if whole else wanted
        may = (
            life.fulfilment in {F.DEDUCTED, F.PARTLY_SHIPPED}
            and life.payment in {"paid", "partly_refunded"}
            and life.given_back < life.captured
            and bool(units)
            and all(count <= life.lines[sku].to_ship for sku, count in units.items())
        )
        self.post(
            self.world.staff, f"/orders/{life.number}/shipments", {} if whole else _items(units), 201 if may else 409
        )
        if may:
            for sku, count in units.items():
                life.lines[sku].shipped += count

    @precondition(lambda self: self.lives)
    @rule(data=st.data())
    def deliver(self, data: st.DataObject) -> None:
        """Everything that is on its way has arrived."""
        life = self.one(data)
        shipped = sum(line.shipped for line in life.lines.values())
        may = shipped > life.arrived or life.fulfilment == F.DELIVERED
        self.post(self.world.staff, f"/orders/{life.number}/delivery", {}, 200 if may else 409)
        life.arrived = shipped

    @precondition(lambda self: self.lives)
    @rule(data=st.data(), amount=st.integers(1, 40), by=st.integers(0, 1))
    def refund_amount(self, data: st.DataObject, amount: int, by: int) -> None:
        """Money and no goods."""
        life = self.one(data)
        self.give_back(
            life, Decimal(amount) / 4, {}, by=by, restock=False, body={"amount": f"{Decimal(amount) / 4:.2f}"}
        )

    @precondition(lambda self: self.lives)
    @rule(data=st.data(), wanted=units_of, by=st.integers(0, 1), restock=st.booleans())
    def refund_items(self, data: st.DataObject, wanted: dict[str, int], by: int, restock: bool) -> None:
        """Units, those that have not left first."""
        life = self.one(data)
        wanted = {sku: count for sku, count in wanted.items() if count and sku in life.lines} or {
            next(iter(life.lines)): 1
        }
        may = life.fulfilment not in {F.RESERVED, F.UNFULFILLED} and all(
            count <= life.lines[sku].quantity - life.lines[sku].refunded for sku, count in wanted.items()
        )
        goods = {sku: (count, min(count, life.lines[sku].to_ship)) for sku, count in wanted.items()}
        self.give_back(life, _cost(wanted), goods, by=by, restock=restock, may=may, body=_items(wanted))

    @precondition(lambda self: self.lives)
    @rule(data=st.data(), by=st.integers(0, 1), restock=st.booleans())
    def refund_all(self, data: st.DataObject, by: int, restock: bool) -> None:
        """All that is left, of money and of goods."""
        life = self.one(data)
        may = life.fulfilment not in {F.RESERVED, F.UNFULFILLED}
        rest = {sku: line.quantity - line.refunded for sku, line in life.lines.items()}
        goods = {sku: (count, min(count, life.lines[sku].to_ship)) for sku, count in rest.items() if count}
        if may and not life.left and goods:
            return  # the goods alone, for no money: a life of its own
        self.give_back(life, life.left, goods, by=by, restock=restock, may=may, body={})

    @precondition(lambda self: self.lives)
    @rule(data=st.data(), wanted=units_of, by=st.integers(0, 1), restock=st.booleans())
    def take_back(self, data: st.DataObject, wanted: dict[str, int], by: int, restock: bool) -> None:
        """Units that had left."""
        life = self.one(data)
        wanted = {sku: count for sku, count in wanted.items() if count and sku in life.lines} or {
            next(iter(life.lines)): 1
        }
        may = all(
            count <= life.lines[sku].shipped - (life.lines[sku].refunded - life.lines[sku].withdrawn)
            for sku, count in wanted.items()
        )
        goods = {sku: (count, 0) for sku, count in wanted.items()}
        body = _items(wanted)
        self.give_back(life, _cost(wanted), goods, by=by, restock=restock, may=may, body=body, verb="returns")

    def give_back(
        self,
        life: Life,
        amount: Decimal,
        goods: dict[str, tuple[int, int]],
        *,
        by: int,
        restock: bool,
        body: dict[str, Any],
        may: bool = True,
        verb: str = "refunds",
    ) -> None:
        """Ask for it, and keep in mind what it does."""
        may = may and 0 < amount <= life.left
        sent = {**body, "reason": "model", **({"restock": restock} if "amount" not in body else {})}
        answer = self.post(self.world.people[by], f"/orders/{life.number}/{verb}", sent, 201 if may else 409)
        if not may:
            return
        mine = sum(
            (each.amount for each in life.refunds if each.by == by and each.state in {"pending", "settled"}), Decimal(0)
        )
        given = Given(answer["refundId"], amount, by, goods, restock)
        given.state = "proposed" if mine + amount > LIMIT else "pending"
        assert answer["status"] == given.state
        life.refunds.append(given)
        for sku, (count, withdrawn) in goods.items():
            life.lines[sku].refunded += count
            life.lines[sku].withdrawn += withdrawn
        if given.state == "pending":
            self.put_back(life, given)

    def put_back(self, life: Life, given: Given) -> None:
        """The units of a refund that is carried out, on the shelf where it says so."""
        for sku, (count, _) in given.goods.items():
            if given.restock:
                life.lines[sku].restocked += count
                self.stock[sku] += count

    @precondition(lambda self: any(each.state == "proposed" for life in self.lives for each in life.refunds))
    @rule(data=st.data(), agree=st.booleans(), by=st.integers(0, 1))
    def decide(self, data: st.DataObject, agree: bool, by: int) -> None:
        """A second person, or the first one in vain."""
        proposed = [(life, each) for life in self.lives for each in life.refunds if each.state == "proposed"]
        life, given = data.draw(st.sampled_from(proposed))
        address = f"/orders/{life.number}/refunds/{given.reference}"
        if agree and by == given.by:
            self.post(self.world.people[by], f"{address}/approve", {}, 403)
        elif agree:
            self.post(self.world.people[by], f"{address}/approve", {}, 200)
            given.state, given.by = "pending", -1  # it counts against nobody's limit any more
            self.put_back(life, given)
        else:
            self.post(self.world.people[by], f"{address}/reject", {"reason": "no"}, 200)
            self.forget(life, given)

    def forget(self, life: Life, given: Given) -> None:
        """A rejected refund leaves its lines as they were."""
        given.state = "rejected"
        for sku, (count, withdrawn) in given.goods.items():
            life.lines[sku].refunded -= count
            life.lines[sku].withdrawn -= withdrawn

    @precondition(lambda self: self.lives)
    @rule(data=st.data(), owner=st.booleans())
    def cancel(self, data: st.DataObject, owner: bool) -> None:
        """By its owner or staff."""
        life = self.one(data)
        may = life.cancelled or not any(line.shipped for line in life.lines.values())
        who = self.world.shopper if owner else self.world.staff
        self.post(who, f"/orders/{life.number}/cancel", {}, 200 if may else 409)
        if not may or life.cancelled:
            return
        for each in life.refunds:
            if each.state == "proposed":
                self.forget(life, each)
        for sku, line in life.lines.items():
            if life.held:
                self.reserved[sku] -= line.quantity
            else:
                self.stock[sku] += line.quantity - line.refunded
        if life.left:
            life.refunds.append(Given("", life.left, -1, {}, restock=False))
        life.cancelled = True

    # --- what holds at every moment ----------------------------------------------------------------------------------
    @invariant()
    def the_tables_say_what_the_model_says(self) -> None:
        """Shelves, lines, money and states."""
        shelves = Stock.objects.filter(product__sku__in=PRICES).values_list("product__sku", "on_hand", "reserved")
        assert {sku: (there, held) for sku, there, held in shelves} in (
            {},
            {sku: (self.stock[sku], self.reserved[sku]) for sku in PRICES},
        )
        numbers = [life.number for life in self.lives]
        found = Order.objects.filter(number__in=numbers).select_related("payment")
        orders = {order.number: order for order in found.prefetch_related("lines", "payment__refunds")}
        for life in self.lives:
            order = orders[life.number]
            assert (order.fulfilment_status, bool(order.cancelled_at)) == (life.fulfilment, life.cancelled), life
            assert order.payment_status == life.payment, life
            rows = order.lines.all()
            assert {row.sku: (row.shipped, row.refunded, row.withdrawn, row.restocked) for row in rows} == {
                sku: line.counters for sku, line in life.lines.items()
            }, life
            if hasattr(order, "payment"):
                payment = order.payment
                assert (payment.captured, payment.refundable) == (life.captured, life.left), life
                assert payment.refunded == life.given_back, life
                states = sorted(refund.state for refund in payment.refunds.all())
                assert states == sorted(each.state for each in life.refunds), life


@dataclass
class World:
    """Who acts, and the provider's books."""

    shopper: Caller
    people: list[Caller]
    books: Books

    @property
    def staff(self) -> Caller:
        """Whoever of the staff."""
        return self.people[0]


def _items(units: dict[str, int]) -> dict[str, Any]:
    return {"items": [{"sku": sku, "quantity": count} for sku, count in units.items()]}


def _some(units: dict[str, int], life: Life) -> dict[str, int]:
    """What is of this order, and at least one unit."""
    return {sku: count for sku, count in units.items() if count and sku in life.lines} or {next(iter(life.lines)): 1}


def _cost(units: dict[str, int]) -> Decimal:
    return sum((PRICES[sku] * count for sku, count in units.items()), Decimal(0))


@pytest.fixture
def live(shopper: Caller, staff: Caller, books: Books, settings: Any) -> Callable[..., None]:
    """Run so many random sequences; a failing one is made short unless it only has to fail."""
    settings.REFUND_LIMIT = LIMIT
    boss = Caller(sign_in("admin@example.com")["AccessToken"])
    world = World(shopper, [staff, boss], books)
    for somebody in (shopper, staff, boss):
        somebody.get("/me")

    def run(sequences: int, *, shrink: bool = True) -> None:
        machine = cast("type[Lives]", type("OneRun", (Lives,), {"world": world}))
        run_state_machine_as_test(machine, settings=_settings(sequences, shrink=shrink))

    return run


def _settings(sequences: int, *, shrink: bool) -> settings:
    return settings(
        phases=[Phase.generate, *([Phase.shrink] if shrink else [])],
        max_examples=sequences,
        report_multiple_bugs=False,
        derandomize=not shrink,  # whoever only has to fail does it the same way each time
        stateful_step_count=20,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
        print_blob=True,
    )


def test_random_lives_of_orders_are_what_the_model_says(live: Callable[..., None]) -> None:
    live(2000 if FULL else 60)


def _nothing(*_: object, **__: object) -> None:
    return None


# Each is the only one of its kind: behind the others stand the tables of status.py and the constraints. That a
# cancellation ends proposals is asked in test_refund_items.py: chance comes to both together too seldom.
GUARDS = [
    "orders.services.refunding._needs_two",
    "orders.services.refunding._check_off_the_shelf",
]


@pytest.mark.full
@pytest.mark.parametrize("guard", GUARDS if FULL else GUARDS[:1])
def test_a_guard_that_is_taken_out_is_found(
    live: Callable[..., None], monkeypatch: pytest.MonkeyPatch, guard: str
) -> None:
    monkeypatch.setattr(guard, _nothing)

    with pytest.raises((AssertionError, IntegrityError)):  # the model's, or a constraint of the database's
        live(600 if FULL else 150, shrink=False)
