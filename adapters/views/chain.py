"""A shard's records in their order: repeats are dropped, a gap ends the chunk, a broken chain ends the reader."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import Any, Protocol

from orjson import loads

from adapters.views.positions import Position
from contracts import Event, Record, read_event


class ChainBroken(Exception):
    """A record does not continue the chain: a byte was altered, or somebody else publishes there. Not to be skipped."""


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


@dataclass(slots=True)
class Fact:
    """A record whose place in the chain is right. `event` is None where it cannot be read, and `fault` says why."""

    record: Record
    sequence: int
    delivered: Delivered
    event: Event | None
    fault: Exception | None = None

    def read(self) -> Event:
        """The event. Raises what reading it raised."""
        if self.event is None:
            raise self.fault or AssertionError("an event, or why there is none")
        return self.event


@dataclass(frozen=True, slots=True)
class Stretch:
    """What continues a position: the facts, where they lead, and the sequence met instead of the next one, if any."""

    facts: Sequence[Fact]
    end: Position
    gap: int | None = None


Read = Callable[[Mapping[str, Any]], Event | None]


def follow(
    shard: str, position: Position, records: Iterable[Delivered], until: int | None = None, read: Read = read_event
) -> Stretch:
    """The records that continue a position, chain verified and read, those below `until`. Raises ChainBroken."""
    facts: list[Fact] = []
    expected, last_hash, time, offset = position.next, position.last_hash, position.last_time, position.offset
    gap = None
    for delivered in records:
        value = delivered.value
        try:
            document = loads(value or b"")
            sequence = int(document["sequence"])
            prevhash, stream = document["prevhash"], document["subject"]
        except (ValueError, KeyError, TypeError):
            raise ChainBroken(_no_record(shard, delivered.offset)) from None
        if sequence != expected:
            if sequence > expected:
                gap = sequence if expected != until else None
                break
            if sequence == expected - 1 and _hash(value) != last_hash:
                raise ChainBroken(f"{shard} sequence {sequence} (offset {delivered.offset}) has other bytes than those applied")
            offset = delivered.offset + 1
            continue
        if sequence == until:
            break
        if value is None or prevhash != last_hash or document["shard"] != shard or type(stream) is not str:
            raise ChainBroken(_not_continued(shard, delivered.offset, document, last_hash))
        record = Record(value, document)
        try:
            facts.append(Fact(record, sequence, delivered, read(document)))
        except Exception as error:
            # Whatever an unreadable event raises parks its stream.
            facts.append(Fact(record, sequence, delivered, None, error))
        last_hash = sha256(value).hexdigest()
        time, expected, offset = document["time"], sequence + 1, delivered.offset + 1
    end = replace(position, next=expected, last_hash=last_hash, last_time=time, offset=offset)
    return Stretch(facts, end, gap)


class FollowOnce:
    """Some records of a shard, parsed and verified once for all readers that stand at one place."""

    def __init__(self, shard: str, records: Sequence[Delivered]) -> None:
        self._shard, self._records = shard, records
        self._found: dict[tuple[int, str], Stretch] = {}

    def __call__(self, position: Position) -> Stretch:
        """What continues the position, see `follow`; of its end the place counts, not the claim."""
        place = (position.next, position.last_hash)
        if place not in self._found:
            self._found[place] = follow(self._shard, position, self._records)
        return self._found[place]


def _hash(value: bytes | None) -> str:
    return sha256(value or b"").hexdigest()


def _no_record(shard: str, offset: int) -> str:
    return f"{shard} offset {offset} holds no record of ours: it was altered, or somebody else publishes there"


def _not_continued(shard: str, offset: int, document: Mapping[str, Any], last_hash: str) -> str:
    sequence = int(document["sequence"])
    return (
        f"{shard} sequence {sequence} (offset {offset}) does not follow what was applied: it names {document.get('shard')} "
        f"and {document['prevhash']} as the hash before it, which is {last_hash}; {sequence} or {sequence - 1} was altered"
    )
