"""The audit trail follows orders and their money; staff and admin may read it. What people typed is no part of it."""

from django.apps import apps as registry
from django.contrib.auth.management import create_permissions
from django.db import migrations

from vibecode.tracking import DELETE, UPDATE, track

LINE = "SELECT id, number FROM orders_order WHERE id = ($1 ->> 'order_id')::bigint"
REFUND = "SELECT order_id, reference FROM orders_payment WHERE id = ($1 ->> 'payment_id')::bigint"


def let_read(apps, schema_editor):
    # Django makes permissions only after the last migration.
    create_permissions(
        registry.get_app_config("vibecode"), verbosity=0, using=schema_editor.connection.alias, apps=apps
    )
    may = apps.get_model("auth", "Permission").objects.filter(
        content_type__app_label="vibecode", codename__endswith="_change"
    )
    Group = apps.get_model("auth", "Group")
    Group.objects.get(name="admin").permissions.add(*may)
    Group.objects.get(name="staff").permissions.add(*may.filter(codename="view_change"))


def let_nobody_read(apps, schema_editor):
    apps.get_model("auth", "Permission").objects.filter(
        content_type__app_label="vibecode", codename__endswith="_change"
    ).delete()


class Migration(migrations.Migration):
    atomic = False  # one table locked at a time

    dependencies = [
        ("orders", "0010_figures"),
        ("accounts", "0002_audit"),
        ("catalog", "0004_audit"),
        ("vibecode", "0004_audit_trail"),
    ]

    operations = [
        # That an order was placed is its timeline's first entry.
        track(
            "orders_order", "number", "user_id", "status", "payment_status", "fulfilment_status", "given_up_at",
            "currency", "subtotal", "shipping_total", "tax_total", "total",
            kind="orders.order", name="number", deeds=[UPDATE, DELETE],
        ),
        # What was bought, and for how much; what becomes of the units is told by parcels and refunds.
        track(
            "orders_orderline", "sku", "name", "product_id", "unit_price", "quantity",
            kind="orders.orderline", deeds=[UPDATE, DELETE], page=("orders.order", "order_id"), look_up=LINE,
        ),
        track(
            "orders_payment", "provider", "reference", "currency", "amount", "state", "captured", "refunded", "proposed",
            kind="orders.payment", name="reference", page=("orders.order", "order_id"),
        ),
        track(
            "orders_refund", "reference", "amount", "state", "actor", "approved_by",
            kind="orders.refund", name="reference", page=("orders.order", ""), look_up=REFUND,
        ),
        migrations.RunPython(let_read, let_nobody_read),
    ]
