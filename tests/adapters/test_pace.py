"""A consumer to which nothing comes asks its broker seldom, and hears of what comes at once all the same."""

import asyncio
from uuid import uuid4

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from adapters.kafka import pace
from adapters.kafka.bare import bare_consumer
from adapters.kafka.pace import Pace, Wait

LONG_MS = 20_000


async def fetches(consumer: AIOKafkaConsumer, rhythm: Pace, polls: int) -> int:
    """How many fetches are sent while it is polled so often."""
    send, sent = consumer._client.send, 0

    async def counting(node: int, request: object, **options: object) -> object:
        nonlocal sent
        sent += "Fetch" in type(request).__name__
        return await send(node, request, **options)

    consumer._client.send = counting
    for _ in range(polls):
        rhythm.keep(consumer, bool(await consumer.getmany(timeout_ms=100)))
    consumer._client.send = send
    return sent


def test_an_idle_consumer_asks_seldom_and_hears_at_once(kafka: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pace, "IDLE_SECONDS", 0.5)
    topic = f"pace-{uuid4().hex}"

    async def run() -> tuple[int, int, bytes]:
        admin = AIOKafkaAdminClient(bootstrap_servers=kafka)
        await admin.start()
        await admin.create_topics([NewTopic(topic, 1, 1)])
        await admin.close()
        client = {"bootstrap_servers": kafka}
        async with bare_consumer(client, auto_offset_reset="earliest", fetch_max_wait_ms=10) as consumer:
            consumer.assign([TopicPartition(topic, 0)])
            rhythm = Pace(Wait(10), Wait(LONG_MS))
            busy = await fetches(consumer, rhythm, 4)
            idle = await fetches(consumer, rhythm, 20)
            async with AIOKafkaProducer(bootstrap_servers=kafka) as producer:
                await producer.send_and_wait(topic, b"here")
                # The fetch that waits is answered long before its time.
                async with asyncio.timeout(LONG_MS / 2000):
                    return busy, idle, (await consumer.getone()).value

    busy, idle, heard = asyncio.run(run())

    assert busy > idle
    assert heard == b"here"
