"""The audit trail: its table, the function that every tracked table calls, and the rule that it only grows."""

import django.contrib.postgres.indexes
import django.db.models.functions.datetime
import django.db.models.functions.text
import vibecode.models
from django.db import migrations, models

WRITE = """
CREATE FUNCTION vibecode_write_change() RETURNS trigger LANGUAGE plpgsql AS $$
-- Arguments: as vibecode.tracking.track gives them.
DECLARE
    was jsonb := to_jsonb(OLD);
    now jsonb := to_jsonb(NEW);
    it jsonb := coalesce(now, was);
    said text := substring(current_query() FROM '^/\\*by ([0-9a-f]+)\\*/');
    what_was jsonb;
    what_is jsonb;
    page bigint;
    called text;
BEGIN
    SELECT jsonb_object_agg(field, was -> field) FILTER (WHERE was IS NOT NULL),
           jsonb_object_agg(field, now -> field) FILTER (WHERE now IS NOT NULL)
        INTO what_was, what_is
        FROM unnest(string_to_array(TG_ARGV[1], ' ')) AS field
        WHERE was -> field IS DISTINCT FROM now -> field;
    IF TG_ARGV[5] <> '' THEN
        EXECUTE TG_ARGV[5] INTO page, called USING it;
    END IF;
    INSERT INTO vibecode_change (actor, deed, kind, name, page_kind, page_id, before, after) VALUES (
        left(coalesce(convert_from(decode(said, 'hex'), 'UTF8'), 'role ' || session_user), 128),
        lower(TG_OP), TG_ARGV[0], left(coalesce(it ->> TG_ARGV[2], called, ''), 250),
        TG_ARGV[3], coalesce(page, (it ->> TG_ARGV[4])::bigint),
        coalesce(what_was, '{}'), coalesce(what_is, '{}')
    );
    RETURN NULL;
END $$
"""

ONLY_GROWS = """
CREATE FUNCTION vibecode_trail_only_grows() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'the audit trail only grows'
        USING ERRCODE = 'check_violation', CONSTRAINT = 'change_only_grows', TABLE = 'vibecode_change';
END $$;

CREATE TRIGGER change_only_grows BEFORE UPDATE OR DELETE ON vibecode_change
    FOR EACH ROW EXECUTE FUNCTION vibecode_trail_only_grows();
"""


class Migration(migrations.Migration):

    dependencies = [
        ('vibecode', '0003_jobs'),
    ]

    operations = [
        migrations.CreateModel(
            name='Change',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('at', models.DateTimeField(db_default=django.db.models.functions.datetime.Now(), verbose_name='when')),
                ('actor', models.CharField(help_text='Cognito sub, or what part of the shop it was.', max_length=128, verbose_name='who')),
                ('deed', models.CharField(choices=[('insert', 'Created'), ('update', 'Changed'), ('delete', 'Deleted')], max_length=6)),
                ('kind', models.CharField(help_text="The model's label.", max_length=60)),
                ('name', models.CharField(blank=True, help_text='What people call it: a number, a SKU.', max_length=250, verbose_name='what')),
                ('page_kind', models.CharField(max_length=60)),
                ('page_id', models.BigIntegerField(null=True)),
                ('before', models.JSONField(db_default={}, decoder=vibecode.models.ExactNumbers, default=dict)),
                ('after', models.JSONField(db_default={}, decoder=vibecode.models.ExactNumbers, default=dict)),
            ],
            options={
                'indexes': [models.Index(fields=['page_kind', 'page_id', '-at', '-id'], name='change_of_page'), models.Index(fields=['-at', '-id'], name='change_newest'), models.Index(fields=['kind', '-at', '-id'], name='change_of_kind'), models.Index(fields=['actor', '-at', '-id'], name='change_by_actor'), models.Index(django.contrib.postgres.indexes.OpClass(django.db.models.functions.text.Upper('name'), name='text_pattern_ops'), name='change_by_name')],
            },
        ),
        migrations.RunSQL(WRITE, "DROP FUNCTION vibecode_write_change()"),
        migrations.RunSQL(ONLY_GROWS, "DROP FUNCTION vibecode_trail_only_grows() CASCADE"),
    ]
