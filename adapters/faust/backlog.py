"""Chunks that wait to be applied: bounded, and taken all at once, so that several partitions share a transaction."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

BACKLOG_RECORDS = 5_000


@dataclass(frozen=True, slots=True)
class Chunk:
    """Records of one shard, in the order of their offsets, and Faust's event to acknowledge."""

    shard: str
    records: Sequence[Any]
    event: Any


class Backlog:
    """Waits where it is full, and where it is empty."""

    def __init__(self, limit: int = BACKLOG_RECORDS) -> None:
        self._limit = limit
        self._records, self._cleared = 0, 0
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
            self._changed.notify_all()

    async def take(self) -> list[Chunk]:
        """Everything that waits; at least one chunk."""
        async with self._changed:
            await self._changed.wait_for(lambda: bool(self._chunks))
            taken, self._chunks = self._chunks, []
            self._records = 0
            self._changed.notify_all()
            return taken

    async def clear(self) -> None:
        """After a rebalance: what was delivered before it is delivered again."""
        async with self._changed:
            self._chunks = []
            self._records = 0
            self._cleared += 1
            self._changed.notify_all()
