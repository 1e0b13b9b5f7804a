"""The audit trail follows long work, and the facts that somebody sends again."""

from django.db import migrations

from vibecode.tracking import INSERT, UPDATE, track


class Migration(migrations.Migration):
    atomic = False  # one table locked at a time

    dependencies = [("vibecode", "0004_audit_trail")]

    operations = [
        track("vibecode_job", "kind", "state", "asked_by", kind="vibecode.job", name="kind", deeds=[INSERT, UPDATE]),
        # Staff and commands alone set it anew: they send the fact again.
        track("vibecode_outboxevent", "queued_at", kind="vibecode.outboxevent", name="subject", deeds=[UPDATE]),
    ]
