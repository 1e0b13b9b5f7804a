"""Many orders at once, at their list: shipped, exported, their packing slips printed. Called by verbs.py."""

from typing import Any

from django.contrib import admin, messages
from django.http import HttpRequest, HttpResponse

from orders.jobs import export_orders, fit_at_once, print_packing_slips, ship_orders
from orders.models import OrderQuerySet
from orders.services.packing import pack_orders
from orders.slips import print_slips
from vibecode.desk import ReadOnlyAdmin, actor_of, answer_pdf, begin_at_list
from vibecode.errors import DomainError
from vibecode.rights import Right


class ManyOrders(ReadOnlyAdmin):
    """The actions of the list: what is long is a job, begun or asked about on its own page."""

    def has_ship_permission(self, request: HttpRequest, _: Any = None) -> bool:
        """Who may send parcels, print their slips, and say that they have arrived."""
        return actor_of(request).may(Right.SHIP)

    def has_export_permission(self, request: HttpRequest, _: Any = None) -> bool:
        """Who may carry orders out of the house."""
        return actor_of(request).may(Right.EXPORT)

    @admin.action(description="Print packing slips", permissions=["ship"])
    def packing_slips(self, request: HttpRequest, chosen: OrderQuerySet) -> HttpResponse | None:
        """Of what is to ship of these: at once as long as they are not too many."""
        actor = actor_of(request)
        if not fit_at_once(chosen):
            return begin_at_list(request, lambda: print_packing_slips(orders=chosen, actor=actor))
        try:
            slips = pack_orders(orders=chosen, actor=actor)
        except DomainError as refusal:
            messages.error(request, refusal.detail)
            return None
        return answer_pdf(
            "packing-slips.pdf" if len(slips) > 1 else f"packing-slip-{slips[0].order}.pdf", print_slips(slips)
        )

    @admin.action(description="Ship all of these", permissions=["ship"])
    def ship_all(self, request: HttpRequest, chosen: OrderQuerySet) -> HttpResponse | None:
        """Ask first: the page of the job says how many they are and what will happen."""
        return begin_at_list(request, lambda: ship_orders(orders=chosen, actor=actor_of(request)))

    @admin.action(description="Export as CSV", permissions=["export"])
    def export_csv(self, request: HttpRequest, chosen: OrderQuerySet) -> HttpResponse | None:
        """To a file that any program reads."""
        return begin_at_list(request, lambda: export_orders(orders=chosen, form="csv", actor=actor_of(request)))

    @admin.action(description="Export as XLSX", permissions=["export"])
    def export_xlsx(self, request: HttpRequest, chosen: OrderQuerySet) -> HttpResponse | None:
        """To a spreadsheet."""
        return begin_at_list(request, lambda: export_orders(orders=chosen, form="xlsx", actor=actor_of(request)))
