"""manage.py seed_shop: a shop whose books agree, made once, on a developer's machine only."""

from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import connection

from catalog.models import Product
from orders.models import Order
from orders.seeding import NotHere, Size, seed_shop
from orders.services import audit_figures, audit_stock
from orders.status import OrderStatus


def test_the_books_of_a_seeded_shop_agree(large_shop: Size) -> None:
    assert audit_stock() == []
    assert audit_figures() == []
    assert Order.objects.count() == large_shop.orders
    assert set(Order.objects.values_list("status", flat=True).distinct()) == {*OrderStatus.values} - {"paid"}


def test_every_foreign_key_and_index_is_there_again_and_was_checked(large_shop: Size) -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM pg_constraint WHERE contype = 'f' AND convalidated")
        assert cursor.fetchone()[0] > 30
        cursor.execute("SELECT count(*) FROM pg_constraint WHERE NOT convalidated")
        assert cursor.fetchone()[0] == 0
        cursor.execute("SELECT indexname FROM pg_indexes WHERE schemaname = 'public'")
        names = {name for (name,) in cursor.fetchall()}
    models = (Order, Product)
    assert {index.name for model in models for index in model._meta.indexes} <= names


def test_a_shop_with_orders_is_left_alone(large_shop: Size) -> None:
    with pytest.raises(CommandError, match="has orders already"):
        call_command("seed_shop", orders=10, products=10)

    assert Order.objects.count() == large_shop.orders


def test_orders_are_made_up_on_a_developers_machine_only(large_shop: Size, settings: Any) -> None:
    settings.LOCAL = False

    with pytest.raises(CommandError, match="developer's machine only"):
        call_command("seed_shop", orders=10, products=10)
    with pytest.raises(NotHere):
        seed_shop(size=Size(10, 10, 10))
