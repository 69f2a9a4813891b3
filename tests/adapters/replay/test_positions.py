"""A position has one meaning, whoever asks and wherever it is read."""

import asyncio
from datetime import timedelta
from pathlib import Path
from uuid import uuid4

import pytest
from aiokafka import TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, RecordsToDelete

from adapters.replay.cuts import AtCut, AtEvent, AtTime, BadPosition, Now, is_before, parse_position, written
from adapters.replay.kafka import kafka_source
from adapters.replay.logged import LogSource
from adapters.replay.resolving import resolve
from adapters.replay.sources import RangeMissing
from contracts import rfc3339
from tests.adapters.replay.world import World
from tests.adapters.shards import START


def cut_of(text: str, source: LogSource, world: World) -> dict[str, int]:
    return dict(asyncio.run(resolve(parse_position(text), source, world.topics, source)))


@pytest.fixture
def world() -> World:
    return World().fill()


@pytest.fixture
def log(world: World, tmp_path: Path) -> LogSource:
    return world.into_log(tmp_path)


@pytest.mark.parametrize(
    ("text", "position"),
    [
        ("now", Now()),
        ("start", AtCut({})),
        ("2026-11-24T03:00:00Z", AtTime("2026-11-24T03:00:00.000000Z")),
        ("2026-11-24T05:00:00+02:00", AtTime("2026-11-24T03:00:00.000000Z")),
        ("0189b1b2-0000-5000-8000-000000000001", AtEvent("0189b1b2-0000-5000-8000-000000000001")),
        ("tally.events/0=3, tally.events/1=4", AtCut({"tally.events/0": 3, "tally.events/1": 4})),
    ],
)
def test_each_form_is_read(text: str, position: object) -> None:
    assert parse_position(text) == position


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("yesterday", "there are: now"),
        ("2026-11-24T03:00:00", "which zone"),
        ("checkpoint:many", "number of leaves"),
        ("tally.events/0=x", "no place in a shard"),
        ("tally.commands/0=1", "no place in a shard"),
        ("tally.events/0=1,tally.events/0=2", "twice"),
    ],
)
def test_what_is_no_position_is_told_apart_with_what_would_be_one(text: str, said: str) -> None:
    with pytest.raises(BadPosition, match=said):
        parse_position(text)


def test_a_cut_can_be_given_again() -> None:
    cut = {"b.events/1": 4, "a.events/0": 3, "a.events/1": 0}

    assert parse_position(written(cut)) == AtCut({"a.events/0": 3, "b.events/1": 4})
    assert parse_position(written({})) == AtCut({})
    assert is_before({}, cut)
    assert not is_before(cut, {})


def test_a_time_is_the_longest_prefix_of_each_shard_that_is_not_later(world: World, log: LogSource) -> None:
    """Also where a clock stands still, and where one shard's clock is an hour ahead."""
    for shard in world.shards:
        for moment in shard.times[::7]:
            wanted = {s.name: next((n for n, t in enumerate(s.times) if t > moment), len(s.times)) for s in world.shards}

            assert cut_of(rfc3339(moment), log, world) == wanted


def test_a_time_before_the_first_record_is_the_empty_state(world: World, log: LogSource) -> None:
    assert set(cut_of(rfc3339(START - timedelta(days=1)), log, world).values()) == {0}
    assert cut_of("start", log, world) == dict.fromkeys(world.whole(), 0)


def test_a_clock_that_leaps_back_ends_the_prefix_where_it_leapt_forward(tmp_path: Path) -> None:
    """What comes later in the shard is not in the prefix, whatever its own time says."""
    world = World().fill(0, partitions=1)
    for minutes in (0, 1, 60, 2, 3):
        world.shards[0].append("s", "retired", START + timedelta(minutes=minutes))
    log = world.into_log(tmp_path)

    assert cut_of(rfc3339(START + timedelta(minutes=5)), log, world) == {"tally.events/0": 2}


def test_the_position_at_an_event_includes_it_and_nothing_after_it(world: World, log: LogSource) -> None:
    shard = world.shards[1]

    for sequence in (0, 17, len(shard.records) - 1):
        cut = cut_of(shard.ids[sequence], log, world)

        assert cut[shard.name] == sequence + 1
        others = [other for other in world.shards if other is not shard]
        assert all(sum(t <= shard.times[sequence] for t in other.times) == cut[other.name] for other in others)


def test_a_checkpoint_is_what_its_seals_name(world: World, log: LogSource) -> None:
    leaves = sum(world.whole().values()) + 4

    assert cut_of(f"checkpoint:{leaves}", log, world) == world.whole()
    assert sum(cut_of(f"checkpoint:{leaves - 1}", log, world).values()) < sum(world.whole().values())
    assert sum(cut_of("checkpoint:0", log, world).values()) == 0
    with pytest.raises(RangeMissing, match="leaves"):
        cut_of(f"checkpoint:{leaves + 1}", log, world)


def test_what_the_source_does_not_hold_is_an_error(world: World, log: LogSource) -> None:
    with pytest.raises(RangeMissing, match="ends before 60"):
        cut_of("tally.events/0=61", log, world)
    with pytest.raises(BadPosition, match=r"there is no tally\.events/9"):
        cut_of("tally.events/9=1", log, world)
    with pytest.raises(RangeMissing, match="no event"):
        cut_of(str(uuid4()), log, world)
    with pytest.raises(BadPosition, match="audit log"):
        asyncio.run(resolve(parse_position("checkpoint:3"), log, world.topics))


# Kafka


async def read_all(client: dict[str, str], world: World) -> dict[str, list[bytes]]:
    async with kafka_source(client) as source:
        ends = await source.ends(await source.shards(world.topics))
        return {
            shard: [record.value async for piece in source.read(shard, 0, end) for record in piece]
            for shard, end in ends.items()
        }


def values(world: World) -> dict[str, list[bytes]]:
    return {shard.name: [record.value for record in shard.records] for shard in world.shards}


def test_kafka_and_the_audit_log_say_the_same(kafka: str, tmp_path: Path) -> None:
    world = World(f"w{uuid4().hex[:12]}").fill(700, partitions=2)
    log, client = world.into_log(tmp_path), world.publish(kafka)
    moment = rfc3339(world.shards[0].times[333])

    async def both() -> None:
        async with kafka_source(client) as source:
            for text in ("now", "start", moment, world.shards[1].ids[401]):
                position = parse_position(text)
                assert await resolve(position, source, world.topics) == await resolve(position, log, world.topics)

    asyncio.run(both())
    assert asyncio.run(read_all(client, world)) == values(world)


def test_repeats_are_dropped_and_what_came_early_waits_for_its_turn(kafka: str) -> None:
    """A publisher that was killed repeats; a topic that was made anew holds a high sequence first."""
    world = World(f"w{uuid4().hex[:12]}").fill(40, partitions=1)
    records = world.shards[0].records
    order = [records[39], *records[:20], *records[15:39], records[39], records[38], records[39]]

    client = world.publish(kafka, [(0, record) for record in order])

    assert asyncio.run(read_all(client, world)) == values(world)


def test_a_range_that_was_deleted_from_the_topic_is_an_error(kafka: str, tmp_path: Path) -> None:
    """Not an empty result; the audit log still has it."""
    world = World(f"w{uuid4().hex[:12]}").fill(30, partitions=1)
    client, log = world.publish(kafka), world.into_log(tmp_path)

    async def delete() -> None:
        admin = AIOKafkaAdminClient(**client)
        await admin.start()
        await admin.delete_records({TopicPartition(world.topic, 0): RecordsToDelete(before_offset=10)})
        await admin.close()

    asyncio.run(delete())
    with pytest.raises(RangeMissing, match="but not 0: it was deleted or compacted"):
        asyncio.run(read_all(client, world))
    pieces = asyncio.run(_collect(log, world.shards[0].name, 30))
    assert pieces == values(world)[world.shards[0].name]


async def _collect(log: LogSource, shard: str, end: int) -> list[bytes]:
    return [record.value async for piece in log.read(shard, 0, end) for record in piece]


def test_records_that_are_missing_in_between_are_an_error(kafka: str) -> None:
    world = World(f"w{uuid4().hex[:12]}").fill(30, partitions=1)
    records = world.shards[0].records

    client = world.publish(kafka, [(0, record) for record in [*records[:10], *records[12:]]])

    with pytest.raises(RangeMissing, match="but not 10"):
        asyncio.run(read_all(client, world))
