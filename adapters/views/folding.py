"""Folding a log as fast as it can be read: by explicit assignment, in large batches, in as many processes as pay."""

import asyncio
import logging
import multiprocessing
import os
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from threading import Thread
from typing import Any, ParamSpec, TypeVar

from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from sqlalchemy import Engine

from adapters.garbage import collect_rarely
from adapters.kafka.bare import stop_consumer
from adapters.kafka.locate import locate, looking
from adapters.sql import is_transient
from adapters.views.beside import NEXT, Beside
from adapters.views.positions import Position
from adapters.views.projector import PIECE_RECORDS, Projector
from adapters.views.readers import sought
from adapters.vouching import Vouch, anybody
from contracts import shard_name
from projections import Projection

P = ParamSpec("P")
T = TypeVar("T")

log = logging.getLogger(__name__)

CACHED_ROWS = 200_000
FETCH_BYTES = 4 * 1024 * 1024
SILENT_SECONDS = 15.0
PATIENCE_SECONDS = 60.0
"""So long a database may fail without one commit in between."""
PAUSE_SECONDS = 0.2


class LogShort(Exception):
    """The topic does not hold what the live view has applied, so nothing can be compared."""


@dataclass(frozen=True)
class Parts:
    """What a fold needs. Made anew in every process: none of it may cross from one into another."""

    engine: Engine
    projection: Projection
    client: Mapping[str, Any]
    vouch: Vouch = anybody


MakeParts = Callable[[], Parts]
"""Must be picklable: a function of a module, or a partial of one."""


def fold_in_process(make: MakeParts, until: Mapping[str, int], batch_records: int) -> None:
    """The whole work of one process: some shards, each to its position."""
    collect_rarely()
    asyncio.run(_fold(make(), until, batch_records))


def end_with_parent() -> None:
    """A process of a pool whose maker was killed would go on, and then wait for its next task for ever."""
    if (parent := multiprocessing.parent_process()) is not None:
        Thread(target=_end_after, args=(parent,), daemon=True).start()


def _end_after(parent: Any) -> None:
    parent.join()
    os._exit(1)


async def _fold(parts: Parts, until: Mapping[str, int], batch_records: int) -> None:
    async with Folder(parts, batch_records) as folder:
        await folder.fold(until)


async def insist(work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Do it in a thread, again while the database does not answer. It must be right to do it twice."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        try:
            return await asyncio.to_thread(work, *args, **kwargs)
        except Exception as error:
            if not is_transient(error) or time.monotonic() > deadline:
                raise
        await asyncio.sleep(PAUSE_SECONDS)


class Folder:
    """Folds shards into the tables beside the live ones. Blocks its event loop while it folds: it is alone there."""

    def __init__(self, parts: Parts, batch_records: int, ending: str = NEXT) -> None:
        beside = Beside(parts.engine, parts.projection, ending)
        self._projector = Projector(
            parts.engine,
            parts.projection,
            reader=beside.reader,
            names=beside.names,
            cached_rows=CACHED_ROWS,
            vouch=parts.vouch,
        )
        self._log = Log(parts.client, self._projector.topics, parts.vouch)
        self._batch_records = batch_records
        self._out_of_order: set[str] = set()
        self._claimed: set[str] = set()
        self._committed = 0.0

    async def __aenter__(self) -> "Folder":
        await self._log.open()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._log.close()

    @property
    def shards(self) -> Sequence[str]:
        return self._log.shards

    def claim(self, shards: Iterable[str]) -> None:
        """Read these, from the positions that they have. What was folded and not committed is forgotten."""
        shards = list(shards)
        self._log.read_only(shards)
        self._out_of_order.clear()
        self._claimed = set()
        for shard, position in self._projector.claim(shards).items():
            # Nothing was folded or the offset is right: if the topic is out of order, a gap tells.
            self._log.seek(shard, position.offset if position.next else None)
        self._claimed = set(shards)

    def epochs(self) -> dict[str, int]:
        """Under which the shards are claimed."""
        return {shard: self._projector.position(shard).epoch for shard in self._claimed}

    async def fold(self, until: Mapping[str, int]) -> None:
        """To exactly these positions, which are committed then. Raises LogShort, ChainBroken, Lost, Behind, Forked.

        After an error of the database that passes, it goes on from what is committed; one that does not pass is raised.
        """
        await self._patiently(until, lambda: self._fold(until))

    async def follow(self, seconds: float) -> None:
        """What has come since, if any."""
        await self._patiently(self._log.shards, lambda: self._follow(seconds))

    async def _patiently(self, shards: Iterable[str], work: Callable[[], Awaitable[None]]) -> None:
        failing = None
        while True:
            try:
                if self._claimed != set(shards):
                    self.claim(shards)
                return await work()
            except Exception as error:
                now = time.monotonic()
                failing = now if failing is None or self._committed > failing else failing
                if not is_transient(error) or now - failing > PATIENCE_SECONDS:
                    raise
                # All of them anew: those whose last records were read already are as uncommitted as the others.
                self._claimed = set()
                log.warning("%s goes on from what is committed: %s", self._projector.name, str(error).partition("\n")[0])
            await asyncio.sleep(PAUSE_SECONDS)

    async def _fold(self, until: Mapping[str, int]) -> None:
        self._log.read_only([shard for shard, end in until.items() if self._projector.position(shard).next < end])
        heard = time.monotonic()
        folded = 0
        while self._log.reading:
            chunks = await self._log.poll(min(PIECE_RECORDS, self._batch_records), 0.5)
            folded += sum(map(len, chunks.values()))
            if chunks:
                await self._apply(chunks, until)
                heard = time.monotonic()
            elif self._out_of_order:
                await self._look_back()
            elif time.monotonic() - heard > SILENT_SECONDS:
                at = (f"{s} from {self._projector.position(s).next} to {until[s]}" for s in sorted(self._log.reading))
                raise LogShort(f"{self._projector.name} is to apply what its topic does not hold: {', '.join(at)}")
            if folded >= self._batch_records:
                folded = 0
                self._commit()
        self._commit()

    async def _follow(self, seconds: float) -> None:
        self._log.read_only(self._log.shards)
        if chunks := await self._log.poll(self._batch_records, seconds):
            await self._apply(chunks, {})
            self._commit()

    async def _apply(self, chunks: Mapping[str, Sequence[Any]], until: Mapping[str, int]) -> None:
        gaps = self._projector.fold(chunks, until)
        for shard in chunks:
            position = self._projector.position(shard)
            if shard in until and position.next >= until[shard]:
                self._log.leave(shard, position.offset)
            elif shard in gaps:
                self._out_of_order.add(shard)
                self._log.seek(shard, await self._log.find(shard, position))

    async def _look_back(self) -> None:
        """At the end of a topic in which higher sequences came first: what is next may stand before what was read."""
        for shard in self._out_of_order & self._log.reading:
            self._log.seek(shard, await self._log.find(shard, self._projector.position(shard)))
        self._out_of_order.clear()

    def _commit(self) -> None:
        self._projector.commit()
        self._committed = time.monotonic()


class Log:
    """The topics of a projection, read without a group."""

    def __init__(self, client: Mapping[str, Any], topics: Iterable[str], vouch: Vouch = anybody) -> None:
        self._client, self._topics, self._vouch = client, tuple(topics), vouch
        self._partitions: dict[str, TopicPartition] = {}
        self.reading: set[str] = set()

    async def open(self) -> None:
        self._consumer = AIOKafkaConsumer(
            **self._client,
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            max_partition_fetch_bytes=FETCH_BYTES,
            fetch_max_wait_ms=50,
            # The chain is verified, which no altered byte survives.
            check_crcs=False,
        )
        await self._consumer.start()
        cluster = await self._consumer._client.fetch_all_metadata()
        for topic in self._topics:
            for partition in sorted(cluster.partitions_for_topic(topic) or ()):
                self._partitions[shard_name(topic, partition)] = TopicPartition(topic, partition)
        self._consumer.assign(list(self._partitions.values()))

    async def close(self) -> None:
        await stop_consumer(self._consumer)

    @property
    def shards(self) -> list[str]:
        return list(self._partitions)

    def read_only(self, shards: Iterable[str]) -> None:
        """Of the shards, only these."""
        self.reading = set(shards)
        if unknown := self.reading - self._partitions.keys():
            raise LogShort(f"there is no {', '.join(sorted(unknown))}")
        self._consumer.pause(*(tp for shard, tp in self._partitions.items() if shard not in self.reading))
        self._consumer.resume(*(self._partitions[shard] for shard in self.reading))

    def leave(self, shard: str, offset: int) -> None:
        """Read no more of the shard for now; later from that offset."""
        self.reading.discard(shard)
        self._consumer.pause(self._partitions[shard])
        self.seek(shard, offset)

    def seek(self, shard: str, offset: int | None) -> None:
        """None is the first record."""
        self._consumer.seek(self._partitions[shard], 0 if offset is None else offset)

    async def poll(self, records: int, seconds: float) -> dict[str, list[ConsumerRecord[bytes, bytes]]]:
        # What is buffered is returned at once; the fetches of what comes next need their turn too.
        await asyncio.sleep(0)
        found = await self._consumer.getmany(timeout_ms=int(seconds * 1000), max_records=records)
        return {shard_name(tp.topic, tp.partition): chunk for tp, chunk in found.items()}

    async def find(self, shard: str, position: Position) -> int:
        """Where the next record is, in a topic that is out of order. Raises Lost, Behind, Forked."""
        tp = self._partitions[shard]
        async with looking(self._client) as look:
            return await locate(look, tp.topic, tp.partition, sought(position), thorough=True, vouch=self._vouch)
