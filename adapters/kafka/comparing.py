"""Where publishing goes on: each topic's end beside the store, which must hold the same bytes there."""

import asyncio
import logging
from collections.abc import AsyncIterator, Collection, Mapping
from dataclasses import dataclass

import orjson
from aiokafka import AIOKafkaConsumer, TopicPartition

from adapters.kafka.bare import records_at, tell_topics
from adapters.sql.outbox import Lane, Outbox, Standing

log = logging.getLogger(__name__)

TAIL = 4_000
"""Records before a topic's end among which its highest is looked for at most: a publisher that woke late repeats 2,000."""


class StoreBehind(RuntimeError):
    """The topic holds records that the store does not have: the store was restored from an older backup."""


class Forked(RuntimeError):
    """The topic holds other bytes at a sequence than the store: somebody else publishes there."""


@dataclass(frozen=True, slots=True)
class Continued:
    """Where a lane goes on."""

    next: int
    """The first record that the topic lacks."""
    offset: int
    """The topic's last, below its beginning where it is empty."""
    stored: int
    marked: int


async def compare(consumer: AIOKafkaConsumer, outbox: Outbox, shards: Collection[int]) -> dict[Lane, Continued]:
    """Each lane of those shards whose topics the broker knows. Raises StoreBehind, Forked, KafkaError."""
    places = await _places(consumer, await asyncio.to_thread(outbox.standing, shards))
    begins = await consumer.beginning_offsets(list(places.values()))
    ends = await consumer.end_offsets(list(places.values()))
    filled = [place for place in places.values() if begins[place] < ends[place]]
    firsts = await records_at(consumer, {place: begins[place] for place in filled})
    lasts = await records_at(consumer, {place: ends[place] - 1 for place in filled})
    # After the topics' ends: whoever published until now went on while we asked, and what he committed meanwhile is no
    # sign of an older copy.
    standing = await asyncio.to_thread(outbox.standing, shards)
    found, latest = {}, {}
    for lane, place in places.items():
        known, following = standing[lane], 0
        if place in lasts:
            latest[lane] = lasts[place].value
            extent = _Extent(begins[place], ends[place], _number(firsts[place].value), _number(latest[lane]))
            following = await _following(consumer, place, extent, known)
        found[lane] = Continued(following, ends[place] - 1, known.stored, known.marked)
    await asyncio.to_thread(_refuse_others, outbox, found, latest)
    return found


async def _places(consumer: AIOKafkaConsumer, lanes: Collection[Lane]) -> dict[Lane, TopicPartition]:
    await tell_topics(consumer, sorted({lane.topic for lane in lanes}))
    missing = {
        lane.shard for lane in lanes if lane.partition not in (consumer.partitions_for_topic(lane.topic) or ())
    }  # fmt: skip
    if missing:
        topics = sorted({lane.topic for lane in lanes if lane.shard in missing})
        log.warning("the broker denies %s; what is decided there waits", ", ".join(topics))
    return {lane: TopicPartition(lane.topic, lane.partition) for lane in lanes if lane.shard not in missing}


@dataclass(frozen=True, slots=True)
class _Extent:
    """Offsets and numbers between which a topic's partition is."""

    begin: int
    end: int
    first: int
    last: int

    def repeats(self, highest: int) -> int:
        """How many records come twice, if nothing is missing below the highest number; negative where something is."""
        return self.end - self.begin - (highest + 1)


async def _following(consumer: AIOKafkaConsumer, place: TopicPartition, extent: _Extent, known: Standing) -> int:
    """The first number that the topic lacks."""
    highest = extent.last
    if (repeats := extent.repeats(highest)) > 0:
        # The last record may be an outcome that was repeated, or what a publisher sent that woke late. Behind the highest
        # there are repeats only.
        async for number in _numbers(consumer, place, extent.end - min(repeats + 1, TAIL), extent.end):
            highest = max(highest, number)
    if extent.first == 0 and extent.repeats(highest) >= 0 and highest + 1 >= known.marked:
        return highest + 1
    # A topic that was made anew while it was written to begins in the middle, and may hold the rest behind. Only reading tells.
    wanted = 0
    async for number in _numbers(consumer, place, extent.begin, extent.end):
        wanted += number == wanted
    return wanted


async def _numbers(consumer: AIOKafkaConsumer, place: TopicPartition, begin: int, end: int) -> AsyncIterator[int]:
    consumer.assign([place])
    consumer.seek(place, begin)
    while await consumer.position(place) < end:
        for record in (await consumer.getmany(place, timeout_ms=1000)).get(place, []):
            yield _number(record.value)


def _refuse_others(outbox: Outbox, found: Mapping[Lane, Continued], latest: Mapping[Lane, bytes]) -> None:
    for lane, place in found.items():
        number = _number(latest[lane]) if lane in latest else -1
        if max(place.next - 1, number) >= place.stored:
            raise StoreBehind(
                f"{lane.topic}/{lane.partition} holds {max(place.next - 1, number)}, the store ends before {place.stored}:"
                " it is an older copy"
            )
        if number >= 0 and [row.value for row in outbox.read(lane, number, 1)] != [latest[lane]]:
            raise Forked(f"{lane.topic}/{lane.partition} holds other bytes at {number} than the store")


def _number(value: bytes | None) -> int:
    return int(orjson.loads(value or b"")["sequence"])
