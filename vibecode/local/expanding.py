"""Whether migrations only expand: what the release before uses stays, and no busy table is locked for long.

django-migration-linter reads the SQL of each migration; what it lets through stands here. Called by checks.py.
"""

import re
from collections.abc import Mapping

from django.db.migrations import Migration
from django_migration_linter import MigrationLinter
from django_migration_linter.sql_analyser.base import Check, CheckMode, CheckType
from django_migration_linter.sql_analyser.postgresql import PostgresqlAnalyser

from vibecode.local.folder import REPOSITORY

OURS = ("vibecode", "accounts", "catalog", "orders")
EMPTY = "written before the first release: it runs on tables that are empty"
# What a migration may do all the same, by the linter's code, and why. Here stands what takes away what no release that
# may come back uses any more: {"orders.0031_no_slips": {"DROP_COLUMN": "release-2027-03 was the last to read it"}}
ACCEPTED: Mapping[str, Mapping[str, str]] = {
    "catalog.0003_pictures": {"CREATE_INDEX": EMPTY, "CHECKED_RULE": EMPTY},
    "orders.0003_payments": {"CREATE_INDEX": EMPTY},
    "orders.0005_given_up": {"CREATE_INDEX": EMPTY},
    "vibecode.0002_relay_and_inbox": {"CREATE_INDEX": EMPTY, "CHECKED_RULE": EMPTY},
}
VOLATILE = "gen_random_uuid|uuid_generate_|random|clock_timestamp|timeofday|nextval"
# Each by what its SQL looks like, and why it may not be.
ONE_STATEMENT: Mapping[str, tuple[str, str]] = {
    "DROPS": (r"\bDROP (TABLE|VIEW|SCHEMA|TYPE)\b", "DROPPING what the release before may use"),
    "RENAMES": (r"^ALTER (TABLE|INDEX|TYPE|VIEW|SEQUENCE) .* RENAME\b", "RENAMING what the release before may use"),
    "REWRITES": (
        rf"^ALTER TABLE .* ADD COLUMN .*(\bDEFAULT \(?({VOLATILE})|\bGENERATED ALWAYS AS \(.*\) STORED|\bSERIAL\b)",
        "REWRITING a table: its rows get a value each, under a lock that nobody reads through",
    ),
    "LOCKS": (
        r"^(LOCK|CLUSTER|VACUUM FULL|REINDEX (?!.*CONCURRENTLY)|TRUNCATE|REFRESH MATERIALIZED VIEW (?!CONCURRENTLY))\b",
        "LOCKING a table for as long as it takes",
    ),
    "DROP_DEFAULT": (
        r"^ALTER TABLE .* ALTER COLUMN .* DROP DEFAULT",
        "TAKING a default that the release before leans on: it writes rows without that column",
    ),
}


def _on_old_table(statements: list[str], pattern: str) -> bool:
    """Whether one matches about a table that is not made in the same migration, which nobody uses yet."""
    made = {found[1] for line in statements if (found := re.match(r'CREATE TABLE (?:IF NOT EXISTS )?"?(\w+)', line))}
    about = [match["table"] for line in statements if (match := re.match(pattern, line))]
    return any(table not in made for table in about)


def adds_checked_rule(sql_statements: list[str], **_: object) -> bool:
    """A constraint that looks at every row there is under its lock: NOT VALID first (AddRule), then validate."""
    pattern = (
        r'ALTER TABLE (ONLY )?"?(?P<table>\w+)"? ADD CONSTRAINT (?!.*NOT VALID)(?=.*\b(CHECK|FOREIGN KEY|EXCLUDE)\b)'
    )
    return _on_old_table(sql_statements, pattern)


def builds_index(sql_statements: list[str], **_: object) -> bool:
    """An index that stops writers while it is built: BuildIndex does not."""
    return _on_old_table(
        sql_statements, r'CREATE (UNIQUE )?INDEX (?!CONCURRENTLY)(IF NOT EXISTS )?\S+ ON (ONLY )?"?(?P<table>\w+)'
    )


class Analyser(PostgresqlAnalyser):
    """The linter's own rules, and ours."""

    migration_checks = [
        *PostgresqlAnalyser.migration_checks,
        *(
            Check(
                code=code,
                fn=lambda sql, pattern=pattern, **_: re.search(pattern, sql, re.IGNORECASE),
                message=message,
                mode=CheckMode.ONE_LINER,
                type=CheckType.ERROR,
            )
            for code, (pattern, message) in ONE_STATEMENT.items()
        ),
        Check(
            code="CHECKED_RULE",
            fn=adds_checked_rule,
            message="ADDING a constraint that reads the whole table under a lock: AddRule, then ValidateConstraint",
            mode=CheckMode.TRANSACTION,
            type=CheckType.ERROR,
        ),
        Check(
            code="CREATE_INDEX",
            fn=builds_index,
            message="BUILDING an index that stops writers: BuildIndex",
            mode=CheckMode.TRANSACTION,
            type=CheckType.ERROR,
        ),
    ]

    def analyse(self, sql_statements: list[str]) -> None:
        """Statement by statement, however somebody has written them: over many lines, or several in one."""
        lines = (line for line in sql_statements if not line.lstrip().startswith("--"))
        super().analyse([part.strip() for part in " ".join(lines).split(";") if part.strip()])


class Linter(MigrationLinter):
    """The linter, which knows what is accepted."""

    def __init__(self) -> None:
        super().__init__(
            str(REPOSITORY),
            include_apps=OURS,
            no_cache=True,
            quiet=["ok", "ignore", "warning"],  # of indexes: judged below as errors, where the table is not new
            analyser_string="postgresql",  # our engine has another name
        )
        self.sql_analyser_class = Analyser

    def lint_migration(self, migration: Migration) -> None:
        """As ever, but for what is accepted of this one."""
        self.exclude_migration_tests = tuple(ACCEPTED.get(f"{migration.app_label}.{migration.name}", ()))
        super().lint_migration(migration)


def lint_migrations() -> int:
    """Judge every migration of ours; 1 where one does more than expand."""
    linter = Linter()
    linter.lint_all_migrations()
    return 1 if linter.has_errors else 0
