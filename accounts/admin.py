"""People in the admin: who they are, and whether they may come in. Cognito and the customers write all the rest."""

from typing import Any

from django.contrib import admin, messages
from django.contrib.auth.models import Group, Permission
from django.db import models
from django.http import HttpRequest, HttpResponse
from django.utils.html import format_html_join
from django.utils.safestring import SafeString
from unfold.contrib.filters.admin import BooleanRadioFilter, RelatedDropdownFilter, TextFilter
from unfold.dataclasses import ActionDialog
from unfold.enums import ActionVariant
from unfold.forms import BaseDialogForm

from accounts.models import Address, User
from accounts.services import set_active
from vibecode.desk import (
    DayFilter,
    ReadOnlyAdmin,
    ReadOnlyInline,
    actor_of,
    dialog_action,
    id_of,
    label,
    link_to,
    name_of,
)
from vibecode.errors import Conflict
from vibecode.rights import Right

LET_IN = ActionDialog(
    title="Let this person in again?",
    description="Their tokens are accepted from now on.",
    form_class=BaseDialogForm,
    form_submit_text="Activate",
)
SHUT_OUT = ActionDialog(
    title="Shut this person out?",
    description="Every token of theirs is refused from now on. Their orders stay as they are.",
    form_class=BaseDialogForm,
    form_submit_text="Deactivate",
)


ROLES = {"admin": "primary", "staff": "info"}


class NotYourself(Conflict):
    """Whoever shuts themselves out cannot undo it."""

    code = "not-yourself"
    title = "You cannot shut yourself out"


class AddressInline(ReadOnlyInline):
    """Where somebody wants things sent."""

    model = Address
    ordering = ("-id",)
    fields = ("name", "line1", "line2", "city", "postal_code", "country", "phone")


@admin.register(User)
class UserAdmin(ReadOnlyAdmin):
    """Everybody whom Cognito sent us."""

    list_display = ("person", "called", "state", "roles", "created_at")
    list_filter = (
        ("is_active", BooleanRadioFilter),
        ("is_staff", BooleanRadioFilter),
        ("groups", RelatedDropdownFilter),
        ("created_at", DayFilter),
    )
    search_fields = ("email", "name", "cognito_sub")
    search_help_text = "A part of the e-mail or name, or a Cognito sub"
    ordering = ("-created_at", "-id")
    sortable_by = ("created_at",)
    fields = ("email", "name", "state", "roles", "cognito_sub", "created_at", "last_login")
    readonly_fields = ("state", "roles")
    inlines = (AddressInline,)
    actions = ("let_all_in", "shut_all_out")
    actions_detail = ("let_in", "shut_out")

    def get_queryset(self, request: HttpRequest) -> models.QuerySet[User]:
        """With their groups in one further statement."""
        people: models.QuerySet[User] = super().get_queryset(request)
        return people.prefetch_related("groups")

    def get_search_results(self, request: HttpRequest, queryset: Any, search_term: str) -> tuple[Any, bool]:
        """Whoever has that sub, else by e-mail and name."""
        by_sub = queryset.filter(cognito_sub=search_term.replace("\x00", "").strip())
        if search_term and by_sub.exists():
            return by_sub, False
        found: tuple[Any, bool] = super().get_search_results(request, queryset, search_term)
        return found

    def has_set_active_permission(self, request: HttpRequest, _: Any = None) -> bool:
        """Who may let people in and shut them out."""
        return actor_of(request).may(Right.PEOPLE)

    def get_actions_detail(self, request: HttpRequest, object_id: int | str) -> list[Any]:
        """The one of the two that would change something."""
        person = self.get_object(request, str(object_id))
        needless = "let_in" if person is not None and person.is_active else "shut_out"
        return [
            offer
            for offer in super().get_actions_detail(request, object_id)
            if not offer.action_name.endswith(f"user_{needless}")
        ]

    @admin.display(description="e-mail")
    def person(self, user: User) -> SafeString:
        """Their e-mail, or their sub as long as Cognito has verified none."""
        return name_of(user.email or user.cognito_sub)

    @admin.display(description="name")
    def called(self, user: User) -> SafeString | str:
        """What they call themselves."""
        return name_of(user.name) if user.name else "-"

    @admin.display(description="state")
    def state(self, user: User) -> SafeString:
        """Whether they may come in."""
        if user.is_active:
            return label("active", "Active", {"active": "success"})
        return label("closed", "Deactivated", {"closed": "danger"})

    @admin.display(description="groups")
    def roles(self, user: User) -> SafeString | str:
        """Their groups at the last sign-in."""
        names = sorted(group.name for group in user.groups.all())
        return format_html_join(" ", "{}", ((label(name, name, ROLES),) for name in names)) or "-"

    @admin.action(description="Activate", permissions=["set_active"])
    def let_all_in(self, request: HttpRequest, chosen: models.QuerySet[User]) -> None:
        """Let all of them in again."""
        changed = set_active(users=chosen, active=True, actor=actor_of(request))
        messages.success(request, f"{changed} activated.")

    @admin.action(description="Deactivate", permissions=["set_active"])
    def shut_all_out(self, request: HttpRequest, chosen: models.QuerySet[User]) -> None:
        """Shut all of them out, but for the one who asks."""
        others = chosen.exclude(pk=id_of(request))
        changed = set_active(users=others, active=False, actor=actor_of(request))
        messages.success(request, f"{changed} deactivated.")
        if chosen.filter(pk=id_of(request)).exists():
            messages.warning(request, "You were left out: nobody shuts themselves out.")

    @dialog_action(
        LET_IN,
        "Activate",
        permissions=["set_active"],
        icon="lock_open",
        url_path="activate",
        variant=ActionVariant.SUCCESS,
    )
    def let_in(self, request: HttpRequest, form: BaseDialogForm, object_id: str) -> HttpResponse:
        """Let one person in again."""
        return self._set_active(request, form, object_id, LET_IN, active=True)

    @dialog_action(
        SHUT_OUT,
        "Deactivate",
        permissions=["set_active"],
        icon="block",
        url_path="deactivate",
        variant=ActionVariant.DANGER,
    )
    def shut_out(self, request: HttpRequest, form: BaseDialogForm, object_id: str) -> HttpResponse:
        """Shut one person out."""
        return self._set_active(request, form, object_id, SHUT_OUT, active=False)

    def _set_active(
        self, request: HttpRequest, form: BaseDialogForm, object_id: str, dialog: ActionDialog, *, active: bool
    ) -> HttpResponse:
        person = self.found(request, object_id)

        def change() -> str:
            if person.pk == request.user.pk and not active:
                raise NotYourself("You are signed in with this account: ask a colleague to shut it.")
            set_active(users=[person], active=active, actor=actor_of(request))
            return f"{person} is {'active' if active else 'shut out'}."

        return self.answer_dialog(request, form, dialog, change)


class CountryFilter(TextFilter):
    """Addresses in one country."""

    title = "country"
    parameter_name = "country"

    def queryset(self, request: HttpRequest, queryset: models.QuerySet[Any]) -> models.QuerySet[Any]:  # noqa: ARG002 -- the framework's signature
        """By its two letters."""
        return queryset.filter(country=self.value().upper()) if self.value() else queryset


@admin.register(Address)
class AddressAdmin(ReadOnlyAdmin):
    """Where people want things sent. They write them themselves."""

    list_display = ("recipient", "line1", "city", "postal_code", "country", "owner", "created_at")
    list_filter = (CountryFilter, ("created_at", DayFilter))
    list_select_related = ("user",)
    search_fields = ("name", "city", "postal_code", "user__email")
    search_help_text = "A part of the name or city, the beginning of the postal code, or the owner's e-mail or name"
    ordering = ("-created_at", "-id")
    sortable_by = ("created_at",)
    fields = (
        "owner", "name", "line1", "line2", "city", "region", "postal_code", "country", "phone", "created_at",
    )  # fmt: skip
    readonly_fields = ("owner",)

    @admin.display(description="name")
    def recipient(self, address: Address) -> SafeString:
        """Who receives it there."""
        return name_of(address.name)

    @admin.display(description="owner")
    def owner(self, address: Address) -> SafeString:
        """Whose it is."""
        return link_to("accounts_user", address.user_id, name_of(str(address.user)))


admin.site.unregister(Group)


@admin.register(Group)
class GroupAdmin(ReadOnlyAdmin):
    """What each Cognito group may do here. Cognito says who is in it, a migration what it may."""

    list_display = ("name", "people", "rights")
    search_fields = ("name",)
    ordering = ("name",)
    fields = ("name", "people", "list_of_rights")
    readonly_fields = ("people", "list_of_rights")

    def get_queryset(self, request: HttpRequest) -> models.QuerySet[Group]:
        """With both counts in the same statement."""
        groups: models.QuerySet[Group] = super().get_queryset(request)
        return groups.annotate(
            people_count=models.Count("user", distinct=True), rights_count=models.Count("permissions", distinct=True)
        )

    def has_view_permission(self, request: HttpRequest, obj: models.Model | None = None) -> bool:  # noqa: ARG002 -- the framework's signature
        """Whoever may sign in here."""
        return request.user.is_staff

    def has_module_permission(self, request: HttpRequest) -> bool:
        """The same."""
        return request.user.is_staff

    @admin.display(description="people", ordering="people_count")
    def people(self, group: Any) -> int:
        """How many signed in with it."""
        return int(group.people_count)

    @admin.display(description="rights", ordering="rights_count")
    def rights(self, group: Any) -> int:
        """How many permissions it has."""
        return int(group.rights_count)

    @admin.display(description="rights")
    def list_of_rights(self, group: Group) -> SafeString | str:
        """Its permissions, one a line."""
        rights = Permission.objects.filter(group=group).order_by("content_type__app_label", "codename")
        names = rights.values_list("content_type__app_label", "name")
        return format_html_join("", "<div>{}: {}</div>", names) or "-"
