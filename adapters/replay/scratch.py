"""Tables that are thrown away: a projection's, under other names, in a file of their own or beside the live views."""

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from sqlalchemy import Connection, Engine, MetaData, Table, delete, text

from adapters.sql import engine_for
from adapters.views.tables import METADATA, parked, positions
from projections import Projection


class Scratch:
    """A projection's tables as `<name>_<table>`, read under the name `<name>`. Nothing live is touched."""

    def __init__(self, engine: Engine, projection: Projection, name: str) -> None:
        """`name` is that of a run, at most 20 characters: PostgreSQL cuts names off at 63."""
        self.engine, self.projection, self.reader = engine, projection, name
        self.names: Mapping[Table, str] = {table: f"{name}_{table.name}" for table in projection.tables}

    def make(self) -> None:
        with self.engine.begin() as connection:
            METADATA.create_all(connection)
            for table, name in self.names.items():
                _bare(table, name).create(connection)

    def drop(self) -> None:
        with self.engine.begin() as connection:
            for name in self.names.values():
                connection.execute(text(f'drop table if exists "{name}"'))
            _forget(connection, self.reader)


def _bare(table: Table, name: str) -> Table:
    copy = table.to_metadata(MetaData(), name=name)
    # An index has no second name.
    copy.indexes.clear()
    return copy


def _forget(connection: Connection, reader: str) -> None:
    for table in (positions, parked):
        connection.execute(delete(table).where(table.c.reader == reader))


@contextmanager
def scratch_tables(projection: Projection, name: str, beside: Engine | None = None) -> Iterator[Scratch]:
    """In a file of its own, which is gone afterwards; or beside the live views on their engine."""
    if beside is not None:
        yield from _made(Scratch(beside, projection, name))
        return
    with tempfile.TemporaryDirectory(prefix="spaceos-") as folder:
        engine = engine_for(f"sqlite:///{folder}/scratch.db")
        try:
            yield from _made(Scratch(engine, projection, name))
        finally:
            engine.dispose()


def _made(scratch: Scratch) -> Iterator[Scratch]:
    scratch.make()
    try:
        yield scratch
    finally:
        scratch.drop()
