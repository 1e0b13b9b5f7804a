"""A shop on a busy day: something in every state, names of every length and direction. Looked at by the browser tests.

Everything comes from the services, so nothing stands there that the shop itself could not have made.
"""

import random
import uuid
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal

from django.utils import timezone

from accounts.models import User
from accounts.services import register_user
from catalog.demo.pictures import draw_picture
from catalog.models import Category, Product
from catalog.pictures import examine, keep_picture, make_copies
from catalog.services import set_reorder_point
from orders.models import Order, Wishes
from orders.services import (
    Basket,
    add_note,
    complete_order,
    deduct_held_stock,
    deliver_order,
    place_order,
    rebuild_figures,
    request_refund,
    ship_order,
)
from orders.services.settling import record_refund
from orders.status import PaymentState
from tests.in_process import make_product
from tests.orders.recount import charge
from vibecode import bucket
from vibecode.acting import acting
from vibecode.jobs.files import begin_import, read_file
from vibecode.models import Job
from vibecode.rights import Actor

THINGS = (
    ("Cream hanging heart T-light holder", "Home", "2.55", 340),
    ("Enamel coffee pot, sage", "Kitchen", "24.90", 18),
    ("Linen tea towel, set of three", "Kitchen", "12.00", 3),
    ("Brass desk lamp with a green glass shade, as sold to libraries since 1909", "Home", "149.00", 7),
    ("سجادة صغيرة من الصوف", "Home", "89.50", 12),
    ("Wooden train, twelve carriages", "Toys", "34.00", 220),
    ("Beeswax candle", "Home", "6.75", 120),
    ("Notebook, dotted, A5", "Stationery", "4.20", 260),
    ("Ceramic plant pot", "Garden", "15.00", 41),
)  # fmt: skip
PEOPLE = (
    ("Grace Hopper", "12 Navy Yard", "London", "GB"),
    ("Maximiliane-Theodora von Hohenstaufen-Wittelsbach zu Oberschwaben", "Schloßallee 1", "München", "DE"),
    ("ليلى بنت أحمد الهاشمي", "شارع الملك 12", "عمّان", "JO"),
    ("נועה כהן", "רחוב הרצל 4", "חיפה", "IL"),
    ("Ngũgĩ wa Thiong’o", "Kenyatta Avenue 7", "Nairobi", "KE"),
    ("山田 花子", "千代田 1-1", "東京", "JP"),
)
SCARCE = {2, 5}  # hardly anything is left of these
CLERK = Actor.part("staff@example.com")


@dataclass(frozen=True)
class BusyDay:
    """What there is to look at."""

    order: Order  # with parcels, refunds and notes
    open_order: Order  # paid, nothing shipped
    doubtful: Order  # its refund waits for a second person
    product: Product  # with pictures
    job: Job  # with rows that are wrong
    person: User


@acting(CLERK.name)
def make_busy_day(*, products: int = len(THINGS), days: int = 30, orders: int = 60) -> BusyDay:
    """Fill the shop. The same numbers make the same day."""
    chance = random.Random(1815)
    shelf = _shelf(products)
    sold = [product for number, product in enumerate(shelf) if number not in SCARCE]
    people = [
        register_user(sub=str(uuid.uuid4()), email=f"{word}.{uuid.uuid4().hex[:6]}@example.com", name=name)
        for word, (name, *_) in zip(("grace", "max", "layla", "noa", "ngugi", "hanako"), PEOPLE, strict=True)
    ]
    past = []
    for number in range(orders):
        wanted = [(chance.choice(sold), chance.randint(1, 4)) for _ in range(chance.randint(1, 3))]
        past.append(_order(people[number % len(people)], wanted))
    now = timezone.now()
    for number, order in enumerate(past):
        _live(order, number)
        moment = now - timedelta(days=days) * chance.random() ** 1.3
        Order.objects.filter(pk=order.pk).update(created_at=moment)
    told = _completed(
        people[1], [(shelf[0], 6), (shelf[3], 2), (shelf[4], 1)], note="Please ring twice: the dog is old."
    )
    add_note(order=told, text="Called: may be left with the neighbour.\nBack on Monday.", actor=CLERK)
    ship_order(order=told, items={shelf[0].sku: 6}, tracking="RM123456785GB", actor=CLERK)
    deliver_order(order=told, actor=CLERK)
    refund = request_refund(
        order=told, items={shelf[4].sku: 1}, restock=True, reason="The colour is not as shown", actor=CLERK
    )
    record_refund(refund=refund, provider_id="re_1")
    request_refund(order=told, amount=Decimal("5.00"), reason="Late", actor=CLERK)
    doubtful = _completed(people[2], [(shelf[3], 6)])
    request_refund(order=doubtful, reason="Two arrived broken", actor=CLERK)
    waiting = _completed(people[0], [(shelf[1], 1), (shelf[-1], 2)])
    rebuild_figures()
    return BusyDay(
        order=Order.objects.get(pk=told.pk),
        open_order=Order.objects.get(pk=waiting.pk),
        doubtful=Order.objects.get(pk=doubtful.pk),
        product=Product.objects.get(pk=shelf[0].pk),
        job=_import(shelf),
        person=people[1],
    )


def _shelf(count: int) -> list[Product]:
    tag = uuid.uuid4().hex[:4].upper()
    made = []
    for number, (name, category, price, on_hand) in enumerate(THINGS[:count]):
        stands_in = Category.objects.get_or_create(name=category, defaults={"slug": category.lower()})[0]
        product = make_product(
            f"{tag}-{85123 + 7 * number}",
            name=name,
            price=price,
            on_hand=6 if number in SCARCE else on_hand + 200,
            category=stands_in,
        )
        set_reorder_point(stock=product.stock, units=10, actor=CLERK)
        for turn in range(2 if number == 0 else number % 2):
            content = draw_picture(f"{product.sku}{turn}", name if name.isascii() else "Rug")
            picture = examine(content=content, content_type="image/webp")
            image = keep_picture(product=product, picture=picture, alt=f"{name}, view {turn + 1}", position=turn)
            make_copies(image_id=image.pk)
        made.append(product)
    return made


def _order(customer: User, wanted: list[tuple[Product, int]], note: str = "") -> Order:
    name, street, city, country = next(home for home in PEOPLE if home[0] == customer.name)
    home = {"name": name, "line1": street, "city": city, "postalCode": "10115", "country": country}
    items: dict[str, int] = {}
    for product, quantity in wanted:
        items[product.sku] = items.get(product.sku, 0) + quantity
    wishes = Wishes(payment_method="demo_ok", shipping_address=home, note=note)
    return place_order(customer=customer, basket=Basket(items, wishes=wishes))


@acting("workflow")
def _completed(customer: User, wanted: list[tuple[Product, int]], note: str = "") -> Order:
    order = charge(_order(customer, wanted, note))
    deduct_held_stock(order=order)
    return complete_order(order=order)


@acting("workflow")
def _live(order: Order, number: int) -> None:
    """Let an order get as far as its number says: most arrive, some still wait, some come to nothing."""
    fate = number % 10
    if fate == 0:
        return
    outcome = {1: PaymentState.DECLINED, 2: PaymentState.UNKNOWN}.get(number % 20, PaymentState.CAPTURED)
    charge(order, outcome)
    if outcome != PaymentState.CAPTURED:
        return
    deduct_held_stock(order=order)
    complete_order(order=order)
    if fate > 3:
        ship_order(order=order, tracking=f"RM{100000 + number}GB", actor=CLERK)
    if fate > 5:
        deliver_order(order=order, actor=CLERK)


def _import(shelf: list[Product]) -> Job:
    """A list of prices with rows that are wrong, as it stands when the worker has read it."""
    prices = [f"{product.sku},{price}" for product, price in zip(shelf, ("9.90", "x", "12.50", "-3"), strict=False)]
    content = "\n".join(["sku,price", *prices, "GONE-1,5.00"]).encode()
    job, _ = begin_import(kind="import-prices", file_name="autumn-prices.csv", size=len(content), actor=CLERK)
    bucket.put(job.upload, content, content_type="text/csv")
    Job.objects.filter(pk=job.pk).update(state=Job.State.READING)
    read_file(Job.objects.get(pk=job.pk))
    return Job.objects.get(pk=job.pk)
