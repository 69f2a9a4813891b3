"""A projection's reader: chunks of records in, rows and position out, in one transaction."""

import logging
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection, Engine, Table
from sqlalchemy.exc import DBAPIError

from adapters.crash import crashpoint
from adapters.sql import is_transient, replayable
from adapters.views import positions
from adapters.views.chain import Delivered, Fact, Stretch, follow
from adapters.views.columns import Unwritable
from adapters.views.parked import Parked, headers_of, note_failure, park, release, waiting_events, waiting_shard
from adapters.views.places import Applied, Places
from adapters.views.positions import Fenced, Move, Otherwise, Position
from adapters.views.session import CACHED_ROWS, Snapshot, SqlSession
from adapters.views.strangers import Strangers
from adapters.vouching import Vouch, anybody
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
    repeated. Raises Fenced when another reader has claimed a shard, ChainBroken when bytes were altered. Alone it claims,
    applies and commits by itself; among others (`adapters.views.sets`) it is told, folds, and writes when all write.
    """

    def __init__(
        self,
        engine: Engine,
        projection: Projection,
        *,
        reader: str | None = None,
        names: Mapping[Table, str] | None = None,
        cached_rows: int = CACHED_ROWS,
        vouch: Vouch = anybody,
    ) -> None:
        """`reader` and `names` (of the tables) differ from the projection's own where a rebuild folds beside it.

        For whom nobody vouches is passed over.
        """
        self.name = reader or projection.name
        self.topics = tuple(f"{context}.events" for context in projection.contexts)
        self._engine, self._projection, self._names, self._cached_rows = engine, projection, names, cached_rows
        self._places, self._vouch, self._strangers = Places(engine, self.name), vouch, Strangers(self.name)
        self._sessions: dict[str, SqlSession] = {}
        self._steps: dict[str, _Step] = {}

    def claim(self, shards: Collection[str]) -> Mapping[str, Position]:
        """Own exactly these shards. Their positions."""
        found = self._places.claim(shards)
        self._begin(found)
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
        self.believe(mine)
        with self._doubting(mine), Snapshot(self._engine) as rows:
            for shard in mine:
                self._fold_chunk(shard, chunks[shard], (until or {}).get(shard), rows)
        return {shard: gap for shard in mine if (gap := self._steps[shard].gap) is not None}

    def commit(self) -> dict[str, Applied]:
        """Write what is folded, in one transaction. Raises Fenced; what is still ours is folded then, and not written."""
        steps, one_by_one = self._steps, False
        while True:
            try:
                return self._commit_one_by_one(steps) if one_by_one else self._commit()
            except Otherwise as otherwise:
                log.info("%s reads again: %s", self.name, otherwise)
                self._fold_again(steps)
                steps = self._steps
            except (DBAPIError, Unwritable) as error:
                if one_by_one or is_transient(error):
                    raise
                one_by_one = True
                log.warning("%s: a chunk could not be written, so its events are tried one by one: %s", self.name, error)

    # Among others, which claim, follow and commit together

    def take(self, found: Mapping[str, Position], held: Mapping[str, Collection[str]]) -> None:
        """Exactly these shards were claimed for us."""
        self._places.take(found, held)
        self._begin(found)

    def add(self, shard: str, position: Position, held: Collection[str]) -> None:
        """This shard was claimed for us besides."""
        self._places.add(shard, position, held)
        self._steps.pop(shard, None)
        self._sessions[shard] = self._session()

    def leave(self, shard: str) -> None:
        """It is somebody else's now."""
        self._places.leave(shard)
        self._steps.pop(shard, None)
        self._sessions.pop(shard, None)

    def believe(self, shards: Collection[str]) -> None:
        """Read again what was doubted. Raises Fenced, which names what is another's."""
        for shard in self._places.believe(shards):
            self._sessions[shard].forget()

    def doubts(self, shard: str) -> bool:
        """Whether what is believed of the shard has to be read again first."""
        return self._places.doubts(shard)

    def renew(self, shards: Collection[str], found: Mapping[str, Position], held: Mapping[str, Collection[str]]) -> None:
        """As `believe`, by what others have read for us."""
        for shard in self._places.renew(shards, found, held):
            self._sessions[shard].forget()

    def follow(self, shard: str, piece: Sequence[Delivered], stretch: Stretch, rows: Snapshot) -> None:
        """Fold what continues the shard's position; `piece` are the records of which it was found. After an error: doubt."""
        self._fold_stretch(shard, self._step(shard), piece, stretch, rows)

    def pending(self) -> list[Move]:
        """What `write` goes with."""
        ends = {shard: step.end for shard, step in self._steps.items() if step.events}
        return self._places.moves(ends, {shard for shard in ends if self._sessions[shard].has_changes})

    def write(self, connection: Connection) -> None:
        """Rows and parked events, under the rows that the moves have locked."""
        for shard, step in self._steps.items():
            if step.events:
                self._sessions[shard].flush(connection)
                park(connection, self.name, shard, step.entries)

    def arrive(self) -> dict[str, Applied]:
        """What was pending is committed."""
        return {shard: self._arrive(shard, step) for shard, step in list(self._steps.items())}

    def doubt(self) -> None:
        """A turn failed: nothing that is folded counts, even if it was a commit's answer that was lost. The row tells."""
        self._doubt(list(self._steps))

    # Parked streams

    def redrive(self, stream: str, limit: int = 500) -> "Redriven":
        """Apply a parked stream's events in order, with today's code, until one fails again."""
        with self._engine.begin() as connection:
            shard = waiting_shard(connection, self.name, stream)
            if shard is None:
                return Redriven(0, 0, None)
            # The lock keeps the projector from parking or applying meanwhile, and another redrive or a swap from doing the
            # same: what waits is read under it. The new generation makes the projector forget.
            positions.lock(connection, self.name, shard)
            positions.disturb(connection, self.name, shard)
            rows = waiting_events(connection, self.name, stream, limit + 1)
            return self._redrive(connection, shard, rows[:limit], len(rows) > limit)

    def _redrive(self, connection: Connection, shard: str, rows: Sequence[Any], more: bool) -> "Redriven":
        for applied, row in enumerate(rows):
            session = self._session()
            session.connect(lambda: connection)
            try:
                with connection.begin_nested():
                    record = parse_event(row.value, headers_of(row))
                    self._projection.fold(read_event(record.document), record, session)
                    session.flush(connection)
                    release(connection, self.name, shard, row.sequence)
            except Exception as error:
                if is_transient(error):
                    raise
                note_failure(connection, self.name, shard, row.sequence, error)
                return Redriven(applied, len(rows) - applied, f"{type(error).__name__}: {error}", more)
        return Redriven(len(rows), 0, None, more)

    # Folding

    def _begin(self, found: Mapping[str, Position]) -> None:
        self._sessions = {shard: self._session() for shard in found}
        self._steps = {}
        for shard, position in found.items():
            self._sessions[shard].forget(complete=position.next == 0)

    def _step(self, shard: str) -> _Step:
        return self._steps.setdefault(shard, _Step(self._places[shard].position))

    def _fold_chunk(self, shard: str, records: Sequence[Delivered], until: int | None, rows: Snapshot) -> None:
        step = self._step(shard)
        step.until, step.gap = until, None
        for start in range(0, len(records), PIECE_RECORDS):
            piece = records[start : start + PIECE_RECORDS]
            stretch = follow(shard, step.end, piece, until, vouch=self._vouch)
            if stretch.strangers:
                self._strangers.meet(shard, stretch.strangers)
            self._fold_stretch(shard, step, piece, stretch, rows)
            if stretch.gap is not None or stretch.end.next == until:
                break

    def _fold_stretch(self, shard: str, step: _Step, piece: Sequence[Delivered], stretch: Stretch, rows: Snapshot) -> None:
        session, held = self._sessions[shard], self._places[shard].held
        session.connect(rows)
        waiting = held | {entry.stream for entry in step.entries} if step.entries else held
        step.entries += self._fold(session, stretch.facts, waiting, rows.renew)
        step.events += len(stretch.facts)
        step.end, step.gap = stretch.end, stretch.gap
        step.records += piece

    def _fold(
        self, session: SqlSession, facts: Sequence[Fact], held: Collection[str], renew: Callable[[], None] | None
    ) -> list[Parked]:
        """`renew` the connection after a read that the database refused, and go on; without it, raise."""
        project, keep = self._projection.fold, session.keep
        entries: list[Parked] = []
        waiting = set(held)
        for fact in facts:
            if waiting and fact.record.subject in waiting:
                entries.append(Parked.behind(fact))
                continue
            try:
                project(fact.read(), fact.record, session)
                keep()
            except Exception as error:
                if is_transient(error) or (renew is None and isinstance(error, DBAPIError)):
                    raise
                if renew is not None and isinstance(error, DBAPIError):
                    renew()
                session.undo()
                waiting.add(fact.record.subject)
                entries.append(Parked.failed(fact, error))
                log.exception("%s parks %s at %s %d", self.name, fact.record.subject, fact.record.shard, fact.sequence)
        return entries

    def _fold_again(self, steps: Mapping[str, _Step]) -> None:
        """From the rows as they are now. Raises Fenced; then the steps of what is still ours are folded all the same."""
        fenced: Fenced | None = None
        try:
            self.believe(list(steps))
        except Fenced as error:
            fenced = error
        for shard, step in steps.items():
            if fenced is None or shard not in fenced.shards:
                self.fold({shard: step.records}, None if step.until is None else {shard: step.until})
        if fenced is not None:
            raise fenced

    # Writing

    def _commit(self) -> dict[str, Applied]:
        if moves := self.pending():
            with self._doubting(list(self._steps)), replayable(self._engine) as connection:
                positions.advance(connection, moves)
                crashpoint("project.begun")
                self.write(connection)
                crashpoint("project.half")
            crashpoint("project.committed")
        return self.arrive()

    def _commit_one_by_one(self, steps: Mapping[str, _Step]) -> dict[str, Applied]:
        """The database refuses something. Find what, park it, apply the rest."""
        self.believe(list(steps))
        return {shard: self._commit_its_facts(shard, step) for shard, step in steps.items()}

    def _commit_its_facts(self, shard: str, step: _Step) -> Applied:
        place, session = self._places[shard], self._sessions[shard]
        stretch = follow(shard, place.position, step.records, step.until, vouch=self._vouch)
        again = _Step(stretch.end, step.until, len(stretch.facts), stretch.gap)
        with self._doubting([shard]), self._engine.begin() as connection:
            positions.advance(connection, self._places.moves({shard: again.end}, [shard]))
            session.connect(lambda: connection)
            for fact in stretch.facts:
                waiting = place.held | {entry.stream for entry in again.entries}
                again.entries += self._apply_alone(connection, session, fact, waiting)
            park(connection, self.name, shard, again.entries)
        return self._arrive(shard, again)

    def _apply_alone(self, connection: Connection, session: SqlSession, fact: Fact, held: set[str]) -> list[Parked]:
        try:
            with connection.begin_nested():
                entries = self._fold(session, [fact], held, None)
                session.flush(connection)
                session.settle()
                return entries
        except (DBAPIError, Unwritable) as error:
            if is_transient(error):
                raise
            session.forget()
            log.exception("%s parks %s at %s %d", self.name, fact.record.subject, fact.record.shard, fact.sequence)
            return [Parked.failed(fact, error)]

    def _arrive(self, shard: str, step: _Step) -> Applied:
        self._steps.pop(shard, None)
        self._sessions[shard].settle()
        position = self._places.arrive(shard, step.end, {entry.stream for entry in step.entries})
        return Applied(position, step.events, len(step.entries), step.gap)

    @contextmanager
    def _doubting(self, shards: Collection[str]) -> Iterator[None]:
        try:
            yield
        except BaseException:
            self._doubt(shards)
            raise

    def _doubt(self, shards: Collection[str]) -> None:
        self._places.doubt(shards)
        self._steps = {shard: step for shard, step in self._steps.items() if shard not in shards}
        for shard in shards:
            if shard in self._sessions:
                self._sessions[shard].forget()

    def _session(self) -> SqlSession:
        return SqlSession(self._projection.tables, self._names, cached_rows=self._cached_rows)


@dataclass(frozen=True, slots=True)
class Redriven:
    """`failure` is why it stopped; `waiting` counts what is left of what was tried, `more` says that there is more."""

    applied: int
    waiting: int
    failure: str | None
    more: bool = False
