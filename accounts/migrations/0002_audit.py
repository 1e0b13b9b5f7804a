"""The audit trail follows who may come in and who may what: switches, groups and rights, never a name or an address."""

from django.db import migrations

from vibecode.tracking import DELETE, INSERT, UPDATE, track

PERSON = "SELECT id, cognito_sub FROM accounts_user WHERE id = ($1 ->> 'user_id')::bigint"
GROUP = "SELECT id, name FROM auth_group WHERE id = ($1 ->> 'group_id')::bigint"
OF_A_PERSON = {"page": ("accounts.user", "user_id"), "look_up": PERSON, "deeds": [INSERT, DELETE]}


class Migration(migrations.Migration):
    atomic = False  # one table locked at a time

    dependencies = [
        ("accounts", "0001_initial"),
        ("auth", "0012_alter_user_first_name_max_length"),
        ("vibecode", "0004_audit_trail"),
    ]

    operations = [
        track(
            "accounts_user", "is_active", "is_staff", "is_superuser",
            kind="accounts.user", name="cognito_sub", deeds=[UPDATE, DELETE],
        ),
        track("accounts_user_groups", "group_id", kind="accounts.user_groups", **OF_A_PERSON),
        track("accounts_user_user_permissions", "permission_id", kind="accounts.user_user_permissions", **OF_A_PERSON),
        track(
            "auth_group_permissions", "permission_id", kind="auth.group_permissions", deeds=[INSERT, DELETE],
            page=("auth.group", "group_id"), look_up=GROUP,
        ),
    ]
