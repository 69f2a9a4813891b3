"""What a reader believes of its shards between transactions: position, epoch, parked streams. Checked in every one."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field

from sqlalchemy import Engine

from adapters.sql import reading
from adapters.views import positions
from adapters.views.parked import held_streams
from adapters.views.positions import Fenced, Move, Position


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
            found = positions.claim(connection, {shard: [self.reader] for shard in shards}).get(self.reader, {})
            held = held_streams(connection, [self.reader]).get(self.reader, {})
        self.take(found, held)
        return found

    def take(self, found: Mapping[str, Position], held: Mapping[str, Collection[str]]) -> None:
        """Exactly these were claimed for us; of `held` only what is among them counts."""
        self._places = {shard: Place(position, set(held.get(shard, ()))) for shard, position in found.items()}

    def add(self, shard: str, position: Position, held: Collection[str]) -> None:
        """This one was claimed for us besides."""
        self._places[shard] = Place(position, set(held))

    def leave(self, shard: str) -> None:
        """Somebody else's from now on."""
        self._places.pop(shard, None)

    def doubt(self, shards: Collection[str]) -> None:
        for shard in shards:
            if shard in self._places:
                self._places[shard].doubtful = True

    def believe(self, shards: Collection[str]) -> set[str]:
        """Read again what is doubtful. Those shards, of which nothing in memory is valid.

        Raises Fenced, which names those that are another's now; the others are as they should be.
        """
        if not any(self._places[shard].doubtful for shard in shards):
            return set()
        with reading(self.engine) as connection:
            found = positions.positions_of(connection, self.reader)
            held = held_streams(connection, [self.reader]).get(self.reader, {})
        return self.renew(shards, found, held)

    def doubts(self, shard: str) -> bool:
        return self._places[shard].doubtful

    def renew(self, shards: Collection[str], found: Mapping[str, Position], held: Mapping[str, Collection[str]]) -> set[str]:
        """As `believe`, by what was read since it was doubted."""
        doubtful = {shard for shard in shards if self._places[shard].doubtful}
        lost = {shard for shard in doubtful if shard not in found or found[shard].epoch != self._places[shard].position.epoch}
        for shard in doubtful - lost:
            self._places[shard] = Place(found[shard], set(held.get(shard, ())))
        if lost:
            raise self._fenced(found, lost)
        return doubtful

    def moves(self, ends: Mapping[str, Position], wrote: Collection[str] = ()) -> list[Move]:
        """The ways from what is believed to these ends; `wrote` are the shards whose rows change. Raises Fenced."""
        if foreign := ends.keys() - self._places.keys():
            names = ", ".join(sorted(foreign))
            raise Fenced(f"{self.reader} {names} is not among the shards that were claimed last", foreign)
        return [Move(self.reader, shard, self._places[shard].position, end, int(shard in wrote)) for shard, end in ends.items()]

    def arrive(self, shard: str, end: Position, held: Iterable[str] = ()) -> Position:
        """The transaction that advanced to this end is committed. The position, under the claim that is ours."""
        place = self._places[shard]
        place.position = place.position.moved_to(end)
        place.held.update(held)
        return place.position

    def _fenced(self, found: Mapping[str, Position], lost: Collection[str]) -> Fenced:
        first = min(lost)
        now = f"at epoch {found[first].epoch}" if first in found else "gone"
        mine = self._places[first].position.epoch
        return Fenced(f"{self.reader} {first} is {now}, {mine} was ours: another reader has claimed it", lost)
