"""Every page of a list of the admin: plain, last, by each filter's choices, each sorting, each kind of search.

It asks the lists themselves, so that a new list, filter or column is covered the day it is made.
"""

from collections.abc import Iterator, Mapping
from datetime import date, timedelta
from typing import Any

from django.contrib import admin
from django.contrib.admin import filters
from django.utils.formats import localize_input
from unfold.contrib.filters.admin import AutocompleteSelectFilter, RangeNumericFilter, TextFilter

from catalog.models import Product
from orders.models import Order
from orders.status import OrderStatus
from vibecode.desk import DayFilter
from vibecode.models import IdempotencyKey, OutboxEvent

type Query = dict[str, str]

# What people look for in each list that has a search: what is rare, what is common, what is not there.
SEARCHES: Mapping[str, list[str]] = {
    "orders.order": [
        "{order}", "{order_begins}", "ORD-", "{email}", "{email_begins}", "grace hopper", "example", "wang.xiaoming",
        "王小明", "田中", "Zoë", "{sku}", "{rare_sku}", "a", "nobody-of-this-name",
    ],
    "catalog.product": ["{sku}", "VB-", "lantern", "red", "cotton bunting", "zzz-nothing", "a", "Ünïcode"],
    "catalog.category": ["kitchen", "zzz-nothing"],
    "catalog.stock": ["{sku}", "vb-", "lantern", "zzz-nothing"],
    "catalog.stockmovement": [
        "{sku}", "{rare_sku}", "{order}", "stocktake", "shelf 7", "seed-colleague-2", "workflow", "a", "zzz-nothing",
    ],
    "accounts.user": ["{email}", "{sub}", "ada lovelace", "example", "王小明", "Ł", "a", "zzz-nothing"],
    "accounts.address": ["london", "Gdańsk", "high street", "{email}", "hopper", "ab", "zzz-nothing"],
    "auth.group": ["staff"],
    "vibecode.outboxevent": ["{order}", "{new_order}", "{event}", "zzz-nothing"],
    "vibecode.idempotencykey": ["{key}", "/api/v1/orders", "7", "zzz-nothing"],
    "vibecode.job": ["prices-1", "zzz-nothing"],
    "vibecode.change": ["{order}", "ORD-", "{sku}", "colleague1", "seed-colleague-1", "workflow", "a", "zzz-nothing"],
}  # fmt: skip
# What is written into a filter that offers no choices, by its parameter.
WRITTEN: Mapping[str, list[str]] = {
    "country": ["GB", "PL", "ZZ"],
    "type": ["order created", "order refunded", "Refund Failed", "No Such Fact"],
    "total": ["0.5-3", "20-21.5", "60-", "-9999999", "9999-"],
    "price": ["0.5-1", "5-6", "30-", "9999-"],
}


def queries_of(model_admin: "admin.ModelAdmin[Any]", plain: Any, known: Mapping[str, str]) -> Iterator[Query]:
    """The queries of all its pages; ``plain`` is the answer to none, ``known`` what to look for."""
    cl = plain.context["cl"]
    yield {}
    yield {"p": str(cl.paginator.num_pages)}
    for spec in cl.filter_specs:
        yield from _choices(spec, known)
    for place, column in enumerate(cl.list_display):
        if cl.get_ordering_field(column) and (cl.sortable_by is None or column in cl.sortable_by):
            yield from ({"o": f"{sign}{place}"} for sign in ("", "-"))
            yield {"o": f"{place}", "p": str(cl.paginator.num_pages)}
    if model_admin.search_fields:
        yield from ({"q": words.format(**known)} for words in SEARCHES[model_admin.opts.label_lower])


def _choices(spec: Any, known: Mapping[str, str]) -> Iterator[Query]:
    match spec:
        case DayFilter():
            yield from (_span(spec, *map(localize_input, days)) for days in _days())
        case RangeNumericFilter():
            yield from (_span(spec, *span.split("-")) for span in WRITTEN[spec.parameter_name])
        case AutocompleteSelectFilter():
            yield from ({spec.lookup_kwarg: known[name]} for name in ("product", "rare_product"))
        case TextFilter():
            yield from ({spec.parameter_name: text} for text in WRITTEN[spec.parameter_name])
        case filters.SimpleListFilter():
            yield from ({str(spec.parameter_name): str(value)} for value, _ in spec.lookup_choices)
        case filters.ChoicesFieldListFilter():
            yield from ({str(spec.lookup_kwarg): str(value)} for value, _ in spec.field.flatchoices)
        case filters.BooleanFieldListFilter():
            yield from ({str(spec.lookup_kwarg): value} for value in "10")
        case filters.RelatedFieldListFilter():
            yield from ({str(spec.lookup_kwarg): str(value)} for value, _ in spec.lookup_choices[:5])
        case _:
            raise AssertionError(f"{type(spec).__name__}: say in tests/scale/pages.py what can be chosen in it")


def _span(spec: Any, first: str, last: str) -> Query:
    return {f"{spec.parameter_name}_from": first, f"{spec.parameter_name}_to": last}


def _days() -> list[tuple[date, date]]:
    """The newest day, an old one, an old half of a year, all, and a time before there was a shop."""
    today = date.today()  # noqa: DTZ011 -- any day near will do
    ago = [(0, 0), (400, 400), (720, 540), (800, 0), (4000, 3900)]
    return [(today - timedelta(days=first), today - timedelta(days=last)) for first, last in ago]


def known_things() -> dict[str, str]:
    """Something of each kind to look for: the newest, the oldest, the best and the worst seller."""
    middle = Order.objects.select_related("user").exclude(user__email="").order_by("pk")[1234]
    goods = Product.objects.filter(sku__startswith="VB-").order_by("sku")
    event = OutboxEvent.objects.order_by("pk").first()
    key = IdempotencyKey.objects.order_by("pk").first()
    assert event is not None
    assert key is not None
    first, last = goods[0], goods.reverse()[0]
    return {
        "order": middle.number, "order_begins": middle.number[:14], "email": middle.user.email,
        "new_order": Order.objects.order_by("-pk")[0].number, "email_begins": middle.user.email.partition("@")[0],
        "sku": first.sku, "rare_sku": last.sku, "product": str(first.pk), "rare_product": str(last.pk),
        "sub": middle.user.cognito_sub, "event": str(event.event_id), "key": key.key,
    }  # fmt: skip


def api_lists() -> list[str]:
    """Addresses of the API's lists for staff, to be filled with what is known."""
    orders = ["", "?pageSize=200", "?user={sub}", "?createdBefore=2010-01-01", "?createdAfter=2010-01-01"]
    orders += [f"?status={status}" for status in OrderStatus]
    words = ("{order}", "{order_begins}", "{email}", "{sku}", "{rare_sku}", "grace hopper", "nobody", "王小明")
    orders += [f"?search={each}" for each in words]
    products = [
        "",
        "?ordering=price",
        "?ordering=-price",
        "?ordering=name",
        "?inStock=true",
        "?minPrice=20&maxPrice=21",
    ]
    products += ["?minPrice=20&maxPrice=21", "?category=seed-kitchen", "?category=seed-bath-mini", "?category=none"]
    products += [f"?search={each}" for each in ("{sku}", "lantern", "cotton bunting", "zzz", "teapot&ordering=price")]
    return [f"/orders{query}" for query in orders] + [f"/products{query}" for query in products]
