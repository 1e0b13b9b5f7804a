"""Orders on the wire. Called by the views; shapes only, no query.

Longer than most modules: every shape of an order is compared with the others when one changes.
"""

from typing import Any

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from accounts.serializers import AddressIn
from orders.models import Order, Payment, Wishes
from orders.services import Basket
from orders.status import FulfilmentStatus, Mark, OrderStatus, PaymentState, PaymentStatus, RefundState
from vibecode.api import Input, Moment, Money, Pattern, Text, Whole

MOST_SKUS = 1000
MOST_OF_ONE = 100_000
MOST_ITEMS = 10_000  # ten of each SKU: no time goes into a megabyte of faulty ones


class ItemIn(Input):
    """So many of one SKU."""

    sku = Pattern(r"\A[\x20-\x7e]+\Z", max_length=64)  # upper() of other letters could be another SKU
    quantity = Whole(least=1, most=MOST_OF_ONE)


class OrderIn(Input):
    """What a customer wants to buy. The server prices it."""

    items: serializers.ListSerializer[Any] = serializers.ListSerializer(
        child=ItemIn(), allow_empty=False, max_length=MOST_ITEMS
    )
    total = Money(
        max_digits=20,
        required=False,
        help_text="What the customer was shown; the order is refused if it costs another sum.",
    )
    currency = Pattern(r"\A[A-Z]{3}\Z", required=False)
    userId = Text(max_length=128, required=False, help_text="The caller's own id, or none.")
    paymentMethod = Text(max_length=50, required=False)
    shippingAddress = AddressIn(required=False, allow_null=True)
    note = Text(max_length=1000, required=False, allow_blank=True)

    def validate_items(self, items: list[dict[str, Any]]) -> dict[str, int]:
        """Quantities by SKU, not too many of either."""
        quantities = _added_up(items)
        if len(quantities) > MOST_SKUS:
            raise serializers.ValidationError(
                f"items must have at most {MOST_SKUS} different SKUs; there are {len(quantities)}."
            )
        for sku, quantity in quantities.items():
            if quantity > MOST_OF_ONE:
                raise serializers.ValidationError(
                    f"quantity must be a whole number from 1 to {MOST_OF_ONE}; {sku} adds up to {quantity}."
                )
        return quantities

    def validate_shippingAddress(self, address: dict[str, Any] | None) -> dict[str, Any] | None:  # noqa: N802 -- DRF's
        """As an order keeps it."""
        if address is None:
            return None
        return {("postalCode" if name == "postal_code" else name): value for name, value in address.items()}


def basket_of(values: dict[str, Any]) -> Basket:
    """The service's argument for a checked body."""
    return Basket(
        quantities=values["items"],
        currency=values.get("currency"),
        expected_total=values.get("total"),
        wishes=Wishes(
            payment_method=values.get("paymentMethod", ""),
            shipping_address=values.get("shippingAddress"),
            note=values.get("note", ""),
        ),
    )


def _added_up(items: list[dict[str, Any]]) -> dict[str, int]:
    """Quantities by SKU: equal SKUs are added up, SKUs are upper case."""
    quantities: dict[str, int] = {}
    for item in items:
        sku = item["sku"].upper()
        quantities[sku] = quantities.get(sku, 0) + item["quantity"]
    return quantities


class ItemOut(serializers.Serializer[Any]):
    """One line, with name and price as they were."""

    sku = serializers.CharField()
    name = serializers.CharField()
    unitPrice = serializers.DecimalField(source="unit_price", max_digits=12, decimal_places=2)
    quantity = serializers.IntegerField()
    lineTotal = serializers.DecimalField(source="line_total", max_digits=20, decimal_places=2)


class PaymentOut(serializers.Serializer[Payment]):
    """What became of the money."""

    captured = serializers.DecimalField(max_digits=20, decimal_places=2)
    refunded = serializers.DecimalField(
        max_digits=20, decimal_places=2, help_text="What went back or is on its way back."
    )
    clientSecret = serializers.CharField(
        source="client_secret",
        allow_null=True,
        help_text="For the payment provider's own script, while the bank waits for the customer; null otherwise.",
    )


class OrderOut(serializers.Serializer[Order]):
    """An order."""

    orderId = serializers.CharField(source="number")
    status = serializers.ChoiceField(choices=OrderStatus.choices)
    paymentStatus = serializers.ChoiceField(source="payment_status", choices=PaymentStatus.choices)
    fulfilmentStatus = serializers.ChoiceField(source="fulfilment_status", choices=FulfilmentStatus.choices)
    userId = serializers.CharField(source="user.cognito_sub")
    currency = serializers.CharField()
    subtotal = serializers.DecimalField(max_digits=20, decimal_places=2)
    shippingTotal = serializers.DecimalField(source="shipping_total", max_digits=20, decimal_places=2)
    taxTotal = serializers.DecimalField(source="tax_total", max_digits=20, decimal_places=2)
    total = serializers.DecimalField(max_digits=20, decimal_places=2)
    items = ItemOut(many=True)
    payment = serializers.SerializerMethodField(help_text="null until the provider was asked.")
    cancelReason = serializers.CharField(source="cancel_reason")
    paymentMethod = serializers.CharField(source="payment_method")
    shippingAddress = serializers.JSONField(source="shipping_address")  # null where none was given
    note = serializers.CharField()
    createdAt = Moment(source="created_at")
    updatedAt = Moment(source="updated_at")
    version = serializers.IntegerField()

    @extend_schema_field(PaymentOut(allow_null=True))
    def get_payment(self, order: Order) -> dict[str, Any] | None:
        """The payment; what its owner's browser needs only while the bank waits."""
        payment = getattr(order, "payment", None)
        if payment is None:
            return None
        waits = payment.state == PaymentState.REQUIRES_ACTION and order.mark == Mark.NONE and not order.given_up_at
        waits = waits and self.context.get("owner") == order.user_id
        return PaymentOut(payment).data | {"clientSecret": payment.client_secret if waits else None}


class PlacedOrderOut(OrderOut):
    """An order that was just placed, with the words the specification's clients expect."""

    success = serializers.BooleanField(default=True)
    message = serializers.CharField(default="Order created successfully")


class CancelIn(Input):
    """Why an order is called off."""

    reason = Text(max_length=200, required=False, allow_blank=True)


class Units(Input):
    """Which units of an order are meant; all that are left where ``items`` is absent."""

    items: serializers.ListSerializer[Any] = serializers.ListSerializer(
        child=ItemIn(), allow_empty=False, max_length=MOST_SKUS, required=False
    )

    def validate_items(self, items: list[dict[str, Any]]) -> dict[str, int]:
        """Quantities by SKU."""
        return _added_up(items)


class ShipmentIn(Units):
    """What leaves the house, and the carrier's number of the parcel."""

    tracking = Text(max_length=100, required=False, allow_blank=True)


class DeliveryIn(Units):
    """What has arrived: all of it, the parcel of a tracking number, or some units."""

    tracking = Text(max_length=100, required=False, allow_blank=True)


class ParcelItemOut(serializers.Serializer[Any]):
    """So many of one SKU in a parcel."""

    sku = serializers.CharField(source="line.sku")
    quantity = serializers.IntegerField()


class ShipmentOut(serializers.Serializer[Any]):
    """A parcel."""

    number = serializers.IntegerField()
    tracking = serializers.CharField()
    items = ParcelItemOut(source="contents", many=True)
    createdAt = Moment(source="created_at")
    deliveredAt = Moment(source="delivered_at", allow_null=True)


class ShipmentsOut(serializers.Serializer[Any]):
    """Every parcel of an order, first to last."""

    results = ShipmentOut(many=True)


class RefundIn(Units):
    """How much goes back and for what: money alone, items, or the whole order where neither is given."""

    amount = Money(
        max_digits=20,
        required=False,
        help_text="What the items cost, or all that is left of what was captured, where it is absent.",
    )
    restock = serializers.BooleanField(
        required=False,
        default=False,
        help_text="Whether the units go back on the shelf. With an amount alone, none do.",
    )
    reason = Text(max_length=200)

    def validate(self, values: dict[str, Any]) -> dict[str, Any]:
        """Money alone puts nothing back on a shelf."""
        if values.get("restock") and "amount" in values and "items" not in values:
            raise serializers.ValidationError({"restock": "Name the items that go back on the shelf."})
        return values


class ReturnIn(Units):
    """What a customer has sent back: what it cost goes back to them, or ``amount``."""

    amount = Money(max_digits=20, required=False, help_text="What the items cost, where it is absent.")
    restock = serializers.BooleanField(required=False, default=True, help_text="Whether they go back on the shelf.")
    reason = Text(max_length=200)


class RejectIn(Input):
    """Why a proposed refund comes to nothing."""

    reason = Text(max_length=200)


class RefundItemOut(serializers.Serializer[Any]):
    """What a refund says of one SKU."""

    sku = serializers.CharField(source="line.sku")
    quantity = serializers.IntegerField()
    restocked = serializers.IntegerField()


class RefundOut(serializers.Serializer[Any]):
    """Money on its way back; ``proposed`` until a second person has approved it, where one is needed."""

    refundId = serializers.CharField(source="reference")
    orderId = serializers.CharField(source="payment.reference")
    amount = serializers.DecimalField(max_digits=20, decimal_places=2)
    currency = serializers.CharField(source="payment.currency")
    status = serializers.ChoiceField(source="state", choices=RefundState.choices)
    items = RefundItemOut(source="parts", many=True)
    reason = serializers.CharField()
    createdAt = Moment(source="created_at")


class RefundsOut(serializers.Serializer[Any]):
    """Every refund of an order, first to last."""

    results = RefundOut(many=True)


class NoteIn(Input):
    """What staff tell each other about an order."""

    text = Text(max_length=2000)


class NoteOut(serializers.Serializer[Any]):
    """A note of staff."""

    text = serializers.CharField()
    author = serializers.CharField(source="actor", help_text="Their Cognito sub.")
    createdAt = Moment(source="created_at")


class NotesOut(serializers.Serializer[Any]):
    """Every note about an order, first to last."""

    results = NoteOut(many=True)


class ReceivedOut(serializers.Serializer[Any]):
    """What Stripe is answered."""

    received = serializers.BooleanField()


class FactOut(serializers.Serializer[Any]):
    """One fact of an order's story; further members belong to its type."""

    type = serializers.CharField()
    timestamp = Moment()
    orderVersion = serializers.IntegerField(source="version")

    def to_representation(self, instance: Any) -> dict[str, Any]:
        """The fact with what its type adds."""
        return {**super().to_representation(instance), **instance.data}


class TimelineOut(serializers.Serializer[Any]):
    """Every fact that happened to an order, in order."""

    results = FactOut(many=True)
