"""What a set of readers does beside its group: bring up who is far behind, send what processes want, tell who reads what."""

import asyncio
import logging
import math
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from functools import partial
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError

from adapters.kafka.bare import bare_consumer
from adapters.kafka.locate import Behind, Looking, Lost, Unanswered, locate_all, looking
from adapters.sql import is_transient
from adapters.views.readers import sought
from adapters.views.sets import ReaderSet

log = logging.getLogger(__name__)

FETCH_BYTES = 4 * 1024 * 1024
POLL_RECORDS = (200, 5_000)
TURN_SECONDS = 0.1
"""Those that are level wait as long as a turn of those that are behind takes."""
LOOK_SECONDS = 0.5
AGAIN_SECONDS = 10.0
"""Where a topic lacks what comes next, it is looked for again after this."""
TELL_SECONDS = 10.0
PAUSE_SECONDS = (0.1, 5.0)
"""After a failure: the first pause and the longest, each twice the one before."""


async def work_beside(readers: ReaderSet, client: Mapping[str, Any], on_life: Callable[[], None]) -> None:
    """For as long as the group reads. `client` are aiokafka's options. Raises what trying again cannot mend."""
    works = (
        _forever(readers, "catching up", lambda: _catch_up(readers, client, on_life), on_life),
        *(_forever(readers, f"sending for {p.name}", partial(readers.send_for, p), on_life) for p in readers.processes),
        _forever(readers, "telling", lambda: _look_after(readers), on_life),
    )
    tasks = [asyncio.ensure_future(work) for work in works]
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        with suppress(Exception):
            # Whoever does not hear of it finds out in half a minute.
            await readers.end()


async def _forever(readers: ReaderSet, doing: str, work: Callable[[], Awaitable[None]], on_life: Callable[[], None]) -> None:
    pause, longest = PAUSE_SECONDS
    while True:
        try:
            await work()
            pause = PAUSE_SECONDS[0]
        except (KafkaError, Lost, Behind, Unanswered, OSError) as error:
            log.warning("%s: %s: %r; again in %g s", readers.name, doing, error, pause)
        except Exception as error:
            if not is_transient(error):
                raise
            log.warning("%s: %s: %s; again in %g s", readers.name, doing, str(error).partition("\n")[0], pause)
        else:
            continue
        on_life()
        await asyncio.sleep(pause)
        pause = min(2 * pause, longest)


async def _look_after(readers: ReaderSet) -> None:
    seen = readers.assigned
    await readers.look_after()
    for _ in range(int(TELL_SECONDS / LOOK_SECONDS)):
        await asyncio.sleep(LOOK_SECONDS)
        if readers.assigned is not seen:
            return


async def _catch_up(readers: ReaderSet, client: Mapping[str, Any], on_life: Callable[[], None]) -> None:
    while not (claimed := readers.behind):  # noqa: ASYNC110  a claim tells nobody
        await asyncio.sleep(LOOK_SECONDS)
    async with bare_consumer(client, max_partition_fetch_bytes=FETCH_BYTES) as consumer, looking(client) as look:
        shards = {_partition(shard): shard for shard in claimed}
        consumer.assign(list(shards))
        again = math.inf if await _seek(readers, look, consumer, shards) else time.monotonic() + AGAIN_SECONDS
        records = POLL_RECORDS[0]
        # A rebalance takes shards away and gives others: then it begins again.
        while readers.behind and readers.behind is claimed and time.monotonic() < again:
            on_life()
            polled = await consumer.getmany(timeout_ms=200, max_records=records)
            began = time.monotonic()
            chunks = {shards[tp]: found for tp, found in polled.items() if shards[tp] in claimed}
            # Where nothing came, whoever stands at the end has caught up.
            done, gaps = await readers.catch_up(chunks or dict.fromkeys(list(claimed), ()))
            consumer.pause(*(_partition(shard) for shard in done))
            if gaps := gaps & claimed.keys():
                missed = {_partition(shard): shard for shard in gaps}
                if not await _seek(readers, look, consumer, missed, thorough=True):
                    again = min(again, time.monotonic() + AGAIN_SECONDS)
            if len(chunks) and sum(map(len, chunks.values())) >= records / 2:
                records = _paced(records, time.monotonic() - began)


Shards = Mapping[TopicPartition, str]


async def _seek(
    readers: ReaderSet, look: Looking, consumer: AIOKafkaConsumer, shards: Shards, *, thorough: bool = False
) -> bool:
    """To where those that are behind read on. False where the topic does not have that: it is left out, the others go on."""
    places = {tp: await readers.behind_at(shard) for tp, shard in shards.items()}
    wanted = {tp: sought(position) for tp, position in places.items() if position is not None}
    is_whole = True
    for tp, place in (await locate_all(look, wanted, thorough=thorough, vouch=readers.vouch)).items():
        if isinstance(place, Exception):
            log.error("%s: catching up: %s", readers.name, place)
            consumer.pause(tp)
            is_whole = False
        else:
            consumer.seek(tp, place)
    consumer.pause(*(tp for tp in shards if tp not in wanted))
    return is_whole


def _paced(records: int, seconds: float) -> int:
    """So many that a turn takes TURN_SECONDS."""
    least, most = POLL_RECORDS
    return min(most, max(least, min(2 * records, int(records * TURN_SECONDS / max(seconds, 0.001)))))


def _partition(shard: str) -> TopicPartition:
    topic, _, partition = shard.rpartition("/")
    return TopicPartition(topic, int(partition))
