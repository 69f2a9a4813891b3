"""A worker's loop on a real broker: how it finds the places of very many partitions."""

import asyncio
from collections import Counter
from typing import Any
from uuid import uuid4

import pytest
from aiokafka.client import AIOKafkaClient

from adapters.kafka.authentic import signed_by
from adapters.kafka.publisher import Publisher
from adapters.kafka.topics import create_topics, topics_of
from adapters.sql import engine_for
from adapters.sql.outbox import Outbox
from adapters.sql.schema import upgrade
from adapters.sql.store import Store
from ops.worker.deciding import Decider
from ops.worker.loop import Worker
from tests.worker.world import NETWORK, writer

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
        worker = Worker(store, decider, publisher, contexts, client)
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
