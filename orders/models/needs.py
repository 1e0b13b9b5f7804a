"""What of an order needs somebody: the kinds, and the orders of each. Read by the admin's home and its list of orders.

Each kind is served by an index of its own, so that looking costs what is found and not what there is.
"""

from datetime import timedelta

from django.conf import settings
from django.db import models
from django.db.models import Exists, OuterRef, Q
from django.utils import timezone

from orders.models.order import Order, OrderQuerySet
from orders.models.payment import Payment, Refund
from orders.status import OrderStatus, PaymentState, RefundState

MOST_IN_NEED = 2000  # orders: with more of them something else is wrong


class Need(models.TextChoices):
    """Why somebody should look at an order."""

    PAYMENT_UNKNOWN = "payment-unknown", "Payment unknown"
    PAYMENT_DECLINED = "payment-declined", "Payment failed, order still open"
    STUCK = "stuck", "Stuck on its way"
    FAILED = "failed", "Failed, compensation unfinished"
    REFUND_WAITING = "refund-waiting", "Refund on its way"
    REFUND_FAILED = "refund-failed", "Refund failed"
    REFUND_PROPOSED = "refund-proposed", "Refund waits for a second person"


def orders_in_need(need: Need) -> OrderQuerySet:
    """The orders of one kind, as they are now."""
    return Order.objects.filter(_condition(need))


def orders_needing_someone() -> OrderQuerySet:
    """Those of every kind but one: a refund on its way gets there by itself."""
    kinds = (_condition(need) for need in Need if need != Need.REFUND_WAITING)
    first, *others = (Order.objects.filter(kind).values("pk") for kind in kinds)
    # Without the limit PostgreSQL takes the sum of its guesses for a large part of the table, and reads all of it.
    return Order.objects.filter(pk__in=first.union(*others)[:MOST_IN_NEED])


def _condition(need: Need) -> Q:
    match need:
        case Need.PAYMENT_UNKNOWN:  # payment_open
            return Q(pk__in=Payment.objects.filter(state=PaymentState.UNKNOWN).values("order"))
        case Need.PAYMENT_DECLINED:  # payment_open
            declined = Payment.objects.filter(state=PaymentState.DECLINED).values("order")
            return Q(pk__in=declined, cancelled_at=None, failed_at=None)
        case Need.STUCK:  # order_open
            before = timezone.now() - timedelta(seconds=settings.ORDER_STUCK_SECONDS)
            return Q(pk__in=Order.objects.stuck(before).values("pk"))
        case Need.FAILED:  # order_by_status
            return Q(status=OrderStatus.FAILED)
        case Need.REFUND_WAITING:  # refund_pending
            return Q(pk__in=Refund.objects.filter(state=RefundState.PENDING).values("payment__order"))
        case Need.REFUND_PROPOSED:  # refund_needs_someone
            return Q(pk__in=Refund.objects.filter(state=RefundState.PROPOSED).values("payment__order"))
        case Need.REFUND_FAILED:  # refund_needs_someone; once another one was asked for, somebody has seen to it
            seen_to = Refund.objects.filter(payment=OuterRef("payment"), pk__gt=OuterRef("pk")).exclude(
                state__in=RefundState.dead()
            )
            failed = Refund.objects.filter(~Exists(seen_to), state=RefundState.FAILED)
            return Q(pk__in=failed.values("payment__order"))
