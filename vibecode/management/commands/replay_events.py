"""`manage.py replay_events`: puts facts that have left on the bus again: for a new consumer, or after a loss."""

from argparse import ArgumentParser
from collections import Counter
from datetime import datetime, time
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.db.models import Exists, OuterRef, Q
from django.utils import timezone
from django.utils.dateparse import parse_date, parse_datetime

from vibecode.management.progress import progress_bar
from vibecode.models import OutboxEvent, OutboxEventQuerySet, ProcessedMessage
from vibecode.outbox import send_again
from vibecode.resources import QUEUES
from vibecode.rights import Actor
from vibecode.schemas import facts

BATCH = 500


class Command(BaseCommand):
    """They keep their event ids: who has handled one drops it. Ending it in the middle is harmless; run it again."""

    help = "Send facts again that left the outbox in the last OUTBOX_KEEP_DAYS."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Which."""
        parser.add_argument(
            "--since", metavar="TIME", help="that left at this time or later: 2026-11-23T18:00, 2026-11-23"
        )
        parser.add_argument("--until", metavar="TIME", help="that left before this time")
        parser.add_argument(
            "--detail-type", action="append", default=[], metavar="TYPE", help="'Order Paid'; repeatable"
        )
        parser.add_argument("--subject", help="about one thing alone: an order's number, a SKU, a user's sub")
        parser.add_argument("--unsettled", action="store_true", help="that a consumer of ours has not handled")
        parser.add_argument("--dry-run", action="store_true", help="count them, and send none")

    def handle(self, *, since: str, until: str, detail_type: list[str], dry_run: bool, **options: Any) -> None:
        """Choose, then queue them anew in the order in which they were published."""
        if not since and not options["unsettled"] and not options["subject"]:
            raise CommandError("Say which: --since TIME, --subject NAME or --unsettled.")
        first, last = _moment("--since", since), _moment("--until", until)
        if first and last and first >= last:
            raise CommandError("--until must be later than --since.")
        known = sorted(fact.detail_type for fact in facts())
        if unknown := sorted(set(detail_type) - set(known)):
            raise CommandError(f"There is no fact {', '.join(unknown)}; there are {', '.join(known)}.")
        chosen = OutboxEvent.objects.sent()
        if first:
            chosen = chosen.filter(sent_at__gte=first)
        if last:
            chosen = chosen.filter(sent_at__lt=last)
        if detail_type:
            chosen = chosen.filter(detail_type__in=detail_type)
        if options["subject"]:
            chosen = chosen.filter(subject=options["subject"])
        if options["unsettled"]:
            chosen = chosen.filter(_unsettled())
        self._replay(chosen, dry_run=dry_run)

    def _replay(self, chosen: OutboxEventQuerySet, *, dry_run: bool) -> None:
        found = list(chosen.order_by("id").values_list("id", "detail_type"))
        for name, count in sorted(Counter(name for _, name in found).items()):
            self.stdout.write(f"{count:>8,} {name}")
        if dry_run:
            self.stdout.write(f"{len(found):,} facts would be sent again; none was")
            return
        sent = 0
        with progress_bar("queueing", len(found)) as advance:
            for start in range(0, len(found), BATCH):
                ids = [pk for pk, _ in found[start : start + BATCH]]
                sent += send_again(OutboxEvent.objects.filter(pk__in=ids), actor=Actor.part("replay_events"))
                advance(len(ids))
        self.stdout.write(f"{sent:,} facts queued to be sent again")


def _unsettled() -> Q:
    """Facts that some consumer of ours should have handled and has not, by what the inbox remembers."""
    found = Q(pk__in=())
    for queue in QUEUES:
        if queue.detail_types:
            handled = ProcessedMessage.objects.filter(
                event_id=OuterRef("event_id"), consumer=queue.key, handled_at__isnull=False
            )
            found |= Q(~Exists(handled), detail_type__in=queue.detail_types)
    return found


def _moment(option: str, text: str | None) -> datetime | None:
    """A time; without a zone it is the shop's."""
    if not text:
        return None
    try:
        day = parse_date(text)
        moment = datetime.combine(day, time.min) if day else parse_datetime(text)
    except ValueError:
        moment = None
    if moment is None:
        raise CommandError(f"{option} must be a time such as 2026-11-23T18:00 or a day; it is {text!r}.")
    return timezone.make_aware(moment) if timezone.is_naive(moment) else moment
