"""What the groups may do with what came since: see the money and the letters, send facts again."""

from django.apps import apps as registry
from django.contrib.auth.management import create_permissions
from django.db import migrations

APPS = ("vibecode", "accounts", "catalog", "orders")
STAFF = ("view_payment", "view_refund", "view_letter", "change_outboxevent")


def extend_groups(apps, schema_editor):
    for label in APPS:  # Django makes permissions only after the last migration
        create_permissions(registry.get_app_config(label), verbosity=0, using=schema_editor.connection.alias, apps=apps)
    Group = apps.get_model("auth", "Group")
    ours = apps.get_model("auth", "Permission").objects.filter(content_type__app_label__in=APPS)
    Group.objects.get(name="staff").permissions.add(*ours.filter(codename__in=STAFF))
    Group.objects.get(name="admin").permissions.add(*ours)


def narrow_groups(apps, schema_editor):
    taken = apps.get_model("auth", "Permission").objects.filter(codename__in=STAFF)
    for group in apps.get_model("auth", "Group").objects.filter(name__in=["staff", "admin"]):
        group.permissions.remove(*taken)


class Migration(migrations.Migration):
    dependencies = [("orders", "0003_payments"), ("vibecode", "0002_relay_and_inbox")]

    operations = [migrations.RunPython(extend_groups, narrow_groups)]
