"""The platform's tables: facts that wait to leave, or were handled; keys of requests carried out; long work; the trail.

Longer than most modules: one table after the other, each with the reasons of its indexes. They stay in one file, as
every sandbox reads all of them at its start.
"""

import json
import uuid
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any, Self

from django.contrib.postgres.indexes import OpClass
from django.db import models
from django.db.models import Case, F, Q, Value, When
from django.db.models.functions import Now, Upper


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
            # Facts of one type, newest first: the admin's filter.
            models.Index(fields=["detail_type", "-id"], name="outbox_by_type"),
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


# --- long work at the desk -------------------------------------------------------------------------------------------
class JobState(models.TextChoices):
    """Where a job is."""

    UPLOADING = "uploading", "Waits for its file"
    READING = "reading", "Reads its file"
    READY = "ready", "Ready"
    RUNNING = "running", "Running"
    DONE = "done", "Done"
    CANCELLED = "cancelled", "Cancelled"
    FAILED = "failed", "Failed"

    @classmethod
    def at_rest(cls) -> list[str]:
        """In these it may begin, or begin anew with what waits."""
        return [cls.READY, cls.DONE, cls.CANCELLED, cls.FAILED]


class JobQuerySet(models.QuerySet["Job"]):
    """Jobs, by what they need. Every comparison of times is made by the database's clock."""

    def at_rest(self) -> Self:
        """Those that may begin, or begin anew with what waits."""
        return self.filter(state__in=JobState.at_rest())

    def stuck(self, seconds: int) -> Self:
        """Those at work that have not moved for so long: a message was lost; served by job_at_work."""
        at_work = self.filter(state__in=[JobState.READING, JobState.RUNNING])
        return at_work.filter(moved_at__lt=Now() - timedelta(seconds=seconds))


class Job(models.Model):
    """Work too long for a request: an import, an export, many orders shipped. Written only by vibecode.jobs."""

    State = JobState

    kind = models.CharField(max_length=40, help_text="One of JOBS in vibecode/resources.py.")
    state = models.CharField(max_length=10, choices=State, default=State.READY)
    asked_by = models.CharField(max_length=128, help_text="The Cognito sub of who began it: it has their rights.")
    params = models.JSONField(default=dict)
    file_name = models.CharField(max_length=200, blank=True, default="")
    upload = models.CharField(max_length=100, blank=True, default="")
    rows = models.PositiveIntegerField(default=0)
    done = models.PositiveIntegerField(default=0)
    bad = models.PositiveIntegerField(default=0)
    result = models.CharField(max_length=200, blank=True, default="", help_text="The key of what it made, on S3.")
    failure = models.CharField(max_length=500, blank=True, default="")
    created_at = models.DateTimeField(db_default=Now())
    began_at = models.DateTimeField(null=True, blank=True)
    moved_at = models.DateTimeField(db_default=Now())
    ended_at = models.DateTimeField(null=True, blank=True)

    objects = JobQuerySet.as_manager()

    class Meta:
        constraints = [
            # The backstop of every chunk: a row that were counted twice would be more than there are.
            models.CheckConstraint(condition=Q(rows__gte=F("done") + F("bad")), name="job_counts_each_row_once"),
            models.CheckConstraint(condition=~Q(state="failed") | ~Q(failure=""), name="job_says_why_it_failed"),
        ]
        indexes = [
            # The sweep looks for those that do not move.
            models.Index(fields=["moved_at"], name="job_at_work", condition=Q(state__in=["reading", "running"])),
            # The sweep forgets the oldest.
            models.Index(fields=["created_at"], name="job_age"),
        ]

    def __str__(self) -> str:
        return f"{self.kind} {self.pk}"

    @property
    def waiting(self) -> int:
        """Rows that are neither done nor bad."""
        return self.rows - self.done - self.bad


class JobRowState(models.TextChoices):
    """What became of a row."""

    WAITING = "waiting", "Waiting"
    DONE = "done", "Done"
    BAD = "bad", "Not done"


class JobRowQuerySet(models.QuerySet["JobRow"]):
    """Rows of jobs, by what became of them; each served by job_row_by_state."""

    def waiting(self) -> Self:
        """What is still to do."""
        return self.filter(state=JobRowState.WAITING)

    def done(self) -> Self:
        """What was done."""
        return self.filter(state=JobRowState.DONE)

    def bad(self) -> Self:
        """What was refused: by the check before it began, or by a service."""
        return self.filter(state=JobRowState.BAD)


class JobRow(models.Model):
    """One unit of a job's work, numbered as in its file, where the first row holds the names of the columns."""

    State = JobRowState

    job = models.ForeignKey(Job, on_delete=models.CASCADE, related_name="lines")
    number = models.PositiveIntegerField()
    state = models.CharField(max_length=8, choices=State, default=State.WAITING)
    data = models.JSONField()
    errors = models.JSONField(default=dict, help_text="A sentence by column; of the whole row under no name.")
    note = models.CharField(max_length=300, blank=True, default="", help_text="What it will do, or has done.")

    objects = JobRowQuerySet.as_manager()

    class Meta:
        verbose_name = "row of a job"
        constraints = [
            # A file that is read twice writes its rows once. A chunk's claim is a range of these.
            models.UniqueConstraint(fields=["job", "number"], name="job_row_has_its_number"),
            models.CheckConstraint(
                condition=(Q(state="bad") & ~Q(errors={})) | (~Q(state="bad") & Q(errors={})),
                name="job_row_says_why_it_is_bad",
            ),
        ]
        indexes = [
            # The page's lists: what is bad, what waits, in the file's order.
            models.Index(fields=["job", "state", "number"], name="job_row_by_state"),
        ]

    def __str__(self) -> str:
        return f"Row {self.number}"


# --- the audit trail -------------------------------------------------------------------------------------------------
class Deed(models.TextChoices):
    """What was done to a row."""

    CREATED = "insert", "Created"
    CHANGED = "update", "Changed"
    DELETED = "delete", "Deleted"


class ExactNumbers(json.JSONDecoder):
    """Money to the last digit: a float has but 16."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs | {"parse_float": Decimal})


class ChangeQuerySet(models.QuerySet["Change"]):
    """Changes, by what they were made to; newest first."""

    def newest_first(self) -> Self:
        """In the order of every index here."""
        return self.order_by("-at", "-id")

    def of_page(self, kind: str, pk: object) -> Self:
        """Those that are shown on one row's page; served by change_of_page."""
        return self.filter(page_kind=kind, page_id=pk).newest_first()


class Change(models.Model):
    """One change of a row that somebody may ask about: who, when, and each column before and after.

    Written by the triggers of vibecode.tracking, whatever statement made the change, and never changed (a trigger sees
    to that). Never a name, an address, an e-mail or what somebody typed: people are in it by their sub alone.
    """

    Deed = Deed

    at = models.DateTimeField("when", db_default=Now())
    actor = models.CharField("who", max_length=128, help_text="Cognito sub, or what part of the shop it was.")
    deed = models.CharField(max_length=6, choices=Deed)
    kind = models.CharField(max_length=60, help_text="The model's label.")
    name = models.CharField("what", max_length=250, blank=True, help_text="What people call it: a number, a SKU.")
    # No foreign keys: the trail outlives what it tells of.
    page_kind = models.CharField(max_length=60)
    page_id = models.BigIntegerField(null=True)
    before = models.JSONField(default=dict, db_default={}, decoder=ExactNumbers)
    after = models.JSONField(default=dict, db_default={}, decoder=ExactNumbers)

    objects = ChangeQuerySet.as_manager()

    class Meta:
        indexes = [
            # The history on one object's page.
            models.Index(fields=["page_kind", "page_id", "-at", "-id"], name="change_of_page"),
            # The page of the whole trail: all of it, of some days, of a kind, by somebody.
            models.Index(fields=["-at", "-id"], name="change_newest"),
            models.Index(fields=["kind", "-at", "-id"], name="change_of_kind"),
            # The audit trail by deed; most are changes, and the newest of those are near.
            models.Index(fields=["deed", "-at", "-id"], name="change_by_deed", condition=~Q(deed="update")),
            models.Index(fields=["actor", "-at", "-id"], name="change_by_actor"),
            # Its search by the beginning of a number, a SKU or a name.
            models.Index(OpClass(Upper("name"), name="text_pattern_ops"), name="change_by_name"),
        ]

    def __str__(self) -> str:
        return f"{self.get_deed_display()} {self.name}"
