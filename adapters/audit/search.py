"""Searching the log: by stream, type, context, actor, command and time, page after page."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Engine, func, select

from adapters.audit import tables
from adapters.sql import reading

PAGE = 1_000
_LAST = "\U0010ffff"


@dataclass(frozen=True)
class Filter:
    """What is looked for; what is None is not asked about. `stream` and `type` are beginnings, times are RFC 3339 in UTC."""

    stream: str | None = None
    type: str | None = None
    actor: str | None = None
    since: str | None = None
    until: str | None = None
    first: int | None = None
    end: int | None = None

    def of(self, statement: Any) -> Any:
        """The statement, narrowed."""
        leaves = tables.leaves.c
        for column, begin in ((leaves.stream, self.stream), (leaves.type, self.type)):
            if begin is not None:
                # A range, not LIKE: it needs no escaping and uses the index.
                statement = statement.where(column >= begin, column < _after(begin))
        bounds = (
            (self.actor, leaves.actor.__eq__), (self.since, leaves.time.__ge__), (self.until, leaves.time.__lt__),
            (self.first, leaves.leaf.__ge__), (self.end, leaves.leaf.__lt__),
        )  # fmt: skip
        for given, compared in bounds:
            if given is not None:
                statement = statement.where(compared(given))
        return statement.where(leaves.shard != "")

    def document(self) -> dict[str, Any]:
        """What was asked, for a manifest and for the record of the read."""
        return {name: value for name, value in vars(self).items() if value is not None}


def _after(begin: str) -> str:
    """The first text, by its bytes, that does not begin so; none of ours has the last character that there is."""
    last = ord(begin[-1:] or _LAST)
    if last >= ord(_LAST):
        return _after(begin[:-1]) if begin else _LAST
    # The numbers in between are no characters.
    return begin[:-1] + chr(0xE000 if last == 0xD7FF else last + 1)


def count(engine: Engine, wanted: Filter) -> tuple[int, int, int]:
    """How many entries there are, and the first and last of them; zeros where there are none."""
    statement: Any = select(func.count(), func.min(tables.leaves.c.leaf), func.max(tables.leaves.c.leaf))
    with reading(engine) as connection:
        row: Any = connection.execute(wanted.of(statement)).one()
    return row[0], row[1] or 0, row[2] or 0


def search(engine: Engine, wanted: Filter, limit: int | None = None, *, newest: bool = False) -> Iterator[Any]:
    """The leaves' rows in the log's order, with their entries; the `newest` are the last `limit` of them."""
    if newest and limit is not None:
        yield from _last(engine, wanted, limit)
        return
    start, left = 0, limit
    while left is None or left > 0:
        size = PAGE if left is None else min(PAGE, left)
        page = wanted.of(select(tables.leaves)).where(tables.leaves.c.leaf >= start)
        with reading(engine) as connection:
            rows = connection.execute(page.order_by(tables.leaves.c.leaf).limit(size)).all()
        yield from rows
        if len(rows) < size:
            return
        start = rows[-1].leaf + 1
        left = None if left is None else left - len(rows)


def _last(engine: Engine, wanted: Filter, limit: int) -> Iterator[Any]:
    page = wanted.of(select(tables.leaves)).order_by(tables.leaves.c.leaf.desc()).limit(limit)
    with reading(engine) as connection:
        rows = connection.execute(page).all()
    yield from reversed(rows)
