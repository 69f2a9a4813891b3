"""Who reads which partitions, decided by whichever member leads its group, also where the broker has not told it everything."""

from collections.abc import Collection, Mapping
from typing import Any

from aiokafka import AIOKafkaConsumer
from aiokafka.cluster import ClusterMetadata
from aiokafka.coordinator.assignors.roundrobin import RoundRobinPartitionAssignor
from aiokafka.coordinator.protocol import ConsumerProtocolMemberAssignment, ConsumerProtocolMemberMetadata


def assignor_of(partitions: Mapping[str, int]) -> type[RoundRobinPartitionAssignor]:
    """An assignor that knows how many partitions some topics have; what the broker tells comes first.

    A broker that has just started denies topics for a moment. A leader that asks then leaves their partitions to nobody,
    and a static member that is started again inherits the empty assignment without a rebalance: it waited for ever.
    """

    class Assignor(RoundRobinPartitionAssignor):  # type: ignore[misc]
        @classmethod
        def assign(
            cls, cluster: ClusterMetadata, members: Mapping[str, ConsumerProtocolMemberMetadata]
        ) -> dict[str, ConsumerProtocolMemberAssignment]:
            found: dict[str, ConsumerProtocolMemberAssignment] = super().assign(_Completed(cluster, partitions), members)
            return found

    return Assignor


async def partitions_now(consumer: AIOKafkaConsumer, topics: Collection[str]) -> dict[str, int]:
    """Of those topics that exist, how many partitions each has. Raises KafkaError."""
    client: Any = consumer._client
    cluster = await client.fetch_all_metadata()
    return {topic: len(found) for topic in topics if (found := cluster.partitions_for_topic(topic))}


class _Completed(ClusterMetadata):  # type: ignore[misc]
    """A cluster's metadata, as far as an assignor looks."""

    def __init__(self, cluster: ClusterMetadata, partitions: Mapping[str, int]) -> None:
        super().__init__()
        self._told, self._known = cluster, partitions

    def partitions_for_topic(self, topic: str) -> set[int] | None:
        told: set[int] | None = self._told.partitions_for_topic(topic)
        return told or (set(range(self._known[topic])) if topic in self._known else None)
