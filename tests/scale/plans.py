"""What a page makes PostgreSQL look at: its statements, and what their plans read. Used by tests and benchmark."""

import json
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

from django.db import connection
from django.test.utils import CaptureQueriesContext


@dataclass(frozen=True, slots=True)
class Statement:
    """One statement of a page: how many rows its busiest node looked at, and how many blocks it read in all."""

    sql: str
    looked_at: int
    node: str
    blocks: int
    milliseconds: float
    skips: str = ""  # the index whose first column it does not know: PostgreSQL 18 skips through it, 17 reads it all

    def __str__(self) -> str:
        skips = f"skips through {self.skips}, " if self.skips else ""
        return f"{skips}{self.node} looks at {self.looked_at:,} rows, {self.blocks:,} blocks in all: {self.sql[:1500]}"


@dataclass(frozen=True, slots=True)
class Cost:
    """What a page costs."""

    statements: list[Statement]
    milliseconds: float
    status: int

    @property
    def worst(self) -> Statement:
        """The statement whose busiest node looks at most rows."""
        return max(self.statements, key=lambda each: each.looked_at)

    @property
    def blocks(self) -> int:
        """All that it reads."""
        return sum(each.blocks for each in self.statements)

    @property
    def at_work(self) -> float:
        """Milliseconds that PostgreSQL works on them."""
        return sum(each.milliseconds for each in self.statements)


def cost_of(ask: Callable[[], Any]) -> Cost:
    """Ask for a page, then have each of its reads explained by the database, with what it really looked at."""
    started = time.perf_counter()
    with CaptureQueriesContext(connection) as captured:
        answer = ask()
    milliseconds = (time.perf_counter() - started) * 1000
    asked = [query["sql"] for query in captured if not query["sql"].startswith(("BEGIN", "COMMIT", "ROLLBACK"))]
    return Cost([explain(sql) for sql in asked], milliseconds, answer.status_code)


def explain(sql: str) -> Statement:
    """One statement's plan, carried out; a write is only counted."""
    if not sql.lstrip("( ").startswith(("SELECT", "WITH")):
        return Statement(sql, 0, "write", 0, 0)
    with connection.cursor() as cursor:
        cursor.execute("EXPLAIN (ANALYZE, BUFFERS, TIMING OFF, FORMAT JSON) " + sql.replace("%", "%%"), [])
        (found,) = cursor.fetchone()
    explained = (json.loads(found) if isinstance(found, str) else found)[0]
    plan = explained["Plan"]
    busiest = max(_nodes(plan), key=_looked_at)
    blocks = plan.get("Shared Hit Blocks", 0) + plan.get("Shared Read Blocks", 0)
    name = " on ".join(filter(None, (busiest["Node Type"], busiest.get("Index Name") or busiest.get("Relation Name"))))
    skips = next((node["Index Name"] for node in _nodes(plan) if _skips(node)), "")
    return Statement(sql, round(_looked_at(busiest)), name, blocks, explained["Execution Time"], skips)


def _nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for below in plan.get("Plans", ()):
        yield from _nodes(below)


def _looked_at(node: dict[str, Any]) -> float:
    """Rows that a node gave and those that it threw away, in all its loops."""
    thrown = ("Rows Removed by Filter", "Rows Removed by Join Filter", "Rows Removed by Index Recheck")
    rows = node["Actual Rows"] + sum(node.get(name, 0) for name in thrown)
    return float(rows * node["Actual Loops"])


def _skips(node: dict[str, Any]) -> bool:
    """Whether a node looks things up in a B-tree without knowing its first column, and no other index begins with one.

    Where another one does, an older PostgreSQL takes that.
    """
    if "Index Cond" not in node or "Index Name" not in node:
        return False
    asked, columns = _bare(node["Index Cond"]), _first_columns(node["Index Name"])
    return not any(re.search(rf"(?<![\w.]){re.escape(_bare(column))}(?!\w)", asked) for column in columns)


@cache
def _first_columns(index: str) -> list[str]:
    """Of a B-tree, and of the others of its table that are not partial; of a GIN nothing is first, all are."""
    with connection.cursor() as cursor:
        cursor.execute(_FIRST_COLUMNS, {"index": f'"{index}"'})
        return [column for (column,) in cursor.fetchall()]


_FIRST_COLUMNS = """
SELECT pg_get_indexdef(other.indexrelid, place, true)
FROM pg_index AS mine
JOIN pg_index AS other ON other.indrelid = mine.indrelid
JOIN pg_class AS named ON named.oid = other.indexrelid
JOIN pg_am ON pg_am.oid = named.relam
CROSS JOIN generate_series(1, CASE pg_am.amname WHEN 'btree' THEN 1 ELSE other.indnkeyatts END) AS place
WHERE mine.indexrelid = %(index)s::regclass
  AND (other.indexrelid = mine.indexrelid OR (other.indpred IS NULL AND pg_am.amname = 'btree'))
"""


def _bare(expression: str) -> str:
    """Brackets and spaces differ between a plan and a definition."""
    return re.sub(r'[()\s"]', "", expression)
