"""How a list of the admin stays cheap, however long the table: counted so far, paged so far, rows by their keys.

Called by the desk's pages and by admins. What can be promised of a list, and what not, stands in docs/scale.md.
"""

from typing import Any, cast

from django.core.paginator import Paginator
from django.db import models
from django.db.models import Value
from django.http import HttpRequest
from django.utils.functional import cached_property
from unfold.views import ChangeList

MOST_LISTED = 10_000  # rows that a list counts and pages through; whoever looks for one narrows it before


class MoreThan(int):
    """A number that nobody counted beyond; wherever a page shows it, it says so."""

    def __str__(self) -> str:
        return f"more than {int(self):,}"


class ShortPaginator(Paginator):  # type: ignore[type-arg]  # of whatever the list holds
    """Django's, that counts and pages no further than MOST_LISTED."""

    template_name = "vibecode/pagination.html"

    @cached_property
    def count(self) -> int:
        """How many there are, as far as it matters: an index alone answers."""
        listed = cast("models.QuerySet[Any]", self.object_list)
        rows = listed.order_by().annotate(one=Value(1)).values("one")
        found: int = rows[: MOST_LISTED + 1].count()
        return MoreThan(MOST_LISTED) if found > MOST_LISTED else found

    @property
    def is_cut(self) -> bool:
        """Whether there are more than it pages through."""
        return isinstance(self.count, MoreThan)


class ShortChangeList(ChangeList):
    """Unfold's, that looks up the keys of a page first: what a row shows is worked out for these rows alone."""

    def get_results(self, request: HttpRequest) -> None:
        """One statement counts, one finds the page, one reads its rows."""
        super().get_results(request)
        page: models.QuerySet[Any] = vars(self)["result_list"]
        keys = list(page.values_list("pk", flat=True))
        rows: dict[Any, Any] = self.apply_select_related(self.root_queryset).in_bulk(keys) if keys else {}
        self.result_list = [rows[key] for key in keys if key in rows]
