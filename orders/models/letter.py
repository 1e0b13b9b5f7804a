"""The e-mails about an order: one for each fact that the customer hears of. Written by orders/letters.py."""

from datetime import timedelta
from typing import Self

from django.conf import settings
from django.db import models
from django.db.models import Q
from django.db.models.functions import Now

from orders.models.order import Order
from orders.status import LetterState


class LetterQuerySet(models.QuerySet["Letter"]):
    """Letters, by what may be done with them."""

    def sendable(self) -> Self:
        """Those that surely did not go out, by the database's clock.

        One whose sending was cut off counts once SES has had MAIL_OUTCOME_SECONDS to say that it took it.
        """
        silent = Now() - timedelta(seconds=settings.MAIL_OUTCOME_SECONDS)
        return self.filter(Q(state=LetterState.WAITING) | Q(state=LetterState.SENDING, tried_at__lte=silent))


class Letter(models.Model):
    """One e-mail. Without the address: that is the customer's, and goes when they go."""

    order = models.ForeignKey(Order, on_delete=models.PROTECT, related_name="letters")
    # The fact that it tells of: one e-mail a fact.
    event_id = models.UUIDField(unique=True)
    kind = models.CharField(max_length=64)
    state = models.CharField(max_length=20, choices=LetterState, default=LetterState.WAITING)
    provider_id = models.CharField(max_length=200, blank=True, db_default="")
    attempts = models.PositiveIntegerField(default=0)
    last_error = models.CharField(max_length=300, blank=True, db_default="")
    created_at = models.DateTimeField(db_default=Now())
    tried_at = models.DateTimeField(db_default=Now())
    sent_at = models.DateTimeField(null=True, blank=True)

    objects = LetterQuerySet.as_manager()

    class Meta:
        ordering = ["id"]
        constraints = [
            models.CheckConstraint(condition=Q(state__in=LetterState.values), name="letter_state_is_known"),
        ]

    def __str__(self) -> str:
        return f"{self.kind} ({self.state})"
