"""How the admin looks and what its sidebar holds: the UNFOLD of settings.py, and what unfold calls from it."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from django.http import HttpRequest
from django.templatetags.static import static
from django.urls import reverse_lazy


@dataclass(frozen=True, slots=True)
class Page:
    """One page of the admin: what it is called, its icon (Material Symbols, served by ourselves), its model's label.

    It is the model's list, narrowed to its ``saved`` view, or the ``view`` by that name; who may see the model sees it.
    """

    title: str
    icon: str
    model: str
    view: str = ""
    saved: str = ""


# The sidebar and the index, in the order of a working day. A new model of the admin gets its line here.
SECTIONS: dict[str, tuple[Page, ...]] = {
    "Sales": (
        Page("Orders", "receipt_long", "orders.order"),
        Page("To ship", "local_shipping", "orders.order", saved="to-ship"),
        Page("Needs someone", "person_alert", "orders.order", saved="needs-someone"),
    ),
    "Catalogue": (
        Page("Products", "sell", "catalog.product"),
        Page("Categories", "account_tree", "catalog.category"),
        Page("Stock", "inventory_2", "catalog.stock"),
        Page("Stock ledger", "history", "catalog.stockmovement"),
    ),
    "Operations": (Page("Imports and exports", "swap_vert", "vibecode.job"),),
    "People": (
        Page("Users", "group", "accounts.user"),
        Page("Addresses", "home_pin", "accounts.address"),
        Page("Groups", "badge", "auth.group"),
    ),
    "Machinery": (
        Page("Outbox", "outbox", "vibecode.outboxevent"),
        Page("Dead letters", "mark_email_unread", "vibecode.outboxevent", view="vibecode_dead_letters"),
        Page("Idempotency keys", "key", "vibecode.idempotencykey"),
        Page("Audit trail", "manage_history", "vibecode.change"),
    ),
}


def may_see(model: str) -> Callable[[HttpRequest], bool]:
    """Whether somebody sees a list: what its own ModelAdmin says, written once."""

    def answer(request: HttpRequest) -> bool:
        from django.apps import apps
        from django.contrib import admin

        return bool(admin.site.get_model_admin(apps.get_model(model)).has_view_permission(request))

    return answer


def is_open(names: str, saved: str = "") -> Callable[[HttpRequest], bool]:
    """Whether somebody is at one of the pages whose names begin so: by name, for some addresses stand inside others.

    Of the entries for one list, it is the one of the saved view that is open.
    """

    def answer(request: HttpRequest) -> bool:
        match = request.resolver_match
        here = match is not None and (match.url_name or "").startswith(names)
        return here and request.GET.get("view", "") == saved

    return answer


def environment(_: HttpRequest) -> list[str]:
    """The stage, at the top of every page, in the colour of how careful to be."""
    from django.conf import settings

    colours = {"local": "info", "dev": "success", "staging": "warning", "production": "danger"}
    return [settings.STAGE.capitalize(), colours[settings.STAGE]]


def logo(_: HttpRequest) -> str:
    """Our mark."""
    return static("vibecode/logo.svg")


def drafts(request: HttpRequest) -> str:
    """The script that keeps what somebody typed, told whose it is: nobody else finds it again."""
    return static("vibecode/drafts.js") + (f"?for={request.user.pk}" if request.user.pk else "")


def _entry(page: Page) -> dict[str, Any]:
    model = page.model.replace(".", "_")
    query = {"view": page.saved} if page.saved else None
    return {
        "title": page.title,
        "icon": page.icon,
        "link": reverse_lazy(f"admin:{page.view or f'{model}_changelist'}", query=query),
        "active": is_open(page.view or f"{model}_", page.saved),
        "permission": may_see(page.model),
    }


UNFOLD: dict[str, Any] = {
    "SITE_TITLE": "Vibecode",
    "SITE_HEADER": "Vibecode",
    "SITE_ICON": logo,
    "SITE_FAVICONS": [{"rel": "icon", "type": "image/svg+xml", "sizes": "any", "href": logo}],
    "SITE_URL": None,
    "SHOW_VIEW_ON_SITE": False,
    "SHOW_BACK_BUTTON": True,
    "ENVIRONMENT": environment,
    "BORDER_RADIUS": "8px",
    "STYLES": [lambda _: static("vibecode/admin.css")],
    "SCRIPTS": [drafts, lambda _: static("vibecode/keyboard.js")],
    # Instead of "Change password": passwords live in Cognito.
    "ACCOUNT": {"navigation": [{"title": "API documentation", "link": reverse_lazy("docs")}]},
    "LOGIN": {"form": "accounts.forms.SignInForm"},
    "COLORS": {
        # Teal, a step darker than Tailwind's from 600 on: white on 600 has a contrast of 5.4.
        "primary": {
            "50": "oklch(98.4% .014 180.72)",
            "100": "oklch(95.3% .051 180.80)",
            "200": "oklch(91% .096 180.43)",
            "300": "oklch(85.5% .138 181.07)",
            "400": "oklch(77.7% .152 181.91)",
            "500": "oklch(70.4% .14 182.50)",
            "600": "oklch(51.1% .096 186.39)",
            "700": "oklch(43.7% .078 188.22)",
            "800": "oklch(38.6% .063 188.42)",
            "900": "oklch(33% .055 190)",
            "950": "oklch(27.7% .046 192.52)",
        }
    },
    # What those see first who may see orders; everybody else has Django's index.
    "DASHBOARD_CALLBACK": "orders.admin.home.home",
    "SIDEBAR": {
        "show_search": True,
        "show_all_applications": False,
        "navigation": [
            {"title": title, "separator": False, "items": [_entry(page) for page in pages]}
            for title, pages in SECTIONS.items()
        ],
    },
}
