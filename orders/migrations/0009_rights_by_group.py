"""What the six groups may open in the admin; what they may do there and in the API says vibecode.rights."""

from django.apps import apps as registry
from django.contrib.auth.management import create_permissions
from django.db import migrations

APPS = ("vibecode", "accounts", "catalog", "orders")
GOODS = {"view": ("product", "productimage", "category", "stock", "stockmovement")}
ORDERS = {"view": (
    "order", "orderline", "ordernote", "timelineentry", "payment", "refund", "refundline", "shipment", "shipmentline",
    "letter", "user", "address",
)}  # fmt: skip
CATALOGUE = {"add": ("product", "productimage", "category"), "change": ("product", "productimage", "category"),
             "delete": ("productimage", "category")}  # fmt: skip
STOCK = {"change": ("stock",)}
MACHINERY = {"view": ("outboxevent", "idempotencykey"), "change": ("outboxevent",)}
GROUPS = {
    "support": (GOODS, ORDERS),
    "warehouse": (GOODS, ORDERS, STOCK),
    "catalogue": (GOODS, CATALOGUE),
    "finance": (GOODS, ORDERS),
    "staff": (GOODS, ORDERS, CATALOGUE, STOCK, MACHINERY),
}
NEW = ("support", "warehouse", "catalogue", "finance")


def make_groups(apps, schema_editor):
    for label in APPS:  # Django makes permissions only after the last migration
        create_permissions(registry.get_app_config(label), verbosity=0, using=schema_editor.connection.alias, apps=apps)
    Group = apps.get_model("auth", "Group")
    ours = apps.get_model("auth", "Permission").objects.filter(content_type__app_label__in=APPS)
    for name, tables in GROUPS.items():
        group, _ = Group.objects.get_or_create(name=name)
        names = {f"{verb}_{model}" for table in tables for verb, models in table.items() for model in models}
        group.permissions.set(ours.filter(codename__in=names))
    Group.objects.get(name="admin").permissions.add(*ours)


def drop_groups(apps, schema_editor):
    apps.get_model("auth", "Group").objects.filter(name__in=NEW).delete()


class Migration(migrations.Migration):
    dependencies = [("orders", "0008_rules")]

    operations = [migrations.RunPython(make_groups, drop_groups)]
