"""The desk's door: staff sign in through the OpenID provider, and out of it again. Addresses before the admin's own.

Nothing here knows a password; where they are taken, the admin's own form does it (vibecode.admin_site).
"""

from typing import Any
from urllib.parse import urljoin

import structlog
from django.conf import settings
from django.contrib import admin
from django.contrib.auth import login, logout
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import path, reverse
from django.utils.http import url_has_allowed_host_and_scheme
from django.views.decorators.cache import never_cache
from django.views.decorators.csp import csp_override
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from accounts import openid
from accounts.services import admit_staff
from vibecode import sessions
from vibecode.errors import Denied
from vibecode.observability import note

log = structlog.stdlib.get_logger("accounts.sign_in")

AT_PROVIDER = "at_provider"  # in the session: the provider has one too

# What is told to whom nobody was signed in: the status, a title, a sentence.
TOLD: dict[type[openid.SignInFailed], tuple[int, str, str]] = {
    openid.ProviderAway: (
        503,
        "The sign-in service does not answer",
        "Nobody can sign in until it does. Try again in a minute; whoever is signed in already can go on working.",
    ),
    openid.Declined: (
        403,
        "You were not signed in",
        "The sign-in page sent you back without signing you in: it was left, or it refused.",
    ),
    openid.NotBegunHere: (
        400,
        "This sign-in is over",
        "It was begun in another browser or too long ago, or it is finished already. Begin a new one.",
    ),
    openid.Unproven: (
        400,
        "The sign-in could not be verified",
        "What the sign-in service answered did not pass our checks. Try again; if this comes back, say so.",
    ),
}


@require_http_methods(["GET", "POST"])
@never_cache
def begin(request: HttpRequest) -> HttpResponse:
    """Send the browser to the provider's sign-in page, by our form alone: what has begun is a row in the database.

    Who follows a link here, or comes back in their history, gets the page with the form.
    """
    if not settings.OIDC_ISSUER:
        raise Http404
    if request.method == "GET":
        return redirect(reverse("admin:login", query={"next": _wanted(request)}))
    try:
        return redirect(openid.begin(request, callback=_public("staff-sign-in-callback"), then=_wanted(request)))
    except openid.SignInFailed as failure:
        return _failed(request, failure, _wanted(request))


@require_GET
@never_cache
def callback(request: HttpRequest) -> HttpResponse:
    """The browser comes back from the provider: sign in whom it proves, with the groups that they have now."""
    if not settings.OIDC_ISSUER:
        raise Http404
    then = openid.wanted(request)
    try:
        if "error" in request.GET:  # anybody can write this address: what it says is neither shown nor believed
            raise openid.Declined("the provider sent an error")
        claims = openid.finish(request)
        note(user=claims["sub"])
        user = admit_staff(claims=claims)
    except openid.SignInFailed as failure:
        return _failed(request, failure, then)
    except Denied as refusal:
        log.warning("staff sign-in refused", reason=refusal.code)
        email = str(claims.get("email", ""))
        return _notice(request, 403, refusal.title, refusal.detail, email=email, refused=True, next=then)
    request.session.flush()
    login(request, user)
    sessions.begin(request.session)
    request.session[AT_PROVIDER] = True
    log.info("staff signed in")
    return redirect(then)


@require_POST
@never_cache
def sign_out(request: HttpRequest) -> HttpResponse:
    """End the session here, and the provider's: also for whom it knows and we refused."""
    at_provider = bool(settings.OIDC_ISSUER) and (
        request.session.get(AT_PROVIDER, False) or not request.user.is_authenticated
    )
    logout(request)
    try:
        address = openid.sign_out_address(_public("staff-signed-out")) if at_provider else None
    except openid.SignInFailed as failure:
        log.error("the provider's session goes on", reason=str(failure))
        return _notice(
            request,
            503,
            "You are signed out here, but not everywhere",
            "The sign-in service does not answer, so it still knows you. On a computer that others use, close the "
            "browser.",
        )
    return redirect(address or "staff-signed-out")


@require_GET
@never_cache
def signed_out(request: HttpRequest) -> HttpResponse:
    """Where signing out ends. It leads nowhere by itself: nobody is signed in again by accident."""
    if request.user.is_authenticated:
        return redirect("admin:index")
    return _notice(request, 200, "You are signed out", "Until next time.", signed_out=True)


def _wanted(request: HttpRequest) -> str:
    """The page of the desk to come back to; its index for every other address."""
    index, wanted = reverse("admin:index"), request.POST.get("next", request.GET.get("next", ""))
    ours = url_has_allowed_host_and_scheme(wanted, {request.get_host()}, require_https=request.is_secure())
    return wanted if ours and wanted.startswith(index) and not wanted.startswith(reverse("staff-sign-in")) else index


def _public(name: str) -> str:
    """A page of ours as the provider knows it."""
    return urljoin(settings.PUBLIC_URL, reverse(name))


def _failed(request: HttpRequest, failure: openid.SignInFailed, then: str) -> HttpResponse:
    log.warning("staff sign-in failed", reason=str(failure), kind=type(failure).__name__)
    status, title, sentence = TOLD[type(failure)]
    page = _notice(request, status, title, sentence, next=then)
    if status == 503:
        page["Retry-After"] = "60"
    return page


def _notice(request: HttpRequest, status: int, title: str, sentence: str, **more: Any) -> HttpResponse:
    context = {**admin.site.each_context(request), "title": title, "sentence": sentence, **more}
    return _render(request, context, status)


@csp_override(settings.ADMIN_CSP)
def _render(request: HttpRequest, context: dict[str, Any], status: int) -> HttpResponse:
    return render(request, "admin/sign_in_notice.html", context, status=status)


urlpatterns = [
    path("sign-in", begin, name="staff-sign-in"),
    path("sign-in/callback", callback, name="staff-sign-in-callback"),
    path("signed-out", signed_out, name="staff-signed-out"),
    path("logout/", sign_out),  # the admin's own address of it, in its menu
]
