"""The story of an order. Called by Order.tell."""

from django.db import models
from django.db.models.functions import Now


class TimelineEntry(models.Model):
    """One fact that happened to an order, kept for good (the outbox forgets after 14 days)."""

    order = models.ForeignKey("orders.Order", on_delete=models.PROTECT, related_name="timeline")
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
