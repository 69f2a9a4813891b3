"""Taking the log away: Kafka to Parquet with the chain checked, against a bare consumer of the same bytes."""

import asyncio
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from aiokafka import AIOKafkaProducer, TopicPartition

from adapters.garbage import collect_rarely
from adapters.kafka.bare import bare_consumer
from adapters.kafka.topics import create_topics, topics_of
from adapters.replay.kafka import kafka_source
from contracts import shard_name
from ops.bench import Measure, judged
from ops.bench._events import SHARDS, records
from ops.bench._servers import broker
from ops.export import Asked, export

EVENTS = 200_000
DEVICES = 10_000
ROUNDS = 3
TOPIC = "providers.events"


def measures() -> Iterator[Measure]:
    """Standings, drains and resumptions of 0.9 kB, over four shards."""
    collect_rarely()
    with TemporaryDirectory() as folder, broker() as client:
        asyncio.run(publish(client, EVENTS))
        plain, valued, bare = [], [], []
        for n in range(ROUNDS):
            plain.append(asyncio.run(_export(client, Path(folder) / f"plain-{n}", EVENTS, values=False)))
            valued.append(asyncio.run(_export(client, Path(folder) / f"valued-{n}", EVENTS, values=True)))
            bare.append(asyncio.run(_consume(client, EVENTS)))
        for name, ours in (("", plain), (" with the records' bytes", valued)):
            yield judged(
                f"export to Parquet{name}, chain checked / bare consumer of the same bytes",
                ours, bare, unit="events/s", goal="≥ 0.1", is_met=lambda ratio, _: ratio >= 0.1,
            )  # fmt: skip


async def publish(client: Mapping[str, Any], events: int) -> None:
    await create_topics(topics_of(["providers"], [], SHARDS), client)
    async with AIOKafkaProducer(**client, enable_idempotence=True, linger_ms=20, max_batch_size=1024 * 1024) as producer:
        futures = []
        for record in records(events, DEVICES):
            futures.append(await producer.send(TOPIC, record.value, key=record.key, partition=record.partition))
            if len(futures) == 5_000:
                await asyncio.gather(*futures)
                futures.clear()
        await asyncio.gather(*futures)


async def _export(client: Mapping[str, Any], folder: Path, events: int, *, values: bool) -> float:
    """Events a second."""
    end = {shard_name(TOPIC, n): events // SHARDS for n in range(SHARDS)}
    async with kafka_source(client) as source:
        started = time.perf_counter()
        manifest = await export(Asked("bench", {}, end, values=values), folder, source)
    if manifest.events != events:
        raise RuntimeError(f"{manifest.events} of {events} events were exported")
    return events / (time.perf_counter() - started)


async def _consume(client: Mapping[str, Any], events: int) -> float:
    async with bare_consumer(client, max_poll_records=10_000) as consumer:
        places = [TopicPartition(TOPIC, n) for n in range(SHARDS)]
        consumer.assign(places)
        await consumer.seek_to_beginning(*places)
        started, count = time.perf_counter(), 0
        while count < events:
            count += sum(map(len, (await consumer.getmany(timeout_ms=500)).values()))
        return count / (time.perf_counter() - started)
