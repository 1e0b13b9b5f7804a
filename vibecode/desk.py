"""What every page of the admin has in common. Called by each app's admin."""

import secrets
from collections.abc import Callable, Mapping
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Any, ClassVar, cast

from django import forms
from django.contrib import admin, messages
from django.contrib.admin.options import ActionLocation
from django.contrib.admin.utils import unquote
from django.core.exceptions import PermissionDenied
from django.db import models, transaction
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString
from unfold.admin import ModelAdmin, TabularInline
from unfold.contrib.filters.admin import RangeDateFilter
from unfold.dataclasses import ActionDialog
from unfold.decorators import action
from unfold.enums import ActionVariant
from unfold.forms import ActionForm, BaseDialogForm
from unfold.utils import display_for_label

from vibecode.errors import DomainError, Stale
from vibecode.history import in_words
from vibecode.lists import MOST_LISTED, ShortChangeList, ShortPaginator
from vibecode.models import Change, ChangeQuerySet, Job
from vibecode.rights import Actor

ALREADY = "This was done already, the first time that you sent it: only its answer was lost."
ALREADY_BEGUN = "This was begun already, the first time that you sent it. To begin another one, load the list anew."
SIGNS = {"GBP": "£", "EUR": "€", "USD": "$"}
LATEST = 5  # changes under an object's page
A_PAGE = 50  # changes on its history


# --- how things look -------------------------------------------------------------------------------------------------
def money(amount: Decimal | None, currency: str) -> str:
    """An amount as people write it: £1,234.50, or with the code of a currency that has no sign here."""
    if amount is None:
        return "-"
    sign = SIGNS.get(currency)
    return f"{sign}{amount:,.2f}" if sign else f"{currency} {amount:,.2f}"


def link_to(model: str, pk: object, text: object) -> SafeString:
    """A link to the page of a row, named by its model's ``app_model``."""
    return format_html('<a class="text-link" href="{}">{}</a>', reverse(f"admin:{model}_change", args=[pk]), text)


def link_to_list(model: str, text: str, **lookups: object) -> SafeString:
    """A link to a list, narrowed by lookups."""
    return format_html(
        '<a class="text-link" href="{}">{}</a>', reverse(f"admin:{model}_changelist", query=lookups), text
    )


def label(value: str, text: object, colours: Mapping[str, str]) -> SafeString:
    """A word on its colour, in lists and on pages."""
    return SafeString(display_for_label((value, str(text)), "-", {value: colours.get(value, "")}))


def over(above: object, below: object) -> SafeString:
    """Two facts of one thing in one cell: the small one below."""
    return format_html('<span class="shop-thing"><span>{}<small>{}</small></span></span>', above, below)


def name_of(text: str) -> SafeString:
    """Somebody's words, in their own direction of writing, never wider than a column."""
    return format_html('<bdi class="shop-name">{}</bdi>', text)


# --- who does it, and how ---------------------------------------------------------------------------------------------
def actor_of(request: HttpRequest) -> Actor:
    """Who asks, with the rights of the groups that their sign-in gave them; read once a request."""
    if not hasattr(request, "actor"):
        groups = request.user.groups.values_list("name", flat=True) if request.user.is_staff else ()
        request.actor = Actor.person(request.user.get_username(), groups)  # type: ignore[attr-defined]  # kept for this request
    actor: Actor = request.actor  # type: ignore[attr-defined]  # set above
    return actor


def id_of(request: HttpRequest) -> int:
    """The row of who asks; nobody gets to a page of the admin without one."""
    return cast("int", request.user.pk)


def dialog_action[**P, R](
    dialog: ActionDialog,
    description: str,
    *,
    permissions: list[str],
    icon: str,
    url_path: str,
    variant: ActionVariant = ActionVariant.DEFAULT,
) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Unfold's action behind a dialog, with its types: GET shows what will happen, POST does it."""
    decorator: Callable[[Callable[P, R]], Callable[P, R]] = action(
        description=description,
        permissions=permissions,
        icon=icon,
        url_path=url_path,
        variant=variant,
        dialog=dialog,
    )
    return decorator


def begin_at_list(request: HttpRequest, make: Callable[[], Job]) -> HttpResponse | None:
    """The page of a job that an action of a list has made; the list again, with the reason, where a service refused.

    One rendering of a list makes one job of an action, however often it is sent. The claim stands for itself: what is
    made begins by messages, which no transaction of ours may wait for.
    """
    from vibecode.idempotency import claim_once  # DRF, which is on no other way here

    once, action = request.POST.get("once", "")[:64], request.POST.get("action", "")[:100]
    try:
        with transaction.atomic():
            if once and not claim_once(user_id=id_of(request), path=request.path, key=f"{once} {action}"):
                messages.info(request, ALREADY_BEGUN)
                return redirect("admin:vibecode_job_changelist")
        job = make()
    except DomainError as refusal:
        messages.error(request, refusal.detail)
        return None
    return redirect("admin:vibecode_job_change", job.pk)


def answer_pdf(name: str, content: bytes) -> HttpResponse:
    """A PDF to be shown by the browser, under a name for whoever saves it. It is kept nowhere on the way."""
    headers = {"Content-Disposition": f'inline; filename="{name}"', "Cache-Control": "no-store"}
    return HttpResponse(content, content_type="application/pdf", headers=headers)


# --- how lists are narrowed ------------------------------------------------------------------------------------------
class DayFilter(RangeDateFilter):
    """From one day to another, both included, in the shop's zone (unfold compares naive times, and US dates)."""

    def queryset(self, request: HttpRequest, queryset: models.QuerySet[Any]) -> models.QuerySet[Any]:  # noqa: ARG002 -- the framework's signature
        """The rows of those days; a date that is none narrows nothing."""
        return self.within(queryset, self.parameter_name)

    def within(self, queryset: models.QuerySet[Any], column: str) -> models.QuerySet[Any]:
        """The rows whose ``column`` is a moment of those days."""
        first, last = (self._day(f"{self.parameter_name}_{end}") for end in ("from", "to"))
        if first:
            queryset = queryset.filter(**{f"{column}__gte": _midnight(first)})
        if last and last < date.max:
            queryset = queryset.filter(**{f"{column}__lt": _midnight(last + timedelta(days=1))})
        return queryset

    def _day(self, name: str) -> date | None:
        try:
            found: date | None = forms.DateField(required=False).clean(self.used_parameters.get(name))
        except forms.ValidationError:
            return None
        return found


def _midnight(day: date) -> datetime:
    return timezone.make_aware(datetime.combine(day, time.min))


# --- what a page may do ----------------------------------------------------------------------------------------------
class ServiceForm(forms.ModelForm):  # type: ignore[type-arg]  # made generic by the subclass's Meta
    """A form whose values a service takes. What it refused stands there as an error, with all that was typed."""

    refusal: ClassVar[DomainError | None] = None

    def clean(self) -> dict[str, Any]:
        """Say what the service said."""
        cleaned = super().clean() or self.cleaned_data
        if self.refusal is not None:
            self.add_error(None, self.refusal.detail)
        return cleaned


class OnceActionForm(ActionForm):
    """What is chosen to do to a list, with a name for this one rendering of it."""

    once = forms.CharField(required=False, max_length=64, label="", widget=forms.HiddenInput)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["once"].initial = secrets.token_urlsafe(18)


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

    # --- what was changed, and by whom: the audit trail ------------------------------------------------------------
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


class OnceForm(BaseDialogForm):
    """A dialog that does its deed once for each time that it was opened, however often it is sent."""

    once = forms.CharField(required=False, max_length=64, widget=forms.HiddenInput)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["once"].initial = secrets.token_urlsafe(18)


class ReasonForm(OnceForm):
    """Why somebody does it: asked once, kept for good."""

    reason = forms.CharField(max_length=200, widget=forms.TextInput)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        from unfold.widgets import INPUT_CLASSES

        super().__init__(*args, **kwargs)
        self.fields["reason"].widget.attrs |= {
            "class": " ".join(INPUT_CLASSES),
            "maxlength": 200,
            "autocomplete": "off",
        }
