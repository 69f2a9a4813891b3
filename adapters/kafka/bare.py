"""A consumer without a group: for looking at a topic, at places that the caller names."""

import asyncio
from collections.abc import AsyncIterator, Collection, Mapping
from contextlib import asynccontextmanager
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError, TopicAuthorizationFailedError

STOP_SECONDS = 1.0


@asynccontextmanager
async def bare_consumer(client: Mapping[str, Any], **options: Any) -> AsyncIterator[AIOKafkaConsumer]:
    """Reads where it is told to; an offset that does not exist is an error, never `latest`."""
    consumer = AIOKafkaConsumer(
        **client,
        **{"enable_auto_commit": False, "auto_offset_reset": "none", "fetch_max_wait_ms": 100, "group_id": None, **options},
    )
    await consumer.start()
    try:
        yield consumer
    finally:
        await stop_consumer(consumer)


async def tell_topics(consumer: AIOKafkaConsumer, topics: Collection[str], *, or_else: bool = False) -> None:
    """Have it ask about all of them at once: of topics that are new to it it learns one by one, each in a tenth of a second.

    Raises TopicAuthorizationFailedError for those that the broker keeps from us, unless there is something else to do.
    """
    client: Any = consumer._client
    await client.set_topics({*topics, *client._topics})
    if any(client.cluster.partitions_for_topic(topic) is None for topic in topics):
        # It was told of them before, when the broker had not made them.
        await client.force_metadata_update()
    # aiokafka 0.14: whoever asks where such a topic ends asks again without a pause, a thousand times a second for 40 seconds.
    if not or_else and (denied := client.cluster.unauthorized_topics & set(topics)):
        raise TopicAuthorizationFailedError(", ".join(sorted(denied)))


async def stop_consumer(consumer: AIOKafkaConsumer) -> None:
    """Stop it, whatever aiokafka makes of it."""
    stopping = asyncio.create_task(consumer.stop())
    # aiokafka 0.14: a fetcher that lets go of an old assignment takes the cancellation that ends it for that of a fetch,
    # and goes on for ever. It is told again.
    while not (await asyncio.wait([stopping], timeout=STOP_SECONDS))[0]:
        fetcher: Any = consumer._fetcher
        fetcher._fetch_task.cancel()
    try:
        await stopping
    except asyncio.CancelledError:
        # aiokafka 0.14 awaits a task that it cancelled before its first step, and lets that cancellation out as ours.
        task = asyncio.current_task()
        if task is not None and task.cancelling():
            raise


async def record_at(consumer: AIOKafkaConsumer, partition: TopicPartition, offset: int) -> Any:
    """The first record at the offset or after it. Raises KafkaError when the broker gives none in ten seconds."""
    consumer.seek(partition, offset)
    for _ in range(50):
        found = await consumer.getmany(partition, timeout_ms=200, max_records=1)
        if records := found.get(partition):
            return records[0]
    raise KafkaError(f"{partition.topic}/{partition.partition} gives no record at {offset}")


async def records_at(consumer: AIOKafkaConsumer, offsets: Mapping[TopicPartition, int]) -> dict[TopicPartition, Any]:
    """Of each partition the first record at the offset or after it, asked for together.

    Raises KafkaError when the broker gives nothing new in ten seconds.
    """
    consumer.assign(list(offsets))
    for partition, offset in offsets.items():
        consumer.seek(partition, offset)
    found: dict[TopicPartition, Any] = {}
    silent = 0
    while missing := offsets.keys() - found.keys():
        # Those that were found are read to the end of what was fetched and no further: what waits in its buffer keeps
        # aiokafka from asking for the others.
        polled = await consumer.getmany(timeout_ms=200)
        fresh = {partition: records[0] for partition, records in polled.items() if partition in missing}
        consumer.pause(*fresh)
        found.update(fresh)
        silent = 0 if polled else silent + 1
        if silent == 50:
            some = min(missing)
            raise KafkaError(f"{some.topic}/{some.partition} gives no record at {offsets[some]}")
    return found
