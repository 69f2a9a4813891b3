"""What a what-if may look at: the events of some contexts up to a cut, which of them are in question, and raw topics."""

import hashlib
from collections.abc import AsyncIterator, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson

from adapters.replay.cuts import BadPosition, Cut, is_before
from adapters.replay.folding import Check
from adapters.replay.sources import Published, RangeMissing, Source
from commands import Grant
from contracts import Event, Record, parse_event, read_event
from domain.identity.authority import Founding

Beginning = tuple[Founding, Sequence[Grant]]
"""The genesis: what the network is founded on, and its first keys."""
MAX_EVENTS = 10_000_000


class TooMuch(ValueError):
    """The window and what comes before it have more events than a what-if may look at."""


@dataclass
class Evidence:
    """One run's view of the log. `start` and `end` bound what is in question; what lies before `start` is as recorded."""

    run: str
    source: Source
    start: Cut
    end: Cut
    check: Check
    partitions: int
    client: Mapping[str, Any] | None = None
    """aiokafka's options, for commands and outcomes: they are in no audit log."""
    began: Beginning | None = None
    """What no event says: needed where commands about keys are decided again."""
    _seen: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not is_before(self.start, self.end):
            raise BadPosition("--from is not before --to")
        if (total := sum(self.end.values())) > MAX_EVENTS:
            raise TooMuch(f"there are {total:,} events up to there, a what-if looks at {MAX_EVENTS:,} at most")

    @property
    def name(self) -> str:
        """What this run's tables begin with."""
        return f"whatif_{self.run.replace('-', '')[-12:]}"

    def shards(self, contexts: Collection[str]) -> list[str]:
        return sorted(shard for shard in self.end if shard.partition(".")[0] in contexts)

    def is_in_question(self, record: Record) -> bool:
        """Whether it lies in the window."""
        return self.start.get(record.shard, 0) <= record.sequence < self.end.get(record.shard, 0)

    async def values(self, shard: str) -> AsyncIterator[Published]:
        """The shard's records below the end, checked. Raises RangeMissing, NotGenuine."""
        async for piece in self.source.read(shard, 0, self.end.get(shard, 0)):
            for record in piece:
                self.check(shard, record)
                yield record
            self.saw(shard, hashlib.sha256(piece[-1].value).hexdigest())

    async def collected(self, contexts: Collection[str]) -> "Shards":
        """All records of the contexts, as bytes: parsed each time they are looked at."""
        return Shards({shard: [record.value async for record in self.values(shard)] for shard in self.shards(contexts)})

    def saw(self, what: str, digest: str) -> None:
        """Something that the answer rests on."""
        self._seen[what] = digest

    def input_digest(self) -> str:
        """Window and content of all that was looked at: the last record's hash stands for its shard, by the chain."""
        looked = {"from": dict(self.start), "to": dict(self.end), "heads": self._seen}
        return hashlib.sha256(orjson.dumps(looked, option=orjson.OPT_SORT_KEYS)).hexdigest()


@dataclass(frozen=True)
class Shards:
    """Records in memory, a list a shard, the sequence being the place."""

    values: Mapping[str, list[bytes]]

    def events(self, shard: str, start: int = 0, end: int | None = None) -> Iterator[tuple[Event, Record]]:
        """Those `start <= sequence < end`. Raises RangeMissing where they end before that."""
        values = self.values.get(shard, [])
        if end is not None and end > len(values):
            # A cut that one shard's event names may lie beyond the end that was chosen for another.
            raise RangeMissing(f"{shard} was read to {len(values)}, and a decision rests on it to {end}: choose a later --to")
        for value in values[start:end]:
            record = parse_event(value)
            yield read_event(record.document), record

    def all_events(self) -> Iterator[tuple[Event, Record]]:
        """Shard after shard."""
        for shard in sorted(self.values):
            yield from self.events(shard)
