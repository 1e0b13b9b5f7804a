"""The platform's tables: facts that wait to leave, and keys of requests that were carried out."""

import uuid
from datetime import datetime
from typing import Self

from django.db import models
from django.db.models.functions import Now


class OutboxEvent(models.Model):
    """One fact, written in the transaction that made it true. The relay sends it on and sets sent_at."""

    event_id = models.UUIDField(unique=True, default=uuid.uuid4, editable=False)
    source = models.CharField(max_length=64)
    detail_type = models.CharField(max_length=64)
    subject = models.CharField(max_length=128, help_text="What the fact is about: facts of one subject leave in order.")
    detail = models.JSONField()
    created_at = models.DateTimeField(db_default=Now())
    sent_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        verbose_name = "outbox event"
        indexes = [
            # The relay asks for the oldest unsent facts; those already sent would only make the index long.
            models.Index(fields=["id"], name="outbox_unsent", condition=models.Q(sent_at=None)),
            # The page of one order's facts in the admin.
            models.Index(fields=["subject", "id"], name="outbox_by_subject"),
        ]

    def __str__(self) -> str:
        return f"{self.detail_type} {self.subject}"


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
