"""What is for sale, how much of it there is, and every movement that made it so.

Longer than most modules: the statements that lock and move stock stand beside the table whose CHECK backs them.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Self

from django.contrib.postgres.indexes import GinIndex, OpClass
from django.contrib.postgres.search import (
    SearchQuery,
    SearchRank,
    SearchVector,
    SearchVectorField,
    TrigramSimilarity,
)
from django.core.validators import MinValueValidator, RegexValidator
from django.db import connection, models
from django.db.models import F, Q
from django.db.models.expressions import RawSQL
from django.db.models.functions import Cast, Now, Upper
from django.utils.text import slugify

from vibecode.searching import has_trigram

SKU_PATTERN = r"[A-Z0-9][A-Z0-9._-]{0,39}"


# --- categories ------------------------------------------------------------------------------------------------------
class CategoryQuerySet(models.QuerySet["Category"]):
    """Categories, as a tree."""

    def below(self, slug: str) -> Self:
        """A category and all that stand under it, by a recursive CTE over the index of parents."""
        return self.filter(id__in=RawSQL(_BRANCH, [slug]))  # noqa: S611 -- constant; the ORM has no recursive CTE


_BRANCH = """
WITH RECURSIVE branch AS (
    SELECT id FROM catalog_category WHERE slug = %s
    UNION
    SELECT child.id FROM catalog_category child JOIN branch ON child.parent_id = branch.id
)
SELECT id FROM branch
"""


class Category(models.Model):
    """A shelf of the shop. A plain parent: the tree is small, read whole, and seldom moved (docs/decisions/0004)."""

    name = models.CharField(max_length=100)
    slug = models.SlugField(max_length=100, unique=True)
    parent = models.ForeignKey("self", null=True, blank=True, on_delete=models.PROTECT, related_name="children")
    position = models.PositiveSmallIntegerField(default=0, help_text="Smaller comes first among its siblings.")

    objects = CategoryQuerySet.as_manager()

    class Meta:
        verbose_name_plural = "categories"
        ordering = ["position", "name", "id"]
        constraints = [
            # The backstop of one step; services refuse longer circles.
            models.CheckConstraint(condition=~Q(parent=F("id")), name="category_is_not_its_own_parent"),
        ]

    def __str__(self) -> str:
        return self.name


class ProductStatus(models.TextChoices):
    """Who may see a product: staff, everybody, staff again."""

    DRAFT = "draft", "Draft"
    PUBLISHED = "published", "Published"
    ARCHIVED = "archived", "Archived"


# --- products --------------------------------------------------------------------------------------------------------
class ProductQuerySet(models.QuerySet["Product"]):
    """Products, by who may see them and what they look for."""

    def published(self) -> Self:
        """What customers may see and buy."""
        return self.filter(status=Product.Status.PUBLISHED)

    def with_shelf(self) -> Self:
        """With category and stock in the same statement, for lists."""
        return self.select_related("category", "stock")

    def with_images(self) -> Self:
        """With their images in one further statement."""
        return self.prefetch_related("images")

    def in_category(self, slug: str) -> Self:
        """Products of a category or of one below it."""
        return self.filter(category__in=Category.objects.below(slug))

    def matching(self, words: str) -> Self:
        """Products whose name, description or SKU speaks of the words, with ``relevance`` (best is largest)."""
        query = SearchQuery(words, search_type="websearch", config="english")
        return self.annotate(
            relevance=Cast(SearchRank(F("search"), query) + TrigramSimilarity("name", words), models.FloatField())
        ).filter(Q(search=query) | Q(name__icontains=words) | Q(sku__startswith=words.upper()))


class Product(models.Model):
    """One thing that can be ordered, by its SKU."""

    Status = ProductStatus

    sku = models.CharField(
        "SKU",
        max_length=40,
        unique=True,
        validators=[
            RegexValidator(rf"^{SKU_PATTERN}\Z", "Upper-case letters, digits, dot, dash, underscore; 40 at most.")
        ],
    )
    name = models.CharField(max_length=200)
    slug = models.SlugField(max_length=250, unique=True)
    description = models.TextField(blank=True, max_length=10_000)
    price = models.DecimalField(max_digits=12, decimal_places=2, validators=[MinValueValidator(Decimal(0))])
    currency = models.CharField(max_length=3)
    status = models.CharField(max_length=10, choices=Status, default=Status.DRAFT)
    category = models.ForeignKey(Category, null=True, blank=True, on_delete=models.SET_NULL, related_name="products")
    version = models.PositiveIntegerField(default=1, editable=False)
    created_at = models.DateTimeField(db_default=Now(), editable=False)
    updated_at = models.DateTimeField(db_default=Now(), editable=False)
    search = models.GeneratedField(
        expression=SearchVector("name", weight="A", config="english")
        + SearchVector("description", weight="C", config="english"),
        output_field=SearchVectorField(),
        db_persist=True,
        editable=False,
    )

    objects = ProductQuerySet.as_manager()

    class Meta:
        constraints = [
            models.CheckConstraint(condition=Q(price__gte=0), name="product_price_is_not_negative"),
            # Baskets name SKUs in upper case; a lower-case one could never be bought.
            models.CheckConstraint(condition=Q(sku=Upper("sku")) & ~Q(sku=""), name="product_sku_is_upper_case"),
            models.CheckConstraint(condition=Q(currency__regex=r"^[A-Z]{3}$"), name="product_currency_is_iso_4217"),
        ]
        indexes = [
            # The three orderings of the public list; drafts and archived products are no part of it.
            models.Index(fields=["created_at", "id"], name="product_newest", condition=Q(status="published")),
            models.Index(fields=["price", "id"], name="product_by_price", condition=Q(status="published")),
            models.Index(fields=["name", "id"], name="product_by_name", condition=Q(status="published")),
            # Staff list every status, newest first, and sort by what follows.
            models.Index(fields=["-created_at", "-id"], name="product_newest_of_all"),
            models.Index(fields=["status", "-created_at", "-id"], name="product_by_status"),
            models.Index(fields=["name", "-created_at", "-id"], name="product_name_of_all"),
            models.Index(fields=["price", "-created_at", "-id"], name="product_price_of_all"),
            models.Index(fields=["updated_at", "-created_at", "-id"], name="product_changed"),
            # ?search= by words, and by a part of a name.
            GinIndex(fields=["search"], name="product_search"),
            GinIndex(OpClass(Upper("name"), name="gin_trgm_ops"), name="product_name_trigrams"),
        ]

    def __str__(self) -> str:
        return f"{self.sku} {self.name}"

    def get_absolute_url(self) -> str:
        """The product's address in the API."""
        return f"/api/v1/products/{self.sku}"

    @property
    def pictures(self) -> "list[ProductImage]":
        """What is shown of it, in order; no statement where the images were fetched along."""
        return [image for image in self.images.all() if image.state == PictureState.READY]


def slug_of(name: str, sku: str) -> str:
    """A readable address that stays unique: the name, then the SKU."""
    return slugify(f"{name[:200]} {sku}")[:250]


# --- pictures --------------------------------------------------------------------------------------------------------
class PictureState(models.TextChoices):
    """Whether a picture may be shown: not before what was stored has been looked at."""

    AWAITING = "awaiting", "Awaiting its file"
    READY = "ready", "Ready"
    REFUSED = "refused", "Refused"


# What every browser shows, and how its files end.
PICTURE_TYPES: Mapping[str, str] = {"image/jpeg": "jpg", "image/png": "png", "image/webp": "webp", "image/gif": "gif"}


class ProductImageQuerySet(models.QuerySet["ProductImage"]):
    """Pictures, by whether they may be shown."""

    def shown(self) -> Self:
        """Those that were looked at."""
        return self.filter(state=PictureState.READY)

    def lacking_copies(self, before: datetime | None = None) -> Self:
        """Those shown whose smaller copies are still to be made; older than that moment, if one is given."""
        lacking = self.shown().filter(preview="")
        return lacking.filter(created_at__lt=before) if before else lacking

    def abandoned(self, before: datetime) -> Self:
        """Uploads begun before then that came to nothing; served by the partial index image_unfinished."""
        return self.exclude(state=PictureState.READY).filter(created_at__lt=before)


class ProductImage(models.Model):
    """A picture of a product, on S3: first under ``upload``, where a browser puts it; once it is ready, as ``file``."""

    State = PictureState

    product = models.ForeignKey(Product, on_delete=models.CASCADE, related_name="images")
    state = models.CharField(max_length=10, choices=State, default=State.READY, db_default=State.READY, editable=False)
    upload = models.CharField(max_length=100, default="", db_default="", blank=True, editable=False)
    refusal = models.CharField(max_length=300, default="", db_default="", blank=True, editable=False)
    file = models.ImageField(upload_to="products/", max_length=200, width_field="width", height_field="height")
    # Smaller copies as WebP, made in the background: empty until then.
    thumbnail = models.FileField(max_length=200, default="", db_default="", blank=True, editable=False)
    preview = models.FileField(max_length=200, default="", db_default="", blank=True, editable=False)
    alt = models.CharField("alternative text", max_length=200, blank=True)
    position = models.PositiveSmallIntegerField(default=0)
    width = models.PositiveIntegerField(null=True, editable=False)
    height = models.PositiveIntegerField(null=True, editable=False)
    created_at = models.DateTimeField(db_default=Now(), editable=False)

    objects = ProductImageQuerySet.as_manager()

    class Meta:
        ordering = ["position", "id"]
        constraints = [
            # Nothing has a public place before it was looked at, and what has one is nowhere else.
            models.CheckConstraint(
                condition=(Q(state="ready", upload="") & ~Q(file=""))
                | (Q(state__in=["awaiting", "refused"], file="") & ~Q(upload="")),
                name="image_is_public_once_it_is_ready",
            ),
            models.CheckConstraint(
                condition=(Q(state="refused") & ~Q(refusal="")) | (~Q(state="refused") & Q(refusal="")),
                name="image_says_why_it_was_refused",
            ),
        ]
        indexes = [
            # The sweep of abandoned uploads; nearly all pictures are ready.
            models.Index(fields=["created_at"], name="image_unfinished", condition=~Q(state="ready")),
        ]

    def __str__(self) -> str:
        return self.alt or str(self.file.name)

    @property
    def smallest(self) -> models.fields.files.FieldFile:
        """What a list shows of it."""
        return self.thumbnail or self.file


# --- stock -----------------------------------------------------------------------------------------------------------
@dataclass(frozen=True, slots=True)
class ShelfLine:
    """One SKU of a basket against the shelf."""

    sku: str
    quantity: int
    product_id: int  # 0: nothing by that SKU is for sale
    name: str
    price: Decimal
    currency: str
    available: int  # before the hold
    reorder_point: int
    held: bool


@dataclass(frozen=True, slots=True)
class LineStock:
    """The stock of one order line: how many of which product."""

    line_id: int
    product_id: int
    quantity: int


class StockQuerySet(models.QuerySet["Stock"]):
    """Stock, and the statements that move it. Each takes its rows in the order of their ids, so that none deadlocks."""

    def low(self) -> Self:
        """What is for sale and should be ordered anew; served by stock_low."""
        return self.filter(available__lte=F("reorder_point"), product__status=ProductStatus.PUBLISHED)

    def matching(self, words: str) -> Self:
        """The shelves of the products that match."""
        return self.filter(product__in=Product.objects.matching(words).values("pk"))

    def hold(self, wanted: Mapping[str, int]) -> list[ShelfLine]:
        """Reserve all of the wanted quantities, or none of them, in one statement; tell how each SKU stands.

        The rows are locked in id order first; the update then happens only if every SKU is for sale and has enough.
        """
        skus = sorted(wanted)
        with connection.cursor() as cursor:
            cursor.execute(_HOLD, {"skus": skus, "quantities": [wanted[sku] for sku in skus]})
            return [ShelfLine(*row) for row in cursor.fetchall()]

    def move(self, changes: Mapping[int, tuple[int, int]]) -> int:
        """Add (on_hand, reserved) to the counters of products, in one statement. Returns the rows changed."""
        ids = sorted(changes)
        with connection.cursor() as cursor:
            cursor.execute(
                _MOVE,
                {
                    "products": ids,
                    "on_hand": [changes[i][0] for i in ids],
                    "reserved": [changes[i][1] for i in ids],
                },
            )
            return int(cursor.rowcount)


_HOLD = """
WITH wanted AS MATERIALIZED (
    SELECT * FROM unnest(%(skus)s::text[], %(quantities)s::bigint[]) AS basket (sku, quantity)
), shelf AS MATERIALIZED (
    SELECT stock.product_id, product.sku, product.name, product.price, product.currency, wanted.quantity,
           stock.on_hand - stock.reserved AS available, stock.reorder_point
    FROM wanted
    JOIN catalog_product product ON product.sku = wanted.sku AND product.status = 'published'
    JOIN catalog_stock stock ON stock.product_id = product.id
    ORDER BY stock.product_id
    FOR NO KEY UPDATE OF stock
), held AS (
    UPDATE catalog_stock stock
    SET reserved = stock.reserved + shelf.quantity
    FROM shelf
    WHERE stock.product_id = shelf.product_id
      AND (SELECT count(*) FROM shelf WHERE available >= quantity) = (SELECT count(*) FROM wanted)
    RETURNING stock.product_id
)
SELECT wanted.sku, wanted.quantity, coalesce(shelf.product_id, 0), coalesce(shelf.name, ''), coalesce(shelf.price, 0),
       coalesce(shelf.currency, ''), coalesce(shelf.available, 0), coalesce(shelf.reorder_point, 0),
       held.product_id IS NOT NULL
FROM wanted
LEFT JOIN shelf ON shelf.sku = wanted.sku
LEFT JOIN held ON held.product_id = shelf.product_id
ORDER BY wanted.sku
"""

_MOVE = """
WITH change AS MATERIALIZED (
    SELECT * FROM unnest(%(products)s::bigint[], %(on_hand)s::bigint[], %(reserved)s::bigint[])
        AS change (product_id, on_hand, reserved)
), shelf AS MATERIALIZED (
    SELECT stock.product_id, change.on_hand, change.reserved
    FROM change JOIN catalog_stock stock USING (product_id)
    ORDER BY stock.product_id
    FOR NO KEY UPDATE OF stock
)
UPDATE catalog_stock stock
SET on_hand = stock.on_hand + shelf.on_hand, reserved = stock.reserved + shelf.reserved
FROM shelf
WHERE stock.product_id = shelf.product_id
"""


class Stock(models.Model):
    """How many of a product there are, and how many of these are promised.

    Moved by services only, each time with a movement in the ledger.
    """

    product = models.OneToOneField(Product, on_delete=models.CASCADE, primary_key=True, related_name="stock")
    on_hand = models.BigIntegerField(default=0, editable=False)
    reserved = models.BigIntegerField(default=0, editable=False)
    reorder_point = models.PositiveIntegerField(default=0, help_text="At this many available it counts as low.")
    available: models.GeneratedField = models.GeneratedField(
        expression=F("on_hand") - F("reserved"), output_field=models.BigIntegerField(), db_persist=True
    )

    objects = StockQuerySet.as_manager()

    class Meta:
        verbose_name_plural = "stock"
        constraints = [
            # The last word on overselling, whatever the code above believes.
            models.CheckConstraint(
                condition=Q(reserved__gte=0) & Q(reserved__lte=F("on_hand")), name="stock_reserved_is_on_hand"
            ),
        ]
        indexes = [
            # The list of what to reorder; a shop is mostly not low.
            models.Index(fields=["product"], name="stock_low", condition=Q(available__lte=F("reorder_point"))),
        ]

    def __str__(self) -> str:
        return f"Stock of {self.product}"


class StockMovementQuerySet(models.QuerySet["StockMovement"]):
    """The ledger, by what moved."""

    def matching(self, words: str) -> Self:
        """Staff's search: every movement of a SKU, else of an order; else what was done by hand, by reason or actor."""
        product = Product.objects.filter(sku=words.upper()).values_list("pk", flat=True).first()
        if product is not None:
            return self.filter(product=product)
        causes = [StockMovement.Cause.ORDER, StockMovement.Cause.CANCEL, StockMovement.Cause.REFUND]
        of_order = self.filter(reference=words.upper(), cause__in=causes, order_line__isnull=False)
        if of_order.exists() or not has_trigram(words):
            return of_order
        return self.filter(Q(reason__icontains=words) | Q(actor__icontains=words), cause=StockMovement.Cause.REQUEST)


class StockMovement(models.Model):
    """The ledger: every change of a stock counter, written once and never changed (a trigger sees to that)."""

    class Kind(models.TextChoices):
        RECEIVE = "receive", "Received"
        ADJUST = "adjust", "Adjusted"
        RESERVE = "reserve", "Reserved"
        RELEASE = "release", "Released"
        DEDUCT = "deduct", "Deducted"
        RETURN = "return", "Returned"

    class Cause(models.TextChoices):
        ORDER = "order", "Order"
        CANCEL = "cancel", "Cancellation"
        REFUND = "refund", "Refund"
        REQUEST = "request", "Request"

    product = models.ForeignKey(Product, on_delete=models.PROTECT, related_name="movements")
    kind = models.CharField(max_length=10, choices=Kind)
    on_hand_delta = models.BigIntegerField(default=0)
    reserved_delta = models.BigIntegerField(default=0)
    cause = models.CharField(max_length=10, choices=Cause)
    reference = models.CharField(max_length=64, blank=True, help_text="Which order, cancellation, refund or request.")
    # A plain number: orders stand above the catalogue, and the ledger outlives them.
    order_line = models.BigIntegerField(null=True, blank=True)
    reason = models.CharField(max_length=200, blank=True)
    actor = models.CharField(max_length=128, blank=True, help_text="Cognito sub, or what part of the shop it was.")
    created_at = models.DateTimeField(db_default=Now())

    objects = StockMovementQuerySet.as_manager()

    class Meta:
        constraints = [
            # A line is reserved once, released once, … by each cause, however often it is asked for.
            models.UniqueConstraint(
                fields=["cause", "reference", "order_line", "kind"],
                condition=Q(order_line__isnull=False),
                name="stock_movement_happens_once",
            ),
            models.CheckConstraint(
                condition=(
                    Q(kind="receive", on_hand_delta__gt=0, reserved_delta=0)
                    | (Q(kind="adjust", reserved_delta=0) & ~Q(on_hand_delta=0))
                    | Q(kind="reserve", on_hand_delta=0, reserved_delta__gt=0)
                    | Q(kind="release", on_hand_delta=0, reserved_delta__lt=0)
                    | Q(kind="deduct", on_hand_delta=F("reserved_delta"), reserved_delta__lt=0)
                    | Q(kind="return", on_hand_delta__gt=0, reserved_delta=0)
                ),
                name="stock_movement_deltas_fit_its_kind",
            ),
            # What moves for an order names its line; what moves on request has none.
            models.CheckConstraint(
                condition=Q(cause="request", order_line__isnull=True)
                | (~Q(cause="request") & Q(order_line__isnull=False)),
                name="stock_movement_names_its_line",
            ),
        ]
        indexes = [
            # The ledger in the admin, newest first: all of it, of a product, and what is not of every order's way.
            models.Index(fields=["-created_at", "-id"], name="stock_movement_newest"),
            models.Index(fields=["product", "-created_at", "-id"], name="stock_movement_by_product"),
            models.Index(
                fields=["kind", "-created_at", "-id"],
                name="stock_movement_by_kind",
                condition=~Q(kind__in=["reserve", "deduct"]),
            ),
            models.Index(
                fields=["cause", "-created_at", "-id"], name="stock_movement_by_cause", condition=~Q(cause="order")
            ),
            # Its search for what somebody did by hand.
            GinIndex(
                OpClass(Upper("reason"), name="gin_trgm_ops"),
                OpClass(Upper("actor"), name="gin_trgm_ops"),
                name="stock_movement_trigrams",
                condition=Q(cause="request"),
            ),
            # What became of one line: the trigger on returns, and the audit.
            models.Index(fields=["order_line"], name="stock_movement_of_line", condition=Q(order_line__isnull=False)),
        ]

    def __str__(self) -> str:
        return f"{self.get_kind_display()} {self.on_hand_delta:+d}/{self.reserved_delta:+d}"
