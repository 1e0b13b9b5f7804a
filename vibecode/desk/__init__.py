"""What every page of the admin has in common. Called by each app's admin."""

from vibecode.desk.days import DayFilter
from vibecode.desk.deeds import (
    OnceForm,
    ReasonForm,
    ServiceForm,
    actor_of,
    answer_json,
    answer_pdf,
    begin_at_list,
    dialog_action,
    id_of,
)
from vibecode.desk.pages import ReadOnlyAdmin, ReadOnlyInline, ShopAdmin, refused
from vibecode.desk.words import figure, label, link_to, link_to_list, money, name_of, over

__all__ = [
    "DayFilter",
    "OnceForm",
    "ReadOnlyAdmin",
    "ReadOnlyInline",
    "ReasonForm",
    "ServiceForm",
    "ShopAdmin",
    "actor_of",
    "answer_json",
    "answer_pdf",
    "begin_at_list",
    "dialog_action",
    "figure",
    "id_of",
    "label",
    "link_to",
    "link_to_list",
    "money",
    "name_of",
    "over",
    "refused",
]
