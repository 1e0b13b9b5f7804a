"""Orders at the desk. Imported by Django's autodiscover."""

from orders.admin.orders import OrderAdmin

__all__ = ["OrderAdmin"]
