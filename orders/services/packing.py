"""What is packed: the slips of parcels that are to leave, and of those that have. Called by the admin and by jobs."""

from datetime import datetime
from email.utils import parseaddr

from django.conf import settings
from django.db.models import Count
from django.utils.dateformat import format as format_date
from django.utils.timezone import get_default_timezone, localtime

from orders.models import Order, OrderLine, OrderQuerySet, Shipment
from orders.slips import Slip, SlipLine
from vibecode.errors import Conflict
from vibecode.rights import Actor, Right

ADDRESS = ("name", "line1", "line2", "city", "region", "postalCode", "country")  # who is called up is not on the parcel


class NothingToPack(Conflict):
    """Nothing of an order may leave the house now."""

    code = "nothing-to-pack"
    title = "Nothing is to be packed"


def pack_orders(*, orders: OrderQuerySet, actor: Actor) -> list[Slip]:
    """A slip for each of these orders of which something is to ship, the oldest first. Two statements.

    Raises Denied, or NothingToPack where it is none of them.
    """
    actor.must(Right.SHIP)
    found = Order.objects.filter(pk__in=orders.order_by().values("pk")).to_ship().with_lines()
    slips = [_to_ship(order) for order in found.annotate(parcels=Count("shipments")).order_by("created_at", "id")]
    if not slips:
        raise NothingToPack("Nothing is left to ship, or the payment is not there: what has shipped has its own slips.")
    return slips


def pack_parcel(*, parcel: Shipment, actor: Actor) -> Slip:
    """The slip of a parcel that has left. Raises Denied."""
    actor.must(Right.SHIP)
    parcel = Shipment.objects.with_contents().select_related("order").get(pk=parcel.pk)
    left = sum(line.to_ship for line in OrderLine.objects.of(parcel.order))
    count = parcel.order.shipments.count()
    told = f"Parcel {parcel.number} of {count}{' so far' if left else ''}, shipped {_day(parcel.created_at)}"
    return _slip(
        parcel.order,
        (told, f"Tracking number {parcel.tracking}" if parcel.tracking else ""),
        ("Ordered", "Still to come", "In this parcel"),
        [
            _line(each.line, f"{each.line.quantity:,}", f"{each.line.to_ship or '-'}", f"{each.quantity:,}")
            for each in parcel.contents
        ],
    )


def _to_ship(order: Order) -> Slip:
    """What is left of an order; whether it fills one parcel the packer will see."""
    sent: int = order.parcels  # type: ignore[attr-defined]  # annotated by pack_orders
    told = f"Parcel {sent + 1} of {sent + 1}, not shipped yet"
    return _slip(
        order,
        (told,),
        ("Ordered", "Shipped", "To ship"),
        [
            _line(line, f"{line.quantity:,}", f"{line.shipped or '-'}", f"{line.to_ship:,}")
            for line in order.items
            if line.to_ship
        ],
    )


def _line(line: OrderLine, *figures: str) -> SlipLine:
    first, second, third = figures
    gone = f"Refunded and not sent: {line.withdrawn:,}" if line.withdrawn else ""
    return SlipLine(line.sku, line.name, (first, second, third), gone)


def _slip(order: Order, facts: tuple[str, ...], heads: tuple[str, str, str], lines: list[SlipLine]) -> Slip:
    kept = order.shipping_address or {}
    address = tuple(str(kept[name]) for name in ADDRESS if kept.get(name))
    return Slip(
        shop=parseaddr(settings.DEFAULT_FROM_EMAIL)[0],
        order=order.number,
        facts=tuple(filter(None, (f"Placed {_day(order.created_at)}", *facts))),
        address=address or ("No address was given.",),
        note=order.note,
        heads=heads,
        lines=tuple(lines),
    )


def _day(moment: datetime) -> str:
    """By the shop's clock."""
    return format_date(localtime(moment, get_default_timezone()), "j F Y")
