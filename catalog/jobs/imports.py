"""What comes in by files: prices, products, stock. Named in JOBS of vibecode/resources.py."""

from collections.abc import Mapping, Sequence
from typing import Any

from django import forms

from catalog.jobs.rows import UNKNOWN, SkuField, known_products, lock_products, price_field, product_of, said_change
from catalog.models import Category, Product, Stock
from catalog.services import MOST_ON_HAND, adjust_stock, change_product, create_product
from vibecode.jobs.kinds import Findings, ImportKind, RowForm, RowRefused, Values
from vibecode.jobs.tables import as_kept
from vibecode.models import JobRow
from vibecode.rights import Actor, Right


class PriceRow(RowForm):
    """A product's new price."""

    sku = SkuField()
    price = price_field()


class ImportPrices(ImportKind):
    """Prices of products that exist."""

    title = "Import prices"
    icon = "payments"
    right = Right.CATALOGUE
    told = ("name",)
    promise = "Customers pay the new prices as soon as their row is done. Orders that were placed keep theirs."
    form = PriceRow
    once = "sku"

    def look_up(self, rows: Mapping[int, Values]) -> Findings:
        """Whether the products exist, and what they cost now."""
        known, found = known_products(row["sku"] for row in rows.values()), Findings()
        for number, row in rows.items():
            if product := known.get(row["sku"]):
                found.notes[number] = said_change("Price", product.price, row["price"])
            else:
                found.errors[number] = {"sku": UNKNOWN}
        return found

    def prepare(self, rows: Sequence[JobRow]) -> dict[str, Product]:
        """The products, locked."""
        return lock_products(rows, self)

    def do(self, row: JobRow, found: dict[str, Product], actor: Actor) -> str:
        """Change one price, where it is another."""
        values = self.values(row)
        product = product_of(found, values["sku"])
        if product.price != values["price"]:
            change_product(product=product, values={"price": values["price"]}, actor=actor)
        return said_change("Price", product.price, values["price"])


class ProductRow(RowForm):
    """A product, new or changed. An empty cell leaves a product's value as it is."""

    sku = SkuField()
    name = forms.CharField(required=False, max_length=200, help_text="A new product must have one")
    description = forms.CharField(required=False, max_length=10_000, help_text="May be empty")
    price = price_field(required=False)
    category = forms.SlugField(required=False, max_length=100, help_text="A category's slug, such as home-lamps")
    status = forms.ChoiceField(
        required=False,
        choices=[("", ""), *Product.Status.choices],
        help_text="draft, published or archived; a new product is a draft",
        error_messages={"invalid_choice": "The status is draft, published or archived."},
    )


class ImportProducts(ImportKind):
    """Products, made or changed."""

    title = "Import products"
    icon = "sell"
    right = Right.CATALOGUE
    promise = "New products are put on the list, others changed; an empty cell changes nothing."
    form = ProductRow
    once = "sku"

    def look_up(self, rows: Mapping[int, Values]) -> Findings:
        """Whether each is new, has what a new one needs, and stands in a category that there is."""
        known, found = known_products(row["sku"] for row in rows.values()), Findings()
        slugs = {row["category"] for row in rows.values()}
        categories = set(Category.objects.filter(slug__in=slugs).values_list("slug", flat=True)) | {""}
        for number, row in rows.items():
            product = known.get(row["sku"])
            errors = {} if product else _lacking(row)
            if row["category"] not in categories:
                errors["category"] = "There is no category by this slug: the list of categories has them."
            if errors:
                found.errors[number] = errors
            else:
                found.notes[number] = _told(product, row)
        return found

    def prepare(self, rows: Sequence[JobRow]) -> dict[str, Product]:
        """The products that exist, locked."""
        return lock_products(rows, self)

    def do(self, row: JobRow, found: dict[str, Product], actor: Actor) -> str:
        """Make one, or change what is other than in the file."""
        values = self.values(row)
        product = found.get(values["sku"])
        told = _told(product, values)
        if product is None:
            if lacking := _lacking(values):
                raise RowRefused(" ".join(lacking.values()))
            given = {name: value for name, value in values.items() if value not in {"", None}}
            create_product(sku=given.pop("sku"), name=given.pop("name"), values=given, actor=actor)
        elif changed := _changed(product, values):
            change_product(product=product, values=changed, actor=actor)
        return told


def _lacking(row: Values) -> dict[str, str]:
    errors = {}
    if not row["name"]:
        errors["name"] = "A new product needs a name; or is the SKU of an old one misspelt?"
    if row["price"] is None:
        errors["price"] = "A new product needs a price."
    return errors


def _changed(product: Product, row: Values) -> Values:
    """The values of a row that are given, and others than the product's."""
    now = {
        "name": product.name,
        "description": product.description,
        "price": product.price,
        "category": product.category.slug if product.category else "",
        "status": product.status,
    }
    given = {name: row[name] for name in now if row[name] not in {"", None}}
    return {name: value for name, value in given.items() if not _same(value, now[name])}


def _same(value: Any, now: Any) -> bool:
    """Texts by what a file can keep of them: what was exported changes nothing."""
    return bool(as_kept(value) == as_kept(now) if isinstance(value, str) else value == now)


def _told(product: Product | None, row: Values) -> str:
    if product is None:
        return "New"
    return f"Changes {', '.join(changed)}" if (changed := _changed(product, row)) else "Stays as it is"


class StockRow(RowForm):
    """What comes or goes, or what is there."""

    sku = SkuField()
    delta = forms.IntegerField(
        required=False,
        min_value=-MOST_ON_HAND,
        max_value=MOST_ON_HAND,
        help_text="Units to add (24) or to take away (-3); or else:",
    )
    on_hand = forms.IntegerField(
        required=False, min_value=0, max_value=MOST_ON_HAND, help_text="Units that are there, after counting them"
    )
    reason = forms.CharField(max_length=200, help_text="Why, for the ledger")

    def clean(self) -> Values:
        """One of the two ways to say it."""
        cleaned = super().clean()
        if self.errors:
            return cleaned
        delta, on_hand = cleaned.get("delta"), cleaned.get("on_hand")
        if (delta is None) == (on_hand is None):
            self.add_error("delta", "Fill in either delta or on_hand, and leave the other one empty.")
        elif delta == 0:
            self.add_error("delta", "0 would change nothing.")
        return cleaned


class ImportStock(ImportKind):
    """Movements of stock; the same SKU may come more than once."""

    title = "Import stock"
    icon = "inventory_2"
    right = Right.STOCK
    told = ("name", "reserved", "available", "reorder_point")
    promise = "Each row is one movement in the ledger, under your name. It can only be put right by another one."
    form = StockRow

    def look_up(self, rows: Mapping[int, Values]) -> Findings:
        """Whether the products exist, and what is on their shelves."""
        known, found = known_products(row["sku"] for row in rows.values()), Findings()
        for number, row in rows.items():
            if product := known.get(row["sku"]):
                before = product.stock.on_hand
                after = before + row["delta"] if row["on_hand"] is None else row["on_hand"]
                found.notes[number] = said_change("On hand", before, after)
            else:
                found.errors[number] = {"sku": UNKNOWN}
        return found

    def prepare(self, rows: Sequence[JobRow]) -> dict[str, Product]:
        """The products by SKU, their shelves locked in the order of their ids."""
        shelves = Stock.objects.filter(product__sku__in=self.texts(rows, "sku")).order_by("product_id")
        locked = shelves.select_related("product").select_for_update(no_key=True, of=("self",))
        return {stock.product.sku: stock.product for stock in locked}

    def do(self, row: JobRow, found: dict[str, Product], actor: Actor) -> str:
        """One movement, or none where as many are there as were counted."""
        values = self.values(row)
        product = product_of(found, values["sku"])
        before = Stock.objects.get(product=product).on_hand
        delta = values["delta"] if values["on_hand"] is None else values["on_hand"] - before
        if delta:
            reference = f"job {row.job_id} row {row.number}"
            adjust_stock(product=product, delta=delta, reason=values["reason"], actor=actor, reference=reference)
        return said_change("On hand", before, before + delta)
