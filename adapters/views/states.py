"""Who reads what, for people: each process tells it from time to time, and `spaceos readers` shows it beside the positions."""

import os
import socket
import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from threading import Lock
from typing import Any

from sqlalchemy import Connection, Engine, and_, delete, func, select
from sqlalchemy.dialects import postgresql, sqlite

from adapters.sql import reading
from adapters.views.positions import Position
from adapters.views.strangers import Strangers
from adapters.views.tables import parked, positions, reader_sets, reader_states
from contracts import instant, rfc3339

LIVE, CATCHING_UP, LEFT, PARKED, UNREAD = "live", "catching up", "left", "parked", "nobody reads"

GONE_SECONDS = 30.0
"""Who has shown no sign of life for so long reads no more. A process tells three times as often."""

Which = tuple[str, str]
"""Reader and shard."""


@dataclass(slots=True)
class Folding:
    """What one reader did in one shard since it was claimed."""

    epoch: int
    state: str
    events: int = 0
    seconds: float = 0.0


class States:
    """What one process says of its readers, from whichever threads they are in."""

    def __init__(self, engine: Engine, name: str) -> None:
        """`name` is that of the set."""
        self._engine, self._set = engine, name
        self._holder = f"{socket.gethostname()}:{os.getpid()}:{name}"
        self._lock = Lock()
        self._foldings: dict[Which, Folding] = {}
        self._strangers = Strangers(name)
        self._totals: dict[str, tuple[int, float]] = {}
        self._to_tell: set[Which] = set()
        self._signs: dict[Which, tuple[Any, float]] = {}

    def claimed(
        self, readers: Collection[str], found: Mapping[str, Mapping[str, Position]], behind: Collection[Which] = ()
    ) -> None:
        """Of these readers exactly these shards are ours now."""
        with self._lock:
            self._foldings = {which: folding for which, folding in self._foldings.items() if which[0] not in readers}
            self._signs.clear()
        for reader, shards in found.items():
            for shard, position in shards.items():
                self.began(reader, shard, position, is_behind=(reader, shard) in behind)

    def began(self, reader: str, shard: str, position: Position, *, is_behind: bool) -> None:
        """This one is ours from now on."""
        with self._lock:
            self._foldings[reader, shard] = Folding(position.epoch, CATCHING_UP if is_behind else LIVE)
            self._to_tell.add((reader, shard))
            self._signs.pop((reader, shard), None)

    def changed(self, reader: str, shard: str, state: str) -> None:
        with self._lock:
            if state == LEFT:
                # What its row says is its new holder's to say.
                self._foldings.pop((reader, shard), None)
            elif (reader, shard) in self._foldings:
                self._foldings[reader, shard].state = state
                self._to_tell.add((reader, shard))

    def folded(self, reader: str, shard: str, events: int, seconds: float) -> None:
        with self._lock:
            so_far = self._totals.get(reader, (0, 0.0))
            self._totals[reader] = (so_far[0] + events, so_far[1] + seconds)
            folding = self._foldings.get((reader, shard))
            if folding is not None:
                folding.events += events
                folding.seconds += seconds
                self._to_tell.add((reader, shard))

    def passed_over(self, shard: str, found: Mapping[int, str]) -> None:
        """By offset what is there that nobody entitled signed."""
        self._strangers.meet(shard, found)

    def totals(self) -> Mapping[str, tuple[int, float]]:
        """Events and seconds of fold of each reader, since this process began; they only grow."""
        with self._lock:
            return dict(self._totals)

    def tell(self, left: Collection[Which]) -> set[Which]:
        """Write what has changed, and a sign of life. Of what was left to somebody else: what nobody reads any more."""
        with self._lock:
            told, self._to_tell = self._to_tell, set()
            rows = [self._row(which) for which in sorted(told) if which in self._foldings]
        try:
            self._write(rows)
        except BaseException:
            with self._lock:
                self._to_tell |= told
            raise
        return self._abandoned(left) if left else set()

    def _write(self, rows: list[dict[str, Any]]) -> None:
        now = datetime.now(UTC)
        with self._engine.begin() as connection:
            _upsert(connection, reader_sets, [{"holder": self._holder, "set": self._set, "seen": rfc3339(now)}])
            if rows:
                _upsert(connection, reader_states, rows, unless_newer="epoch")
            self._strangers.write(connection)
            # Of processes that are long gone, by any clock.
            connection.execute(delete(reader_sets).where(reader_sets.c.seen < rfc3339(now - timedelta(days=1))))
        self._strangers.written()

    def _row(self, which: Which) -> dict[str, Any]:
        folding = self._foldings[which]
        return {
            "shard": which[1], "reader": which[0], "set": self._set, "holder": self._holder, "epoch": folding.epoch,
            "state": folding.state, "fold_microseconds": int(folding.seconds * 1e6), "events": folding.events,
        }  # fmt: skip

    def end(self) -> None:
        """The process ends in order."""
        with self._engine.begin() as connection:
            connection.execute(delete(reader_sets).where(reader_sets.c.holder == self._holder))

    def _abandoned(self, left: Collection[Which]) -> set[Which]:
        # Two clocks may differ: a sign of life is one that has changed since we looked the last time.
        signs: dict[Which, Any] = dict.fromkeys(left)
        on = and_(reader_states.c.shard == positions.c.shard, reader_states.c.reader == positions.c.reader)
        columns = (positions.c.reader, positions.c.shard, positions.c.next, positions.c.epoch, reader_sets.c.seen)
        # What we told ourselves before says nothing of who has it now.
        theirs = and_(reader_sets.c.holder == reader_states.c.holder, reader_sets.c.holder != self._holder)
        on = and_(on, reader_states.c.epoch == positions.c.epoch)
        joined = positions.outerjoin(reader_states, on).outerjoin(reader_sets, theirs)
        with reading(self._engine) as connection:
            mine = positions.c.reader.in_({reader for reader, _ in left})
            for reader, shard, *sign in connection.execute(select(*columns).select_from(joined).where(mine)):
                if (reader, shard) in signs:
                    signs[reader, shard] = tuple(sign)
        now, found = time.monotonic(), set[Which]()
        for which, said in signs.items():
            before, since = self._signs.get(which, (None, now))
            if said != before:
                since = now
            self._signs[which] = (said, since)
            if now - since > GONE_SECONDS:
                found.add(which)
        return found


@dataclass(frozen=True, slots=True)
class ReaderState:
    """Where one reader is in one shard, and what its process last said of it. `parked` counts events."""

    reader: str
    shard: str
    set: str
    state: str
    next: int
    last_time: str
    parked: int
    fold_seconds: float
    events: int


def reader_states_in(connection: Connection) -> list[ReaderState]:
    """All that have ever been claimed, by reader and shard. What a rebuild folds beside is not among them."""
    now = datetime.now(UTC)
    waiting = (
        select(parked.c.reader, parked.c.shard, func.count().label("n")).group_by(parked.c.reader, parked.c.shard).subquery()
    )
    joined = (
        positions.outerjoin(
            reader_states, and_(reader_states.c.shard == positions.c.shard, reader_states.c.reader == positions.c.reader)
        )
        .outerjoin(reader_sets, reader_sets.c.holder == reader_states.c.holder)
        .outerjoin(waiting, and_(waiting.c.shard == positions.c.shard, waiting.c.reader == positions.c.reader))
    )
    columns = (
        positions.c.reader, positions.c.shard, positions.c.next, positions.c.last_time, positions.c.epoch,
        reader_states.c.set, reader_states.c.state, reader_states.c.epoch.label("told"), reader_states.c.fold_microseconds,
        reader_states.c.events, reader_sets.c.seen, waiting.c.n,
    )  # fmt: skip
    rows = connection.execute(select(*columns).select_from(joined).order_by(positions.c.reader, positions.c.shard))
    return [
        ReaderState(
            row.reader, row.shard, row.set or "", _state(row, now), row.next, row.last_time, row.n or 0,
            (row.fold_microseconds or 0) / 1e6, row.events or 0,
        )
        for row in rows
        if "__" not in row.reader
    ]  # fmt: skip


def _state(row: Any, now: datetime) -> str:
    if row.seen is None or instant(row.seen) < now - timedelta(seconds=GONE_SECONDS):
        return UNREAD
    if row.told != row.epoch:
        return LEFT
    return PARKED if row.n and row.state == LIVE else str(row.state)


def _upsert(connection: Connection, table: Any, rows: list[dict[str, Any]], unless_newer: str = "") -> None:
    dialect = postgresql if connection.dialect.name == "postgresql" else sqlite
    insert: Any = dialect.insert(table)
    keys = [column.name for column in table.primary_key.columns]
    others = {column.name: insert.excluded[column.name] for column in table.columns if column.name not in keys}
    where = table.c[unless_newer] <= insert.excluded[unless_newer] if unless_newer else None
    connection.execute(insert.on_conflict_do_update(index_elements=keys, set_=others, where=where), rows)
