"""The indexes of the desk's lists of products and of the ledger, made beside running writers."""

import django.contrib.postgres.indexes
import django.db.models.functions.text
from django.db import migrations, models

from vibecode.indexing import BuildIndex, DropIndex


class Migration(migrations.Migration):
    atomic = False

    dependencies = [
        ('catalog', '0004_audit'),
    ]

    operations = [
        BuildIndex(
            model_name='product',
            index=models.Index(fields=['status', '-created_at', '-id'], name='product_by_status'),
        ),
        BuildIndex(
            model_name='product',
            index=models.Index(fields=['name', '-created_at', '-id'], name='product_name_of_all'),
        ),
        BuildIndex(
            model_name='product',
            index=models.Index(fields=['price', '-created_at', '-id'], name='product_price_of_all'),
        ),
        BuildIndex(
            model_name='product',
            index=models.Index(fields=['updated_at', '-created_at', '-id'], name='product_changed'),
        ),
        BuildIndex(
            model_name='stockmovement',
            index=models.Index(fields=['-created_at', '-id'], name='stock_movement_newest'),
        ),
        BuildIndex(
            model_name='stockmovement',
            index=models.Index(fields=['product', '-created_at', '-id'], name='stock_movement_by_product'),
        ),
        BuildIndex(
            model_name='stockmovement',
            index=models.Index(condition=models.Q(('kind__in', ['reserve', 'deduct']), _negated=True), fields=['kind', '-created_at', '-id'], name='stock_movement_by_kind'),
        ),
        BuildIndex(
            model_name='stockmovement',
            index=models.Index(condition=models.Q(('cause', 'order'), _negated=True), fields=['cause', '-created_at', '-id'], name='stock_movement_by_cause'),
        ),
        BuildIndex(
            model_name='stockmovement',
            index=django.contrib.postgres.indexes.GinIndex(django.contrib.postgres.indexes.OpClass(django.db.models.functions.text.Upper('reason'), name='gin_trgm_ops'), django.contrib.postgres.indexes.OpClass(django.db.models.functions.text.Upper('actor'), name='gin_trgm_ops'), condition=models.Q(('cause', 'request')), name='stock_movement_trigrams'),
        ),
        DropIndex(
            model_name='stockmovement',
            name='stock_movement_of_product',
        ),
    ]
