"""How money, links, states and names look in the admin. Called by its pages."""

from collections.abc import Mapping
from decimal import Decimal

from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from unfold.utils import display_for_label

SIGNS = {"GBP": "£", "EUR": "€", "USD": "$"}


def money(amount: Decimal | None, currency: str) -> str:
    """An amount as people write it: £1,234.50, or with the code of a currency that has no sign here."""
    if amount is None:
        return "-"
    sign = SIGNS.get(currency)
    return f"{sign}{amount:,.2f}" if sign else f"{currency} {amount:,.2f}"


def figure(text: object) -> SafeString:
    """A number, a sum or a moment, as they stand under each other in columns."""
    return format_html('<span class="shop-number">{}</span>', text)


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
