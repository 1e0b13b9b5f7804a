"""What migrations say to have a table followed by the audit trail: triggers that write vibecode_change.

Called by the apps' migrations alone. Each statement locks one table, briefly, and may run twice.
"""

from collections.abc import Sequence

from django.db.migrations import RunSQL

INSERT, UPDATE, DELETE = "INSERT", "UPDATE", "DELETE"
EVERY = (INSERT, UPDATE, DELETE)


def track(
    table: str,
    *columns: str,
    kind: str,
    deeds: Sequence[str] = EVERY,
    name: str = "",
    page: tuple[str, str] | None = None,
    look_up: str = "",
) -> RunSQL:
    """Write a change for each of ``deeds`` to one of ``columns``: these and no others, so that no person gets into it.

    ``kind`` is the model's label. ``name`` is the column that people call the row by. The change is shown on the row's
    own page, or on that of ``page``: the label of another model, and the column that has its id. ``look_up`` is a query
    for that id and a name, given the row ($1, a jsonb).
    """
    page_kind, page_column = page or (kind, "id")
    arguments = (kind, " ".join(columns), name, page_kind, page_column, look_up)
    call = f"EXECUTE FUNCTION vibecode_write_change({', '.join(map(_quoted, arguments))})"
    changed = " OR ".join(f"OLD.{column} IS DISTINCT FROM NEW.{column}" for column in columns)
    when = {UPDATE: (f"UPDATE OF {', '.join(columns)}", f"WHEN ({changed}) ")}
    made, dropped = [], []
    for deed in deeds:
        event, condition = when.get(deed, (deed, ""))
        trigger = f"audit_{deed.lower()}"
        made.append(f"CREATE OR REPLACE TRIGGER {trigger} AFTER {event} ON {table} FOR EACH ROW {condition}{call}")
        dropped.append(f"DROP TRIGGER IF EXISTS {trigger} ON {table}")
    return RunSQL(tuple(made), tuple(dropped))


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
