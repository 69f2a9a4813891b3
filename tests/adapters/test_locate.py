"""A position finds its place again, whatever became of the topic."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from hashlib import sha256
from typing import Any
from uuid import uuid4

import pytest
from aiokafka import AIOKafkaProducer, TopicPartition

from adapters.kafka.locate import Behind, Forked, Looking, Lost, Sought, locate, locate_all, locate_offset, looking
from adapters.kafka.topics import Topic, create_topics
from contracts import ZERO_HASH
from tests.adapters.shards import Shard


@pytest.fixture
def topic() -> str:
    return f"t{uuid4().hex}.events"


def position(shard: Shard, next: int, hint: int) -> Sought:
    return Sought(next, sha256(shard.values[next - 1]).hexdigest() if next else ZERO_HASH, hint)


def found(kafka: str, topic: str, values: Sequence[bytes], *asked: Callable[[Looking], Awaitable[int]]) -> list[object]:
    """The answers, an error being its class, about a topic with these values."""

    async def run() -> list[object]:
        client = {"bootstrap_servers": kafka}
        await create_topics([Topic(topic, 1)], client)
        async with AIOKafkaProducer(**client, linger_ms=5, max_batch_size=8_000) as producer:
            await asyncio.gather(*[await producer.send(topic, value, partition=0) for value in values])
        answers: list[object] = []
        async with looking(client) as look:
            for ask in asked:
                try:
                    answers.append(await ask(look))
                except (Lost, Behind, Forked) as error:
                    answers.append(type(error))
        return answers

    return asyncio.run(run())


def test_a_position_is_found_with_and_without_its_hint(kafka: str, topic: str) -> None:
    shard = Shard(topic).fill(200)
    hints = [0, 1, 50, 51, 200, 201, 10_000]

    answers = found(
        kafka, topic, shard.values,
        *[lambda look, hint=hint: locate(look, topic, 0, position(shard, 50, hint)) for hint in hints],
        *[lambda look, n=n: locate(look, topic, 0, position(shard, n, 0)) for n in (0, 1, 199, 200)],
    )  # fmt: skip

    assert answers == [50] * len(hints) + [0, 1, 199, 200]


def test_repeats_by_a_publisher_do_no_harm(kafka: str, topic: str) -> None:
    shard = Shard(topic).fill(60)
    values = shard.values[:40] + shard.values[20:50] + shard.values[45:60]

    answers = found(
        kafka, topic, values, *[lambda look, n=n: locate(look, topic, 0, position(shard, n, 7)) for n in (10, 30, 47, 60)]
    )

    assert answers[0] == 10
    assert answers[3] == len(values)
    for offset, wanted in zip(answers[1:3], (30, 47), strict=True):
        assert isinstance(offset, int)
        assert wanted in [shard.values.index(value) for value in values[offset:]]


def test_a_topic_out_of_order_does_not_fool_the_search(kafka: str, topic: str) -> None:
    """What a publisher leaves that published one record into a fresh topic and then began from the first."""
    shard = Shard(topic).fill(300)
    values = [shard.values[257], *shard.values]

    answers = found(
        kafka, topic, values,
        *[lambda look, n=n: locate(look, topic, 0, position(shard, n, 0)) for n in (0, 1, 100, 258, 299)],
        *[lambda look, n=n: locate(look, topic, 0, position(shard, n, n), thorough=True) for n in (0, 1, 100)],
    )  # fmt: skip

    assert answers == [1, 2, 101, 259, 300, 1, 2, 101]


def test_a_record_before_its_predecessors_is_found_after_a_gap(kafka: str, topic: str) -> None:
    shard = Shard(topic).fill(30)
    values = [shard.values[20], shard.values[21], *shard.values[:20], shard.values[22]]

    assert found(
        kafka, topic, values, lambda look: locate(look, topic, 0, position(shard, 20, 22), thorough=True)
    ) == [0]  # fmt: skip


def test_what_is_wrong_with_the_topic_has_a_name(kafka: str, topic: str) -> None:
    second = Shard(topic + "2").fill(40)
    shard, third, other = Shard(topic).fill(100), Shard(topic + "3").fill(100), Shard(topic + "4")
    other.append("else")
    other.fill(99)

    assert found(kafka, topic, [], lambda look: locate(look, topic, 0, position(shard, 5, 5))) == [Behind]
    assert found(kafka, topic + "1", [], lambda look: locate(look, topic + "1", 0, position(shard, 0, 9))) == [0]
    assert found(
        kafka, topic + "2", second.values, lambda look: locate(look, topic + "2", 0, position(shard, 80, 80))
    ) == [Behind]  # fmt: skip
    assert found(
        kafka, topic + "3", third.values[40:],
        lambda look: locate(look, topic + "3", 0, position(third, 0, 0)),
        lambda look: locate(look, topic + "3", 0, position(third, 39, 39)),
        lambda look: locate(look, topic + "3", 0, position(third, 40, 40)),
    ) == [Lost, Lost, 0]  # fmt: skip
    assert found(
        kafka, topic + "4", other.values,
        lambda look: locate(look, topic + "4", 0, position(shard, 50, 50)),
        lambda look: locate(look, topic + "4", 0, position(shard, 100, 7)),
    ) == [Forked, Forked]  # fmt: skip


def test_many_positions_are_found_together_as_each_alone(kafka: str) -> None:
    """Right and wrong hints, repeats, holes, topics that are empty, behind, lost or of another history: each its own answer."""
    context, client = f"t{uuid4().hex}", {"bootstrap_servers": kafka}
    topics = [f"{context}{n}.events" for n in range(12)]
    shards = {TopicPartition(topic, n): Shard(topic, n).fill(30) for topic in topics for n in range(4)}
    sought: dict[TopicPartition, Sought] = {}

    async def run() -> tuple[dict[TopicPartition, Any], dict[TopicPartition, Any], int]:
        await create_topics([Topic(topic, 4) for topic in topics], client)
        async with AIOKafkaProducer(**client, linger_ms=5) as producer:
            for n, (tp, shard) in enumerate(shards.items()):
                values, sought[tp] = shard.values, position(shard, 20, 20)
                match n % 8:
                    case 0:
                        sought[tp] = position(shard, 30, 30)
                    case 1:
                        values, sought[tp] = [], position(shard, 0, 0)
                    case 2:
                        sought[tp] = position(shard, 0, 0)
                    case 3:
                        sought[tp] = position(shard, 12, 7)
                    case 4:
                        values = values[:15]
                    case 5:
                        values = values[25:]
                    case 6:
                        sought[tp] = Sought(20, "0" * 64, 20)
                await asyncio.gather(*[await producer.send(tp.topic, v, partition=tp.partition) for v in values])
        async with looking(client) as look:
            together = await locate_all(look, sought)
            alone: dict[TopicPartition, Any] = {}
            for tp, place in sought.items():
                try:
                    alone[tp] = await locate(look, *tp, place)
                except (Lost, Behind, Forked) as error:
                    alone[tp] = error
        async with looking(client) as look:
            requests = counted(look)
            right = {tp: place for n, (tp, place) in enumerate(sought.items()) if n % 8 in (0, 1, 2, 7)}
            assert await locate_all(look, right) == {tp: place.hint for tp, place in right.items()}
            few = len([request for request in requests if request != "MetadataRequest"])
        return together, alone, few

    together, alone, few = asyncio.run(run())

    assert {tp: repr(answer) for tp, answer in together.items()} == {tp: repr(answer) for tp, answer in alone.items()}
    assert {type(answer) for answer in together.values()} == {int, Behind, Lost, Forked}
    assert few < len(sought) / 2


def counted(look: Looking) -> list[str]:
    """The names of the requests that are sent from now on."""
    client: Any = look._consumer._client
    send, names = client.send, list[str]()

    async def sending(node: int, request: object, **options: Any) -> Any:
        names.append(type(request).__name__)
        return await send(node, request, **options)

    client.send = sending
    return names


def test_an_offset_is_believed_only_beside_the_record_that_was_read(kafka: str, topic: str) -> None:
    """A topic without sequences that was made anew is read from its first record."""
    shard = Shard(topic).fill(20)

    answers = found(
        kafka, topic, shard.values,
        lambda look: locate_offset(look, topic, 0, position(shard, 12, 0)),
        lambda look: locate_offset(look, topic, 0, Sought(12, "0" * 64, 0)),
        lambda look: locate_offset(look, topic, 0, Sought(900, "0" * 64, 0)),
        lambda look: locate_offset(look, topic, 0, Sought(0, ZERO_HASH, 0)),
    )  # fmt: skip

    assert answers == [12, 0, 0, 0]
