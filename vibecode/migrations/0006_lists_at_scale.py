"""The indexes of the lists of the outbox and of the audit trail, made beside running writers."""

from django.db import migrations, models

from vibecode.indexing import BuildIndex


class Migration(migrations.Migration):
    atomic = False

    dependencies = [
        ('vibecode', '0005_audit'),
    ]

    operations = [
        BuildIndex(
            model_name='outboxevent',
            index=models.Index(fields=['detail_type', '-id'], name='outbox_by_type'),
        ),
        BuildIndex(
            model_name='change',
            index=models.Index(condition=models.Q(('deed', 'update'), _negated=True), fields=['deed', '-at', '-id'], name='change_by_deed'),
        ),
    ]
