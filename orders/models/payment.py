"""What is known of an order's money: one payment, written before the provider is called, and its refunds."""

from datetime import datetime
from decimal import Decimal
from typing import Self

from django.db import models
from django.db.models import F, Q
from django.db.models.functions import Now

from orders.models.line import OrderLine
from orders.models.order import Order
from orders.status import PaymentState, RefundState


class PaymentQuerySet(models.QuerySet["Payment"]):
    """Payments, by what is still to be done about them."""

    def locked(self) -> Self:
        """With the row locked until the transaction ends: taken after the order's."""
        return self.select_for_update(of=("self",), no_key=True)

    def waiting_too_long(self, now: datetime) -> Self:
        """Whose customer has not answered the bank in time, with the workflow still waiting for it."""
        return self.filter(state=PaymentState.REQUIRES_ACTION, action_deadline__lte=now).exclude(task_token="")


class Payment(models.Model):
    """The one payment of an order. Written as an intent; what the provider answered is written after the call."""

    order = models.OneToOneField(Order, on_delete=models.PROTECT, related_name="payment")
    provider = models.CharField(max_length=20)
    # Our name for it at the provider, and its idempotency key: the order's number.
    reference = models.CharField(max_length=40, unique=True)
    provider_id = models.CharField(max_length=100, blank=True, db_default="")
    method = models.CharField(max_length=50, blank=True)
    amount = models.DecimalField(max_digits=20, decimal_places=2)
    currency = models.CharField(max_length=3)
    state = models.CharField(max_length=20, choices=PaymentState, default=PaymentState.INTENDED)
    captured = models.DecimalField(max_digits=20, decimal_places=2, default=Decimal("0.00"))
    # What was given back or is on its way, and what waits for a second person.
    refunded = models.DecimalField(max_digits=20, decimal_places=2, default=Decimal("0.00"))
    proposed = models.DecimalField(max_digits=20, decimal_places=2, default=Decimal("0.00"), db_default=Decimal("0.00"))
    # For the owner's browser, where the bank asks something; never logged.
    client_secret = models.CharField(max_length=200, blank=True, db_default="")
    action_deadline = models.DateTimeField(null=True, blank=True)
    # When the provider was asked once more after it had confirmed the void.
    void_checked_at = models.DateTimeField(null=True, blank=True)
    # Of the execution that waits for the customer's answer.
    task_token = models.TextField(blank=True, db_default="")
    attempts = models.PositiveIntegerField(default=0)
    last_error = models.CharField(max_length=300, blank=True, db_default="")
    created_at = models.DateTimeField(db_default=Now())
    updated_at = models.DateTimeField(db_default=Now())

    objects = PaymentQuerySet.as_manager()

    class Meta:
        constraints = [
            models.CheckConstraint(condition=Q(state__in=PaymentState.values), name="payment_state_is_known"),
            models.CheckConstraint(condition=Q(amount__gte=0), name="payment_amount_is_not_negative"),
            models.CheckConstraint(
                condition=Q(captured__gte=0, captured__lte=F("amount")), name="payment_captures_no_more_than_its_amount"
            ),
            # However many refunds are asked for at once: the last word on giving back too much.
            models.CheckConstraint(
                condition=Q(refunded__gte=0, proposed__gte=0, captured__gte=F("refunded") + F("proposed")),
                name="payment_refunds_no_more_than_it_captured",
            ),
        ]
        indexes = [
            # The sweep's look at what is still open.
            models.Index(
                fields=["updated_at"],
                name="payment_open",
                condition=Q(state__in=["intended", "requires_action", "unknown", "declined"])
                | Q(state="voided", void_checked_at=None),
            ),
        ]

    def __str__(self) -> str:
        return self.reference

    @property
    def refundable(self) -> Decimal:
        """What could still be given back."""
        return self.captured - self.refunded - self.proposed


class RefundQuerySet(models.QuerySet["Refund"]):
    """Refunds."""

    def with_parts(self) -> Self:
        """First to last, each with its payment and what it says of lines (one more statement) for ``refund.parts``."""
        parts = RefundLine.objects.select_related("line").order_by("line__position")
        return self.select_related("payment").prefetch_related(models.Prefetch("lines", parts, to_attr="parts"))


class Refund(models.Model):
    """Money on its way back: written as an intent in the transaction that decided it, settled by a consumer."""

    payment = models.ForeignKey(Payment, on_delete=models.PROTECT, related_name="refunds")
    # Our name for it at the provider, and its idempotency key.
    reference = models.CharField(max_length=50, unique=True)
    provider_id = models.CharField(max_length=100, blank=True, db_default="")
    amount = models.DecimalField(max_digits=20, decimal_places=2)
    reason = models.CharField(max_length=200, blank=True)
    state = models.CharField(max_length=20, choices=RefundState, default=RefundState.PENDING)
    actor = models.CharField(max_length=128, blank=True)
    # The second person, where one was needed.
    approved_by = models.CharField(max_length=128, blank=True, db_default="")
    last_error = models.CharField(max_length=300, blank=True, db_default="")
    created_at = models.DateTimeField(db_default=Now())
    settled_at = models.DateTimeField(null=True, blank=True)

    parts: "list[RefundLine]"  # set by with_parts()
    objects = RefundQuerySet.as_manager()

    class Meta:
        ordering = ["id"]
        constraints = [
            models.CheckConstraint(condition=Q(state__in=RefundState.values), name="refund_state_is_known"),
            # 0 where goods are taken back, or not sent, for which no money goes back.
            models.CheckConstraint(condition=Q(amount__gte=0), name="refund_amount_is_not_negative"),
            models.CheckConstraint(
                condition=~Q(state="settled") | Q(settled_at__isnull=False), name="refund_settled_has_its_moment"
            ),
            # The last word on the second person, whatever the code above believes.
            models.CheckConstraint(
                condition=Q(approved_by="") | ~Q(approved_by=F("actor")), name="refund_is_approved_by_somebody_else"
            ),
        ]
        indexes = [
            # The consumer's and the sweep's look at what is on its way.
            models.Index(fields=["payment"], name="refund_pending", condition=Q(state="pending")),
            # What waits for a second person or came to nothing: the home page and the desk.
            models.Index(
                fields=["payment"], name="refund_needs_someone", condition=Q(state__in=["proposed", "failed"])
            ),
            # The list behind a day's refunds, and the nightly recount of the last days.
            models.Index(fields=["settled_at"], name="refund_settled", condition=Q(state="settled")),
        ]

    def __str__(self) -> str:
        return self.reference


class RefundLine(models.Model):
    """So many units of one line that a refund gives money back for."""

    refund = models.ForeignKey(Refund, on_delete=models.PROTECT, related_name="lines")
    line = models.ForeignKey(OrderLine, on_delete=models.PROTECT, related_name="+")
    quantity = models.PositiveIntegerField()
    # Of these, the ones that had not left the house: they will not.
    withdrawn = models.PositiveIntegerField(default=0)
    # And the ones that go back on the shelf.
    restocked = models.PositiveIntegerField(default=0)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["refund", "line"], name="refund_line_stands_once"),
            models.CheckConstraint(
                condition=Q(quantity__gt=0, quantity__gte=F("withdrawn")) & Q(quantity__gte=F("restocked")),
                name="refund_line_quantity_covers_its_parts",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.quantity} × {self.line.sku}"
