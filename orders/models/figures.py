"""What orders add up to, day by day, and what each has contributed to it. Written by orders/services/counting.py alone.

An order's contribution is what the sums hold of it. Whoever counts it works out what it should be now, and adds the
difference to the sums in the transaction that writes the new contribution: a repeat adds nothing, a late fact what is
missing. No CHECK guards a sum from below: it follows from the contributions, and the audit compares the two.

Days are the shop's (TIME_ZONE). Locks are taken in one order, so that none deadlocks: contributions by order, days by
date, the sales of these days, statuses by name. A day's row is locked before its sales.

Longer than most modules: the statements that lock and count stand beside the tables that they fill.
"""

from collections.abc import Sequence
from datetime import date, datetime
from typing import Any, Self

from django.conf import settings
from django.db import connection, models
from django.db.models import Q, Sum

from catalog.models import Product
from orders.models.order import Order
from orders.models.payment import Refund
from orders.status import WAS_PAID, OrderStatus


# --- the sums --------------------------------------------------------------------------------------------------------
class DailyFiguresQuerySet(models.QuerySet["DailyFigures"]):
    """Days, and the statement that puts one right."""

    def between(self, first: date, last: date) -> Self:
        """The days from ``first`` to ``last``, both included, that have a row; served by the primary key."""
        return self.filter(day__gte=first, day__lte=last).order_by("day")

    def settle(self, day: date) -> None:
        """Make a day, and its sales, the sum of its contributions. The caller's transaction holds the day's row.

        Whoever counts has written a contribution in the transaction that waits for this row, or has committed both.
        """
        with connection.cursor() as cursor:
            for statement in (_HOLD_DAY, _SETTLE_DAY, _CLEAR_SALES, _SETTLE_SALES):
                cursor.execute(statement, {"day": day})


class DailyFigures(models.Model):
    """One day of the shop: what was ordered on it, what became of that, and what was given back on it."""

    day = models.DateField(primary_key=True)
    placed = models.BigIntegerField(db_default=0, help_text="Orders placed on this day.")
    paid = models.BigIntegerField(db_default=0, help_text="Those of them that were paid, whenever that was.")
    units = models.BigIntegerField(db_default=0, help_text="The pieces in those.")
    revenue = models.DecimalField(
        max_digits=20, decimal_places=2, db_default=0, help_text="What was captured of orders placed on this day."
    )
    refunds = models.BigIntegerField(db_default=0, help_text="Refunds that were settled on this day.")
    refunded = models.DecimalField(max_digits=20, decimal_places=2, db_default=0, help_text="Their sum.")

    objects = DailyFiguresQuerySet.as_manager()

    class Meta:
        verbose_name_plural = "daily figures"

    def __str__(self) -> str:
        return f"{self.day:%Y-%m-%d}"


class DailySalesQuerySet(models.QuerySet["DailySales"]):
    """Sales of a product on a day."""

    def best(self, first: date, last: date) -> models.QuerySet["DailySales", Any]:
        """The products sold most from ``first`` to ``last``: ``product``, ``sku``, ``name``, ``sold``, ``taken``.

        Reads the sales of these days alone, by daily_sales_stand_once.
        """
        return (
            self.filter(day__gte=first, day__lte=last)
            .values("product", sku=models.F("product__sku"), name=models.F("product__name"))
            .annotate(sold=Sum("units"), taken=Sum("revenue"))
            .filter(sold__gt=0)
            .order_by("-sold", "product")
        )


class DailySales(models.Model):
    """How much of a product was sold on a day: the lines of the paid orders that were placed on it."""

    day = models.DateField()
    product = models.ForeignKey(Product, on_delete=models.PROTECT, related_name="+", db_index=False)
    units = models.BigIntegerField(db_default=0)
    revenue = models.DecimalField(max_digits=20, decimal_places=2, db_default=0)

    objects = DailySalesQuerySet.as_manager()

    class Meta:
        verbose_name_plural = "daily sales"
        constraints = [
            # What counting conflicts with, and what the best sellers of some days are read by.
            models.UniqueConstraint(fields=["day", "product"], name="daily_sales_stand_once"),
        ]

    def __str__(self) -> str:
        return f"{self.day:%Y-%m-%d} {self.product_id}"


class StatusFiguresQuerySet(models.QuerySet["StatusFigures"]):
    """Statuses, and the statement that puts them right."""

    def settle(self) -> None:
        """Make every status's number the count of its contributions. The caller's transaction holds the rows."""
        with connection.cursor() as cursor:
            for statement in (_HOLD_STATUSES, _SETTLE_STATUSES):
                cursor.execute(statement, {"statuses": sorted(OrderStatus.values)})


class StatusFigures(models.Model):
    """How many orders have a status."""

    status = models.CharField(max_length=20, choices=OrderStatus, primary_key=True)
    orders = models.BigIntegerField(db_default=0)

    objects = StatusFiguresQuerySet.as_manager()

    class Meta:
        verbose_name_plural = "status figures"
        constraints = [
            models.CheckConstraint(condition=Q(status__in=OrderStatus.values), name="status_figures_status_is_known"),
        ]

    def __str__(self) -> str:
        return self.status


# --- what each order has contributed ---------------------------------------------------------------------------------
class OrderContributionQuerySet(models.QuerySet["OrderContribution"]):
    """Contributions, and the two statements that bring them and the sums up to date."""

    def count_anew(self, orders: Sequence[int]) -> None:
        """Bring what the sums hold of some orders to what these are now, in two statements whatever their number.

        The first locks the contributions; only a later statement surely sees what whoever had the lock has read and
        written. The second holds the days' rows, which everybody wants, no longer than it must: it comes last.
        """
        with connection.cursor() as cursor:
            cursor.execute(_LOCK, {"orders": list(orders)})
            cursor.execute(_COUNT, {"orders": list(orders), "zone": settings.TIME_ZONE})

    def wrong_since(self, moment: datetime) -> list[int]:
        """Orders placed since then, or with a refund that moved since then, of which the sums hold something else.

        Oldest first, in one statement over these orders alone; served by order_newest and refund_settled.
        """
        with connection.cursor() as cursor:
            cursor.execute(_WRONG, {"since": moment, "zone": settings.TIME_ZONE})
            return [order for (order,) in cursor.fetchall()]


class OrderContribution(models.Model):
    """What the sums hold of one order. Nothing, while it has no day."""

    order = models.OneToOneField(Order, on_delete=models.PROTECT, primary_key=True, related_name="+")
    day = models.DateField(null=True)
    status = models.CharField(max_length=20, db_default="", blank=True)
    paid = models.BooleanField(db_default=False)
    units = models.BigIntegerField(db_default=0)
    revenue = models.DecimalField(max_digits=20, decimal_places=2, db_default=0)

    objects = OrderContributionQuerySet.as_manager()

    class Meta:
        constraints = [
            models.CheckConstraint(
                condition=Q(day=None, status="", paid=False) | Q(day__isnull=False) & ~Q(status=""),
                name="order_contribution_is_whole_or_nothing",
            ),
            models.CheckConstraint(
                condition=Q(paid=True) | Q(units=0, revenue=0), name="order_contribution_unpaid_sold_nothing"
            ),
        ]
        indexes = [
            # The sum of one day: DailyFigures.objects.settle().
            models.Index(fields=["day"], name="order_contribution_of_day"),
        ]

    def __str__(self) -> str:
        return str(self.order_id)


class RefundContribution(models.Model):
    """What the sums hold of one refund; there is none of a refund that is on its way or failed."""

    refund = models.OneToOneField(Refund, on_delete=models.PROTECT, primary_key=True, related_name="+")
    day = models.DateField()
    amount = models.DecimalField(max_digits=20, decimal_places=2)

    class Meta:
        indexes = [
            # The sum of one day: DailyFigures.objects.settle().
            models.Index(fields=["day"], name="refund_contribution_of_day"),
        ]

    def __str__(self) -> str:
        return str(self.refund_id)


# --- the statements --------------------------------------------------------------------------------------------------
# What orders are now, in the columns of their contributions; a WHERE follows.
ORDERS_NOW = f"""
SELECT orders.id, (orders.created_at AT TIME ZONE %(zone)s)::date AS day, orders.status, money.paid,
       CASE WHEN money.paid THEN coalesce(payment.captured, 0) ELSE 0 END AS revenue,
       CASE WHEN money.paid THEN (
           SELECT sum(quantity) FROM orders_orderline line WHERE line.order_id = orders.id
       ) ELSE 0 END AS units
FROM orders_order orders
CROSS JOIN LATERAL (SELECT orders.payment_status IN {tuple(sorted(map(str, WAS_PAID)))} AS paid) money
LEFT JOIN orders_payment payment ON payment.order_id = orders.id
"""  # noqa: S608 -- constants

# The same of refunds: no day while nothing has gone back.
REFUNDS_NOW = """
SELECT refund.id, payment.order_id, refund.amount,
       CASE WHEN refund.state = 'settled' THEN (refund.settled_at AT TIME ZONE %(zone)s)::date END AS day
FROM orders_refund refund JOIN orders_payment payment ON payment.id = refund.payment_id
"""

# Locks the rows that are there too, though it changes none of them: those that fail the WHERE are locked all the same.
# https://www.postgresql.org/docs/16/sql-insert.html#SQL-ON-CONFLICT
_LOCK = """
INSERT INTO orders_ordercontribution (order_id)
SELECT id FROM unnest(%(orders)s::bigint[]) AS wanted (id) ORDER BY id
ON CONFLICT (order_id) DO UPDATE SET status = EXCLUDED.status WHERE false
"""

# Each sum waits for the one before it (the subselects in their WHERE and HAVING): that is the order of the locks.
_COUNT = f"""
WITH counted AS MATERIALIZED (
    SELECT now.*, was.day AS was_day, was.status AS was_status, was.paid AS was_paid, was.units AS was_units,
           was.revenue AS was_revenue,
           (now.day, now.paid, now.units, now.revenue) IS DISTINCT FROM (was.day, was.paid, was.units, was.revenue)
               AS moves_sums
    FROM ({ORDERS_NOW} WHERE orders.id = ANY(%(orders)s)) now
    JOIN orders_ordercontribution was ON was.order_id = now.id
    WHERE (now.day, now.status, now.paid, now.units, now.revenue)
          IS DISTINCT FROM (was.day, was.status, was.paid, was.units, was.revenue)
), given_back AS MATERIALIZED (
    SELECT now.*, was.day AS was_day, was.amount AS was_amount
    FROM ({REFUNDS_NOW} WHERE payment.order_id = ANY(%(orders)s)) now
    LEFT JOIN orders_refundcontribution was ON was.refund_id = now.id
    WHERE now.day IS DISTINCT FROM was.day OR (now.day IS NOT NULL AND now.amount <> was.amount)
), days AS (
    INSERT INTO orders_dailyfigures AS figures (day, placed, paid, units, revenue, refunds, refunded)
    SELECT day, sum(placed), sum(paid), sum(units), sum(revenue), sum(refunds), sum(refunded)
    FROM (
        SELECT day, 1 AS placed, paid::int AS paid, units, revenue, 0 AS refunds, 0 AS refunded
        FROM counted WHERE moves_sums
        UNION ALL
        SELECT was_day, -1, -was_paid::int, -was_units, -was_revenue, 0, 0
        FROM counted WHERE moves_sums AND was_day IS NOT NULL
        UNION ALL
        SELECT day, 0, 0, 0, 0, 1, amount FROM given_back WHERE day IS NOT NULL
        UNION ALL
        SELECT was_day, 0, 0, 0, 0, -1, -was_amount FROM given_back WHERE was_day IS NOT NULL
    ) part
    GROUP BY day
    ORDER BY day
    ON CONFLICT (day) DO UPDATE SET
        placed = figures.placed + EXCLUDED.placed, paid = figures.paid + EXCLUDED.paid,
        units = figures.units + EXCLUDED.units, revenue = figures.revenue + EXCLUDED.revenue,
        refunds = figures.refunds + EXCLUDED.refunds, refunded = figures.refunded + EXCLUDED.refunded
    RETURNING day
), sales AS (
    INSERT INTO orders_dailysales AS sales (day, product_id, units, revenue)
    SELECT day, product_id, sum(units), sum(revenue)
    FROM (
        SELECT counted.day, product_id, quantity AS units, line_total AS revenue
        FROM counted JOIN orders_orderline line ON line.order_id = counted.id WHERE moves_sums AND paid
        UNION ALL
        SELECT was_day, product_id, -quantity, -line_total
        FROM counted JOIN orders_orderline line ON line.order_id = counted.id WHERE moves_sums AND was_paid
    ) part
    WHERE (SELECT count(*) FROM days) >= 0
    GROUP BY day, product_id
    HAVING sum(units) <> 0 OR sum(revenue) <> 0
    ORDER BY day, product_id
    ON CONFLICT (day, product_id) DO UPDATE SET
        units = sales.units + EXCLUDED.units, revenue = sales.revenue + EXCLUDED.revenue
    RETURNING day
), statuses AS (
    INSERT INTO orders_statusfigures AS figures (status, orders)
    SELECT status, sum(orders)
    FROM (
        SELECT status, 1 AS orders FROM counted
        UNION ALL
        SELECT was_status, -1 FROM counted WHERE was_day IS NOT NULL
    ) part
    WHERE (SELECT count(*) FROM sales) >= 0
    GROUP BY status
    HAVING sum(orders) <> 0
    ORDER BY status
    ON CONFLICT (status) DO UPDATE SET orders = figures.orders + EXCLUDED.orders
), gone AS (
    DELETE FROM orders_refundcontribution was USING given_back
    WHERE was.refund_id = given_back.id AND given_back.day IS NULL
), went AS (
    INSERT INTO orders_refundcontribution AS was (refund_id, day, amount)
    SELECT id, day, amount FROM given_back WHERE day IS NOT NULL
    ON CONFLICT (refund_id) DO UPDATE SET day = EXCLUDED.day, amount = EXCLUDED.amount
)
UPDATE orders_ordercontribution was
SET day = counted.day, status = counted.status, paid = counted.paid, units = counted.units, revenue = counted.revenue
FROM counted WHERE was.order_id = counted.id
"""  # noqa: S608 -- constants

_WRONG = f"""
SELECT now.id
FROM ({ORDERS_NOW} WHERE orders.created_at >= %(since)s) now
LEFT JOIN orders_ordercontribution was ON was.order_id = now.id
WHERE (now.day, now.status, now.paid, now.units, now.revenue)
      IS DISTINCT FROM (was.day, was.status, was.paid, was.units, was.revenue)
UNION
SELECT now.order_id
FROM ({REFUNDS_NOW} WHERE refund.settled_at >= %(since)s) now
JOIN orders_order orders ON orders.id = now.order_id
LEFT JOIN orders_ordercontribution of_order ON of_order.order_id = now.order_id
LEFT JOIN orders_refundcontribution was ON was.refund_id = now.id
WHERE now.day IS DISTINCT FROM was.day OR (now.day IS NOT NULL AND now.amount <> was.amount)
   OR of_order.status IS DISTINCT FROM orders.status
ORDER BY 1
"""  # noqa: S608 -- constants

_HOLD_DAY = """
INSERT INTO orders_dailyfigures (day) VALUES (%(day)s)
ON CONFLICT (day) DO UPDATE SET placed = EXCLUDED.placed WHERE false
"""
_SETTLE_DAY = """
UPDATE orders_dailyfigures
SET placed = ordered.placed, paid = ordered.paid, units = ordered.units, revenue = ordered.revenue,
    refunds = given_back.refunds, refunded = given_back.refunded
FROM (
    SELECT count(*) AS placed, count(*) FILTER (WHERE paid) AS paid, coalesce(sum(units), 0) AS units,
           coalesce(sum(revenue), 0) AS revenue
    FROM orders_ordercontribution WHERE day = %(day)s
) ordered, (
    SELECT count(*) AS refunds, coalesce(sum(amount), 0) AS refunded
    FROM orders_refundcontribution WHERE day = %(day)s
) given_back
WHERE day = %(day)s
"""
_CLEAR_SALES = "DELETE FROM orders_dailysales WHERE day = %(day)s"
_SETTLE_SALES = """
INSERT INTO orders_dailysales (day, product_id, units, revenue)
SELECT %(day)s, line.product_id, sum(line.quantity), sum(line.line_total)
FROM orders_ordercontribution was JOIN orders_orderline line ON line.order_id = was.order_id
WHERE was.day = %(day)s AND was.paid
GROUP BY line.product_id
"""

_HOLD_STATUSES = """
INSERT INTO orders_statusfigures (status)
SELECT status FROM unnest(%(statuses)s::text[]) AS known (status) ORDER BY status
ON CONFLICT (status) DO UPDATE SET orders = EXCLUDED.orders WHERE false
"""
_SETTLE_STATUSES = """
UPDATE orders_statusfigures figures SET orders = known.orders
FROM (
    SELECT known.status, count(was.order_id) AS orders
    FROM unnest(%(statuses)s::text[]) AS known (status)
    LEFT JOIN orders_ordercontribution was USING (status)
    GROUP BY known.status
) known
WHERE figures.status = known.status
"""
