"""Tables beside the live ones: made for a rebuild, then renamed into their place in one short transaction, or dropped.

What was live until then may be kept under a third name, with its position: going back is the same swap.
"""

import time
from collections.abc import Collection, Mapping

from sqlalchemy import Connection, Engine, Index, MetaData, Table, delete, insert, inspect, text, update
from sqlalchemy.schema import CreateIndex, CreateTable

from adapters.sql import reading
from adapters.sql.schema import compare_by_bytes
from adapters.views import positions
from adapters.views.positions import Fenced, Position
from adapters.views.tables import parked
from adapters.views.tables import positions as positions_table
from projections import Projection

NEXT, OLD = "__next", "__old"
_WAS = "__was"
"""While two change places."""
LOCK_TIMEOUT_MS = 500


class Changed(Exception):
    """Somebody redrove a stream, swapped the view or migrated its tables since these were made. Fold them again."""


class Beside:
    """A projection's tables and reader under other names: those of the next version, or of the one that was live before."""

    def __init__(self, engine: Engine, projection: Projection, ending: str = NEXT) -> None:
        self._engine, self._projection, self._ending = engine, projection, ending
        self.reader = projection.name + ending
        self.names: Mapping[Table, str] = {table: table.name + ending for table in projection.tables}

    def exists(self) -> bool:
        """Whether all of the tables are there."""
        with self._engine.connect() as connection:
            return all(inspect(connection).has_table(name) for name in self.names.values())

    def make(self) -> None:
        """Empty tables without their secondary indexes. What a rebuild left that did not end is dropped.

        What it left running is fenced: a process of it that was suspended would write into these tables.
        """
        self.drop()
        with self._engine.begin() as connection:
            for table, name in self.names.items():
                connection.execute(CreateTable(_bare(table, name)))
            compare_by_bytes(connection, self.names.values())
            for shard in positions.positions_of(connection, self._projection.name):
                connection.execute(insert(positions_table), _unclaimed(self.reader, shard, Position()))

    def drop(self) -> None:
        """As if there had been no rebuild."""
        with self._engine.begin() as connection:
            self._drop(connection, self._ending)
            _forget(connection, self.reader)

    def index(self) -> None:
        """The secondary indexes. An index has no second name, so it takes whichever of three is free."""
        with self._engine.begin() as connection:
            others = [table.name + ending for table in self._projection.tables for ending in ("", OLD)]
            taken, mine = _index_names(connection, others), _index_names(connection, self.names.values())
            for table, name in self.names.items():
                for index in sorted(table.indexes, key=lambda index: str(index.name)):
                    free = next(found for ending in ("", NEXT, OLD) if (found := f"{index.name}{ending}") not in taken)
                    if free in mine:
                        continue
                    copy = _bare(table, name)
                    columns = [copy.columns[column.name] for column in index.columns]
                    connection.execute(CreateIndex(Index(free, *columns, unique=index.unique)))

    def swap(self, generations: Mapping[str, int], epochs: Mapping[str, int] | None = None, *, keep: bool = False) -> bool:
        """Put these tables into the place of the live ones. False if the live reader has come further than ours.

        `generations` are those of the live positions when the digests were compared, `epochs` those under which these tables
        were folded. With `keep` what was live stays, with its position, and what was kept before is dropped. Raises Changed,
        Fenced, OperationalError.
        """
        name = self._projection.name
        with self._engine.begin() as connection:
            if self._engine.dialect.name == "postgresql":
                # Behind a long query every other query would queue; then rather try again.
                connection.execute(text(f"set local lock_timeout = {LOCK_TIMEOUT_MS}"))
            live = positions.lock_all(connection, name, positions.positions_of(connection, name))
            # Read under the locks: what is decided on here is what is changed.
            ours = positions.positions_of(connection, self.reader)
            for shard, epoch in (epochs or {}).items():
                if shard not in ours or ours[shard].epoch != epoch:
                    raise Fenced(f"{self.reader} {shard} was claimed by another rebuild; nothing was swapped")
            for shard, position in live.items():
                if position.generation != generations.get(shard, 0):
                    raise Changed(f"{name} {shard} was changed while it was rebuilt")
                if shard not in ours or ours[shard].next < position.next:
                    return False
            if positions.positions_of(connection, name).keys() != live.keys():
                return False
            self._refuse_other_columns(connection)
            self._rename(connection)
            self._take_over(connection, ours, live)
        if not keep:
            self.drop_kept()
        return True

    def has_swapped(self, generations: Mapping[str, int], epochs: Mapping[str, int]) -> bool:
        """Whether a swap whose answer was lost took place. It changes every generation, and leaves no claim of ours."""
        with reading(self._engine) as connection:
            ours, live = (positions.positions_of(connection, name) for name in (self.reader, self._projection.name))
        is_gone = all(shard not in ours or ours[shard].epoch != epoch for shard, epoch in epochs.items())
        return is_gone and all(live[shard].generation != was for shard, was in generations.items() if shard in live)

    def drop_kept(self) -> None:
        """What was live before."""
        Beside(self._engine, self._projection, OLD).drop()

    def refuse_other_columns(self) -> None:
        """Raises Changed where a migration has changed the live tables and not these."""
        with reading(self._engine) as connection:
            self._refuse_other_columns(connection)

    def _refuse_other_columns(self, connection: Connection) -> None:
        for table, name in self.names.items():
            live, ours = _columns(connection, table.name), _columns(connection, name)
            if live != ours:
                odd = sorted(column for column, _ in live ^ ours)
                raise Changed(f"{name} was made before or after a migration of {table.name}: look at {', '.join(odd)}")

    def _rename(self, connection: Connection) -> None:
        if self._ending != OLD:
            self._drop(connection, OLD)
        for table in self._projection.tables:
            connection.execute(text(f'alter table "{table.name}" rename to "{table.name}{_WAS}"'))
            connection.execute(text(f'alter table "{table.name}{self._ending}" rename to "{table.name}"'))
            connection.execute(text(f'alter table "{table.name}{_WAS}" rename to "{table.name}{OLD}"'))

    def _take_over(self, connection: Connection, ours: Mapping[str, Position], live: Mapping[str, Position]) -> None:
        name = self._projection.name
        _hand_over(connection, self.reader, name + _WAS)
        _forget(connection, name + OLD)
        _hand_over(connection, name, name + OLD)
        for shard, position in live.items():
            connection.execute(insert(positions_table), _unclaimed(name + OLD, shard, position))
        _hand_over(connection, name + _WAS, name)
        for shard, position in ours.items():
            if shard not in live:
                connection.execute(insert(positions_table), _unclaimed(name, shard, position))
            positions.disturb(connection, name, shard)
        if ours:
            positions.put(connection, name, ours)
        if self._ending != OLD:
            _forget(connection, self.reader)

    def _drop(self, connection: Connection, ending: str) -> None:
        for table in self._projection.tables:
            connection.execute(text(f'drop table if exists "{table.name}{ending}"'))


def _hand_over(connection: Connection, reader: str, to: str) -> None:
    """What is parked."""
    connection.execute(update(parked).where(parked.c.reader == reader).values(reader=to))


def _forget(connection: Connection, reader: str) -> None:
    for table in (positions_table, parked):
        connection.execute(delete(table).where(table.c.reader == reader))


def _bare(table: Table, name: str) -> Table:
    copy = table.to_metadata(MetaData(), name=name)
    copy.indexes.clear()
    return copy


def _index_names(connection: Connection, tables: Collection[str]) -> set[str]:
    found = inspect(connection)
    return {str(index["name"]) for table in tables if found.has_table(table) for index in found.get_indexes(table)}


def _columns(connection: Connection, table: str) -> set[tuple[str, str]]:
    return {(str(column["name"]), str(column["type"])) for column in inspect(connection).get_columns(table)}


def _unclaimed(reader: str, shard: str, position: Position) -> dict[str, object]:
    return {
        "reader": reader, "shard": shard, "next": position.next, "last_hash": position.last_hash,
        "last_time": position.last_time, "offset": position.offset, "generation": 0,
        # A row that is made anew begins above whatever was claimed of the one before, so that its holder is fenced.
        "epoch": time.time_ns() // 1000,
    }  # fmt: skip
