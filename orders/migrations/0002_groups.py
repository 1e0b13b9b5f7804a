"""What the Cognito groups may do in the admin. It stands in the top app, which sees all models."""

from django.apps import apps as registry
from django.contrib.auth.management import create_permissions
from django.db import migrations

APPS = ("vibecode", "accounts", "catalog", "orders")
STAFF = {
    "view": ("order", "orderline", "timelineentry", "product", "productimage", "category", "stock", "stockmovement",
             "user", "address", "outboxevent", "idempotencykey"),
    "add": ("product", "productimage", "category"),
    "change": ("order", "product", "productimage", "category", "stock"),
    "delete": ("productimage", "category"),
}


def make_groups(apps, schema_editor):
    for label in APPS:  # Django makes permissions only after the last migration
        create_permissions(registry.get_app_config(label), verbosity=0, using=schema_editor.connection.alias, apps=apps)
    Group = apps.get_model("auth", "Group")
    Permission = apps.get_model("auth", "Permission")
    ours = Permission.objects.filter(content_type__app_label__in=APPS)
    staff, _ = Group.objects.get_or_create(name="staff")
    staff.permissions.set(
        ours.filter(codename__in=[f"{verb}_{model}" for verb, models in STAFF.items() for model in models])
    )
    admin, _ = Group.objects.get_or_create(name="admin")
    admin.permissions.set(ours)


def drop_groups(apps, schema_editor):
    apps.get_model("auth", "Group").objects.filter(name__in=["staff", "admin"]).delete()


class Migration(migrations.Migration):
    dependencies = [
        ("orders", "0001_initial"),
        ("catalog", "0002_ledger_rules"),
        ("accounts", "0001_initial"),
        ("vibecode", "0001_initial"),
        ("contenttypes", "0002_remove_content_type_name"),
        ("auth", "0012_alter_user_first_name_max_length"),
    ]

    operations = [migrations.RunPython(make_groups, drop_groups)]
