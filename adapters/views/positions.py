"""How far a reader has come, and who may say so: a claim raises the epoch, and only its holder advances."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, and_, bindparam, func, select, update
from sqlalchemy.dialects import postgresql, sqlite

from adapters.views.tables import positions
from contracts import ZERO_HASH, instant


class Fenced(Exception):
    """Another reader of that name has claimed the shard."""


@dataclass(frozen=True, slots=True)
class Position:
    """The record to apply next, and what is known of the one before."""

    next: int = 0
    last_hash: str = ZERO_HASH
    last_time: str = ""
    offset: int = 0
    epoch: int = 0
    generation: int = 0


_COLUMNS = (
    positions.c.next, positions.c.last_hash, positions.c.last_time,
    positions.c.offset, positions.c.epoch, positions.c.generation,
)  # fmt: skip
_MINE = and_(positions.c.reader == bindparam("b_reader"), positions.c.shard == bindparam("b_shard"))
_LOCK = select(*_COLUMNS).where(_MINE).with_for_update()
_LOCK_ALL = (
    select(positions.c.shard, *_COLUMNS)
    .where(positions.c.reader == bindparam("b_reader"), positions.c.shard.in_(bindparam("b_shards", expanding=True)))
    .order_by(positions.c.shard)
    .with_for_update()
)
_CLAIM = update(positions).where(_MINE).values(epoch=positions.c.epoch + 1).returning(*_COLUMNS)
_DISTURB = update(positions).where(_MINE).values(generation=positions.c.generation + 1)
_ADVANCE = (
    update(positions)
    .where(_MINE)
    .values({name: bindparam(f"b_{name}") for name in ("next", "last_hash", "last_time", "offset")})
)


def insert_or_keep(connection: Connection, table: Any) -> Any:
    """INSERT … ON CONFLICT DO NOTHING in the database's own words."""
    dialect = postgresql if connection.dialect.name == "postgresql" else sqlite
    return dialect.insert(table).on_conflict_do_nothing()


def claim(connection: Connection, reader: str, shards: Iterable[str]) -> dict[str, Position]:
    """Take the shards from whoever reads them under that name. Their positions, with the new epochs."""
    found = {}
    for shard in sorted(shards):
        start = {"reader": reader, "shard": shard, "next": 0, "last_hash": ZERO_HASH, "last_time": "", "offset": 0}
        connection.execute(insert_or_keep(connection, positions), {**start, "epoch": 0, "generation": 0})
        found[shard] = Position(*connection.execute(_CLAIM, {"b_reader": reader, "b_shard": shard}).one())
    return found


def lock(connection: Connection, reader: str, shard: str) -> Position | None:
    """The position, held until the transaction ends. SQLite's transaction is the lock by itself."""
    row = connection.execute(_LOCK, {"b_reader": reader, "b_shard": shard}).one_or_none()
    return None if row is None else Position(*row)


def lock_all(connection: Connection, reader: str, shards: Iterable[str]) -> dict[str, Position]:
    """As `lock`, of all that exist, one after the other in the order of their names."""
    rows = connection.execute(_LOCK_ALL, {"b_reader": reader, "b_shards": list(shards)})
    return {row[0]: Position(*row[1:]) for row in rows}


def advance(connection: Connection, reader: str, ends: Mapping[str, Position]) -> None:
    """Under the locks: each shard's next record, and the hash, time and offset that go with it."""
    rows = [
        {
            "b_reader": reader, "b_shard": shard,
            "b_next": to.next, "b_last_hash": to.last_hash, "b_last_time": to.last_time, "b_offset": to.offset,
        }
        for shard, to in ends.items()
    ]  # fmt: skip
    connection.execute(_ADVANCE, rows)


def disturb(connection: Connection, reader: str, shard: str) -> None:
    """Under the lock: tell the shard's reader that its rows were changed behind its back."""
    connection.execute(_DISTURB, {"b_reader": reader, "b_shard": shard})


def positions_of(connection: Connection, reader: str) -> dict[str, Position]:
    """Every shard that the reader has ever claimed."""
    rows = connection.execute(select(positions.c.shard, *_COLUMNS).where(positions.c.reader == reader))
    return {row[0]: Position(*row[1:]) for row in rows}


def positions_in(reader: str, connection: Connection) -> dict[str, int]:
    """How far the reader has come in each shard: the record that it applies next."""
    found = connection.execute(select(positions.c.shard, positions.c.next).where(positions.c.reader == reader))
    return {row.shard: row.next for row in found}


def last_heard(reader: str, connection: Connection) -> datetime | None:
    """The time of the newest record that the reader has applied in any shard; None before the first."""
    newest = connection.scalar(select(func.max(positions.c.last_time)).where(positions.c.reader == reader))
    return instant(newest) if newest else None
