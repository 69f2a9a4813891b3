"""A consumer of many partitions names few of them, and misses nothing of the others."""

import asyncio
import hashlib
import inspect
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any
from uuid import uuid4

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.consumer.fetcher import Fetcher
from aiokafka.protocol.fetch import FetchRequest, FetchRequest_v7, FetchResponse_v7

from adapters.kafka import hot, sessions
from adapters.kafka.bare import bare_consumer, stop_consumer
from adapters.kafka.hot import keep_hot
from adapters.kafka.pace import Pace, Wait
from adapters.kafka.topics import Topic, create_topics

PARTITIONS = 40

# What decides what is asked for, what calls it, what hears the answer, and how it is written: read what changed, then write its
# new digest here.
READ: dict[Any, str] = {
    Fetcher._get_actions_per_node: "dc7323e35fa37ccd",
    Fetcher._fetch_requests_routine: "23d9a1f941185c00",
    Fetcher._proc_fetch_request: "b4960a8221f7bc0c",
    FetchRequest.build: "d624db3652414fb5",
}


@pytest.mark.dependency
@pytest.mark.parametrize("method", READ, ids=lambda method: method.__qualname__)
def test_the_private_methods_are_those_that_were_read(method: Any) -> None:
    assert hashlib.sha256(inspect.cleandoc(inspect.getsource(method)).encode()).hexdigest()[:16] == READ[method]


class Named:
    """How many partitions each fetch of a consumer names on the wire."""

    def __init__(self, consumer: AIOKafkaConsumer) -> None:
        self.sizes: list[int] = []
        self._send = consumer._client.send
        consumer._client.send = self._noting

    async def _noting(self, node: int, request: Any, **options: Any) -> Any:
        response = await self._send(node, request, **options)
        if isinstance(request, FetchRequest):
            self.sizes.append(request.named)
        return response


@pytest.fixture(autouse=True)
def _never_busy(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each fetch is one of all partitions."""
    monkeypatch.setattr(hot, "WINDOW_SECONDS", 0.0)


def played(kafka: str, play: Callable[[AIOKafkaConsumer, AIOKafkaProducer, str], Awaitable[None]]) -> None:
    """With a consumer that keeps sessions, on a topic of its own, all of which is assigned."""
    topic, client = f"sessions-{uuid4().hex}", {"bootstrap_servers": kafka}

    async def run() -> None:
        await create_topics([Topic(topic, PARTITIONS)], client)
        options = {"auto_offset_reset": "earliest"}
        async with bare_consumer(client, **options) as consumer, AIOKafkaProducer(**client) as producer:
            keep_hot(consumer)
            consumer.assign([TopicPartition(topic, n) for n in range(PARTITIONS)])
            async with asyncio.timeout(60):
                await play(consumer, producer, topic)

    asyncio.run(run())


def test_only_what_has_changed_is_named(kafka: str) -> None:
    async def play(consumer: AIOKafkaConsumer, producer: AIOKafkaProducer, topic: str) -> None:
        named = Named(consumer)
        for n in range(50):
            await producer.send_and_wait(topic, b"%d" % n, partition=7)
            assert (await consumer.getone()).value == b"%d" % n
        # All once, to begin with; afterwards the one whose place has moved, or none.
        assert named.sizes.count(PARTITIONS) == 1
        assert set(named.sizes) - {PARTITIONS} <= {0, 1, 2}

    played(kafka, play)


def test_nothing_is_lost_or_doubled_whatever_is_paused_sought_or_busy(kafka: str) -> None:
    async def play(consumer: AIOKafkaConsumer, producer: AIOKafkaProducer, topic: str) -> None:
        rhythm, seen, stop = Pace(Wait(10), Wait(100)), Counter[tuple[int, int]](), asyncio.Event()

        async def busy() -> None:
            while not stop.is_set():
                await producer.send_and_wait(topic, b"busy", partition=0)

        async def read() -> None:
            while True:
                found = await consumer.getmany(timeout_ms=100)
                rhythm.keep(consumer, sum(map(len, found.values())))
                seen.update((record.partition, record.offset) for records in found.values() for record in records)

        async def heard(partition: int, offset: int, times: int = 1) -> None:
            while seen[partition, offset] < times:  # noqa: ASYNC110  polling is what it looks at
                await asyncio.sleep(0.01)

        tasks = [asyncio.create_task(busy()), asyncio.create_task(read())]
        for n in range(1, PARTITIONS):
            await producer.send_and_wait(topic, b"quiet", partition=n)
            await heard(n, 0)
        consumer.pause(TopicPartition(topic, 3))
        await asyncio.sleep(0.3)
        await producer.send_and_wait(topic, b"paused", partition=3)
        consumer.resume(TopicPartition(topic, 3))
        await heard(3, 1)
        assert set(seen.values()) == {1}
        consumer.seek(TopicPartition(topic, 5), 0)
        await heard(5, 0, times=2)
        stop.set()
        await tasks[0]
        last = await producer.send_and_wait(topic, b"last", partition=0)
        await heard(0, last.offset)
        assert {offset for partition, offset in seen if partition == 0} == set(range(last.offset + 1))
        tasks[1].cancel()

    played(kafka, play)


@pytest.mark.parametrize("forgotten", ["id", "epoch"])
def test_a_session_that_the_broker_does_not_know_is_begun_anew(kafka: str, forgotten: str) -> None:
    """A broker that was started again has none; one with too many throws the oldest away."""

    async def play(consumer: AIOKafkaConsumer, producer: AIOKafkaProducer, topic: str) -> None:
        named, client = Named(consumer), consumer._fetcher._client
        for n in range(10):
            await producer.send_and_wait(topic, b"%d" % n, partition=7)
            assert (await consumer.getone()).value == b"%d" % n
        (session,) = client._sessions.values()
        setattr(session, forgotten, getattr(session, forgotten) + 1_000)
        for n in range(10, 20):
            await producer.send_and_wait(topic, b"%d" % n, partition=7 + n % 2)
            assert (await consumer.getone()).value == b"%d" % n
        assert named.sizes.count(PARTITIONS) == 2

    played(kafka, play)


def test_what_a_rebalance_brings_is_asked_for(kafka: str) -> None:
    topic, client = f"sessions-{uuid4().hex}", {"bootstrap_servers": kafka}

    async def member() -> AIOKafkaConsumer:
        consumer = AIOKafkaConsumer(topic, **client, group_id=topic, auto_offset_reset="earliest", session_timeout_ms=6_000)
        await consumer.start()
        keep_hot(consumer)
        return consumer

    async def until(consumers: list[AIOKafkaConsumer], seen: set[bytes], wanted: set[bytes]) -> None:
        async with asyncio.timeout(30):
            while not wanted <= seen:
                for consumer in consumers:
                    for records in (await consumer.getmany(timeout_ms=20)).values():
                        seen.update(record.value for record in records)

    async def run() -> None:
        await create_topics([Topic(topic, 6)], client)
        async with AIOKafkaProducer(**client) as producer:
            first, seen = await member(), set[bytes]()
            for n in range(20):
                await producer.send_and_wait(topic, b"one %d" % n, partition=0)
                await until([first], seen, {b"one %d" % n})
            second = await member()
            for turn in range(3):
                sent = {b"%d %d" % (turn, n) for n in range(6)}
                for n in range(6):
                    await producer.send_and_wait(topic, b"%d %d" % (turn, n), partition=n)
                await until([first, second], seen, sent)
            await stop_consumer(first)
            for n in range(6):
                await producer.send_and_wait(topic, b"last %d" % n, partition=n)
            await until([second], seen, {b"last %d" % n for n in range(6)})
            await stop_consumer(second)

    asyncio.run(run())


def test_a_broker_without_room_for_a_session_is_asked_for_everything_each_time() -> None:
    """It says so by an id of 0; what it was asked for before means nothing to it."""
    session = sessions._Session()
    full = [("tally.events", [(n, 5, 1_000) for n in range(PARTITIONS)])]

    for _ in range(3):
        asked = session.next(FetchRequest(100, 1, 1_000, 0, full))
        built = asked.build(FetchRequest_v7)
        assert (built.session_id, built.session_epoch, asked.named) == (0, 0, PARTITIONS)
        session.heard(asked, FetchResponse_v7(throttle_time_ms=0, error_code=0, session_id=0, topics=[]))
