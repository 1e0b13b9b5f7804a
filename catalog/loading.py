"""Makes the catalogue what a file says, in bulk and through the ledger. Called by the commands that load files."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import batched

from django.conf import settings
from django.db import connection, transaction
from django.db.models import F
from django.db.models.functions import Now
from django.utils.text import slugify

from catalog.models import Category, Product, Stock, StockMovement, slug_of
from catalog.online_retail import Item
from catalog.shelves import SHELVES, Shelf

BATCH = 500
ACTOR = "load"


@dataclass(slots=True)
class Loaded:
    """What a load did."""

    created: list[str] = field(default_factory=list)
    changed: list[str] = field(default_factory=list)
    unchanged: int = 0
    categories: int = 0  # new ones
    movements: int = 0
    units: int = 0  # what these movements add up to


def load_catalogue(
    *,
    items: Sequence[Item],
    source: str,
    dry_run: bool = False,
    advance: Callable[[int], None] = lambda _steps: None,
) -> Loaded:
    """Create or update a published product for each item, and set what is on hand to its units. All or nothing.

    Doing it twice changes nothing. What is reserved stays reserved: on hand never falls below it. Nobody else writes
    products meanwhile; orders go on. With ``dry_run`` it does all of it and takes it back.

    All locks are held to the end, so each table's rows are locked at once and in the order of their ids, as orders and
    edits take them: batches follow the file, and in a shop that had other products before, the ids do not.
    """
    loaded = Loaded()
    with transaction.atomic():
        with connection.cursor() as cursor:
            cursor.execute("LOCK TABLE catalog_product IN SHARE ROW EXCLUSIVE MODE")
        known = _lock_products({item.sku for item in items})
        shelves = _put_up_shelves({item.shelf for item in items}, loaded)
        targets: dict[int, int] = {}
        for batch in batched(items, BATCH):
            products = _write_products(batch, known, shelves, loaded)
            targets |= {products[item.sku]: item.units for item in batch}
            advance(len(batch))
        _set_stock(targets, source, loaded)
        if dry_run:
            transaction.set_rollback(True)
    return loaded


def _lock_products(skus: set[str]) -> dict[str, Product]:
    """The products that exist, by SKU, locked in the order of their ids."""
    products = Product.objects.filter(sku__in=skus).select_for_update(no_key=True).order_by("pk")
    return {product.sku: product for product in products}


def _put_up_shelves(shelves: set[Shelf], loaded: Loaded) -> dict[Shelf, Category]:
    """The categories of the shelves, by slug; those that exist stay as they are, renamed or moved as they may be."""
    before = Category.objects.count()
    places = {shelf: place for place, shelf in enumerate(SHELVES)}
    ordered = sorted(shelves, key=lambda shelf: places.get(shelf, len(SHELVES)))
    departments = {}
    for position, name in enumerate(dict.fromkeys(shelf.department for shelf in ordered), start=1):
        departments[name], _ = Category.objects.get_or_create(
            slug=slugify(name), defaults={"name": name, "position": position}
        )
    found = {}
    for position, shelf in enumerate(ordered, start=1):
        parent = departments[shelf.department]
        found[shelf], _ = Category.objects.get_or_create(
            slug=f"{slugify(shelf.department)}-{slugify(shelf.name)}",
            defaults={"name": shelf.name, "parent": parent, "position": position},
        )
    loaded.categories = Category.objects.count() - before
    return found


def _write_products(
    items: Sequence[Item], known: dict[str, Product], shelves: dict[Shelf, Category], loaded: Loaded
) -> dict[str, int]:
    """The ids of the items' products by SKU, made or changed where they are not as the items say."""
    new: list[Product] = []
    other: list[Product] = []
    for item in items:
        values = {
            "name": item.name,
            "price": item.price,
            "currency": settings.SHOP_CURRENCY,
            "status": Product.Status.PUBLISHED,
            "category_id": shelves[item.shelf].pk,
        }
        product = known.get(item.sku)
        if product is None:
            new.append(Product(sku=item.sku, slug=slug_of(item.name, item.sku), **values))
        elif any(getattr(product, name) != value for name, value in values.items()):
            for name, value in values.items():
                setattr(product, name, value)
            product.version = F("version") + 1  # for the one update below
            product.updated_at = Now()
            other.append(product)
    Product.objects.bulk_create(new)
    Product.objects.bulk_update(other, ["name", "price", "currency", "status", "category", "version", "updated_at"])
    loaded.created += [product.sku for product in new]
    loaded.changed += [product.sku for product in other]
    loaded.unchanged += len(items) - len(new) - len(other)
    made = {product.sku: product.pk for product in new}
    ids = {item.sku: made[item.sku] if item.sku in made else known[item.sku].pk for item in items}
    Stock.objects.bulk_create((Stock(product_id=pk) for pk in ids.values()), ignore_conflicts=True)
    return ids


def _set_stock(targets: dict[int, int], source: str, loaded: Loaded) -> None:
    """Move what is on hand to the targets: one movement for each product that is not there yet.

    Called once a load: it locks all of the rows that the load moves, in the order of their ids.
    """
    shelves = Stock.objects.filter(product__in=targets).select_for_update(no_key=True).order_by("product_id")
    deltas = {stock.product_id: max(targets[stock.product_id], stock.reserved) - stock.on_hand for stock in shelves}
    deltas = {product: delta for product, delta in deltas.items() if delta}
    Stock.objects.move({product: (delta, 0) for product, delta in deltas.items()})
    StockMovement.objects.bulk_create(
        (
            StockMovement(
                product_id=product,
                kind=StockMovement.Kind.RECEIVE if delta > 0 else StockMovement.Kind.ADJUST,
                on_hand_delta=delta,
                cause=StockMovement.Cause.REQUEST,
                reason=f"stock of the file {source}"[:200],
                actor=ACTOR,
            )
            for product, delta in deltas.items()
        ),
        batch_size=BATCH,
    )
    loaded.movements += len(deltas)
    loaded.units += sum(deltas.values())
