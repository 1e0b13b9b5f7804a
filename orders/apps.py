"""The app as the admin calls it."""

from django.apps import AppConfig


class OrdersConfig(AppConfig):
    """Sales."""

    name = "orders"
    verbose_name = "Sales"
