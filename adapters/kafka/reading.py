"""Reading parts of many partitions together, with a consumer that has no group; one that is silent keeps no other waiting."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from typing import Any, NamedTuple

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError

from adapters.kafka.bare import tell_topics

log = logging.getLogger(__name__)

BOUNDS_SECONDS = 5.0
SILENT_SECONDS = 10.0
POLL_MS = 200


class Bounds(NamedTuple):
    """The first offset of a partition, and the one after its last."""

    begin: int
    end: int


async def bounds_of(consumer: AIOKafkaConsumer, places: Mapping[TopicPartition, int]) -> dict[TopicPartition, Bounds]:
    """The bounds of those partitions that are there and answer; beside each its shard. Raises KafkaError, where none does."""
    answering = await led(consumer, list(places))
    if missing := sorted({place.topic for place in places.keys() - set(answering)}):
        log.warning("the broker denies %s, or a partition has no leader; what is decided there waits", ", ".join(missing))
    begins = await each_offset(consumer.beginning_offsets, answering)
    ends = await each_offset(consumer.end_offsets, list(begins))
    return {place: Bounds(begins[place], end) for place, end in ends.items()}


async def led(consumer: AIOKafkaConsumer, places: Collection[TopicPartition]) -> list[TopicPartition]:
    """Those of them that exist and have a leader, as far as the broker has told."""
    await tell_topics(consumer, sorted({place.topic for place in places}), or_else=True)
    cluster: Any = consumer._client.cluster

    def leaderless() -> set[TopicPartition]:
        return {place for place in places if cluster.leader_for_partition(place) in (None, -1)}

    if leaderless():
        await consumer._client.force_metadata_update()
    return sorted(set(places) - leaderless())


async def each_offset(
    ask: Callable[[list[TopicPartition]], Awaitable[dict[TopicPartition, int]]], places: list[TopicPartition]
) -> dict[TopicPartition, int]:
    """Together, or, where that fails, of each that answers by itself. Raises KafkaError, where none does."""
    if not places:
        return {}
    try:
        async with asyncio.timeout(BOUNDS_SECONDS):
            return await ask(places)
    except (KafkaError, TimeoutError):
        asked = [asyncio.wait_for(ask([place]), BOUNDS_SECONDS) for place in places]
        answers = await asyncio.gather(*asked, return_exceptions=True)
    found: dict[TopicPartition, int] = {}
    for place, answer in zip(places, answers, strict=True):
        if isinstance(answer, dict):
            found.update(answer)
        elif not isinstance(answer, KafkaError | TimeoutError):
            raise answer
        else:
            log.warning("%s/%d does not tell its offsets: %r", *place, answer)
    if not found:
        raise KafkaError("the broker tells no offsets")
    return found


async def read(
    consumer: AIOKafkaConsumer,
    ranges: Mapping[TopicPartition, tuple[int, int]],
    take: Callable[[Mapping[TopicPartition, Sequence[Any]]], Awaitable[Collection[TopicPartition]]],
) -> set[TopicPartition]:
    """Give what lies in these offsets, begin to end, to `take`, which names those of which it has enough.

    Returns the partitions that were read, or of which there was enough: not those that gave nothing in SILENT_SECONDS.
    """
    if not ranges:
        return set()
    consumer.assign(list(ranges))
    for place, (begin, _) in ranges.items():
        consumer.seek(place, begin)
    loop = asyncio.get_running_loop()
    done: set[TopicPartition] = set()
    given_up: set[TopicPartition] = set()
    moved = {place: (begin, loop.time()) for place, (begin, _) in ranges.items()}
    while open_ := ranges.keys() - done - given_up:
        # Those that are done are read to the end of what was fetched and no further: what waits in its buffer keeps aiokafka
        # from asking for the others.
        polled = await consumer.getmany(timeout_ms=POLL_MS)
        inside = {p: [r for r in records if r.offset < ranges[p][1]] for p, records in polled.items() if p in open_}
        enough = set(await take(some)) if (some := {p: records for p, records in inside.items() if records}) else set()
        for place in open_:
            # Not by the last record: a transaction's markers are none.
            position = await consumer.position(place)
            if place in enough or position >= ranges[place][1]:
                done.add(place)
            elif position != moved[place][0]:
                moved[place] = (position, loop.time())
            elif loop.time() - moved[place][1] > SILENT_SECONDS:
                given_up.add(place)
                log.warning("%s/%d gives no record at %d", *place, position)
        consumer.pause(*(open_ & (done | given_up)))
    return done
