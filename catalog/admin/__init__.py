"""The catalogue in the admin, all written by catalog.services. Imported by Django's autodiscover: that registers it."""

from catalog.admin import categories, pictures, products, stock

__all__ = ["categories", "pictures", "products", "stock"]
