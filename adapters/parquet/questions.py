"""What counts as a question: SQL that reads. Judged by the tree that DuckDB's own parser makes of it.

A list of what is allowed, because a newer DuckDB brings new ways to write: since 2.0 a COPY may stand in a WITH, and functions
that run the SQL in a string, or read at an address in memory, look like any other table.
"""

import re
from collections.abc import Iterator
from typing import Any, Final

import orjson

QUERIES: Final = frozenset({"SELECT_NODE", "SET_OPERATION_NODE", "RECURSIVE_CTE_NODE", "CTE_NODE"})
TABLE_FUNCTIONS: Final = frozenset(
    {
        "unnest", "range", "generate_series", "repeat", "repeat_row", "json_each", "json_tree", "summary", "histogram",
        "histogram_values", "read_parquet", "parquet_scan", "parquet_metadata", "parquet_schema", "parquet_file_metadata",
        "glob", "duckdb_tables", "duckdb_views", "duckdb_columns", "duckdb_functions", "duckdb_types", "duckdb_settings",
        "pragma_table_info", "pg_timezone_names",
    }
)  # fmt: skip
_EXPLAIN = re.compile(r"\s*EXPLAIN(\s+ANALYZE)?\s+(?![\s(])", re.IGNORECASE)


class QueryRefused(Exception):
    """It is not one query that only reads. The message says what is in the way."""


def explained(sql: str) -> str:
    """What an EXPLAIN explains; anything else as it is."""
    match = _EXPLAIN.match(sql)
    return sql[match.end() :] if match else sql


def judge(tree: str) -> None:
    """Raises QueryRefused unless the tree is one query that reads."""
    found: dict[str, Any] = orjson.loads(tree)
    if found.get("error"):
        raise QueryRefused(_said(found))
    if len(found["statements"]) != 1:
        raise QueryRefused(f"one query at a time, not {len(found['statements'])}")
    for node in _nodes(found["statements"]):
        kind = node.get("type")
        if isinstance(kind, str) and kind.endswith("_NODE") and kind not in QUERIES:
            raise QueryRefused(
                f"{kind.removesuffix('_QUERY_NODE').removesuffix('_NODE')} changes something; an export is only read"
            )
        if kind == "TABLE_FUNCTION":
            function = str(node["function"]["function_name"]).lower()
            if function not in TABLE_FUNCTIONS:
                raise QueryRefused(f"{function}() is not available here; there are: {', '.join(sorted(TABLE_FUNCTIONS))}")


def _said(found: dict[str, Any]) -> str:
    message = str(found.get("error_message", ""))
    if message.startswith("Only SELECT"):
        return "only queries are answered: SELECT, FROM, WITH, VALUES, DESCRIBE, SUMMARIZE, SHOW TABLES, EXPLAIN"
    return message


def _nodes(tree: Any) -> Iterator[dict[str, Any]]:
    waiting = [tree]
    while waiting:
        found = waiting.pop()
        if isinstance(found, dict):
            yield found
            waiting += found.values()
        elif isinstance(found, list):
            waiting += found
