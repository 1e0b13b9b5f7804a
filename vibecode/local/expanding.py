"""Whether migrations only expand: what the release before uses stays, and no busy table is locked for long.

What each says to the database is collected, transaction by transaction, and judged (statements.py); what is all right
nevertheless stands here with its reason. Called by checks.py.
"""

from collections.abc import Iterator, Mapping

from django.db import connection
from django.db.migrations import Migration, RunPython
from django.db.migrations.loader import MigrationLoader
from django.db.migrations.operations import SeparateDatabaseAndState
from django.db.migrations.operations.base import Operation
from django.db.migrations.state import ProjectState

from vibecode.local.statements import WHY, Finding, judge

OURS = ("vibecode", "accounts", "catalog", "orders")
# Operations of these say all that they do through the editor. One of another's may ask the connection itself: that
# leaves no statement here, and would be done by asking.
READABLE = ("django.", "vibecode.indexing")
# Written before the first release: each ran on tables that were empty, with no other release beside it. It ends here.
FIRST = frozenset(
    {
        "catalog.0003_pictures",
        "catalog.0005_ledger_at_scale",
        "orders.0002_groups",
        "orders.0003_payments",
        "orders.0004_rights",
        "orders.0005_given_up",
        "orders.0007_units",
        "orders.0008_rules",
        "orders.0009_rights_by_group",
        "orders.0011_audit",
        "orders.0012_lists_at_scale",
        "vibecode.0002_relay_and_inbox",
    }
)
# What a later one may do all the same, finding by finding, and why. Here stands what takes away what no release that
# may come back uses any more. Of orders.0031_no_slips: "DROPS orders_order.slip", for release-2027-03 was the last to
# read it.
ACCEPTED: Mapping[str, Mapping[str, str]] = {}


def lint_migrations() -> int:
    """Judge every migration of ours, and say what is wrong; 1 where one does more than expand."""
    wrong = 0
    loader = MigrationLoader(connection, replace_migrations=False)
    for app, name in loader.graph.nodes:
        if app not in OURS:
            continue
        migration = loader.graph.nodes[app, name]
        label = f"{app}.{name}"
        found = findings(migration, loader.project_state((app, name), at_end=False))
        for line in complaints(label, found):
            print(line)  # noqa: T201 -- the output of a command
            wrong = 1
    return wrong


def complaints(label: str, found: list[Finding]) -> Iterator[str]:
    """What is wrong with a migration in which that was found: what nobody accepted, and what is accepted in vain."""
    if label in FIRST:
        return
    accepted = ACCEPTED.get(label, {})
    for finding in found:
        if str(finding) not in accepted:
            yield f"{label}: {finding}: {WHY[finding.code]}"
    for stale in accepted.keys() - {str(finding) for finding in found}:
        yield f"{label}: {stale} is accepted in vibecode/local/expanding.py, and does not happen"


def findings(migration: Migration, state: ProjectState) -> list[Finding]:
    """Whatever a migration does more than expand, where ``state`` is what it begins with. Nothing of it is done."""
    found: list[Finding] = []
    if type(migration).apply is not Migration.apply:
        found.append(Finding("OPAQUE", "apply"))
    transactions: list[list[str]] = []
    with connection.schema_editor(collect_sql=True, atomic=migration.atomic) as editor:
        for operation in migration.operations:
            before, said = state.clone(), len(editor.collected_sql)
            operation.state_forwards(migration.app_label, state)
            opaque = list(_opaque(operation))
            found += opaque
            if not opaque:
                operation.database_forwards(migration.app_label, editor, before, state)
            pieces = editor.collected_sql[said:]
            transactions += [pieces] if operation.atomic else [[piece] for piece in pieces]
        said = len(editor.collected_sql)
    transactions += [[piece] for piece in editor.collected_sql[said:]]  # what Django leaves for the end
    if migration.atomic:
        transactions = [[piece for pieces in transactions for piece in pieces]]
    return found + judge(transactions)


def _opaque(operation: Operation) -> Iterator[Finding]:
    """Each time that it runs code that cannot be read instead of SQL, also where that is wrapped."""
    if not type(operation).__module__.startswith(READABLE):
        yield Finding("OPAQUE", type(operation).__name__)
    elif isinstance(operation, RunPython):
        yield Finding("OPAQUE", getattr(operation.code, "__name__", str(operation.code)))
    elif isinstance(operation, SeparateDatabaseAndState):
        for wrapped in operation.database_operations:
            yield from _opaque(wrapped)
