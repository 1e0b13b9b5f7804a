"""The platform's own pages of the admin: outbox, idempotency keys, log. Imported by Django's autodiscover."""

from typing import Any

from django.contrib import admin
from django.contrib.admin.models import ADDITION, CHANGE, DELETION, LogEntry
from django.db import models
from django.http import HttpRequest
from django.urls import NoReverseMatch
from django.utils.html import format_html
from django.utils.safestring import SafeString
from unfold.admin import ModelAdmin
from unfold.contrib.filters.admin import DropdownFilter, FieldTextFilter

from vibecode.desk import DayFilter, ReadOnlyAdmin, label, name_of
from vibecode.models import IdempotencyKey, OutboxEvent


class SentFilter(DropdownFilter):
    """Whether a fact has left."""

    title = "sent"
    parameter_name = "sent"

    def lookups(self, request: HttpRequest, _model_admin: ModelAdmin) -> list[tuple[str, str]]:  # noqa: ARG002 -- the framework's signature
        """The two answers."""
        return [("no", "Waiting"), ("yes", "Sent")]

    def queryset(self, request: HttpRequest, queryset: models.QuerySet[Any]) -> models.QuerySet[Any]:  # noqa: ARG002 -- the framework's signature
        """Facts of that answer."""
        if self.value() in {"yes", "no"}:
            return queryset.filter(sent_at__isnull=self.value() == "no")
        return queryset


@admin.register(OutboxEvent)
class OutboxEventAdmin(ReadOnlyAdmin):
    """Facts on their way out."""

    list_display = ("detail_type", "subject", "source", "created_at", "state")
    list_filter = (SentFilter, ("detail_type", FieldTextFilter), ("created_at", DayFilter))
    search_fields = ("subject__startswith", "event_id__iexact")
    search_help_text = "Subject (an order's number, a user's sub), or an event id"
    ordering = ("-id",)
    fields = ("event_id", "detail_type", "subject", "source", "created_at", "state", "sent_at", "detail")
    readonly_fields = ("state",)

    @admin.display(description="state", ordering="sent_at")
    def state(self, event: OutboxEvent) -> SafeString:
        """Whether it has left."""
        if event.sent_at:
            return label("sent", "Sent", {"sent": "success"})
        return label("waiting", "Waiting", {"waiting": "warning"})


@admin.register(IdempotencyKey)
class IdempotencyKeyAdmin(ReadOnlyAdmin):
    """Requests that were carried out, with their first answer."""

    list_display = ("key", "method", "short_path", "user_id", "answer", "created_at")
    list_filter = (("method", FieldTextFilter), ("created_at", DayFilter))
    search_fields = ("key__startswith", "path__startswith", "user_id__iexact")
    search_help_text = "Key, path or a user's number"
    ordering = ("-created_at", "-id")
    fields = ("key", "method", "path", "user_id", "created_at", "answer", "headers", "body", "body_sha256")
    readonly_fields = ("answer",)

    def get_queryset(self, request: HttpRequest) -> models.QuerySet[IdempotencyKey]:
        """The list needs no bodies: an answer can be large."""
        keys: models.QuerySet[IdempotencyKey] = super().get_queryset(request)
        return keys.defer("body", "headers")

    @admin.display(description="path", ordering="path")
    def short_path(self, key: IdempotencyKey) -> SafeString:
        """The path, cut to the column."""
        return name_of(key.path)

    @admin.display(description="answer", ordering="status")
    def answer(self, key: IdempotencyKey) -> SafeString:
        """The status of the first answer."""
        if key.status is None:
            return label("open", "Running", {"open": "warning"})
        return label("done", key.status, {"done": "success"})


class DeedFilter(DropdownFilter):
    """What was done."""

    title = "deed"
    parameter_name = "deed"

    def lookups(self, request: HttpRequest, _model_admin: ModelAdmin) -> list[tuple[str, str]]:  # noqa: ARG002 -- the framework's signature
        """The three deeds that Django logs."""
        return [(str(flag), text) for flag, (text, _) in DEEDS.items()]

    def queryset(self, request: HttpRequest, queryset: models.QuerySet[Any]) -> models.QuerySet[Any]:  # noqa: ARG002 -- the framework's signature
        """Entries of that deed."""
        value = self.value() or ""
        return queryset.filter(action_flag=value) if value in {str(flag) for flag in DEEDS} else queryset


DEEDS = {ADDITION: ("Added", "success"), CHANGE: ("Changed", "info"), DELETION: ("Deleted", "danger")}


@admin.register(LogEntry)
class LogEntryAdmin(ReadOnlyAdmin):
    """What was done in this admin, by whom. Everybody who works here may read it."""

    list_display = ("action_time", "who", "deed", "content_type", "what", "how")
    list_display_links = ("action_time",)
    list_filter = (DeedFilter, ("action_time", DayFilter))
    list_select_related = ("user", "content_type")
    search_fields = ("user__email", "object_repr", "change_message")
    search_help_text = "Who (e-mail), what, or how it was changed"
    fields = ("action_time", "who", "deed", "content_type", "what", "how")
    readonly_fields = ("who", "deed", "what", "how")

    def has_view_permission(self, request: HttpRequest, obj: models.Model | None = None) -> bool:  # noqa: ARG002 -- the framework's signature
        """Whoever may sign in here."""
        return request.user.is_staff

    def has_module_permission(self, request: HttpRequest) -> bool:
        """The same."""
        return request.user.is_staff

    @admin.display(description="who", ordering="user__email")
    def who(self, entry: LogEntry) -> str:
        """The person."""
        return str(entry.user)

    @admin.display(description="deed", ordering="action_flag")
    def deed(self, entry: LogEntry) -> SafeString:
        """Added, changed, deleted."""
        text, colour = DEEDS[entry.action_flag]
        return label(text, text, {text: colour})

    @admin.display(description="what", ordering="object_repr")
    def what(self, entry: LogEntry) -> SafeString:
        """The thing, and the way to it as long as it is there."""
        name = name_of(entry.object_repr)
        try:
            address = None if entry.action_flag == DELETION else entry.get_admin_url()
        except NoReverseMatch:
            address = None
        return format_html('<a class="text-link" href="{}">{}</a>', address, name) if address else name

    @admin.display(description="how")
    def how(self, entry: LogEntry) -> str:
        """Django's sentence."""
        return entry.get_change_message()
