"""Readers that have an effect: an event, or a chunk of raw records, becomes commands. First sent, then remembered.

A reader that dies between the two sends the same commands again, and their ids make them one.
"""

import logging
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any, Protocol

from sqlalchemy import Engine

from adapters.crash import crashpoint
from adapters.kafka.locate import Looking, locate, locate_offset
from adapters.sql import reading
from adapters.telemetry import traceparent_of
from adapters.views import positions
from adapters.views.chain import follow
from adapters.views.faults import is_transient
from adapters.views.parked import Parked, note_failure, park, reason_of, release, waiting_events
from adapters.views.places import Applied, Moved, Places
from adapters.views.positions import Position
from adapters.views.projector import Redriven
from adapters.views.readers import InTurn, sought
from adapters.views.wishes import Intended, Send, Wish, collected_wish, wish_of
from contracts import Event, Record, parse_event, read_event, rfc3339, shard_name

log = logging.getLogger(__name__)


class Arrived(Protocol):
    """A record as aiokafka delivers it."""

    @property
    def offset(self) -> int: ...

    @property
    def key(self) -> bytes | None: ...

    @property
    def value(self) -> bytes | None: ...

    @property
    def headers(self) -> Sequence[tuple[str, bytes]]: ...

    @property
    def timestamp(self) -> int: ...


class Reacting(Protocol):
    """`streams.Process`."""

    @property
    def name(self) -> str: ...

    @property
    def contexts(self) -> tuple[str, ...]: ...

    @property
    def react(self) -> Callable[[Event, Record], Iterable[Intended]]: ...


class _Remembering:
    """What both kinds share: shards that are claimed, and a position that is stored after the commands were sent."""

    def __init__(self, engine: Engine, name: str, send: Send) -> None:
        self.name = name
        self._engine, self._send = engine, send
        self._places = Places(engine, name)
        self._in_thread = InTurn()

    async def claim(self, shards: Collection[str]) -> None:
        await self._in_thread(self._places.claim, shards)

    def position(self, shard: str) -> Position:
        return self._places[shard].position

    def _remember(self, ends: Mapping[str, Position], entries: Mapping[str, Sequence[Parked]]) -> None:
        """Advance all shards, with what each of them parks, in one transaction. Raises Moved, Fenced."""
        try:
            with self._engine.begin() as connection:
                self._places.hold(connection, ends)
                crashpoint("project.begun")
                for shard in ends:
                    park(connection, self.name, shard, entries[shard])
                positions.advance(connection, self.name, ends)
            crashpoint("project.committed")
        except BaseException:
            self._places.doubt(ends)
            raise
        for shard, end in ends.items():
            self._places.arrive(shard, end, {entry.stream for entry in entries[shard]})


@dataclass(slots=True)
class _Reaction:
    """What a turn's records of one shard come to, before anything of it is sent or stored."""

    end: Position
    events: int
    gap: int | None
    wishes: list[Wish] = field(default_factory=list)
    entries: list[Parked] = field(default_factory=list)


class ProcessReader(_Remembering):
    """A process in a group: reads events like a projection, and parks streams like one."""

    def __init__(self, engine: Engine, process: Reacting, send: Send) -> None:
        super().__init__(engine, process.name, send)
        self._process = process
        self.topics: Sequence[str] = [f"{context}.events" for context in process.contexts]

    async def resume(self, look: Looking, topic: str, partition: int, *, thorough: bool) -> int:
        position = self.position(shard_name(topic, partition))
        return await locate(look, topic, partition, sought(position), thorough=thorough)

    async def apply(self, chunks: Mapping[str, Sequence[Arrived]]) -> dict[str, Applied]:
        """Raises Fenced. What is sent before a position has moved is sent again, and is the same."""
        while True:
            found = await self._in_thread(self._react, chunks)
            if wishes := [wish for reaction in found.values() for wish in reaction.wishes]:
                await self._send(wishes)
            moving = {shard: reaction for shard, reaction in found.items() if reaction.events}
            ends = {shard: reaction.end for shard, reaction in moving.items()}
            try:
                if moving:
                    await self._in_thread(self._remember, ends, {shard: x.entries for shard, x in moving.items()})
            except Moved as moved:
                # A stream was redriven meanwhile: it may flow again.
                log.info("read again: %s", moved)
                continue
            return {shard: Applied(x.end, x.events, len(x.entries), x.gap) for shard, x in found.items()}

    def _react(self, chunks: Mapping[str, Sequence[Arrived]]) -> dict[str, _Reaction]:
        mine = [shard for shard in sorted(chunks) if shard in self._places]
        self._places.believe(mine)
        return {shard: self._react_to(shard, chunks[shard]) for shard in mine}

    def _react_to(self, shard: str, records: Sequence[Arrived]) -> _Reaction:
        stretch = follow(shard, self.position(shard), records)
        traces = {record.offset: traceparent_of(record.headers) for record in records}
        found = _Reaction(stretch.end, len(stretch.facts), stretch.gap)
        waiting = set(self._places[shard].held)
        for fact in stretch.facts:
            if fact.record.subject in waiting:
                found.entries.append(Parked.behind(fact))
                continue
            try:
                if fact.event is None:
                    raise fact.fault or AssertionError("an event, or why there is none")
                found.wishes += self._wishes(fact.event, fact.record, traces.get(fact.offset))
            except Exception as error:
                waiting.add(fact.record.subject)
                found.entries.append(Parked.failed(fact, error))
                log.exception("%s parks %s at %s %d", self.name, fact.record.subject, fact.record.shard, fact.sequence)
        return found

    def _wishes(self, event: Event, record: Record, traceparent: str | None) -> list[Wish]:
        return [wish_of(intent, self.name, record, traceparent) for intent in self._process.react(event, record)]

    async def redrive(self, stream: str, limit: int = 500) -> Redriven:
        """Send what a parked stream's events want, in order, with today's code, until one fails again."""
        rows = await self._in_thread(self._waiting, stream, limit + 1)
        for applied, row in enumerate(rows[:limit]):
            try:
                record = parse_event(row.value)
                await self._send(self._wishes(read_event(record.document), record, None))
            except Exception as error:
                if is_transient(error):
                    raise
                await self._in_thread(self._note, row, error)
                return Redriven(applied, min(len(rows), limit) - applied, f"{type(error).__name__}: {error}", len(rows) > limit)
            await self._in_thread(self._release, row)
        return Redriven(min(len(rows), limit), 0, None, len(rows) > limit)

    def _waiting(self, stream: str, limit: int) -> Sequence[Any]:
        with reading(self._engine) as connection:
            return waiting_events(connection, self.name, stream, limit)

    def _note(self, row: Any, error: Exception) -> None:
        with self._engine.begin() as connection:
            note_failure(connection, self.name, row.shard, row.sequence, error)

    def _release(self, row: Any) -> None:
        with self._engine.begin() as connection:
            positions.lock(connection, self.name, row.shard)
            positions.disturb(connection, self.name, row.shard)
            release(connection, self.name, row.shard, row.sequence)


class Collecting(Protocol):
    """`streams.Collector`, with its records as they arrive."""

    @property
    def name(self) -> str: ...

    @property
    def topic(self) -> str: ...

    @property
    def collect(self) -> Callable[[Sequence[Any]], Iterable[Intended]]: ...


class CollectorReader(_Remembering):
    """A collector in a group. Its topic has no sequences: the position is an offset, and the last record's hash proves it.

    A record at which the collector fails is parked by itself, because its topic is open to strangers.
    """

    def __init__(self, engine: Engine, collector: Collecting, send: Send, raw: Callable[[int, Arrived], Any]) -> None:
        """`raw` makes what the collector is given of a partition and a record."""
        super().__init__(engine, collector.name, send)
        self._collector, self._raw = collector, raw
        self.topics: Sequence[str] = [collector.topic]

    async def resume(self, look: Looking, topic: str, partition: int, *, thorough: bool) -> int:
        del thorough
        shard = shard_name(topic, partition)
        position = self.position(shard)
        offset = await locate_offset(look, topic, partition, sought(position))
        if offset != position.next:
            log.error("%s: %s is not as it was read; it goes on at %d, not %d", self.name, shard, offset, position.next)
            entry = replace(position, next=offset, offset=offset)
            await self._in_thread(self._remember, {shard: entry}, {shard: []})
        return offset

    async def apply(self, chunks: Mapping[str, Sequence[Arrived]]) -> dict[str, Applied]:
        """Raises Fenced. What is sent before a position has moved is sent again, and is the same."""
        found = await self._in_thread(self._collect, chunks)
        if wishes := [wish for reaction in found.values() for wish in reaction.wishes]:
            await self._send(wishes)
        moving = {shard: reaction for shard, reaction in found.items() if reaction.events}
        if moving:
            ends = {shard: reaction.end for shard, reaction in moving.items()}
            await self._in_thread(self._remember, ends, {shard: x.entries for shard, x in moving.items()})
        return {shard: Applied(x.end, x.events, len(x.entries)) for shard, x in found.items()}

    def _collect(self, chunks: Mapping[str, Sequence[Arrived]]) -> dict[str, _Reaction]:
        mine = [shard for shard in sorted(chunks) if shard in self._places]
        self._places.believe(mine)
        return {shard: self._collect_from(shard, chunks[shard]) for shard in mine}

    def _collect_from(self, shard: str, records: Sequence[Arrived]) -> _Reaction:
        position = self.position(shard)
        fresh = [record for record in records if record.offset >= position.next]
        if not fresh:
            return _Reaction(position, 0, None)
        last = fresh[-1]
        end = replace(
            position, next=last.offset + 1, offset=last.offset + 1, last_time=rfc3339(_moment(last)),
            last_hash=sha256(last.value or b"").hexdigest(),
        )  # fmt: skip
        return _Reaction(end, len(fresh), None, *self._wishes_of(shard, fresh))

    def _wishes_of(self, shard: str, records: Sequence[Arrived]) -> tuple[list[Wish], list[Parked]]:
        partition = int(shard.rpartition("/")[2])
        entries: list[Parked] = []
        try:
            return self._wishes(shard, partition, records), entries
        except Exception:
            log.exception("%s cannot collect %d records of %s, so they are tried one by one", self.name, len(records), shard)
        good = []
        for record in records:
            try:
                self._wishes(shard, partition, [record])
                good.append(record)
            except Exception as error:
                entries.append(_parked(record, error))
        return (self._wishes(shard, partition, good) if good else []), entries

    def _wishes(self, shard: str, partition: int, records: Sequence[Arrived]) -> list[Wish]:
        first, last = records[0], records[-1]
        intents = self._collector.collect([self._raw(partition, record) for record in records])
        return [collected_wish(intent, self.name, shard, first.offset, last.offset, _moment(last)) for intent in intents]


def _moment(record: Arrived) -> datetime:
    return datetime.fromtimestamp(record.timestamp / 1000, UTC)


def _parked(record: Arrived, error: Exception) -> Parked:
    key = (record.key or b"").decode("utf-8", "replace").replace("\x00", "")[:250]
    return Parked(key, record.offset, record.offset, record.value or b"", reason_of(error), 1)
