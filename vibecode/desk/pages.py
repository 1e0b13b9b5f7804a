"""The pages that every app derives its own from: lists and rows that services change, or that nobody does."""

from collections.abc import Callable, Mapping
from typing import Any, ClassVar

from django import forms
from django.contrib import admin, messages
from django.contrib.admin.options import ActionLocation
from django.contrib.admin.utils import unquote
from django.core.exceptions import PermissionDenied
from django.db import models, transaction
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import render
from unfold.admin import ModelAdmin, TabularInline

from vibecode.desk.deeds import OnceActionForm, ServiceForm, id_of
from vibecode.errors import DomainError, Stale
from vibecode.history import in_words
from vibecode.lists import MOST_LISTED, ShortChangeList, ShortPaginator
from vibecode.models import Change, ChangeQuerySet

ALREADY = "This was done already, the first time that you sent it: only its answer was lost."
LATEST = 5  # changes under an object's page
A_PAGE = 50  # changes on its history


class ShopAdmin(ModelAdmin):
    """A list and a page that change things through services, whose refusals are sentences and never a 500."""

    list_per_page = 50
    show_full_result_count = False
    show_facets = admin.ShowFacets.NEVER  # a count of the whole table for each choice
    list_filter_submit = True
    list_fullwidth = True
    view_on_site = False
    change_form_outer_after_template = "vibecode/latest_changes.html"
    paginator = ShortPaginator
    action_form = OnceActionForm
    # Actions whose services say themselves how many rows are too many; all others take what a list can show.
    bounded_actions: ClassVar[tuple[str, ...]] = ()

    def get_changelist(self, request: HttpRequest, **_: Any) -> type[ShortChangeList]:  # noqa: ARG002 -- the framework's signature
        """The list that stays cheap."""
        return ShortChangeList

    def response_action(
        self, request: HttpRequest, queryset: models.QuerySet[Any], **where: Any
    ) -> HttpResponse | None:
        """Django's; but nobody changes a whole table by a tick of a box."""
        everything = request.POST.get("select_across") == "1"
        if everything and request.POST.get("action") not in self.bounded_actions and queryset[MOST_LISTED:].exists():
            messages.error(
                request, f"Nothing was done: that is more than {MOST_LISTED:,} at once. Narrow the list first."
            )
            return None
        answer: HttpResponse | None = super().response_action(request, queryset, **where)
        return answer

    def changeform_view(
        self,
        request: HttpRequest,
        object_id: str | None = None,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        """Django's page; when a service refuses, all is rolled back and the same form comes again with the reason."""
        try:
            answer: HttpResponse = super().changeform_view(request, object_id, form_url, extra_context)
        except DomainError as refusal:
            request.refusal = refusal  # type: ignore[attr-defined]  # read by refused()
            answer = super().changeform_view(request, object_id, form_url, extra_context)
        return answer

    def get_action_choices(
        self,
        request: HttpRequest,
        default_choices: Any = None,
        action_location: ActionLocation = ActionLocation.CHANGE_LIST,
    ) -> list[tuple[str, str]]:
        """Django's choices: unfold 0.110 overrides them without Django 6.1's action_location, which warns."""
        choices: list[tuple[str, str]] = admin.ModelAdmin.get_action_choices(
            self, request, default_choices or [("", "Select action")], action_location
        )
        return choices

    def get_search_results(
        self, request: HttpRequest, queryset: models.QuerySet[Any], search_term: str
    ) -> tuple[models.QuerySet[Any], bool]:
        """By the rows' own ``matching``, where they have one; what that refuses is said above an empty list."""
        words = search_term.replace("\x00", "").strip()
        if not words or not hasattr(queryset, "matching"):
            found: tuple[models.QuerySet[Any], bool] = super().get_search_results(request, queryset, words)
            return found
        try:
            return queryset.matching(words), False
        except DomainError as refusal:
            messages.warning(request, refusal.detail)
            return queryset.none(), False

    def get_form(
        self, request: HttpRequest, obj: models.Model | None = None, change: bool = False, **kwargs: Any
    ) -> "type[forms.ModelForm[Any]]":
        """Django's form class, made for this one request: it knows what a service refused in it."""
        form: type[forms.ModelForm[Any]] = super().get_form(request, obj, change=change, **kwargs)
        if issubclass(form, ServiceForm):
            form.refusal = refused(request)
        return form

    def found(self, request: HttpRequest, object_id: str) -> Any:
        """The row of an action's address, or 404."""
        row = self.get_object(request, object_id)
        if row is None:
            raise Http404
        return row

    def changes_of(self, row: Any) -> ChangeQuerySet:
        """The changes that are shown on a row's page."""
        return Change.objects.of_page(self.opts.label_lower, row.pk)

    def render_change_form(self, request: HttpRequest, context: dict[str, Any], *args: Any, **kwargs: Any) -> Any:
        """With the latest changes under the page."""
        row = context.get("original")
        if row is not None and not context.get("is_popup"):
            latest = in_words(self.changes_of(row)[: LATEST + 1])
            context |= {"latest": latest[:LATEST], "there_are_more": len(latest) > LATEST}
        return super().render_change_form(request, context, *args, **kwargs)

    def history_view(
        self, request: HttpRequest, object_id: str, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """All changes, newest first, a page at a time: ``before`` is the id of the last one that was shown."""
        row = self.found(request, unquote(object_id))
        if not self.has_view_or_change_permission(request, row):
            raise PermissionDenied
        changes, before = self.changes_of(row), request.GET.get("before", "")
        if before.isascii() and before.isdigit() and len(before) < 19:
            last = changes.filter(pk=int(before)).values("at")[:1]
            changes = changes.filter(
                models.Q(at__lt=models.Subquery(last)) | models.Q(at=models.Subquery(last), pk__lt=int(before))
            )
        entries = in_words(changes[: A_PAGE + 1])
        context = {
            **self.admin_site.each_context(request),
            "title": f"History of {row}",
            "opts": self.opts,
            "object": row,
            "entries": entries[:A_PAGE],
            "before": entries[A_PAGE - 1].change.pk if len(entries) > A_PAGE else None,
            "first_page": not before,
            **(extra_context or {}),
        }
        return render(request, "vibecode/history.html", context)

    def log_addition(self, *_: Any) -> None:
        """The trail has it: Django's own log would be a second one, with people's e-mails in it."""

    def log_change(self, *_: Any) -> None:
        """The same."""

    def log_deletions(self, *_: Any) -> None:
        """The same."""

    def answer_dialog(
        self,
        request: HttpRequest,
        form: forms.Form,
        dialog: Mapping[str, Any],
        verb: Callable[[], str],
    ) -> HttpResponse:
        """Call a service from a dialog: the page comes anew and says what was done, or the dialog says why not."""
        from vibecode.idempotency import claim_once  # DRF, which is on no other way here

        once = form.cleaned_data.get("once")
        try:
            with transaction.atomic():  # the claim and the deed
                if once and not claim_once(user_id=id_of(request), path=request.path, key=once):
                    messages.info(request, ALREADY)
                    return HttpResponse(headers={"HX-Refresh": "true"})
                done = verb()
        except DomainError as refusal:
            form.add_error(None, refusal.detail)
            if isinstance(refusal, Stale) and hasattr(form, "renew"):
                form.renew()
            submit = dialog.get("form_submit_text", "")
            context = {"dialog": dialog, "form": form, "form_submit_text": submit}
            return render(request, "unfold/helpers/dialog.html", context)
        messages.success(request, done)
        return HttpResponse(headers={"HX-Refresh": "true"})


def refused(request: HttpRequest) -> DomainError | None:
    """What a service refused in this request's form."""
    return getattr(request, "refusal", None)


class ReadOnlyAdmin(ShopAdmin):
    """Rows that only services write."""

    def has_add_permission(self, request: HttpRequest) -> bool:  # noqa: ARG002 -- the framework's signature
        """No."""
        return False

    def has_change_permission(self, request: HttpRequest, obj: models.Model | None = None) -> bool:  # noqa: ARG002 -- the framework's signature
        """No."""
        return False

    def has_delete_permission(self, request: HttpRequest, obj: models.Model | None = None) -> bool:  # noqa: ARG002 -- the framework's signature
        """No."""
        return False


class ReadOnlyInline(TabularInline):
    """Rows below a page that only services write; many of them in pages of fifty."""

    extra = 0
    per_page = 50
    can_delete = False
    show_title = False

    def has_add_permission(self, request: HttpRequest, obj: models.Model | None = None) -> bool:  # noqa: ARG002 -- the framework's signature
        """No."""
        return False

    def has_change_permission(self, request: HttpRequest, obj: models.Model | None = None) -> bool:  # noqa: ARG002 -- the framework's signature
        """No."""
        return False
