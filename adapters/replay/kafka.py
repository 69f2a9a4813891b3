"""Kafka's events topics as a source: explicit assignment, no group, no position kept anywhere."""

import asyncio
from collections.abc import AsyncIterator, Collection, Mapping
from contextlib import asynccontextmanager
from typing import Any

import orjson
from aiokafka import AIOKafkaConsumer, TopicPartition

from adapters.kafka.bare import bare_consumer
from adapters.kafka.locate import ANSWER_SECONDS, Unanswered
from adapters.replay.sources import PIECE_RECORDS, Published, RangeMissing
from contracts import shard_name

FETCH_BYTES = 4 * 1024 * 1024
LOOK_BACK_RECORDS = 100
"""A relay that was killed may have repeated some of a topic's last records: the highest of so many is the end."""
MAX_AHEAD = 10_000
"""Records that came before their turn in a topic that was filled anew; more than that is a gap."""


class KafkaSource:
    """Reads one shard at a time. The consumer is the caller's."""

    def __init__(self, consumer: AIOKafkaConsumer) -> None:
        self._consumer = consumer
        self._hints: dict[str, tuple[int, int]] = {}
        """Shard to a sequence and the offset at which it is to be looked for."""

    async def shards(self, topics: Collection[str]) -> list[str]:
        cluster = await self._consumer._client.fetch_all_metadata()
        return [
            shard_name(topic, partition)
            for topic in sorted(topics)
            for partition in sorted(cluster.partitions_for_topic(topic) or ())
        ]

    async def ends(self, shards: Collection[str]) -> dict[str, int]:
        return {shard: await self._end(shard) for shard in shards}

    async def read(self, shard: str, start: int, end: int) -> AsyncIterator[list[Published]]:
        if start >= end:
            return
        tp, first, last = await self._assign(shard)
        sequence, offset = self._hints.get(shard, (0, first))
        queue = _Queue(shard, start)
        async for record in self._from(tp, max(first, offset) if sequence <= start else first, last):
            for ready in queue.take(record):
                if ready.sequence < end and (piece := queue.collect(ready)):
                    yield piece
            if queue.next >= end:
                self._hints[shard] = (end, record.offset + 1)
                break
        if rest := queue.rest():
            yield rest
        if queue.next < end:
            raise RangeMissing(queue.complaint(end))

    async def place_of(self, event: str, shards: Collection[str]) -> tuple[str, int] | None:
        wanted = event.encode()
        for shard in shards:
            tp, first, last = await self._assign(shard)
            async for record in self._from(tp, first, last):
                if wanted in (record.value or b"") and (found := orjson.loads(record.value))["id"] == event:
                    return shard, int(found["sequence"])
        return None

    async def _end(self, shard: str) -> int:
        tp, first, last = await self._assign(shard)
        highest = -1
        async for record in self._from(tp, max(first, last - LOOK_BACK_RECORDS), last):
            highest = max(highest, _sequence(shard, record))
        return highest + 1

    async def _assign(self, shard: str) -> tuple[TopicPartition, int, int]:
        topic, _, partition = shard.rpartition("/")
        tp = TopicPartition(topic, int(partition))
        self._consumer.assign([tp])
        first = (await self._consumer.beginning_offsets([tp]))[tp]
        last = (await self._consumer.end_offsets([tp]))[tp]
        return tp, first, last

    async def _from(self, tp: TopicPartition, offset: int, end: int) -> AsyncIterator[Any]:
        async for record in records_between(self._consumer, tp, offset, end):
            yield record


class _Queue:
    """Puts a topic's records into their order: repeats are dropped, those that are ahead wait for their turn."""

    def __init__(self, shard: str, start: int) -> None:
        self._shard, self.next = shard, start
        self._ahead: dict[int, Published] = {}
        self._piece: list[Published] = []
        self._highest = -1

    def take(self, record: Any) -> list[Published]:
        """What is next now, if anything is."""
        sequence = _sequence(self._shard, record)
        self._highest = max(self._highest, sequence)
        if sequence < self.next:
            return []
        signature = (dict(record.headers).get("signature") or b"").decode("ascii", "replace")
        self._ahead.setdefault(sequence, Published(record.offset, sequence, record.value, signature))
        if len(self._ahead) > MAX_AHEAD:
            raise RangeMissing(self.complaint(sequence))
        ready = []
        while (found := self._ahead.pop(self.next, None)) is not None:
            ready.append(found)
            self.next += 1
        return ready

    def collect(self, record: Published) -> list[Published]:
        """A piece, once it is full."""
        self._piece.append(record)
        return self.rest() if len(self._piece) >= PIECE_RECORDS else []

    def rest(self) -> list[Published]:
        piece, self._piece = self._piece, []
        return piece

    def complaint(self, end: int) -> str:
        if self._highest > self.next:
            return (
                f"{self._shard} holds {self._highest}, but not {self.next}: it was deleted or compacted. "
                "The audit log may have it: --source log"
            )
        return f"{self._shard} holds nothing from {self.next} on, and {end} records were asked for"


@asynccontextmanager
async def kafka_source(client: Mapping[str, Any]) -> AsyncIterator[KafkaSource]:
    """`client` are aiokafka's options."""
    async with bare_consumer(client, max_partition_fetch_bytes=FETCH_BYTES, max_poll_records=2_000) as consumer:
        yield KafkaSource(consumer)


async def records_between(consumer: AIOKafkaConsumer, tp: TopicPartition, offset: int, end: int) -> AsyncIterator[Any]:
    """The records `offset <= record.offset < end` of an assigned partition. Raises Unanswered."""
    consumer.seek(tp, offset)
    clock = asyncio.get_running_loop().time
    deadline = clock() + ANSWER_SECONDS
    while await consumer.position(tp) < end:
        found = await consumer.getmany(tp, timeout_ms=200)
        for record in found.get(tp, ()):
            if record.offset < end:
                yield record
        if found:
            deadline = clock() + ANSWER_SECONDS
        elif clock() > deadline:
            raise Unanswered(f"{shard_name(tp.topic, tp.partition)} offset {offset}: no answer in {ANSWER_SECONDS:.0f} s")


def _sequence(shard: str, record: Any) -> int:
    # Digits between fixed bytes: a string of JSON cannot hold them unescaped, and every record of a topic is looked at.
    _, found, after = (record.value or b"").partition(b'"sequence":"')
    if not found or not after[:20].isdigit():
        raise RangeMissing(
            f"{shard} offset {record.offset} holds no record of ours: it was altered, or somebody else publishes"
        )
    return int(after[:20])
