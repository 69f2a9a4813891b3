"""Whatever becomes of a shard's owners: each record once in its order, then exact repeats at worst, as the store has it."""

import asyncio
import json
from collections.abc import AsyncIterator, Collection, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import pytest
from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine, event, select, text

from adapters.kafka import publisher as publishing
from adapters.kafka.bare import bare_consumer
from adapters.kafka.comparing import Forked, StoreBehind
from adapters.kafka.publisher import Publisher
from adapters.kafka.topics import create_topics, topics_of
from adapters.sql import engine_for, reading, tables
from adapters.sql.outbox import Lane, Outbox, Standing
from adapters.sql.schema import upgrade
from adapters.sql.store import CommandRow, Decided, EventRow, Sealed, Shard, Store

PARTITIONS = 3
PATIENCE_SECONDS = 30.0


@dataclass
class Network:
    """A context on a store and a broker. What is committed is made up: a publisher looks at numbers only."""

    engine: Engine
    kafka: str
    context: str = field(default_factory=lambda: f"c{uuid4().hex[:12]}")
    rows: dict[int, Shard] = field(default_factory=dict)

    def __post_init__(self) -> None:
        upgrade(self.engine, "store")
        self.store, self.outbox = Store(self.engine), Outbox(self.engine)
        self.make_topics()
        self.rows = {n: self.store.shard(self.context, n) for n in range(PARTITIONS)}

    @property
    def client(self) -> dict[str, Any]:
        return {"bootstrap_servers": self.kafka}

    def make_topics(self) -> None:
        asyncio.run(create_topics(topics_of([self.context], [], PARTITIONS), self.client))

    def commit(self, partition: int = 0, events: int = 3, commands: int = 2, again: Collection[int] = ()) -> Sealed:
        """A batch; the outcomes with the numbers `again` are to be repeated."""
        before = self.rows[partition]
        first, number = before.next_sequence, before.next_outcome
        after = replace(
            before, next_sequence=first + events, next_outcome=number + commands, position=before.position + commands
        )
        sealed = Sealed(
            shards=[(before, after)],
            events=[
                EventRow(before.id, n, f"{self.context}/{partition}", n + 1, "T", value(n), "signed", None)
                for n in range(first, first + events)
            ],
            commands=[
                CommandRow(before.id, n, uuid4().hex, "", self.context, b"", "", value(n), None, None)
                for n in range(number, number + commands)
            ],
        )
        self.store.commit(
            Decided([before], now=datetime.now(UTC), seal=lambda _: sealed, repeats=[(before.id, n) for n in again])
        )
        self.rows[partition] = after
        return sealed

    def publisher(self, outbox: Outbox | None = None) -> Publisher:
        return Publisher(outbox or self.outbox, self.client)

    def epochs(self) -> dict[int, int]:
        """Of each shard how often it was claimed, by partition."""
        ids = {shard.id: partition for partition, shard in self.rows.items()}
        with reading(self.engine) as connection:
            rows = connection.execute(select(tables.relays.c.shard, tables.relays.c.epoch)).all()
        return {ids[shard]: epoch for shard, epoch in rows if shard in ids}

    def stored(self) -> dict[tuple[str, int], list[bytes]]:
        """Every lane's values, as they must come to be on its topic."""
        lanes = [lane for lane in self.outbox.standing() if lane.context == self.context]
        return {(x.topic, x.partition): [row.value for row in self.outbox.read(x, 0, 100_000)] for x in lanes}

    async def published(self) -> dict[tuple[str, int], list[bytes]]:
        """Every topic's values."""
        found: dict[tuple[str, int], list[bytes]] = {}
        async with bare_consumer(self.client) as consumer:
            places = [TopicPartition(f"{self.context}.{k}", n) for k in ("events", "outcomes") for n in range(PARTITIONS)]
            consumer.assign(places)
            ends = await consumer.end_offsets(places)
            for place, offset in (await consumer.beginning_offsets(places)).items():
                consumer.seek(place, offset)
                found[place.topic, place.partition] = []
            while [place for place in places if await consumer.position(place) < ends[place]]:
                for place, records in (await consumer.getmany(timeout_ms=200)).items():
                    found[place.topic, place.partition] += [record.value or b"" for record in records]
        return found

    async def is_published(self) -> bool:
        return {place: distinct(values) for place, values in (await self.published()).items()} == self.stored()

    async def send(self, kind: str, *values: bytes, partition: int = 0) -> None:
        """What somebody else has left there."""
        async with AIOKafkaProducer(**self.client) as producer:
            for record in values:
                await producer.send_and_wait(f"{self.context}.{kind}", record, key=b"k", partition=partition)

    async def wipe(self, *kinds: str) -> None:
        """Delete topics and make them anew."""
        admin = AIOKafkaAdminClient(**self.client)
        await admin.start()
        try:
            names = {f"{self.context}.{kind}" for kind in kinds}
            await admin.delete_topics(sorted(names))
            while names & set(await admin.list_topics()):  # noqa: ASYNC110  the broker tells nobody
                await asyncio.sleep(0.05)
        finally:
            await admin.close()
        await create_topics(topics_of([self.context], [], PARTITIONS), self.client)


def value(number: int) -> bytes:
    return json.dumps({"sequence": number}).encode()


def distinct(values: list[bytes]) -> list[bytes]:
    """Each once, where it came first."""
    return list(dict.fromkeys(values))


@asynccontextmanager
async def running(*publishers: Publisher) -> AsyncIterator[None]:
    """They end in order, and whatever they raised is raised."""
    tasks = [asyncio.create_task(publisher.run()) for publisher in publishers]
    try:
        yield
    finally:
        for publisher in publishers:
            publisher.stop()
        await asyncio.gather(*tasks)


async def eventually(true: Any, what: str) -> None:
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not (await found if asyncio.iscoroutine(found := true()) else found):  # noqa: ASYNC110  nobody tells
            await asyncio.sleep(0.05)


async def level(network: Network, publisher: Publisher, *partitions: int) -> None:
    await eventually(lambda: all(publisher.is_level(network.rows[n].id) for n in partitions or network.rows), "level")


@pytest.fixture
def network(kafka: str, store_url: str) -> Iterator[Network]:
    engine = engine_for(store_url)
    yield Network(engine, kafka)
    engine.dispose()


def test_what_is_handed_over_is_published_without_a_look_at_the_store(network: Network) -> None:
    """Reading back what was just committed is what a relay cost."""
    asked: list[str] = []
    sent = 0

    def count(records: int, _: int) -> None:
        nonlocal sent
        sent += records

    async def run() -> None:
        publisher = Publisher(network.outbox, network.client, on_publish=count)
        publisher.own(network.rows.values())
        async with running(publisher):
            await level(network, publisher)
            event.listen(network.engine, "before_cursor_execute", lambda *told: asked.append(told[2]))
            for n in range(20):
                publisher.hand_over(network.commit(n % PARTITIONS, events=3, commands=2))
            await eventually(lambda: sent == 20 * 5, "publication")
        assert not [statement for statement in asked if "FROM events" in statement or "FROM commands" in statement]
        assert await network.published() == network.stored()

    asyncio.run(run())


def test_what_a_dead_owner_left_is_published_by_the_next(network: Network) -> None:
    network.commit(0)
    network.commit(1, events=5, commands=0)

    async def run() -> None:
        publisher = network.publisher()
        publisher.own(network.rows.values())
        async with running(publisher):
            await eventually(network.is_published, "publication")
            publisher.hand_over(network.commit(0))
            await eventually(network.is_published, "publication")
        assert await network.published() == network.stored()

    asyncio.run(run())
    marks = network.outbox.standing([shard.id for shard in network.rows.values()])
    assert all(standing.marked == standing.stored for standing in marks.values())


def test_a_batch_that_was_not_handed_over_is_read_from_the_store_in_its_place(network: Network) -> None:
    """The reply to a commit was lost: the worker reads its row again, and remembers nothing of the batch."""

    async def run() -> None:
        publisher = network.publisher()
        publisher.own(network.rows.values())
        async with running(publisher):
            await level(network, publisher)
            network.commit(0)
            publisher.hand_over(network.commit(0))
            await eventually(network.is_published, "publication")
            network.commit(0)
            publisher.own(network.rows.values())
            await eventually(network.is_published, "publication")
        assert await network.published() == network.stored()

    asyncio.run(run())


def test_more_than_may_be_held_is_published_in_order_all_the_same(network: Network, monkeypatch: pytest.MonkeyPatch) -> None:
    """A broker that is away costs memory up to a bound; what is beyond it is in the store."""
    monkeypatch.setattr(publishing, "HELD_BYTES", 200)
    monkeypatch.setattr(publishing, "SEND_LIMIT", 7)

    async def run() -> None:
        publisher = network.publisher()
        publisher.own(network.rows.values())
        for n in range(40):
            publisher.hand_over(network.commit(n % 2))
        assert 0 < publisher._backlog.bytes <= 200
        async with running(publisher):
            await eventually(network.is_published, "publication")
        assert await network.published() == network.stored()

    asyncio.run(run())


def test_a_shard_is_claimed_when_it_comes_and_not_when_it_stays(network: Network) -> None:
    """Every rebalance tells a worker all that it has. With claims of everything two workers took shards to and fro."""

    async def run() -> None:
        one, two = network.publisher(), network.publisher()
        one.own(network.rows.values())
        async with running(one, two):
            await level(network, one)
            for _ in range(3):
                one.own(network.rows[n] for n in (0, 1))
                two.own([network.rows[2]])
                await level(network, two, 2)
                one.hand_over(network.commit(0))
                two.hand_over(network.commit(2))
                await eventually(network.is_published, "publication")
        assert await network.published() == network.stored()

    asyncio.run(run())
    assert network.epochs() == {0: 1, 1: 1, 2: 2}


def test_who_loses_one_shard_goes_on_with_the_others(network: Network) -> None:
    async def run() -> None:
        sleeper, successor = network.publisher(), network.publisher()
        sleeper.own(network.rows.values())
        async with running(sleeper, successor):
            await level(network, sleeper)
            successor.own([network.rows[0]])
            await level(network, successor, 0)
            # Both believe that it is theirs: what the sleeper still sends are exact repeats.
            sealed = network.commit(0)
            sleeper.hand_over(sealed)
            successor.hand_over(sealed)
            await eventually(lambda: not sleeper.is_level(network.rows[0].id), "loss")
            sleeper.hand_over(network.commit(1))
            successor.hand_over(network.commit(0))
            await eventually(network.is_published, "publication")
            assert sleeper.is_level(network.rows[1].id)

    asyncio.run(run())
    assert network.epochs() == {0: 2, 1: 1, 2: 1}


def test_a_superseded_owner_that_claims_a_fresh_shard_ends_nobody(network: Network) -> None:
    """Two relays ended each other: either had claimed what the other held."""

    async def run() -> None:
        sleeper, successor = network.publisher(), network.publisher()
        async with running(sleeper, successor):
            for publisher in (sleeper, successor):
                publisher.own(network.rows[n] for n in (0, 1))
                await level(network, publisher, 0, 1)
            for publisher in (successor, sleeper):
                publisher.own(network.rows.values())
                await level(network, publisher, 2)
            for n in range(PARTITIONS):
                successor.hand_over(network.commit(n))
            await eventually(network.is_published, "publication")
            assert successor.is_level(network.rows[0].id)

    asyncio.run(run())


def test_a_shard_that_was_taken_and_is_still_assigned_is_taken_back_once(
    network: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A relay of an earlier version took all shards when it started, and ends when it has lost one."""
    monkeypatch.setattr(publishing, "CLAIM_AGAIN_SECONDS", 0.2)

    async def run() -> None:
        publisher = network.publisher()
        publisher.own(network.rows.values())
        async with running(publisher):
            await level(network, publisher)
            await asyncio.to_thread(network.outbox.claim, [shard.id for shard in network.rows.values()])
            publisher.hand_over(network.commit(0))
            await eventually(lambda: network.epochs()[0] == 3, "another claim")
            publisher.hand_over(network.commit(0))
            await eventually(network.is_published, "publication")

    asyncio.run(run())
    assert network.epochs() == {0: 3, 1: 2, 2: 2}


class Watched(Outbox):
    """An outbox at which something happens while its first answer is on the way."""

    def __init__(self, network: Network, then: Any) -> None:
        super().__init__(network.engine)
        self._then = then

    def standing(self, among: Collection[int] | None = None) -> dict[Lane, Standing]:
        found, then = super().standing(among), self._then
        self._then = None
        if then is not None:
            then()
        return found


def test_an_owner_that_publishes_while_its_successor_claims_is_no_older_copy(network: Network) -> None:
    """The successor had counted the store before it asked where the topic ends."""

    async def run() -> None:
        loop = asyncio.get_running_loop()
        old = network.publisher()

        async def go_on() -> None:
            old.hand_over(network.commit(0))
            await eventually(network.is_published, "publication")

        successor = network.publisher(
            Watched(network, lambda: asyncio.run_coroutine_threadsafe(go_on(), loop).result(PATIENCE_SECONDS))
        )
        old.own(network.rows.values())
        async with running(old, successor):
            await level(network, old)
            successor.own(network.rows.values())
            await level(network, successor)
        assert await network.published() == network.stored()

    asyncio.run(run())


@pytest.mark.parametrize("last", ["the highest", "a repeated outcome"])
def test_a_store_that_is_behind_its_topics_is_refused(network: Network, last: str) -> None:
    """An older backup. What came last on the topic may be an outcome that was repeated, which the copy has."""
    network.commit(0, events=4, commands=4)

    async def run() -> None:
        await network.send("outcomes", *(value(n) for n in range(8)))
        if last == "a repeated outcome":
            await network.send("outcomes", value(2))
        publisher = network.publisher()
        publisher.own(network.rows.values())
        with pytest.raises(StoreBehind, match="holds 7, the store ends before 4: it is an older copy"):
            await publisher.run()

    asyncio.run(run())


def test_other_bytes_than_the_stores_are_refused(network: Network) -> None:
    network.commit(0)

    async def run() -> None:
        await network.send("events", value(0), b'{"sequence": 1, "from": "somebody else"}')
        publisher = network.publisher()
        publisher.own(network.rows.values())
        with pytest.raises(Forked, match="other bytes at 1"):
            await publisher.run()

    asyncio.run(run())


@pytest.mark.parametrize("left", [[2], [0, 1, 0], [1, 2, 0, 1], [0, 1, 2, 1], [0, 1, 2, 3, 0, 1, 2]])
def test_whatever_is_left_on_a_topic_is_completed(network: Network, left: list[int]) -> None:
    """One that was made anew while it was written to begins in the middle; who woke late repeats what is there."""
    network.commit(0, events=6, commands=6)

    async def run() -> None:
        await network.send("events", *map(value, left))
        await network.send("outcomes", *map(value, left))
        network.outbox.claim([network.rows[0].id])
        network.outbox.mark({network.rows[0].id: (4, 4)}, network.epochs() | {network.rows[0].id: 1})
        publisher = network.publisher()
        publisher.own(network.rows.values())
        async with running(publisher):
            await eventually(lambda: whole(network), "publication")

    asyncio.run(run())


async def whole(network: Network) -> bool:
    """Every record is there, and after the first one of the log each follows its predecessor's first."""
    wanted = network.stored()
    for place, values in (await network.published()).items():
        expected = 0
        for number in (json.loads(found)["sequence"] for found in values):
            expected += number == expected
        if expected != len(wanted[place]):
            return False
    return True


@pytest.mark.parametrize("is_writing", [True, False])
def test_a_topic_that_was_made_anew_is_filled_again(
    network: Network, monkeypatch: pytest.MonkeyPatch, is_writing: bool
) -> None:
    monkeypatch.setattr(publishing, "WATCH_SECONDS", 0.3)

    async def run() -> None:
        publisher = network.publisher()
        publisher.own(network.rows.values())
        async with running(publisher):
            await level(network, publisher)
            for n in range(6):
                publisher.hand_over(network.commit(n % PARTITIONS))
            await eventually(network.is_published, "publication")
            await network.wipe("events", "outcomes")
            if is_writing:
                publisher.hand_over(network.commit(0))
            await eventually(lambda: whole(network), "publication")

    asyncio.run(run())


def test_an_outcome_whose_command_came_again_is_published_again(network: Network) -> None:
    """Also where another worker was told of it: a command may come twice in one batch, and elsewhere than before."""

    async def run() -> None:
        publisher = network.publisher()
        publisher.own(network.rows.values())
        async with running(publisher):
            await level(network, publisher)
            publisher.hand_over(network.commit(0, again=[1, 0]), has_repeats=True)
            await eventually(network.is_published, "publication")
            await eventually(lambda: repeats(network) == 0, "repeats")
            found = (await network.published())[f"{network.context}.outcomes", 0]
            assert found == [value(n) for n in (0, 1, 1, 0)]

    asyncio.run(run())


def repeats(network: Network) -> int:
    with reading(network.engine) as connection:
        return int(connection.execute(text("select count(*) from repeats")).scalar_one())


def test_a_claim_goes_on_where_the_table_stands(network: Network) -> None:
    """An earlier version's relay left its epochs and marks."""
    network.commit(0)
    first = network.rows[0].id
    with network.engine.begin() as connection:
        connection.execute(tables.relays.insert().values(shard=first, epoch=41, next_event=3, next_outcome=2))

    async def run() -> None:
        await network.send("events", *(value(n) for n in range(3)))
        await network.send("outcomes", *(value(n) for n in range(2)))
        publisher = network.publisher()
        publisher.own(network.rows.values())
        async with running(publisher):
            await level(network, publisher)
            publisher.hand_over(network.commit(0))
            await eventually(network.is_published, "publication")
        assert await network.published() == network.stored()

    asyncio.run(run())
    assert network.epochs()[0] == 42


Step = tuple[str, int, int, bool]
STEPS = st.lists(
    st.tuples(
        st.sampled_from(["hand over", "hand over", "forget", "move", "kill", "wait"]),
        st.integers(0, 1), st.integers(0, 1), st.booleans(),
    ),
    min_size=4,
    max_size=16,
)  # fmt: skip


@settings(max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=STEPS)
def test_whoever_publishes_each_record_comes_first_in_its_order(kafka: str, tmp_path_factory: Any, steps: list[Step]) -> None:
    """Two owners, of whom either may hold a shard, lose it and not hear of it, die, or be handed what the other committed."""
    engine = engine_for(f"sqlite:///{tmp_path_factory.mktemp('property')}/store.db")
    network = Network(engine, kafka)

    async def run() -> None:
        publishers = [network.publisher(), network.publisher()]
        tasks = [asyncio.create_task(publisher.run()) for publisher in publishers]
        owned: list[set[int]] = [{0, 1}, set()]

        def tell(which: int) -> None:
            publishers[which].own(network.rows[n] for n in sorted(owned[which]))

        tell(0)
        for kind, which, partition, hears in steps:
            match kind:
                case "hand over":
                    publishers[which].hand_over(network.commit(partition))
                case "forget":
                    network.commit(partition)
                case "move":
                    owned[which].add(partition)
                    owned[1 - which].discard(partition)
                    tell(which)
                    if hears:
                        tell(1 - which)
                case "kill":
                    tasks[which].cancel()
                    await asyncio.gather(tasks[which], return_exceptions=True)
                    publishers[which] = network.publisher()
                    tasks[which] = asyncio.create_task(publishers[which].run())
                    tell(which)
                case _:
                    await asyncio.sleep(0.05)
        tell(0)
        tell(1)
        await eventually(network.is_published, "publication")
        for publisher in publishers:
            publisher.stop()
        await asyncio.gather(*tasks)

    asyncio.run(run())
    engine.dispose()
