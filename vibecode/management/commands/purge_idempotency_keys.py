"""`manage.py purge_idempotency_keys`: forgets the answers of requests that nobody will repeat any more."""

from argparse import ArgumentParser
from datetime import timedelta
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand
from django.utils import timezone

from vibecode.models import IdempotencyKey

BATCH = 1000


class Command(BaseCommand):
    """Deletes in small batches, so that no request waits for it; ending it in the middle loses nothing."""

    help = "Delete Idempotency-Keys older than IDEMPOTENCY_KEEP_HOURS."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Whether to."""
        parser.add_argument("--dry-run", action="store_true", help="count them, and delete none")

    def handle(self, *, dry_run: bool, **_options: Any) -> None:
        """Delete, oldest first."""
        hours: int = settings.IDEMPOTENCY_KEEP_HOURS
        old = IdempotencyKey.objects.older_than(timezone.now() - timedelta(hours=hours))
        if dry_run:
            self.stdout.write(f"{old.count():,} keys are older than {hours} h; none was deleted")
            return
        deleted = 0
        while batch := list(old.order_by("created_at").values_list("pk", flat=True)[:BATCH]):
            deleted += IdempotencyKey.objects.filter(pk__in=batch).delete()[0]
        self.stdout.write(f"{deleted:,} keys older than {hours} h deleted")
