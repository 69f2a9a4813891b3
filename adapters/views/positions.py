"""How far a reader has come, and who may say so: a claim raises the epoch, and only its holder advances."""

import json
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import Connection, and_, bindparam, func, select, update
from sqlalchemy.dialects import postgresql, sqlite

from adapters.views.tables import positions
from contracts import ZERO_HASH, instant


class Fenced(Exception):
    """Another reader of that name has claimed the shards."""

    def __init__(self, text: str, shards: Collection[str] = ()) -> None:
        super().__init__(text)
        self.shards = frozenset(shards)


class Otherwise(Exception):
    """A row is not as believed: somebody claimed it, redrove a stream, or swapped the view. Nothing may be committed."""


@dataclass(frozen=True, slots=True)
class Position:
    """The record to apply next, and what is known of the one before."""

    next: int = 0
    last_hash: str = ZERO_HASH
    last_time: str = ""
    offset: int = 0
    epoch: int = 0
    generation: int = 0

    def moved_to(self, end: "Position") -> "Position":
        """As far as `end`, under the claim that this one has."""
        return replace(end, epoch=self.epoch, generation=self.generation)


class Move(NamedTuple):
    """A reader's way through a shard: from what is believed to where its rows have come."""

    reader: str
    shard: str
    at: Position
    to: Position
    wrote: int = 0
    """1 where it changes a row of its view."""


OF_READER = "spaceos_reader"
"""Option of a statement that asks how far one reader has come: whoever asked is told when that one moves."""

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
_DISTURB = update(positions).where(_MINE).values(generation=positions.c.generation + 1)

# As the drivers take them: a turn of a hundred readers is one statement a shard, and SQLAlchemy would build it anew.
_PAIRS = {
    "sqlite": "(select value ->> 0 as shard, value ->> 1 as reader from json_each(?))",
    "postgresql": "unnest(%s::text[], %s::text[])",
}
_BEGIN = (
    'insert into positions (shard, reader, "next", last_hash, last_time, "offset", epoch, generation, wrote)'
    " select shard, reader, 0, '{zero}', '', 0, 0, 0, 0 from {pairs} as mine{named} where true on conflict do nothing"
)
_CLAIM = (
    "update positions set epoch = epoch + 1 from {pairs} as mine{named}"
    " where positions.shard = mine.shard and positions.reader = mine.reader returning positions.reader, positions.shard,"
    ' positions."next", positions.last_hash, positions.last_time, positions."offset", positions.epoch, positions.generation'
)
_HOLDERS = {
    "sqlite": "(select value ->> 0 as reader, value ->> 1 as epoch, value ->> 2 as generation, value ->> 3 as wrote"
    " from json_each(?)) as mine",
    "postgresql": "unnest(%s::text[], %s::bigint[], %s::bigint[], %s::bigint[]) as mine(reader, epoch, generation, wrote)",
}
_ADVANCE = (
    'update positions set "next" = {mark}, last_hash = {mark}, last_time = {mark}, "offset" = {mark},'
    " wrote = positions.wrote + mine.wrote from {holders}"
    ' where positions.shard = {mark} and positions."next" = {mark} and positions.last_hash = {mark}'
    " and positions.reader = mine.reader and positions.epoch = mine.epoch and positions.generation = mine.generation"
)
_MARK = {"sqlite": "?", "postgresql": "%s"}


def place_of(reader: str) -> str:
    """The name under which it is told that the reader has come further, whether or not that changed a row."""
    return f"{reader} position"


def insert_or_keep(connection: Connection, table: Any) -> Any:
    """INSERT … ON CONFLICT DO NOTHING in the database's own words."""
    dialect = postgresql if connection.dialect.name == "postgresql" else sqlite
    return dialect.insert(table).on_conflict_do_nothing()


def claim(connection: Connection, wanted: Mapping[str, Collection[str]]) -> dict[str, dict[str, Position]]:
    """Take shards from whoever reads them under these names: `wanted` are the readers of each shard.

    The positions with the new epochs, by reader and shard.
    """
    kind = connection.dialect.name
    # In one order everywhere, so that two processes do not wait for each other.
    pairs = sorted((shard, reader) for shard, readers in wanted.items() for reader in readers)
    given: tuple[Any, ...] = (json.dumps(pairs),)
    if kind == "postgresql":
        given = ([shard for shard, _ in pairs], [reader for _, reader in pairs])
    words = {"zero": ZERO_HASH, "pairs": _PAIRS[kind], "named": "(shard, reader)" if kind == "postgresql" else ""}
    connection.exec_driver_sql(_BEGIN.format(**words), given)
    found: dict[str, dict[str, Position]] = {}
    for reader, shard, *rest in connection.exec_driver_sql(_CLAIM.format(**words), given):
        found.setdefault(reader, {})[shard] = Position(*rest)
    return found


def advance(connection: Connection, moves: Iterable[Move]) -> None:
    """Lock the rows, compare each with what is believed, and move it: one statement for all that go one way in a shard.

    Raises Otherwise. To be called before anything else is written: it is what makes readers of one name take turns.
    """
    kind = connection.dialect.name
    ways: dict[tuple[Any, ...], list[Move]] = {}
    for move in moves:
        at, to = move.at, move.to
        way = (move.shard, at.next, at.last_hash, to.next, to.last_hash, to.last_time, to.offset)
        ways.setdefault(way, []).append(move)
    statement = _ADVANCE.format(mark=_MARK[kind], holders=_HOLDERS[kind])
    for (shard, before, hash_before, *end), together in sorted(ways.items(), key=lambda item: item[0]):
        holders = [(move.reader, move.at.epoch, move.at.generation, move.wrote) for move in together]
        given: tuple[Any, ...] = (
            tuple(map(list, zip(*holders, strict=True))) if kind == "postgresql" else (json.dumps(holders),)
        )
        moved = connection.exec_driver_sql(statement, (*end, *given, shard, before, hash_before)).rowcount
        if moved != len(together):
            raise Otherwise(f"{shard} at {before}: {moved} of {len(together)} readers are as believed")


def lock(connection: Connection, reader: str, shard: str) -> Position | None:
    """The position, held until the transaction ends. SQLite's transaction is the lock by itself."""
    row = connection.execute(_LOCK, {"b_reader": reader, "b_shard": shard}).one_or_none()
    return None if row is None else Position(*row)


def lock_all(connection: Connection, reader: str, shards: Iterable[str]) -> dict[str, Position]:
    """As `lock`, of all that exist, one after the other in the order of their names."""
    rows = connection.execute(_LOCK_ALL, {"b_reader": reader, "b_shards": list(shards)})
    return {row[0]: Position(*row[1:]) for row in rows}


def put(connection: Connection, reader: str, ends: Mapping[str, Position]) -> None:
    """Under the locks: each shard's next record, and the hash, time and offset that go with it, whatever was there."""
    for shard, to in sorted(ends.items()):
        values = {"next": to.next, "last_hash": to.last_hash, "last_time": to.last_time, "offset": to.offset}
        connection.execute(update(positions).where(_MINE).values(values), {"b_reader": reader, "b_shard": shard})


def disturb(connection: Connection, reader: str, shard: str) -> None:
    """Under the lock: tell the shard's reader that its rows were changed behind its back."""
    connection.execute(_DISTURB, {"b_reader": reader, "b_shard": shard})


def positions_of(connection: Connection, reader: str) -> dict[str, Position]:
    """Every shard that the reader has ever claimed."""
    rows = connection.execute(select(positions.c.shard, *_COLUMNS).where(positions.c.reader == reader))
    return {row[0]: Position(*row[1:]) for row in rows}


def positions_of_each(connection: Connection, readers: Collection[str]) -> dict[str, dict[str, Position]]:
    """As `positions_of`, by reader."""
    found: dict[str, dict[str, Position]] = {}
    statement = select(positions.c.reader, positions.c.shard, *_COLUMNS).where(positions.c.reader.in_(readers))
    for reader, shard, *rest in connection.execute(statement):
        found.setdefault(reader, {})[shard] = Position(*rest)
    return found


def positions_in(reader: str, connection: Connection) -> dict[str, int]:
    """How far the reader has come in each shard: the record that it applies next."""
    statement = select(positions.c.shard, positions.c.next).where(positions.c.reader == reader)
    return {row.shard: row.next for row in connection.execute(statement.execution_options(**{OF_READER: reader}))}


def last_heard(reader: str, connection: Connection) -> datetime | None:
    """The time of the newest record that the reader has applied in any shard; None before the first."""
    statement = select(func.max(positions.c.last_time)).where(positions.c.reader == reader)
    newest = connection.scalar(statement.execution_options(**{OF_READER: reader}))
    return instant(newest) if newest else None
