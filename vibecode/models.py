"""The platform's tables: facts that wait to leave, facts that consumers have handled, keys of requests carried out."""

import uuid
from datetime import datetime
from typing import Self

from django.db import models
from django.db.models import Case, Q, Value, When
from django.db.models.functions import Now


class OutboxState(models.TextChoices):
    """Where a fact is on its way out."""

    WAITING = "waiting", "Waiting"
    SENDING = "sending", "Being sent"
    SENT = "sent", "Sent"
    PARKED = "parked", "Parked"


class OutboxEventQuerySet(models.QuerySet["OutboxEvent"]):
    """Facts, by where they are. Every comparison of times is made by the database's clock."""

    def waiting(self) -> Self:
        """What the relay still has to send; served by outbox_waiting."""
        return self.filter(sent_at=None, parked_at=None)

    def parked(self) -> Self:
        """What the bus refused for good, until staff send it again; served by outbox_parked."""
        return self.filter(parked_at__isnull=False)

    def longest_wait(self) -> datetime | None:
        """Since when the fact waits that has waited longest, of the first thousand: a backlog is no dearer to see."""
        first = self.waiting().order_by("id")[:1000]
        oldest: datetime | None = first.aggregate(oldest=models.Min("queued_at"))["oldest"]
        return oldest

    def sent(self) -> Self:
        """What has left; served by outbox_sent."""
        return self.filter(sent_at__isnull=False)

    def with_state(self) -> Self:
        """With ``state``, one of OutboxState."""
        return self.annotate(
            state=Case(
                When(sent_at__isnull=False, then=Value(OutboxState.SENT)),
                When(parked_at__isnull=False, then=Value(OutboxState.PARKED)),
                When(lease__isnull=False, due_at__gt=Now(), then=Value(OutboxState.SENDING)),
                default=Value(OutboxState.WAITING),
                output_field=models.CharField(),
            )
        )


class OutboxEvent(models.Model):
    """One fact, written in the transaction that made it true. The relay sends it on and sets sent_at."""

    event_id = models.UUIDField(unique=True, default=uuid.uuid4, editable=False)
    source = models.CharField(max_length=64)
    detail_type = models.CharField(max_length=64)
    subject = models.CharField(max_length=128, help_text="What the fact is about: facts of one subject leave in order.")
    detail = models.JSONField()
    created_at = models.DateTimeField(db_default=Now())
    # Since when it waits: a replay puts an old fact into the queue anew.
    queued_at = models.DateTimeField(db_default=Now())
    # Not before this moment: the end of a lease, or of the pause after a failure.
    due_at = models.DateTimeField(db_default=Now())
    lease = models.UUIDField(null=True, blank=True, help_text="Which relay's batch has it.")
    attempts = models.PositiveIntegerField(db_default=0, help_text="Failures so far; each makes the next pause longer.")
    refusals = models.PositiveIntegerField(db_default=0, help_text="Failures that were its own; OUTBOX_TRIES park it.")
    last_error = models.CharField(max_length=300, blank=True, db_default="")
    parked_at = models.DateTimeField(null=True, blank=True)
    sent_at = models.DateTimeField(null=True, blank=True)

    objects = OutboxEventQuerySet.as_manager()

    class Meta:
        verbose_name = "outbox event"
        constraints = [
            models.CheckConstraint(
                condition=Q(sent_at=None) | Q(parked_at=None), name="outbox_event_parked_was_not_sent"
            ),
        ]
        indexes = [
            # The outer side of the relay's lease: the oldest that wait. What was sent would only make it long.
            models.Index(fields=["id"], name="outbox_waiting", condition=Q(sent_at=None, parked_at=None)),
            # The inner side: is this the first unsent fact of its subject? Parked ones count, for they hold back.
            models.Index(fields=["subject", "id"], name="outbox_unsent_by_subject", condition=Q(sent_at=None)),
            # purge() and replay_events look at what left, by when.
            models.Index(fields=["sent_at", "id"], name="outbox_sent", condition=Q(sent_at__isnull=False)),
            # The count of what staff must look at: the sweep's metric, the admin's filter.
            models.Index(fields=["id"], name="outbox_parked", condition=Q(parked_at__isnull=False)),
            # The page of one order's facts in the admin.
            models.Index(fields=["subject", "id"], name="outbox_by_subject"),
        ]

    def __str__(self) -> str:
        return f"{self.detail_type} {self.subject}"


class ProcessedMessage(models.Model):
    """That a consumer works on a fact, or has handled it. Written only by vibecode.inbox."""

    consumer = models.CharField(max_length=64)
    event_id = models.UUIDField()
    claimed_until = models.DateTimeField()
    handled_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        verbose_name = "handled fact"
        constraints = [
            # The claim is an INSERT that conflicts with this. The fact comes first: replay_events --unsettled asks who
            # has handled it.
            models.UniqueConstraint(fields=["event_id", "consumer"], name="processed_message_is_claimed_once"),
        ]
        indexes = [
            # purge() forgets the oldest.
            models.Index(fields=["claimed_until"], name="processed_message_age"),
        ]

    def __str__(self) -> str:
        return f"{self.consumer} {self.event_id}"


class IdempotencyKeyQuerySet(models.QuerySet["IdempotencyKey"]):
    """Keys, by age."""

    def older_than(self, moment: datetime) -> Self:
        """Keys whose answer may be forgotten; served by idempotency_key_age."""
        return self.filter(created_at__lt=moment)


class IdempotencyKey(models.Model):
    """A request that was carried out, with its first answer. Written only by vibecode.idempotency."""

    # A plain number, not a foreign key: the platform knows no accounts, and an erased user's keys may stay.
    user_id = models.BigIntegerField()
    method = models.CharField(max_length=8)
    path = models.TextField()
    key = models.CharField(max_length=255)
    body_sha256 = models.CharField(max_length=64)
    status = models.PositiveSmallIntegerField(null=True)
    headers = models.JSONField(db_default={})
    body = models.TextField(db_default="")
    created_at = models.DateTimeField(db_default=Now())

    objects = IdempotencyKeyQuerySet.as_manager()

    class Meta:
        verbose_name = "idempotency key"
        constraints = [
            # The whole of exactly-once stands on this: a second claimer waits for the first, then reads its answer.
            models.UniqueConstraint(
                fields=["user_id", "key", "method", "path"], name="idempotency_key_is_claimed_once"
            ),
        ]
        indexes = [
            # manage.py purge_idempotency_keys deletes by age.
            models.Index(fields=["created_at"], name="idempotency_key_age"),
        ]

    def __str__(self) -> str:
        return f"{self.method} {self.path} {self.key}"
