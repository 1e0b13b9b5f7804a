"""What became of the units of a line, proposed money, and the second person: columns alone, so that locks are short."""

from decimal import Decimal

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [('orders', '0006_fulfilment')]

    operations = [
        migrations.AddField(
            model_name='orderline',
            name='refunded',
            field=models.PositiveIntegerField(db_default=0, default=0),
        ),
        migrations.AddField(
            model_name='orderline',
            name='restocked',
            field=models.PositiveIntegerField(db_default=0, default=0),
        ),
        migrations.AddField(
            model_name='orderline',
            name='shipped',
            field=models.PositiveIntegerField(db_default=0, default=0),
        ),
        migrations.AddField(
            model_name='orderline',
            name='withdrawn',
            field=models.PositiveIntegerField(db_default=0, default=0),
        ),
        migrations.AddField(
            model_name='payment',
            name='proposed',
            field=models.DecimalField(db_default=Decimal('0.00'), decimal_places=2, default=Decimal('0.00'), max_digits=20),
        ),
        migrations.AddField(
            model_name='refund',
            name='approved_by',
            field=models.CharField(blank=True, db_default='', max_length=128),
        ),
        migrations.AlterField(
            model_name='refund',
            name='state',
            field=models.CharField(choices=[('proposed', 'Waits for a second person'), ('pending', 'On its way'), ('settled', 'Settled'), ('failed', 'Failed'), ('rejected', 'Rejected')], default='pending', max_length=20),
        ),
    ]
