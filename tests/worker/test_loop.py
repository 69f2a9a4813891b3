"""A worker's loop on a real broker: how it finds the places of very many partitions."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from typing import Any
from uuid import uuid4

import pytest
from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewPartitions, RecordsToDelete
from aiokafka.client import AIOKafkaClient
from sqlalchemy import Engine

from adapters.kafka.authentic import signed_by
from adapters.kafka.locate import looking
from adapters.kafka.publisher import Publisher
from adapters.kafka.topics import PartitionsChanged, create_topics, topics_of
from adapters.sql import engine_for
from adapters.sql.outbox import Outbox
from adapters.sql.schema import upgrade
from adapters.sql.store import Store
from commands import Grant
from domain.identity.authority import WRITER
from ops.worker.deciding import Decider
from ops.worker.loop import Worker
from tests.worker.world import FAR, FOUNDING, NETWORK, writer

CONTEXTS, PARTITIONS = 40, 3


@pytest.mark.timeout(180)
def test_all_partitions_are_settled_and_compared_with_a_request_for_all(
    kafka: str, store_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Asked one by one on a connection that long-polls, 120 of them were silent for sixteen seconds, and the worker killed."""
    send, asked = AIOKafkaClient.send, Counter[str]()

    async def counting(self: AIOKafkaClient, node: int, request: Any, **options: Any) -> Any:
        asked[type(request).__name__.partition("Request")[0].rstrip("_v0123456789")] += 1
        return await send(self, node, request, **options)

    monkeypatch.setattr(AIOKafkaClient, "send", counting)
    client = {"bootstrap_servers": kafka}
    contexts = [f"c{n}x{uuid4().hex[:8]}" for n in range(CONTEXTS)]
    engine = engine_for(store_url)
    upgrade(engine, "store")

    async def run() -> None:
        await create_topics(topics_of(contexts, [], PARTITIONS), client)
        store = Store(engine)
        publisher = Publisher(Outbox(engine), client, signed_by({writer.did}, NETWORK))
        decider = Decider(store, writer, NETWORK, PARTITIONS)
        worker = Worker(store, decider, publisher, contexts, client, PARTITIONS)
        running = asyncio.create_task(worker.run())
        async with asyncio.timeout(120):
            while not (worker._places and all(place.is_open for place in worker._places.values())):
                await asyncio.sleep(0.05)
                if running.done():
                    running.result()
        assert len(worker._places) == CONTEXTS * PARTITIONS
        worker.stop()
        await running

    asyncio.run(run())
    engine.dispose()

    assert asked["Offset"] < CONTEXTS * PARTITIONS / 2


@asynccontextmanager
async def deciding(
    kafka: str, engine: Engine, context: str, partitions: int
) -> AsyncIterator[tuple[Worker, "asyncio.Task[None]"]]:
    """A worker of one context, once it is given its partitions; stopped in the end, unless it has ended by itself."""
    client, store = {"bootstrap_servers": kafka}, Store(engine)
    store.begin(FOUNDING, [Grant(writer.did, WRITER, "", FAR)])
    publisher = Publisher(Outbox(engine), client, signed_by({writer.did}, NETWORK))
    worker = Worker(store, Decider(store, writer, NETWORK, partitions), publisher, [context], client, partitions)
    running = asyncio.create_task(worker.run())
    try:
        yield running
    finally:
        worker.stop()
        await asyncio.gather(running, return_exceptions=True)


async def until(true: Callable[[], bool], running: "asyncio.Task[None]") -> None:
    async with asyncio.timeout(60):
        while not true():
            if running.done():
                running.result()
            await asyncio.sleep(0.05)


@pytest.fixture
def engine(store_url: str) -> Iterator[Engine]:
    found = engine_for(store_url)
    upgrade(found, "store")
    yield found
    found.dispose()


@pytest.mark.timeout(180)
def test_a_position_is_moved_behind_the_markers_of_clients_transactions(
    kafka: str, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Left before one it looked like a stall; and like lost commands, once record and marker were deleted."""
    monkeypatch.setattr("ops.worker.loop.STALLED_SECONDS", 6.0)
    context = f"c{uuid4().hex[:8]}"
    topic, client = f"{context}.commands", {"bootstrap_servers": kafka}

    async def transact(how: str) -> None:
        async with AIOKafkaProducer(**client, transactional_id=uuid4().hex, transaction_timeout_ms=5_000) as producer:
            await producer.begin_transaction()
            await producer.send_and_wait(topic, how.encode(), partition=0)
            await (producer.commit_transaction() if how == "commit" else producer.abort_transaction())

    async def run() -> tuple[int, int]:
        await create_topics(topics_of([context], [], 1), client)
        async with deciding(kafka, engine, context, 1) as running:
            await transact("commit")
            await transact("abort")
            await until(lambda: Store(engine).shard(context, 0).position == 4, running)
            await asyncio.sleep(8)
            assert not running.done(), "no stall"
        decided = Store(engine).shard(context, 0).next_outcome
        # As retention does.
        async with looking(client) as look:
            tp = TopicPartition(topic, 0)
            [(_, end)] = (await look.bounds_of([tp])).values()
        await delete_before(client, topic, end)
        async with deciding(kafka, engine, context, 1) as running:
            await transact("commit")
            await until(lambda: Store(engine).shard(context, 0).position == 6, running)
        return decided, end

    assert asyncio.run(run()) == (2, 4), "what was signed counts, whatever became of its transaction"


@pytest.mark.timeout(180)
def test_added_partitions_end_the_worker_before_a_stream_is_split(kafka: str, engine: Engine) -> None:
    context = f"c{uuid4().hex[:8]}"
    client = {"bootstrap_servers": kafka}

    async def add() -> None:
        admin = AIOKafkaAdminClient(**client)
        await admin.start()
        await admin.create_partitions({f"{context}.commands": NewPartitions(3)})
        await admin.close()

    async def run() -> None:
        await create_topics(topics_of([context], [], 2), client)
        async with deciding(kafka, engine, context, 2) as running:
            await add()
            with pytest.raises(PartitionsChanged, match=f"{context}.commands has 3 partitions, the deployment was made with 2"):
                await until(lambda: False, running)
        with pytest.raises(PartitionsChanged):
            async with deciding(kafka, engine, context, 2) as running:
                await until(lambda: False, running)

    asyncio.run(run())


async def delete_before(client: Any, topic: str, offset: int) -> None:
    admin = AIOKafkaAdminClient(**client)
    await admin.start()
    await admin.delete_records({TopicPartition(topic, 0): RecordsToDelete(before_offset=offset)})
    await admin.close()
