"""What can be done to the catalogue and to stock. Called by orders, the views, the admin and the commands.

Longer than most modules: every verb that moves stock stands beside the audit that compares it with the ledger.
"""

import secrets
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from django.conf import settings
from django.db import IntegrityError, connection, transaction
from django.db.models import F
from django.db.models.functions import Now

from catalog.events import StockLow
from catalog.models import Category, LineStock, Product, ShelfLine, Stock, StockMovement, slug_of
from vibecode.errors import Conflict, Fault, Stale, Unprocessable
from vibecode.outbox import publish
from vibecode.rights import Actor, Right

MOST_ON_HAND = 10**9


class UnknownSku(Unprocessable):
    """Some SKUs are not for sale; all of them are named."""

    code = "unknown-sku"
    title = "Some products do not exist or are not for sale"


class UnknownCategory(Unprocessable):
    """There is no category by that slug."""

    code = "unknown-category"
    title = "There is no such category"


class CategoryCircle(Unprocessable):
    """A category cannot stand under itself."""

    code = "category-circle"
    title = "A category cannot stand below itself"


class CurrencyMismatch(Unprocessable):
    """A price in another currency than the shop's."""

    code = "currency-mismatch"
    title = "The currency is another one"


class OutOfStock(Conflict):
    """Some lines want more than there is; every short line is named, and nothing was held."""

    code = "out-of-stock"
    title = "Not enough in stock"


class SkuTaken(Conflict):
    """Another product has this SKU."""

    code = "sku-taken"
    title = "There is a product with this SKU already"


class StockReserved(Conflict):
    """The stock that should go is promised to orders."""

    code = "stock-reserved"
    title = "Stock is reserved for orders"


class StockTooLarge(Unprocessable):
    """More than the counters are meant for."""

    code = "stock-too-large"
    title = "That is more stock than a product can have"


# --- products --------------------------------------------------------------------------------------------------------
def create_product(*, sku: str, name: str, values: Mapping[str, Any], actor: Actor) -> Product:
    """Put a product on the list, with an empty shelf. ``values``: description, price, currency, category, status.

    Raises Denied, SkuTaken, UnknownCategory or CurrencyMismatch.
    """
    actor.must(Right.CATALOGUE)
    values = {"currency": settings.SHOP_CURRENCY} | _resolved(values)
    slug = slug_of(name, sku)
    if Product.objects.filter(slug=slug).exclude(sku=sku).exists():  # A.B and AB read the same
        slug = slug_of(name, f"{sku} {secrets.token_hex(4)}")
    try:
        with transaction.atomic():  # a savepoint: the caller's transaction outlives a taken SKU
            product = Product.objects.create(sku=sku, name=name, slug=slug, **values)
            Stock.objects.create(product=product)
    except IntegrityError as error:
        if "sku" not in str(error) and "slug" not in str(error):
            raise
        raise SkuTaken(f"{sku} exists; change it with PATCH.", sku=sku) from None
    return product


def change_product(
    *, product: Product, values: Mapping[str, Any], actor: Actor, expected_version: int | None = None
) -> Product:
    """Change the given fields by a conditional update, one version up. Orders keep the name and price they had.

    Raises Denied, Stale when the product is not at ``expected_version``, UnknownCategory or CurrencyMismatch.
    """
    actor.must(Right.CATALOGUE)
    values = _resolved(values)
    rows = Product.objects.filter(pk=product.pk)
    if expected_version is not None:
        rows = rows.filter(version=expected_version)
    if not rows.update(version=F("version") + 1, updated_at=Now(), **values):
        raise Stale(f"{product.sku} is not at version {expected_version} any more: read it again.")
    return Product.objects.with_shelf().get(pk=product.pk)


def raise_version(*, product: Product) -> Product:
    """One version up, for what belongs to a product but is no field of it: its pictures. Their verbs ask for rights."""
    Product.objects.filter(pk=product.pk).update(version=F("version") + 1, updated_at=Now())
    return Product.objects.with_shelf().get(pk=product.pk)


def archive_product(*, product: Product, actor: Actor) -> Product:
    """Take a product off the list for good; orders that hold it keep it. Twice is harmless. Raises Denied."""
    actor.must(Right.CATALOGUE)
    if product.status == Product.Status.ARCHIVED:
        return product
    return change_product(product=product, values={"status": Product.Status.ARCHIVED}, actor=actor)


def _resolved(values: Mapping[str, Any]) -> dict[str, Any]:
    """The values as the model has them: the category's slug looked up, the currency checked."""
    resolved = dict(values)
    if (currency := resolved.get("currency", settings.SHOP_CURRENCY)) != settings.SHOP_CURRENCY:
        raise CurrencyMismatch(f"This shop sells in {settings.SHOP_CURRENCY}, not in {currency}.")
    slug = resolved.get("category")
    if isinstance(slug, str):
        resolved["category"] = Category.objects.filter(slug=slug).first()
        if resolved["category"] is None:
            raise UnknownCategory(f"There is no category {slug!r}; /api/v1/categories lists them.")
    return resolved


def place_category(*, category: Category, parent: Category | None) -> None:
    """Check that a category may stand under a parent. Raises CategoryCircle."""
    if parent is not None and category.pk and parent in Category.objects.below(category.slug):
        raise CategoryCircle(f"{parent} is {category} or stands below it.")


def save_category(*, category: Category, actor: Actor) -> Category:
    """Write a category, new or changed, under its parent. Raises Denied or CategoryCircle.

    One at a time: of two that want to stand below each other, the second one sees the first.
    """
    actor.must(Right.CATALOGUE)
    with transaction.atomic(savepoint=False):
        list(Category.objects.order_by("id").select_for_update().values_list("id"))
        place_category(category=category, parent=category.parent)
        category.save()
    return category


# --- stock: on request -----------------------------------------------------------------------------------------------
def adjust_stock(*, product: Product, delta: int, reason: str, actor: Actor, reference: str = "") -> Stock:
    """Add to what is on hand (a delivery), or take away (a correction): one movement. ``delta`` in units, not 0.

    Raises Denied, StockReserved when fewer would be left than orders hold, StockTooLarge beyond a thousand million.
    """
    actor.must(Right.STOCK)
    kind = StockMovement.Kind.RECEIVE if delta > 0 else StockMovement.Kind.ADJUST
    with transaction.atomic(savepoint=False):
        changed = Stock.objects.filter(
            product=product, on_hand__gte=F("reserved") - delta, on_hand__lte=MOST_ON_HAND - delta
        ).update(on_hand=F("on_hand") + delta)
        stock = Stock.objects.get(product=product)
        if not changed and delta > 0:
            raise StockTooLarge(f"{product.sku} has {stock.on_hand}; {MOST_ON_HAND} is the most.")
        if not changed:
            raise StockReserved(
                f"{product.sku} has {stock.on_hand} on hand, of which {stock.reserved} are reserved: "
                f"at most {stock.available} can be taken away.",
                onHand=stock.on_hand,
                reserved=stock.reserved,
            )
        StockMovement.objects.create(
            product=product,
            kind=kind,
            on_hand_delta=delta,
            cause=StockMovement.Cause.REQUEST,
            reference=reference,
            reason=reason,
            actor=actor.name,
        )
        _tell_of_low([(product.sku, stock.available - delta, stock.available, stock.reorder_point)])
    return stock


def _tell_of_low(shelves: Iterable[tuple[str, int, int, int]]) -> None:
    """Publish the fact for each (SKU, available before, after, reorder point) that has just come down to its point.

    A reorder point of 0 is none. One statement for all of them, and none where no shelf is low. The caller's
    transaction has moved the stock, so that it holds its locks.
    """
    low = [
        StockLow(sku=sku, available=after, reorder_point=point)
        for sku, before, after, point in shelves
        if point and before > point >= after
    ]
    if low:
        publish(*low)


def set_reorder_point(*, stock: Stock, units: int, actor: Actor) -> None:
    """At this many available the product counts as low. Raises Denied."""
    actor.must(Right.STOCK)
    Stock.objects.filter(pk=stock.pk).update(reorder_point=units)


# --- stock: for orders -----------------------------------------------------------------------------------------------
def hold_stock(wanted: Mapping[str, int]) -> list[ShelfLine]:
    """Reserve every wanted SKU or none, in one statement; the caller writes the ledger with the lines it makes.

    Raises UnknownSku naming all that are not for sale, else OutOfStock naming every short line; nothing is held then.
    """
    lines = Stock.objects.hold(wanted)
    unknown = [line for line in lines if not line.product_id]
    if unknown:
        raise UnknownSku(
            f"Not for sale here: {', '.join(line.sku for line in unknown[:20])}"
            + (f" and {len(unknown) - 20} more." if len(unknown) > 20 else "."),
            faults=[Fault("/items", "unknown-sku", f"{line.sku} is not for sale.") for line in unknown],
            skus=[line.sku for line in unknown],
        )
    short = [line for line in lines if line.available < line.quantity]
    if short:
        raise OutOfStock(
            "; ".join(f"{line.sku}: {line.quantity} wanted, {line.available} available" for line in short[:20]),
            lines=[{"sku": line.sku, "requested": line.quantity, "available": line.available} for line in short],
        )
    _tell_of_low((line.sku, line.available, line.available - line.quantity, line.reorder_point) for line in lines)
    return lines


def release_stock(*, lines: Sequence[LineStock], reference: str, actor: str) -> None:
    """What was reserved for lines is for sale again. The caller holds the order's lock."""
    _move(lines, StockMovement.Kind.RELEASE, StockMovement.Cause.CANCEL, 0, -1, reference, actor)


def deduct_stock(*, lines: Sequence[LineStock], reference: str, actor: str) -> None:
    """What was reserved for lines leaves the shelf. The caller holds the order's lock."""
    _move(lines, StockMovement.Kind.DEDUCT, StockMovement.Cause.ORDER, -1, -1, reference, actor)


def return_stock(*, lines: Sequence[LineStock], cause: StockMovement.Cause, reference: str, actor: str) -> None:
    """What was deducted for lines is back on the shelf; never more than was deducted, or the ledger's trigger refuses.

    The caller holds the order's lock.
    """
    _move(lines, StockMovement.Kind.RETURN, cause, 1, 0, reference, actor)


def _move(
    lines: Sequence[LineStock],
    kind: StockMovement.Kind,
    cause: StockMovement.Cause,
    on_hand: int,
    reserved: int,
    reference: str,
    actor: str,
) -> None:
    """Move the counters of all lines in one statement and write the ledger in another."""
    changes: dict[int, tuple[int, int]] = {}
    for line in lines:
        before = changes.get(line.product_id, (0, 0))
        changes[line.product_id] = (before[0] + on_hand * line.quantity, before[1] + reserved * line.quantity)
    with transaction.atomic(savepoint=False):
        Stock.objects.move(changes)
        StockMovement.objects.bulk_create(
            StockMovement(
                product_id=line.product_id,
                kind=kind,
                on_hand_delta=on_hand * line.quantity,
                reserved_delta=reserved * line.quantity,
                cause=cause,
                reference=reference,
                order_line=line.line_id,
                actor=actor,
            )
            for line in lines
        )


# --- the audit -------------------------------------------------------------------------------------------------------
def audit_counters() -> list[str]:
    """Recompute both counters of every product from its ledger; one sentence for each SKU that differs."""
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT product.sku, coalesce(stock.on_hand, 0), coalesce(stock.reserved, 0),
                   coalesce(ledger.on_hand, 0), coalesce(ledger.reserved, 0)
            FROM catalog_product product
            LEFT JOIN catalog_stock stock ON stock.product_id = product.id
            LEFT JOIN (
                SELECT product_id, sum(on_hand_delta) AS on_hand, sum(reserved_delta) AS reserved
                FROM catalog_stockmovement GROUP BY product_id
            ) ledger ON ledger.product_id = product.id
            WHERE stock.product_id IS NULL
               OR stock.on_hand <> coalesce(ledger.on_hand, 0)
               OR stock.reserved <> coalesce(ledger.reserved, 0)
            ORDER BY product.sku
            """
        )
        return [
            f"{sku}: on hand {on_hand}, ledger {ledger_on_hand}; reserved {reserved}, ledger {ledger_reserved}"
            for sku, on_hand, reserved, ledger_on_hand, ledger_reserved in cursor.fetchall()
        ]
