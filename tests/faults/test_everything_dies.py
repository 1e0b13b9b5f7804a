"""Every process is killed at random moments while orders are placed: nothing is lost, nothing happens twice.

The clients, the supervisor, the queues, the real workflow file and the provider's own books are the ones of `make run`.
"""

import contextlib
import json
import random
import re
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from itertools import pairwise
from typing import Any

import httpx
import pytest

from tests.in_process import FULL
from tests.plain import PLAIN
from tests.whole_shop import Customer, Killer, Listener, WholeShop, until
from vibecode.resources import QUEUES

METHODS = (
    "demo_ok", "demo_ok", "demo_ok", "demo_ok", "demo_decline", "demo_flaky", "demo_lost", "demo_slow", "demo_down",
    "demo_late", "demo_action",
)  # fmt: skip
# Without those that keep the provider and its sweep for a minute: a second run in one of make test.
QUICK = (
    METHODS if FULL else tuple(method for method in METHODS if method not in {"demo_down", "demo_late", "demo_slow"})
)
RUNS = range(3 if FULL else 1)  # each with a seed of its own
MORTAL = ("relay", "lambda", "payments", "postgres", "web", "websocket")
CLIENTS = 8
EACH = 25 if FULL else 4  # orders a client
OPEN = """
    SELECT o.number, o.status, o.payment_method, o.workflow_runs, p.state, p.attempts, p.void_checked_at, p.captured,
           p.refunded
    FROM orders_order o LEFT JOIN orders_payment p ON p.order_id = o.id
    WHERE (o.completed_at IS NULL AND o.cancelled_at IS NULL)
       OR (o.cancelled_at IS NOT NULL
           AND (p.state IN ('intended', 'requires_action', 'unknown', 'declined') OR p.refunded < p.captured))
       OR (p.state = 'voided' AND p.attempts > 1 AND p.void_checked_at IS NULL)
       OR EXISTS (SELECT FROM orders_refund r WHERE r.payment_id = p.id AND r.state = 'pending')
"""
REASONS = {"payment-declined", "payment-failed", "workflow-failed", "workflow-gave-up"}
MAILED = ("Order Confirmed", "Order Cancelled", "Order Refunded")
ANNOUNCED = {name for queue in QUEUES if queue.key == "announce" for name in queue.detail_types}
# Of the facts that a queue holds back for a quarter of an hour, nobody waits until they are handled.
HELD_BACK = {name for queue in QUEUES if queue.delay for name in queue.detail_types}
PROMPT = sorted({name for queue in QUEUES for name in queue.detail_types} - HELD_BACK)


class Partner:
    """Somebody who hears of every fact: a queue of theirs on the shop's SNS topic."""

    def __init__(self, shop: WholeShop) -> None:
        self.sqs = shop.aws("sqs")
        self.url = self.sqs.create_queue(QueueName="a-partner")["QueueUrl"]
        arn = self.sqs.get_queue_attributes(QueueUrl=self.url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
        sns = shop.aws("sns")
        sns.subscribe(TopicArn=sns.list_topics()["Topics"][0]["TopicArn"], Protocol="sqs", Endpoint=arn)

    def heard(self) -> Counter[str]:
        """How often each fact came since the last time, by event id."""
        ids: Counter[str] = Counter()
        while messages := self.sqs.receive_message(QueueUrl=self.url, MaxNumberOfMessages=10).get("Messages"):
            for message in messages:
                ids[json.loads(json.loads(message["Body"])["Message"])["eventId"]] += 1
                self.sqs.delete_message(QueueUrl=self.url, ReceiptHandle=message["ReceiptHandle"])
        return ids


class Cardholders(threading.Thread):
    """The customers whom the bank asks: each says yes in the end, as the provider's books say who is waited for."""

    def __init__(self, shop: WholeShop) -> None:
        super().__init__(daemon=True)
        self.shop = shop
        self.done = threading.Event()

    def run(self) -> None:
        """Confirm whatever waits, a moment after it was asked, until done."""
        while not self.done.wait(1):
            with contextlib.suppress(httpx.TransportError):  # it was killed: once more
                for charge in self.shop.books()["charges"]:
                    if charge["state"] == "requires_action":
                        address = f"{self.shop.environment['DEMO_PAYMENTS_URL']}/charges/{charge['reference']}/confirm"
                        httpx.post(address, json={}, timeout=20, **PLAIN)


@pytest.fixture
def listeners() -> Iterator[list[Listener]]:
    """Browsers that hang up at the end."""
    made: list[Listener] = []
    yield made
    for listener in made:
        listener.close()


def place_orders(
    shop: WholeShop, chance: random.Random, listeners: list[Listener], killer: Killer, methods: tuple[str, ...]
) -> dict[str, str]:
    """Eight clients place their orders side by side; the method of each number that was answered 201."""
    sku = shop.product(on_hand=100_000)
    customers = [shop.customer() for _ in range(CLIENTS)]
    listeners += [Listener(customer) for customer in customers]
    for listener in listeners:
        assert listener.connected.wait(60), ("no websocket", listener.refusals)
    killer.start()  # who signs up asks the local AWS itself, and once
    deck = [methods[number % len(methods)] for number in range(CLIENTS * EACH)]  # every method, also in a small run
    chance.shuffle(deck)
    wishes = [deck[first : first + EACH] for first in range(0, len(deck), EACH)]
    pauses = [[chance.uniform(0.5, 3.0) for _ in range(EACH)] for _ in customers]

    def place_all(customer: Customer, methods: list[str], waits: list[float]) -> dict[str, str]:
        placed = {}
        for method, wait in zip(methods, waits, strict=True):
            placed[customer.order(sku, method)] = method
            time.sleep(wait)
        return placed

    with ThreadPoolExecutor(CLIENTS) as pool:
        done = pool.map(place_all, customers, wishes, pauses)
        return {number: method for placed in done for number, method in placed.items()}


def check_money(shop: WholeShop, methods: dict[str, str]) -> Counter[str]:
    """Every order is over for a reason that the provider's books confirm. Counts outcomes by method."""
    books = shop.books()
    charged: dict[str, list[Decimal]] = {}
    for charge in books["charges"]:
        if charge["state"] == "captured":
            charged.setdefault(charge["reference"], []).append(Decimal(charge["amount"]))
    voided = {void["reference"] for void in books["voids"]}
    given_back: Counter[str] = Counter()
    for refund in books["refunds"]:
        given_back[refund["reference"]] += Decimal(refund["amount"])  # type: ignore[assignment]  # a Counter adds anything
    outcomes: Counter[str] = Counter()
    for order in shop.rows("SELECT number, status, total, cancel_reason FROM orders_order"):
        number = order["number"]
        if number not in methods:
            continue
        captures = charged.get(number, [])
        story = (order, methods[number], captures, given_back[number])
        assert len(captures) <= 1, ("charged twice", *story)
        assert order["status"] in {"completed", "cancelled"}, story
        if order["status"] == "completed":
            assert captures == [order["total"]], ("not charged", *story)
            assert not given_back[number], ("given back", *story)
            assert methods[number] not in {"demo_decline", "demo_down"}, story
        else:
            assert sum(captures) == given_back[number], ("kept the money of a cancelled order", *story)
            declined = any(c["reference"] == number and c["state"] == "declined" for c in books["charges"])
            assert order["cancel_reason"] in REASONS, story
            assert (order["cancel_reason"] == "payment-declined") <= declined, ("declined by nobody", *story)
            asked = number in books["attempts"]
            assert captures or declined or number in voided or not asked, ("may still be charged", *story)
        outcomes[f"{methods[number]} {order['status']}"] += 1
    assert sum(outcomes.values()) == len(methods)
    fine = [name for name, method in methods.items() if method == "demo_ok"]
    assert outcomes["demo_ok completed"] * 2 >= len(fine), "more than half of what could be sold was called off"
    return outcomes


def check_facts(shop: WholeShop, methods: dict[str, str]) -> None:
    """Every fact was on the bus and had its effect once."""
    rows: list[dict[str, Any]] = [
        row for row in shop.rows("SELECT * FROM vibecode_outboxevent ORDER BY id") if row["subject"] in methods
    ]
    assert all(row["sent_at"] for row in rows)
    on_the_bus = {fact["detail"]["eventId"] for fact in shop.facts_on_the_bus() if "eventId" in fact["detail"]}
    assert {str(row["event_id"]) for row in rows} <= on_the_bus
    mailed = Counter(tag for mail in shop.mails() for tag in mail["tags"].get("event-id", []))
    news = {str(row["event_id"]): row["detail_type"] for row in rows if row["detail_type"] in MAILED}
    assert {event: mailed[event] for event in news} == dict.fromkeys(news, 1)
    first: dict[str, list[int]] = {}
    for fact in shop.facts_on_the_bus():
        if (number := fact["detail"].get("orderId")) in methods:
            versions = first.setdefault(number, [])
            if fact["detail"]["orderVersion"] not in versions:  # a relay that died may have sent it before
                versions.append(fact["detail"]["orderVersion"])
    for number, versions in first.items():
        assert versions == sorted(versions), f"the facts of {number} were not in order on the bus"


def check_pushes(listeners: list[Listener]) -> int:
    """No connection ever heard an older version after a newer one. Gives how many pushes there were."""
    pushes = 0
    for listener in listeners:
        for heard in listener.heard:
            pushes += len(heard)
            for number in {news["orderId"] for news in heard}:
                versions = [news["version"] for news in heard if news["orderId"] == number]
                assert all(before <= after for before, after in pairwise(versions)), (number, versions)
    return pushes


def live_through(
    shop: WholeShop,
    mortal: tuple[str, ...],
    pause: tuple[float, float],
    listeners: list[Listener],
    seed: int,
    methods: tuple[str, ...] = METHODS,
) -> tuple[dict[str, str], list[str]]:
    """Place orders while processes die, let things settle, then audit everything. Gives the orders and the kills."""
    killer = Killer(shop, mortal, random.Random(f"{seed} kills"), pause)
    cardholders = Cardholders(shop)
    cardholders.start()
    started = time.monotonic()
    try:
        placed = place_orders(shop, random.Random(f"{seed} orders"), listeners, killer, methods)
    finally:
        killer.done.set()
        if killer.ident:
            killer.join()
    print(f"{len(placed)} orders placed in {time.monotonic() - started:.0f} s, kills {dict(Counter(killer.kills))}")
    try:
        until(lambda: not shop.rows(OPEN), 300, "every order is over")
    except AssertionError:
        print(*shop.rows(OPEN), sep="\n")  # which, and why
        raise
    wait_until_handled(shop)
    cardholders.done.set()
    cardholders.join()
    print(f"settled after {time.monotonic() - started:.0f} s")

    print(dict(sorted(check_money(shop, placed).items())))
    check_facts(shop, placed)
    pushes = check_pushes(listeners)
    print(f"{pushes} pushes")
    assert pushes
    assert set(killer.kills) == set(mortal) if FULL else killer.kills
    assert "agree" in shop.manage("audit_stock")
    assert _dead(shop) == {}
    return placed, killer.kills


def wait_until_handled(shop: WholeShop) -> None:
    """Until every fact has left and every consumer has handled it."""
    until(lambda: _handled_everywhere(shop), 180, "every fact is handled by every consumer")


def _handled_everywhere(shop: WholeShop) -> bool:
    waiting = shop.rows(
        """
        SELECT count(*) AS open FROM vibecode_outboxevent WHERE sent_at IS NULL
        UNION ALL SELECT count(*) FROM vibecode_processedmessage WHERE handled_at IS NULL
        UNION ALL SELECT count(*) FROM orders_letter WHERE state IN ('waiting', 'sending')
        """
    )
    types = [option for name in PROMPT for option in ("--detail-type", name)]
    said = shop.manage("replay_events", "--unsettled", "--dry-run", *types)
    return all(row["open"] == 0 for row in waiting) and re.search(r"^0 facts", said, re.MULTILINE) is not None


def _dead(shop: WholeShop) -> dict[str, int]:
    sqs, dead = shop.aws("sqs"), {}
    for url in sqs.list_queues()["QueueUrls"]:
        if url.endswith("-dead"):
            found = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["ApproximateNumberOfMessages"])
            if count := int(found["Attributes"]["ApproximateNumberOfMessages"]):
                dead[url] = count
    return dead


@pytest.mark.parametrize("_run", RUNS)
def test_nothing_is_lost_and_nothing_happens_twice_wherever_processes_die(
    whole_shop: WholeShop, listeners: list[Listener], seed: int, _run: int
) -> None:
    partner = Partner(whole_shop)

    methods, kills = live_through(whole_shop, MORTAL, (0.5, 3.0), listeners, seed)

    heard = partner.heard()
    rows = whole_shop.rows("SELECT event_id, detail_type, subject FROM vibecode_outboxevent")
    assert {
        str(row["event_id"]) for row in rows if row["subject"] in methods and row["detail_type"] in ANNOUNCED
    } <= set(heard)
    # SNS takes no key: when the function or the database dies between publishing and writing that down, the fact is
    # published once more; at most one of each function that was at work then.
    assert sum(heard.values()) - len(heard) <= 5 * (kills.count("lambda") + kills.count("postgres"))

    # Everything comes once more, and has no effect once more.
    mails, books = len(whole_shop.mails()), whole_shop.books()
    states = whole_shop.rows("SELECT number, version FROM orders_order ORDER BY id")
    whole_shop.manage("replay_events", "--since", "2000-01-01")
    until(lambda: not whole_shop.rows("SELECT FROM vibecode_outboxevent WHERE sent_at IS NULL LIMIT 1"), 120, "replay")
    until(lambda: _idle(whole_shop), 120, "the queues are empty again")
    assert partner.heard() == Counter()
    assert (len(whole_shop.mails()), whole_shop.books()) == (mails, books)
    assert whole_shop.rows("SELECT number, version FROM orders_order ORDER BY id") == states
    assert "figures agree" in whole_shop.manage("audit_stock")


def _idle(shop: WholeShop) -> bool:
    """Nothing waits in a queue, and nothing is in work."""
    names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
    sqs = shop.aws("sqs")
    urls = [url for url in sqs.list_queues(QueueNamePrefix="vibecode-")["QueueUrls"] if not url.endswith("relay")]
    found = [sqs.get_queue_attributes(QueueUrl=url, AttributeNames=names)["Attributes"] for url in urls]
    return not any(int(count) for attributes in found for count in attributes.values())


@pytest.mark.parametrize("_run", RUNS)
def test_nor_when_the_local_aws_dies_with_all_that_it_held_in_memory(
    whole_shop: WholeShop, listeners: list[Listener], seed: int, _run: int
) -> None:
    live_through(whole_shop, ("aws",), (2.0, 6.0), listeners, seed, QUICK)
