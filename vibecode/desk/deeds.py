"""What somebody does at the desk: who it is, the forms that ask, that nothing is done twice. Called by its pages."""

import secrets
from collections.abc import Callable
from functools import partial
from typing import Any, ClassVar, cast

from django import forms
from django.contrib import messages
from django.db import transaction
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import redirect
from unfold.dataclasses import ActionDialog
from unfold.decorators import action
from unfold.enums import ActionVariant
from unfold.forms import ActionForm, BaseDialogForm

from vibecode.errors import Away, DomainError
from vibecode.models import Job
from vibecode.rights import Actor

ALREADY_BEGUN = "This was begun already, the first time that you sent it. To begin another one, load the list anew."


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

    One rendering of a list makes one job of an action, however often it is sent. A job that writes a file begins at
    once; what changes the shop is begun on the job's page, which says what will happen.
    """
    from vibecode.idempotency import claim_once  # DRF, which is on no other way here
    from vibecode.jobs.kinds import kind_of
    from vibecode.jobs.running import begin_job

    once, action = request.POST.get("once", "")[:64], request.POST.get("action", "")[:100]
    try:
        with transaction.atomic():  # the claim and the job
            if once and not claim_once(user_id=id_of(request), path=request.path, key=f"{once} {action}"):
                messages.info(request, ALREADY_BEGUN)
                return redirect("admin:vibecode_job_changelist")
            job = make()
        if kind_of(job.kind).makes_file:
            begin_job(job=job, actor=actor_of(request))
    except DomainError as refusal:
        messages.error(request, refusal.detail)
        return None
    return redirect("admin:vibecode_job_change", job.pk)


def answer_json(ask: Callable[[], dict[str, Any]]) -> JsonResponse:
    """What a service answers to a script of ours; its refusal as ``detail``."""
    try:
        return JsonResponse(ask())
    except DomainError as refusal:
        return JsonResponse({"detail": refusal.detail}, status=503 if isinstance(refusal, Away) else 422)


def answer_pdf(name: str, content: bytes) -> HttpResponse:
    """A PDF to be shown by the browser, under a name for whoever saves it. It is kept nowhere on the way."""
    headers = {"Content-Disposition": f'inline; filename="{name}"', "Cache-Control": "no-store"}
    return HttpResponse(content, content_type="application/pdf", headers=headers)


class ServiceForm(forms.ModelForm):  # type: ignore[type-arg]  # made generic by the subclass's Meta
    """A form whose values a service takes. What it refused stands there as an error, with all that was typed."""

    refusal: ClassVar[DomainError | None] = None

    def clean(self) -> dict[str, Any]:
        """Say what the service said."""
        cleaned = super().clean() or self.cleaned_data
        if self.refusal is not None:
            self.add_error(None, self.refusal.detail)
        return cleaned


def _one_time_id() -> forms.CharField:
    """A name for this one rendering of a form."""
    return forms.CharField(
        required=False, max_length=64, label="", widget=forms.HiddenInput, initial=partial(secrets.token_urlsafe, 18)
    )


class OnceActionForm(ActionForm):
    """What is chosen to do to a list, with a name for this one rendering of it."""

    once = _one_time_id()


class OnceForm(BaseDialogForm):
    """A dialog that does its deed once for each time that it was opened, however often it is sent."""

    once = _one_time_id()


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
