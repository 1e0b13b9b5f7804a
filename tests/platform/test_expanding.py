"""Migrations only expand: the linter refuses, example by example, what would break the release that runs beside it."""

from collections.abc import Sequence

import pytest
from django.contrib.postgres.operations import AddIndexConcurrently
from django.db import connection, migrations, models
from django.db.migrations.loader import MigrationLoader
from django.db.migrations.operations.base import Operation
from django.db.models.functions import Now

from vibecode.indexing import AddRule
from vibecode.local.expanding import ACCEPTED, Analyser

RULE = models.CheckConstraint(condition=models.Q(price__gte=0), name="product_price_is_tried")
INDEX = models.Index(fields=["price"], name="product_tried")


def codes_of(statements: Sequence[str]) -> set[str]:
    """What the linter has against statements of one migration."""
    analyser = Analyser(None)
    analyser.analyse(list(statements))
    return {issue.code for issue in analyser.errors}


def statements_of(operation: Operation) -> list[str]:
    """What the operation would say to the database, as `sqlmigrate` prints it."""
    before = MigrationLoader(connection).project_state()
    after = before.clone()
    operation.state_forwards("catalog", after)
    with connection.schema_editor(collect_sql=True, atomic=operation.atomic is not False) as editor:
        operation.database_forwards("catalog", editor, before, after)
    return [line for line in editor.collected_sql if not line.startswith("--")]


BAD: list[tuple[Operation, str]] = [
    (migrations.RemoveField("product", "description"), "DROP_COLUMN"),
    (migrations.DeleteModel("productimage"), "DROP_TABLE"),
    (migrations.RenameField("product", "name", "title"), "RENAME_COLUMN"),
    (migrations.AlterModelTable("product", "catalog_article"), "RENAME_TABLE"),
    (migrations.AlterField("product", "name", models.IntegerField()), "ALTER_COLUMN"),
    (migrations.AddField("product", "weight", models.IntegerField(default=0)), "NOT_NULL"),
    (migrations.AddConstraint("product", RULE), "CHECKED_RULE"),
    (migrations.AddIndex("product", INDEX), "CREATE_INDEX"),
    (migrations.RunSQL("UPDATE catalog_product SET name = ''; TRUNCATE catalog_picture"), "LOCKS"),
    (migrations.RunSQL("LOCK TABLE catalog_product"), "LOCKS"),
    (migrations.RunSQL("ALTER TABLE catalog_product\n    DROP COLUMN\n    name"), "DROP_COLUMN"),
    (migrations.RunSQL("ALTER TABLE catalog_product ADD COLUMN code uuid DEFAULT gen_random_uuid()"), "REWRITES"),
    (migrations.RunSQL("DROP VIEW catalog_view"), "DROPS"),
    (
        migrations.RunSQL(
            "ALTER TABLE catalog_product ADD CONSTRAINT c FOREIGN KEY (id) REFERENCES catalog_stock (id)"
        ),
        "CHECKED_RULE",
    ),
    (
        migrations.AddField(
            "product",
            "doubled",
            models.GeneratedField(
                expression=models.F("price") * 2, output_field=models.DecimalField(), db_persist=True
            ),
        ),
        "REWRITES",
    ),
]
GOOD: list[Operation] = [
    migrations.AddField("product", "weight", models.IntegerField(null=True)),
    migrations.AddField("product", "weight", models.IntegerField(db_default=0)),
    migrations.AddField("product", "seen_at", models.DateTimeField(db_default=Now())),
    migrations.CreateModel("Tried", [("id", models.BigAutoField(primary_key=True))], {"constraints": []}),
    AddIndexConcurrently("product", INDEX),
    AddRule("product", RULE),
    migrations.RunSQL("UPDATE catalog_product SET name = name WHERE id BETWEEN 1 AND 1000"),
]


@pytest.mark.django_db
@pytest.mark.parametrize(("operation", "code"), BAD, ids=lambda value: value if isinstance(value, str) else "")
def test_what_breaks_or_holds_up_the_release_before_is_refused(operation: Operation, code: str) -> None:
    statements = statements_of(operation)

    assert code in codes_of(statements), statements


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("operation", GOOD, ids=lambda operation: operation.describe())
def test_what_only_expands_is_let_through(operation: Operation) -> None:
    statements = statements_of(operation)

    assert statements
    assert codes_of(statements) == set()


def test_a_new_table_may_have_its_rules_and_indexes_at_once() -> None:
    made = 'CREATE TABLE "slip" ("id" bigint NOT NULL PRIMARY KEY);'
    assert codes_of([made, 'CREATE INDEX "slip_by" ON "slip" ("id");']) == set()
    assert codes_of([made, 'ALTER TABLE "slip" ADD CONSTRAINT "c" CHECK (id > 0);']) == set()
    assert codes_of([made, 'CREATE INDEX "other_by" ON "other" ("id");']) == {"CREATE_INDEX"}


def test_each_exception_names_a_migration_that_is_there_and_its_reason() -> None:
    known = {f"{app}.{name}" for app, name in MigrationLoader(None).disk_migrations}

    assert ACCEPTED.keys() <= known
    assert all(len(reason) > 20 for accepted in ACCEPTED.values() for reason in accepted.values())
