"""What is handed to the sequencer at once, and what becomes of it when it is verified: a stretch of leaves for each shard."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from adapters.tlog.entries import Cut, Seal
from adapters.views.positions import Position


class Delivered(Protocol):
    """A record as the client delivers it."""

    @property
    def offset(self) -> int: ...
    @property
    def value(self) -> bytes | None: ...
    @property
    def headers(self) -> Sequence[tuple[str, bytes | None]]: ...
    @property
    def timestamp(self) -> int | None: ...


Chunks = Mapping[str, Sequence[Delivered]]
"""By shard, records in their order."""


class Leaf(NamedTuple):
    """An entry as the table of leaves has it, but for its index."""

    shard: str
    sequence: int
    event: str
    type: str
    stream: str
    actor: str
    time: str
    entry: bytes


@dataclass(slots=True)
class Stretch:
    """What one shard adds."""

    begin: Position
    end: Position
    leaves: list[Leaf]
    gap: int | None


@dataclass(slots=True)
class Batch:
    """What is handed over at once, verified."""

    shards: list[str] = field(default_factory=list)
    stretches: dict[str, Stretch] = field(default_factory=dict)
    broken: dict[str, str] = field(default_factory=dict)
    """Shards that must not go on, and why."""

    @property
    def advancing(self) -> dict[str, Stretch]:
        return {shard: stretch for shard, stretch in self.stretches.items() if stretch.leaves}


def seal_leaf(batch: int, first: int, stretches: Mapping[str, Stretch]) -> Leaf:
    """The last leaf of a batch whose first has that index."""
    cuts = tuple(_cut(shard, stretch) for shard, stretch in sorted(stretches.items()))
    entry = Seal(batch, first, cuts).encode()
    name = hashlib.sha256(entry).hexdigest()[:32]
    return Leaf("", batch, f"seal/{name}"[:36], "seal", "", "", "", entry)


def _cut(shard: str, stretch: Stretch) -> Cut:
    return Cut(shard, stretch.begin.next, stretch.end.next, stretch.end.last_hash)
