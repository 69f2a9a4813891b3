"""Two small views, of which lists are made in tests."""

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Column, Connection, Integer, MetaData, String, Table

from adapters.views.tables import positions
from projections import Projection

START = datetime(2026, 11, 25, 12, tzinfo=UTC)

_METADATA = MetaData()
ERRANDS = Table("test_errands", _METADATA, Column("n", Integer, primary_key=True), Column("at", String(30), default=""))
OTHERS = Table("test_others", _METADATA, Column("n", Integer, primary_key=True))


def _project(event: Any, record: Any, session: Any) -> None:
    raise NotImplementedError


VIEWS = [Projection(table.name.removeprefix("test_"), ("identity",), (table,), _project) for table in (ERRANDS, OTHERS)]


def move(connection: Connection, reader: str) -> None:
    """As its reader does in the transaction that changes its rows."""
    row = {"shard": "identity.events/0", "next": 1, "last_hash": "", "last_time": "", "offset": 0, "epoch": 0, "generation": 0}
    if not connection.execute(
        positions.update().where(positions.c.reader == reader).values(next=positions.c.next + 1, wrote=positions.c.wrote + 1)
    ).rowcount:
        connection.execute(positions.insert().values(reader=reader, **row))
