"""DuckDB, and the only module that names it: lines of JSON into a Parquet file, and a database that only reads a folder."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import duckdb

from adapters.parquet.columns import Kind

VERSION: Final[str] = duckdb.__version__
ROW_GROUP: Final = 100_000
ROW_GROUP_BYTES: Final = 128 * 1024 * 1024
"""Of spooled lines. A row group is made in memory, and a record may have sixty kilobytes."""
_VECTOR: Final = 2_048
THREADS: Final = 2
MEMORY: Final = "2GiB"
WRITING_MEMORY: Final = "1GiB"
"""Row groups of records that have sixty kilobytes each need 800 MB, and half of this is too little for them."""
PAGE_ROWS: Final = 1_000

Failed = duckdb.Error
"""What every query may raise."""

SPOOLED: Final[Mapping[Kind, str]] = {
    "text": "VARCHAR", "integer": "BIGINT", "flag": "BOOLEAN", "time": "TIMESTAMP", "amount": "VARCHAR",
}  # fmt: skip


class NameIsPattern(ValueError):
    """DuckDB would look for several folders of such names."""


def plain(folder: Path) -> Path:
    """The folder, if its name is a name and not a pattern. Raises NameIsPattern."""
    if set(str(folder)) & set("*?[]{}\n"):
        raise NameIsPattern(f"{folder}: DuckDB reads * ? [ ] {{ }} in a path as a pattern; choose another folder")
    return folder


def quoted(text: str) -> str:
    """As a string in SQL."""
    return "'" + text.replace("'", "''") + "'"


def name(text: str) -> str:
    """As an identifier in SQL."""
    return '"' + text.replace('"', '""') + '"'


def write(spool: Path, target: Path, columns: Mapping[str, Kind], values: bool, rows: int, size: int) -> None:
    """Rows in the order of their lines, in row groups of at most ROW_GROUP. The same lines make the same bytes."""
    spooled = {**{column: SPOOLED[kind] for column, kind in columns.items()}, "signature": "VARCHAR", "data": "VARCHAR"}
    chosen = ", ".join(map(name, spooled))
    if values:
        spooled["value"] = "VARCHAR"
        chosen += ", encode(value) AS value"
    kinds = ", ".join(f"{name(column)}: {quoted(kind)}" for column, kind in spooled.items())
    group = max(_VECTOR, min(ROW_GROUP, ROW_GROUP_BYTES * rows // max(size, 1)))
    with duckdb.connect(":memory:", config=_WRITING) as session:
        session.execute(
            f"COPY (SELECT {chosen} "  # noqa: S608  names and paths are quoted
            f"FROM read_json({quoted(str(spool))}, format = 'newline_delimited', columns = {{{kinds}}})) "
            f"TO {quoted(str(target))} (FORMAT parquet, COMPRESSION zstd, ROW_GROUP_SIZE {group})"
        )


class Locked:
    """A database in memory over a folder. After `lock` it reads that folder and nothing else, whatever SQL it is given.

    But for one thing: DuckDB lets SQL also write where it may read. `questions` keeps that away.
    """

    def __init__(self) -> None:
        self._session = duckdb.connect(":memory:", config=dict(_NO_EXTENSIONS))

    def define(self, view: str, query: str) -> None:
        """Make a view. Before the lock."""
        self._session.execute(f"CREATE VIEW {name(view)} AS {query}")

    def lock(self, folder: Path) -> None:
        """For good."""
        for setting, value in _LOCKS.items():
            self._session.execute(f"SET {setting} = {value}")
        # The order matters: directories can be allowed only while all is allowed.
        self._session.execute(f"SET allowed_directories = [{quoted(str(plain(folder)) + '/')}]")
        self._session.execute("SET enable_external_access = false")
        self._session.execute("SET lock_configuration = true")

    def tree(self, sql: str) -> str:
        """The SQL as DuckDB's parser understands it, as JSON; an error is part of it."""
        row = self._session.execute("SELECT json_serialize_sql(?::VARCHAR)", [sql]).fetchone()
        assert row is not None
        return str(row[0])

    def run(self, sql: str) -> tuple[Sequence[tuple[str, str]], Iterator[tuple[Any, ...]]]:
        """Names and types of the columns, and the rows as they are read. Raises Failed."""
        cursor = self._session.execute(sql)
        return [(str(column[0]), str(column[1])) for column in cursor.description or ()], _rows(cursor)

    def close(self) -> None:
        self._session.close()


def _rows(cursor: duckdb.DuckDBPyConnection) -> Iterator[tuple[Any, ...]]:
    while page := cursor.fetchmany(PAGE_ROWS):
        yield from page


_NO_EXTENSIONS: Final[Mapping[str, Any]] = {
    "autoinstall_known_extensions": False, "autoload_known_extensions": False, "allow_community_extensions": False,
}  # fmt: skip
# One thread: two divide the lines otherwise, and with them the row groups.
_WRITING: Final = {**_NO_EXTENSIONS, "threads": 1, "memory_limit": WRITING_MEMORY, "temp_directory": ""}
_LOCKS: Final = {
    "threads": str(THREADS),
    "memory_limit": quoted(MEMORY),
    # What does not fit into memory is not spilled: there is nowhere that it may write.
    "temp_directory": "''",
    "TimeZone": "'UTC'",
    "python_enable_replacements": "false",
    "allow_persistent_secrets": "false",
    "allow_extension_repositories": "'forbidden'",
}
