"""Imports, exports and bulk work in the admin: begun, previewed, corrected, watched. Imported by vibecode.admin."""

from collections.abc import Callable
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import redirect, render
from django.urls import URLPattern, path, reverse
from django.utils.formats import localize
from django.utils.timezone import localtime
from django.views.decorators.http import require_POST
from unfold.decorators import action
from unfold.widgets import INPUT_CLASSES

from vibecode import bucket, resources
from vibecode.desk import actor_of, answer_json
from vibecode.errors import DomainError
from vibecode.jobs.desk import JobList
from vibecode.jobs.files import begin_correction, begin_import, correct_row, take_file
from vibecode.jobs.kinds import ImportKind, import_kinds, kind_of
from vibecode.jobs.running import begin_job, cancel_job
from vibecode.jobs.showing import (
    MENDED,
    SHOWN,
    columns_of,
    first_bad_rows,
    first_rows,
    link_to_bad_rows,
    link_to_results,
    sign_link,
)
from vibecode.jobs.tables import LARGEST_FILE, MOST_ROWS, write_table
from vibecode.models import Job

AT_WORK = {Job.State.READING, Job.State.RUNNING}
SCRIPT = forms.Media(js=["vibecode/uploads.js", "vibecode/jobs.js"])


class FileForm(forms.Form):
    """What the page says of a file before it sends it."""

    kind = forms.CharField(required=False)
    name = forms.CharField(max_length=300)
    size = forms.IntegerField(min_value=1)


@admin.register(Job)
class JobAdmin(JobList):
    """Long work: each of its pages is for those who have the right of its kind."""

    actions_list = ("start",)

    # --- pages -------------------------------------------------------------------------------------------------------
    def get_urls(self) -> list[URLPattern]:
        """Beside Django's: what the pages ask and send."""

        def ours(route: str, view: Callable[..., HttpResponse], name: str, *, post: bool = True) -> URLPattern:
            guarded = self.admin_site.admin_view(require_POST(view) if post else view)
            pattern: URLPattern = path(route, guarded, name=f"vibecode_job_{name}")
            return pattern

        return [
            ours("upload/", self.upload, "upload"),
            ours("template/<slug:key>.csv", self.template, "template", post=False),
            ours("<int:pk>/stored/", self.stored, "stored"),
            ours("<int:pk>/correction/", self.correction, "correction"),
            ours("<int:pk>/rows/<int:number>/", self.correct, "correct"),
            ours("<int:pk>/not-done.csv", self.not_done, "not_done", post=False),
            ours("<int:pk>/results.csv", self.results, "results", post=False),
            ours("<int:pk>/progress/", self.watch, "watch", post=False),
            ours("<int:pk>/begin/", self.begin, "begin"),
            ours("<int:pk>/cancel/", self.cancel, "cancel"),
            *super().get_urls(),
        ]

    @action(description="Import a file", url_path="start", permissions=["start"], icon="upload_file")  # type: ignore[untyped-decorator,unused-ignore]  # unfold ships no types
    def start(self, request: HttpRequest) -> HttpResponse:
        """Choose what to import, and drop the file."""
        kinds = {key: kind for key, kind in import_kinds().items() if key in self.kinds(request)}
        chosen = request.GET.get("kind", "")
        chosen = chosen if chosen in kinds else next(iter(kinds))
        more = {"kinds": kinds, "chosen": chosen, "kind": kinds[chosen], "largest": LARGEST_FILE, "most": MOST_ROWS}
        context = {**self.admin_site.each_context(request), "title": "Import a file", "media": SCRIPT, **more}
        return render(request, "vibecode/jobs/start.html", context)

    def change_view(
        self,
        request: HttpRequest,
        object_id: str,
        form_url: str = "",  # noqa: ARG002 -- the framework's signature
        extra_context: Any = None,  # noqa: ARG002 -- the framework's signature
    ) -> HttpResponse:
        """A job's own page: its preview, its bad rows with how to mend them, its progress, its results."""
        if request.method != "GET":
            raise PermissionDenied
        job = self._job(request, int(object_id) if object_id.isdecimal() else 0)
        return self._page(request, job)

    def _page(self, request: HttpRequest, job: Job) -> HttpResponse:
        kind = kind_of(job.kind)
        is_import, columns = isinstance(kind, ImportKind), columns_of(job)
        context = {
            **self.admin_site.each_context(request),
            **self._state(job),
            "title": kind.title,
            "subtitle": job.file_name,
            "media": SCRIPT,
            "kind": kind,
            "is_import": is_import,
            "columns": columns,
            "largest": LARGEST_FILE,
            "tables": [
                (
                    f"The first {SHOWN} that wait" if job.waiting > SHOWN else "Waiting",
                    "What will happen",
                    first_rows(job.lines.waiting(), columns),
                ),
                ("Done", "What was done", first_rows(job.lines.done(), columns)),
            ],
            "bad_rows": first_bad_rows(job, columns),
            "input": " ".join(INPUT_CLASSES),
            "more_bad": max(job.bad - MENDED, 0),
            "correctable": is_import and job.state in Job.State.at_rest(),
            "link": sign_link(job.result) if job.result else "",
            "gone": job.result and job.ended_at and (localtime() - job.ended_at).days >= resources.UPLOAD_DAYS,
        }
        return render(request, "vibecode/jobs/job.html", context)

    def _state(self, job: Job) -> dict[str, Any]:
        """What the fragment shows that is loaded again and again."""
        fresh = set() if job.done else {Job.State.READY}
        begun = job.state not in {Job.State.READING, Job.State.READY}
        return {
            "job": job,
            "label": self.state_label(job),
            "unit": f"{kind_of(job.kind).unit},{kind_of(job.kind).unit}s",
            "percent": 100 * (job.done + job.bad) // max(job.rows, 1),
            "at_work": job.state in AT_WORK,
            "may_begin": job.state in Job.State.at_rest() and (job.waiting > 0 or kind_of(job.kind).lacks_file(job)),
            "may_cancel": job.state in {*AT_WORK, Job.State.UPLOADING, *fresh},
            "began": localize(localtime(job.began_at)) if begun and job.began_at else "",
        }

    def watch(self, request: HttpRequest, pk: int) -> HttpResponse:
        """The progress, asked for every two seconds; the whole page comes anew once it rests."""
        job = self._job(request, pk)
        if job.state not in AT_WORK:
            return HttpResponse(headers={"HX-Refresh": "true"})
        return render(request, "vibecode/jobs/progress.html", self._state(job))

    # --- files -------------------------------------------------------------------------------------------------------
    def upload(self, request: HttpRequest) -> JsonResponse:
        """A form of S3's, for one file to import."""
        form = FileForm(request.POST)
        if not form.is_valid() or form.cleaned_data["kind"] not in import_kinds():
            return JsonResponse({"detail": "The file is empty, or the page is an old one: load it anew."}, status=400)

        def ask() -> dict[str, Any]:
            values = form.cleaned_data
            job, signed = begin_import(
                kind=values["kind"], file_name=values["name"], size=values["size"], actor=actor_of(request)
            )
            return _signed(job, signed)

        return answer_json(ask)

    def correction(self, request: HttpRequest, pk: int) -> JsonResponse:
        """A form of S3's, for a file of corrected rows."""
        job, form = self._job(request, pk), FileForm(request.POST)
        if not form.is_valid():
            return JsonResponse({"detail": "The file is empty: choose another one."}, status=400)
        size = form.cleaned_data["size"]
        return answer_json(lambda: _signed(job, begin_correction(job=job, size=size, actor=actor_of(request))))

    def stored(self, request: HttpRequest, pk: int) -> JsonResponse:
        """The file lies on S3: read it."""
        job = self._job(request, pk)

        def ask() -> dict[str, Any]:
            take_file(job=job, actor=actor_of(request))
            return {"page": _address(job)}

        return answer_json(ask)

    def template(self, request: HttpRequest, key: str) -> HttpResponse:
        """An empty file with the columns of a kind."""
        kind = import_kinds().get(key)
        if kind is None or key not in self.kinds(request):
            raise Http404
        disposition = {"Content-Disposition": f'attachment; filename="{key}.csv"'}
        content = write_table("csv", list(kind.columns), [])
        return HttpResponse(content, content_type="text/csv; charset=utf-8", headers=disposition)

    def not_done(self, request: HttpRequest, pk: int) -> HttpResponse:
        """The bad rows as a file."""
        return self._download(request, pk, link_to_bad_rows)

    def results(self, request: HttpRequest, pk: int) -> HttpResponse:
        """Every row with what became of it, as a file; a job that makes a file has no other one."""
        if kind_of(self._job(request, pk).kind).makes_file:
            raise Http404
        return self._download(request, pk, link_to_results)

    def _download(self, request: HttpRequest, pk: int, link_to: Callable[[Job], str]) -> HttpResponse:
        """Lead to a file on S3; the job's page says why there is none."""
        job = self._job(request, pk)
        try:
            return redirect(link_to(job))
        except DomainError as refusal:
            messages.error(request, refusal.detail)
            return redirect(_address(job))

    # --- what can be done --------------------------------------------------------------------------------------------
    def begin(self, request: HttpRequest, pk: int) -> HttpResponse:
        """Do what waits."""
        return self._do(request, pk, lambda job: begin_job(job=job, actor=actor_of(request)))

    def cancel(self, request: HttpRequest, pk: int) -> HttpResponse:
        """Begin no further row."""
        return self._do(request, pk, lambda job: cancel_job(job=job, actor=actor_of(request)))

    def correct(self, request: HttpRequest, pk: int, number: int) -> HttpResponse:
        """Write one bad row anew; while something is wrong with it, its fields say so."""
        job = self._job(request, pk)
        kind = kind_of(job.kind)
        if not isinstance(kind, ImportKind):
            raise Http404
        written = {name: request.POST.get(name, "") for name in kind.columns if request.POST.get(name, "").strip()}

        def verb(job: Job) -> None:
            if correct_row(job=job, number=number, written=written, actor=actor_of(request)):
                messages.success(request, f"Row {number} is right now and waits to be done.")
            else:
                messages.error(request, f"Row {number} is not right yet.")

        return self._do(request, pk, verb, anchor=f"#row-{number}")

    def _do(self, request: HttpRequest, pk: int, verb: Callable[[Job], None], anchor: str = "") -> HttpResponse:
        """Call a service; the job's page says what it refused."""
        job = self._job(request, pk)
        try:
            verb(job)
        except DomainError as refusal:
            messages.error(request, refusal.detail)
        return redirect(_address(job) + anchor)

    def _job(self, request: HttpRequest, pk: int) -> Job:
        """A job of a kind that somebody may ask for; of all others there is none."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        found: Job | None = self.get_queryset(request).filter(pk=pk).first()
        if found is None:
            raise Http404
        return found


def _address(job: Job) -> str:
    return reverse("admin:vibecode_job_change", args=[job.pk])


def _signed(job: Job, form: bucket.Form) -> dict[str, Any]:
    stored = reverse("admin:vibecode_job_stored", args=[job.pk])
    return {"url": form.url, "fields": dict(form.fields), "stored": stored}
