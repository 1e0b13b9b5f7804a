"""The indexes of the outbox's list, and of Django's own log of the admin, which has none; made beside running writers."""

from django.contrib.postgres.operations import AddIndexConcurrently, TrigramExtension
from django.db import migrations, models


# The list, newest first; the few entries that are no changes; the history of one thing; the search.
LOG = {
    "admin_log_newest": "(action_time DESC, id DESC)",
    "admin_log_by_deed": "(action_flag, action_time DESC, id DESC) WHERE action_flag <> 2",
    "admin_log_of_object": "(object_id, content_type_id, action_time)",
    "admin_log_trigrams": "USING gin (upper(object_repr) gin_trgm_ops, upper(change_message) gin_trgm_ops)",
}


class Migration(migrations.Migration):
    atomic = False

    dependencies = [
        ('admin', '0003_logentry_add_action_flag_choices'),
        ('vibecode', '0003_jobs'),
    ]

    operations = [
        TrigramExtension(),
        AddIndexConcurrently(
            model_name='outboxevent',
            index=models.Index(fields=['detail_type', '-id'], name='outbox_by_type'),
        ),
        *(
            migrations.RunSQL(f"CREATE INDEX CONCURRENTLY IF NOT EXISTS {name} ON django_admin_log {columns}", f"DROP INDEX CONCURRENTLY IF EXISTS {name}")
            for name, columns in LOG.items()
        ),
    ]
