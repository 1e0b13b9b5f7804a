"""Indexes and rules of tables that are written to meanwhile, made so that a migration may be cut off and begun again.

Called by the apps' migrations alone, in the places of Django's own operations, where these are not atomic together.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from django.contrib.postgres.operations import AddConstraintNotValid, AddIndexConcurrently, RemoveIndexConcurrently
from django.db.migrations.operations import RemoveConstraint

_VALID = """
SELECT index.indisvalid
FROM pg_class AS named JOIN pg_index AS index ON index.indexrelid = named.oid
WHERE named.relname = %s AND pg_table_is_visible(named.oid)
"""
_RULE = "SELECT 1 FROM pg_constraint WHERE conname = %s AND conrelid = %s::regclass"


class BuildIndex(AddIndexConcurrently):
    """Build an index beside running writers. One of its name that is whole stays; what is left of a build makes way."""

    def database_forwards(self, app_label: str, schema_editor: Any, from_state: Any, to_state: Any) -> None:
        """Build it, unless it is there."""
        if schema_editor.collect_sql:  # only asked for the statement, which somebody may run by hand
            super().database_forwards(app_label, schema_editor, from_state, to_state)
            return
        with _patient(schema_editor), schema_editor.connection.cursor() as cursor:
            cursor.execute(_VALID, [self.index.name])
            found = cursor.fetchone()
            if found is not None and found[0]:
                return
            if found is not None:
                name = schema_editor.quote_name(self.index.name)
                schema_editor.execute(schema_editor.sql_delete_index_concurrently % {"name": name})
            super().database_forwards(app_label, schema_editor, from_state, to_state)

    def database_backwards(self, app_label: str, schema_editor: Any, from_state: Any, to_state: Any) -> None:
        """Drop it, if it is there."""
        with _patient(schema_editor):
            super().database_backwards(app_label, schema_editor, from_state, to_state)


class DropIndex(RemoveIndexConcurrently):
    """Drop an index beside running writers: whole, half dropped, or gone already (Django says IF EXISTS)."""

    def database_forwards(self, app_label: str, schema_editor: Any, from_state: Any, to_state: Any) -> None:
        """Drop it."""
        with _patient(schema_editor):
            super().database_forwards(app_label, schema_editor, from_state, to_state)

    def database_backwards(self, app_label: str, schema_editor: Any, from_state: Any, to_state: Any) -> None:
        """Build it, as BuildIndex does."""
        index = to_state.models[app_label, self.model_name_lower].get_index_by_name(self.name)
        BuildIndex(self.model_name, index).database_forwards(app_label, schema_editor, from_state, to_state)


class AddRule(AddConstraintNotValid):
    """Add a constraint for what is written from now on; one of its name stays. ValidateConstraint looks at the rest."""

    def database_forwards(self, app_label: str, schema_editor: Any, from_state: Any, to_state: Any) -> None:
        """Add it, unless it is there."""
        if not _has_rule(schema_editor, from_state.models[app_label, self.model_name_lower], self.constraint.name):
            super().database_forwards(app_label, schema_editor, from_state, to_state)

    def database_backwards(self, app_label: str, schema_editor: Any, from_state: Any, to_state: Any) -> None:
        """Drop it, if it is there."""
        if _has_rule(schema_editor, from_state.models[app_label, self.model_name_lower], self.constraint.name):
            super().database_backwards(app_label, schema_editor, from_state, to_state)


class DropRule(RemoveConstraint):
    """Drop a constraint, if it is there."""

    def database_forwards(self, app_label: str, schema_editor: Any, from_state: Any, to_state: Any) -> None:
        """Drop it."""
        if _has_rule(schema_editor, from_state.models[app_label, self.model_name_lower], self.name):
            super().database_forwards(app_label, schema_editor, from_state, to_state)

    def database_backwards(self, app_label: str, schema_editor: Any, from_state: Any, to_state: Any) -> None:
        """Add it again, unless it is there."""
        if not _has_rule(schema_editor, from_state.models[app_label, self.model_name_lower], self.name):
            super().database_backwards(app_label, schema_editor, from_state, to_state)


def _has_rule(schema_editor: Any, model: Any, name: str) -> bool:
    """Whether the model's table has a constraint of that name. Asked for statements alone, it is where the state is."""
    if schema_editor.collect_sql:
        return any(constraint.name == name for constraint in model.options["constraints"])
    with schema_editor.connection.cursor() as cursor:
        cursor.execute(_RULE, [name, model.options.get("db_table") or f"{model.app_label}_{model.name_lower}"])
        return cursor.fetchone() is not None


@contextmanager
def _patient(schema_editor: Any) -> Iterator[None]:
    """Without a lock time-out: this waits for every transaction that is open, and nobody waits behind it."""
    if schema_editor.collect_sql:
        yield
        return
    with schema_editor.connection.cursor() as cursor:
        cursor.execute("SELECT current_setting('lock_timeout'), set_config('lock_timeout', '0', false)")
        (before, _) = cursor.fetchone()
    yield
    with schema_editor.connection.cursor() as cursor:  # a build that fails ends the migration, and its session
        cursor.execute("SELECT set_config('lock_timeout', %s, false)", [before])
