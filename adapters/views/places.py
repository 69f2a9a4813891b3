"""What a reader believes of its shards between transactions: position, epoch, parked streams. Checked in every one."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from sqlalchemy import Connection, Engine

from adapters.sql import reading
from adapters.views import positions
from adapters.views.parked import held_streams
from adapters.views.positions import Fenced, Position


class Moved(Exception):
    """The row is not as believed, but the shard is still ours: somebody redrove, or swapped the view. Read it again."""


@dataclass(frozen=True, slots=True)
class Applied:
    """What became of a chunk. `gap` is the sequence that came instead of the next one: the reader has to look for it."""

    position: Position
    events: int
    parked: int = 0
    gap: int | None = None


@dataclass(slots=True)
class Place:
    """One shard, as believed. `doubtful` after any failure, since a commit may have happened whose answer was lost."""

    position: Position
    held: set[str] = field(default_factory=set)
    doubtful: bool = False


class Places:
    """The shards that a reader has claimed."""

    def __init__(self, engine: Engine, reader: str) -> None:
        self.engine, self.reader = engine, reader
        self._places: dict[str, Place] = {}

    def __contains__(self, shard: str) -> bool:
        return shard in self._places

    def __getitem__(self, shard: str) -> Place:
        return self._places[shard]

    def claim(self, shards: Collection[str]) -> Mapping[str, Position]:
        """Own exactly these shards from now on. Whoever had them is fenced."""
        with self.engine.begin() as connection:
            found = positions.claim(connection, self.reader, shards)
            held = {shard: held_streams(connection, self.reader, shard) for shard in shards}
        self._places = {shard: Place(position, held[shard]) for shard, position in found.items()}
        return found

    def doubt(self, shards: Collection[str]) -> None:
        for shard in shards:
            if shard in self._places:
                self._places[shard].doubtful = True

    def believe(self, shards: Collection[str]) -> set[str]:
        """Read again what is doubtful. Those shards, of which nothing in memory is valid. Raises Fenced."""
        doubtful = {shard for shard in shards if self._places[shard].doubtful}
        if doubtful:
            with reading(self.engine) as connection:
                found = positions.positions_of(connection, self.reader)
                held = {shard: held_streams(connection, self.reader, shard) for shard in doubtful}
            for shard in doubtful:
                self._same_epoch(shard, found.get(shard))
                self._places[shard] = Place(found[shard], held[shard])
        return doubtful

    def hold(self, connection: Connection, shards: Collection[str]) -> None:
        """Lock the shards' rows for this transaction and compare them with what is believed. Raises Fenced, Moved."""
        for shard in shards:
            if shard not in self._places:
                raise Fenced(f"{self.reader} {shard} is not among the shards that were claimed last")
        rows = positions.lock_all(connection, self.reader, shards)
        for shard in shards:
            self._same_epoch(shard, rows.get(shard))
            row, mine = rows[shard], self._places[shard].position
            if (row.next, row.last_hash, row.generation) != (mine.next, mine.last_hash, mine.generation):
                raise Moved(f"{self.reader} {shard}: {row.next} instead of {mine.next}")

    def arrive(self, shard: str, position: Position, held: Collection[str] = ()) -> None:
        """The transaction that advanced to this position is committed."""
        place = self._places[shard]
        place.position = position
        place.held.update(held)

    def _same_epoch(self, shard: str, row: Position | None) -> None:
        mine = self._places[shard].position.epoch
        if row is None or row.epoch != mine:
            now = "gone" if row is None else f"at epoch {row.epoch}"
            raise Fenced(f"{self.reader} {shard} is {now}, {mine} was ours: another reader has claimed it")
