"""A topic's records put into the order of their sequences: repeats are dropped, those that came early wait for their turn."""

from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any, Generic, TypeVar

from adapters.replay.sources import RangeMissing

T = TypeVar("T")

MAX_EARLY = 10_000
"""Records that wait in memory. For what comes early besides, the topic is read again."""


class InOrder(Generic[T]):
    """One shard's records from the sequence `next` on."""

    def __init__(self, next_: int) -> None:
        self.next = next_
        self.again: int | None = None
        """The lowest offset of a record that came early when there was no room for it."""
        self.highest = -1
        self._early: dict[int, T] = {}

    def take(self, sequence: int, offset: int, record: T) -> Iterator[tuple[int, T]]:
        """The records that are next now, with their sequences."""
        self.highest = max(self.highest, sequence)
        if sequence > self.next:
            if len(self._early) < MAX_EARLY:
                self._early.setdefault(sequence, record)
            elif sequence not in self._early:
                self.again = offset if self.again is None else min(self.again, offset)
        elif sequence == self.next:
            yield self._step(), record
            while (found := self._early.pop(self.next, None)) is not None:
                yield self._step(), found

    def _step(self) -> int:
        self.next += 1
        return self.next - 1


async def in_order(
    shard: str, start: int, end: int, offset: int, read_from: Callable[[int], AsyncIterator[tuple[int, T]]]
) -> AsyncIterator[tuple[int, T]]:
    """The records `start <= sequence < end` of a topic that may hold them in any order and any number of times.

    `read_from(offset)` yields each record from an offset on with its sequence. Raises RangeMissing, and never yields less.
    """
    queue = InOrder[T](start)
    at: int | None = offset
    while at is not None and queue.next < end:
        queue.again = None
        record: Any
        async for sequence, record in read_from(at):
            for ready in queue.take(sequence, record.offset, record):
                if ready[0] < end:
                    yield ready
            if queue.next >= end:
                return
        at = queue.again
    if queue.next < end:
        raise RangeMissing(_complaint(shard, queue, end))


def _complaint(shard: str, queue: InOrder[Any], end: int) -> str:
    if queue.highest > queue.next:
        return (
            f"{shard} holds {queue.highest}, but not {queue.next}: it was deleted or compacted. "
            "The audit log may have it: --source log"
        )
    return f"{shard} holds nothing from {queue.next} on, and {end} records were asked for"
