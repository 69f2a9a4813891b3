"""Where records come from: a shard's records in their order, each once, from one sequence to another."""

from collections.abc import AsyncIterator, Collection, Sequence
from dataclasses import dataclass
from typing import Protocol

import orjson

PIECE_RECORDS = 500


class RangeMissing(LookupError):
    """The source does not hold the records that were asked for: they were deleted, compacted away, or never came there."""


@dataclass(slots=True)
class Published:
    """A record as it was published. `offset` is its place in the source, a hint."""

    offset: int
    sequence: int
    value: bytes
    signature: str

    @property
    def headers(self) -> Sequence[tuple[str, bytes]]:
        return [("signature", self.signature.encode())]

    @property
    def timestamp(self) -> int | None:
        """The broker's, which the audit log does not know."""
        return None


class Source(Protocol):
    """Kafka's topics, or the audit log. Reading leaves both as they were."""

    async def shards(self, topics: Collection[str]) -> list[str]:
        """The shards of these topics that there are."""
        ...

    async def ends(self, shards: Collection[str]) -> dict[str, int]:
        """The sequence after the last record that is held, of each."""
        ...

    def read(self, shard: str, start: int, end: int) -> AsyncIterator[list[Published]]:
        """The records `start <= sequence < end`, in pieces. Raises RangeMissing, and never yields less."""
        ...

    async def place_of(self, event: str, shards: Collection[str]) -> tuple[str, int] | None:
        """Shard and sequence of the event with that id."""
        ...


async def time_at(source: Source, shard: str, sequence: int) -> str:
    """The `time` of one record. Raises RangeMissing."""
    async for piece in source.read(shard, sequence, sequence + 1):
        found: str = orjson.loads(piece[0].value)["time"]
        return found
    raise RangeMissing(f"{shard} has no record {sequence}")


async def prefix_until(source: Source, shard: str, end: int, time: str) -> int:
    """The length of the shard's longest prefix whose records all have `time` at most this one."""
    async for piece in source.read(shard, 0, end):
        for record in piece:
            if orjson.loads(record.value)["time"] > time:
                return record.sequence
    return end
