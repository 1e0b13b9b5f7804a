"""The list of jobs, and who sees which of them: what vibecode.jobs.admin builds its pages on."""

from typing import Any

from django.contrib import admin
from django.contrib.auth import get_user_model
from django.db import models
from django.http import HttpRequest
from django.utils.html import format_html
from django.utils.safestring import SafeString

from vibecode import resources
from vibecode.desk import DayFilter, ReadOnlyAdmin, actor_of, figure, label, name_of, over
from vibecode.jobs.kinds import import_kinds, kind_of
from vibecode.models import Job

STATES: dict[str, str] = {
    Job.State.UPLOADING: "warning",
    Job.State.READING: "info",
    Job.State.READY: "primary",
    Job.State.RUNNING: "info",
    Job.State.DONE: "success",
    Job.State.CANCELLED: "",
    Job.State.FAILED: "danger",
}


class JobList(ReadOnlyAdmin):
    """The jobs of the kinds that somebody has the right to."""

    list_display = ("work", "state_label", "progress", "bad_rows", "who", "created_at")
    list_filter = (("created_at", DayFilter),)
    search_fields = ("file_name",)
    search_help_text = "A part of the file's name"
    ordering = ("-created_at", "-id")
    sortable_by = ("created_at",)

    # --- rights ------------------------------------------------------------------------------------------------------
    def kinds(self, request: HttpRequest) -> list[str]:
        """The kinds that somebody may ask for."""
        return [key for key in resources.JOBS if actor_of(request).may(kind_of(key).right)]

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Who may ask for one kind of job sees the jobs of that kind."""
        kinds = self.kinds(request)
        return obj.kind in kinds if obj else bool(kinds)

    def has_module_permission(self, request: HttpRequest) -> bool:
        """The same."""
        return self.has_view_permission(request)

    def has_start_permission(self, request: HttpRequest, _: Any = None) -> bool:
        """Who may import something."""
        return any(key in import_kinds() for key in self.kinds(request))

    def get_queryset(self, request: HttpRequest) -> models.QuerySet[Job]:
        """Jobs of the kinds that somebody may ask for, with who asked."""
        users = get_user_model().objects.filter(cognito_sub=models.OuterRef("asked_by"))
        return Job.objects.filter(kind__in=self.kinds(request)).annotate(email=models.Subquery(users.values("email")))

    # --- the list ----------------------------------------------------------------------------------------------------
    @admin.display(description="what")
    def work(self, job: Job) -> SafeString:
        """What it does, and of which file."""
        return over(kind_of(job.kind).title, name_of(job.file_name) if job.file_name else "")

    @admin.display(description="state")
    def state_label(self, job: Job) -> SafeString:
        """Where it is."""
        return label(job.state, job.get_state_display(), STATES)

    @admin.display(description="progress")
    def progress(self, job: Job) -> SafeString:
        """How many rows are done."""
        return figure(f"{job.done:,} of {job.rows:,}")

    @admin.display(description="not done")
    def bad_rows(self, job: Job) -> SafeString:
        """How many were refused."""
        return format_html('<span class="shop-number {}">{}</span>', "shop-down" if job.bad else "", job.bad or "-")

    @admin.display(description="by")
    def who(self, job: Any) -> SafeString:
        """Who began it."""
        return name_of(job.email or job.asked_by)
