"""Put right what a bus or a workflow engine lost with its memory. Run by the supervisor when the local AWS is back."""

from typing import Any

from django.core.management import call_command
from django.core.management.base import BaseCommand


class Command(BaseCommand):
    """The inbox makes it harmless: what had its effect has none again."""

    help = "Publish anew the facts that some consumer has not handled, then sweep the orders."

    def handle(self, *_: Any, **__: Any) -> None:
        """Replay, then sweep."""
        call_command("replay_events", unsettled=True, stdout=self.stdout)
        call_command("sweep_orders", stdout=self.stdout)
