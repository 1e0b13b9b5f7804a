"""Files of products, prices and stock: their columns, and what a row does. Named in JOBS of vibecode/resources.py."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from django import forms
from django.core.validators import RegexValidator
from django.db.models import QuerySet

from catalog.models import SKU_PATTERN, Category, Product, Stock
from catalog.services import MOST_ON_HAND, adjust_stock, change_product, create_product
from vibecode.jobs.exports import ExportKind, begin_export
from vibecode.jobs.kinds import Findings, ImportKind, RowForm, RowRefused, Values
from vibecode.jobs.tables import as_kept
from vibecode.models import Job, JobRow
from vibecode.rights import Actor, Right

UNKNOWN = "No product has this SKU: is it spelt as in the list of products?"


class SkuField(forms.CharField):
    """A SKU, folded to upper case."""

    def __init__(self) -> None:
        sentence = "A SKU has letters, digits, dots, dashes and underscores; 40 at most."
        super().__init__(
            label="SKU",
            help_text="The product's SKU, such as LAMP-1",
            validators=[RegexValidator(rf"^{SKU_PATTERN}\Z", sentence)],
        )

    def to_python(self, value: Any) -> str:
        """In upper case, as baskets name it."""
        return str(super().to_python(value) or "").upper()


def price_field(*, required: bool = True) -> forms.DecimalField:
    """A price in the shop's currency."""
    return forms.DecimalField(
        required=required,
        min_value=0,
        max_digits=12,
        decimal_places=2,
        help_text="With a dot, such as 12.50",
        error_messages={"invalid": "A price is a number with a dot, such as 12.50, without a sign of its currency."},
    )


def _lock_products(rows: Sequence[JobRow], kind: ImportKind) -> dict[str, Product]:
    """The products that exist, by SKU, locked in the order of their ids."""
    locked = (
        Product.objects.filter(sku__in=kind.texts(rows, "sku"))
        .order_by("pk")
        .select_for_update(no_key=True, of=("self",))
    )
    return {product.sku: product for product in locked.select_related("category")}


def _known(skus: Iterable[str]) -> dict[str, Product]:
    return {product.sku: product for product in Product.objects.with_shelf().filter(sku__in=set(skus))}


# --- prices ----------------------------------------------------------------------------------------------------------
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
        known, found = _known(row["sku"] for row in rows.values()), Findings()
        for number, row in rows.items():
            if product := known.get(row["sku"]):
                found.notes[number] = _change("Price", product.price, row["price"])
            else:
                found.errors[number] = {"sku": UNKNOWN}
        return found

    def prepare(self, rows: Sequence[JobRow]) -> dict[str, Product]:
        """The products, locked."""
        return _lock_products(rows, self)

    def do(self, row: JobRow, found: dict[str, Product], actor: Actor) -> str:
        """Change one price, where it is another."""
        values = self.values(row)
        product = _found(found, values["sku"])
        if product.price != values["price"]:
            change_product(product=product, values={"price": values["price"]}, actor=actor)
        return _change("Price", product.price, values["price"])


# --- products --------------------------------------------------------------------------------------------------------
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
        known, found = _known(row["sku"] for row in rows.values()), Findings()
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
        return _lock_products(rows, self)

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


# --- stock -----------------------------------------------------------------------------------------------------------
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
        known, found = _known(row["sku"] for row in rows.values()), Findings()
        for number, row in rows.items():
            if product := known.get(row["sku"]):
                before = product.stock.on_hand
                after = before + row["delta"] if row["on_hand"] is None else row["on_hand"]
                found.notes[number] = _change("On hand", before, after)
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
        product = _found(found, values["sku"])
        before = Stock.objects.get(product=product).on_hand
        delta = values["delta"] if values["on_hand"] is None else values["on_hand"] - before
        if delta:
            reference = f"job {row.job_id} row {row.number}"
            adjust_stock(product=product, delta=delta, reason=values["reason"], actor=actor, reference=reference)
        return _change("On hand", before, before + delta)


def _found(products: Mapping[str, Product], sku: str) -> Product:
    if sku not in products:
        raise RowRefused(f"No product has the SKU {sku} any more.")
    return products[sku]


def _change(what: str, before: object, after: object) -> str:
    return f"{what} stays {before}" if before == after else f"{what} {before} → {after}"


# --- exports: what they write, the imports above take again, and find nothing to change -------------------------------
def export_products(*, products: QuerySet[Product], form: str, actor: Actor) -> Job:
    """A job that writes products to a file, csv or xlsx, by SKU. Raises Denied or NotNow."""
    return begin_export(kind="export-products", rows=products.order_by("sku"), form=form, actor=actor)


def export_prices(*, products: QuerySet[Product], form: str, actor: Actor) -> Job:
    """A job that writes prices to a file, csv or xlsx, by SKU. Raises Denied or NotNow."""
    return begin_export(kind="export-prices", rows=products.order_by("sku"), form=form, actor=actor)


def export_stock(*, shelves: QuerySet[Stock], form: str, actor: Actor) -> Job:
    """A job that writes what is on the shelves to a file, csv or xlsx, by SKU. Raises Denied or NotNow."""
    return begin_export(kind="export-stock", rows=shelves.order_by("product__sku"), form=form, actor=actor)


class ExportProducts(ExportKind):
    """Whoever may write them back may take them out: nothing in there is about people."""

    title = "Export products"
    right = Right.CATALOGUE
    promise = "The products are written to a file, which is kept for a day. It can be imported again."
    file = "products"
    columns = ("sku", "name", "description", "price", "category", "status")
    sums = frozenset({"price"})

    def cells(self, ids: Sequence[int]) -> list[list[Any]]:
        """The products of a part."""
        found = Product.objects.filter(pk__in=ids).order_by("sku")
        names = ("sku", "name", "description", "price", "category__slug", "status")
        return [
            [sku, name, description, str(price), slug or "", status]
            for sku, name, description, price, slug, status in found.values_list(*names)
        ]


class ExportPrices(ExportKind):
    """The name is for whoever reads the file: the import leaves it out."""

    title = "Export prices"
    right = Right.CATALOGUE
    promise = "The prices are written to a file, which is kept for a day. It can be imported again."
    file = "prices"
    columns = ("sku", "name", "price")
    sums = frozenset({"price"})

    def cells(self, ids: Sequence[int]) -> list[list[Any]]:
        """The prices of a part."""
        found = Product.objects.filter(pk__in=ids).order_by("sku").values_list("sku", "name", "price")
        return [[sku, name, str(price)] for sku, name, price in found]


class ExportStock(ExportKind):
    """A list to count by: what is found is written over ``on_hand``, and imported."""

    title = "Export stock"
    right = Right.STOCK
    promise = (
        "What is on the shelves is written to a file, which is kept for a day. Count, correct on_hand, and import it: "
        "what has moved meanwhile is taken for a difference, so do it soon."
    )
    file = "stock"
    columns = ("sku", "name", "reserved", "available", "reorder_point", "on_hand", "reason")

    def cells(self, ids: Sequence[int]) -> list[list[Any]]:
        """The shelves of a part."""
        shelves = Stock.objects.filter(pk__in=ids).select_related("product").order_by("product__sku")
        return [
            [
                each.product.sku, each.product.name, each.reserved, each.available, each.reorder_point, each.on_hand,
                "counted",
            ]
            for each in shelves
        ]  # fmt: skip
