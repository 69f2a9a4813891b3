"""No partition is left to nobody because the broker that was just started did not know its topic yet."""

import asyncio
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any
from uuid import uuid4

import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.cluster import ClusterMetadata
from aiokafka.consumer.group_coordinator import GroupCoordinator
from aiokafka.coordinator.protocol import ConsumerProtocolMemberMetadata

from adapters.faust.group import Group
from adapters.kafka.assigning import assignor_of, partitions_now
from adapters.kafka.authentic import signed_by
from adapters.kafka.locate import Looking
from adapters.kafka.publisher import Publisher
from adapters.kafka.topics import Topic, create_topics
from adapters.keys import ed25519_signer
from adapters.sql import engine_for
from adapters.sql.outbox import Outbox
from adapters.sql.store import Store
from adapters.views import Applied
from ops.worker.deciding import Decider
from ops.worker.loop import Worker
from tests.databases import upgrade


class Told(ClusterMetadata):
    """What a broker has told of some topics."""

    def __init__(self, partitions: Mapping[str, int]) -> None:
        super().__init__()
        self._told = partitions

    def partitions_for_topic(self, topic: str) -> set[int] | None:
        return set(range(self._told[topic])) if topic in self._told else None


def assigned(told: Mapping[str, int], known: Mapping[str, int], members: int = 1) -> dict[str, list[tuple[str, list[int]]]]:
    of_each = {f"m{n}": ConsumerProtocolMemberMetadata(0, ["a", "b"], b"") for n in range(members)}
    found = assignor_of(known).assign(Told(told), of_each)
    return {member: sorted((topic, sorted(of)) for topic, of in share.assignment) for member, share in found.items()}


@pytest.mark.parametrize("told", [{}, {"a": 2}, {"b": 3}, {"a": 2, "b": 3}])
def test_what_the_broker_does_not_tell_is_as_it_was(told: Mapping[str, int]) -> None:
    assert assigned(told, {"a": 2, "b": 3}) == {"m0": [("a", [0, 1]), ("b", [0, 1, 2])]}


def test_what_the_broker_tells_comes_first() -> None:
    """Partitions were added, and members that were started before learn it from their leader."""
    assert assigned({"a": 4}, {"a": 2, "b": 1}) == {"m0": [("a", [0, 1, 2, 3]), ("b", [0])]}


def test_a_topic_that_never_was_is_nobody_s() -> None:
    assert assigned({"a": 1}, {}) == {"m0": [("a", [0])]}


def test_members_share_what_is_not_told() -> None:
    assert assigned({}, {"a": 2, "b": 2}, members=2) == {"m0": [("a", [0]), ("b", [0])], "m1": [("a", [1]), ("b", [1])]}


def test_a_consumer_is_told_of_the_topics_that_exist(kafka: str) -> None:
    async def run() -> dict[str, int]:
        client = {"bootstrap_servers": kafka}
        await create_topics([Topic("assigned", 3)], client)
        consumer = AIOKafkaConsumer(**client)
        await consumer.start()
        try:
            return await partitions_now(consumer, ["assigned", "never.made"])
        finally:
            await consumer.stop()

    assert asyncio.run(run()) == {"assigned": 3}


# In groups whose leader's broker has just started


@pytest.fixture
def denied(monkeypatch: pytest.MonkeyPatch) -> None:
    """While it assigns, a leader is told of no topic: what a broker that has just started does for a moment."""
    assign = GroupCoordinator._perform_assignment

    async def denying(self: Any, response: Any) -> Any:
        with pytest.MonkeyPatch.context() as moment:
            moment.setattr(ClusterMetadata, "partitions_for_topic", lambda _self, _topic: None)
            return await assign(self, response)

    monkeypatch.setattr(GroupCoordinator, "_perform_assignment", denying)


class Claims:
    """A reader that notes what it is given."""

    def __init__(self, topic: str) -> None:
        self.name, self.topics = f"claims-{uuid4().hex}", [topic]
        self.given: set[str] = set()

    async def claim(self, shards: Collection[str]) -> None:
        self.given |= set(shards)

    async def resume(self, look: Looking, tps: Collection[TopicPartition], *, thorough: bool) -> dict[TopicPartition, int]:
        del look, thorough
        return dict.fromkeys(tps, 0)

    async def apply(self, chunks: Mapping[str, Sequence[Any]]) -> Mapping[str, Applied]:
        del chunks
        return {}


async def _until(true: Callable[[], bool], running: asyncio.Task[None]) -> None:
    async with asyncio.timeout(20):
        while not true() and not running.done():  # noqa: ASYNC110  nobody tells
            await asyncio.sleep(0.02)


@pytest.mark.usefixtures("denied")
def test_a_group_whose_leader_is_told_nothing_reads_all_the_same(kafka: str) -> None:
    async def run() -> set[str]:
        client, topic = {"bootstrap_servers": kafka}, f"denied-{uuid4().hex}"
        await create_topics([Topic(topic, 2)], client)
        reader, stop = Claims(topic), asyncio.Event()
        running = asyncio.create_task(Group(reader, client, network="test", instance="denied-1").run(stop))
        try:
            await _until(lambda: len(reader.given) == 2, running)
        finally:
            stop.set()
            await running
        return {shard.rpartition("/")[2] for shard in reader.given}

    assert asyncio.run(run()) == {"0", "1"}


@pytest.mark.usefixtures("denied")
def test_a_worker_whose_group_s_leader_is_told_nothing_has_its_partitions(kafka: str, sqlite_url: str) -> None:
    async def run() -> set[int]:
        client, context = {"bootstrap_servers": kafka}, f"denied{uuid4().hex[:8]}"
        await create_topics([Topic(f"{context}.commands", 2)], client)
        engine = engine_for(sqlite_url)
        upgrade(engine, "store")
        store = Store(engine)
        decider = Decider(store, ed25519_signer(bytes(32)), "test", 2)
        publisher = Publisher(Outbox(engine), client, signed_by([decider.signer.did], "test"))
        worker = Worker(store, decider, publisher, [context], client, 2, instance="denied-1")
        running = asyncio.create_task(worker.run())
        try:
            await _until(lambda: len(worker._places) == 2, running)
        finally:
            worker.stop()
            await running
            engine.dispose()
        return {place.partition for place in worker._places}

    assert asyncio.run(run()) == {0, 1}
