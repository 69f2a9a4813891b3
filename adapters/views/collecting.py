"""Readers of topics that are open to strangers: a chunk of raw records becomes few commands. First sent, then remembered."""

import logging
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any, NamedTuple, Protocol

from aiokafka import TopicPartition
from sqlalchemy import Engine

from adapters.crash import crashpoint
from adapters.kafka.locate import Looking, Places, locate_offset
from adapters.seldom import Seldom
from adapters.sql import is_transient
from adapters.views import places, positions
from adapters.views.parked import Parked, headers_of, park, reason_of
from adapters.views.places import Applied
from adapters.views.positions import Otherwise, Position
from adapters.views.processes import note_in, release_in, waiting_in
from adapters.views.projector import Redriven
from adapters.views.readers import InTurn, sought
from adapters.views.states import States
from adapters.views.wishes import Intended, Send, Wish, collected_wish
from contracts import rfc3339, shard_name

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
    def headers(self) -> Sequence[tuple[str, bytes | None]]: ...

    @property
    def timestamp(self) -> int: ...


class Collecting(Protocol):
    """`streams.Collector`, with its records as they arrive."""

    @property
    def name(self) -> str: ...

    @property
    def topic(self) -> str: ...

    @property
    def collect(self) -> Callable[[Sequence[Any]], Iterable[Intended]]: ...


@dataclass(slots=True)
class _Collected:
    """What a turn's records of one shard come to, before anything of it is sent or stored."""

    begin: Position
    end: Position
    records: int
    wishes: list[Wish] = field(default_factory=list)
    entries: list[Parked] = field(default_factory=list)


class CollectorReader:
    """A collector in a group. Its topic has no sequences: the position is an offset, and the last record's hash proves it.

    A record at which the collector fails is parked by itself, because its topic is open to strangers.
    """

    def __init__(
        self,
        engine: Engine,
        collector: Collecting,
        send: Send,
        raw: Callable[[int, Arrived], Any],
        states: States | None = None,
    ) -> None:
        """`raw` makes what the collector is given of a partition and a record; `states` are those of its process."""
        self.name, self.topics = collector.name, [collector.topic]
        self._engine, self._collector, self._send, self._raw = engine, collector, send, raw
        self._places = places.Places(engine, collector.name)
        self._in_thread, self._seldom = InTurn(), Seldom()
        self._states = states

    async def claim(self, shards: Iterable[str]) -> None:
        found = await self._in_thread(self._places.claim, list(shards))
        if self._states is not None:
            self._states.claimed([self.name], {self.name: found})

    async def resume(self, look: Looking, tps: Collection[TopicPartition], *, thorough: bool) -> Places:
        del thorough
        return {tp: await self._resume_at(look, tp) for tp in tps}

    async def _resume_at(self, look: Looking, tp: TopicPartition) -> int:
        shard = shard_name(*tp)
        position = self._places[shard].position
        offset = await locate_offset(look, tp.topic, tp.partition, sought(position))
        if offset != position.next:
            log.error("%s: %s is not as it was read; it goes on at %d, not %d", self.name, shard, offset, position.next)
            entry = replace(position, next=offset, offset=offset)
            await self._in_thread(self._remember, {shard: _Collected(position, entry, 0)})
        return offset

    async def apply(self, chunks: Mapping[str, Sequence[Arrived]]) -> dict[str, Applied]:
        """Raises Fenced. What is sent before a position has moved is sent again, and is the same."""
        while True:
            found = await self._in_thread(self._collect, chunks)
            if wishes := [wish for collected in found.values() for wish in collected.wishes]:
                await self._send(wishes)
            try:
                if moving := {shard: collected for shard, collected in found.items() if collected.records}:
                    await self._in_thread(self._remember, moving)
            except Otherwise as otherwise:
                log.info("%s reads again: %s", self.name, otherwise)
                continue
            return {shard: Applied(x.end, x.records, len(x.entries)) for shard, x in found.items()}

    async def redrive(self, stream: str, limit: int = 500) -> Redriven:
        """Collect what is parked under a key, record by record, with today's code, until one fails again."""
        rows = await self._in_thread(waiting_in, self._engine, self.name, stream, limit + 1)
        for applied, row in enumerate(rows[:limit]):
            record = _Kept(row.offset, row.stream.encode(), bytes(row.value), headers_of(row), row.timestamp_ms or 0)
            try:
                await self._send(self._wishes(row.shard, [record]))
            except Exception as error:
                if is_transient(error):
                    raise
                await self._in_thread(note_in, self._engine, self.name, row, error)
                return Redriven(applied, min(len(rows), limit) - applied, f"{type(error).__name__}: {error}", len(rows) > limit)
            await self._in_thread(release_in, self._engine, self.name, row)
        return Redriven(min(len(rows), limit), 0, None, len(rows) > limit)

    # In the thread

    def _collect(self, chunks: Mapping[str, Sequence[Arrived]]) -> dict[str, _Collected]:
        mine = [shard for shard in sorted(chunks) if shard in self._places]
        self._places.believe(mine)
        return {shard: self._collect_from(shard, chunks[shard]) for shard in mine}

    def _collect_from(self, shard: str, records: Sequence[Arrived]) -> _Collected:
        began, collected = time.perf_counter(), self._collected(shard, records)
        if self._states is not None:
            self._states.folded(self.name, shard, collected.records, time.perf_counter() - began)
        return collected

    def _collected(self, shard: str, records: Sequence[Arrived]) -> _Collected:
        position = self._places[shard].position
        fresh = [record for record in records if record.offset >= position.next]
        if not fresh:
            return _Collected(position, position, 0)
        last = fresh[-1]
        end = replace(
            position, next=last.offset + 1, offset=last.offset + 1, last_time=rfc3339(_moment(last)),
            last_hash=sha256(last.value or b"").hexdigest(),
        )  # fmt: skip
        return _Collected(position, end, len(fresh), *self._wishes_of(shard, fresh))

    def _remember(self, moving: Mapping[str, _Collected]) -> None:
        """Advance all shards, with what each of them parks, in one transaction. Raises Otherwise, Fenced."""
        # From where they were collected: the shard may have been another's meanwhile, and ours again.
        moves = [positions.Move(self.name, shard, x.begin, x.end) for shard, x in moving.items()]
        try:
            with self._engine.begin() as connection:
                positions.advance(connection, moves)
                crashpoint("project.begun")
                for shard, collected in moving.items():
                    park(connection, self.name, shard, collected.entries)
            crashpoint("project.committed")
        except BaseException:
            self._places.doubt(moving)
            raise
        for shard, collected in moving.items():
            if shard in self._places:
                self._places.arrive(shard, collected.end)

    def _wishes_of(self, shard: str, records: Sequence[Arrived]) -> tuple[list[Wish], list[Parked]]:
        entries: list[Parked] = []
        try:
            return self._wishes(shard, records), entries
        except Exception:
            # Anybody may send what it fails at.
            if (times := self._seldom.count(shard)) == 1:
                log.exception(
                    "%s cannot collect %d records of %s, so they are tried one by one", self.name, len(records), shard
                )
            elif times:
                log.error("%s could not collect records of %s %d times more", self.name, shard, times)
        good = []
        for record in records:
            try:
                self._wishes(shard, [record])
                good.append(record)
            except Exception as error:
                key = (record.key or b"").decode("utf-8", "replace").replace("\x00", "")[:250]
                entries.append(Parked.of(key, record.offset, record, reason_of(error), 1))
        return (self._wishes(shard, good) if good else []), entries

    def _wishes(self, shard: str, records: Sequence[Arrived]) -> list[Wish]:
        first, last, partition = records[0], records[-1], int(shard.rpartition("/")[2])
        intents = self._collector.collect([self._raw(partition, record) for record in records])
        return [collected_wish(intent, self.name, shard, first.offset, last.offset, _moment(last)) for intent in intents]


class _Kept(NamedTuple):
    """A parked record as it arrived."""

    offset: int
    key: bytes
    value: bytes
    headers: Sequence[tuple[str, bytes]]
    timestamp: int


def _moment(record: Arrived) -> datetime:
    return datetime.fromtimestamp(record.timestamp / 1000, UTC)
