"""Facts that wait, were sent or came to rest as dead letters. Imported by vibecode.admin.

The outbox and what became of its facts in the queues are one desk, whose rights are the same.
"""

import uuid
from typing import Any

from django.conf import settings
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db import models
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import URLPattern, path
from django.utils.formats import localize
from django.utils.html import format_html_join
from django.utils.safestring import SafeString
from django.utils.timezone import localtime
from unfold.admin import ModelAdmin
from unfold.contrib.filters.admin import DropdownFilter, TextFilter
from unfold.dataclasses import ActionDialog
from unfold.forms import BaseDialogForm

from vibecode import dead_letters, executions, outbox
from vibecode.desk import ReadOnlyAdmin, actor_of, dialog_action, figure, label, name_of, over
from vibecode.errors import Conflict
from vibecode.models import OutboxEvent, OutboxState, ProcessedMessage
from vibecode.rights import Right

STATES: dict[str, str] = {
    OutboxState.WAITING: "warning",
    OutboxState.SENDING: "info",
    OutboxState.SENT: "success",
    OutboxState.PARKED: "danger",
}
MOST_AT_ONCE = 1000
SEND_AGAIN = ActionDialog(
    title="Send again",
    description="It goes to the bus once more under the same id: consumers that have handled it drop it.",
    form_submit_text="Send again",
)


class StateFilter(DropdownFilter):
    """Where a fact is on its way."""

    title = "state"
    parameter_name = "state"

    def lookups(self, request: HttpRequest, _model_admin: ModelAdmin) -> list[tuple[str, str]]:  # noqa: ARG002 -- the framework's signature
        """The four states."""
        return list(OutboxState.choices)

    def queryset(self, request: HttpRequest, queryset: models.QuerySet[Any]) -> models.QuerySet[Any]:  # noqa: ARG002 -- the framework's signature
        """Facts of that state, each by its index where it has one."""
        match self.value():
            case OutboxState.SENT:
                return queryset.filter(sent_at__isnull=False)
            case OutboxState.PARKED:
                return queryset.filter(parked_at__isnull=False)
            case OutboxState.WAITING | OutboxState.SENDING:
                return queryset.filter(sent_at=None, parked_at=None, state=self.value())
        return queryset


class TypeFilter(TextFilter):
    """Facts of one type. Which day it was is no filter: the outbox forgets after two weeks."""

    title = "type"
    parameter_name = "type"

    def queryset(self, request: HttpRequest, queryset: models.QuerySet[Any]) -> models.QuerySet[Any]:  # noqa: ARG002 -- the framework's signature
        """By its whole name, in capitals or not."""
        return queryset.filter(detail_type=self.value().strip().title()) if self.value() else queryset


@admin.register(OutboxEvent)
class OutboxEventAdmin(ReadOnlyAdmin):
    """Facts on their way out, and the letters that their consumers could not deal with."""

    list_display = ("fact", "where", "failures", "why", "due", "created_at")
    list_filter = (StateFilter, TypeFilter)
    search_fields = ("subject", "event_id")
    search_help_text = "Subject (an order's number, a user's sub), or an event id"
    ordering = ("-id",)
    sortable_by = ()
    fields = (
        ("detail_type", "subject", "source"), ("where", "failures", "due"), "why",
        ("created_at", "queued_at", "sent_at"), "handled_by", "event_id", "detail",
    )  # fmt: skip
    readonly_fields = ("where", "failures", "due", "why", "handled_by")
    actions = ("send_all_again",)
    actions_detail = ("send_again",)

    def get_queryset(self, request: HttpRequest) -> models.QuerySet[OutboxEvent]:  # noqa: ARG002 -- the framework's signature
        """With the state, by the database's clock."""
        return OutboxEvent.objects.with_state().order_by(*self.ordering)

    def get_search_results(self, request: HttpRequest, queryset: Any, search_term: str) -> tuple[Any, bool]:  # noqa: ARG002 -- the framework's signature
        """A whole subject or id."""
        words = search_term.replace("\x00", "").strip()
        if not words:
            return queryset, False
        try:
            return queryset.filter(event_id=uuid.UUID(words)), False
        except ValueError:
            return queryset.filter(subject=words), False

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Of facts, dead letters and queues: the right is asked besides Django's permission."""
        return bool(super().has_view_permission(request, obj)) and actor_of(request).may(Right.MACHINERY)

    def has_send_again_permission(self, request: HttpRequest, _: Any = None) -> bool:
        """Whose group may."""
        return actor_of(request).may(Right.MACHINERY)

    def get_actions_detail(self, request: HttpRequest, object_id: int | str) -> list[Any]:
        """Nothing for what waits or is being sent: it leaves by itself."""
        event = self.get_object(request, str(object_id))
        if event is None or event.state not in {OutboxState.SENT, OutboxState.PARKED}:
            return []
        offers: list[Any] = super().get_actions_detail(request, object_id)
        return offers

    @dialog_action(SEND_AGAIN, "Send again", permissions=["send_again"], icon="send", url_path="send-again")
    def send_again(self, request: HttpRequest, form: BaseDialogForm, object_id: str) -> HttpResponse:
        """Put one into the queue anew."""
        event = self.found(request, object_id)

        def act() -> str:
            if not outbox.send_again(OutboxEvent.objects.filter(pk=event.pk), actor=actor_of(request)):
                raise Conflict(f"{event} waits to be sent anyway.")
            return f"{event} is sent again."

        return self.answer_dialog(request, form, SEND_AGAIN, act)

    @admin.action(description="Send again", permissions=["send_again"])
    def send_all_again(self, request: HttpRequest, chosen: models.QuerySet[OutboxEvent]) -> None:
        """Put the chosen ones into the queue anew; those that wait are left alone."""
        ids = list(chosen.values_list("pk", flat=True)[: MOST_AT_ONCE + 1])
        if len(ids) > MOST_AT_ONCE:
            messages.error(
                request, f"Nothing was sent: choose at most {MOST_AT_ONCE}, or use manage.py replay_events for more."
            )
            return
        count = outbox.send_again(
            OutboxEvent.objects.filter(pk__in=ids).exclude(sent_at=None, parked_at=None), actor=actor_of(request)
        )
        messages.success(request, f"Sent again: {count}." + (" The others wait anyway." if count < len(ids) else ""))

    @admin.display(description="fact")
    def fact(self, event: OutboxEvent) -> SafeString:
        """What happened, and to what."""
        return over(event.detail_type, event.subject)

    @admin.display(description="state")
    def where(self, event: Any) -> SafeString:
        """Where it is on its way."""
        return label(event.state, OutboxState(event.state).label, STATES)

    @admin.display(description="failures")
    def failures(self, event: OutboxEvent) -> SafeString:
        """How often it was tried in vain."""
        return figure(event.attempts)

    @admin.display(description="next try")
    def due(self, event: Any) -> str:
        """When the relay looks at it next; nothing for what has left or is parked."""
        if event.state not in {OutboxState.WAITING, OutboxState.SENDING}:
            return "-"
        return localize(localtime(event.due_at))

    @admin.display(description="last error")
    def why(self, event: OutboxEvent) -> SafeString:
        """What the bus said."""
        return name_of(event.last_error or "-")

    @admin.display(description="handled by")
    def handled_by(self, event: OutboxEvent) -> SafeString | str:
        """The consumers that have handled it, and when."""
        known = ProcessedMessage.objects.filter(event_id=event.event_id, handled_at__isnull=False).order_by(
            "handled_at"
        )
        rows = ((message.consumer, localize(localtime(message.handled_at))) for message in known)
        return format_html_join("", "<div>{}, {}</div>", rows) or "-"

    def get_urls(self) -> list[URLPattern]:
        """Beside the outbox: what its consumers could not deal with."""
        ours = [
            path("dead-letters/", self.admin_site.admin_view(self.dead_letters), name="vibecode_dead_letters"),
            path("queues/", self.admin_site.admin_view(self.queues), name="vibecode_queues"),
            path(
                "dead-letters/<slug:key>/send-again/",
                self.admin_site.admin_view(self.send_letters_again),
                name="vibecode_dead_letters_send_again",
            ),
        ]
        urls: list[URLPattern] = ours + super().get_urls()
        return urls

    def dead_letters(self, request: HttpRequest) -> HttpResponse:
        """Every queue with its counts, and the first of its dead letters."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        away, queues = "", []
        try:
            queues = dead_letters.look()
        except dead_letters.QueuesAway as refusal:
            away = refusal.detail
        context = {**self.admin_site.each_context(request), "title": "Dead letters", "queues": queues, "away": away}
        return render(request, "vibecode/dead_letters.html", context)

    def queues(self, request: HttpRequest) -> HttpResponse:
        """What the home page loads after itself: the counts that only SQS and Step Functions know."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        context: dict[str, Any] = {"queues": [], "lost": None}
        try:
            context["queues"] = dead_letters.count()
        except dead_letters.QueuesAway as refusal:
            context["away"] = refusal.detail
        try:
            context["lost"] = executions.lost_executions()
        except executions.WorkflowAway as refusal:
            context["workflow_away"] = refusal.detail
        context["dead"] = sum(state.dead for state in context["queues"])
        return render(request, "vibecode/queues.html", context)

    def send_letters_again(self, request: HttpRequest, key: str) -> HttpResponse:
        """The dialog: GET shows what will happen, POST does it."""
        queue = settings.RESOURCES.queues.get(key)
        if not self.has_send_again_permission(request):
            raise PermissionDenied
        if queue is None:
            raise Http404
        form = BaseDialogForm(data=request.POST or None, request=request, object_id=None)
        dialog = ActionDialog(
            title=f"Send the dead letters of {key} again?",
            description="All of them go to its consumer once more. Those that fail again come back here.",
        )
        context = {"dialog": dialog, "form": form, "form_submit_text": "Send all again"}
        if not form.is_valid():
            return render(request, "unfold/helpers/dialog.html", context)

        try:
            count, left = dead_letters.send_again(queue, actor=actor_of(request))  # the network: no transaction is open
        except dead_letters.QueuesAway as refusal:
            form.add_error(None, refusal.detail)
            return render(request, "unfold/helpers/dialog.html", context)
        done = f"Sent again: {count}." + (f" {left} are left." if left else "")
        messages.success(request, done)
        return HttpResponse(headers={"HX-Refresh": "true"})
