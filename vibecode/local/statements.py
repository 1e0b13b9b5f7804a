"""What the SQL of a migration does to the release that runs beside it. Called by expanding.py.

PostgreSQL's own parser reads it. What only expands, and locks nothing for long, stands here kind by kind; whatever does
not stand here is a finding. Lock by lock: https://www.postgresql.org/docs/current/sql-altertable.html
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pglast import ast, parse_sql
from pglast.enums import AlterTableType, ConstrType, ObjectType
from pglast.parser import ParseError

WHY: Mapping[str, str] = {
    "CHECKED_RULE": "adds a rule that reads the whole table under a lock: AddRule, and ValidateConstraint after it",
    "DATA": "changes rows: how many, how long, and what the release before makes of them?",
    "DEFAULT": "changes what the release before gets for a column that it leaves out",
    "DROPS": "drops what the release before may use",
    "INDEX": "builds an index while writers wait: BuildIndex",
    "NOT_NULL": "asks for a value that the release before does not write",
    "OPAQUE": "does what cannot be read from the migration",
    "RENAMES": "renames or moves what the release before uses",
    "RETYPES": "changes the type of a column: most of the time under a lock, row by row",
    "REWRITES": "gives each row there is a value of its own, under a lock that nobody reads through",
    "UNKNOWN": "is not among what is known to expand only, and to lock nothing for long",
    "UNREADABLE": "is no SQL",
    "VALIDATES": "reads the whole table while its transaction holds other locks: atomic = False",
}
# On a table that the same migration makes there is no row, and nobody else.
ON_A_NEW_TABLE = {
    AlterTableType.AT_AddColumn,
    AlterTableType.AT_AddConstraint,
    AlterTableType.AT_AlterColumnType,
    AlterTableType.AT_ColumnDefault,
    AlterTableType.AT_DropColumn,
    AlterTableType.AT_DropConstraint,
    AlterTableType.AT_DropNotNull,
    AlterTableType.AT_SetNotNull,
    AlterTableType.AT_ValidateConstraint,
}
OF_A_CHANGE = {
    AlterTableType.AT_AlterColumnType: "RETYPES",
    AlterTableType.AT_DropColumn: "DROPS",
    AlterTableType.AT_DropConstraint: "DROPS",
    AlterTableType.AT_SetNotNull: "NOT_NULL",
}
# Of a column that is added: each says nothing about rows that are there.
HARMLESS = {
    ConstrType.CONSTR_NULL,
    ConstrType.CONSTR_ATTR_DEFERRABLE,
    ConstrType.CONSTR_ATTR_NOT_DEFERRABLE,
    ConstrType.CONSTR_ATTR_DEFERRED,
    ConstrType.CONSTR_ATTR_IMMEDIATE,
}
OF_A_COLUMN = {
    ConstrType.CONSTR_CHECK: "CHECKED_RULE",
    ConstrType.CONSTR_GENERATED: "REWRITES",
    ConstrType.CONSTR_IDENTITY: "REWRITES",
    ConstrType.CONSTR_PRIMARY: "INDEX",
    ConstrType.CONSTR_UNIQUE: "INDEX",
}
OF_A_STATEMENT: Mapping[type[Any], str] = {
    **dict.fromkeys((ast.RenameStmt, ast.AlterObjectSchemaStmt), "RENAMES"),
    **dict.fromkeys((ast.InsertStmt, ast.UpdateStmt, ast.DeleteStmt, ast.MergeStmt, ast.CopyStmt), "DATA"),
    **dict.fromkeys((ast.DoStmt, ast.CallStmt, ast.SelectStmt), "OPAQUE"),
}
SERIAL = {"serial", "serial2", "serial4", "serial8", "smallserial", "bigserial"}
ONCE = {"now", "statement_timestamp", "transaction_timestamp"}  # the same for all rows of a statement


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that does more than expand: its code, and what it is about."""

    code: str
    about: str

    def __str__(self) -> str:
        return f"{self.code} {self.about}"


def judge(transactions: Iterable[Sequence[str]]) -> list[Finding]:
    """What is found in a migration: its SQL, in pieces that are each one transaction."""
    judging = _Judging()
    return [finding for pieces in transactions for finding in judging.transaction(pieces)]


class _Judging:
    """What is known of a migration so far: what it has made, it may do with as it likes."""

    def __init__(self) -> None:
        self.tables: set[str] = set()
        self.may_be_empty: set[str] = set()  # columns that were added, and may be NULL

    def transaction(self, pieces: Sequence[str]) -> Iterator[Finding]:
        """What is found in one transaction of it."""
        statements: list[Any] = []
        for piece in pieces:
            try:
                statements += [raw.stmt for raw in parse_sql(piece)]
            except ParseError as error:
                yield Finding("UNREADABLE", str(error.args[0]))
        alone = all(_only_validates(statement) for statement in statements)
        for statement in statements:
            yield from self._statement(statement, alone)

    def _statement(self, statement: Any, alone: bool) -> Iterator[Finding]:
        match statement:
            case ast.CreateStmt(partbound=None, inhRelations=None):
                if not statement.if_not_exists:
                    self.tables.add(_name(statement.relation))
            case ast.AlterTableStmt(objtype=ObjectType.OBJECT_TABLE):
                for change in statement.cmds or ():
                    yield from self._change(_name(statement.relation), change, alone)
            case ast.IndexStmt():
                if not (statement.concurrent or _name(statement.relation) in self.tables):
                    yield Finding("INDEX", statement.idxname or _name(statement.relation))
            case ast.DropStmt():
                yield from (Finding("DROPS", _words(dropped)) for dropped in statement.objects or ())
            case ast.TruncateStmt():
                yield from (Finding("DATA", _name(relation)) for relation in statement.relations or ())
            case _ if not _only_expands(statement):
                yield Finding(OF_A_STATEMENT.get(type(statement), "UNKNOWN"), _about(statement))

    def _change(self, table: str, change: Any, alone: bool) -> Iterator[Finding]:
        column = f"{table}.{change.name}"
        match change.subtype:
            case kind if table in self.tables and kind in ON_A_NEW_TABLE:
                pass
            case AlterTableType.AT_AddColumn:
                yield from self._column(table, change.def_)
            case AlterTableType.AT_AddConstraint:
                code = _of_rule(change.def_)
                if code:
                    yield Finding(code, f"{table}.{change.def_.conname}" if change.def_.conname else table)
            case AlterTableType.AT_ValidateConstraint:
                if not alone:
                    yield Finding("VALIDATES", column)
            case AlterTableType.AT_ColumnDefault:
                if change.def_ is not None or column not in self.may_be_empty:
                    yield Finding("DEFAULT", column)
            case AlterTableType.AT_DropNotNull:
                pass
            case kind:
                about = column if change.name else f"{kind.name.removeprefix('AT_')} {table}"
                yield Finding(OF_A_CHANGE.get(kind, "UNKNOWN"), about)

    def _column(self, table: str, added: Any) -> Iterator[Finding]:
        about = f"{table}.{added.colname}"
        rules = {rule.contype: rule for rule in added.constraints or ()}
        default = rules.pop(ConstrType.CONSTR_DEFAULT, None)
        given = default is not None and not _is_null(default.raw_expr)
        if rules.pop(ConstrType.CONSTR_NOTNULL, None) is None:
            self.may_be_empty.add(about)
        elif not given:
            yield Finding("NOT_NULL", about)
        if (given and not _is_same_for_all(default.raw_expr)) or _words(added.typeName.names) in SERIAL:
            yield Finding("REWRITES", about)
        if rules.pop(ConstrType.CONSTR_FOREIGN, None) is not None and given:  # NULL refers to nothing: no row is read
            yield Finding("CHECKED_RULE", about)
        for kind in rules.keys() - HARMLESS:
            yield Finding(OF_A_COLUMN.get(kind, "UNKNOWN"), about)


def _of_rule(rule: Any) -> str:
    """What there is against a rule on a table in use. Whether the release before keeps it, only its tests can say."""
    match rule.contype:
        case ConstrType.CONSTR_CHECK | ConstrType.CONSTR_FOREIGN:
            return "" if rule.skip_validation else "CHECKED_RULE"
        case ConstrType.CONSTR_UNIQUE:
            return "" if rule.indexname else "INDEX"
        case ConstrType.CONSTR_PRIMARY:
            return "INDEX"  # of an index that is there, too: it makes its columns NOT NULL
        case ConstrType.CONSTR_EXCLUSION:
            return "CHECKED_RULE"
        case _:
            return "UNKNOWN"


def _only_expands(statement: Any) -> bool:
    """Whether it makes something beside what there is, or says something about it."""
    match statement:
        case ast.CreateFunctionStmt() | ast.ViewStmt():
            return not statement.replace
        case ast.GrantStmt():
            return bool(statement.is_grant)
        # A trigger locks its table for a moment. It is replaced where the audit trail follows more columns than before.
        case ast.CreateTrigStmt() | ast.CreateSeqStmt() | ast.CreateExtensionStmt():
            return True
        case ast.CommentStmt() | ast.ConstraintsSetStmt():
            return True
        case _:
            return False


def _only_validates(statement: Any) -> bool:
    match statement:
        case ast.ConstraintsSetStmt():
            return True
        case ast.AlterTableStmt():
            return all(change.subtype == AlterTableType.AT_ValidateConstraint for change in statement.cmds or ())
        case _:
            return False


def _is_null(expression: Any) -> bool:
    match expression:
        case ast.TypeCast():
            return _is_null(expression.arg)
        case ast.A_Const():
            return bool(expression.isnull)
        case _:
            return False


def _is_same_for_all(expression: Any) -> bool:
    """Whether it is worked out once, and stands in the catalogue for all rows that are there."""
    match expression:
        case ast.A_Const() | ast.SQLValueFunction():
            return True
        case ast.TypeCast():
            return _is_same_for_all(expression.arg)
        case ast.A_ArrayExpr():
            return all(_is_same_for_all(element) for element in expression.elements or ())
        case ast.FuncCall():
            return not expression.args and _words(expression.funcname) in ONCE
        case _:
            return False


def _name(relation: Any) -> str:
    """A table's name, however it is written."""
    return ".".join(filter(None, (relation.schemaname, relation.relname))).removeprefix("public.")


def _words(named: Any) -> str:
    """A name of several parts: of a table, a trigger on one, a function, a type."""
    match named:
        case ast.ObjectWithArgs():
            return _words(named.objname)
        case ast.TypeName():
            return _words(named.names)
        case ast.String():
            return str(named.sval)
        case _:
            return ".".join(_words(part) for part in named).removeprefix("public.").removeprefix("pg_catalog.")


def _about(statement: Any) -> str:
    """The table that it names, or what kind of statement it is."""
    relation = getattr(statement, "relation", None)
    return _name(relation) if isinstance(relation, ast.RangeVar) else type(statement).__name__.removesuffix("Stmt")
