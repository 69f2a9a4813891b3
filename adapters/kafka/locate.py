"""Where to go on reading: a position is a sequence, the offset beside it only a hint that is checked before it is believed.

A topic may have been wiped, truncated, or filled anew by the shard's owner. Then it can hold, out of order, one high sequence
followed by 0, 1, 2, …: a binary search is tried first and checked, and a scan from the first record decides. What strangers put
there says nothing.
"""

import asyncio
from collections.abc import AsyncIterator, Collection, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

import orjson
from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from aiokafka.errors import KafkaError

from adapters.kafka.bare import bare_consumer, tell_topics
from adapters.vouching import Vouch, anybody
from contracts import ZERO_HASH, shard_name

PROBE_BYTES = 128 * 1024
"""What one look at the topic fetches. The broker sends at least one batch, however large."""
ANSWER_SECONDS = 10.0
GLANCE_SECONDS = 2.0
"""What the broker does not give together in that time is asked for one by one."""


class Lost(Exception):
    """The next record is not in the topic, though later ones are. The shard's owner has to publish it again."""


class Behind(Exception):
    """The topic ends before our position: it was wiped, or restored from an older copy. The shard's owner will fill it.

    `offset` is the topic's end, where what comes next will be.
    """

    def __init__(self, message: str, offset: int) -> None:
        super().__init__(message)
        self.offset = offset


class Forked(Exception):
    """An entitled writer signed other bytes at our position than those that were applied."""


class Unanswered(Exception):
    """The broker did not answer in time. Try again."""


@dataclass(frozen=True, slots=True)
class Sought:
    """A place in a chain: the sequence to apply next, the hash of the one before, and the offset where it is supposed."""

    next: int
    last_hash: str
    hint: int


class Looking:
    """Looks at single records, with a consumer that has no group, so that nobody notices."""

    def __init__(self, consumer: AIOKafkaConsumer) -> None:
        self._consumer = consumer

    async def bounds(self, topic: str, partition: int) -> tuple[int, int]:
        """The first offset, and the one after the last."""
        tp = TopicPartition(topic, partition)
        return (await self.bounds_of([tp]))[tp]

    async def bounds_of(self, tps: Collection[TopicPartition]) -> dict[TopicPartition, tuple[int, int]]:
        """Of each the first offset, and the one after the last: two requests, however many they are."""
        if not tps:
            return {}
        await tell_topics(self._consumer, {tp.topic for tp in tps})
        first, end = await self._consumer.beginning_offsets(tps), await self._consumer.end_offsets(tps)
        return {tp: (first[tp], end[tp]) for tp in tps}

    async def at_each(self, offsets: Mapping[TopicPartition, int]) -> dict[TopicPartition, ConsumerRecord[bytes, bytes]]:
        """The first record at or after each offset, as far as the broker gives them together within GLANCE_SECONDS.

        Where it gives none of a partition there may be one.
        """
        found: dict[TopicPartition, ConsumerRecord[bytes, bytes]] = {}
        if not offsets:
            return found
        self._consumer.assign(list(offsets))
        for tp, offset in offsets.items():
            self._consumer.seek(tp, offset)
        with suppress(TimeoutError, KafkaError):
            async with asyncio.timeout(GLANCE_SECONDS):
                while missing := [tp for tp in offsets if tp not in found]:
                    record = await self._consumer.getone(*missing)
                    found[TopicPartition(record.topic, record.partition)] = record
        return found

    async def at(self, topic: str, partition: int, offset: int, end: int) -> ConsumerRecord[bytes, bytes] | None:
        """The first record at or after the offset: there may be holes. None if there is none before `end`."""
        async for record in self.scan(topic, partition, offset, end):
            return record
        return None

    async def scan(self, topic: str, partition: int, offset: int, end: int) -> AsyncIterator[ConsumerRecord[bytes, bytes]]:
        """The records from an offset on. Raises Unanswered."""
        tp = TopicPartition(topic, partition)
        self._consumer.assign([tp])
        self._consumer.seek(tp, offset)
        deadline = asyncio.get_running_loop().time() + ANSWER_SECONDS
        while await self._consumer.position(tp) < end:
            found = await self._consumer.getmany(tp, timeout_ms=200)
            for record in found.get(tp, ()):
                if record.offset < end:
                    yield record
            if found:
                deadline = asyncio.get_running_loop().time() + ANSWER_SECONDS
            elif asyncio.get_running_loop().time() > deadline:
                raise Unanswered(f"{shard_name(topic, partition)} offset {offset}: no answer in {ANSWER_SECONDS:.0f} s")


@asynccontextmanager
async def looking(client: Mapping[str, Any]) -> AsyncIterator[Looking]:
    """`client` are aiokafka's options."""
    async with bare_consumer(client, max_partition_fetch_bytes=PROBE_BYTES) as consumer:
        yield Looking(consumer)


async def locate(
    look: Looking, topic: str, partition: int, sought: Sought, *, thorough: bool = False, vouch: Vouch = anybody
) -> int:
    """The offset from which reading yields the next sequence. Raises Lost, Behind, Forked, Unanswered.

    `thorough` after a gap: then the next record itself is wanted, wherever it is, not a place that comes before it.
    """
    search = _Search(look, topic, partition, sought, *await look.bounds(topic, partition), vouch)
    return await search.find(thorough=thorough)


Places = Mapping[TopicPartition, int | Exception]
"""Offsets, or why there is none."""


async def locate_all(
    look: Looking, sought: Mapping[TopicPartition, Sought], *, thorough: bool = False, vouch: Vouch = anybody
) -> Places:
    """As `locate` for each, whose Lost, Behind, Forked or Unanswered is then its answer. Raises KafkaError.

    Where the hints are true, as they are unless a topic was changed, it takes three requests, however many there are.
    """
    bounds = await look.bounds_of(sought)
    searches = {tp: _Search(look, tp.topic, tp.partition, sought[tp], *bounds[tp], vouch) for tp in sought}
    glances = {tp: offset for tp, search in searches.items() if (offset := search.glance()) is not None}
    for tp, record in (await look.at_each(glances)).items():
        searches[tp].know(glances[tp], record)
    found: dict[TopicPartition, int | Exception] = {}
    for tp, search in searches.items():
        try:
            found[tp] = await search.find(thorough=thorough)
        except (Lost, Behind, Forked, Unanswered) as error:
            found[tp] = error
    return found


async def locate_offset(look: Looking, topic: str, partition: int, sought: Sought) -> int:
    """Where to go on in a topic without sequences: at the offset `next`, if the record before is the one that was read.

    Otherwise the topic is another one, or its oldest records are gone, and its first offset is returned.
    """
    first, end = await look.bounds(topic, partition)
    if first < sought.next <= end:
        before = await look.at(topic, partition, sought.next - 1, end)
        if before is not None and before.offset == sought.next - 1 and hash_of(before) == sought.last_hash:
            return sought.next
    return first


def hash_of(record: ConsumerRecord[bytes, bytes]) -> str:
    """SHA-256 of a record's value, hexadecimal."""
    return sha256(record.value or b"").hexdigest()


class _Search:
    def __init__(self, look: Looking, topic: str, partition: int, sought: Sought, first: int, end: int, vouch: Vouch) -> None:
        self._look, self._topic, self._partition, self._vouch = look, topic, partition, vouch
        self._sought, self._first, self._end = sought, first, end
        self._shard = shard_name(topic, partition)
        self._known: dict[int, ConsumerRecord[bytes, bytes]] = {}

    async def find(self, *, thorough: bool = False) -> int:
        if not thorough and await self.hint_is_true():
            return self._sought.hint
        found = await self.by_halves()
        if found is None and not thorough:
            found = await self.at_the_end()
        return await self.by_scan() if found is None else found

    def glance(self) -> int | None:
        """The offset whose record says whether the hint is true; None where the hint is nowhere."""
        if self._sought.next == 0 and self._first <= self._sought.hint < self._end:
            return self._sought.hint
        return self._sought.hint - 1 if self._first < self._sought.hint <= self._end else None

    def know(self, offset: int, record: ConsumerRecord[bytes, bytes]) -> None:
        """It is the first record at or after the offset."""
        if record.offset < self._end:
            self._known[offset] = record

    async def hint_is_true(self) -> bool:
        """One look: the record before the hint is the one that was applied last, or that at the hint is the first of all."""
        offset = self.glance()
        record = None if offset is None else await self._at(offset)
        if record is None:
            return False
        return self._is_next(record) if offset == self._sought.hint else self._is_last(record)

    async def by_halves(self) -> int | None:
        """Right where the topic is in order; None where it is not, or where it does not hold the record."""
        low, high = self._first, self._end
        while low < high:
            middle = (low + high) // 2
            record = await self._ours_at(middle)
            if record is None or self._sequence(record) >= self._sought.next:
                high = middle
            else:
                low = record.offset + 1
        record = await self._ours_at(low) if low < self._end else None
        return int(record.offset) if record is not None and self._is_next(record) else None

    async def at_the_end(self) -> int | None:
        """The end, where the topic ends with the record that was applied last."""
        if self._first == self._end:
            return self._first if self._sought.next == 0 else None
        record = await self._newest()
        return self._end if record is not None and self._is_last(record) else None

    async def by_scan(self) -> int:
        """Every record from the first on."""
        ahead, highest, last_seen = -1, -1, False
        async for record in self._look.scan(self._topic, self._partition, self._first, self._end):
            sequence = self._sequence(record)
            if sequence > self._sought.next and ahead < 0 and self._is_ours(record):
                ahead = sequence
            if self._is_next(record):
                return int(record.offset)
            last_seen = last_seen or self._is_last(record)
            highest = max(highest, sequence)
        if ahead >= 0:
            raise Lost(f"{self._shard} holds {ahead}, but not {self._sought.next}, which is to be applied next")
        if last_seen or self._sought.next == 0:
            return self._end
        applied = self._sought.next - 1
        raise Behind(f"{self._shard} ends at {highest if highest >= 0 else 'nothing'}, {applied} was applied", self._end)

    async def _at(self, offset: int) -> ConsumerRecord[bytes, bytes] | None:
        return self._known.get(offset) or await self._look.at(self._topic, self._partition, offset, self._end)

    async def _ours_at(self, offset: int) -> ConsumerRecord[bytes, bytes] | None:
        """The first record at or after the offset that says something of the order."""
        async for record in self._look.scan(self._topic, self._partition, offset, self._end):
            if self._is_ours(record):
                return record
        return None

    async def _newest(self) -> ConsumerRecord[bytes, bytes] | None:
        """The last record of ours, behind which there may be strangers': looked for further and further back."""
        end, step = self._end, 1
        while end > self._first:
            begin, found = max(self._first, end - step), None
            async for record in self._look.scan(self._topic, self._partition, begin, end):
                found = record if self._is_ours(record) else found
            if found is not None:
                return found
            end, step = begin, 4 * step
        return None

    def _is_next(self, record: ConsumerRecord[bytes, bytes]) -> bool:
        document = self._document(record) if self._sequence(record) == self._sought.next else None
        return document is not None and self._is_same(document["prevhash"], record)

    def _is_last(self, record: ConsumerRecord[bytes, bytes]) -> bool:
        return self._sequence(record) == self._sought.next - 1 and self._is_same(hash_of(record), record)

    def _is_same(self, found: str, record: ConsumerRecord[bytes, bytes]) -> bool:
        """Whether it belongs to what was applied. Another history is a stranger's, or a fork: raises Forked."""
        if self._sought.last_hash == (found if self._sought.next else ZERO_HASH):
            return True
        if not self._is_ours(record):
            return False
        raise Forked(
            f"{self._shard} sequence {self._sequence(record)} (offset {record.offset}) belongs to another history: "
            f"the hash of {self._sought.next - 1} is {found} there, {self._sought.last_hash} was applied"
        )

    def _is_ours(self, record: ConsumerRecord[bytes, bytes]) -> bool:
        document = self._document(record)
        return document is not None and self._vouch(document, record.value or b"", record.headers)

    def _sequence(self, record: ConsumerRecord[bytes, bytes]) -> int:
        """What it says that it is; -1 where it says nothing."""
        # Digits between fixed bytes, because a scan reads every record: a string of JSON cannot hold these bytes.
        _, found, after = (record.value or b"").partition(b'"sequence":"')
        if found and after[:20].isdigit():
            return int(after[:20])
        document = self._document(record)
        return -1 if document is None else int(document["sequence"])

    def _document(self, record: ConsumerRecord[bytes, bytes]) -> dict[str, Any] | None:
        try:
            document = orjson.loads(record.value or b"")
            is_record = isinstance(document["prevhash"], str) and int(document["sequence"]) >= 0
        except (ValueError, KeyError, TypeError):
            return None
        return document if is_record and document.get("shard", self._shard) == self._shard else None
