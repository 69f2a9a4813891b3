"""No partition is left to nobody because the broker that was just started did not know its topic yet."""

import asyncio
from collections.abc import Mapping

import pytest
from aiokafka import AIOKafkaConsumer
from aiokafka.cluster import ClusterMetadata
from aiokafka.coordinator.protocol import ConsumerProtocolMemberMetadata

from adapters.kafka.assigning import assignor_of, partitions_now
from adapters.kafka.topics import Topic, create_topics


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
