"""What the audit log's leaves are: records as they were published, and seals that say which records a batch holds.

A record is its signature and its value, byte for byte, so the log can be made again from Kafka and Kafka from the log. A
seal names, for each shard that advanced, the records `from <= sequence < to` and the hash of the last one. Order among
shards is a pure function of the records (`kmerge/1`), so whoever has them finds the same leaves, and the same root.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Final, NamedTuple, Protocol, Self, TypeVar

import orjson

from adapters.tlog.tiles import MAX_ENTRY_BYTES

RECORD: Final = b"record/1\n"
SEAL: Final = b"seal/1\n"
RULE: Final = "kmerge/1"
MAX_SHARDS: Final = 500
"""Of one batch: a seal has about 110 bytes a shard, and an entry 65,535."""


class EntryInvalid(Exception):
    """The bytes are neither a record nor a seal as they are written here."""


class RecordEntry(NamedTuple):
    """A published record: the header `signature`, and the value."""

    signature: str
    value: bytes


class Cut(NamedTuple):
    """Of one shard, the records `start <= sequence < end`; `head` is the SHA-256 (hex) of the last one's value."""

    shard: str
    start: int
    end: int
    head: str


@dataclass(frozen=True, slots=True)
class Seal:
    """The last entry of its batch; `first` is the index of the batch's first. An idle log seals an empty cut."""

    batch: int
    first: int
    cuts: tuple[Cut, ...]

    def encode(self) -> bytes:
        """ASCII JSON, keys sorted, no spaces. Raises ValueError for more shards than an entry holds."""
        if len(self.cuts) > MAX_SHARDS:
            raise ValueError(f"a batch has at most {MAX_SHARDS} shards, this one has {len(self.cuts)}")
        document = {"batch": self.batch, "cut": [list(cut) for cut in sorted(self.cuts)], "first": self.first, "rule": RULE}
        return SEAL + orjson.dumps(document, option=orjson.OPT_SORT_KEYS)

    @classmethod
    def decode(cls, entry: bytes) -> Self:
        """Raises EntryInvalid."""
        try:
            document = orjson.loads(entry.removeprefix(SEAL))
            cuts = tuple(Cut(*cut) for cut in document["cut"])
            found = cls(document["batch"], document["first"], cuts)
        except (orjson.JSONDecodeError, KeyError, TypeError) as error:
            raise EntryInvalid(f"it is no seal: {error}") from None
        if not entry.startswith(SEAL) or document["rule"] != RULE or found.encode() != entry:
            raise EntryInvalid("it is no seal as it is written here")
        return found


def record_entry(signature: str, value: bytes) -> bytes:
    """The leaf of a record. Raises ValueError where it is too long for a log's entry."""
    entry = RECORD + signature.encode("ascii") + b"\n" + value
    if len(entry) > MAX_ENTRY_BYTES:
        raise ValueError(f"an entry has at most {MAX_ENTRY_BYTES} bytes, this record would have {len(entry)}")
    return entry


def read_entry(entry: bytes) -> RecordEntry | Seal:
    """Raises EntryInvalid."""
    if entry.startswith(SEAL):
        return Seal.decode(entry)
    signature, line, value = entry.removeprefix(RECORD).partition(b"\n")
    if not entry.startswith(RECORD) or not line or not signature.isascii():
        raise EntryInvalid("it is neither a record nor a seal")
    return RecordEntry(signature.decode("ascii"), value)


class Timed(NamedTuple):
    """A record with what orders it."""

    time: str
    """RFC 3339 with microseconds, as it stands in the record."""
    sequence: int
    entry: bytes


class Ordered(Protocol):
    """Whatever of a record is put into the log's order."""

    @property
    def time(self) -> str: ...


T = TypeVar("T", bound=Ordered)


def merged(shards: Mapping[str, Sequence[T]]) -> list[T]:
    """`kmerge/1`: of the shards' next records the one with the least running maximum of `time`, then shard, then sequence.

    The running maximum is that of the shard within the cut, so a clock that leaps does not reorder a shard.
    """
    # Within a shard neither the maximum nor the place decreases, so merging the shards is sorting by both.
    keyed: list[tuple[str, str, int, T]] = []
    for shard, records in shards.items():
        times = accumulate((record.time for record in records), max)
        keyed.extend((time, shard, place, record) for place, (time, record) in enumerate(zip(times, records, strict=True)))
    keyed.sort()
    return [record for _, _, _, record in keyed]
