"""Orders as they are kept: the order, its lines with name and price as they were, and its story.

Longer than most modules: the statement that writes an order stands beside the tables that it fills.
"""

import os
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any, NamedTuple, Self

from django.conf import settings
from django.db import connection, models
from django.db.models import Case, F, Q, Value, When
from django.db.models.functions import Now

from accounts.models import User
from catalog.models import LineStock, Product, ShelfLine
from orders.status import (
    FULFILMENT_MOVES,
    PAYMENT_MOVES,
    SHIPMENT,
    FulfilmentStatus,
    Mark,
    OrderStatus,
    PaymentState,
    PaymentStatus,
    RefundState,
)
from vibecode.errors import Conflict, Stale

_CROCKFORD = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
NUMBER_PATTERN = r"ORD-[0-9A-HJKMNP-TV-Z]{26}"


class IllegalTransition(Conflict):
    """The table in status.py knows no way from where the order is to where it should go."""

    code = "illegal-transition"
    title = "The order is not in a state for this"


def new_order_number() -> str:
    """``ORD-`` and a ULID: 48 bits of milliseconds, so that numbers sort by time, and 80 bits nobody can guess."""
    bits = time.time_ns() // 1_000_000 << 80 | int.from_bytes(os.urandom(10))
    return "ORD-" + "".join(_CROCKFORD[bits >> shift & 31] for shift in range(125, -1, -5))


@dataclass(frozen=True, slots=True)
class Wishes:
    """What a customer says about an order besides its items."""

    payment_method: str = ""
    shipping_address: dict[str, Any] | None = None
    note: str = ""


# Of these something still has to leave the house.
TO_SHIP = Q(
    fulfilment_status__in=[FulfilmentStatus.DEDUCTED, FulfilmentStatus.PARTLY_SHIPPED],
    payment_status__in=[PaymentStatus.PAID, PaymentStatus.PARTLY_REFUNDED],
    cancelled_at=None,
    failed_at=None,
    given_up_at=None,
)


class OrderQuerySet(models.QuerySet["Order"]):
    """Orders, by whose they are and where they stand."""

    def visible_to(self, user: User, *, staff: bool) -> Self:
        """Somebody's own orders; everybody's for staff."""
        return self if staff else self.filter(user=user)

    def with_lines(self) -> Self:
        """With customer and payment (same statement) and lines (one more) for ``order.items``."""
        return self.select_related("user", "payment").prefetch_related(
            models.Prefetch("lines", OrderLine.objects.order_by("position"), to_attr="items")
        )

    def stuck(self, before: datetime) -> Self:
        """Neither complete nor over, and unmoved since ``before``; the sweep asks, served by order_open."""
        return self.filter(completed_at=None, cancelled_at=None, failed_at=None, updated_at__lt=before)

    def unsettled(self, before: datetime) -> Self:
        """Those whose money is not where it belongs, untouched since ``before``: the sweep asks.

        Over, and the provider could still capture, or was not asked once more after its void (served by payment_open);
        with a refund on its way (refund_pending); or failed, with its stock still held (order_by_status).
        """
        over = Q(cancelled_at__isnull=False) | Q(failed_at__isnull=False)
        undecided = Q(payment__state__in=PaymentState.voidable())
        undecided |= Q(payment__state=PaymentState.VOIDED, payment__void_checked_at=None)
        unmoved = Q(payment=None, updated_at__lt=before) | Q(payment__updated_at__lt=before)
        kinds = (over & undecided, Q(payment__refunds__state=RefundState.PENDING), Q(status=OrderStatus.FAILED))
        first, *others = (Order.objects.filter(unmoved, kind).values("pk") for kind in kinds)
        return self.filter(pk__in=first.union(*others))

    def to_ship(self) -> Self:
        """Paid and off the shelf, with something still to leave the house; served by order_to_ship."""
        return self.filter(TO_SHIP)

    def locked(self) -> Self:
        """With the order's row locked until the transaction ends: taken before any stock."""
        return self.select_for_update(of=("self",), no_key=True)

    def matching(self, words: str) -> Self:
        """Staff's search: an order's number, its customer's e-mail or name, or a SKU in it."""
        return self.filter(
            Q(number__startswith=words.upper())
            | Q(user__email__icontains=words)
            | Q(user__name__icontains=words)
            | Q(pk__in=OrderLine.objects.filter(sku=words.upper()).values("order"))
        )

    def write(self, *, customer: User, lines: Sequence[ShelfLine], currency: str, wishes: Wishes) -> "Order":
        """Write an order, its lines, the ledger of what was held, and its first fact, in one statement.

        ``lines`` were held in this transaction. The number of statements does not grow with them.
        """
        order = Order(
            number=new_order_number(),
            user=customer,
            currency=currency,
            subtotal=sum((line.price * line.quantity for line in lines), Decimal("0.00")),
            payment_status=PaymentStatus.PENDING,
            fulfilment_status=FulfilmentStatus.RESERVED,
            payment_method=wishes.payment_method,
            shipping_address=wishes.shipping_address,
            note=wishes.note,
            version=1,
        )
        order.total = order.subtotal + order.shipping_total + order.tax_total
        with connection.cursor() as cursor:
            cursor.execute(
                _WRITE,
                {
                    "number": order.number,
                    "user": customer.pk,
                    "currency": currency,
                    "subtotal": order.subtotal,
                    "shipping_total": order.shipping_total,
                    "tax_total": order.tax_total,
                    "total": order.total,
                    "payment_status": order.payment_status,
                    "fulfilment_status": order.fulfilment_status,
                    "payment_method": order.payment_method,
                    "shipping_address": models.JSONField().get_db_prep_save(order.shipping_address, connection),
                    "note": order.note,
                    "actor": customer.cognito_sub,
                    "products": [line.product_id for line in lines],
                    "skus": [line.sku for line in lines],
                    "names": [line.name for line in lines],
                    "prices": [line.price for line in lines],
                    "quantities": [line.quantity for line in lines],
                },
            )
            order.pk, order.created_at, order.updated_at, order.status = cursor.fetchone()
        order._state.adding = False  # noqa: SLF001 -- it is in the database now, though not by save()
        order._state.fields_cache["payment"] = None  # noqa: SLF001 -- nobody was asked for money yet: no query
        order.items = [
            OrderLine(
                order=order,
                position=position,
                product_id=line.product_id,
                sku=line.sku,
                name=line.name,
                unit_price=line.price,
                quantity=line.quantity,
                line_total=line.price * line.quantity,
            )
            for position, line in enumerate(lines, start=1)
        ]
        return order


_WRITE = """
WITH placed AS (
    INSERT INTO orders_order (
        number, user_id, currency, subtotal, shipping_total, tax_total, total, payment_status, fulfilment_status,
        payment_method, shipping_address, note, cancel_reason, version
    ) VALUES (
        %(number)s, %(user)s, %(currency)s, %(subtotal)s, %(shipping_total)s, %(tax_total)s, %(total)s,
        %(payment_status)s, %(fulfilment_status)s, %(payment_method)s, %(shipping_address)s::jsonb, %(note)s, '', 1
    ) RETURNING id, created_at, updated_at, status
), line AS (
    INSERT INTO orders_orderline (order_id, position, product_id, sku, name, unit_price, quantity)
    SELECT placed.id, basket.position, basket.product_id, basket.sku, basket.name, basket.price, basket.quantity
    FROM placed, unnest(
        %(products)s::bigint[], %(skus)s::text[], %(names)s::text[], %(prices)s::numeric[], %(quantities)s::int[]
    ) WITH ORDINALITY AS basket (product_id, sku, name, price, quantity, position)
    RETURNING id, product_id, quantity
), movement AS (
    INSERT INTO catalog_stockmovement (
        product_id, kind, on_hand_delta, reserved_delta, cause, reference, order_line, reason, actor
    )
    SELECT product_id, 'reserve', 0, quantity, 'order', %(number)s, id, '', %(actor)s FROM line
), fact AS (
    INSERT INTO orders_timelineentry (order_id, type, version, data, actor)
    SELECT id, 'Order Created', 1, '{}'::jsonb, %(actor)s FROM placed
)
SELECT id, created_at, updated_at, status FROM placed
"""


def _status_expression() -> Case:
    """status_of() as SQL, for the generated column; a test compares the two cell by cell."""
    return Case(
        When(failed_at__isnull=False, then=Value(OrderStatus.FAILED)),
        When(cancelled_at__isnull=False, then=Value(OrderStatus.CANCELLED)),
        When(payment_status=PaymentStatus.REFUNDED, then=Value(OrderStatus.REFUNDED)),
        *(When(fulfilment_status=state, then=Value(status)) for state, status in SHIPMENT.items()),
        When(completed_at__isnull=False, then=Value(OrderStatus.COMPLETED)),
        When(
            payment_status__in=[PaymentStatus.PAID, PaymentStatus.PARTLY_REFUNDED],
            then=Value(OrderStatus.PAID),
        ),
        default=Value(OrderStatus.PENDING),
    )


class Order(models.Model):
    """What somebody bought. Changed only by services, along the table in status.py."""

    number = models.CharField(max_length=30, unique=True, editable=False)
    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="orders")
    currency = models.CharField(max_length=3)
    # 20 digits hold the dearest basket: 1,000 SKUs of 100,000 pieces at the largest price.
    subtotal = models.DecimalField(max_digits=20, decimal_places=2)
    shipping_total = models.DecimalField(max_digits=20, decimal_places=2, default=Decimal("0.00"))
    tax_total = models.DecimalField(max_digits=20, decimal_places=2, default=Decimal("0.00"))
    total = models.DecimalField(max_digits=20, decimal_places=2)
    payment_status = models.CharField(max_length=20, choices=PaymentStatus)
    fulfilment_status = models.CharField(max_length=20, choices=FulfilmentStatus)
    completed_at = models.DateTimeField(null=True, blank=True)
    cancelled_at = models.DateTimeField(null=True, blank=True)
    failed_at = models.DateTimeField(null=True, blank=True)
    cancel_reason = models.CharField(max_length=200, blank=True)
    status: models.GeneratedField = models.GeneratedField(
        expression=_status_expression(),
        output_field=models.CharField(max_length=20, choices=OrderStatus),
        db_persist=True,
    )
    payment_method = models.CharField(max_length=50, blank=True)
    shipping_address = models.JSONField(null=True, blank=True)
    note = models.CharField(max_length=1000, blank=True)
    version = models.PositiveIntegerField(default=1)
    # From here on it is only ever cancelled: the workflow gave it up, and its money may be on its way back.
    given_up_at = models.DateTimeField(null=True, blank=True)
    # Executions of the workflow begun for it; the sweep claims the next number by a conditional update.
    workflow_runs = models.PositiveSmallIntegerField(default=1, db_default=1)
    created_at = models.DateTimeField(db_default=Now())
    updated_at = models.DateTimeField(db_default=Now())

    items: "list[OrderLine]"  # set by with_lines() and write()
    objects = OrderQuerySet.as_manager()

    class Meta:
        constraints = [
            models.CheckConstraint(
                condition=Q(total=F("subtotal") + F("shipping_total") + F("tax_total")),
                name="order_total_adds_up",
            ),
            models.CheckConstraint(
                condition=Q(subtotal__gte=0, shipping_total__gte=0, tax_total__gte=0),
                name="order_totals_are_not_negative",
            ),
            models.CheckConstraint(
                condition=Q(payment_status__in=PaymentStatus.values), name="order_payment_status_is_known"
            ),
            models.CheckConstraint(
                condition=Q(fulfilment_status__in=FulfilmentStatus.values),
                name="order_fulfilment_status_is_known",
            ),
            # A cancelled order has given back what it held, and never had anything shipped.
            models.CheckConstraint(
                condition=Q(cancelled_at=None) | Q(fulfilment_status=FulfilmentStatus.UNFULFILLED),
                name="order_cancelled_holds_nothing",
            ),
        ]
        indexes = [
            # A customer's own list, newest first.
            models.Index(fields=["user", "-created_at", "-id"], name="order_of_user"),
            # Staff's list, newest first, and by status.
            models.Index(fields=["-created_at", "-id"], name="order_newest"),
            models.Index(fields=["status", "-created_at", "-id"], name="order_by_status"),
            # manage.py sweep_orders looks at what is on its way; all the rest would only make it long.
            models.Index(
                fields=["updated_at"],
                name="order_open",
                condition=Q(completed_at=None, cancelled_at=None, failed_at=None),
            ),
            # The desk's view of what to ship: most orders of a shop have shipped long ago.
            models.Index(fields=["-created_at", "-id"], name="order_to_ship", condition=TO_SHIP),
        ]

    def __str__(self) -> str:
        return self.number

    def get_absolute_url(self) -> str:
        """The order's address in the API."""
        return f"/api/v1/orders/{self.number}"

    def move_to(
        self,
        *,
        payment: PaymentStatus | None = None,
        fulfilment: FulfilmentStatus | None = None,
        mark: Mark = Mark.NONE,
        reason: str = "",
    ) -> bool:
        """Move along the tables in status.py, one version up. False if already there.

        The update proves itself: it finds the order only at the version that was read. Raises IllegalTransition when a
        table says no, or somebody else moved the order meanwhile.
        """
        changes: dict[str, Any] = {}
        if payment is not None and payment != self.payment_status:
            self._check_way("payment", PAYMENT_MOVES[PaymentStatus(self.payment_status)], payment)
            changes["payment_status"] = payment
        if fulfilment is not None and fulfilment != self.fulfilment_status:
            self._check_way("fulfilment", FULFILMENT_MOVES[FulfilmentStatus(self.fulfilment_status)], fulfilment)
            changes["fulfilment_status"] = fulfilment
        if mark != Mark.NONE and mark != self.mark:
            if self.mark == Mark.FAILED and mark == Mark.CANCELLED:
                changes["failed_at"] = None  # somebody, or the sweep, has brought it to an end
            elif self.mark in {Mark.CANCELLED, Mark.FAILED}:
                raise IllegalTransition(f"{self.number} is {self.mark}: it cannot become {mark}.")
            changes[f"{mark}_at"] = Now()
        if not changes:
            return False
        if reason:
            changes["cancel_reason"] = reason
        self._write(changes)
        return True

    def expect(self, version: int | None) -> None:
        """Raise Stale where the caller has read another version than this one; None asks for nothing."""
        if version is not None and version != self.version:
            raise Stale(
                f"{self.number} is at version {self.version}, not at {version}: somebody else has changed it. "
                "Read it again.",
                version=self.version,
            )

    def move_on(self) -> None:
        """One version up, for a fact that changes no state. Raises IllegalTransition as move_to does."""
        self._write({})

    def _write(self, changes: dict[str, Any]) -> None:
        moved = Order.objects.filter(pk=self.pk, version=self.version).update(
            **changes, version=F("version") + 1, updated_at=Now()
        )
        if not moved:
            raise IllegalTransition(f"{self.number} was changed by somebody else just now: read it again.")
        self.refresh_from_db(fields=[*changes, "version", "updated_at", "status"])

    def tell(self, fact: str, *, actor: str, **data: Any) -> None:
        """Add a fact to the order's timeline. The caller holds the order's lock."""
        TimelineEntry.objects.create(order=self, type=fact, version=self.version, actor=actor, data=data)

    def _check_way(self, which: str, ways: frozenset[Any], new: str) -> None:
        if new not in ways:
            now = getattr(self, f"{which}_status")
            raise IllegalTransition(
                f"{self.number}: {which} is {now}, which cannot become {new}.", orderStatus=self.status
            )

    @property
    def mark(self) -> Mark:
        """Which mark counts."""
        if self.failed_at:
            return Mark.FAILED
        if self.cancelled_at:
            return Mark.CANCELLED
        return Mark.COMPLETED if self.completed_at else Mark.NONE

    @property
    def over_since(self) -> datetime | None:
        """When the last thing happened that brought it to an end without its goods; None while nothing has."""
        ends = (self.given_up_at, self.cancelled_at, self.failed_at)
        return max((end for end in ends if end), default=None)

    def line_stock(self) -> list[LineStock]:
        """What was ordered and not refunded by item, as the catalogue's services want it, by product."""
        lines = OrderLine.objects.filter(order=self, quantity__gt=F("refunded")).order_by("product_id", "id")
        return [LineStock(line.pk, line.product_id, line.quantity - line.refunded) for line in lines]


class Counts(NamedTuple):
    """What is added to a line's counters, in units."""

    shipped: int = 0
    refunded: int = 0
    withdrawn: int = 0
    restocked: int = 0


class OrderLineQuerySet(models.QuerySet["OrderLine"]):
    """Lines, and the statement that counts what becomes of them."""

    def of(self, order: Order) -> Self:
        """An order's lines, as they were ordered."""
        return self.filter(order=order).order_by("position")

    def count_up(self, changes: Mapping[int, Counts]) -> None:
        """Add to the counters of lines, by their ids, in one statement. The caller holds the order's lock."""
        with connection.cursor() as cursor:
            cursor.execute(_COUNT_UP, {"lines": list(changes), **_columns(changes.values())})


def _columns(changes: Iterable[Counts]) -> dict[str, list[int]]:
    return dict(zip(Counts._fields, map(list, zip(*changes, strict=True)), strict=True))


_COUNT_UP = """
UPDATE orders_orderline line
SET shipped = line.shipped + change.shipped, refunded = line.refunded + change.refunded,
    withdrawn = line.withdrawn + change.withdrawn, restocked = line.restocked + change.restocked
FROM unnest(%(lines)s::bigint[], %(shipped)s::int[], %(refunded)s::int[], %(withdrawn)s::int[], %(restocked)s::int[])
    AS change (id, shipped, refunded, withdrawn, restocked)
WHERE line.id = change.id
"""


class OrderLine(models.Model):
    """One product of an order, with its name and price as they were, and what became of its units."""

    order = models.ForeignKey(Order, on_delete=models.PROTECT, related_name="lines")
    position = models.PositiveSmallIntegerField()
    product = models.ForeignKey(Product, on_delete=models.PROTECT, related_name="+")
    sku = models.CharField("SKU", max_length=40)
    name = models.CharField(max_length=200)
    unit_price = models.DecimalField(max_digits=12, decimal_places=2)
    quantity = models.PositiveIntegerField()
    line_total: models.GeneratedField = models.GeneratedField(
        expression=F("unit_price") * F("quantity"),
        output_field=models.DecimalField(max_digits=20, decimal_places=2),
        db_persist=True,
    )
    # Units that have left the house.
    shipped = models.PositiveIntegerField(default=0, db_default=0)
    # Units given money back for, whatever became of that refund later: its goods are dealt with.
    refunded = models.PositiveIntegerField(default=0, db_default=0)
    # Those of them that had not left yet, and will not any more.
    withdrawn = models.PositiveIntegerField(default=0, db_default=0)
    # Units that a refund has put back on the shelf.
    restocked = models.PositiveIntegerField(default=0, db_default=0)

    objects = OrderLineQuerySet.as_manager()

    class Meta:
        constraints = [
            # Equal SKUs are added up before they get here.
            models.UniqueConstraint(fields=["order", "sku"], name="order_line_sku_stands_once"),
            models.CheckConstraint(
                condition=Q(quantity__gte=1, quantity__lte=100_000), name="order_line_quantity_is_1_to_100000"
            ),
            models.CheckConstraint(condition=Q(unit_price__gte=0), name="order_line_price_is_not_negative"),
            # However many ship and refund at once: no unit leaves twice, or leaves although its money went back.
            models.CheckConstraint(
                condition=Q(quantity__gte=F("shipped") + F("withdrawn")), name="order_line_ships_no_more_than_ordered"
            ),
            models.CheckConstraint(
                condition=Q(refunded__gte=F("withdrawn")), name="order_line_withdraws_no_more_than_refunded"
            ),
            models.CheckConstraint(
                condition=Q(refunded__lte=F("shipped") + F("withdrawn")), name="order_line_refunded_has_left_or_stays"
            ),
            models.CheckConstraint(
                condition=Q(refunded__gte=F("restocked")), name="order_line_restocks_no_more_than_refunded"
            ),
        ]
        indexes = [
            # Staff's search by SKU.
            models.Index(fields=["sku"], name="order_line_sku"),
        ]

    def __str__(self) -> str:
        return f"{self.quantity} × {self.sku}"

    @property
    def to_ship(self) -> int:
        """Units that are still to leave the house."""
        return self.quantity - self.shipped - self.withdrawn

    @property
    def with_customer(self) -> int:
        """Units that have left and were not given money back for."""
        return self.shipped - (self.refunded - self.withdrawn)


class TimelineEntry(models.Model):
    """One fact that happened to an order, kept for good (the outbox forgets after 14 days)."""

    order = models.ForeignKey(Order, on_delete=models.PROTECT, related_name="timeline")
    type = models.CharField(max_length=64)
    version = models.PositiveIntegerField()
    data = models.JSONField(db_default={})
    actor = models.CharField(max_length=128, blank=True)
    timestamp = models.DateTimeField(db_default=Now())

    class Meta:
        verbose_name_plural = "timeline entries"
        ordering = ["id"]
        constraints = [
            # A fact belongs to the version that it made: a step that runs twice tells it once.
            models.UniqueConstraint(fields=["order", "version", "type"], name="timeline_entry_is_told_once"),
        ]

    def __str__(self) -> str:
        return f"{self.type} ({self.version})"
