"""The publisher's producer: stored records as produce batches, with the headers that their readers expect."""

import asyncio
import logging
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

from aiokafka import AIOKafkaProducer

from adapters.sql.outbox import Lane, Outgoing
from contracts import CONTENT_TYPE

log = logging.getLogger(__name__)

STOP_SECONDS = 5.0


@asynccontextmanager
async def producing(client: Mapping[str, Any]) -> AsyncIterator[AIOKafkaProducer]:
    """One that repeats nothing by itself and waits for all replicas."""
    producer = AIOKafkaProducer(
        **client, enable_idempotence=True, acks="all", linger_ms=0, max_batch_size=1024 * 1024,
        max_request_size=4 * 1024 * 1024, request_timeout_ms=20_000,
    )  # fmt: skip
    await producer.start()
    try:
        yield producer
    finally:
        # It would wait for a broker that is away; what it holds is in the store.
        try:
            async with asyncio.timeout(STOP_SECONDS):
                await producer.stop()
        except TimeoutError:
            log.warning("the broker does not take what is left; it is published from the store later")


async def enqueue(producer: AIOKafkaProducer, lane: Lane, records: Sequence[Outgoing]) -> list[Any]:
    """One lane's records in as few produce batches as hold them; a future for each batch. Raises KafkaError."""
    futures = []
    batch = producer.create_batch()
    for record in records:
        headers = [("content-type", CONTENT_TYPE.encode())]
        if record.signature:
            headers.append(("signature", record.signature.encode()))
        if record.traceparent:
            headers.append(("traceparent", record.traceparent.encode()))
        if batch.append(key=record.key, value=record.value, timestamp=None, headers=headers) is None:
            futures.append(await producer.send_batch(batch, lane.topic, partition=lane.partition))
            batch = producer.create_batch()
            batch.append(key=record.key, value=record.value, timestamp=None, headers=headers)
    if batch.record_count():
        futures.append(await producer.send_batch(batch, lane.topic, partition=lane.partition))
    return futures
