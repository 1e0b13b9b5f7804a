"""What staff write about an order for each other. Called by the views and the admin."""

from django.db import transaction

from orders.models import Order, OrderNote
from vibecode.rights import Actor, Right


def add_note(*, order: Order, text: str, actor: Actor) -> OrderNote:
    """Keep a note about an order, in at most 2,000 characters. Raises Denied."""
    actor.must(Right.NOTE)
    with transaction.atomic(savepoint=False):
        return OrderNote.objects.create(order=order, text=text, actor=actor.name)
