"""Where publishing goes on: each topic beside the store, which must hold the same bytes there.

A topic holds what anybody could write. What counts there is what the store has, byte for byte, and what an entitled writer
signed: if that is ahead of the store or differs from it, the store is an older copy, or somebody else decides. An acceptance
bears no signature, so one that the store does not have is nobody's; the events that it tells of bear one. Numbers are read,
never counted from offsets: strangers' records, transactions' markers and repeats leave gaps and make no mark.
"""

import asyncio
import logging
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson
from aiokafka import AIOKafkaConsumer, TopicPartition

from adapters.kafka.reading import Bounds, bounds_of, read
from adapters.seldom import Seldom
from adapters.sql.outbox import Lane, Mark, Outbox, Outgoing, Standing

log = logging.getLogger(__name__)

FIRST_LOOK, WIDER = 64, 4
"""Records before a topic's end that are looked at where no mark tells more, and how much farther each look goes."""
HEAD = 1_000
"""Strangers' records before a topic's first that are passed over, before it is read as a whole."""
MOST_DIGITS = 18

Headers = Sequence[tuple[str, bytes | None]]
IsAuthentic = Callable[[str, bytes | None, Headers], bool]
"""Topic, value and headers: whether an entitled writer of this network signed the value as a record of that topic."""


class StoreBehind(RuntimeError):
    """The topic holds records that the store does not have: the store was restored from an older backup."""


class Forked(RuntimeError):
    """The topic holds other bytes at a sequence than the store, with a writer's signature: somebody else decides, too."""


@dataclass(frozen=True, slots=True)
class Continued:
    """Where a lane goes on."""

    next: int
    """The first record that the topic lacks."""
    offset: int
    """The topic's last, below its beginning where it is empty."""
    stored: int
    marked: Mark
    """As the store has it."""
    seen: tuple[int, int] = (-1, -1)
    """Offset and number of the last record of ours that was seen."""


@dataclass(slots=True)
class Compared:
    """What comparing found. A shard in neither has a topic, or a partition, that did not answer."""

    lanes: dict[Lane, Continued] = field(default_factory=dict)
    closed: dict[int, StoreBehind | Forked] = field(default_factory=dict)


@dataclass(slots=True, eq=False)
class _Look:
    """One lane's topic, as far as it was read."""

    lane: Lane
    known: Standing
    bounds: Bounds
    begin: int = 0
    """Where this reading began."""
    wanted: int = 0
    highest: int = -1
    first: int = -1
    """The number of the first record of ours."""
    last: tuple[int, int] = (-1, -1)
    is_sound: bool = True
    """Nothing speaks against what the marks say."""
    has_marked: bool = False
    """The last record that is marked was seen."""
    refused: StoreBehind | Forked | None = None

    @property
    def has_place_of_mark(self) -> bool:
        return self.bounds.begin <= self.known.mark.offset < self.bounds.end

    def start(self, begin: int) -> None:
        self.begin, self.highest, self.has_marked = begin, -1, False
        self.wanted = 0 if begin <= self.bounds.begin else self.known.marked

    def take(self, offset: int, number: int) -> None:
        self.first = number if self.first < 0 else self.first
        self.last = max(self.last, (offset, number))
        self.highest = max(self.highest, number)
        self.wanted += number == self.wanted
        self.has_marked = self.has_marked or number == self.known.marked - 1

    @property
    def is_certain(self) -> bool:
        """Whether what was read holds the highest number that is there, and the place where the marks end.

        Each record comes after its predecessor's first, so what lies before cannot have a higher number than there is room.
        """
        return self.begin <= self.bounds.begin or (self.has_marked and self.highest >= self.begin - self.bounds.begin - 1)


class Comparing:
    """Compares shards' topics with the store, and remembers of which strangers' records it has told."""

    def __init__(self, outbox: Outbox, is_authentic: IsAuthentic) -> None:
        self._outbox, self._is_authentic = outbox, is_authentic
        self._told: dict[TopicPartition, int] = {}
        self._seldom = Seldom()
        self.strangers = 0
        """Records that were passed over."""

    async def compare(self, consumer: AIOKafkaConsumer, shards: Collection[int]) -> Compared:
        """Of each shard both lanes, or why it is closed. Those whose topics do not answer are left out. Raises KafkaError."""
        lanes = await asyncio.to_thread(self._outbox.standing, shards)
        bounds = await bounds_of(consumer, {TopicPartition(lane.topic, lane.partition): lane.shard for lane in lanes})
        # After the topics' ends: whoever published until now went on while we asked, and what he committed meanwhile is no
        # sign of an older copy.
        standing = await asyncio.to_thread(self._outbox.standing, shards)
        looks = {
            place: _Look(lane, standing[lane], bounds[place])
            for lane in lanes
            if (place := TopicPartition(lane.topic, lane.partition)) in bounds
        }
        answered = await self._look(consumer, looks)
        found = Compared()
        for place in answered:
            look, known = looks[place], looks[place].known
            if look.refused is not None:
                found.closed[look.lane.shard] = look.refused
            found.lanes[look.lane] = Continued(look.wanted, look.bounds.end - 1, known.stored, known.mark, look.last)
        whole = {s for s in shards if sum(lane.shard == s for lane in found.lanes) == 2}
        found.lanes = {lane: to for lane, to in found.lanes.items() if lane.shard in whole - found.closed.keys()}
        return found

    async def _look(self, consumer: AIOKafkaConsumer, looks: Mapping[TopicPartition, _Look]) -> set[TopicPartition]:
        """Read of each topic as little as tells where it goes on; those that answered."""
        filled = {place for place, look in looks.items() if look.bounds.begin < look.bounds.end}
        marked = {place for place in filled if looks[place].known.marked}
        answered = set(looks) - filled
        heads = await self._read_heads(consumer, {place: looks[place] for place in marked})
        tails = {place for place in heads if looks[place].is_sound and looks[place].has_place_of_mark}
        begins = {place: looks[place].known.mark.offset for place in tails}
        read_on = await self._read_from(consumer, looks, begins, self._is_as_marked)
        answered |= {place for place in read_on if looks[place].is_sound}
        # What a mark told may be true no more of a topic that was made anew.
        open_, span = (heads - tails) | (read_on - answered) | (filled - marked), FIRST_LOOK
        while open_:
            read_on = await self._read_from(consumer, looks, {place: _back(looks[place], span) for place in open_})
            answered |= {place for place in read_on if looks[place].refused is not None or looks[place].is_certain}
            open_, span = read_on - answered, span * WIDER
        return answered

    async def _read_heads(self, consumer: AIOKafkaConsumer, looks: Mapping[TopicPartition, _Look]) -> set[TopicPartition]:
        """Whether each begins with its first record: one that was made anew while it was written to begins in the middle."""

        async def take(polled: Mapping[TopicPartition, Sequence[Any]]) -> set[TopicPartition]:
            await self._judge({looks[place]: records for place, records in polled.items()})
            return {place for place in polled if looks[place].first >= 0 or looks[place].refused is not None}

        for look in looks.values():
            look.start(look.bounds.begin)
        ends = {p: (look.bounds.begin, min(look.bounds.end, look.bounds.begin + HEAD)) for p, look in looks.items()}
        answered = await read(consumer, ends, take)
        for look in looks.values():
            look.is_sound = look.first == 0
            # What is at the head says nothing of the end.
            look.last = (-1, -1)
        return answered

    async def _read_from(
        self,
        consumer: AIOKafkaConsumer,
        looks: Mapping[TopicPartition, _Look],
        begins: Mapping[TopicPartition, int],
        begins_well: Callable[[_Look, Any, int | None], bool] = lambda _look, _record, _number: True,
    ) -> set[TopicPartition]:
        """Each of them from there to its end, where its first record is as it has to be; those that answered."""
        begun: set[TopicPartition] = set()

        async def take(polled: Mapping[TopicPartition, Sequence[Any]]) -> set[TopicPartition]:
            numbers = await self._judge({looks[place]: records for place, records in polled.items()})
            for place in polled.keys() - begun:
                begun.add(place)
                look, record = looks[place], polled[place][0]
                look.is_sound = look.refused is not None or begins_well(look, record, numbers[look][0])
            return {place for place in polled if looks[place].refused is not None or not looks[place].is_sound}

        for place, begin in begins.items():
            looks[place].start(begin)
        answered = await read(consumer, {place: (begin, looks[place].bounds.end) for place, begin in begins.items()}, take)
        for place in answered - begun:
            looks[place].is_sound = begins_well(looks[place], None, None)
        return answered

    @staticmethod
    def _is_as_marked(look: _Look, record: Any, number: int | None) -> bool:
        return record is not None and record.offset == look.known.mark.offset and number == look.known.mark.at

    async def _judge(self, polled: Mapping[_Look, Sequence[Any]]) -> dict[_Look, list[int | None]]:
        """The number of each record that is the store's, None of a stranger's; and what refuses the topic is noted."""
        numbers = {look: [_number(record.value) for record in records] for look, records in polled.items()}
        wanted = {look.lane: [n for n in of if n is not None] for look, of in numbers.items()}
        stored = await asyncio.to_thread(self._outbox.some, wanted)
        found: dict[_Look, list[int | None]] = {}
        for look, records in polled.items():
            pairs = zip(records, numbers[look], strict=True)
            found[look] = [self._own(look, record, number, stored[look.lane]) for record, number in pairs]
            self._tell(look, [record for record, number in zip(records, found[look], strict=True) if number is None])
        return found

    def _own(self, look: _Look, record: Any, number: int | None, stored: Mapping[int, Outgoing]) -> int | None:
        if number is None or look.refused is not None:
            return None
        row, lane, headers = stored.get(number), look.lane, record.headers
        if row is not None and row.value == record.value:
            if row.key != record.key or _signature(headers) != (row.signature or None):
                return None
            look.take(record.offset, number)
            return number
        if not (_is_of(lane, record.value) and self._is_authentic(lane.topic, record.value, headers)):
            return None
        where = f"{lane.topic}/{lane.partition} holds"
        if row is None:
            text = f"{where} {number}, the store ends before {look.known.stored}: it is an older copy"
            look.refused = StoreBehind(text)
        else:
            look.refused = Forked(f"{where} other bytes at {number} than the store, with a writer's signature")
        return None

    def _tell(self, look: _Look, records: Sequence[Any]) -> None:
        place = TopicPartition(look.lane.topic, look.lane.partition)
        fresh = [record.offset for record in records if record.offset > self._told.get(place, -1)]
        if not fresh or look.refused is not None:
            return
        self.strangers += len(fresh)
        self._told[place] = max(fresh)
        if many := self._seldom.count(f"{place.topic}/{place.partition}", len(fresh)):
            log.warning("%s/%d holds %d strange records from offset %d on; passed over", *place, many, min(fresh))


def _back(look: _Look, span: int) -> int:
    begin, end = look.bounds.begin, look.bounds.end
    return max(begin, end - span) if look.known.marked and look.first == 0 else begin


def _signature(headers: Headers) -> str | None:
    found = next((value for name, value in headers if name == "signature"), None)
    return None if found is None else found.decode("ascii", "replace")


def _number(value: bytes | None) -> int | None:
    """What a record calls itself; None of what is no record of ours."""
    try:
        number = orjson.loads(value or b"")["sequence"]
    except (ValueError, KeyError, TypeError):
        return None
    digits = "" if isinstance(number, bool) else str(number)
    return int(digits) if digits.isascii() and digits.isdigit() and len(digits.lstrip("0")) <= MOST_DIGITS else None


def _is_of(lane: Lane, value: bytes) -> bool:
    """Not another shard's, whose signature is as good. The value is a document, as its number was read."""
    return bool(orjson.loads(value).get("shard") == f"{lane.topic}/{lane.partition}")
