"""The staff's site: unfold's skin under the one Content-Security-Policy that it needs. Called by Django's admin."""

from collections.abc import Callable
from functools import wraps
from typing import Any
from urllib.parse import urlsplit

from django.conf import settings
from django.contrib import admin, messages
from django.contrib.admin import apps
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import reverse
from django.views.decorators.csp import csp_override
from unfold.sites import UnfoldAdminSite

from vibecode.acting import act_as
from vibecode.unfold import SECTIONS


class ShopAdminSite(UnfoldAdminSite):  # type: ignore[misc]  # unfold ships no types
    """django.contrib.admin in unfold's skin."""

    index_title = "Shop"

    def admin_view(self, view: Callable[..., Any], cacheable: bool = False) -> Callable[..., Any]:
        """A page for staff, with the policy that Alpine needs. It keeps their session alive."""
        from vibecode import sessions  # this module is loaded at the start, for whatever is asked

        guarded: Callable[..., Any] = csp_override(settings.ADMIN_CSP)(super().admin_view(view, cacheable))

        @wraps(guarded)
        def kept(request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
            if request.user.is_authenticated:
                sessions.keep(request.session)
                act_as(request.user.get_username())
            elif "HX-Request" in request.headers:
                return self._leave_dialog(request)
            return guarded(request, *args, **kwargs)

        return kept

    def _leave_dialog(self, request: HttpRequest) -> HttpResponse:
        """The session ended under a dialog: the whole window goes to the sign-in page, and comes back from there."""
        page = urlsplit(request.headers.get("HX-Current-URL", "")).path
        return HttpResponse(headers={"HX-Redirect": reverse(f"{self.name}:login", query={"next": page})})

    def login(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        """The sign-in page, under the same policy: the way to the provider, and the form where passwords are taken."""
        if request.method == "POST" and not settings.STAFF_PASSWORDS:
            raise PermissionDenied("Passwords are taken in local mode only.")
        context = {
            **(extra_context or {}),
            "local": settings.LOCAL,
            "passwords": settings.STAFF_PASSWORDS,
            "provider": settings.OIDC_ISSUER,
        }
        page: HttpResponse = csp_override(settings.ADMIN_CSP)(super().login)(request, context)
        if request.method == "POST" and request.user.is_authenticated:
            from vibecode import sessions

            sessions.begin(request.session)
        return page

    def password_change(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:  # noqa: ARG002 -- the framework's signature
        """There is none: passwords live in Cognito alone."""
        messages.info(request, "Passwords are kept by Cognito; they cannot be changed here.")
        return redirect(reverse(f"{self.name}:index"))

    def get_app_list(self, request: HttpRequest, app_label: str | None = None) -> list[dict[str, Any]]:
        """The index by the sidebar's sections instead of by Django's apps."""
        apps_of_django: list[dict[str, Any]] = super().get_app_list(request, app_label)
        if app_label:
            return apps_of_django
        entries = {
            f"{app['app_label']}.{entry['object_name']}".lower(): entry
            for app in apps_of_django
            for entry in app["models"]
        }
        sections = [
            {
                "name": title,
                "app_label": title.lower(),
                "app_url": reverse(f"{self.name}:index"),
                "has_module_perms": True,
                "models": [
                    entries[page.model]
                    | {"name": page.title}
                    | ({"admin_url": reverse(f"{self.name}:{page.view}"), "add_url": None} if page.view else {})
                    for page in pages
                    if page.model in entries and not page.saved
                ],
            }
            for title, pages in SECTIONS.items()
        ]
        return [section for section in sections if section["models"]]


class AdminConfig(apps.SimpleAdminConfig):
    """django.contrib.admin with our site as its default one, whose pages are loaded when the first one is asked for."""

    default_site = "vibecode.admin_site.ShopAdminSite"

    def ready(self) -> None:
        """Load the pages now, but not on Lambda: most sandboxes never serve one (see vibecode.admin_urls)."""
        super().ready()
        if not settings.ON_LAMBDA:
            admin.autodiscover()
