"""Readers that have an effect: an event becomes commands. First sent, then remembered.

A reader that dies between the two sends the same commands again, and their ids make them one. They are sent beside the turns:
what a process has folded in memory may be ahead of what it has sent, and what it has sent ahead of what it remembers.
"""

import logging
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from aiokafka.errors import KafkaError, MessageSizeTooLargeError
from sqlalchemy import Connection, Engine

from adapters.sql import is_transient, reading
from adapters.telemetry import traceparent_of
from adapters.views import positions
from adapters.views.chain import Delivered, Fact, Stretch
from adapters.views.parked import Parked, headers_of, note_failure, park, release, waiting_events
from adapters.views.places import Applied, Places
from adapters.views.positions import Fenced, Move, Position
from adapters.views.projector import Redriven
from adapters.views.readers import InTurn
from adapters.views.session import Snapshot
from adapters.views.wishes import Intended, Send, Wish, wish_of
from contracts import Event, Record, parse_event, read_event

log = logging.getLogger(__name__)


class Reacting(Protocol):
    """`streams.Process`."""

    @property
    def name(self) -> str: ...

    @property
    def contexts(self) -> tuple[str, ...]: ...

    @property
    def react(self) -> Callable[[Event, Record], Iterable[Intended]]: ...


@dataclass(slots=True)
class _Reaction:
    """What one stretch of a shard comes to. It is remembered once nothing of it is left to send."""

    facts: Sequence[Fact]
    end: Position
    wishes: list[tuple[Fact, Wish]] = field(default_factory=list)
    entries: list[Parked] = field(default_factory=list)


Unsent = Mapping[str, Sequence[_Reaction]]
"""By shard, reactions in their order of which some are to be sent."""


class ProcessReader:
    """A process among the readers of a set: reads events like a projection, and parks streams like one."""

    def __init__(self, engine: Engine, process: Reacting, send: Send) -> None:
        self.name = process.name
        self.topics: Sequence[str] = [f"{context}.events" for context in process.contexts]
        self._engine, self._process, self._send = engine, process, send
        self._places = Places(engine, process.name)
        self._reactions: dict[str, list[_Reaction]] = {}

    def take(self, found: Mapping[str, Position], held: Mapping[str, Collection[str]]) -> None:
        """Exactly these shards were claimed for us."""
        self._places.take(found, held)
        self._reactions = {}

    def add(self, shard: str, position: Position, held: Collection[str]) -> None:
        """This shard was claimed for us besides."""
        self._places.add(shard, position, held)
        self._reactions.pop(shard, None)

    def leave(self, shard: str) -> None:
        """It is somebody else's now."""
        self._places.leave(shard)
        self._reactions.pop(shard, None)

    def position(self, shard: str) -> Position:
        """As far as the shard is folded; some of it may not be sent yet."""
        reactions = self._reactions.get(shard)
        return reactions[-1].end if reactions else self._places[shard].position

    def doubts(self, shard: str) -> bool:
        """Whether what is believed of the shard has to be read again first."""
        return self._places.doubts(shard)

    def renew(self, shards: Collection[str], found: Mapping[str, Position], held: Mapping[str, Collection[str]]) -> None:
        """By what was read since it was doubted: react again to what was not remembered. Raises Fenced."""
        doubtful = [shard for shard in shards if self._places.doubts(shard)]
        try:
            self._places.renew(doubtful, found, held)
        except Fenced as fenced:
            self._react_again([shard for shard in doubtful if shard not in fenced.shards])
            raise
        self._react_again(doubtful)

    def follow(self, shard: str, piece: Sequence[Delivered], stretch: Stretch, rows: Snapshot) -> None:
        """React to what continues the shard's position."""
        del piece, rows
        if stretch.facts:
            self._reactions.setdefault(shard, []).append(self._react(shard, stretch.facts, stretch.end))

    def pending(self) -> list[Move]:
        """What `write` goes with: as far as all is sent."""
        ends = {shard: sent[-1].end for shard, reactions in self._reactions.items() if (sent := _sent(reactions))}
        return self._places.moves(ends)

    def write(self, connection: Connection) -> None:
        """Parked events, under the rows that the moves have locked."""
        for shard, reactions in self._reactions.items():
            park(connection, self.name, shard, [entry for reaction in _sent(reactions) for entry in reaction.entries])

    def arrive(self) -> dict[str, Applied]:
        """What was pending is committed."""
        found = {}
        for shard, reactions in self._reactions.items():
            if sent := _sent(reactions):
                entries = [entry for reaction in sent for entry in reaction.entries]
                position = self._places.arrive(shard, sent[-1].end, {entry.stream for entry in entries})
                found[shard] = Applied(position, sum(len(reaction.facts) for reaction in sent), len(entries))
                del reactions[: len(sent)]
        return found

    def doubt(self) -> None:
        """A turn failed: what was to be remembered may be, or not. The row tells what happened."""
        self._places.doubt(list(self._reactions))

    # Sending

    def due(self) -> Unsent | None:
        """What is to be sent; nothing, if there is only something to remember; None, if not even that."""
        found = {shard: [x for x in reactions if x.wishes] for shard, reactions in self._reactions.items()}
        unsent = {shard: reactions for shard, reactions in found.items() if reactions}
        return unsent if unsent or self.has_pending else None

    @property
    def has_pending(self) -> bool:
        """Whether something is sent, or needs no sending, and is not remembered yet."""
        return any(_sent(reactions) for reactions in self._reactions.values())

    def unsent_events(self) -> int:
        """Events that wait for what comes before them to be sent."""
        waiting = (reactions for reactions in self._reactions.values() if any(reaction.wishes for reaction in reactions))
        return sum(len(reaction.facts) for reactions in waiting for reaction in reactions)

    async def send(self, unsent: Unsent) -> list[tuple[str, _Reaction, Fact, Exception]]:
        """Send all of it; what could not be sent for a reason of its own, and not of the broker's. Raises KafkaError."""
        wishes = [wish for reactions in unsent.values() for reaction in reactions for _, wish in reaction.wishes]
        try:
            await self._send(wishes)
        except Exception as error:
            if _is_the_worlds(error):
                raise
            log.warning("%s: commands could not be sent together, so they are sent one by one: %r", self.name, error)
            return await self._send_one_by_one(unsent)
        return []

    async def _send_one_by_one(self, unsent: Unsent) -> list[tuple[str, _Reaction, Fact, Exception]]:
        failed: list[tuple[str, _Reaction, Fact, Exception]] = []
        for shard, reactions in unsent.items():
            for reaction in reactions:
                for fact, wish in reaction.wishes:
                    try:
                        if not any(other.record.subject == fact.record.subject for _, _, other, _ in failed):
                            await self._send([wish])
                    except Exception as error:
                        if _is_the_worlds(error):
                            raise
                        log.exception("%s parks %s at %s %d", self.name, fact.record.subject, shard, fact.sequence)
                        failed.append((shard, reaction, fact, error))
        return failed

    def sent(self, unsent: Unsent, failed: Sequence[tuple[str, _Reaction, Fact, Exception]]) -> None:
        """It is with the broker, but for what failed: that parks its stream."""
        for reactions in unsent.values():
            for reaction in reactions:
                reaction.wishes = []
        for shard, _, fact, error in failed:
            self._park_from(shard, fact, error)

    def _park_from(self, shard: str, failed: Fact, error: Exception) -> None:
        """The event, and what was folded of its stream since."""
        stream = failed.record.subject
        for reaction in self._reactions.get(shard, ()):
            waiting = {entry.sequence for entry in reaction.entries}
            for fact in reaction.facts:
                if fact.record.subject == stream and fact.sequence >= failed.sequence and fact.sequence not in waiting:
                    is_cause = fact.sequence == failed.sequence
                    reaction.entries.append(Parked.failed(fact, error) if is_cause else Parked.behind(fact))
            reaction.wishes = [(fact, wish) for fact, wish in reaction.wishes if fact.record.subject != stream]

    # Reacting

    def _react(self, shard: str, facts: Sequence[Fact], end: Position) -> _Reaction:
        found = _Reaction(facts, end)
        waiting = set(self._places[shard].held)
        waiting.update(entry.stream for earlier in self._reactions.get(shard, ()) for entry in earlier.entries)
        for fact in facts:
            if fact.record.subject in waiting:
                found.entries.append(Parked.behind(fact))
                continue
            try:
                found.wishes += [(fact, wish) for wish in self._wishes(fact.read(), fact.record, fact.delivered.headers)]
            except Exception as error:
                waiting.add(fact.record.subject)
                found.entries.append(Parked.failed(fact, error))
                log.exception("%s parks %s at %s %d", self.name, fact.record.subject, fact.record.shard, fact.sequence)
        return found

    def _react_again(self, shards: Collection[str]) -> None:
        """From the rows as they are now: what is remembered is done, and a stream that was redriven flows again."""
        for shard in shards:
            before, self._reactions[shard] = self._reactions.get(shard, []), []
            for reaction in before:
                if facts := [fact for fact in reaction.facts if fact.sequence >= self._places[shard].position.next]:
                    self._reactions[shard].append(self._react(shard, facts, reaction.end))

    def _wishes(self, event: Event, record: Record, headers: Sequence[tuple[str, bytes | None]]) -> list[Wish]:
        traceparent = traceparent_of(headers)
        return [wish_of(intent, self.name, record, traceparent) for intent in self._process.react(event, record)]

    # Parked streams

    async def redrive(self, stream: str, limit: int = 500) -> Redriven:
        """Send what a parked stream's events want, in order, with today's code, until one fails again."""
        in_thread = InTurn()
        rows = await in_thread(waiting_in, self._engine, self.name, stream, limit + 1)
        for applied, row in enumerate(rows[:limit]):
            try:
                record = parse_event(row.value, headers_of(row))
                await self._send(self._wishes(read_event(record.document), record, headers_of(row)))
            except Exception as error:
                if _is_the_worlds(error):
                    raise
                await in_thread(note_in, self._engine, self.name, row, error)
                return Redriven(applied, min(len(rows), limit) - applied, f"{type(error).__name__}: {error}", len(rows) > limit)
            await in_thread(release_in, self._engine, self.name, row)
        return Redriven(min(len(rows), limit), 0, None, len(rows) > limit)


def _sent(reactions: Sequence[_Reaction]) -> Sequence[_Reaction]:
    """The first ones, as far as nothing of them is left to send."""
    return reactions[: next((n for n, reaction in enumerate(reactions) if reaction.wishes), len(reactions))]


def _is_the_worlds(error: Exception) -> bool:
    """A broker or a database that does not answer; a command that no broker takes is ours."""
    return is_transient(error) or (isinstance(error, KafkaError) and not isinstance(error, MessageSizeTooLargeError))


def waiting_in(engine: Engine, reader: str, stream: str, limit: int) -> Sequence[Any]:
    """Events of a stream that wait, with the rows that say so."""
    with reading(engine) as connection:
        return waiting_events(connection, reader, stream, limit)


def note_in(engine: Engine, reader: str, row: Any, error: Exception) -> None:
    """It failed once more."""
    with engine.begin() as connection:
        note_failure(connection, reader, row.shard, row.sequence, error)


def release_in(engine: Engine, reader: str, row: Any) -> None:
    """What it wanted is sent: its reader forgets that it waited."""
    with engine.begin() as connection:
        positions.lock(connection, reader, row.shard)
        positions.disturb(connection, reader, row.shard)
        release(connection, reader, row.shard, row.sequence)
