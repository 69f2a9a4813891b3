"""Kafka's events topics as a source: explicit assignment, no group, no position kept anywhere."""

import asyncio
from collections.abc import AsyncIterator, Collection, Mapping
from contextlib import asynccontextmanager
from typing import Any

import orjson
from aiokafka import AIOKafkaConsumer, TopicPartition

from adapters.kafka.bare import bare_consumer
from adapters.kafka.locate import ANSWER_SECONDS, Unanswered
from adapters.replay.authentic import authentic
from adapters.replay.ordering import in_order
from adapters.replay.sources import PIECE_RECORDS, Published, RangeMissing
from adapters.vouching import Vouch, anybody
from contracts import shard_name

FETCH_BYTES = 4 * 1024 * 1024


class KafkaSource:
    """Reads one shard at a time; what nobody entitled signed is as if it were not there. The consumer is the caller's."""

    def __init__(self, consumer: AIOKafkaConsumer, vouch: Vouch = anybody) -> None:
        self._consumer, self._vouch = consumer, vouch
        self._hints: dict[str, tuple[int, int]] = {}
        """Shard to a sequence and the offset before which neither it nor a later one is."""
        self._scanned: dict[str, tuple[int, int]] = {}
        """Shard to the highest sequence before an offset, and that offset."""

    async def shards(self, topics: Collection[str]) -> list[str]:
        """Raises RangeMissing where the broker knows no such topic: a view of what is left would be another view."""
        cluster = await self._consumer._client.fetch_all_metadata()
        if missing := {topic for topic in topics if not cluster.partitions_for_topic(topic)}:
            raise RangeMissing(f"the broker has no topic {', '.join(sorted(missing))}; spaceos topics create makes it")
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
        later, reached = last, first

        async def read_from(offset: int) -> AsyncIterator[tuple[int, Any]]:
            nonlocal later, reached
            async for found, record in self._from(tp, offset, last):
                reached = record.offset + 1
                if found >= end:
                    later = min(later, record.offset)
                yield found, record

        piece: list[Published] = []
        async for number, record in in_order(shard, start, end, max(first, offset) if sequence <= start else first, read_from):
            piece.append(_published(number, record))
            if len(piece) >= PIECE_RECORDS:
                yield piece
                piece = []
        self._hints[shard] = (end, min(later, reached))
        if piece:
            yield piece

    async def place_of(self, event: str, shards: Collection[str]) -> tuple[str, int] | None:
        wanted = event.encode()
        for shard in shards:
            tp, first, last = await self._assign(shard)
            async for _, record in self._from(tp, first, last):
                if wanted in record.value and (found := orjson.loads(record.value))["id"] == event:
                    return shard, int(found["sequence"])
        return None

    async def _end(self, shard: str) -> int:
        """The sequence after the highest one, wherever in the topic that is.

        A publisher that was suspended repeats a whole stretch behind it, and may do so again; a topic that was made anew may
        begin with it. How long such a stretch is, nothing near the end of the topic tells.
        """
        tp, first, last = await self._assign(shard)
        if first == last and last:
            raise RangeMissing(f"{shard} is empty, though it held {last} records. The audit log may have them: --source log")
        highest, offset = self._scanned.get(shard, (-1, first))
        newest = await self._newest(tp, last) if offset < last else None
        if newest is not None and newest == last - 1:
            # A topic in which each sequence is at least once has no higher one than it has places, and this is the highest
            # that it can have. If one is missing for which another is there, reading it tells.
            highest = newest
        else:
            async for sequence, _ in self._from(tp, max(first, offset), last):
                highest = max(highest, sequence)
        self._scanned[shard] = highest, last
        return highest + 1

    async def _newest(self, tp: TopicPartition, last: int) -> int | None:
        async for sequence, _ in self._from(tp, last - 1, last):
            return sequence
        return None

    async def _assign(self, shard: str) -> tuple[TopicPartition, int, int]:
        topic, _, partition = shard.rpartition("/")
        tp = TopicPartition(topic, int(partition))
        self._consumer.assign([tp])
        first = (await self._consumer.beginning_offsets([tp]))[tp]
        last = (await self._consumer.end_offsets([tp]))[tp]
        return tp, first, last

    def _from(self, tp: TopicPartition, offset: int, end: int) -> AsyncIterator[tuple[int, Any]]:
        records = records_between(self._consumer, tp, offset, end)
        return authentic(shard_name(tp.topic, tp.partition), records, self._vouch)


@asynccontextmanager
async def kafka_source(client: Mapping[str, Any], vouch: Vouch = anybody) -> AsyncIterator[KafkaSource]:
    """`client` are aiokafka's options."""
    async with bare_consumer(client, max_partition_fetch_bytes=FETCH_BYTES, max_poll_records=2_000) as consumer:
        yield KafkaSource(consumer, vouch)


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


def _published(sequence: int, record: Any) -> Published:
    signature = (dict(record.headers).get("signature") or b"").decode("ascii", "replace")
    return Published(record.offset, sequence, record.value, signature)
