"""Orders as they are kept, and the one way in which their state changes. Called by services and doors.

Longer than most modules: what moves a state stands beside the constraints that have the last word on it.
"""

import os
import time
from datetime import datetime
from decimal import Decimal
from typing import Any, Self

from django.conf import settings
from django.db import models
from django.db.models import Case, F, Q, Value, When
from django.db.models.functions import Now

from accounts.models import User
from catalog.models import LineStock
from orders.models.line import OrderLine
from orders.models.timeline import TimelineEntry
from orders.status import (
    FULFILMENT_MOVES,
    PAID_FOR,
    PAYMENT_MOVES,
    SHIPMENT,
    SHIPPABLE,
    FulfilmentStatus,
    Mark,
    OrderStatus,
    PaymentState,
    PaymentStatus,
    RefundState,
)
from vibecode.errors import Conflict, Fault, Malformed, Stale

_CROCKFORD = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
NUMBER_PATTERN = r"ORD-[0-9A-HJKMNP-TV-Z]{26}"


class IllegalTransition(Conflict):
    """The table in status.py knows no way from where the order is to where it should go."""

    code = "illegal-transition"
    title = "The order is not in a state for this"


class TooCommon(Malformed):
    """What was searched for stands in too many names to look through their orders."""

    code = "search-too-common"
    title = "Too many customers match"


def new_order_number() -> str:
    """``ORD-`` and a ULID: 48 bits of milliseconds, so that numbers sort by time, and 80 bits nobody can guess."""
    bits = time.time_ns() // 1_000_000 << 80 | int.from_bytes(os.urandom(10))
    return "ORD-" + "".join(_CROCKFORD[bits >> shift & 31] for shift in range(125, -1, -5))


MOST_PEOPLE = 200  # whose orders a search looks through
FOUND = 1000  # orders that a search finds of each kind, the newest: enough to see that it should be narrowed

# Of these something still has to leave the house; ``may_ship`` asks the same of one.
TO_SHIP = Q(
    fulfilment_status__in=sorted(SHIPPABLE),
    payment_status__in=sorted(PAID_FOR),
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
        """Staff's search: an order's number, its customer's e-mail or name, or a SKU in it; of each the newest FOUND.

        Asks at once who is meant, for all orders of some people are read by order_of_user, and those of "people whose
        name …" by nothing. Raises TooCommon where more than MOST_PEOPLE are, and no number or SKU is.
        """
        people = list(User.objects.matching(words).values_list("pk", flat=True)[: MOST_PEOPLE + 1])
        newest = Order.objects.order_by("-created_at", "-id")
        by_number = newest.filter(number__startswith=words.upper()).values("pk")[:FOUND]
        by_sku = OrderLine.objects.filter(sku=words.upper()).order_by("-order_id").values("order_id")[:FOUND]
        if len(people) <= MOST_PEOPLE:
            return self.filter(pk__in=by_number.union(by_sku, newest.filter(user__in=people).values("pk")[:FOUND]))
        if not by_number.exists() and not by_sku.exists():
            raise TooCommon(
                f"More than {MOST_PEOPLE} customers match {words!r}: write more of the e-mail or the name.",
                faults=[Fault("/search", "invalid", f"More than {MOST_PEOPLE} customers match.")],
            )
        return self.filter(pk__in=by_number.union(by_sku))


def _status_expression() -> Case:
    """status_of() as SQL, for the generated column; a test compares the two cell by cell."""
    return Case(
        When(failed_at__isnull=False, then=Value(OrderStatus.FAILED)),
        When(cancelled_at__isnull=False, then=Value(OrderStatus.CANCELLED)),
        When(payment_status=PaymentStatus.REFUNDED, then=Value(OrderStatus.REFUNDED)),
        *(When(fulfilment_status=state, then=Value(status)) for state, status in SHIPMENT.items()),
        When(completed_at__isnull=False, then=Value(OrderStatus.COMPLETED)),
        When(
            payment_status__in=sorted(PAID_FOR),
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

    items: "list[OrderLine]"  # set by with_lines() and write_order()
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
            # Staff's filters: the few that are not where nearly all orders end; those the newest list finds at once.
            models.Index(
                fields=["payment_status", "-created_at", "-id"],
                name="order_by_payment",
                condition=~Q(payment_status="paid"),
            ),
            models.Index(
                fields=["fulfilment_status", "-created_at", "-id"],
                name="order_by_fulfilment",
                condition=~Q(fulfilment_status="delivered"),
            ),
            models.Index(fields=["total", "-created_at", "-id"], name="order_by_total"),
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

    @property
    def may_ship(self) -> bool:
        """Whether something of it still has to leave the house."""
        return self.fulfilment_status in SHIPPABLE and self.payment_status in PAID_FOR and self.over_since is None

    def line_stock(self) -> list[LineStock]:
        """What was ordered and not refunded by item, as the catalogue's services want it, by product."""
        lines = OrderLine.objects.filter(order=self, quantity__gt=F("refunded")).order_by("product_id", "id")
        return [LineStock(line.pk, line.product_id, line.quantity - line.refunded) for line in lines]
