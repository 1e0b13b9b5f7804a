"""Every address of the shop on one screen."""

from django.urls import URLPattern, URLResolver, include, path, register_converter
from django.urls.converters import StringConverter
from django.urls.resolvers import RoutePattern
from django.views.generic import RedirectView

from accounts.views import AddressViewSet, MeView, WebsocketTicketView
from catalog.views import CategoryTreeView, ProductViewSet
from orders.models import NUMBER_PATTERN
from orders.views import OrderViewSet, StripeWebhookView
from vibecode.api import ConfigView, healthz, readyz


class Sku(StringConverter):
    """Whatever may be a SKU in either case; all else is a 404 without a query."""

    regex = "[A-Za-z0-9][A-Za-z0-9._-]{0,39}"


class OrderNumber(StringConverter):
    """An order's number."""

    regex = NUMBER_PATTERN


class RefundReference(StringConverter):
    """A refund's name: its order's number, and which one it is."""

    regex = NUMBER_PATTERN + "-R[1-9][0-9]{0,5}"


class Id(StringConverter):
    """A row's id that PostgreSQL can hold."""

    regex = "[1-9][0-9]{0,17}"


register_converter(Sku, "sku")
register_converter(OrderNumber, "order")
register_converter(RefundReference, "refund")
register_converter(Id, "id")

products, orders, addresses = ProductViewSet, OrderViewSet, AddressViewSet
api: list[URLPattern | URLResolver] = [
    path("config", ConfigView.as_view()),
    path("products", products.as_view({"get": "list", "post": "create"})),
    path(
        "products/<sku:sku>",
        products.as_view({"get": "retrieve", "patch": "partial_update", "delete": "destroy"}),
    ),
    path("products/<sku:sku>/stock", products.as_view({"post": "stock"})),
    path("products/<sku:sku>/images", products.as_view({"post": "images"})),
    path("products/<sku:sku>/images/<id:image_id>/complete", products.as_view({"post": "complete_image"})),
    path("categories", CategoryTreeView.as_view()),
    path("orders", orders.as_view({"get": "list", "post": "create"})),
    path("orders/<order:number>", orders.as_view({"get": "retrieve"})),
    path("orders/<order:number>/timeline", orders.as_view({"get": "timeline"})),
    path("orders/<order:number>/cancel", orders.as_view({"post": "cancel"})),
    path("orders/<order:number>/shipments", orders.as_view({"get": "shipments", "post": "ship"})),
    path("orders/<order:number>/delivery", orders.as_view({"post": "delivery"})),
    path("orders/<order:number>/refunds", orders.as_view({"get": "refunds", "post": "refund"})),
    path("orders/<order:number>/refunds/<refund:refund>/approve", orders.as_view({"post": "approve"})),
    path("orders/<order:number>/refunds/<refund:refund>/reject", orders.as_view({"post": "reject"})),
    path("orders/<order:number>/returns", orders.as_view({"post": "returns"})),
    path("orders/<order:number>/notes", orders.as_view({"get": "notes", "post": "add_note"})),
    path("payments/stripe/webhook", StripeWebhookView.as_view()),
    path("me", MeView.as_view()),
    path("me/addresses", addresses.as_view({"get": "list", "post": "create"})),
    path(
        "me/addresses/<id:pk>",
        addresses.as_view({"get": "retrieve", "patch": "partial_update", "delete": "destroy"}),
    ),
    path("me/websocket-tickets", WebsocketTicketView.as_view()),
]


def _later(route: str, module: str, *, name: str | None = None) -> URLResolver:
    """What include() does, but the module is loaded when an address under it is asked for: both are slow to import."""
    return URLResolver(RoutePattern(route), module, app_name=name, namespace=name)


urlpatterns: list[URLPattern | URLResolver] = [
    path("", RedirectView.as_view(pattern_name="docs")),
    path("healthz", healthz),
    path("readyz", readyz),
    path("api/v1/", include(api)),
    _later("api/", "vibecode.docs_urls"),
    _later("admin/", "accounts.sign_in"),
    _later("admin/", "vibecode.admin_urls", name="admin"),
]

handler400 = "vibecode.problems.bad_request"
handler403 = "vibecode.problems.forbidden"
handler404 = "vibecode.problems.not_found"
handler500 = "vibecode.problems.server_error"
