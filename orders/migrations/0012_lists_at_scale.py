"""The indexes of the desk's list of orders and of its search, made beside running writers."""

from django.conf import settings
from django.db import migrations, models

from vibecode.indexing import BuildIndex, DropIndex


class Migration(migrations.Migration):
    atomic = False

    dependencies = [
        ('catalog', '0005_ledger_at_scale'),
        ('orders', '0011_audit'),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        BuildIndex(
            model_name='order',
            index=models.Index(condition=models.Q(('payment_status', 'paid'), _negated=True), fields=['payment_status', '-created_at', '-id'], name='order_by_payment'),
        ),
        BuildIndex(
            model_name='order',
            index=models.Index(condition=models.Q(('fulfilment_status', 'delivered'), _negated=True), fields=['fulfilment_status', '-created_at', '-id'], name='order_by_fulfilment'),
        ),
        BuildIndex(
            model_name='order',
            index=models.Index(fields=['total', '-created_at', '-id'], name='order_by_total'),
        ),
        BuildIndex(
            model_name='orderline',
            index=models.Index(fields=['sku', '-order'], name='order_line_sku_newest'),
        ),
        DropIndex(
            model_name='orderline',
            name='order_line_sku',
        ),
    ]
