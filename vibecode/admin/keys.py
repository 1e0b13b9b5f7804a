"""Requests that were carried out under a key. Imported by vibecode.admin."""

from typing import Any

from django.contrib import admin
from django.db import models
from django.http import HttpRequest
from django.utils.safestring import SafeString

from vibecode.desk import DayFilter, ReadOnlyAdmin, actor_of, label, name_of
from vibecode.models import IdempotencyKey
from vibecode.rights import Right


@admin.register(IdempotencyKey)
class IdempotencyKeyAdmin(ReadOnlyAdmin):
    """Requests that were carried out, with their first answer."""

    list_display = ("key", "method", "short_path", "user_id", "answer", "created_at")
    list_filter = (("created_at", DayFilter),)
    search_fields = ("key__startswith", "path__startswith", "user_id__iexact")
    search_help_text = "Key, path or a user's number"
    ordering = ("-created_at", "-id")
    sortable_by = ("created_at",)
    fields = ("key", "method", "path", "user_id", "created_at", "answer", "headers", "body", "body_sha256")
    readonly_fields = ("answer",)

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Whole answers to customers are in here: the right is asked besides Django's permission."""
        return bool(super().has_view_permission(request, obj)) and actor_of(request).may(Right.MACHINERY)

    def get_queryset(self, request: HttpRequest) -> models.QuerySet[IdempotencyKey]:
        """The list needs no bodies: an answer can be large."""
        keys: models.QuerySet[IdempotencyKey] = super().get_queryset(request)
        return keys.defer("body", "headers")

    @admin.display(description="path")
    def short_path(self, key: IdempotencyKey) -> SafeString:
        """The path, cut to the column."""
        return name_of(key.path)

    @admin.display(description="answer")
    def answer(self, key: IdempotencyKey) -> SafeString:
        """The status of the first answer."""
        if key.status is None:
            return label("open", "Running", {"open": "warning"})
        return label("done", key.status, {"done": "success"})
