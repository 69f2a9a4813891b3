"""A busy consumer asks for few partitions and misses nothing of the others."""

import asyncio
import hashlib
import inspect
import random
from collections import Counter
from collections.abc import Awaitable, Callable
from types import SimpleNamespace
from typing import Any
from uuid import uuid4

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.consumer.fetcher import Fetcher
from aiokafka.consumer.subscription_state import Assignment
from aiokafka.protocol.fetch import FetchRequest

from adapters.kafka import hot
from adapters.kafka.bare import bare_consumer, stop_consumer
from adapters.kafka.hot import keep_hot
from adapters.kafka.pace import Pace, Wait
from adapters.kafka.topics import Topic, create_topics
from tests.chance import seeds

PARTITIONS = 40

# What decides what is asked for, and what calls it: read what changed, then write its new digest here.
READ: dict[Any, str] = {Fetcher._get_actions_per_node: "dc7323e35fa37ccd", Fetcher._fetch_requests_routine: "23d9a1f941185c00"}


@pytest.mark.dependency
@pytest.mark.parametrize("method", READ, ids=lambda method: method.__qualname__)
def test_the_private_methods_are_those_that_were_read(method: Any) -> None:
    assert hashlib.sha256(inspect.cleandoc(inspect.getsource(method)).encode()).hexdigest()[:16] == READ[method]


class Counted:
    """How many partitions each fetch of a consumer names."""

    def __init__(self, consumer: AIOKafkaConsumer) -> None:
        self.sizes: Counter[int] = Counter()
        self._send = consumer._client.send
        consumer._client.send = self._counting

    async def _counting(self, node: int, request: Any, **options: Any) -> Any:
        if isinstance(request, FetchRequest):
            self.sizes[sum(len(partitions) for _, partitions in request.topics)] += 1
        return await self._send(node, request, **options)


def played(kafka: str, play: Callable[[AIOKafkaConsumer, AIOKafkaProducer, str], Awaitable[None]]) -> None:
    """With a consumer that is kept hot, on a topic of its own."""
    topic, client = f"hot-{uuid4().hex}", {"bootstrap_servers": kafka}

    async def run() -> None:
        await create_topics([Topic(topic, PARTITIONS)], client)
        options = {"auto_offset_reset": "earliest"}
        async with bare_consumer(client, **options) as consumer, AIOKafkaProducer(**client) as producer:
            keep_hot(consumer)
            await play(consumer, producer, topic)

    asyncio.run(run())


async def heat(consumer: AIOKafkaConsumer, producer: AIOKafkaProducer, topic: str) -> None:
    """Records of one partition, one after the other, until fetches are as many as make a consumer busy."""
    for _ in range(2 * hot.BUSY_FETCHES):
        await producer.send_and_wait(topic, b"hot", partition=0)
        await consumer.getone()


def all_of(topic: str) -> list[TopicPartition]:
    return [TopicPartition(topic, n) for n in range(PARTITIONS)]


def test_a_busy_consumer_asks_for_what_is_hot_and_in_turns_for_all(kafka: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hot, "BUSY_FETCHES", 5)
    # However slow the machine is.
    monkeypatch.setattr(hot, "WINDOW_SECONDS", 60.0)
    monkeypatch.setattr(hot, "ALL_SECONDS", 0.5)

    async def play(consumer: AIOKafkaConsumer, producer: AIOKafkaProducer, topic: str) -> None:
        consumer.assign(all_of(topic))
        counted = Counted(consumer)
        async with asyncio.timeout(60):
            # All are asked for again and again while one alone is busy.
            while counted.sizes[1] < 10 or counted.sizes[PARTITIONS] < 10:
                await heat(consumer, producer, topic)

    played(kafka, play)


def test_a_cold_partition_is_heard_while_another_is_busy(kafka: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """As long as the busy one is; and nothing is lost or doubled, whoever is paused, sought or assigned anew meanwhile."""
    monkeypatch.setattr(hot, "BUSY_FETCHES", 5)

    async def play(consumer: AIOKafkaConsumer, producer: AIOKafkaProducer, topic: str) -> None:
        consumer.assign(all_of(topic))
        rhythm, seen, stop = Pace(Wait(10), Wait(100)), Counter[tuple[int, int]](), asyncio.Event()

        async def busy() -> None:
            while not stop.is_set():
                await producer.send_and_wait(topic, b"hot", partition=0)

        async def read() -> None:
            while True:
                found = await consumer.getmany(timeout_ms=100)
                rhythm.keep(consumer, sum(map(len, found.values())))
                seen.update((record.partition, record.offset) for records in found.values() for record in records)

        async def heard(partition: int, offset: int, times: int = 1) -> None:
            async with asyncio.timeout(20):
                while seen[partition, offset] < times:  # noqa: ASYNC110  polling is what it looks at
                    await asyncio.sleep(0.01)

        tasks = [asyncio.create_task(busy()), asyncio.create_task(read())]
        for n in range(1, PARTITIONS):
            await producer.send_and_wait(topic, b"cold", partition=n)
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


def test_what_a_rebalance_brings_is_asked_for(kafka: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hot, "BUSY_FETCHES", 5)
    topic, client = f"hot-{uuid4().hex}", {"bootstrap_servers": kafka}

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
            for n in range(60):
                await producer.send_and_wait(topic, b"hot %d" % n, partition=0)
                await until([first], seen, {b"hot %d" % n})
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


class Brokers:
    """What the fetcher is to the hot fetch, with several brokers that answer on a clock of the test's: at once what is hot."""

    def __init__(self, chance: random.Random) -> None:
        self.now, self._chance = 1_000.0, chance
        tps = [TopicPartition("tally.events", n) for n in range(PARTITIONS)]
        self.assignment = Assignment(tps)
        for tp in tps:
            self.assignment.state_value(tp).seek(0)
        self.busy = set(chance.sample(tps, chance.randrange(1, 8)))
        self.asked_at = dict.fromkeys(tps, self.now)
        self._records: dict[TopicPartition, Any] = {}
        self._in_flight: set[int] = set()
        self._fetch_max_wait_ms, self._fetcher_timeout = 100, 0.2
        self._answers: list[tuple[float, int, list[TopicPartition]]] = []
        self.fetches, self.named = 0, 0

    def incremental(self, requests: Any) -> Any:
        return requests

    def _get_actions_per_node(self, assignment: Any) -> Any:
        by_node: dict[int, list[TopicPartition]] = {}
        for tp in assignment.tps:
            assert assignment.state_value(tp).has_valid_position
            if tp.partition % 3 not in self._in_flight:
                by_node.setdefault(tp.partition % 3, []).append(tp)
        return list(by_node.items()), {}, 0.2, False, []

    def play(self, seconds: float, gather: float = 0.0) -> float:
        """The longest that a partition was not asked for, not counting how long it is being asked for."""
        longest, end, hot_fetch = 0.0, self.now + seconds, hot._HotFetch(self, self, gather)
        while self.now < end:
            requests, _, timeout, *_ = hot_fetch.actions(self.assignment)
            for node, tps in requests:
                longest = max(longest, *(self.now - self.asked_at[tp] for tp in tps))
                self._send(node, tps)
            self._answers.sort()
            self.now = min([self.now + timeout, *(at for at, *_ in self._answers[:1])])
            while self._answers and self._answers[0][0] <= self.now:
                self._hear(*self._answers.pop(0)[1:])
        return max(longest, *(self.now - at for at in self.asked_at.values()))

    def _send(self, node: int, tps: list[TopicPartition]) -> None:
        self._in_flight.add(node)
        self.fetches, self.named = self.fetches + 1, self.named + len(tps)
        wait = self._chance.uniform(0.001, 0.012) if self.busy & set(tps) else self._fetch_max_wait_ms / 1000
        self._answers.append((self.now + wait, node, tps))

    def _hear(self, node: int, tps: list[TopicPartition]) -> None:
        self._in_flight.discard(node)
        for tp in tps:
            self.asked_at[tp] = self.now
            if tp in self.busy:
                state = self.assignment.state_value(tp)
                state.consumed_to(state.position + 1)


@pytest.mark.chance
@pytest.mark.parametrize("seed", seeds(5))
def test_no_partition_of_any_broker_is_forgotten(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A broker that is always answering is asked for all of its partitions as often as the others."""

    async def run() -> None:
        brokers = Brokers(random.Random(seed))
        monkeypatch.setattr(hot, "time", SimpleNamespace(monotonic=lambda: brokers.now))

        longest = brokers.play(20)

        assert longest < 2 * hot.ALL_SECONDS
        assert brokers.named < brokers.fetches * PARTITIONS / 3 / 2

    asyncio.run(run())


@pytest.mark.chance
@pytest.mark.parametrize("seed", seeds(5))
def test_under_load_each_broker_is_asked_no_more_often_than_its_reader_can_use(
    seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def run() -> None:
        brokers, gather = Brokers(random.Random(seed)), 0.02
        monkeypatch.setattr(hot, "time", SimpleNamespace(monotonic=lambda: brokers.now))

        longest = brokers.play(20, gather)

        # Three brokers; at the beginning it is not known yet that records flow.
        assert brokers.fetches <= 3 * (20 / gather + hot.FLOWING + 1)
        assert longest < 2 * hot.ALL_SECONDS + gather

    asyncio.run(run())


def test_what_comes_after_a_silence_is_asked_for_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """However long its reader gathers where records flow."""

    async def run() -> None:
        brokers = Brokers(random.Random(0))
        brokers.busy = set()
        monkeypatch.setattr(hot, "time", SimpleNamespace(monotonic=lambda: brokers.now))

        longest = brokers.play(20, 0.04)

        assert longest == 0

    asyncio.run(run())
