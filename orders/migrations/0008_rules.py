"""The rules of these columns, and the indexes of the desk, made beside running writers: never two locks at once."""

import django.db.models.expressions
from django.contrib.postgres.operations import ValidateConstraint
from django.db import migrations, models

from vibecode.indexing import AddRule, BuildIndex, DropRule


class Migration(migrations.Migration):
    atomic = False

    dependencies = [('orders', '0007_units')]

    operations = [
        AddRule(
            model_name='orderline',
            constraint=models.CheckConstraint(condition=models.Q(('quantity__gte', django.db.models.expressions.CombinedExpression(models.F('shipped'), '+', models.F('withdrawn')))), name='order_line_ships_no_more_than_ordered'),
        ),
        AddRule(
            model_name='orderline',
            constraint=models.CheckConstraint(condition=models.Q(('refunded__gte', models.F('withdrawn'))), name='order_line_withdraws_no_more_than_refunded'),
        ),
        AddRule(
            model_name='orderline',
            constraint=models.CheckConstraint(condition=models.Q(('refunded__lte', django.db.models.expressions.CombinedExpression(models.F('shipped'), '+', models.F('withdrawn')))), name='order_line_refunded_has_left_or_stays'),
        ),
        AddRule(
            model_name='orderline',
            constraint=models.CheckConstraint(condition=models.Q(('refunded__gte', models.F('restocked'))), name='order_line_restocks_no_more_than_refunded'),
        ),
        DropRule(
            model_name='payment',
            name='payment_refunds_no_more_than_it_captured',
        ),
        AddRule(
            model_name='payment',
            constraint=models.CheckConstraint(condition=models.Q(('captured__gte', django.db.models.expressions.CombinedExpression(models.F('refunded'), '+', models.F('proposed'))), ('proposed__gte', 0), ('refunded__gte', 0)), name='payment_refunds_no_more_than_it_captured'),
        ),
        DropRule(
            model_name='refund',
            name='refund_state_is_known',
        ),
        AddRule(
            model_name='refund',
            constraint=models.CheckConstraint(condition=models.Q(('state__in', ['proposed', 'pending', 'settled', 'failed', 'rejected'])), name='refund_state_is_known'),
        ),
        DropRule(
            model_name='refund',
            name='refund_amount_is_positive',
        ),
        AddRule(
            model_name='refund',
            constraint=models.CheckConstraint(condition=models.Q(('amount__gte', 0)), name='refund_amount_is_not_negative'),
        ),
        AddRule(
            model_name='refund',
            constraint=models.CheckConstraint(condition=models.Q(('approved_by', ''), models.Q(('approved_by', models.F('actor')), _negated=True), _connector='OR'), name='refund_is_approved_by_somebody_else'),
        ),
        ValidateConstraint(
            model_name='orderline',
            name='order_line_ships_no_more_than_ordered',
        ),
        ValidateConstraint(
            model_name='orderline',
            name='order_line_withdraws_no_more_than_refunded',
        ),
        ValidateConstraint(
            model_name='orderline',
            name='order_line_refunded_has_left_or_stays',
        ),
        ValidateConstraint(
            model_name='orderline',
            name='order_line_restocks_no_more_than_refunded',
        ),
        ValidateConstraint(
            model_name='payment',
            name='payment_refunds_no_more_than_it_captured',
        ),
        ValidateConstraint(
            model_name='refund',
            name='refund_state_is_known',
        ),
        ValidateConstraint(
            model_name='refund',
            name='refund_amount_is_not_negative',
        ),
        ValidateConstraint(
            model_name='refund',
            name='refund_is_approved_by_somebody_else',
        ),
        BuildIndex(
            model_name='order',
            index=models.Index(condition=models.Q(('cancelled_at', None), ('failed_at', None), ('fulfilment_status__in', ['deducted', 'partly_shipped']), ('given_up_at', None), ('payment_status__in', ['paid', 'partly_refunded'])), fields=['-created_at', '-id'], name='order_to_ship'),
        ),
        BuildIndex(
            model_name='refund',
            index=models.Index(condition=models.Q(('state__in', ['proposed', 'failed'])), fields=['payment'], name='refund_needs_someone'),
        ),
        BuildIndex(
            model_name='refund',
            index=models.Index(condition=models.Q(('state', 'settled')), fields=['settled_at'], name='refund_settled'),
        ),
    ]
