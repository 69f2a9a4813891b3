"""Store to topic: the relay against an idempotent aiokafka producer with the same bytes."""

import asyncio
import os
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from aiokafka import AIOKafkaProducer

from adapters.garbage import collect_rarely
from adapters.kafka.relay import Relay
from adapters.kafka.topics import create_topics, topics_of
from adapters.keys import ed25519_signer
from adapters.sql import engine_for
from adapters.sql.outbox import Outbox
from adapters.sql.schema import upgrade
from adapters.sql.store import EventRow, Store
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
        "relay, store to topic, SQLite / aiokafka sending the same bytes",
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
        values: list[EventRow] = []
        for start in range(n * COMMANDS, (n + 1) * COMMANDS, 1000):
            chunk = Chunk(shard, [door.check(record) for record in load.records[start : start + 1000]])
            sealed = decider.commit([chunk])
            shard = sealed.shards[0][1]
            values += sealed.events
        ours.append(await _relay(store, client))
        theirs.append(await _plain(client, values))
    return ours, theirs


async def _relay(store: Store, client: dict[str, Any]) -> float:
    """From the first look at the store until all is acknowledged; events and outcomes."""
    sent = 0
    began = time.perf_counter()

    def count(records: int, waiting: int) -> None:
        nonlocal sent, began
        if not sent and records:
            began = before
        sent += records
        if sent and not waiting:
            relay.stop()

    relay = Relay(Outbox(store.engine), client, on_publish=count, on_turn=lambda: _now())
    before = 0.0

    def _now() -> None:
        nonlocal before
        before = time.perf_counter()

    await relay.run()
    return sent / (time.perf_counter() - began)


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
