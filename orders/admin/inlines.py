"""What stands below an order: its lines, parcels and notes, the e-mails about it, its story. Called by orders.py."""

from typing import Any

from django.contrib import admin
from django.db import models
from django.http import HttpRequest
from django.urls import reverse
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from accounts.models import User
from orders.models import (
    Letter,
    OrderLine,
    OrderNote,
    Shipment,
    ShipmentLine,
    TimelineEntry,
)
from orders.status import LetterState
from vibecode.desk import ReadOnlyInline, actor_of, figure, label, link_to, money, name_of, over
from vibecode.history import exactly
from vibecode.rights import Right

LETTER: dict[str, str] = {
    LetterState.WAITING: "warning",
    LetterState.SENDING: "warning",
    LetterState.SENT: "success",
    LetterState.DELIVERED: "success",
    LetterState.BOUNCED: "danger",
    LetterState.COMPLAINED: "danger",
    LetterState.SKIPPED: "",
}


def with_person(rows: Any) -> Any:
    """Rows with an ``actor``, and the person behind their sub in the same statement."""
    person = User.objects.filter(cognito_sub=models.OuterRef("actor"))
    return rows.annotate(
        person_id=models.Subquery(person.values("pk")), person_email=models.Subquery(person.values("email"))
    )


def person_of(row: Any) -> SafeString | str:
    """A person, or the part of the shop that did it."""
    if row.person_id is None:
        return row.actor or "-"
    return link_to("accounts_user", row.person_id, name_of(row.person_email or row.actor))


class LineInline(ReadOnlyInline):
    """What was bought, with name and price as they were."""

    model = OrderLine
    ordering = ("position",)
    fields = ("position", "thing", "name_then", "price", "quantity", "amount", "sent", "given_back")
    readonly_fields = ("thing", "name_then", "price", "amount", "sent", "given_back")

    def get_queryset(self, request: HttpRequest) -> models.QuerySet[OrderLine]:
        """With the order, for its currency."""
        lines: models.QuerySet[OrderLine] = super().get_queryset(request)
        return lines.select_related("order")

    @admin.display(description="SKU")
    def thing(self, line: OrderLine) -> SafeString:
        """The product's page."""
        return link_to("catalog_product", line.product_id, line.sku)

    @admin.display(description="name")
    def name_then(self, line: OrderLine) -> SafeString:
        """What it was called."""
        return name_of(line.name)

    @admin.display(description="price")
    def price(self, line: OrderLine) -> SafeString:
        """For one."""
        return figure(money(line.unit_price, line.order.currency))

    @admin.display(description="total")
    def amount(self, line: OrderLine) -> SafeString:
        """For all of them."""
        return figure(money(line.line_total, line.order.currency))

    @admin.display(description="shipped")
    def sent(self, line: OrderLine) -> SafeString:
        """How many have left the house, of those that are to."""
        return figure(
            f"{line.shipped:,} of {line.quantity - line.withdrawn:,}" if line.quantity > line.withdrawn else "-"
        )

    @admin.display(description="refunded")
    def given_back(self, line: OrderLine) -> SafeString:
        """How many were given money back for."""
        return figure(f"{line.refunded:,}" if line.refunded else "-")


class TimelineInline(ReadOnlyInline):
    """What happened to it, first to last."""

    model = TimelineEntry
    ordering = ("id",)
    verbose_name_plural = "timeline"
    fields = ("moment", "type", "version", "who", "details")
    readonly_fields = ("moment", "who", "details")

    def get_queryset(self, request: HttpRequest) -> models.QuerySet[TimelineEntry]:
        """With the person behind each actor's sub."""
        entries: models.QuerySet[TimelineEntry] = with_person(super().get_queryset(request))
        return entries

    @admin.display(description="time")
    def moment(self, entry: TimelineEntry) -> SafeString:
        """When."""
        return figure(exactly(entry.timestamp))

    @admin.display(description="by")
    def who(self, entry: Any) -> SafeString | str:
        """Who did it."""
        return person_of(entry)

    @admin.display(description="details")
    def details(self, entry: TimelineEntry) -> SafeString | str:
        """What else is known."""
        return (
            format_html_join(
                " · ", "{}: {}", ((name, _words(value)) for name, value in entry.data.items() if value != "")
            )
            or "-"
        )


def _words(value: Any) -> str:
    """A fact's detail: units by SKU as people write them."""
    if isinstance(value, dict):
        return ", ".join(f"{count} × {sku}" for sku, count in value.items())
    return str(value)


class NoteInline(ReadOnlyInline):
    """What colleagues wrote about it."""

    model = OrderNote
    ordering = ("id",)
    verbose_name_plural = "notes"
    fields = ("moment", "who", "words")
    readonly_fields = ("moment", "who", "words")

    def get_queryset(self, request: HttpRequest) -> models.QuerySet[OrderNote]:
        """With the person behind each actor's sub."""
        notes: models.QuerySet[OrderNote] = with_person(super().get_queryset(request))
        return notes

    @admin.display(description="time")
    def moment(self, note: OrderNote) -> SafeString:
        """When."""
        return figure(exactly(note.created_at))

    @admin.display(description="by")
    def who(self, note: Any) -> SafeString | str:
        """Who wrote it."""
        return person_of(note)

    @admin.display(description="note")
    def words(self, note: OrderNote) -> SafeString:
        """In their words, with their line breaks."""
        return format_html('<bdi class="shop-words">{}</bdi>', note.text)


class ShipmentInline(ReadOnlyInline):
    """What has left the house."""

    model = Shipment
    ordering = ("number",)
    verbose_name_plural = "parcels"
    fields = ("number", "moment", "tracking", "what", "arrived", "who", "slip")
    readonly_fields = ("moment", "what", "arrived", "who", "slip")

    def get_fields(self, request: HttpRequest, obj: Any = None) -> tuple[str, ...]:  # noqa: ARG002 -- the framework's signature
        """The slips for those who pack."""
        return self.fields if actor_of(request).may(Right.SHIP) else self.fields[:-1]

    def get_queryset(self, request: HttpRequest) -> models.QuerySet[Shipment]:
        """With what is in each in one more statement."""
        contents = ShipmentLine.objects.select_related("line").order_by("line__position")
        parcels: models.QuerySet[Shipment] = with_person(super().get_queryset(request))
        return parcels.prefetch_related(models.Prefetch("lines", contents))

    @admin.display(description="shipped")
    def moment(self, parcel: Shipment) -> SafeString:
        """When it left."""
        return figure(exactly(parcel.created_at))

    @admin.display(description="contents")
    def what(self, parcel: Shipment) -> SafeString | str:
        """Units by SKU."""
        return format_html_join(
            "", "<div>{} × {}</div>", ((each.quantity, each.line.sku) for each in parcel.lines.all())
        )

    @admin.display(description="delivered")
    def arrived(self, parcel: Shipment) -> SafeString | str:
        """When all of it had arrived; how much of it has."""
        if parcel.delivered_at:
            return figure(exactly(parcel.delivered_at))
        there = sum(each.delivered for each in parcel.lines.all())
        return f"{there:,} so far" if there else "-"

    @admin.display(description="by")
    def who(self, parcel: Any) -> SafeString | str:
        """Who sent it."""
        return person_of(parcel)

    @admin.display(description="packing slip")
    def slip(self, parcel: Shipment) -> SafeString:
        """What lies in it, on paper."""
        address = reverse("admin:orders_order_parcel_slip", args=[parcel.order_id, parcel.number])
        return format_html('<a class="text-link" href="{}" target="_blank" rel="noopener">Print</a>', address)


class LetterInline(ReadOnlyInline):
    """What the customer was written."""

    model = Letter
    verbose_name_plural = "e-mails"
    ordering = ("id",)
    fields = ("what", "where", "sent_at", "attempts", "last_error")
    readonly_fields = ("what", "where")

    @admin.display(description="e-mail")
    def what(self, letter: Letter) -> SafeString:
        """What it tells of, and the fact that it tells."""
        return over(letter.kind.capitalize(), letter.event_id)

    @admin.display(description="state")
    def where(self, letter: Letter) -> SafeString:
        """Whether it has gone out."""
        return label(letter.state, letter.get_state_display(), LETTER)
