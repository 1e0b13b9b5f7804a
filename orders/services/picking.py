"""Which units of which lines somebody means: the items of a request against what is left. Called by the other verbs."""

from collections.abc import Callable, Mapping

from orders.models import Order, OrderLine
from vibecode.errors import Conflict, Fault, Unprocessable

type Units = dict[OrderLine, int]


class NotInOrder(Unprocessable):
    """Some SKUs are no part of the order; all of them are named."""

    code = "not-in-order"
    title = "Some products are not part of this order"


class TooMany(Conflict):
    """Some lines have fewer units left than was asked for; every one is named, and nothing was done."""

    code = "too-many-units"
    title = "There are fewer units left than that"


def pick(order: Order, items: Mapping[str, int] | None, left: Callable[[OrderLine], int], word: str) -> Units:
    """The units that are meant, by line: those of ``items`` (SKU to quantity), or all that are left.

    ``left`` says how many of a line there still are, ``word`` what they are left for ("to ship"). Raises NotInOrder, or
    TooMany naming every line that has fewer, also where nothing is left at all. The caller holds the order's lock.
    """
    lines = list(OrderLine.objects.of(order))
    if items is None:
        units = {line: left(line) for line in lines if left(line) > 0}
        if not units:
            raise TooMany(f"Nothing of {order.number} is left {word}.", lines=[])
        return units
    by_sku = {line.sku: line for line in lines}
    if strangers := sorted(items.keys() - by_sku.keys()):
        raise NotInOrder(
            f"Not in {order.number}: {', '.join(strangers[:20])}.",
            faults=[Fault("/items", "not-in-order", f"{sku} is not in {order.number}.") for sku in strangers],
            skus=strangers,
        )
    short = [(sku, wanted, left(by_sku[sku])) for sku, wanted in items.items() if wanted > left(by_sku[sku])]
    if short:
        raise TooMany(
            "; ".join(f"{sku}: {wanted} asked for, {there} left {word}" for sku, wanted, there in short[:20]) + ".",
            lines=[{"sku": sku, "requested": wanted, "left": there} for sku, wanted, there in short],
        )
    return {by_sku[sku]: wanted for sku, wanted in items.items()}
