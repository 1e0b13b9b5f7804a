"""The audit trail as a list. Imported by vibecode.admin."""

from typing import Any

from django.contrib import admin
from django.db import models
from django.http import HttpRequest, HttpResponse
from django.template.loader import render_to_string
from django.utils.safestring import SafeString
from unfold.admin import ModelAdmin
from unfold.contrib.filters.admin import ChoicesDropdownFilter, DropdownFilter

from vibecode import history
from vibecode.desk import DayFilter, ReadOnlyAdmin, actor_of, figure, link_to, name_of, over
from vibecode.lists import ShortChangeList
from vibecode.models import Change, ChangeQuerySet
from vibecode.rights import Right


class KindFilter(DropdownFilter):
    """What was changed."""

    title = "kind"
    parameter_name = "kind"

    def lookups(self, request: HttpRequest, _model_admin: ModelAdmin) -> list[tuple[str, str]]:  # noqa: ARG002 -- the framework's signature
        """What the trail follows."""
        return list(history.TRACKED.items())

    def queryset(self, request: HttpRequest, queryset: models.QuerySet[Any]) -> models.QuerySet[Any]:  # noqa: ARG002 -- the framework's signature
        """Changes of that kind; served by change_of_kind."""
        return queryset.filter(kind=self.value()) if self.value() in history.TRACKED else queryset


class ChangeList(ShortChangeList):
    """A page of changes, told in words in a few statements for all of them."""

    def get_results(self, request: HttpRequest) -> None:
        """Beside each change stands what it says."""
        super().get_results(request)
        self.result_list: list[Any] = list(self.result_list)
        for change, entry in zip(self.result_list, history.in_words(self.result_list), strict=True):
            change.entry = entry


@admin.register(Change)
class ChangeAdmin(ReadOnlyAdmin):
    """Every change of what the trail follows: who, when, before and after."""

    list_display = ("moment", "who", "what", "changed")
    list_display_links = None
    list_filter = (KindFilter, ("deed", ChoicesDropdownFilter), ("at", DayFilter))
    search_fields = ("name",)
    search_help_text = (
        "The beginning of an order's number, a SKU or a name; somebody's e-mail or name; a part of the shop"
    )
    sortable_by = ()
    ordering = ("-at", "-id")
    fields = readonly_fields = ("moment", "who", "what", "changed")

    def has_view_permission(self, request: HttpRequest, obj: Change | None = None) -> bool:
        """The right as well as Django's permission: one row given by hand opens nothing."""
        return bool(super().has_view_permission(request, obj)) and actor_of(request).may(Right.AUDIT)

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        """Under the name that it has in the sidebar."""
        page: HttpResponse = super().changelist_view(request, {"title": "Audit trail", **(extra_context or {})})
        return page

    def get_changelist(self, request: HttpRequest, **_: Any) -> type[ChangeList]:  # noqa: ARG002 -- the framework's signature
        """With words."""
        return ChangeList

    def get_object(self, request: HttpRequest, object_id: str, from_field: str | None = None) -> Change | None:
        """With words."""
        change: Change | None = super().get_object(request, object_id, from_field)
        if change is not None:
            change.entry = history.in_words([change])[0]  # type: ignore[attr-defined]  # for the columns below
        return change

    def changes_of(self, row: Change) -> ChangeQuerySet:
        """Those of what it was made to."""
        return Change.objects.of_page(row.page_kind, row.page_id)

    def get_search_results(
        self,
        request: HttpRequest,  # noqa: ARG002 -- the framework's signature
        queryset: Any,
        search_term: str,
    ) -> tuple[ChangeQuerySet, bool]:
        """By what it was made to, and by whom."""
        words = search_term.replace("\x00", "").strip()
        return (history.matching(queryset, words) if words else queryset), False

    @admin.display(description="when")
    def moment(self, change: Change) -> SafeString:
        """To the second, in the shop's zone."""
        return figure(history.exactly(change.at))

    @admin.display(description="who")
    def who(self, change: Any) -> SafeString:
        """The person, or the part of the shop."""
        return render_to_string("vibecode/who.html", {"entry": change.entry, "linked": True})

    @admin.display(description="what")
    def what(self, change: Any) -> SafeString:
        """The thing, and the way to its page as long as it is there."""
        done = f"{change.entry.kind} {change.get_deed_display().lower()}"
        name = name_of(change.entry.name or "-")
        gone = change.deed == Change.Deed.DELETED and change.kind == change.page_kind
        if gone or change.page_id is None:
            return over(name, done)
        return over(link_to(change.page_kind.replace(".", "_"), change.page_id, name), done)

    @admin.display(description="before → after")
    def changed(self, change: Any) -> SafeString:
        """Each field."""
        return render_to_string("vibecode/fields.html", {"fields": change.entry.fields})
