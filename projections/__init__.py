"""What happened, arranged for reading: tables, `project(event, record, session)`, queries.

A module here is a context. A projection is a pure fold: no clock, no randomness, no effect but on its own rows, so that
dropped and rebuilt, at any batch size, it has the same digest.

**A row is written from one stream only.** Streams live in one shard each and a shard has one reader, so no two readers
touch a row; what several shards tell is joined or summed by the query. That makes the fold the same for every
interleaving of the shards, and lets a reader keep rows in memory between its transactions.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from sqlalchemy import BigInteger, Integer, MetaData, Numeric, String, Table, TypeDecorator
from sqlalchemy.engine import Dialect

from contracts import Event, Record, is_policy

METADATA = MetaData()
"""Every view's tables. Alembic creates them; a rebuild makes copies beside them."""

Row = Mapping[str, Any]
Key = tuple[Any, ...]


class Session(Protocol):
    """The rows that a chunk of events touches. Reads see what the chunk has written; SQL happens once, at its end."""

    def get(self, table: Table, *key: Any) -> Row | None:
        """The row of that primary key."""

    def put(self, table: Table, row: Row) -> None:
        """The row as it now is, all columns; new or replaced."""

    def change(self, table: Table, *key: Any, **values: Any) -> None:
        """Some columns of a row that exists. Raises KeyError."""

    def delete(self, table: Table, *key: Any) -> None:
        """No such row any more."""


Project = Callable[[Any, Record, Session], None]
"""`project(event, record, session)`, the event being one of the contexts' events."""


WholeColumn = BigInteger().with_variant(Integer(), "sqlite")
"""A number of things. The language's go to 2^53; SQLite's INTEGER has 64 bits."""

MONEY_DIGITS = 78


def padded(units: int) -> str:
    """As SQLite keeps it: text that sorts as the number does, where that is not negative."""
    return f"{units:0{MONEY_DIGITS}d}"


class MoneyColumn(TypeDecorator[int]):
    """Exact integers of up to 78 digits that sort: NUMERIC(78,0), on SQLite zero-padded text (its Numeric is lossy)."""

    impl = String(MONEY_DIGITS)
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> Any:
        if dialect.name == "postgresql":
            return dialect.type_descriptor(Numeric(MONEY_DIGITS, 0, asdecimal=True))
        return dialect.type_descriptor(String(MONEY_DIGITS))

    def process_bind_param(self, value: int | None, dialect: Dialect) -> Any:
        if value is None or dialect.name == "postgresql":
            return value
        return padded(value)

    def process_result_value(self, value: Any | None, dialect: Dialect) -> int | None:
        del dialect
        return None if value is None else int(value)


@dataclass(frozen=True)
class Projection:
    """A fold with a name: the contexts whose events it reads, its tables, its function."""

    name: str
    contexts: tuple[str, ...]
    tables: tuple[Table, ...]
    project: Project
    shows_policy: bool = False
    """Only one does: it shows what every context says of its parameters and halts, which none of the others is given."""

    def fold(self, event: Event, record: Record, session: Session) -> None:
        """Project what is the projection's to show."""
        if is_policy(type(event)) is self.shows_policy:
            self.project(event, record, session)

    def primary_keys(self) -> Iterator[tuple[Table, tuple[str, ...]]]:
        """Each table with the names of its key's columns."""
        for table in self.tables:
            yield table, tuple(column.name for column in table.primary_key.columns)
