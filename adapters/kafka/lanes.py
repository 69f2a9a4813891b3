"""What a publisher knows of the shards that are assigned to it."""

import asyncio
from dataclasses import dataclass, field
from typing import Any

from adapters.sql.outbox import Lane, Mark

CLAIM_AGAIN_SECONDS = 3.0
"""Whoever lost a shard that is still assigned to him waits so long: a process that slept hears from its group meanwhile
that it has lost its partitions, and takes nothing back. Doubled each time, so that nobody takes a shard to and fro."""
LONGEST_PAUSE_SECONDS = 300.0
RETRY_SECONDS = 0.5
LONGEST_SETBACK_SECONDS = 60.0


@dataclass(slots=True, eq=False)
class Line:
    """A lane that is ours, since it was claimed and compared."""

    lane: Lane
    next: int
    offset: int
    """Of the topic's last record."""
    seen: tuple[int, int]
    """Offset and number of a record of ours behind which nothing lies that `next` does not count."""
    sending: "asyncio.Task[Any] | None" = None
    repeating: "asyncio.Task[Any] | None" = None
    since: float = 0.0
    """When what is being sent was given to the producer."""
    is_told: bool = False
    """That it takes nothing."""
    repeat_at: float = 0.0

    def __str__(self) -> str:
        return f"{self.lane.topic}/{self.lane.partition}"

    @property
    def mark(self) -> Mark:
        return Mark(self.next, *self.seen)


@dataclass(slots=True, eq=False)
class Owned:
    """A shard that is assigned to this process."""

    stored: dict[str, int]
    """Records in the store, by kind, as far as we know."""
    epoch: int = -1
    """None that is in force while it is negative."""
    lines: tuple[Line, ...] = ()
    """Its events and its outcomes; none while it is not compared."""
    claim_at: float = 0.0
    claimed_at: float = 0.0
    pause: float = field(default_factory=lambda: CLAIM_AGAIN_SECONDS)
    marked: tuple[Mark, ...] = ()
    closed: str | None = None
    """Why nothing is decided or published there."""
    setback: float = 0.0
    """How long it was waited when the broker last refused something; 0 where it takes all."""
    single: dict[str, int] = field(default_factory=dict)
    """By kind: below this number records are sent one at a time, to find the one that is refused."""

    @property
    def standing(self) -> tuple[Mark, ...]:
        return tuple(line.mark for line in self.lines)

    def waiting(self, line: Line) -> int:
        """Records that are in the store and not published."""
        return max(0, self.stored[line.lane.kind] - line.next)
