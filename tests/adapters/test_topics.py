"""However many topics, and in whatever state the broker is: made once, with the right settings, or it is said what is wrong."""

import asyncio
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from uuid import uuid4

import pytest
from aiokafka import TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.record.default_records import DefaultRecordBatchBuilder

from adapters.faust.watchdog import Lookout, Seen
from adapters.kafka import topics
from adapters.kafka.bare import bare_consumer
from adapters.kafka.commands import CommandSender, SignedCommand
from adapters.kafka.decoding import MOST_RECORD_BYTES
from adapters.kafka.topics import Topic, TopicWrong, create_topics, describe_topics, topics_of
from contracts import CONTENT_TYPE, MAX_RECORD_BYTES, StreamName
from ops.local import kafka as local

CONTEXTS = [f"context{n}" for n in range(40)]


@pytest.fixture
def fresh(tmp_path: Path) -> Iterator[str]:
    """A broker that nobody has asked anything."""
    yield local.start(tmp_path)
    local.stop(tmp_path)


@pytest.mark.timeout(240)
def test_forty_contexts_begin_on_a_fresh_broker_and_go_on_on_one_that_was_just_started(fresh: str, tmp_path: Path) -> None:
    client, wanted = {"bootstrap_servers": fresh}, topics_of(CONTEXTS, ["raw"], 4)

    async def look() -> Seen:
        """What a group waits for before it begins: again and again for three seconds, in which it never heard of thirty topics.

        A broker that was killed denies some partitions for longer.
        """
        async with asyncio.timeout(60):
            while True:
                with suppress(TimeoutError):
                    return await Lookout(client).look([topic.name for topic in wanted])

    made = asyncio.run(create_topics(wanted, client))
    local.kill(tmp_path)
    local.start(tmp_path)
    again = asyncio.run(create_topics(wanted, client))
    described = asyncio.run(describe_topics(made, client))
    seen = asyncio.run(look())

    assert made == sorted(topic.name for topic in wanted)
    assert again == []
    assert seen.partitions == {topic.name: 4 for topic in wanted}
    assert len(seen.ends) == 4 * len(wanted)
    assert {found["partitions"] for found in described.values()} == {4}
    assert {name for name, found in described.items() if found["retention.ms"] != "-1"} == {
        topic.name for topic in wanted if topic.retention_ms != -1
    }


def test_the_largest_record_fits_many_times_where_anybody_writes_and_honest_batches_do() -> None:
    """The broker bounds the batch, and producers that wait fill it: librdkafka's to a million bytes, and it does not split."""
    headers = [("content-type", CONTENT_TYPE.encode()), ("signature", b"eip191:0x" + b"f" * 130), ("traceparent", b"0" * 55)]
    batch = DefaultRecordBatchBuilder(2, 0, 0, -1, -1, -1, 1)
    batch.append(0, 1_700_000_000_000, b"k" * StreamName.max_length, b"v" * MAX_RECORD_BYTES, headers)
    largest = len(batch.build())
    by_kind = {
        topic.name.rpartition(".")[2]: topic.settings(1)["max.message.bytes"] for topic in topics_of(["x"], ["x.raw"], 1)
    }

    assert largest == 60_584
    assert largest < MOST_RECORD_BYTES
    assert by_kind == {"commands": "1048588", "raw": "1048588", "events": "4194304", "outcomes": "4194304"}


def test_a_sender_of_ours_that_hurries_is_not_refused(kafka: str) -> None:
    client, context = {"bootstrap_servers": kafka}, f"hurry{uuid4().hex[:8]}"
    value = b"x" * MAX_RECORD_BYTES
    hurried = [SignedCommand(str(n), f"{context}.commands", "one", value, "ed25519:" + "A" * 86) for n in range(100)]

    async def run() -> int:
        await create_topics(topics_of([context], [], 1), client)
        sender = CommandSender(client, 1)
        await sender.start()
        await sender.send(hurried)
        await sender.stop()
        async with bare_consumer(client) as consumer:
            return sum((await consumer.end_offsets([TopicPartition(f"{context}.commands", 0)])).values())

    assert asyncio.run(run()) == len(hurried)


def test_what_was_made_by_half_or_took_too_long_is_made_whole(kafka: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A broker that answers "too late" makes the topics all the same."""
    monkeypatch.setattr(topics, "REQUEST_MS", 1)
    client, wanted = {"bootstrap_servers": kafka}, [Topic(f"half-{uuid4().hex}", 2) for _ in range(12)]

    first = asyncio.run(create_topics(wanted[:5], client))
    asyncio.run(create_topics(wanted, client))
    again = asyncio.run(create_topics(wanted, client))

    assert set(first) <= {topic.name for topic in wanted[:5]}
    assert again == []
    assert asyncio.run(describe_topics([topic.name for topic in wanted], client)).keys() == {topic.name for topic in wanted}


def test_makers_at_once_make_each_topic_once(kafka: str) -> None:
    client, wanted = {"bootstrap_servers": kafka}, [Topic(f"race-{uuid4().hex}", 2) for _ in range(12)]

    async def run() -> list[list[str]]:
        return await asyncio.gather(*(create_topics(wanted, client) for _ in range(4)))

    made = [name for names in asyncio.run(run()) for name in names]

    assert sorted(made) == sorted(topic.name for topic in wanted)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [(NewTopic("", 3, 1), "3 partitions"), (NewTopic("", 2, 1, topic_configs={"cleanup.policy": "compact"}), "compacted")],
)
def test_nothing_is_made_beside_a_topic_that_is_wrong(kafka: str, wrong: NewTopic, said: str) -> None:
    client, bad, good = {"bootstrap_servers": kafka}, f"wrong-{uuid4().hex}", f"good-{uuid4().hex}"

    async def run() -> None:
        admin = AIOKafkaAdminClient(**client)
        await admin.start()
        await admin.create_topics([NewTopic(bad, wrong.num_partitions, 1, topic_configs=wrong.topic_configs)])
        while bad not in {found["topic"] for found in await admin.describe_topics() if found["partitions"]}:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        await admin.close()
        with pytest.raises(TopicWrong, match=said):
            await create_topics([Topic(bad, 2), Topic(good, 2)], client)

    asyncio.run(run())

    assert asyncio.run(describe_topics([good], {"bootstrap_servers": kafka})) == {}


def test_a_topic_that_will_never_be_made_is_named(kafka: str) -> None:
    with pytest.raises(TopicWrong, match=r"too-many: .*[Rr]eplica"):
        asyncio.run(create_topics([Topic("too-many", 1)], {"bootstrap_servers": kafka}, replicas=3))
