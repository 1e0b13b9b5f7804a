"""The filter of every list that has moments. Called by the lists."""

from datetime import date, datetime, time, timedelta
from typing import Any

from django import forms
from django.db import models
from django.http import HttpRequest
from django.utils import timezone
from unfold.contrib.filters.admin import RangeDateFilter


class DayFilter(RangeDateFilter):
    """From one day to another, both included, in the shop's zone (unfold compares naive times, and US dates)."""

    def queryset(self, request: HttpRequest, queryset: models.QuerySet[Any]) -> models.QuerySet[Any]:  # noqa: ARG002 -- the framework's signature
        """The rows of those days; a date that is none narrows nothing."""
        return self.within(queryset, self.parameter_name)

    def within(self, queryset: models.QuerySet[Any], column: str) -> models.QuerySet[Any]:
        """The rows whose ``column`` is a moment of those days."""
        first, last = (self._day(f"{self.parameter_name}_{end}") for end in ("from", "to"))
        if first:
            queryset = queryset.filter(**{f"{column}__gte": _midnight(first)})
        if last and last < date.max:
            queryset = queryset.filter(**{f"{column}__lt": _midnight(last + timedelta(days=1))})
        return queryset

    def _day(self, name: str) -> date | None:
        try:
            found: date | None = forms.DateField(required=False).clean(self.used_parameters.get(name))
        except forms.ValidationError:
            return None
        return found


def _midnight(day: date) -> datetime:
    return timezone.make_aware(datetime.combine(day, time.min))
