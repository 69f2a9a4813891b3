"""A topic in memory behind the calls of aiokafka's consumer that replay makes: what a broker may hold, without a broker."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from aiokafka import TopicPartition

FETCHED = 500


@dataclass(frozen=True)
class Held:
    """A record as the broker holds it."""

    offset: int
    value: bytes
    headers: Sequence[tuple[str, bytes]] = ()


def record_of(sequence: int, offset: int) -> Held:
    """Nothing but what replay looks at before it verifies."""
    return Held(offset, b'{"sequence":"%020d"}' % sequence)


@dataclass
class MemoryConsumer:
    """Partition to its records. `first` are the offsets before which the broker has deleted them."""

    records: Mapping[TopicPartition, list[Held]]
    first: Mapping[TopicPartition, int] = field(default_factory=dict)
    fetched: int = 0
    """Records that were handed out."""
    _positions: dict[TopicPartition, int] = field(default_factory=dict)

    @property
    def _client(self) -> "MemoryConsumer":
        return self

    async def fetch_all_metadata(self) -> "MemoryConsumer":
        return self

    def partitions_for_topic(self, topic: str) -> set[int] | None:
        return {tp.partition for tp in self.records if tp.topic == topic} or None

    def assign(self, partitions: Sequence[TopicPartition]) -> None:
        self._positions = dict.fromkeys(partitions, 0)

    async def beginning_offsets(self, partitions: Sequence[TopicPartition]) -> dict[TopicPartition, int]:
        return {tp: self.first.get(tp, 0) for tp in partitions}

    async def end_offsets(self, partitions: Sequence[TopicPartition]) -> dict[TopicPartition, int]:
        return {tp: self.records[tp][-1].offset + 1 if self.records[tp] else self.first.get(tp, 0) for tp in partitions}

    def seek(self, tp: TopicPartition, offset: int) -> None:
        assert offset >= self.first.get(tp, 0), "the broker would refuse this offset"
        self._positions[tp] = offset

    async def position(self, tp: TopicPartition) -> int:
        return self._positions[tp]

    async def getmany(self, tp: TopicPartition, **_: Any) -> dict[TopicPartition, list[Held]]:
        at = self._positions[tp]
        found = [record for record in self.records[tp] if record.offset >= at][:FETCHED]
        if not found:
            return {}
        self.fetched += len(found)
        self._positions[tp] = found[-1].offset + 1
        return {tp: found}
