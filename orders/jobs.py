"""Many orders at once: shipped, or written to a file. Named in JOBS of vibecode/resources.py; begun at the list."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from django.db.models import QuerySet, Sum

from orders.models import Order, OrderLine, OrderQuerySet
from orders.services import ship_order
from orders.services.packing import NothingToPack, pack_orders
from orders.slips import Slip, print_slips
from vibecode.jobs.exports import ExportKind, keep_export, make_export
from vibecode.jobs.kinds import Kind, RowRefused
from vibecode.jobs.running import NotNow, make_job
from vibecode.jobs.tables import MOST_ROWS
from vibecode.models import Job, JobRow
from vibecode.rights import Actor, Right

SLIPS_PART = 50  # orders of one row of a job that prints
# Of packing slips that are printed while somebody waits: a request has 29 seconds and 6 MB, a line takes a millisecond
# here and perhaps four on Lambda, and all of them make less than a megabyte. The last step of a job has two minutes.
AT_ONCE, LINES_AT_ONCE = 100, 2_000
MOST_SLIPS, MOST_SLIP_LINES = 2_000, 20_000


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
        locked = Order.objects.locked().filter(pk__in=[row.data["id"] for row in rows]).order_by("pk")
        return {order.pk: order for order in locked}

    def do(self, row: JobRow, found: dict[int, Order], actor: Actor) -> str:
        """Send one parcel."""
        if row.data["id"] not in found:
            raise RowRefused(f"{row.data['order']} does not exist any more.")
        return f"Parcel {ship_order(order=found[row.data['id']], actor=actor).number} is on its way"


# --- exporting -------------------------------------------------------------------------------------------------------
def export_orders(*, orders: OrderQuerySet, form: str, actor: Actor) -> Job:
    """A job that writes a list of orders to a file, csv or xlsx, newest first. Raises Denied or NotNow."""
    return make_export(kind="export-orders", rows=orders.order_by("-id"), form=form, actor=actor)


class ExportOrders(ExportKind):
    """One line for each order."""

    title = "Export orders"
    right = Right.EXPORT
    promise = "The orders are written to a file, which is kept for a day."
    file = "orders"
    columns = (
        "order", "placed", "status", "payment", "fulfilment", "customer", "email", "units",
        "currency", "subtotal", "shipping", "tax", "total",
    )  # fmt: skip
    sums = frozenset({"subtotal", "shipping", "tax", "total"})

    def cells(self, ids: Sequence[int]) -> list[list[Any]]:
        """The orders of a part."""
        orders = Order.objects.filter(pk__in=ids).select_related("user").order_by("-id")
        return [_cells(order) for order in orders.annotate(units=Sum("lines__quantity"))]


def _cells(order: Any) -> list[Any]:
    """One order as JSON has it: sums as texts."""
    return [
        order.number, order.created_at.isoformat(timespec="seconds"), order.status, order.payment_status,
        order.fulfilment_status, order.user.name, order.user.email, order.units, order.currency,
        str(order.subtotal), str(order.shipping_total), str(order.tax_total), str(order.total),
    ]  # fmt: skip


# --- packing slips ---------------------------------------------------------------------------------------------------
def fit_at_once(orders: OrderQuerySet) -> bool:
    """Whether the packing slips of a list can be printed in one request."""
    return _fits(orders, AT_ONCE, LINES_AT_ONCE)


def print_packing_slips(*, orders: OrderQuerySet, actor: Actor) -> Job:
    """A job that prints the packing slips of what is to ship of a list. Raises Denied or NotNow."""
    actor.must(Right.SHIP)
    if not _fits(orders, MOST_SLIPS, MOST_SLIP_LINES):
        raise NotNow(f"That is more than {MOST_SLIPS:,} orders or {MOST_SLIP_LINES:,} lines: narrow the list first.")
    oldest_first = orders.order_by("created_at", "id")
    return make_export(kind="packing-slips", rows=oldest_first, form="pdf", actor=actor, part=SLIPS_PART)


def _fits(orders: OrderQuerySet, most: int, most_lines: int) -> bool:
    ids = orders.order_by().values("pk")
    if ids[: most + 1].count() > most:
        return False
    return OrderLine.objects.filter(order__in=ids)[: most_lines + 1].count() <= most_lines


class PackingSlips(Kind):
    """One slip for each order, as ExportOrders does: a row is a part of the file."""

    title = "Print packing slips"
    icon = "print"
    right = Right.SHIP
    promise = "The packing slips are written to one PDF, which is kept for a day."
    unit = "part"
    chunk = 4

    def prepare(self, rows: Sequence[JobRow]) -> None:
        """Nothing: it changes nothing."""

    def do(self, row: JobRow, found: Any, actor: Actor) -> str:  # noqa: ARG002 -- the platform's signature
        """Look up what is to ship of the orders of a part."""
        try:
            slips = pack_orders(orders=Order.objects.filter(pk__in=row.data["ids"]), actor=actor)
        except NothingToPack:  # they have shipped, or were called off, since they were chosen
            slips = []
        row.data = {"slips": [asdict(slip) for slip in slips]}
        return "1 slip" if len(slips) == 1 else f"{len(slips)} slips"

    def finish(self, job: Job) -> str:
        """Print them, the oldest order first, and lay the file onto S3."""
        parts = job.lines.order_by("number").values_list("data__slips", flat=True)
        return keep_export(job, "packing-slips", print_slips(Slip.of(kept) for part in parts for kept in part))
