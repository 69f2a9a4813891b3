"""A projection's reader: chunks of records in, rows and position out, in one transaction."""

import logging
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from sqlalchemy import Connection, Engine, Table
from sqlalchemy.exc import DBAPIError

from adapters.crash import crashpoint
from adapters.sql import reading
from adapters.views import positions
from adapters.views.chain import Delivered, Fact, follow
from adapters.views.faults import Unwritable, is_transient
from adapters.views.parked import Parked, note_failure, park, release, waiting_events
from adapters.views.places import Applied, Moved, Places
from adapters.views.positions import Position
from adapters.views.session import CACHED_ROWS, SqlSession
from contracts import parse_event, read_event
from projections import Projection

log = logging.getLogger(__name__)

PIECE_RECORDS = 500
"""A few hundred parsed documents stay in the processor's cache, some thousand do not."""

Chunks = Mapping[str, Sequence[Delivered]]


@dataclass(slots=True)
class _Step:
    """What is folded in memory of one shard and not yet written: where it leads, what it parks, the gap at its end."""

    end: Position
    until: int | None = None
    events: int = 0
    gap: int | None = None
    entries: list[Parked] = field(default_factory=list)
    records: list[Delivered] = field(default_factory=list)


class Projector:
    """Applies records to one projection's tables. One thread at a time; readers of that name elsewhere are fenced.

    Every method that touches the database raises SQLAlchemy's errors; after those that are transient, `apply` may be
    repeated. Raises Fenced when another reader has claimed a shard, ChainBroken when bytes were altered.
    """

    def __init__(
        self,
        engine: Engine,
        projection: Projection,
        *,
        reader: str | None = None,
        names: Mapping[Table, str] | None = None,
        cached_rows: int = CACHED_ROWS,
    ) -> None:
        """`reader` and `names` (of the tables) differ from the projection's own where a rebuild folds beside it."""
        self.name = reader or projection.name
        self.topics = tuple(f"{context}.events" for context in projection.contexts)
        self._engine, self._projection, self._names, self._cached_rows = engine, projection, names, cached_rows
        self._places = Places(engine, self.name)
        self._sessions: dict[str, SqlSession] = {}
        self._steps: dict[str, _Step] = {}

    def claim(self, shards: Collection[str]) -> Mapping[str, Position]:
        """Own exactly these shards. Their positions."""
        found = self._places.claim(shards)
        self._sessions = {shard: self._session() for shard in found}
        self._steps = {}
        for shard, position in found.items():
            self._sessions[shard].forget(complete=position.next == 0)
        return found

    def position(self, shard: str) -> Position:
        """As far as the shard is folded, without asking the database."""
        step = self._steps.get(shard)
        return self._places[shard].position if step is None else step.end

    def apply(self, chunks: Chunks) -> dict[str, Applied]:
        """Apply what continues each shard's position, all in one transaction. Shards that are not ours are left out."""
        self.fold(chunks)
        return self.commit()

    def fold(self, chunks: Chunks, until: Mapping[str, int] | None = None) -> dict[str, int]:
        """Apply in memory, on top of what is folded already; `until` names the sequences that shall be next at most.

        The gaps by shard: what came instead of the next sequence. Rows are read without a lock. If somebody else has
        changed them since, the position tells so at the commit.
        """
        mine = [shard for shard in sorted(chunks) if shard in self._places]
        for shard in self._places.believe(mine):
            self._sessions[shard].forget()
        with self._doubting(mine), ExitStack() as stack:
            connect = cache(lambda: stack.enter_context(reading(self._engine)))
            for shard in mine:
                self._sessions[shard].connect(connect)
                self._fold_chunk(shard, chunks[shard], (until or {}).get(shard))
        return {shard: gap for shard in mine if (gap := self._steps[shard].gap) is not None}

    def commit(self) -> dict[str, Applied]:
        """Write what is folded, in one transaction."""
        while True:
            steps = self._steps
            try:
                return self._commit(steps)
            except Moved as moved:
                log.info("read again: %s", moved)
                for shard, step in steps.items():
                    self.fold({shard: step.records}, None if step.until is None else {shard: step.until})
            except (DBAPIError, Unwritable) as error:
                if is_transient(error):
                    raise
                log.warning("%s: a chunk could not be written, so its events are tried one by one: %s", self.name, error)
                return {shard: self._commit_one_by_one(shard, step) for shard, step in steps.items()}

    def redrive(self, stream: str, limit: int = 500) -> "Redriven":
        """Apply a parked stream's events in order, with today's code, until one fails again."""
        with self._engine.begin() as connection:
            rows = waiting_events(connection, self.name, stream, limit + 1)
            if not rows:
                return Redriven(0, 0, None)
            shard = rows[0].shard
            # The lock keeps the projector from parking or applying meanwhile; the new generation makes it forget.
            positions.lock(connection, self.name, shard)
            positions.disturb(connection, self.name, shard)
            return self._redrive(connection, shard, rows[:limit], len(rows) > limit)

    def _redrive(self, connection: Connection, shard: str, rows: Sequence[Any], more: bool) -> "Redriven":
        for applied, row in enumerate(rows):
            session = self._session()
            session.connect(lambda: connection)
            try:
                with connection.begin_nested():
                    record = parse_event(row.value)
                    self._projection.fold(read_event(record.document), record, session)
                    session.flush(connection)
                    release(connection, self.name, shard, row.sequence)
            except Exception as error:
                if is_transient(error):
                    raise
                note_failure(connection, self.name, shard, row.sequence, error)
                return Redriven(applied, len(rows) - applied, f"{type(error).__name__}: {error}", more)
        return Redriven(len(rows), 0, None, more)

    def _fold_chunk(self, shard: str, records: Sequence[Delivered], until: int | None) -> None:
        session, held = self._sessions[shard], self._places[shard].held
        step = self._steps.setdefault(shard, _Step(self._places[shard].position))
        step.until, step.gap = until, None
        for start in range(0, len(records), PIECE_RECORDS):
            piece = records[start : start + PIECE_RECORDS]
            stretch = follow(shard, step.end, piece, until)
            waiting = held | {entry.stream for entry in step.entries} if step.entries else held
            step.entries += self._fold(session, stretch.facts, waiting)
            step.events += len(stretch.facts)
            step.end, step.gap = stretch.end, stretch.gap
            step.records += piece
            if stretch.gap is not None or stretch.end.next == until:
                break

    def _fold(self, session: SqlSession, facts: Sequence[Fact], held: Collection[str]) -> list[Parked]:
        project, keep = self._projection.fold, session.keep
        entries: list[Parked] = []
        waiting = set(held)
        for fact in facts:
            if waiting and fact.record.subject in waiting:
                entries.append(Parked.behind(fact))
                continue
            try:
                if fact.event is None:
                    raise fact.fault or AssertionError("an event, or why there is none")
                project(fact.event, fact.record, session)
                keep()
            except DBAPIError:
                raise
            except Exception as error:
                session.undo()
                waiting.add(fact.record.subject)
                entries.append(Parked.failed(fact, error))
                log.exception("%s parks %s at %s %d", self.name, fact.record.subject, fact.record.shard, fact.sequence)
        return entries

    def _commit(self, steps: Mapping[str, _Step]) -> dict[str, Applied]:
        to_write = {shard: step for shard, step in steps.items() if step.events}
        if to_write:
            with self._doubting(steps), self._engine.begin() as connection:
                self._places.hold(connection, to_write)
                crashpoint("project.begun")
                for shard in to_write:
                    self._sessions[shard].flush(connection)
                crashpoint("project.half")
                self._advance(connection, to_write)
            crashpoint("project.committed")
        return {shard: self._arrive(shard, step) for shard, step in list(steps.items())}

    def _commit_one_by_one(self, shard: str, step: _Step) -> Applied:
        """The database refuses something. Find what, park it, apply the rest."""
        self._places.believe([shard])
        place, session = self._places[shard], self._sessions[shard]
        stretch = follow(shard, place.position, step.records, step.until)
        again = _Step(stretch.end, step.until, len(stretch.facts), stretch.gap)
        with self._doubting([shard]), self._engine.begin() as connection:
            self._places.hold(connection, [shard])
            session.connect(lambda: connection)
            for fact in stretch.facts:
                waiting = place.held | {entry.stream for entry in again.entries}
                again.entries += self._apply_alone(connection, session, fact, waiting)
            self._advance(connection, {shard: again})
        return self._arrive(shard, again)

    def _apply_alone(self, connection: Connection, session: SqlSession, fact: Fact, held: set[str]) -> list[Parked]:
        try:
            with connection.begin_nested():
                entries = self._fold(session, [fact], held)
                session.flush(connection)
                session.settle()
                return entries
        except (DBAPIError, Unwritable) as error:
            if is_transient(error):
                raise
            session.forget()
            log.exception("%s parks %s at %s %d", self.name, fact.record.subject, fact.record.shard, fact.sequence)
            return [Parked.failed(fact, error)]

    def _advance(self, connection: Connection, steps: Mapping[str, _Step]) -> None:
        for shard, step in steps.items():
            park(connection, self.name, shard, step.entries)
        positions.advance(connection, self.name, {shard: step.end for shard, step in steps.items()})

    def _arrive(self, shard: str, step: _Step) -> Applied:
        self._steps.pop(shard, None)
        self._sessions[shard].settle()
        self._places.arrive(shard, step.end, {entry.stream for entry in step.entries})
        return Applied(step.end, step.events, len(step.entries), step.gap)

    @contextmanager
    def _doubting(self, shards: Collection[str]) -> Iterator[None]:
        try:
            yield
        except BaseException:
            # Also after a commit whose answer was lost: the row tells what happened.
            self._places.doubt(shards)
            self._steps = {shard: step for shard, step in self._steps.items() if shard not in shards}
            for shard in shards:
                self._sessions[shard].forget()
            raise

    def _session(self) -> SqlSession:
        return SqlSession(self._projection.tables, self._names, cached_rows=self._cached_rows)


@dataclass(frozen=True, slots=True)
class Redriven:
    """`failure` is why it stopped; `waiting` counts what is left of what was tried, `more` says that there is more."""

    applied: int
    waiting: int
    failure: str | None
    more: bool = False
