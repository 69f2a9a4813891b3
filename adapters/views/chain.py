"""A shard's records in their order: repeats are dropped, what nobody entitled signed is passed over, a gap ends the chunk, and
two histories of one writer end the reader."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from hashlib import sha256
from typing import Any, Protocol

from orjson import loads

from adapters.views.positions import Position
from adapters.vouching import Vouch, anybody, signature_of
from contracts import Event, Record, read_event


class ChainBroken(Exception):
    """An entitled writer signed a record that does not continue the chain: there are two histories. Not to be skipped."""


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
    strangers: Mapping[int, str] = field(default_factory=dict)
    """What nobody entitled signed, by offset: what it is instead. It was passed over, and used up no sequence."""


Read = Callable[[Mapping[str, Any]], Event | None]


def follow(
    shard: str,
    position: Position,
    records: Sequence[Delivered],
    until: int | None = None,
    read: Read = read_event,
    vouch: Vouch = anybody,
    *,
    each: bool = False,
) -> Stretch:
    """The records that continue a position, those below `until`: their chain verified, the last one vouched for, and read.

    One signature vouches for all of them. Where it does not hold, or two records want one place, each is verified by itself;
    with `each` all are. Raises ChainBroken where a writer who was entitled signed two histories.
    """
    walk = _Walk(shard, position, until, vouch)
    if each or not walk.quickly(records):
        walk = _Walk(shard, position, until, vouch)
        walk.carefully(records)
    return walk.stretch(read)


@dataclass(slots=True, eq=False)
class _Walk:
    shard: str
    position: Position
    until: int | None
    vouch: Vouch
    taken: list[tuple[Delivered, bytes, dict[str, Any]]] = field(default_factory=list)
    strangers: dict[int, str] = field(default_factory=dict)
    gap: int | None = None
    offset: int = 0

    def quickly(self, records: Iterable[Delivered]) -> bool:
        """Whatever fits is taken, and the last one verified. False where that tells nothing."""
        return self._walk(records, careful=False) and (not self.taken or self._is_vouched(*self.taken[-1]))

    def carefully(self, records: Iterable[Delivered]) -> None:
        self._walk(records, careful=True)

    def stretch(self, read: Read) -> Stretch:
        facts: list[Fact] = []
        for delivered, value, document in self.taken:
            record, sequence = Record(value, document, delivered.headers), self.position.next + len(facts)
            try:
                facts.append(Fact(record, sequence, delivered, read(document)))
            except Exception as error:
                # Whatever an unreadable event raises parks its stream.
                facts.append(Fact(record, sequence, delivered, None, error))
        end = replace(self.position, offset=self.offset)
        if self.taken:
            _, value, document = self.taken[-1]
            end = replace(end, next=self.position.next + len(facts), last_hash=_hash(value), last_time=document["time"])
        return Stretch(facts, end, self.gap, self.strangers)

    def _walk(self, records: Iterable[Delivered], *, careful: bool) -> bool:
        expected, last_hash, self.offset = self.position.next, self.position.last_hash, self.position.offset
        for delivered in records:
            value = delivered.value
            document = _document(self.shard, value)
            if value is None or document is None:
                self.strangers[delivered.offset] = "no record of this shard"
                continue
            sequence = int(document["sequence"])
            if sequence < expected:
                known = self._hash_of(sequence)
                if known == _hash(value) and not careful and self._is_signed_otherwise(sequence, delivered):
                    return False
                if known is None or known == _hash(value):
                    self.offset = delivered.offset + 1
                elif self.taken and not careful:
                    return False
                else:
                    why = f"{self.shard} sequence {sequence} has other bytes than those applied"
                    self._refuse(delivered, value, document, why)
                continue
            if sequence > expected:
                if expected == self.until:
                    break
                if not self._is_vouched(delivered, value, document):
                    self.strangers[delivered.offset] = _UNENTITLED
                    continue
                self.gap = sequence
                break
            if sequence == self.until:
                break
            if document["prevhash"] != last_hash:
                if self.taken and not careful:
                    return False
                self._refuse(delivered, value, document, _not_continued(self.shard, document, last_hash))
                continue
            if careful and not self._is_vouched(delivered, value, document):
                self.strangers[delivered.offset] = _UNENTITLED
                continue
            self.taken.append((delivered, value, document))
            last_hash, expected, self.offset = _hash(value), sequence + 1, delivered.offset + 1
        return True

    def _hash_of(self, sequence: int) -> str | None:
        """What is in that place; None where that is not known any more."""
        if sequence >= self.position.next:
            return _hash(self.taken[sequence - self.position.next][1])
        return self.position.last_hash if sequence == self.position.next - 1 else None

    def _is_signed_otherwise(self, sequence: int, delivered: Delivered) -> bool:
        """Our bytes may have been published by a stranger first: which of the two is kept, the signature tells."""
        taken = sequence - self.position.next
        return taken >= 0 and signature_of(self.taken[taken][0].headers) != signature_of(delivered.headers)

    def _refuse(self, delivered: Delivered, value: bytes, document: Mapping[str, Any], why: str) -> None:
        if self._is_vouched(delivered, value, document):
            raise ChainBroken(f"{why} (offset {delivered.offset}): an entitled writer signed both")
        self.strangers[delivered.offset] = _UNENTITLED

    def _is_vouched(self, delivered: Delivered, value: bytes, document: Mapping[str, Any]) -> bool:
        return self.vouch(document, value, delivered.headers)


class FollowOnce:
    """Some records of a shard, parsed and verified once for all readers that stand at one place."""

    def __init__(self, shard: str, records: Sequence[Delivered], vouch: Vouch = anybody) -> None:
        self._shard, self._records, self._vouch = shard, records, vouch
        self._found: dict[tuple[int, str], Stretch] = {}
        self._vouched: dict[tuple[bytes, str], bool] = {}

    def __call__(self, position: Position) -> Stretch:
        """What continues the position, see `follow`; of its end the place counts, not the claim."""
        place = (position.next, position.last_hash)
        if place not in self._found:
            self._found[place] = follow(self._shard, position, self._records, vouch=self._vouch_once)
        return self._found[place]

    @property
    def strangers(self) -> Mapping[int, str]:
        return {offset: what for stretch in self._found.values() for offset, what in stretch.strangers.items()}

    def _vouch_once(self, document: Mapping[str, Any], value: bytes, headers: Sequence[tuple[str, bytes | None]]) -> bool:
        # With the signature: anybody can publish our bytes without one, and before them.
        signed = value, signature_of(headers)
        if signed not in self._vouched:
            self._vouched[signed] = self._vouch(document, value, headers)
        return self._vouched[signed]


_UNENTITLED = "signed by nobody who was entitled"


def _document(shard: str, value: bytes | None) -> dict[str, Any] | None:
    """The record's document, if it has the form of one of this shard."""
    try:
        document = loads(value or b"")
        is_ours = (
            document["shard"] == shard
            and type(document["subject"]) is str
            and type(document["prevhash"]) is str
            and type(document["time"]) is str
            and int(document["sequence"]) >= 0
        )
    except (ValueError, KeyError, TypeError):
        return None
    return document if is_ours else None


def _hash(value: bytes) -> str:
    return sha256(value).hexdigest()


def _not_continued(shard: str, document: Mapping[str, Any], last_hash: str) -> str:
    sequence = int(document["sequence"])
    return (
        f"{shard} sequence {sequence} does not follow what was applied: it names {document['prevhash']} as the hash before it, "
        f"which is {last_hash}; {sequence} or {sequence - 1} was altered"
    )
