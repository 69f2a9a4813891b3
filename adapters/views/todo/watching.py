"""What a plan reads, and which readers have moved: together they say when a list has to be planned again."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Protocol
from weakref import WeakKeyDictionary

from sqlalchemy import ColumnClause, Connection, Engine, Table, TableClause, TextClause, event, func, select
from sqlalchemy.sql import visitors

from adapters.sql import reading
from adapters.views.positions import OF_READER, place_of
from adapters.views.tables import positions


class Unwatched(LookupError):
    """A plan reads something of which nobody would tell it that it has changed."""


class Shown(Protocol):
    """`projections.Projection`."""

    @property
    def name(self) -> str: ...

    @property
    def tables(self) -> tuple[Table, ...]: ...


class Watch:
    """Whose rows a plan reads, statement by statement."""

    def __init__(self, views: Iterable[Shown]) -> None:
        self._readers = {table.name: view.name for view in views for table in view.tables}

    @contextmanager
    def over(self, connection: Connection) -> Iterator[set[str]]:
        """The readers whose rows are read meanwhile. A statement of text raises Unwatched, as does a table of no reader."""
        found: set[str] = set()

        def note(_connection: Any, _cursor: Any, statement: str, _values: Any, context: Any, _many: Any) -> None:
            tables = None if context.compiled is None else _tables_of(context.compiled)
            if tables is None:
                raise Unwatched(f"a plan reads by text, in which nobody finds the tables: {statement}")
            found.update(self._reader(table, context.execution_options) for table in tables)

        event.listen(connection, "before_cursor_execute", note)
        try:
            yield found
        finally:
            event.remove(connection, "before_cursor_execute", note)

    def _reader(self, table: str, options: Mapping[str, Any]) -> str:
        if table == positions.name and (reader := options.get(OF_READER)):
            return place_of(reader)
        if table not in self._readers:
            raise Unwatched(f"a plan reads {table}, and no reader that is wired here tells when it has changed")
        return self._readers[table]


_known: WeakKeyDictionary[Any, frozenset[str] | None] = WeakKeyDictionary()
"""SQLAlchemy keeps what it has compiled, so a statement is looked through once."""


def _tables_of(compiled: Any) -> frozenset[str] | None:
    """None where a part of it is text."""
    if compiled not in _known:
        parts = list(visitors.iterate(compiled.statement))
        tables = [part.table if isinstance(part, ColumnClause) else part for part in parts]
        names = frozenset(table.name for table in tables if isinstance(table, TableClause))
        _known[compiled] = None if any(isinstance(part, TextClause) for part in parts) else names
    return _known[compiled]


_MARKS = select(
    positions.c.reader,
    func.sum(positions.c.next),
    func.sum(positions.c.wrote),
    func.sum(positions.c.epoch),
    func.sum(positions.c.generation),
).group_by(positions.c.reader)


class ProgressSignal:
    """Which readers have moved, whoever runs them: one statement for all lists of a process."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._marks: dict[str, tuple[Any, ...]] = {}

    def moved(self) -> frozenset[str]:
        """Those whose rows have changed since it was last asked, and `place_of` those that have moved."""
        with reading(self._engine) as connection:
            marks: dict[str, tuple[Any, ...]] = {}
            for reader, place, *rows in connection.execute(_MARKS):
                marks[reader], marks[place_of(reader)] = tuple(rows), (place,)
        moved = {name for name in marks.keys() | self._marks.keys() if marks.get(name) != self._marks.get(name)}
        self._marks = marks
        return frozenset(moved)
