"""Many rows in few statements, in each database's own fastest words."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from typing import Any

from sqlalchemy import Column, Connection, String, Table, Text
from sqlalchemy.dialects import postgresql
from sqlalchemy.engine import Dialect

from adapters.sql.faults import as_sqlalchemys
from adapters.views.columns import Form, Unwritable, form_of
from adapters.views.rows import Changes, getter
from projections import Key, Row

COPY_FROM_ROWS = 32
"""Below, one INSERT is faster than COPY's two round trips."""
ROWS_AT_ONCE = 1_000
"""So many are built before they are sent. PostgreSQL ends a session that is idle in its transaction for two seconds, and
building 50,000 rows takes longer: then a rebuild began again for ever."""
_BLOCKS = (256, 64, 16, 4, 1)


class Writer:
    """Writes one table's changes."""

    def __init__(self, table: Table) -> None:
        self._table = table
        self._columns = list(table.columns)
        self._names = [column.name for column in self._columns]
        self._key = [column.name for column in table.primary_key.columns]
        self._of = getter(self._names)
        self._statements: dict[Any, str] = {}
        self._forms: dict[str, Form] = {}
        self._dialect: Dialect | None = None

    def write(self, connection: Connection, changes: Changes) -> int:
        """The number of rows. Raises DBAPIError, Unwritable."""
        self._prepare(connection.dialect)
        write = self._to_postgresql if connection.dialect.name == "postgresql" else self._to_sqlite
        write(connection, changes)
        return len(changes.new) + len(changes.changed) + len(changes.unsure) + len(changes.gone)

    def may_hold(self, key: Key, dialect: Dialect) -> bool:
        """Whether a row of that key can exist. Not every database would answer the question."""
        self._prepare(dialect)
        try:
            self._columns_of(self._key, [key])
        except Unwritable:
            return False
        return True

    def _prepare(self, dialect: Dialect) -> None:
        if self._dialect is not dialect:
            self._dialect = dialect
            self._forms = {column.name: form_of(column, dialect) for column in self._columns}

    def _columns_of(self, names: Sequence[str], values: Iterable[Sequence[Any]]) -> list[Sequence[Any]]:
        """Rows as columns, each value as the driver wants it. Raises Unwritable."""
        return [self._formed(name, column) for name, column in zip(names, zip(*values, strict=True), strict=True)]

    def _formed(self, name: str, values: Sequence[Any]) -> Sequence[Any]:
        try:
            return self._forms[name](values)
        except (ValueError, TypeError) as error:
            raise Unwritable(f"{self._table.name}.{name}: {error}") from error

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
        statement = f"COPY {self._into()} FROM STDIN"
        with (
            as_sqlalchemys(connection.dialect, connection, statement),
            driver.cursor() as cursor,
            cursor.copy(statement) as copy,
        ):
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
    # Never with a length: what is cast to one is cut off in silence.
    plain = Text() if isinstance(column.type, String) else column.type
    return plain.compile(dialect=postgresql.dialect())  # type: ignore[no-untyped-call]


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _list(names: Sequence[str]) -> str:
    return ", ".join(map(_quoted, names))
