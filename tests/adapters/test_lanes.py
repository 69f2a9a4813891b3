"""A lane that takes nothing is its shard's misfortune alone; what is repeated and refused holds up nothing that is new."""

import asyncio
import time
from collections.abc import Iterator
from typing import Any

import pytest
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from sqlalchemy import Engine

from adapters.kafka import lanes
from adapters.kafka import publisher as publishing
from adapters.kafka.authentic import signed_by
from adapters.kafka.lanes import Line, Owned
from adapters.kafka.publisher import Publisher, Stalled
from adapters.kafka.topics import create_topics, topics_of
from adapters.sql import engine_for
from adapters.sql.outbox import Lane, Outbox
from tests.adapters.publishing import PARTITIONS, WRITER, Network, eventually, level, running, value


@pytest.fixture
def engine(sqlite_url: str) -> Iterator[Engine]:
    found = engine_for(sqlite_url)
    yield found
    found.dispose()


@pytest.fixture
def pair(engine: Engine, kafka: str) -> tuple[Network, Network]:
    """Two contexts that one publisher has."""
    return Network(engine, kafka), Network(engine, kafka)


def owner(*networks: Network) -> Publisher:
    publisher = networks[0].publisher()
    publisher.own(shard for network in networks for shard in network.rows.values())
    return publisher


async def configure(network: Network, kind: str, **settings: str) -> None:
    admin = AIOKafkaAdminClient(**network.client)
    await admin.start()
    try:
        named = {name.replace("_", "."): given for name, given in settings.items()}
        await admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, f"{network.context}.{kind}", named)])
    finally:
        await admin.close()


def test_a_partition_that_is_gone_holds_up_no_other_shard(
    pair: tuple[Network, Network], monkeypatch: pytest.MonkeyPatch
) -> None:
    """All were sent, awaited and compared together: one that had no leader stopped every one, and nobody ended the process."""
    monkeypatch.setattr(publishing, "WATCH_SECONDS", 0.3)
    broken, sound = pair

    async def run() -> None:
        publisher = owner(broken, sound)
        async with running(publisher):
            await level(broken, publisher)
            await level(sound, publisher)
            admin = AIOKafkaAdminClient(**broken.client)
            await admin.start()
            await admin.delete_topics([f"{broken.context}.events"])
            publisher.hand_over(broken.commit(0))
            for _ in range(10):
                publisher.hand_over(sound.commit(0))
                publisher.hand_over(broken.commit(1))
                await eventually(sound.is_published, "publication")
            # One that comes now is claimed all the same.
            publisher.own([*broken.rows.values(), *(sound.rows[n] for n in (0, 1))])
            publisher.own([*broken.rows.values(), *sound.rows.values()])
            await level(sound, publisher)
            await admin.close()
            await create_topics(topics_of([broken.context], [], PARTITIONS), broken.client)
            await eventually(broken.is_published, "publication")

    asyncio.run(run())


def test_a_record_that_the_broker_refuses_is_named_and_not_offered_in_a_hurry(
    pair: tuple[Network, Network], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """It was sent again twice a second, for ever, and all other shards' with it."""
    monkeypatch.setattr(lanes, "RETRY_SECONDS", 0.5)
    refusing, sound = pair

    async def run() -> None:
        await configure(refusing, "events", max_message_bytes="1000")
        publisher = owner(refusing, sound)
        async with running(publisher):
            await level(refusing, publisher)
            await level(sound, publisher)
            publisher.hand_over(refusing.commit(0, events=3, sizes={1: 5_000}))
            began = time.monotonic()
            await eventually(lambda: any("takes no record 1 " in said for said in caplog.messages), "a name")
            publisher.hand_over(sound.commit(0))
            publisher.hand_over(refusing.commit(1, events=2))
            await eventually(sound.is_published, "publication")
            await eventually(lambda: refusing.is_published_in(1), "publication")
            published = (await refusing.published())[f"{refusing.context}.events", 0]
            assert published == [value(0)]
            await asyncio.sleep(2)
            tried = [said for said in caplog.messages if "takes no " in said]
            assert len(tried) <= 3 + (time.monotonic() - began) / lanes.RETRY_SECONDS / 2
            await configure(refusing, "events", max_message_bytes="4194304")
            await eventually(refusing.is_published, "publication")

    asyncio.run(run())


def test_repeats_are_sent_together_and_beside_what_is_new(pair: tuple[Network, Network]) -> None:
    """Each was awaited for itself, before anything new of any shard: who asks three thousand times kept everybody waiting."""
    asking, _ = pair
    commands, again = 600, 3

    async def run() -> None:
        publisher = owner(asking)
        async with running(publisher):
            await level(asking, publisher)
            publisher.hand_over(asking.commit(0, events=0, commands=commands))
            await eventually(asking.is_published, "publication")
            for number in [*range(commands)] * again:
                asking.repeat(number)
            publisher.hand_over(asking.commit(1), has_repeats=True)
            await eventually(asking.is_published, "publication")
            await eventually(lambda: asking.repeats() == 0, "repeats")
            found = (await asking.published())[f"{asking.context}.outcomes", 0]
            # Whoever asked several times before he was answered is answered once.
            assert sorted(set(found)) == sorted(map(value, range(commands)))
            assert 2 * commands <= len(found) <= (1 + again) * commands

    asyncio.run(run())


def test_repeats_of_a_shard_that_takes_nothing_keep_no_others_waiting(
    pair: tuple[Network, Network], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The oldest come first, and there may be as many of them as are read together."""
    monkeypatch.setattr("adapters.kafka.sending.REPEAT_LIMIT", 5)
    broken, sound = pair

    async def run() -> None:
        publisher = owner(broken, sound)
        async with running(publisher):
            await level(broken, publisher)
            await level(sound, publisher)
            publisher.hand_over(broken.commit(0))
            publisher.hand_over(sound.commit(0))
            await eventually(broken.is_published, "publication")
            admin = AIOKafkaAdminClient(**broken.client)
            await admin.start()
            await admin.delete_topics([f"{broken.context}.outcomes"])
            await admin.close()
            for _ in range(20):
                broken.repeat(0)
            sound.repeat(1)
            publisher.hand_over(sound.commit(0, events=0, commands=0), has_repeats=True)

            async def is_answered() -> bool:
                return (await sound.published())[f"{sound.context}.outcomes", 0] == [value(0), value(1), value(1)]

            await eventually(is_answered, "the answer")

    asyncio.run(run())


WATCH = 0.1


def looks(publisher: Publisher, seconds: float, under_way: int, *, answers_after: float = 0.0) -> None:
    """The publisher looks at the broker for so long, with so many lanes that take nothing, each look answered after a time."""

    async def run() -> None:
        for n in range(under_way):
            line = Line(Lane(n, "c", n, "events"), 0, 0, (-1, -1))
            line.sending, line.since = asyncio.create_task(asyncio.sleep(60)), time.monotonic()
            publisher._owned[n] = Owned({"events": 1, "outcomes": 0}, lines=(line,))
        ends = [publishing._place(line) for owned in publisher._owned.values() for line in owned.lines]
        began = time.monotonic()
        while time.monotonic() - began < seconds:
            asked_at = time.monotonic()
            await asyncio.sleep(answers_after or WATCH)
            publisher._judge_producer(asked_at, ends)

    asyncio.run(run())


@pytest.fixture
def impatient(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> Publisher:
    monkeypatch.setattr(publishing, "WATCH_SECONDS", 2 * WATCH)
    monkeypatch.setattr(publishing, "STALLED_SECONDS", 5 * WATCH)
    return Publisher(Outbox(engine), {}, signed_by({WRITER.did}, "test"))


def test_a_producer_that_takes_nothing_from_anybody_ends_the_process(impatient: Publisher) -> None:
    with pytest.raises(Stalled, match="2 partitions have taken nothing"):
        looks(impatient, 20 * WATCH, 2)


@pytest.mark.parametrize(("under_way", "answers_after"), [(1, 0.0), (0, 0.0), (2, 3 * WATCH)])
def test_one_lane_and_a_broker_that_was_away_are_no_fault_of_the_producers(
    impatient: Publisher, under_way: int, answers_after: float
) -> None:
    """A process ended when the broker came back after half a minute, before anything could be sent."""
    looks(impatient, 12 * WATCH, under_way, answers_after=answers_after)


def test_who_has_owned_in_peace_for_long_begins_with_the_shortest_pause_again(impatient: Publisher) -> None:
    """It was doubled for ever: after eight losses in a year a shard was published five minutes late."""
    owned: Any = Owned({"events": 0, "outcomes": 0}, pause=160.0)
    for since, expected in ((time.monotonic(), 300.0), (time.monotonic() - 10_000, 2 * lanes.CLAIM_AGAIN_SECONDS)):
        owned.lines, owned.claimed_at = (Line(Lane(1, "c", 0, "events"), 0, 0, (-1, -1)),), since
        impatient._superseded(owned)
        assert owned.pause == expected
