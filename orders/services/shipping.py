"""Parcels leave the house and arrive, whole or in part. Called by the views and the admin."""

from collections.abc import Mapping

from django.db import transaction
from django.db.models import F, Sum
from django.db.models.functions import Now

from orders.events import OrderDelivered, OrderShipped
from orders.models import Counts, IllegalTransition, Order, OrderLine, Payment, RefundLine, Shipment, ShipmentLine
from orders.services.fulfilling import check_open
from orders.services.picking import TooMany, Units, pick
from orders.status import PAID_FOR, SHIPPABLE, FulfilmentStatus, RefundState
from vibecode.outbox import publish
from vibecode.rights import Actor, Right


def ship_order(
    *,
    order: Order,
    items: Mapping[str, int] | None = None,
    tracking: str = "",
    actor: Actor,
    expected_version: int | None = None,
) -> Shipment:
    """Send a parcel: all that is still to ship, or ``items`` (SKU to units) of it. The customer hears of it.

    Raises Denied, Stale, OrderIsOver, IllegalTransition while it is not paid or not off the shelf, NotInOrder, or
    TooMany where fewer units are left, or none; then nothing was written.
    """
    actor.must(Right.SHIP)
    with transaction.atomic(savepoint=False):
        order = Order.objects.locked().select_related("user").get(pk=order.pk)
        order.expect(expected_version)
        _check_shippable(check_open(order))
        units = pick(order, items, lambda line: line.to_ship, "to ship")
        shipment = Shipment.objects.create(
            order=order, number=order.shipments.count() + 1, tracking=tracking, actor=actor.name
        )
        ShipmentLine.objects.bulk_create(
            ShipmentLine(shipment=shipment, line=line, quantity=quantity) for line, quantity in units.items()
        )
        OrderLine.objects.count_up({line.pk: Counts(shipped=quantity) for line, quantity in units.items()})
        settle_fulfilment(order, actor=actor.name)
        shipped = _by_sku(units)
        publish(
            OrderShipped.of(
                order,
                items=tuple({"sku": sku, "quantity": quantity} for sku, quantity in shipped.items()),
                tracking=tracking or None,
            )
        )
        order.tell(OrderShipped.detail_type, actor=actor.name, parcel=shipment.number, tracking=tracking, items=shipped)
    return shipment


def deliver_order(
    *,
    order: Order,
    items: Mapping[str, int] | None = None,
    tracking: str = "",
    actor: Actor,
    expected_version: int | None = None,
) -> Order:
    """Write down that what was shipped has arrived: all of it, the parcel of a ``tracking`` number, or ``items`` of it.

    The order is delivered once everything that was to leave has arrived. Of a whole order or parcel, twice is harmless.
    Raises Denied, Stale, NotInOrder, or TooMany where fewer units are on their way, or none.
    """
    actor.must(Right.SHIP)
    with transaction.atomic(savepoint=False):
        order = Order.objects.locked().select_related("user").get(pk=order.pk)
        order.expect(expected_version)
        if items is None and _has_arrived(order, tracking):
            return order
        on_their_way = ShipmentLine.objects.filter(shipment__order=order, quantity__gt=F("delivered"))
        if tracking:
            on_their_way = on_their_way.filter(shipment__tracking=tracking)
        rows = list(on_their_way.select_related("shipment").order_by("shipment__number", "id"))
        open_units: dict[int, int] = {}
        for row in rows:
            open_units[row.line_id] = open_units.get(row.line_id, 0) + row.quantity - row.delivered
        where = f"on their way with {tracking}" if tracking else "on their way"
        units = pick(order, items, lambda line: open_units.get(line.pk, 0), where)
        _arrive(rows, {line.pk: quantity for line, quantity in units.items()})
        settle_fulfilment(order, actor=actor.name)
        order.tell("Parcel Delivered", actor=actor.name, tracking=tracking, items=_by_sku(units))
    return order


def settle_fulfilment(order: Order, *, actor: str) -> None:
    """Move the fulfilment to what its lines and parcels say, one version up; tell when it is delivered thereby.

    Units that wait for the approval of their refund are still to ship: it may be rejected. The caller holds the order's
    lock.
    """
    counts = OrderLine.objects.filter(order=order).aggregate(
        gone=Sum("shipped"), left=Sum(F("quantity") - F("shipped") - F("withdrawn"))
    )
    proposed = RefundLine.objects.filter(line__order=order, refund__state=RefundState.PROPOSED)
    left = counts["left"] + (proposed.aggregate(sum=Sum("withdrawn"))["sum"] or 0)
    arrived = ShipmentLine.objects.filter(shipment__order=order).aggregate(sum=Sum("delivered"))["sum"]
    if counts["gone"] and left:
        now = FulfilmentStatus.PARTLY_SHIPPED
    elif counts["gone"]:
        now = FulfilmentStatus.DELIVERED if arrived == counts["gone"] else FulfilmentStatus.SHIPPED
    elif left:
        now = FulfilmentStatus(order.fulfilment_status)
    else:
        now = FulfilmentStatus.UNFULFILLED  # all of it was refunded before anything left
    if not order.move_to(fulfilment=now):
        order.move_on()
    elif now == FulfilmentStatus.DELIVERED:
        publish(OrderDelivered.of(order))
        order.tell(OrderDelivered.detail_type, actor=actor)


def _check_shippable(order: Order) -> None:
    if order.payment_status not in PAID_FOR:
        raise IllegalTransition(
            f"{order.number} cannot ship: its payment is {order.payment_status}.", orderStatus=order.status
        )
    payment = Payment.objects.filter(order=order).first()
    if payment is None or payment.captured == payment.refunded:  # though it may be on its way still
        raise IllegalTransition(f"{order.number} cannot ship: all of its money goes back.", orderStatus=order.status)
    if order.fulfilment_status in {FulfilmentStatus.SHIPPED, FulfilmentStatus.DELIVERED}:
        raise TooMany(f"Nothing of {order.number} is left to ship.", lines=[])
    if FulfilmentStatus(order.fulfilment_status) not in SHIPPABLE:
        raise IllegalTransition(
            f"{order.number} cannot ship: its fulfilment is {order.fulfilment_status}, nothing is off the shelf.",
            orderStatus=order.status,
        )


def _has_arrived(order: Order, tracking: str) -> bool:
    if not tracking:
        return order.fulfilment_status == FulfilmentStatus.DELIVERED
    parcels = order.shipments.filter(tracking=tracking)
    return parcels.exists() and not parcels.filter(delivered_at=None).exists()


def _arrive(rows: list[ShipmentLine], units: dict[int, int]) -> None:
    """Count the units as arrived, first parcels first; a parcel whose units all have has its moment."""
    for row in rows:
        arrived = min(units.get(row.line_id, 0), row.quantity - row.delivered)
        units[row.line_id] = units.get(row.line_id, 0) - arrived
        row.delivered += arrived
    ShipmentLine.objects.bulk_update(rows, ["delivered"])
    parcels = {row.shipment_id for row in rows}
    unfinished = ShipmentLine.objects.filter(shipment__in=parcels, quantity__gt=F("delivered")).values("shipment")
    Shipment.objects.filter(pk__in=parcels, delivered_at=None).exclude(pk__in=unfinished).update(delivered_at=Now())


def _by_sku(units: Units) -> dict[str, int]:
    return {line.sku: quantity for line, quantity in units.items()}
