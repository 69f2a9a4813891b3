"""Many rows in few statements, in each database's own fastest words."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain
from typing import Any

import psycopg
from sqlalchemy import Column, Connection, LargeBinary, String, Table
from sqlalchemy.dialects import postgresql
from sqlalchemy.engine import Dialect
from sqlalchemy.exc import DBAPIError

from adapters.views.faults import Unwritable
from adapters.views.rows import Changes, getter
from projections import Row

COPY_FROM_ROWS = 32
"""Below, one INSERT is faster than COPY's two round trips."""
ROWS_AT_ONCE = 1_000
"""So many are built before they are sent. PostgreSQL ends a session that is idle in its transaction for two seconds, and
building 50,000 rows takes longer: then a rebuild began again for ever."""
_BLOCKS = (256, 64, 16, 4, 1)

Bind = Callable[[Any], Any]


class Writer:
    """Writes one table's changes."""

    def __init__(self, table: Table) -> None:
        self._table = table
        self._columns = list(table.columns)
        self._names = [column.name for column in self._columns]
        self._key = [column.name for column in table.primary_key.columns]
        self._of = getter(self._names)
        self._statements: dict[Any, str] = {}
        self._binds: dict[str, Bind] = {}
        self._dialect: Dialect | None = None

    def write(self, connection: Connection, changes: Changes) -> int:
        """The number of rows. Raises DBAPIError, Unwritable."""
        self._prepare(connection.dialect)
        write = self._to_postgresql if connection.dialect.name == "postgresql" else self._to_sqlite
        try:
            write(connection, changes)
        except DBAPIError:
            raise
        except psycopg.Error as error:
            # COPY is the driver's own, so SQLAlchemy neither wraps what it raises nor notices a lost connection.
            if isinstance(error, psycopg.OperationalError):
                connection.invalidate(error)
            statement = f"COPY {self._table.name}"
            raise DBAPIError.instance(statement, None, error, psycopg.Error, dialect=connection.dialect) from error
        except (ValueError, TypeError, OverflowError) as error:
            raise Unwritable(f"{self._table.name}: {type(error).__name__}: {error}") from error
        return len(changes.new) + len(changes.changed) + len(changes.unsure) + len(changes.gone)

    def _prepare(self, dialect: Dialect) -> None:
        if self._dialect is not dialect:
            self._dialect = dialect
            binds = ((column.name, _bind(column, dialect)) for column in self._columns)
            self._binds = {name: bind for name, bind in binds if bind is not None}

    def _columns_of(self, names: Sequence[str], values: Iterable[Sequence[Any]]) -> list[Sequence[Any]]:
        """Rows as columns, each value as the driver wants it."""
        columns: list[Sequence[Any]] = list(zip(*values, strict=True))
        for position, name in enumerate(names):
            if bind := self._binds.get(name):
                columns[position] = [None if value is None else bind(value) for value in columns[position]]
        return columns

    # SQLite: statements of many rows, because sqlite3 gives the interpreter away at every step. With a busy thread
    # beside it, executemany of 500 rows wrote 350 rows a second, blocks of 256 wrote 18,000.

    def _to_sqlite(self, connection: Connection, changes: Changes) -> None:
        rows = [*changes.new, *changes.changed, *changes.unsure]
        for block in _blocks(rows):
            values = self._columns_of(self._names, map(self._of, block))
            connection.exec_driver_sql(self._sqlite_upsert(len(block)), tuple(chain.from_iterable(zip(*values, strict=True))))
        for keys in _blocks(changes.gone):
            values = self._columns_of(self._key, keys)
            connection.exec_driver_sql(self._sqlite_delete(len(keys)), tuple(chain.from_iterable(zip(*values, strict=True))))

    def _sqlite_upsert(self, rows: int) -> str:
        statement = self._statements.get(("upsert", rows))
        if statement is None:
            one = f"({', '.join('?' * len(self._names))})"
            statement = f"INSERT INTO {self._into()} VALUES {', '.join([one] * rows)} {self._on_conflict()}"  # noqa: S608
            self._statements["upsert", rows] = statement
        return statement

    def _sqlite_delete(self, rows: int) -> str:
        # Not (a, b) IN (VALUES …), for which SQLite reads the whole table.
        one = " AND ".join(f"{_quoted(name)} = ?" for name in self._key)
        return f"DELETE FROM {_quoted(self._table.name)} WHERE {' OR '.join([f'({one})'] * rows)}"  # noqa: S608

    # PostgreSQL: COPY for rows that are known to be new, arrays for the others.

    def _to_postgresql(self, connection: Connection, changes: Changes) -> None:
        rows = [*changes.changed, *changes.unsure]
        if len(changes.new) >= COPY_FROM_ROWS:
            self._copy(connection, changes.new)
        else:
            rows += changes.new
        for part in _parts(rows):
            columns = self._columns_of(self._names, map(self._of, part))
            connection.exec_driver_sql(self._arrays_upsert(), tuple(map(list, columns)))
        for part in _parts(changes.gone):
            keys = self._columns_of(self._key, part)
            connection.exec_driver_sql(self._arrays_delete(), tuple(map(list, keys)))

    def _copy(self, connection: Connection, rows: Sequence[Row]) -> None:
        driver: Any = connection.connection.driver_connection
        with driver.cursor() as cursor, cursor.copy(f"COPY {self._into()} FROM STDIN") as copy:
            for part in _parts(rows):
                for row in zip(*self._columns_of(self._names, map(self._of, part)), strict=True):
                    copy.write_row(row)

    def _arrays_upsert(self) -> str:
        arrays = ", ".join(f"%s::{_type(column)}[]" for column in self._columns)
        return f"INSERT INTO {self._into()} SELECT * FROM unnest({arrays}) {self._on_conflict()}"  # noqa: S608

    def _arrays_delete(self) -> str:
        arrays = ", ".join(f"%s::{_type(self._table.columns[name])}[]" for name in self._key)
        keys = _list(self._key)
        return f"DELETE FROM {_quoted(self._table.name)} WHERE ({keys}) IN (SELECT * FROM unnest({arrays}))"  # noqa: S608

    # Both.

    def _into(self) -> str:
        return f"{_quoted(self._table.name)} ({_list(self._names)})"

    def _on_conflict(self) -> str:
        others = [name for name in self._names if name not in self._key]
        if not others:
            return f"ON CONFLICT ({_list(self._key)}) DO NOTHING"
        changes = ", ".join(f"{_quoted(name)} = excluded.{_quoted(name)}" for name in others)
        # SQLite takes the ON of a conflict for that of a join unless a WHERE stands before it; VALUES needs none.
        return f"ON CONFLICT ({_list(self._key)}) DO UPDATE SET {changes}"


def _bind(column: Column[Any], dialect: Dialect) -> Bind | None:
    process = column.type.dialect_impl(dialect).bind_processor(dialect)
    if process is None and isinstance(column.type, String) and dialect.name == "postgresql":
        # psycopg refuses a list in which some are of a class of their own, as our ids are.
        return str
    if process is None and isinstance(column.type, LargeBinary):
        return bytes
    return process


def _blocks(rows: Sequence[Any]) -> Iterator[Sequence[Any]]:
    start = 0
    for size in _BLOCKS:
        while len(rows) - start >= size:
            yield rows[start : start + size]
            start += size


def _parts(rows: Sequence[Any]) -> Iterator[Sequence[Any]]:
    for start in range(0, len(rows), ROWS_AT_ONCE):
        yield rows[start : start + ROWS_AT_ONCE]


def _type(column: Column[Any]) -> str:
    return column.type.compile(dialect=postgresql.dialect())  # type: ignore[no-untyped-call]


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _list(names: Sequence[str]) -> str:
    return ", ".join(map(_quoted, names))
