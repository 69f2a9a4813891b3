"""Events become commands: the same ones however often they are delivered, and none without its position."""

import asyncio
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from hashlib import sha256
from uuid import UUID, uuid4

import pytest
from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.errors import KafkaConnectionError
from sqlalchemy import Engine, event

from adapters.kafka.locate import looking
from adapters.kafka.topics import Topic, create_topics
from adapters.seldom import MOST_LINES
from adapters.sql import reading
from adapters.views import parked_streams, positions_of
from adapters.views.collecting import CollectorReader
from adapters.views.processes import ProcessReader
from adapters.views.sets import ReaderSet
from adapters.views.wishes import Send, Wish, derived_uuid7
from contracts import Event, Record, Uuid
from contracts.identity import KeyRevoked, RevokeKey
from streams import Collector, Intent, Process, RawRecord
from tests.adapters.logs import open_views
from tests.adapters.shards import Shard, broken


@dataclass(frozen=True)
class Arrival:
    """A record as aiokafka delivers it."""

    offset: int
    value: bytes
    key: bytes = b"device"
    headers: Sequence[tuple[str, bytes]] = ()
    timestamp: int = 1_767_225_600_000


@dataclass
class Outbox:
    """What was sent. `down` is a broker that is away."""

    wishes: list[Wish] = field(default_factory=list)
    down: bool = False

    async def send(self, wishes: Sequence[Wish]) -> None:
        if self.down:
            raise KafkaConnectionError
        self.wishes += wishes


def react(event: Event, record: Record) -> Iterable[Intent]:
    """Two commands for every closed stream."""
    assert isinstance(event, KeyRevoked)
    if event.reason in broken:
        raise ZeroDivisionError(event.reason)
    if event.reason == "close":
        yield Intent(RevokeKey(reason="retired"), record.subject)
        yield Intent(RevokeKey(reason="mistaken"), record.subject, 1)


CLOSE = Process("close_again", ("tally",), react)


@pytest.fixture
def views(store_url: str) -> Iterator[Engine]:
    engine = open_views(store_url)
    yield engine
    engine.dispose()


@pytest.fixture(autouse=True)
def mended() -> Iterator[None]:
    yield
    broken.clear()


def arrivals(shard: Shard, start: int = 0) -> list[Arrival]:
    trace = ("traceparent", b"00-" + b"1" * 32 + b"-" + b"2" * 16 + b"-01")
    return [Arrival(delivery.offset, delivery.value, headers=(trace,)) for delivery in shard.deliveries(start)]


def reading_set(views: Engine, send: Send) -> ReaderSet:
    return ReaderSet(views, "readers", [ProcessReader(views, CLOSE, send)])


async def turn(reader: ReaderSet | CollectorReader, chunks: Mapping[str, Sequence[Arrival]]) -> None:
    await reader.apply(chunks)
    for process in reader.processes if isinstance(reader, ReaderSet) else ():
        if reader.wants_to_send(process):
            await reader.send_for(process)


def apply(reader: ReaderSet | CollectorReader, shard: str, records: Sequence[Arrival], size: int = 1000) -> None:
    async def run() -> None:
        await reader.claim([shard])
        for start in range(0, len(records), size):
            await turn(reader, {shard: records[start : start + size]})

    asyncio.run(run())


def test_an_event_causes_the_same_commands_however_often_it_is_delivered(views: Engine) -> None:
    shard, first, second = Shard().fill(40), Outbox(), Outbox()

    apply(reading_set(views, first.send), shard.name, arrivals(shard), size=7)
    apply(reading_set(views, first.send), shard.name, arrivals(shard), size=9)
    apply(reading_set(open_fresh(views), second.send), shard.name, arrivals(shard))

    assert len(first.wishes) == 20
    assert first.wishes == second.wishes
    assert len({wish.id for wish in first.wishes}) == 20
    wish = first.wishes[0]
    assert wish.time == datetime(2026, 1, 1, 0, 0, 0, 3000, UTC)
    assert wish.traceparent == f"00-{'1' * 32}-{'2' * 16}-01"


def open_fresh(views: Engine) -> Engine:
    """Another deployment's database, which has read nothing."""
    with views.begin() as connection:
        connection.exec_driver_sql("delete from positions")
    return views


def test_a_command_that_could_not_be_sent_is_sent_later(views: Engine) -> None:
    """First sent, then remembered: never the other way round."""
    shard, outbox = Shard().fill(8), Outbox(down=True)
    reader = reading_set(views, outbox.send)

    with pytest.raises(KafkaConnectionError):
        apply(reader, shard.name, arrivals(shard))
    with reading(views) as connection:
        assert positions_of(connection, "close_again")[shard.name].next == 0
    outbox.down = False
    apply(reader, shard.name, arrivals(shard))

    assert len(outbox.wishes) == 4


def test_a_process_parks_the_stream_at_which_it_fails_and_redrive_sends(views: Engine) -> None:
    shard, outbox = Shard(), Outbox()
    for n in range(12):
        shard.append(f"s{n % 3}", "bad" if n == 4 else "close")
    broken.add("bad")
    reader = reading_set(views, outbox.send)
    apply(reader, shard.name, arrivals(shard), size=5)

    assert len(outbox.wishes) == 2 * (12 - 3)
    failure = asyncio.run(ProcessReader(views, CLOSE, outbox.send).redrive("tally/key/s1")).failure
    assert (failure or "").startswith("ZeroDivisionError")
    broken.clear()
    assert asyncio.run(ProcessReader(views, CLOSE, outbox.send).redrive("tally/key/s1")).applied == 3
    shard.append("s1", "close")
    asyncio.run(turn(reader, {shard.name: arrivals(shard, 12)}))

    assert len({wish.id for wish in outbox.wishes}) == 2 * 12
    with reading(views) as connection:
        assert parked_streams(connection) == []


def test_a_process_whose_shard_was_claimed_by_another_moves_nothing(views: Engine) -> None:
    shard, outbox = Shard().fill(4), Outbox()
    old, new = reading_set(views, outbox.send), reading_set(views, outbox.send)
    apply(old, shard.name, arrivals(shard))
    shard.fill(4)
    apply(new, shard.name, [])

    asyncio.run(turn(old, {shard.name: arrivals(shard, 4)}))
    with reading(views) as connection:
        assert positions_of(connection, "close_again")[shard.name].next == 4
    asyncio.run(turn(new, {shard.name: arrivals(shard, 4)}))

    assert len({wish.id for wish in outbox.wishes}) == 4
    with reading(views) as connection:
        assert positions_of(connection, "close_again")[shard.name].next == 8


def test_a_turn_over_many_shards_is_one_transaction(views: Engine) -> None:
    outbox, shards = Outbox(), [Shard(partition=n).fill(8) for n in range(3)]
    reader = reading_set(views, outbox.send)
    commits = [0]

    async def run() -> None:
        await reader.claim([shard.name for shard in shards])
        commits[0] = 0
        await turn(reader, {shard.name: arrivals(shard) for shard in shards})

    event.listen(views, "commit", lambda _: commits.__setitem__(0, commits[0] + 1))
    asyncio.run(run())

    assert commits == [1]
    with reading(views) as connection:
        assert {p.next for p in positions_of(connection, "close_again").values()} == {8}
    assert len(outbox.wishes) == 3 * 4


def test_a_shard_that_is_given_away_while_its_commands_are_sent_is_not_advanced(views: Engine) -> None:
    """A rebalance comes when it likes. Whoever has the shard then sends the same commands, and moves its position."""
    lost, kept = Shard(partition=0).fill(8), Shard(partition=1).fill(8)
    outbox = Outbox()

    async def send(wishes: Sequence[Wish]) -> None:
        is_first = not outbox.wishes
        await outbox.send(wishes)
        if is_first:
            await reader.claim([kept.name])

    reader = reading_set(views, send)

    async def run() -> None:
        await reader.claim([lost.name, kept.name])
        await turn(reader, {shard.name: arrivals(shard) for shard in (lost, kept)})
        await turn(reader, {kept.name: arrivals(kept)})

    asyncio.run(run())

    with reading(views) as connection:
        found = positions_of(connection, "close_again")
    assert {name: position.next for name, position in found.items()} == {lost.name: 0, kept.name: 8}
    assert len(outbox.wishes) == 8 + 4


def collect(records: Sequence[RawRecord]) -> Iterable[Intent]:
    if any(record.value == b"bad" for record in records):
        raise ValueError("bad")
    yield Intent(RevokeKey(reason="retired"), "tally/key/" + "+".join(record.value.decode() for record in records))


def raw(partition: int, record: Arrival) -> RawRecord:
    return RawRecord(partition, record.offset, record.key, record.value, record.headers, record.timestamp)


def collector(views: Engine, topic: str, outbox: Outbox) -> CollectorReader:
    return CollectorReader(views, Collector("beats", topic, collect), outbox.send, raw)  # type: ignore[arg-type]


def test_a_collector_drops_what_it_has_collected_and_parks_what_it_cannot(views: Engine) -> None:
    outbox = Outbox()
    reader = collector(views, "beats", outbox)

    apply(reader, "beats/0", [Arrival(0, b"a"), Arrival(1, b"bad"), Arrival(2, b"b")])
    apply(reader, "beats/0", [Arrival(1, b"bad"), Arrival(2, b"b"), Arrival(3, b"c")])

    assert [wish.subject for wish in outbox.wishes] == ["tally/key/a+b", "tally/key/c"]
    with reading(views) as connection:
        (stream,) = parked_streams(connection)
        position = positions_of(connection, "beats")["beats/0"]
    assert (stream.stream, stream.sequence, stream.reason) == ("device", 1, "ValueError: bad")
    assert (position.next, position.last_hash) == (4, sha256(b"c").hexdigest())


def test_records_that_a_collector_fails_at_do_not_fill_the_log(views: Engine, caplog: pytest.LogCaptureFixture) -> None:
    """Its topic is open to everybody, and a traceback is long."""
    reader = collector(views, "beats", Outbox())

    for offset in range(100):
        apply(reader, "beats/0", [Arrival(offset, b"bad")])

    assert len([said for said in caplog.messages if "cannot collect" in said]) == MOST_LINES
    with reading(views) as connection:
        assert [stream.waiting for stream in parked_streams(connection)] == [100]


def test_what_a_collector_parked_is_collected_with_all_that_came_with_it(views: Engine) -> None:
    """A beat's signature is a header: without it nothing could be verified again."""
    seen: list[RawRecord] = []

    def picky(records: Sequence[RawRecord]) -> Iterable[Intent]:
        seen.extend(records)
        if broken:
            raise ValueError("bad")
        yield Intent(RevokeKey(reason="retired"), f"tally/key/{records[0].value.decode()}")

    outbox, headers = Outbox(), (("signature", b"ed25519:\xff"), ("empty", b""))
    reader = CollectorReader(views, Collector("beats", "beats", picky), outbox.send, raw)  # type: ignore[arg-type]
    broken.add("collecting")
    apply(reader, "beats/3", [Arrival(n, b"x%d" % n, headers=headers) for n in range(2)])
    apply(reader, "beats/3", [Arrival(0, b"x0", headers=headers)])
    failure = asyncio.run(CollectorReader(views, reader._collector, outbox.send, raw).redrive("device")).failure
    broken.clear()
    first = seen[0]

    redriven = asyncio.run(CollectorReader(views, reader._collector, outbox.send, raw).redrive("device"))

    assert failure == "ValueError: bad"
    assert (redriven.applied, redriven.failure) == (2, None)
    assert (seen[-2].value, list(seen[-2].headers)) == (first.value, list(headers))
    assert (seen[-2].partition, seen[-2].offset, seen[-2].timestamp_ms) == (3, 0, first.timestamp_ms)
    assert [wish.subject for wish in outbox.wishes] == ["tally/key/x0", "tally/key/x1"]
    with reading(views) as connection:
        assert parked_streams(connection) == []


def test_a_collector_begins_anew_in_a_topic_that_was_made_anew(kafka: str, sqlite_url: str) -> None:
    views, outbox, topic = open_views(sqlite_url), Outbox(), f"raw{uuid4().hex}"
    client = {"bootstrap_servers": kafka}
    reader = collector(views, topic, outbox)

    async def publish(*values: bytes) -> None:
        await create_topics([Topic(topic, 1)], client)
        async with AIOKafkaProducer(**client) as producer:
            for value in values:
                await producer.send_and_wait(topic, value, partition=0)

    async def resumed() -> int:
        await reader.claim([f"{topic}/0"])
        async with looking(client) as look:
            (place,) = (await reader.resume(look, [TopicPartition(topic, 0)], thorough=False)).values()
            assert isinstance(place, int)
            return place

    asyncio.run(publish(b"a", b"b", b"c"))
    apply(reader, f"{topic}/0", [Arrival(0, b"a"), Arrival(1, b"b")])
    assert asyncio.run(resumed()) == 2
    apply(reader, f"{topic}/0", [Arrival(2, b"x")])
    assert asyncio.run(resumed()) == 0
    apply(reader, f"{topic}/0", [Arrival(0, b"a")])

    assert [wish.subject for wish in outbox.wishes] == ["tally/key/a+b", "tally/key/x", "tally/key/a"]


def test_a_derived_id_is_a_uuid_of_version_seven() -> None:
    """Of the cause's time, so that the inbox's index grows at its end."""
    moment = datetime(2026, 11, 24, 3, 33, tzinfo=UTC)

    derived = UUID(Uuid.checked(derived_uuid7(moment, "event\nprocess\n0")))

    assert (derived.version, derived.variant) == (7, "specified in RFC 4122")
    assert derived.int >> 80 == int(moment.timestamp() * 1000)
    assert derived != UUID(derived_uuid7(moment, "event\nprocess\n1"))
