"""Chunks that wait to be applied: bounded, and taken all at once, so that several partitions share a transaction."""

import asyncio
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

BACKLOG_RECORDS = 5_000


@dataclass(frozen=True, slots=True)
class Chunk:
    """Records of one shard, in the order of their offsets, and Faust's event to acknowledge."""

    shard: str
    records: Sequence[Any]
    event: Any


@dataclass(frozen=True, slots=True)
class Rest:
    """How long what comes is let gather after a turn, unless it has so many bytes before: a turn costs more than its records.

    What comes after a longer silence is taken at once.
    """

    seconds: float = 0.0
    bytes: int = 0


NO_REST = Rest()


class Backlog:
    """Waits where it is full, and where it is empty."""

    def __init__(self, limit: int = BACKLOG_RECORDS, rest: Rest = NO_REST) -> None:
        self._limit, self._rest = limit, rest
        self._records, self._bytes, self._cleared = 0, 0, 0
        self._chunks: list[Chunk] = []
        self._changed = asyncio.Condition()

    async def put(self, chunk: Chunk) -> None:
        async with self._changed:
            cleared = self._cleared
            await self._changed.wait_for(lambda: self._records < self._limit or self._cleared != cleared)
            if self._cleared != cleared:
                # It waited through a rebalance, and is delivered again: what was cleared came before it.
                return
            self._chunks.append(chunk)
            self._records += len(chunk.records)
            self._bytes += sum(len(record.value or b"") for record in chunk.records) if self._rest.bytes else 0
            self._changed.notify_all()

    async def take(self) -> list[Chunk]:
        """Everything that waits; at least one chunk. To be called when the turn before has ended."""
        ended = time.monotonic()
        async with self._changed:
            await self._changed.wait_for(lambda: bool(self._chunks))
            while not self._is_enough() and (left := ended + self._rest.seconds - time.monotonic()) > 0:
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._changed.wait(), left)
                # A rebalance may have emptied it.
                await self._changed.wait_for(lambda: bool(self._chunks))
            taken, self._chunks = self._chunks, []
            self._records = self._bytes = 0
            self._changed.notify_all()
            return taken

    async def clear(self) -> None:
        """After a rebalance: what was delivered before it is delivered again."""
        async with self._changed:
            self._chunks = []
            self._records = self._bytes = 0
            self._cleared += 1
            self._changed.notify_all()

    def _is_enough(self) -> bool:
        return self._bytes >= self._rest.bytes or self._records >= self._limit
