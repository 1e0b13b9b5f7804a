"""What a fact looks like was promised to its consumers: a change that breaks one fails here and says what to do."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any, ClassVar, Literal, TypedDict

import jsonschema
import pytest
from django.core.management import CommandError, call_command
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext

from accounts.events import UserRegistered
from catalog.events import StockLow
from catalog.models import Product
from catalog.services import adjust_stock, set_reorder_point
from orders import events
from orders.models import Order
from tests.in_process import Caller, order_body
from vibecode import schemas
from vibecode.models import OutboxEvent
from vibecode.outbox import Event, publish
from vibecode.rights import Actor
from vibecode.schemas import breaks, broken_promises, facts, promised, schema_of

type Make = Callable[..., Product]


def test_no_fact_breaks_what_was_promised_to_its_consumers() -> None:
    assert broken_promises() == []


def test_every_fact_of_the_contract_is_declared_and_released() -> None:
    assert {fact.detail_type for fact in facts()} >= {
        "Order Created", "Order Paid", "Order Confirmed", "Order Completed", "Order Shipped", "Order Delivered",
        "Order Cancelled", "Order Failed", "Order Refunded", "Payment Requires Action", "Refund Requested", "Stock Low",
        "User Registered", "Picture Stored",
    }  # fmt: skip
    for fact in facts():
        released = promised(fact)
        assert released is not None, fact
        jsonschema.Draft202012Validator.check_schema(released)
        assert not {"name", "email", "address", "phone"} & {name.lower() for name in released["properties"]}


# --- what is published is what was promised --------------------------------------------------------------------------
def check(row: OutboxEvent) -> None:
    """Compare a row with the released schema of its fact."""
    [fact] = [fact for fact in facts() if (fact.source, fact.detail_type) == (row.source, row.detail_type)]
    validator = jsonschema.Draft202012Validator(promised(fact) or {}, format_checker=jsonschema.FormatChecker())
    validator.validate(row.detail)


def test_what_the_services_publish_is_valid(shopper: Caller, product: Make) -> None:
    lamp = product("LAMP", on_hand=5)
    set_reorder_point(stock=lamp.stock, units=4, actor=Actor.part("tests"))
    number = shopper.post("/orders", order_body(("LAMP", 2))).json()["orderId"]
    assert shopper.post(f"/orders/{number}/cancel", {}).status_code == 200

    rows = list(OutboxEvent.objects.order_by("id"))

    assert {row.detail_type for row in rows} >= {"User Registered", "Stock Low", "Order Created", "Order Cancelled"}
    for row in rows:
        check(row)


def test_every_fact_about_an_order_is_valid(shopper: Caller, product: Make) -> None:
    product("LAMP", on_hand=5)
    number = shopper.post("/orders", order_body(("LAMP", 2))).json()["orderId"]
    order = Order.objects.select_related("user").get(number=number)
    own: dict[type[events.OrderEvent], dict[str, Any]] = {
        events.OrderDelivered: {},
        events.OrderShipped: {"items": ({"sku": "LAMP", "quantity": 2},), "tracking": "JD0001"},
        events.RefundRequested: {"refund_reference": "r-1", "amount": Decimal("2.50")},
        events.OrderRefunded: {"refund_reference": "r-1", "amount": Decimal("2.50")},
        events.RefundFailed: {"refund_reference": "r-1", "amount": Decimal("2.50")},
    }
    for fact in events.OrderEvent.__subclasses__():
        if fact.detail_type != events.OrderCreated.detail_type:
            with transaction.atomic():
                publish(fact.of(order, **own.get(fact, {})))

    rows = OutboxEvent.objects.filter(subject=number)

    assert rows.count() == len(events.OrderEvent.__subclasses__())
    for row in rows:
        check(row)


def test_a_wrong_fact_is_not_valid(db: None) -> None:
    with transaction.atomic():
        publish(StockLow(sku="LAMP", available="two", reorder_point=3))  # type: ignore[arg-type]  # that is the point

    with pytest.raises(jsonschema.ValidationError, match="'two' is not of type 'integer'"):
        check(OutboxEvent.objects.get())


# --- what breaks a consumer, and what does not -----------------------------------------------------------------------
class Bulb(TypedDict):
    """A part of the fact."""

    watts: int
    colour: str


class BulbWithoutColour(TypedDict):
    """The same, short of a member."""

    watts: int


@dataclass(frozen=True, kw_only=True)
class LampLit(Event):
    """As it was released."""

    source: ClassVar[str] = "vibecode.tests"
    detail_type: ClassVar[str] = "Lamp Lit"

    lamp_id: str
    brightness: int
    mood: Literal["warm", "cold"]
    bulbs: tuple[Bulb, ...] = ()
    comment: str = ""


def changed(**kinds: Any) -> type[Event]:
    """LampLit with other fields: a kind, (kind, default), or None for a field that goes."""
    fields = {
        "lamp_id": str,
        "brightness": int,
        "mood": Literal["warm", "cold"],
        "bulbs": (tuple[Bulb, ...], ()),
        "comment": (str, ""),
    }
    given = {name: kind for name, kind in (fields | kinds).items() if kind is not None}
    body: dict[str, Any] = {
        "__annotations__": {name: kind[0] if isinstance(kind, tuple) else kind for name, kind in given.items()},
        "__module__": __name__,
        "source": "vibecode.tests",
        "detail_type": "Lamp Lit",
    }
    body |= {name: kind[1] for name, kind in given.items() if isinstance(kind, tuple)}
    return dataclass(frozen=True, kw_only=True)(type("LampLit", (Event,), body))


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"brightness": None}, "/brightness went away"),
        ({"lamp_id": None, "lamp_number": str}, "/lampId went away"),
        ({"brightness": str}, "/brightness: type was integer, is string"),
        ({"brightness": Decimal}, "/brightness: type was integer, is string"),
        ({"brightness": int | None}, "/brightness: type was integer, is None"),
        ({"brightness": (int, 1)}, "/brightness is no longer always there"),
        ({"mood": Literal["warm"]}, "/mood: enum was ['warm', 'cold'], is ['warm']"),
        ({"mood": Literal["warm", "cold", "blue"]}, "/mood: enum was"),
        ({"mood": str}, "/mood: type was None, is string"),
        ({"bulbs": (tuple[BulbWithoutColour, ...], ())}, "/bulbs[]/colour went away"),
        ({"comment": None}, "/comment went away"),
    ],
)
def test_a_change_that_breaks_a_consumer_is_found(change: dict[str, Any], sentence: str) -> None:
    found = breaks(schema_of(LampLit), schema_of(changed(**change)))

    assert [line for line in found if sentence in line], found


@pytest.mark.parametrize(
    "change", [{}, {"shade": str}, {"shade": (str | None, None)}, {"shades": (tuple[str, ...], ())}]
)
def test_what_is_added_breaks_nobody(change: dict[str, Any]) -> None:
    assert breaks(schema_of(LampLit), schema_of(changed(**change))) == []


def test_a_consumer_of_the_old_version_reads_what_has_grown() -> None:
    grown = changed(shade=(str, "red"))
    fact = grown(lamp_id="1", brightness=3, mood="warm")  # type: ignore[call-arg]  # made above

    jsonschema.validate(json.loads(json.dumps(fact.detail(), default=str)), schema_of(LampLit))


def test_another_source_or_name_is_another_fact() -> None:
    moved = changed()
    moved.source = "vibecode.elsewhere"

    assert "x-source was" in breaks(schema_of(LampLit), schema_of(moved))[0]


# --- the command -----------------------------------------------------------------------------------------------------
@pytest.fixture
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """LampLit is the one fact there is, and its schemas are kept in a folder of this test."""

    def keep(fact: type[Event], version: int = 0) -> Path:
        return tmp_path / "schemas" / f"lamp-lit.v{version or fact.schema_version}.json"

    monkeypatch.setattr(schemas, "file_of", keep)
    monkeypatch.setattr("vibecode.management.commands.write_event_schemas.file_of", keep)
    monkeypatch.setattr("django.conf.settings.BASE_DIR", tmp_path)
    only(monkeypatch, LampLit)
    call_command("write_event_schemas")
    return tmp_path / "schemas"


def only(monkeypatch: pytest.MonkeyPatch, fact: type[Event]) -> None:
    for place in ("vibecode.schemas", "vibecode.management.commands.write_event_schemas"):
        monkeypatch.setattr(f"{place}.facts", lambda: [fact])


def test_a_breaking_change_fails_with_what_to_do_and_changes_no_file(
    kept: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = (kept / "lamp-lit.v1.json").read_text()
    only(monkeypatch, changed(brightness=None))

    [sentence] = broken_promises()
    assert "Lamp Lit v1 breaks its consumers: /brightness went away" in sentence
    assert "Raise LampLit's schema_version to 2 and run manage.py write_event_schemas." in sentence
    for options in ((), ("--check",)):
        with pytest.raises(CommandError, match="/brightness went away"):
            call_command("write_event_schemas", *options)
    assert (kept / "lamp-lit.v1.json").read_text() == before


def test_a_new_version_gets_a_file_and_the_old_one_stays(kept: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    second = changed(brightness=None)
    second.schema_version = 2
    only(monkeypatch, second)

    with pytest.raises(CommandError, match="Run manage"):
        call_command("write_event_schemas", "--check")
    call_command("write_event_schemas")
    call_command("write_event_schemas", "--check")

    assert sorted(file.name for file in kept.iterdir()) == ["lamp-lit.v1.json", "lamp-lit.v2.json"]
    (kept / "lamp-lit.v1.json").unlink()
    assert "released versions are kept" in broken_promises()[0]


def test_what_grew_passes_and_is_written(kept: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    only(monkeypatch, changed(shade=(str, "")))

    assert broken_promises() == []
    call_command("write_event_schemas")

    assert "shade" in json.loads((kept / "lamp-lit.v1.json").read_text())["properties"]


def test_a_schema_whose_fact_went_away_is_found(kept: Path) -> None:
    (kept / "lamp-out.v1.json").write_text("{}")

    assert "lamp-out.v1.json has no fact any more" in broken_promises()[0]


# --- a shelf that runs low -------------------------------------------------------------------------------------------
def low() -> list[tuple[str, int, int]]:
    rows = OutboxEvent.objects.filter(detail_type="Stock Low").order_by("id")
    return [(row.subject, row.detail["available"], row.detail["reorderPoint"]) for row in rows]


def test_a_shelf_that_comes_down_to_its_reorder_point_is_told_once(shopper: Caller, product: Make) -> None:
    lamp, mug = product("LAMP", on_hand=10), product("MUG", on_hand=10)
    set_reorder_point(stock=lamp.stock, units=7, actor=Actor.part("tests"))
    told = []
    for quantity in (2, 1, 1):
        assert shopper.post("/orders", order_body(("LAMP", quantity), ("MUG", 1))).status_code == 201
        told.append(low())
    for product_, delta in ((lamp, 5), (lamp, -2), (lamp, -3), (mug, -7)):  # the mug has no reorder point
        adjust_stock(product=product_, delta=delta, reason="counted", actor=Actor.part("tests"))

    assert told == [[], [("LAMP", 7, 7)], [("LAMP", 7, 7)]]
    assert low() == [("LAMP", 7, 7), ("LAMP", 6, 7)]


def test_however_many_shelves_run_low_an_order_costs_one_statement_more(shopper: Caller, product: Make) -> None:
    def cost(count: int, units: int) -> int:
        lamps = [product(on_hand=10) for _ in range(count)]
        for lamp in lamps:
            set_reorder_point(stock=lamp.stock, units=units, actor=Actor.part("tests"))
        body = order_body(*((lamp.sku, 2) for lamp in lamps))
        with CaptureQueriesContext(connection) as statements:
            assert shopper.post("/orders", body).status_code == 201
        return len(statements)

    cost(1, 0)

    assert cost(1, 9) == cost(40, 9) == cost(40, 0) + 1
    assert len(low()) == 41


def test_an_order_that_is_refused_tells_of_no_low_shelf(shopper: Caller, product: Make) -> None:
    lamp = product("LAMP", on_hand=3)
    set_reorder_point(stock=lamp.stock, units=2, actor=Actor.part("tests"))

    assert shopper.post("/orders", order_body(("LAMP", 2), total="0.01")).status_code == 409
    assert shopper.post("/orders", order_body(("LAMP", 9))).status_code == 409
    assert low() == []


def test_user_registered_is_about_its_user() -> None:
    assert UserRegistered(user_id="u").subject == "u"
