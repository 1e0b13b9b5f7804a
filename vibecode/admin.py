"""The platform's own pages of the admin: outbox, dead letters, keys, log. Imported by Django's autodiscover.

Longer than most modules: the outbox and what became of its facts in the queues are one desk, whose rights are the same.
"""

import uuid
from typing import Any

from django.conf import settings
from django.contrib import admin, messages
from django.contrib.admin.models import ADDITION, CHANGE, DELETION, LogEntry
from django.contrib.auth import get_user_model
from django.contrib.contenttypes.models import ContentType
from django.core.exceptions import PermissionDenied
from django.db import models, transaction
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import NoReverseMatch, URLPattern, path
from django.utils.formats import localize
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.utils.timezone import localtime
from unfold.admin import ModelAdmin
from unfold.contrib.filters.admin import DropdownFilter, TextFilter
from unfold.dataclasses import ActionDialog
from unfold.forms import BaseDialogForm

from vibecode import dead_letters, executions, outbox
from vibecode.desk import DayFilter, ReadOnlyAdmin, dialog_action, id_of, label, name_of, over
from vibecode.errors import Conflict
from vibecode.jobs.admin import JobAdmin
from vibecode.models import IdempotencyKey, OutboxEvent, OutboxState, ProcessedMessage
from vibecode.searching import has_trigram

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

    def has_send_again_permission(self, request: HttpRequest, _: Any = None) -> bool:
        """Whose group may change what waits here."""
        return request.user.has_perm("vibecode.change_outboxevent")

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
            if not outbox.send_again(OutboxEvent.objects.filter(pk=event.pk)):
                raise Conflict(f"{event} waits to be sent anyway.")
            self.log_change(request, event, "Sent again.")
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
        with transaction.atomic():  # the deed and its lines in the log
            again = OutboxEvent.objects.filter(pk__in=ids).exclude(sent_at=None, parked_at=None)
            rows = list(again)
            count = outbox.send_again(OutboxEvent.objects.filter(pk__in=[row.pk for row in rows]))
            if rows:
                self.log_all(request, OutboxEvent.objects.filter(pk__in=[row.pk for row in rows]), "Sent again.")
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
        return format_html('<span class="shop-number">{}</span>', event.attempts)

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

    # --- dead letters ------------------------------------------------------------------------------------------------
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
            count, left = dead_letters.send_again(queue)  # the network: no transaction is open
        except dead_letters.QueuesAway as refusal:
            form.add_error(None, refusal.detail)
            return render(request, "unfold/helpers/dialog.html", context)
        done = f"Sent again: {count}." + (f" {left} are left." if left else "")
        LogEntry.objects.create(
            user_id=id_of(request),
            content_type=ContentType.objects.get_for_model(OutboxEvent),
            object_repr=f"Dead letters of {key}",
            action_flag=CHANGE,
            change_message=done,
        )
        messages.success(request, done)
        return HttpResponse(headers={"HX-Refresh": "true"})


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
    search_help_text = "A part of who (e-mail), what, or how it was changed: three letters or more"
    ordering = ("-action_time", "-id")
    sortable_by = ("action_time",)
    fields = ("action_time", "who", "deed", "content_type", "what", "how")
    readonly_fields = ("who", "deed", "what", "how")

    def get_search_results(self, request: HttpRequest, queryset: Any, search_term: str) -> tuple[Any, bool]:
        """By the indexes of migration 0004; Django's own way would join everybody to every entry."""
        words = search_term.replace("\x00", "").strip()
        if not words:
            return queryset, False
        if not has_trigram(words):
            messages.warning(request, "Write three letters or digits in a row: less cannot be looked up here.")
            return queryset.none(), False
        colleagues = get_user_model().objects.filter(is_staff=True, email__icontains=words)
        people = list(colleagues.values_list("pk", flat=True)[:MOST_AT_ONCE])
        said = models.Q(object_repr__icontains=words) | models.Q(change_message__icontains=words)
        return queryset.filter(said | models.Q(user__in=people)), False

    def has_view_permission(self, request: HttpRequest, obj: models.Model | None = None) -> bool:  # noqa: ARG002 -- the framework's signature
        """Whoever may sign in here."""
        return request.user.is_staff

    def has_module_permission(self, request: HttpRequest) -> bool:
        """The same."""
        return request.user.is_staff

    @admin.display(description="who")
    def who(self, entry: LogEntry) -> str:
        """The person."""
        return str(entry.user)

    @admin.display(description="deed")
    def deed(self, entry: LogEntry) -> SafeString:
        """Added, changed, deleted."""
        text, colour = DEEDS[entry.action_flag]
        return label(text, text, {text: colour})

    @admin.display(description="what")
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


__all__ = ["JobAdmin"]
