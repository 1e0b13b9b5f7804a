"""Money on its way back: who asks for it, who approves, and what it does to goods. Carried out by settling.py, later.

Called by the views, the admin, the workflow and the sweep.
"""

from collections.abc import Mapping
from decimal import Decimal
from types import MappingProxyType
from typing import NamedTuple

from django.conf import settings
from django.db import transaction
from django.db.models import F, Sum
from django.db.models.functions import Now

from catalog.models import LineStock, StockMovement
from catalog.services import return_stock
from orders.events import RefundRequested
from orders.models import Counts, IllegalTransition, Order, OrderLine, Payment, Refund, RefundLine
from orders.services.picking import Units, pick
from orders.services.shipping import settle_fulfilment
from orders.status import CANCELLABLE, SHIPMENT, FulfilmentStatus, RefundState
from vibecode.errors import Conflict, Denied
from vibecode.outbox import publish
from vibecode.rights import Actor, Right


class NotRefundable(Conflict):
    """There is less to give back than was asked for."""

    code = "not-refundable"
    title = "So much cannot be refunded"


class NotProposed(Conflict):
    """The refund does not wait for a second person any more, or never did."""

    code = "refund-not-proposed"
    title = "This refund does not wait for anybody"


def request_refund(
    *,
    order: Order,
    amount: Decimal | None = None,
    items: Mapping[str, int] | None = None,
    restock: bool = False,
    reason: str,
    actor: Actor,
    expected_version: int | None = None,
) -> Refund:
    """Write down that money goes back; the consumer carries it out.

    ``amount`` alone is money and no goods. With ``items`` (SKU to units) it is what they cost, unless ``amount`` says
    otherwise (0 for the goods alone); units that have not left the house are meant first, and will not leave any more.
    With neither it is all that is left, of both. ``restock`` puts the units back on the shelf. Above REFUND_LIMIT it
    only is a proposal, until somebody else approves it. Raises Denied, Stale, NotRefundable, NotInOrder or TooMany, and
    IllegalTransition for goods that are still held; then nothing was written.
    """
    actor.must(Right.REFUND)
    with transaction.atomic(savepoint=False):
        order, payment = _locked(order)
        order.expect(expected_version)
        goods: Units = {}
        if items is not None:
            _check_off_the_shelf(order)
            goods = pick(order, items, lambda line: line.quantity - line.refunded, "to refund")
            amount = _cost(goods) if amount is None else amount
        elif amount is None:
            amount = payment.refundable if payment else Decimal("0.00")
            if amount:
                _check_off_the_shelf(order)
            goods = _rest(order)
        # Units that have not left are taken first: nobody ships what was paid back.
        parts = {line: _Part(units, min(units, line.to_ship), units if restock else 0) for line, units in goods.items()}
        return _request(order, payment, amount, parts, reason=reason, actor=actor)


def return_items(
    *,
    order: Order,
    items: Mapping[str, int] | None = None,
    amount: Decimal | None = None,
    restock: bool = True,
    reason: str,
    actor: Actor,
    expected_version: int | None = None,
) -> Refund:
    """Take goods back that had left the house, and give back what they cost, or ``amount``.

    ``items`` (SKU to units), or all that the customer has. Like request_refund, and it raises what that raises.
    """
    actor.must(Right.REFUND)
    with transaction.atomic(savepoint=False):
        order, payment = _locked(order)
        order.expect(expected_version)
        goods = pick(order, items, lambda line: line.with_customer, "with the customer")
        parts = {line: _Part(units, 0, units if restock else 0) for line, units in goods.items()}
        amount = _cost(goods) if amount is None else amount
        return _request(order, payment, amount, parts, reason=reason, actor=actor)


def approve_refund(*, refund: Refund, actor: Actor) -> Refund:
    """The second person agrees: the money goes back, and the goods with it. Twice is harmless.

    Raises Denied, also for who proposed it, and NotProposed where it was rejected meanwhile.
    """
    actor.must(Right.REFUND)
    with transaction.atomic(savepoint=False):
        order, _ = _locked(refund.payment.order)
        refund.refresh_from_db()
        if refund.approved_by:
            return refund
        if refund.state != RefundState.PROPOSED:
            raise NotProposed(f"{refund.reference} is {refund.get_state_display().lower()}.")
        if refund.actor == actor.name:
            raise Denied("A second person has to approve this refund: you asked for it yourself.")
        Refund.objects.filter(pk=refund.pk).update(state=RefundState.PENDING, approved_by=actor.name)
        Payment.objects.filter(pk=refund.payment_id).update(
            refunded=F("refunded") + refund.amount, proposed=F("proposed") - refund.amount, updated_at=Now()
        )
        refund.refresh_from_db()
        _carry_out(order, refund, actor=actor.name)
    return refund


def reject_refund(*, refund: Refund, reason: str, actor: Actor) -> Refund:
    """A proposal comes to nothing: no money, no goods. Whoever made it may take it back so. Twice is harmless."""
    actor.must(Right.REFUND)
    with transaction.atomic(savepoint=False):
        order, _ = _locked(refund.payment.order)
        refund.refresh_from_db()
        if refund.state == RefundState.REJECTED:
            return refund
        if refund.state != RefundState.PROPOSED:
            raise NotProposed(f"{refund.reference} is {refund.get_state_display().lower()}.")
        _reject(refund, reason=reason)
        order.move_on()
    refund.refresh_from_db()
    return refund


def give_back_the_rest(*, order: Order, actor: str, reason: str = "") -> None:
    """Write down the refund of all that is left of the capture of an order that is over; nothing where there is none.

    What was only proposed is part of it. Nor for what has shipped, nor where one was refused since the order came to
    this end: another would be refused too, and people see that they are needed.
    """
    with transaction.atomic(savepoint=False):
        order, payment = _locked(order)
        if payment is None or FulfilmentStatus(order.fulfilment_status) not in CANCELLABLE:
            return
        if payment.refunds.filter(state=RefundState.FAILED, created_at__gte=order.over_since).exists():
            return
        withdraw_proposals(payment)
        payment.refresh_from_db(fields=["proposed"])
        if payment.refundable:
            write_refund(order, payment, payment.refundable, reason=reason, actor=actor)


def withdraw_proposals(payment: Payment | None) -> None:
    """Reject what waits for a second person: the whole order is called off. The caller holds the order's lock."""
    for refund in Refund.objects.filter(payment=payment, state=RefundState.PROPOSED).order_by("id"):
        _reject(refund, reason="The whole order was given back.")


# --- writing ---------------------------------------------------------------------------------------------------------
class _Part(NamedTuple):
    """What a refund does to a line, in units: ``quantity`` in all, of which so many never leave or are put back."""

    quantity: int
    withdrawn: int
    restocked: int


OFF_THE_SHELF = frozenset(SHIPMENT) | {FulfilmentStatus.DEDUCTED}


def _locked(order: Order) -> tuple[Order, Payment | None]:
    order = Order.objects.locked().select_related("user").get(pk=order.pk)
    return order, Payment.objects.locked().filter(order=order).first()


def _check_off_the_shelf(order: Order) -> None:
    if FulfilmentStatus(order.fulfilment_status) not in OFF_THE_SHELF:
        raise IllegalTransition(
            f"{order.number} is {order.status}, its fulfilment {order.fulfilment_status}: goods can be refunded only "
            "between their leaving the shelf and the order's end. Refund an amount, or cancel the order.",
            orderStatus=order.status,
        )


def _rest(order: Order) -> Units:
    """All units that were not refunded yet; none while they are still held."""
    if FulfilmentStatus(order.fulfilment_status) not in OFF_THE_SHELF:
        return {}
    lines = OrderLine.objects.of(order).filter(quantity__gt=F("refunded"))
    return {line: line.quantity - line.refunded for line in lines}


def _cost(goods: Units) -> Decimal:
    return sum((line.unit_price * units for line, units in goods.items()), Decimal("0.00"))


def _request(
    order: Order,
    payment: Payment | None,
    amount: Decimal,
    parts: Mapping[OrderLine, _Part],
    *,
    reason: str,
    actor: Actor,
) -> Refund:
    left = payment.refundable if payment else Decimal("0.00")
    if payment is None or not 0 <= amount <= left or not (amount or parts):
        raise NotRefundable(
            f"{left} {order.currency} of {order.number} can be refunded, not {amount}.",
            refundable=str(left),
            currency=order.currency,
        )
    state = RefundState.PROPOSED if _needs_two(payment, amount, actor) else RefundState.PENDING
    refund = write_refund(order, payment, amount, parts, state=state, reason=reason, actor=actor.name)
    if not amount:  # nothing for the provider to do
        Refund.objects.filter(pk=refund.pk).update(state=RefundState.SETTLED, settled_at=Now())
        refund.refresh_from_db()
    return refund


def _needs_two(payment: Payment, amount: Decimal, actor: Actor) -> bool:
    """Whether one person would give back more of an order than one alone may, in however many pieces."""
    alone = payment.refunds.filter(actor=actor.name, approved_by="").exclude(state__in=RefundState.dead())
    sums = alone.exclude(state=RefundState.PROPOSED).aggregate(sum=Sum("amount"))["sum"] or Decimal("0.00")
    return bool(sums + amount > settings.REFUND_LIMIT)


def write_refund(
    order: Order,
    payment: Payment,
    amount: Decimal,
    parts: Mapping[OrderLine, _Part] = MappingProxyType({}),
    *,
    state: RefundState = RefundState.PENDING,
    reason: str,
    actor: str,
) -> Refund:
    """Write a refund down, with its lines; unless it is proposed only, with all that follows from it.

    ``amount`` in the payment's currency, never more than is left of it. The caller holds the locks of the order and of
    its payment.
    """
    number = payment.refunds.count() + 1
    refund = Refund.objects.create(
        payment=payment,
        reference=f"{payment.reference}-R{number}",
        amount=amount,
        state=state,
        reason=reason,
        actor=actor,
    )
    RefundLine.objects.bulk_create(
        RefundLine(refund=refund, line=line, **part._asdict()) for line, part in parts.items()
    )
    if parts:
        OrderLine.objects.count_up(
            {line.pk: Counts(refunded=part.quantity, withdrawn=part.withdrawn) for line, part in parts.items()}
        )
    column = "proposed" if state == RefundState.PROPOSED else "refunded"
    Payment.objects.filter(pk=payment.pk).update(**{column: F(column) + amount}, updated_at=Now())
    if state == RefundState.PROPOSED:
        order.move_on()  # the customer is told nothing of a proposal
    else:
        _carry_out(order, refund, actor=actor)
    return refund


def _carry_out(order: Order, refund: Refund, *, actor: str) -> None:
    """It is decided: the goods are put back, nothing of them ships, and the consumer gives the money back."""
    lines = list(refund.lines.select_related("line").order_by("line__product_id", "line_id"))
    back = [LineStock(each.line_id, each.line.product_id, each.restocked) for each in lines if each.restocked]
    if back:
        OrderLine.objects.count_up({each.line_id: Counts(restocked=each.quantity) for each in back})
    if any(each.withdrawn for each in lines):
        settle_fulfilment(order, actor=actor)
    else:
        order.move_on()
    if back:
        return_stock(lines=back, cause=StockMovement.Cause.REFUND, reference=refund.reference, actor=actor)
    publish(RefundRequested.of(order, refund_reference=refund.reference, amount=refund.amount))
    items = {"items": {each.line.sku: each.quantity for each in lines}} if lines else {}
    order.tell(RefundRequested.detail_type, actor=actor, refund=refund.reference, amount=str(refund.amount), **items)


def _reject(refund: Refund, *, reason: str) -> None:
    """The caller holds the locks of the order and of its payment."""
    Refund.objects.filter(pk=refund.pk).update(state=RefundState.REJECTED, last_error=reason[:300])
    lines = {each.line_id: Counts(refunded=-each.quantity, withdrawn=-each.withdrawn) for each in refund.lines.all()}
    if lines:
        OrderLine.objects.count_up(lines)
    Payment.objects.filter(pk=refund.payment_id).update(proposed=F("proposed") - refund.amount, updated_at=Now())
