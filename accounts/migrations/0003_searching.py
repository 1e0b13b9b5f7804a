"""The indexes of the desk's lists of people and addresses, made beside running writers."""

import django.contrib.postgres.indexes
import django.db.models.functions.text
from django.contrib.postgres.operations import TrigramExtension
from django.db import migrations, models

from vibecode.indexing import BuildIndex


class Migration(migrations.Migration):
    atomic = False

    dependencies = [
        ('accounts', '0002_audit'),
        ('auth', '0012_alter_user_first_name_max_length'),
    ]

    operations = [
        TrigramExtension(),  # the catalogue has it too; whoever comes first makes it
        BuildIndex(
            model_name='address',
            index=models.Index(fields=['-created_at', '-id'], name='address_newest'),
        ),
        BuildIndex(
            model_name='address',
            index=models.Index(fields=['country', '-created_at', '-id'], name='address_by_country'),
        ),
        BuildIndex(
            model_name='address',
            index=django.contrib.postgres.indexes.GinIndex(django.contrib.postgres.indexes.OpClass(django.db.models.functions.text.Upper('name'), name='gin_trgm_ops'), django.contrib.postgres.indexes.OpClass(django.db.models.functions.text.Upper('city'), name='gin_trgm_ops'), django.contrib.postgres.indexes.OpClass(django.db.models.functions.text.Upper('postal_code'), name='gin_trgm_ops'), name='address_trigrams'),
        ),
        BuildIndex(
            model_name='user',
            index=models.Index(condition=models.Q(('is_active', False)), fields=['-created_at', '-id'], name='user_shut_out'),
        ),
        BuildIndex(
            model_name='user',
            index=models.Index(condition=models.Q(('is_staff', True)), fields=['-created_at', '-id'], name='user_working_here'),
        ),
        BuildIndex(
            model_name='user',
            index=django.contrib.postgres.indexes.GinIndex(django.contrib.postgres.indexes.OpClass(django.db.models.functions.text.Upper('email'), name='gin_trgm_ops'), django.contrib.postgres.indexes.OpClass(django.db.models.functions.text.Upper('name'), name='gin_trgm_ops'), name='user_trigrams'),
        ),
        BuildIndex(
            model_name='user',
            index=models.Index(django.contrib.postgres.indexes.OpClass(django.db.models.functions.text.Upper('email'), name='text_pattern_ops'), name='user_email_begins'),
        ),
        BuildIndex(
            model_name='user',
            index=models.Index(django.contrib.postgres.indexes.OpClass(django.db.models.functions.text.Upper('name'), name='text_pattern_ops'), name='user_name_begins'),
        ),
    ]
