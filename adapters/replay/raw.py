"""Raw records of any topic, between two places: without a group, and never past an end that was read before."""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition

from adapters.kafka.bare import bare_consumer
from adapters.kafka.topics import describe_topics
from adapters.replay.kafka import FETCH_BYTES, records_between
from adapters.replay.sources import RangeMissing


@dataclass(frozen=True, slots=True)
class RawRecord:
    """A record as it is on the broker: nobody has verified it."""

    topic: str
    partition: int
    offset: int
    key: bytes
    value: bytes
    headers: Sequence[tuple[str, bytes]]
    timestamp_ms: int
    """When the broker appended it."""


class RawTopic:
    """One topic. The consumer is the caller's."""

    def __init__(self, consumer: AIOKafkaConsumer, topic: str, partitions: Sequence[int]) -> None:
        self._consumer, self.topic, self.partitions = consumer, topic, partitions

    async def bounds(self) -> dict[int, tuple[int, int]]:
        """Of each partition the first offset that is held, and the one after the last."""
        places = [TopicPartition(self.topic, n) for n in self.partitions]
        self._consumer.assign(places)
        first, end = await self._consumer.beginning_offsets(places), await self._consumer.end_offsets(places)
        return {tp.partition: (first[tp], end[tp]) for tp in places}

    async def offsets_at(self, timestamp_ms: int) -> dict[int, int]:
        """Of each partition the first offset that the broker appended at that moment or later; its end where there is none."""
        places = {TopicPartition(self.topic, n): timestamp_ms for n in self.partitions}
        found, bounds = await self._consumer.offsets_for_times(places), await self.bounds()
        return {tp.partition: place.offset if place else bounds[tp.partition][1] for tp, place in found.items()}

    async def read(self, partition: int, start: int, end: int) -> AsyncIterator[RawRecord]:
        """The records `start <= offset < end`. Raises Unanswered."""
        if start >= end:
            # aiokafka 0.14: a consumer that is stopped right after a new assignment may never end. Its fetcher lets go of
            # what it was fetching, and takes the cancellation that stops it for that of the fetch.
            return
        tp = TopicPartition(self.topic, partition)
        self._consumer.assign([tp])
        async for record in records_between(self._consumer, tp, start, end):
            headers = [(name, value or b"") for name, value in record.headers]
            yield RawRecord(
                self.topic, partition, record.offset, record.key or b"", record.value or b"", headers, record.timestamp
            )


@asynccontextmanager
async def raw_topic(client: Mapping[str, Any], topic: str) -> AsyncIterator[RawTopic]:
    """Open a topic to read. Raises RangeMissing where there is none, or where it is compacted: what is missing is unknown."""
    described = (await describe_topics([topic], client)).get(topic)
    if described is None:
        raise RangeMissing(f"there is no topic {topic}")
    if "compact" in described["cleanup.policy"]:
        raise RangeMissing(f"{topic} is compacted: records between any two of its offsets may be gone")
    async with bare_consumer(client, max_partition_fetch_bytes=FETCH_BYTES, max_poll_records=2_000) as consumer:
        yield RawTopic(consumer, topic, range(described["partitions"]))


async def whole_topic(client: Mapping[str, Any], topic: str) -> dict[int, list[RawRecord]]:
    """All that the topic holds, by partition."""
    async with raw_topic(client, topic) as opened:
        return {
            partition: [record async for record in opened.read(partition, first, end)]
            for partition, (first, end) in (await opened.bounds()).items()
        }
