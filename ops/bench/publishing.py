"""Committed to topic: the publisher against an idempotent aiokafka producer with the same bytes."""

import asyncio
import os
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from aiokafka import AIOKafkaProducer

from adapters.garbage import collect_rarely
from adapters.kafka.publisher import Publisher
from adapters.kafka.topics import create_topics, topics_of
from adapters.keys import ed25519_signer
from adapters.sql import engine_for
from adapters.sql.outbox import Outbox
from adapters.sql.schema import upgrade
from adapters.sql.store import EventRow, Sealed, Store
from ops.bench import Measure, judged
from ops.bench._load import Load, requests
from ops.bench._servers import broker
from ops.worker.checking import Door
from ops.worker.deciding import Chunk, Decider

COMMANDS = 3_000
ROUNDS = 5


def measures() -> Iterator[Measure]:
    """Records a second, each round with fresh records."""
    with TemporaryDirectory() as folder, broker() as client:
        load = requests(COMMANDS * ROUNDS)
        collect_rarely()
        ours, theirs = asyncio.run(_rounds(Path(folder), client, load))
    yield judged(
        "publisher, committed to topic, SQLite / aiokafka sending the same bytes",
        ours, theirs, unit="records/s", goal="≥ 0.6", is_met=lambda ratio, _: ratio >= 0.6,
    )  # fmt: skip


async def _rounds(folder: Path, client: dict[str, Any], load: Load) -> tuple[list[float], list[float]]:
    await create_topics(topics_of([load.context], ["bench.plain"], 1), client)
    store = Store(engine_for(f"sqlite:///{folder}/store.db"))
    upgrade(store.engine, "store")
    store.plant(load.grants)
    decider = Decider(store, ed25519_signer(os.urandom(32)), load.network, 1)
    door, shard = Door(load.context, 0, 1, load.network), store.shard(load.context, 0)
    ours, theirs = [], []
    for n in range(ROUNDS):
        batches = []
        for start in range(n * COMMANDS, (n + 1) * COMMANDS, 1000):
            chunk = Chunk(shard, [door.check(record) for record in load.records[start : start + 1000]])
            batches.append(decider.commit([chunk]))
            shard = batches[-1].shards[0][1]
        ours.append(await _published(store, batches, client))
        theirs.append(await _plain(client, [row for sealed in batches for row in sealed.events]))
    return ours, theirs


async def _published(store: Store, batches: Sequence[Sealed], client: dict[str, Any]) -> float:
    """From the first batch that is handed over until all is acknowledged; events and outcomes."""
    wanted, sent, ended = sum(len(sealed.events) + len(sealed.commands) for sealed in batches), 0, 0.0

    def count(records: int, _: int) -> None:
        nonlocal sent, ended
        sent += records
        if sent >= wanted and not ended:
            ended = time.perf_counter()
            publisher.stop()

    publisher = Publisher(Outbox(store.engine), client, lambda *_: False, on_publish=count)
    before = batches[0].shards[0][0]
    publisher.own([before])
    running = asyncio.create_task(publisher.run())
    while not publisher.is_level(before.id):  # noqa: ASYNC110  it tells nobody
        await asyncio.sleep(0.01)
    began = time.perf_counter()
    for sealed in batches:
        publisher.hand_over(sealed)
    await running
    return sent / (ended - began)


async def _plain(client: dict[str, Any], rows: Sequence[EventRow]) -> float:
    producer = AIOKafkaProducer(**client, enable_idempotence=True, acks="all", linger_ms=5, max_batch_size=1024 * 1024)
    await producer.start()
    try:
        started = time.perf_counter()
        futures = [
            await producer.send(
                "bench.plain", row.value, key=row.stream.encode(), partition=0, headers=[("signature", row.signature.encode())]
            )
            for row in rows
        ]
        await asyncio.gather(*futures)
        return len(rows) / (time.perf_counter() - started)
    finally:
        await producer.stop()
