"""`projections.Session` on SQL: rows are folded in memory and written once, at the end of the chunk."""

from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager
from typing import Any

from sqlalchemy import Connection, Engine, MetaData, Table, and_, bindparam, select

from adapters.sql import reading
from adapters.views.rows import Entry, Rows
from adapters.views.writing import Writer
from projections import Key, Row

CACHED_ROWS = 20_000
"""Of each table and shard, twice: about 1 kB a row."""


class Snapshot:
    """A connection to read rows with, opened when the first is asked for, for as long as the block lasts."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._open: AbstractContextManager[Connection] | None = None
        self._connection: Connection | None = None

    def __enter__(self) -> "Snapshot":
        return self

    def __exit__(self, *raised: Any) -> None:
        self._close(*raised)

    def __call__(self) -> Connection:
        if self._connection is None:
            self._open = reading(self._engine)
            self._connection = self._open.__enter__()
            if self._connection.dialect.name == "postgresql":
                # It holds no lock, so readers that fold for long between two rows harm nobody; else the server would end it.
                raw: Any = self._connection.connection
                raw.cursor().execute("set local idle_in_transaction_session_timeout = '60s'")
        return self._connection

    def renew(self) -> None:
        """Close it: after a statement that it refused, PostgreSQL answers no other in the same transaction."""
        self._close(None, None, None)

    def _close(self, *raised: Any) -> None:
        if self._open is not None:
            opened, self._open, self._connection = self._open, None, None
            opened.__exit__(*raised)


class SqlSession:
    """One shard's rows of one projection, valid while the shard's position is ours."""

    def __init__(
        self, tables: Iterable[Table], names: Mapping[Table, str] | None = None, *, cached_rows: int = CACHED_ROWS
    ) -> None:
        """`names` are those of the tables to write, where they are not the projection's own: a rebuild's."""
        self._undo: list[tuple[Rows, Key, Entry]] = []
        self._rows = {table: Rows(table, self._read, self._undo, cached_rows) for table in tables}
        targets = {table: table.to_metadata(MetaData(), name=names[table]) if names else table for table in self._rows}
        self._writers = {table: Writer(target) for table, target in targets.items()}
        self._selects = {table: _select_one(target) for table, target in targets.items()}
        self._connect: Callable[[], Connection] = _not_connected

    def get(self, table: Table, *key: Any) -> Row | None:
        return self._rows[table].get(key)

    def put(self, table: Table, row: Row) -> None:
        self._rows[table].put(row)

    def change(self, table: Table, *key: Any, **values: Any) -> None:
        self._rows[table].change(key, values)

    def delete(self, table: Table, *key: Any) -> None:
        self._rows[table].delete(key)

    def connect(self, connect: Callable[[], Connection]) -> None:
        """How to come by a connection on which rows that are not in memory are read."""
        self._connect = connect

    def keep(self) -> None:
        """The event was applied."""
        self._undo.clear()

    def undo(self) -> None:
        """The event failed half-way and leaves no trace."""
        while self._undo:
            rows, key, before = self._undo.pop()
            rows.undo(key, before)

    @property
    def has_changes(self) -> bool:
        return any(rows.has_changes for rows in self._rows.values())

    def flush(self, connection: Connection) -> int:
        """Write what changed, a few statements a table. The number of rows."""
        written = 0
        for table, rows in self._rows.items():
            if changes := rows.changes():
                written += self._writers[table].write(connection, changes)
        return written

    def settle(self) -> None:
        """What was flushed is committed."""
        for rows in self._rows.values():
            rows.settle()

    def forget(self, *, complete: bool = False) -> None:
        """Nothing in memory is worth anything any more. `complete`: the tables hold no row of this shard."""
        self._undo.clear()
        for rows in self._rows.values():
            rows.forget(complete=complete)

    def _read(self, table: Table, key: Key) -> Row | None:
        connection = self._connect()
        if not self._writers[table].may_hold(key, connection.dialect):
            return None
        parts = {f"k{n}": part for n, part in enumerate(key)}
        row = connection.execute(self._selects[table], parts).mappings().one_or_none()
        return None if row is None else dict(row)


def _not_connected() -> Connection:
    raise AssertionError("a session reads only while it is connected")


def _select_one(table: Table) -> Any:
    keys = (column == bindparam(f"k{n}", type_=column.type) for n, column in enumerate(table.primary_key.columns))
    return select(table).where(and_(*keys))
