"""Many orders at once: shipped, or written to a file. Named in JOBS of vibecode/resources.py; begun at the list."""

import secrets
from collections.abc import Sequence
from decimal import Decimal
from itertools import batched
from typing import Any

from django.db.models import QuerySet, Sum

from orders.models import Order
from orders.services import ship_order
from vibecode import bucket
from vibecode.jobs.kinds import Kind, RowRefused
from vibecode.jobs.running import NotNow, begin_job, make_job
from vibecode.jobs.tables import MOST_ROWS, TYPES, write_table
from vibecode.models import Job, JobRow
from vibecode.resources import UPLOADS
from vibecode.rights import Actor, Right

PART = 500  # orders of one row of an export
MOST_EXPORTED = 100_000  # orders of one file, which a request can still name
COLUMNS = (
    "order", "placed", "status", "payment", "fulfilment", "customer", "email", "units",
    "currency", "subtotal", "shipping", "tax", "total",
)  # fmt: skip
MONEY = {COLUMNS.index(name) for name in ("subtotal", "shipping", "tax", "total")}


# --- shipping --------------------------------------------------------------------------------------------------------
def ship_orders(*, orders: QuerySet[Order], actor: Actor) -> Job:
    """A job that ships every order of a list as it is now, once it is begun. Raises Denied or NotNow."""
    rows = orders.order_by("id").values_list("pk", "number")[: MOST_ROWS + 1]  # one too many is refused
    data = ({"id": pk, "order": number} for pk, number in rows)
    return make_job(kind="ship-orders", rows=data, note="A parcel with all that is left", actor=actor)


class ShipOrders(Kind):
    """All that is still to ship of each order, in one parcel each."""

    title = "Ship orders"
    icon = "local_shipping"
    right = Right.SHIP
    promise = (
        "A parcel is sent for each order with all that is still to ship, without a tracking number, and its customer "
        "is told. An order that cannot ship is left as it is, with the reason. What was shipped cannot be taken back."
    )
    unit = "order"
    chunk = 25  # each takes a dozen statements, and locks an order

    def prepare(self, rows: Sequence[JobRow]) -> dict[int, Order]:
        """The orders, locked in the order of their ids."""
        locked = Order.objects.filter(pk__in=[row.data["id"] for row in rows]).order_by("pk").select_for_update()
        return {order.pk: order for order in locked}

    def do(self, row: JobRow, found: dict[int, Order], actor: Actor) -> str:
        """Send one parcel."""
        if row.data["id"] not in found:
            raise RowRefused(f"{row.data['order']} does not exist any more.")
        return f"Parcel {ship_order(order=found[row.data['id']], actor=actor).number} is on its way"


# --- exporting -------------------------------------------------------------------------------------------------------
def export_orders(*, orders: QuerySet[Order], form: str, actor: Actor) -> Job:
    """A job that writes a list of orders to a file, csv or xlsx; it has begun. Raises Denied or NotNow."""
    actor.must(Right.EXPORT)
    ids = list(orders.order_by("id").values_list("pk", flat=True)[: MOST_EXPORTED + 1])
    if len(ids) > MOST_EXPORTED:
        raise NotNow(f"That is more than {MOST_EXPORTED:,} orders in one file: narrow the list, by days for example.")
    params = {"form": form, "secret": secrets.token_hex(16)}  # nobody guesses the name of the file
    parts = ({"ids": list(part)} for part in batched(ids, PART))
    job = make_job(kind="export-orders", rows=parts, params=params, actor=actor)
    begin_job(job=job, actor=actor)
    return job


class ExportOrders(Kind):
    """One line for each order. A row is a part of the file: first the orders in it, then what it says of them."""

    title = "Export orders"
    icon = "download"
    right = Right.EXPORT
    promise = "The orders are written to a file, which is kept for a day."
    unit = "part"
    chunk = 4

    def prepare(self, rows: Sequence[JobRow]) -> None:
        """Nothing: it changes nothing."""

    def do(self, row: JobRow, found: Any, actor: Actor) -> str:  # noqa: ARG002 -- the platform's signature
        """Look the orders of a part up."""
        orders = Order.objects.filter(pk__in=row.data["ids"]).select_related("user").order_by("-id")
        cells = [_cells(order) for order in orders.annotate(units=Sum("lines__quantity"))]
        row.data = {"cells": cells}
        return f"{len(cells)} orders"

    def finish(self, job: Job) -> str:
        """Put the parts together, newest first, and the file onto S3."""
        form = job.params["form"]
        parts = job.lines.order_by("-number").values_list("data__cells", flat=True)
        lines = ([_typed(place, cell) for place, cell in enumerate(line)] for part in parts for line in part)
        key = f"{UPLOADS}exports/{job.pk}-{job.params['secret']}.{form}"
        content = write_table(form, COLUMNS, lines)
        bucket.keep(key, content, content_type=TYPES[form], file_name=f"orders-{job.pk}.{form}")
        return key


def _cells(order: Any) -> list[Any]:
    """One order as JSON has it: sums as texts."""
    return [
        order.number, order.created_at.isoformat(timespec="seconds"), order.status, order.payment_status,
        order.fulfilment_status, order.user.name, order.user.email, order.units, order.currency,
        str(order.subtotal), str(order.shipping_total), str(order.tax_total), str(order.total),
    ]  # fmt: skip


def _typed(place: int, cell: Any) -> Any:
    return Decimal(cell) if place in MONEY else cell
