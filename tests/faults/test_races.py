"""Races through HTTP on real PostgreSQL: everybody is released at one moment."""

import functools
import uuid
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal

import httpx
import psycopg
import pytest

from catalog.models import StockMovement
from orders import workflow
from orders.models import Order, Payment
from orders.services import audit_stock
from tests.books import Books
from tests.catalog.files import a_picture
from tests.in_process import make_product, shelf
from tests.over_http import Buyer, Shop, together, wait_for_a_waiter
from vibecode import bucket
from vibecode.models import OutboxEvent


def test_the_last_ten_units_go_to_ten_of_64_buyers(shop: Shop) -> None:
    product = shop.product(on_hand=10)
    buyers = shop.buyers(64)

    answers = together([functools.partial(buyer.order, (product, 1)) for buyer in buyers])

    assert Counter(answer.status_code for answer in answers) == {201: 10, 409: 54}
    assert {answer.json()["code"] for answer in answers if answer.status_code == 409} == {"out-of-stock"}
    assert shelf(product) == (10, 10)
    assert Order.objects.filter(lines__product=product).count() == 10
    assert audit_stock() == []


def test_the_last_unit_of_two_skus_in_opposite_order_has_one_winner_a_pair(shop: Shop) -> None:
    buyers = shop.buyers(64)
    pairs = [(shop.product(on_hand=1), shop.product(on_hand=1)) for _ in range(32)]
    actions = []
    for (one, two), ahead, behind in zip(pairs, buyers[:32], buyers[32:], strict=True):
        actions += [
            functools.partial(ahead.order, (one, 1), (two, 1)),
            functools.partial(behind.order, (two, 1), (one, 1)),
        ]

    answers = together(actions)

    assert Counter(answer.status_code for answer in answers) == {201: 32, 409: 32}
    winners = [{a.status_code for a in answers[start : start + 2]} for start in range(0, 64, 2)]
    assert winners == [{201, 409}] * 32
    assert {shelf(product) for pair in pairs for product in pair} == {(1, 1)}
    assert audit_stock() == []


def test_one_pair_of_skus_wanted_by_everybody_in_both_orders_never_deadlocks(shop: Shop) -> None:
    one, two = shop.product(on_hand=1), shop.product(on_hand=1)
    buyers = shop.buyers(64)

    answers = together(
        [
            functools.partial(buyer.order, *(((one, 1), (two, 1)) if n % 2 else ((two, 1), (one, 1))))
            for n, buyer in enumerate(buyers)
        ]
    )

    assert Counter(answer.status_code for answer in answers) == {201: 1, 409: 63}
    assert (shelf(one), shelf(two)) == ((1, 1), (1, 1))


def test_32_requests_with_one_key_make_one_order_and_get_one_answer(shop: Shop) -> None:
    product = shop.product(on_hand=100)
    buyer = shop.buyer()
    key = uuid.uuid4().hex

    answers = together([functools.partial(buyer.order, (product, 2), key=key)] * 32)

    assert Counter(answer.status_code for answer in answers) == {201: 32}
    assert len({answer.content for answer in answers}) == 1
    assert Counter("Idempotent-Replayed" in answer.headers for answer in answers) == {True: 31, False: 1}
    assert shelf(product) == (100, 2)
    assert Order.objects.filter(lines__product=product).count() == 1


def test_a_cancel_against_a_cancel_releases_once(shop: Shop) -> None:
    product = shop.product(on_hand=5)
    buyer = shop.buyer()
    number = buyer.order((product, 3)).json()["orderId"]

    answers = together([functools.partial(buyer.cancel, number)] * 16)

    assert Counter(answer.status_code for answer in answers) == {200: 16}
    assert {answer.json()["status"] for answer in answers} == {"cancelled"}
    assert shelf(product) == (5, 0)
    assert StockMovement.objects.filter(product=product, kind="release").count() == 1
    assert audit_stock() == []


def test_eight_refunds_at_one_moment_give_back_no_more_than_was_captured(shop: Shop, books: Books) -> None:
    number = shop.buyer().order((shop.product(on_hand=5, price="2.50"), 2)).json()["orderId"]
    workflow.process_payment({"orderId": number}, None)
    staff = Buyer(shop.server.url, "staff@example.com", "staff")
    shop.open.callback(staff.http.close)
    staff.http.get("/me").raise_for_status()

    def give_back() -> httpx.Response:
        key = {"Idempotency-Key": uuid.uuid4().hex}
        return staff.http.post(f"/orders/{number}/refunds", json={"amount": "2.00", "reason": "late"}, headers=key)

    answers = together([give_back] * 8)

    assert Counter(answer.status_code for answer in answers) == {201: 2, 409: 6}
    assert {answer.json()["code"] for answer in answers if answer.status_code == 409} == {"not-refundable"}
    assert Payment.objects.get(order__number=number).refunded == Decimal("4.00")


def test_cancels_and_orders_over_the_same_products_keep_the_ledger_right(shop: Shop) -> None:
    products = [shop.product(on_hand=40) for _ in range(12)]  # their SKUs are in another order than their ids
    buyers = shop.buyers(32)
    numbers = [buyer.order(*((p, 1) for p in products)).json()["orderId"] for buyer in buyers[:16]]

    answers = together(
        [functools.partial(b.cancel, number) for b, number in zip(buyers[:16], numbers, strict=True)]
        + [functools.partial(b.order, *((p, 2) for p in reversed(products))) for b in buyers[16:]]
    )

    counts = Counter(answer.status_code for answer in answers)
    assert counts[200] == 16
    assert counts[201] + counts[409] == 16
    assert [shelf(p) for p in products] == [(40, 2 * counts[201])] * 12
    assert audit_stock() == []


def test_a_shelf_that_somebody_holds_for_long_is_busy_and_not_away(shop: Shop) -> None:
    product = shop.product(on_hand=5)
    buyer = shop.buyer()
    with psycopg.connect(shop.server.database_url) as holder:
        holder.execute("SELECT 1 FROM catalog_stock WHERE product_id = %s FOR UPDATE", [product.pk])
        answer = buyer.order((product, 1))

    assert (answer.status_code, answer.json()["code"]) == (503, "busy")
    assert int(answer.headers["Retry-After"]) >= 1
    assert shelf(product) == (5, 0)
    assert buyer.order((product, 1)).status_code == 201


@pytest.mark.parametrize("verb", ["order", "cancel"])
def test_shelves_are_locked_in_the_order_of_their_ids_whatever_their_skus(shop: Shop, verb: str) -> None:
    tail = uuid.uuid4().hex[:8].upper()
    low, middle, high = (make_product(f"{head}-{tail}", on_hand=9) for head in ("C", "B", "A"))
    buyer = shop.buyer()
    number = buyer.order((low, 1), (middle, 1), (high, 1)).json()["orderId"]
    action = {
        "order": functools.partial(buyer.order, (high, 1), (middle, 1), (low, 1)),
        "cancel": functools.partial(buyer.cancel, number),
    }[verb]
    with psycopg.connect(shop.server.database_url) as holder, ThreadPoolExecutor(1) as pool:
        holder.execute("SELECT 1 FROM catalog_stock WHERE product_id = %s FOR UPDATE", [middle.pk])
        answer = pool.submit(action)
        wait_for_a_waiter(middle)
        free = holder.execute(
            "SELECT product_id FROM catalog_stock WHERE product_id = ANY(%s) FOR UPDATE SKIP LOCKED",
            [[low.pk, high.pk]],
        ).fetchall()
        holder.rollback()

    assert free == [(high.pk,)]
    assert answer.result().status_code in {200, 201}


def test_a_picture_that_eight_complete_at_once_is_shown_once(shop: Shop) -> None:
    product, staff = shop.product(on_hand=1), shop.buyer("staff@example.com")
    begun = staff.http.post(f"/products/{product.sku}/images", json={"contentType": "image/png"}).json()
    httpx.post(begun["url"], data=begun["fields"], files={"file": ("a.png", a_picture())}, trust_env=False)
    address = f"/products/{product.sku}/images/{begun['imageId']}/complete"

    answers = together([lambda: staff.http.post(address)] * 8)

    assert {answer.status_code for answer in answers} == {200}
    assert {answer.json()["id"] for answer in answers} == {begun["imageId"]}
    product.refresh_from_db()
    assert product.version == 2
    assert OutboxEvent.objects.filter(subject=product.sku, detail_type="Picture Stored").count() == 1
    assert bucket.read(begun["fields"]["key"]) is None
    assert bucket.read(str(product.images.get().file.name)) is not None
