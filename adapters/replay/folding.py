"""Folding a source into scratch tables, to a cut and no further."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field

from adapters.replay.cuts import Cut
from adapters.replay.scratch import Scratch
from adapters.replay.sources import Published, Source
from adapters.replay.watching import Saw, Touch, watched
from adapters.sql import reading
from adapters.views import Digest, ParkedStream, Projector, digest, parked_streams
from contracts import Record

BATCH_RECORDS = 50_000
CACHED_ROWS = 200_000

Check = Callable[[str, Published], None]
"""`(shard, record)`; raises where the record is not what it claims."""


def unchecked(_shard: str, _record: Published) -> None:
    """The chain alone is verified, which the fold does by itself."""


@dataclass(slots=True)
class Folded:
    """What a fold came to."""

    cut: Cut = field(default_factory=dict)
    events: int = 0
    heads: Mapping[str, str] = field(default_factory=dict)
    """Shard to the SHA-256 of its last record below the cut: with the chain it stands for all of them."""


class ScratchFold:
    """A projection folded in scratch tables. It can go on from where it is, watched or not."""

    def __init__(self, scratch: Scratch, *, watch: bool = False, batch_records: int = BATCH_RECORDS) -> None:
        """`watch` costs a look at every row before it is written; without it nobody is told what events do."""
        self.scratch, self._batch_records = scratch, batch_records
        self._saw: Saw | None = None
        projection = watched(scratch.projection, self._told) if watch else scratch.projection
        self._projector = Projector(
            scratch.engine, projection, reader=scratch.reader, names=scratch.names, cached_rows=CACHED_ROWS
        )
        self._claimed = False
        self.events = 0

    async def fold(self, source: Source, cut: Cut, *, check: Check = unchecked, saw: Saw | None = None) -> None:
        """To exactly this cut. Raises RangeMissing, ChainBroken, and what `check` raises.

        One shard after the other: no row is written from two of them, so their order says nothing.
        """
        self._claim(cut)
        self._saw, waiting = saw, 0
        for shard, end in sorted(cut.items()):
            async for piece in source.read(shard, self._projector.position(shard).next, end):
                for record in piece:
                    check(shard, record)
                self._projector.fold({shard: piece}, {shard: end})
                self.events += len(piece)
                waiting += len(piece)
                if waiting >= self._batch_records:
                    self._projector.commit()
                    waiting = 0
        self._projector.commit()

    def digest(self) -> Digest:
        with reading(self.scratch.engine) as connection:
            return digest(connection, self.scratch.projection, self.scratch.names)

    def parked(self) -> list[ParkedStream]:
        """Streams with an event at which the projection fails: their rows lack what waits."""
        with reading(self.scratch.engine) as connection:
            return parked_streams(connection, self.scratch.reader)

    def folded(self, cut: Cut) -> Folded:
        found = {shard: self._projector.position(shard) for shard in cut}
        return Folded(
            {shard: position.next for shard, position in found.items()}, self.events,
            {shard: position.last_hash for shard, position in found.items()},
        )  # fmt: skip

    def _claim(self, shards: Collection[str]) -> None:
        if not self._claimed:
            self._projector.claim(shards)
            self._claimed = True

    def _told(self, record: Record, touches: Sequence[Touch]) -> None:
        if self._saw is not None:
            self._saw(record, touches)
