"""Migrations only expand: the linter refuses, example by example, what would break the release that runs beside it."""

import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from django.contrib.postgres.operations import AddIndexConcurrently, ValidateConstraint
from django.db import connection, migrations, models
from django.db.migrations import Migration
from django.db.migrations.loader import MigrationLoader
from django.db.migrations.operations.base import Operation
from django.db.models.functions import Now

from catalog.models import Product
from vibecode.indexing import AddRule
from vibecode.local import expanding
from vibecode.local.expanding import ACCEPTED, FIRST, OURS, complaints, findings, lint_migrations
from vibecode.local.folder import REPOSITORY
from vibecode.local.statements import WHY, Finding, judge

RULE = models.CheckConstraint(condition=models.Q(price__gte=0), name="product_price_is_tried")
INDEX = models.Index(fields=["price"], name="product_tried")
TABLE = "CREATE TABLE slip (id bigint PRIMARY KEY)"


def found_in(*operations: Operation, atomic: bool = True) -> set[str]:
    """What there is against a migration of the catalogue."""
    made = type("Migration", (migrations.Migration,), {"operations": operations, "atomic": atomic})
    migration = made("0099_tried", "catalog")
    return {str(finding) for finding in findings(migration, MigrationLoader(connection).project_state())}


REFUSED_STATEMENTS = [
    ("alter table catalog_product drop column name", "DROPS catalog_product.name"),
    ("ALTER TABLE catalog_product\n    DROP COLUMN\n    name", "DROPS catalog_product.name"),
    ('ALTER TABLE IF EXISTS "public"."catalog_product" DROP "name"', "DROPS catalog_product.name"),
    ("ALTER TABLE ONLY archive.slip DROP COLUMN name", "DROPS archive.slip.name"),
    ("-- only a comment\nDROP TABLE catalog_product", "DROPS catalog_product"),
    ("/* why */ SELECT 1; drop table catalog_product", "DROPS catalog_product"),
    ("ALTER TABLE t DROP CONSTRAINT c", "DROPS t.c"),
    ("DROP INDEX i", "DROPS i"),
    ("DROP INDEX CONCURRENTLY IF EXISTS i", "DROPS i"),
    ("DROP VIEW v", "DROPS v"),
    ("DROP MATERIALIZED VIEW v", "DROPS v"),
    ("DROP FUNCTION f(int, text)", "DROPS f"),
    ("DROP TRIGGER g ON t", "DROPS t.g"),
    ("DROP SEQUENCE s", "DROPS s"),
    ("DROP TYPE mood", "DROPS mood"),
    ("DROP SCHEMA archive CASCADE", "DROPS archive"),
    ("ALTER TABLE t RENAME COLUMN a TO b", "RENAMES t"),
    ("ALTER TABLE t RENAME TO u", "RENAMES t"),
    ("alter index i rename to j", "RENAMES i"),
    ("ALTER TABLE t SET SCHEMA archive", "RENAMES t"),
    ("alter table t alter column a type text", "RETYPES t.a"),
    ("alter table t alter a set not null", "NOT_NULL t.a"),
    ("ALTER TABLE t ADD COLUMN a int NOT NULL DEFAULT 0, ADD COLUMN b int NOT NULL", "NOT_NULL t.b"),
    ("ALTER TABLE t ADD a int NOT NULL DEFAULT NULL::int", "NOT_NULL t.a"),
    ("ALTER TABLE t ALTER a SET DEFAULT 0", "DEFAULT t.a"),
    ("ALTER TABLE t ALTER a DROP DEFAULT", "DEFAULT t.a"),
    ("ALTER TABLE t ADD a int NOT NULL DEFAULT 0; ALTER TABLE t ALTER a DROP DEFAULT", "DEFAULT t.a"),
    ("ALTER TABLE t ADD a uuid DEFAULT gen_random_uuid()", "REWRITES t.a"),
    ("ALTER TABLE t ADD a int DEFAULT length(repeat('a', (random() * 9)::int))", "REWRITES t.a"),
    ("ALTER TABLE t ADD a bigserial", "REWRITES t.a"),
    ("ALTER TABLE t ADD a int GENERATED ALWAYS AS IDENTITY", "REWRITES t.a"),
    ("ALTER TABLE t ADD a int GENERATED ALWAYS AS (b * 2) STORED", "REWRITES t.a"),
    ("ALTER TABLE t ADD a int CHECK (a > 0)", "CHECKED_RULE t.a"),
    ("ALTER TABLE t ADD a int DEFAULT 1 REFERENCES u (id)", "CHECKED_RULE t.a"),
    ("alter table t add constraint c check (a > 0)", "CHECKED_RULE t.c"),
    ("ALTER TABLE t ADD CHECK (a > 0)", "CHECKED_RULE t"),
    ("ALTER TABLE t ADD FOREIGN KEY (a) REFERENCES u (id)", "CHECKED_RULE t"),
    ("ALTER TABLE t ADD EXCLUDE USING gist (a WITH &&)", "CHECKED_RULE t"),
    ("alter table t add constraint c unique (a)", "INDEX t.c"),
    ("ALTER TABLE t ADD PRIMARY KEY (a)", "INDEX t"),
    ("ALTER TABLE t ADD CONSTRAINT c PRIMARY KEY USING INDEX i", "INDEX t.c"),
    ("ALTER TABLE t ADD a int UNIQUE", "INDEX t.a"),
    ("create index i on t (a)", "INDEX i"),
    ("CREATE UNIQUE INDEX i ON ONLY public.t (a)", "INDEX i"),
    ("ALTER TABLE t ADD CONSTRAINT c CHECK (a > 0) NOT VALID; ALTER TABLE t VALIDATE CONSTRAINT c", "VALIDATES t.c"),
    ("ALTER TABLE t ADD CONSTRAINT c CHECK (a > 0) NOT VALID, VALIDATE CONSTRAINT c", "VALIDATES t.c"),
    ("DELETE FROM t", "DATA t"),
    ("UPDATE t SET a = 1", "DATA t"),
    ("UPDATE t SET a = 1 WHERE id BETWEEN 1 AND 1000", "DATA t"),
    ("INSERT INTO t SELECT * FROM u", "DATA t"),
    ("TRUNCATE t, u", "DATA u"),
    ("COPY t FROM STDIN", "DATA t"),
    ("DO $$ BEGIN DROP TABLE t; END $$", "OPAQUE Do"),
    ("CALL clear_away()", "OPAQUE Call"),
    ("SELECT clear_away()", "OPAQUE Select"),
    ("ALTER TABLE t SET UNLOGGED", "UNKNOWN SetUnLogged t"),
    ("ALTER TABLE t DISABLE TRIGGER g", "UNKNOWN t.g"),
    ("ALTER TABLE t OWNER TO u", "UNKNOWN ChangeOwner t"),
    ("CREATE TABLE t_2027 PARTITION OF t FOR VALUES IN (2027)", "UNKNOWN t_2027"),
    ("CREATE TABLE u () INHERITS (t)", "UNKNOWN u"),
    ("CREATE MATERIALIZED VIEW v AS SELECT 1", "UNKNOWN CreateTableAs"),
    ("REFRESH MATERIALIZED VIEW v", "UNKNOWN v"),
    ("CREATE OR REPLACE FUNCTION f() RETURNS int LANGUAGE sql AS 'SELECT 1'", "UNKNOWN CreateFunction"),
    ("CREATE OR REPLACE VIEW v AS SELECT 1", "UNKNOWN View"),
    ("REVOKE SELECT ON t FROM people", "UNKNOWN Grant"),
    ("LOCK TABLE t", "UNKNOWN Lock"),
    ("CLUSTER t USING i", "UNKNOWN t"),
    ("VACUUM FULL t", "UNKNOWN Vacuum"),
    ("REINDEX TABLE t", "UNKNOWN t"),
    ("SET lock_timeout = 0", "UNKNOWN VariableSet"),
    ("COMMIT", "UNKNOWN Transaction"),
    ("ALTER TYPE mood ADD VALUE 'glad'", "UNKNOWN AlterEnum"),
    ("CREATE TABLE IF NOT EXISTS t (id int); CREATE INDEX i ON t (id)", "INDEX i"),
]


@pytest.mark.parametrize(("statements", "found"), REFUSED_STATEMENTS, ids=lambda value: value)
def test_what_breaks_or_holds_up_the_release_before_is_found_however_it_is_written(statements: str, found: str) -> None:
    assert found in {str(finding) for finding in judge([[statements]])}


def test_what_is_no_sql_is_found() -> None:
    assert [finding.code for finding in judge([["ALTER TABEL t DROP COLUMN a"]])] == ["UNREADABLE"]


ALLOWED_STATEMENTS = [
    "ALTER TABLE t ADD a int",
    "ALTER TABLE t ADD a int NULL REFERENCES u (id) DEFERRABLE INITIALLY DEFERRED; SET CONSTRAINTS c IMMEDIATE",
    "alter table t add column if not exists a int not null default -1, add b text[] not null default '{}'",
    "ALTER TABLE t ADD a timestamptz NOT NULL DEFAULT (STATEMENT_TIMESTAMP()), ADD b date DEFAULT CURRENT_DATE",
    "ALTER TABLE t ADD a jsonb NOT NULL DEFAULT '{}'::jsonb",
    "ALTER TABLE t ADD a int DEFAULT 0; ALTER TABLE t ALTER a DROP DEFAULT",
    "ALTER TABLE t ALTER a DROP NOT NULL",
    "ALTER TABLE t ADD CONSTRAINT c CHECK (a > 0) NOT VALID",
    "ALTER TABLE t ADD FOREIGN KEY (a) REFERENCES u (id) NOT VALID",
    "ALTER TABLE t ADD CONSTRAINT c UNIQUE USING INDEX i",
    "ALTER TABLE t VALIDATE CONSTRAINT c",
    "CREATE INDEX CONCURRENTLY i ON t (a)",
    "CREATE VIEW v AS SELECT 1",
    "CREATE FUNCTION f() RETURNS int LANGUAGE sql AS 'SELECT 1'",
    "CREATE OR REPLACE TRIGGER g AFTER INSERT ON t FOR EACH ROW EXECUTE FUNCTION f()",
    "CREATE EXTENSION IF NOT EXISTS pg_trgm",
    "GRANT SELECT ON t TO people",
    "COMMENT ON TABLE t IS 'of old'",
    f"{TABLE}; CREATE INDEX i ON public.slip (id); ALTER TABLE slip ADD CHECK (id > 0), ADD a int NOT NULL UNIQUE",
    f"{TABLE}; ALTER TABLE slip ADD a int DEFAULT 0 NOT NULL; ALTER TABLE slip ALTER a DROP DEFAULT",
]


@pytest.mark.parametrize("statements", ALLOWED_STATEMENTS)
def test_what_only_expands_is_let_through(statements: str) -> None:
    assert judge([[statements]]) == []


def test_a_table_that_is_made_is_free_in_its_own_migration_and_no_other() -> None:
    assert judge([[TABLE], ["CREATE INDEX i ON slip (id)"]]) == []
    assert judge([[TABLE, "CREATE INDEX i ON other (id)"]]) == [Finding("INDEX", "i")]
    assert judge([["CREATE INDEX i ON slip (id)"]]) == [Finding("INDEX", "i")]


def test_a_rule_may_be_validated_by_the_migration_that_adds_it_in_a_transaction_of_its_own() -> None:
    add, validate = "ALTER TABLE t ADD CONSTRAINT c CHECK (a > 0) NOT VALID", "ALTER TABLE t VALIDATE CONSTRAINT c"

    assert judge([[add], [validate]]) == []
    assert judge([[add, validate]]) == [Finding("VALIDATES", "t.c")]


def do_something(apps: object, schema_editor: object) -> None:
    """What a migration might do in Python."""
    raise AssertionError("it was asked for its statements, and ran")


class AskItself(migrations.RunSQL):
    """What a migration might do past the editor that collects its statements."""

    def database_forwards(self, _app_label: str, schema_editor: Any, _before: Any, _after: Any) -> None:
        with schema_editor.connection.cursor() as cursor:
            cursor.execute("UPDATE catalog_product SET name = 'asked, and ran'")


DOUBLED = models.GeneratedField(expression=models.F("price") * 2, output_field=models.DecimalField(), db_persist=True)
REFUSED_OPERATIONS: list[tuple[Operation | Sequence[Operation], str]] = [
    (migrations.RemoveField("product", "description"), "DROPS catalog_product.description"),
    (migrations.DeleteModel("productimage"), "DROPS catalog_productimage"),
    (migrations.RenameField("product", "name", "title"), "RENAMES catalog_product"),
    (migrations.AlterModelTable("product", "catalog_article"), "RENAMES catalog_product"),
    (migrations.AlterField("product", "name", models.IntegerField()), "RETYPES catalog_product.name"),
    (migrations.AddField("product", "weight", models.IntegerField(default=0)), "DEFAULT catalog_product.weight"),
    (
        migrations.AddField("product", "weight", models.PositiveIntegerField(db_default=0)),
        "CHECKED_RULE catalog_product.weight",
    ),
    (migrations.AddField("product", "doubled", DOUBLED), "REWRITES catalog_product.doubled"),
    (migrations.AddConstraint("product", RULE), "CHECKED_RULE catalog_product.product_price_is_tried"),
    (
        migrations.RemoveConstraint("product", "product_price_is_not_negative"),
        "DROPS catalog_product.product_price_is_not_negative",
    ),
    (migrations.AddIndex("product", INDEX), "INDEX product_tried"),
    (migrations.RemoveIndex("product", "product_newest"), "DROPS product_newest"),
    (migrations.RunSQL(["-- of old\nDROP TABLE catalog_product"]), "DROPS catalog_product"),
    (migrations.RunPython(do_something), "OPAQUE do_something"),
    (migrations.SeparateDatabaseAndState([migrations.RunPython(do_something)]), "OPAQUE do_something"),
    (AskItself("SELECT 1"), "OPAQUE AskItself"),
    (migrations.SeparateDatabaseAndState([AskItself("SELECT 1")]), "OPAQUE AskItself"),
    (
        [AddRule("product", RULE), ValidateConstraint("product", RULE.name)],
        "VALIDATES catalog_product.product_price_is_tried",
    ),
    (
        [
            migrations.AddField("product", "weight", models.IntegerField(null=True)),
            migrations.AlterField("product", "weight", models.IntegerField(db_default=0)),
        ],
        "NOT_NULL catalog_product.weight",
    ),
]


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(
    ("operations", "found"), REFUSED_OPERATIONS, ids=lambda value: re.sub(r" at 0x\w+", "", str(value))[:60]
)
def test_operations_that_do_more_than_expand_are_found(operations: Operation | list[Operation], found: str) -> None:
    assert found in found_in(*(operations if isinstance(operations, list) else [operations]))


ALLOWED_OPERATIONS: list[Operation] = [
    migrations.AddField("product", "weight", models.IntegerField(null=True)),
    migrations.AddField("product", "weight", models.IntegerField(db_default=0)),
    migrations.AddField("product", "seen_at", models.DateTimeField(db_default=Now())),
    migrations.CreateModel(
        "Tried",
        [("id", models.BigAutoField(primary_key=True)), ("of", models.ForeignKey("catalog.product", models.CASCADE))],
    ),
    AddRule("product", RULE),
]


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("operation", ALLOWED_OPERATIONS, ids=lambda operation: operation.describe())
def test_operations_that_only_expand_are_let_through(operation: Operation) -> None:
    assert found_in(operation) == set()


@pytest.mark.django_db(transaction=True)
def test_what_goes_past_the_editor_is_not_done_by_asking(product: Callable[..., Product]) -> None:
    for_sale = product()

    found_in(AskItself("SELECT 1"))

    for_sale.refresh_from_db()
    assert for_sale.name != "asked, and ran"


@pytest.mark.django_db(transaction=True)
def test_a_migration_that_applies_itself_is_found() -> None:
    def apply(self: Migration, state: Any, editor: Any, collect_sql: bool = False) -> Any:
        return state

    made = type("Migration", (Migration,), {"operations": (), "apply": apply})

    found = findings(made("0099_tried", "catalog"), MigrationLoader(connection).project_state())
    assert [str(finding) for finding in found] == ["OPAQUE apply"]


@pytest.mark.django_db(transaction=True)
def test_in_steps_of_their_own_a_rule_is_added_and_validated_and_an_index_built() -> None:
    steps = (AddRule("product", RULE), ValidateConstraint("product", RULE.name), AddIndexConcurrently("product", INDEX))

    assert found_in(*steps, atomic=False) == set()


@pytest.mark.django_db(transaction=True)
def test_every_migration_only_expands_but_those_from_before_the_first_release(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(expanding, "FIRST", frozenset())

    assert lint_migrations() == 1
    assert {line.partition(":")[0] for line in capsys.readouterr().out.splitlines()} == FIRST


def test_what_is_accepted_is_that_one_finding_and_has_to_happen(monkeypatch: pytest.MonkeyPatch) -> None:
    slip = Finding("DROPS", "orders_order.slip")
    monkeypatch.setattr(expanding, "ACCEPTED", {"orders.0031_no_slips": {str(slip): "release-2027-03 was the last"}})

    assert list(complaints("orders.0031_no_slips", [slip])) == []
    assert len(list(complaints("orders.0031_no_slips", [slip, Finding("DROPS", "orders_order.total")]))) == 1
    assert len(list(complaints("orders.0031_no_slips", []))) == 1
    assert len(list(complaints("orders.0030_other", [slip]))) == 1


def test_each_exception_names_a_migration_that_is_there_and_its_reason() -> None:
    known = {f"{app}.{name}" for app, name in MigrationLoader(None).disk_migrations if app in OURS}

    assert ACCEPTED.keys() | FIRST <= known
    assert all(len(reason) > 20 for accepted in ACCEPTED.values() for reason in accepted.values())


def test_each_finding_says_why_it_is_one() -> None:
    assert {finding.code for statements, _ in REFUSED_STATEMENTS for finding in judge([[statements]])} <= WHY.keys()


# Of all that it runs what is about migrations; it is `make check` that runs it: test_gates.py.
GATE = """
import sys
from vibecode.local import checks
checks.STEPS = tuple(step for step in checks.STEPS if step[0].startswith("migrations"))
sys.exit(checks.main())
"""
DROPS = """
from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [("catalog", "{last}")]
    operations = [migrations.RunSQL("DROP TABLE catalog_productimage")]
"""


def test_a_migration_that_takes_something_away_does_not_pass_the_gate(tmp_path: Path) -> None:
    for app in OURS:
        shutil.copytree(REPOSITORY / app, tmp_path / app, ignore=shutil.ignore_patterns("__pycache__"))
    written = tmp_path / "catalog" / "migrations"
    last = max(each.stem for each in written.glob("0*.py"))
    (written / "9999_tried.py").write_text(DROPS.format(last=last))

    done = subprocess.run([sys.executable, "-c", GATE], cwd=tmp_path, capture_output=True, text=True, check=False)

    assert done.returncode == 1, done.stderr
    assert [line for line in done.stdout.splitlines() if not line.startswith("    ")] == [
        f"catalog.9999_tried: DROPS catalog_productimage: {WHY['DROPS']}"
    ]
