"""A window has all of its records, or it is an error."""

import asyncio
from typing import Any
from uuid import uuid4

import pytest
from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic, RecordsToDelete

from adapters.kafka.topics import Topic, create_topics
from adapters.replay.cuts import BadPosition
from adapters.replay.raw import raw_topic
from adapters.replay.sources import RangeMissing
from adapters.replay.window import Seen, offsets_of, records_by_sequence, records_in
from tests.adapters.replay.world import World


@pytest.fixture
def topic(kafka: str) -> str:
    """Twenty records in each of two partitions; the broker's times are given."""
    name = f"raw.t{uuid4().hex[:12]}"

    async def publish() -> None:
        await create_topics([Topic(name, 2)], {"bootstrap_servers": kafka})
        async with AIOKafkaProducer(bootstrap_servers=kafka) as producer:
            for n in range(20):
                for partition in range(2):
                    await producer.send_and_wait(name, b"v%d" % n, key=b"k", partition=partition)

    asyncio.run(publish())
    return name


def window(kafka: str, topic: str, start: str, end: str, moments: dict[str, int] | None = None) -> Seen:
    async def read() -> Seen:
        seen = Seen()
        async with raw_topic({"bootstrap_servers": kafka}, topic) as opened:
            places = [await offsets_of(opened, text, (moments or {}).get) for text in (start, end)]
            async for record in records_in(opened, *places):
                seen.note(record)
        return seen

    return asyncio.run(read())


def administer(kafka: str, work: Any) -> None:
    async def run() -> None:
        admin = AIOKafkaAdminClient(bootstrap_servers=kafka)
        await admin.start()
        try:
            await work(admin)
        finally:
            await admin.close()

    asyncio.run(run())


def delete_before(kafka: str, topic: str, offset: int) -> None:
    gone = {TopicPartition(topic, 0): RecordsToDelete(before_offset=offset)}
    administer(kafka, lambda admin: admin.delete_records(gone))


def test_every_form_of_a_window_reads_what_it_says(kafka: str, topic: str) -> None:
    assert window(kafka, topic, "start", "now").partitions == {0: 20, 1: 20}
    assert window(kafka, topic, "held", "now").records == 40
    assert window(kafka, topic, "offset:5", "offset:8").partitions == {0: 3, 1: 3}
    assert window(kafka, topic, "0=5,1=20", "0=7,1=20").partitions == {0: 2}
    assert window(kafka, topic, "then", "now", {"then": 0}).records == 40
    assert window(kafka, topic, "then", "now", {"then": 2**42}).records == 0


def test_one_window_has_one_digest_and_another_one_another(kafka: str, topic: str) -> None:
    assert window(kafka, topic, "start", "now").digest == window(kafka, topic, "offset:0", "offset:20").digest
    assert window(kafka, topic, "start", "offset:19").digest != window(kafka, topic, "offset:1", "now").digest


def test_a_window_over_deleted_records_is_an_error(kafka: str, topic: str) -> None:
    """Not an empty result; what is held can be had by asking for it."""
    delete_before(kafka, topic, 10)

    for start in ("start", "offset:9", "0=3,1=20"):
        with pytest.raises(RangeMissing, match="begins at 10"):
            window(kafka, topic, start, "now")
    with pytest.raises(RangeMissing, match="may be of that time"):
        window(kafka, topic, "then", "now", {"then": 0})
    assert window(kafka, topic, "held", "now").partitions == {0: 10, 1: 20}
    assert window(kafka, topic, "offset:10", "now").partitions == {0: 10, 1: 10}


def test_a_window_that_ends_where_nothing_is_yet_is_an_error(kafka: str, topic: str) -> None:
    with pytest.raises(RangeMissing, match="ends at 20, the window at 21"):
        window(kafka, topic, "start", "offset:21")
    with pytest.raises(BadPosition, match="before it begins"):
        window(kafka, topic, "offset:5", "offset:4")
    with pytest.raises(BadPosition, match="no place in a topic"):
        window(kafka, topic, "yesterday", "now")
    with pytest.raises(BadPosition, match="partitions are 0, 1"):
        window(kafka, topic, "7=1", "now")
    with pytest.raises(RangeMissing, match="there is no topic"):
        window(kafka, f"{topic}x", "start", "now")


def test_a_compacted_topic_is_refused(kafka: str) -> None:
    name = f"raw.c{uuid4().hex[:12]}"
    administer(kafka, lambda admin: admin.create_topics([NewTopic(name, 1, 1, topic_configs={"cleanup.policy": "compact"})]))

    with pytest.raises(RangeMissing, match="is compacted"):
        window(kafka, name, "start", "now")


def test_between_two_cuts_each_event_comes_once(kafka: str) -> None:
    world = World(f"w{uuid4().hex[:12]}").fill(30, partitions=1)
    shard, records = world.shards[0].name, world.shards[0].records
    client = world.publish(kafka, [(0, record) for record in [*records[:20], *records[15:]]])

    async def read(start: int, end: int) -> list[bytes]:
        async with raw_topic(client, world.topic) as opened:
            return [record.value async for record in records_by_sequence(opened, {shard: start}, {shard: end})]

    assert asyncio.run(read(12, 25)) == [record.value for record in records[12:25]]
    with pytest.raises(RangeMissing, match="holds nothing from 30"):
        asyncio.run(read(12, 31))
    delete_before(kafka, world.topic, 14)
    with pytest.raises(RangeMissing, match=r"holds \d+, but not 12"):
        asyncio.run(read(12, 25))
