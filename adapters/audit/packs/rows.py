"""What packs read of the log: entries by index, by stream and by type, page after page, never one by one."""

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any

from sqlalchemy import Engine, func, select

from adapters.audit import tables
from adapters.sql import reading

PAGE = 1_024
NAMES = 500


@dataclass(frozen=True, slots=True)
class Leaf:
    """An entry and its place. A seal has no shard."""

    index: int
    shard: str
    entry: bytes


_COLUMNS = (tables.leaves.c.leaf, tables.leaves.c.shard, tables.leaves.c.entry)


def between(engine: Engine, first: int, end: int) -> Iterator[Leaf]:
    """Every entry of the range, in order."""
    while first < end:
        where = (tables.leaves.c.leaf >= first) & (tables.leaves.c.leaf < min(end, first + PAGE))
        found = _read(engine, select(*_COLUMNS).where(where).order_by(tables.leaves.c.leaf))
        yield from found
        first += PAGE


def at(engine: Engine, indices: Collection[int]) -> Iterator[Leaf]:
    """The entries with those indices, in order."""
    for some in _pages(sorted(indices)):
        where = tables.leaves.c.leaf.in_(some)
        yield from _read(engine, select(*_COLUMNS).where(where).order_by(tables.leaves.c.leaf))


def of_streams(engine: Engine, streams: Collection[str], size: int, kind: str | None = None) -> Iterator[Leaf]:
    """The entries of those streams below the size, of one type or of all."""
    for some in _pages(sorted(streams)):
        where = tables.leaves.c.stream.in_(some) & (tables.leaves.c.leaf < size)
        if kind is not None:
            where &= tables.leaves.c.type == kind
        yield from _read(engine, select(*_COLUMNS).where(where).order_by(tables.leaves.c.leaf))


def below(engine: Engine, prefix: str, size: int, kind: str) -> Iterator[Leaf]:
    """The entries of one type in the streams with that prefix, which ends in a slash."""
    streams = tables.leaves.c.stream
    # A zero follows the slash: a range uses the index where LIKE does not.
    where = (streams >= prefix) & (streams < prefix[:-1] + "0") & (tables.leaves.c.type == kind)
    statement: Any = select(*_COLUMNS).where(where, tables.leaves.c.leaf < size)
    yield from _read(engine, statement.order_by(tables.leaves.c.leaf))


def seal_after(engine: Engine, index: int) -> int | None:
    """The index of the seal of the batch in which the entry stands."""
    where = (tables.leaves.c.leaf >= index) & (tables.leaves.c.shard == "")
    with reading(engine) as connection:
        return connection.execute(select(func.min(tables.leaves.c.leaf)).where(where)).scalar()


def indices_of(engine: Engine, events: Collection[str], size: int) -> dict[str, int]:
    """Where the events with those ids are, as far as they are below the size."""
    found: dict[str, int] = {}
    for some in _pages(sorted(events)):
        where = tables.leaves.c.event.in_(some) & (tables.leaves.c.leaf < size)
        with reading(engine) as connection:
            found |= {
                row.event: row.leaf
                for row in connection.execute(select(tables.leaves.c.event, tables.leaves.c.leaf).where(where))
            }
    return found


def _read(engine: Engine, statement: Any) -> list[Leaf]:
    with reading(engine) as connection:
        return [Leaf(row.leaf, row.shard, bytes(row.entry)) for row in connection.execute(statement)]


def _pages(items: Iterable[Any]) -> Iterator[list[Any]]:
    rest = iter(items)
    while some := list(islice(rest, NAMES)):
        yield some
