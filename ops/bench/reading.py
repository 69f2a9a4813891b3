"""The read side: chunks through Faust into SQL, and a rebuild with the chain verified, against bare consumers."""

import asyncio
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from aiokafka import AIOKafkaProducer, TopicPartition
from sqlalchemy import BigInteger, Column, Engine, LargeBinary, MetaData, String, Table
from sqlalchemy.dialects import postgresql, sqlite

from adapters.faust.group import Group
from adapters.garbage import collect_rarely
from adapters.kafka.bare import bare_consumer
from adapters.kafka.topics import create_topics, topics_of
from adapters.sql import engine_for
from adapters.sql.schema import upgrade
from adapters.views import Projector
from adapters.views.folding import Parts
from adapters.views.rebuild import Rebuild
from adapters.views.sets import ReaderSet
from contracts import Event, Record
from ops.bench import Measure, judged
from ops.bench._events import SHARDS, records
from ops.bench._servers import broker, postgres
from projections import Projection, Session
from projections.providers import routing_table

EVENTS = 400_000
DEVICES = 10_000
ROUNDS = 3


def measures() -> Iterator[Measure]:
    """10,000 rows that change all the time, in either database; each round starts from an empty one."""
    collect_rarely()
    with TemporaryDirectory() as folder, broker() as client:
        asyncio.run(_publish(client))
        yield from _measured("SQLite", Path(folder), client, rebuild_goal=0.3)
        with postgres() as create:
            yield from _measured("PostgreSQL", Path(folder), client, rebuild_goal=0.2, create=create)


def _measured(
    name: str, folder: Path, client: Mapping[str, Any], *, rebuild_goal: float, create: Callable[[str], str] | None = None
) -> Iterator[Measure]:
    chunked, upserted, rebuilt, small, bare = [], [], [], [], []
    for n in range(ROUNDS):
        url, other = (create(f"{what}{n}") if create else f"sqlite:///{folder}/{what}{n}.db" for what in ("views", "bare"))
        upgrade(engine_for(url), "views")
        _tallies.metadata.create_all(engine_for(url))
        chunked.append(asyncio.run(_project(url, client, routing_table())))
        upserted.append(asyncio.run(_consume(client, other)))
        rebuilt.append(_rebuild(url, client, routing_table))
        bare.append(asyncio.run(_consume(client)))
        asyncio.run(_project(url, client, tally()))
        small.append(_rebuild(url, client, tally))
    yield judged(
        f"projection through Faust into {name}, chain verified / bare consume + upsert of the same bytes",
        chunked, upserted, unit="events/s", goal="≥ 0.3", is_met=lambda ratio, _: ratio >= 0.3,
    )  # fmt: skip
    yield judged(
        f"rebuild on {name}, chain verified / bare consumer of the same bytes",
        rebuilt, bare, unit="events/s", goal=f"≥ {rebuild_goal:g}", is_met=lambda ratio, _: ratio >= rebuild_goal,
    )  # fmt: skip
    yield judged(
        f"rebuild of a count by provider on {name}, chain verified / 100,000 events a second",
        small, [100_000.0] * ROUNDS, unit="events/s", goal="≥ 1", is_met=lambda ratio, _: ratio >= 1,
    )  # fmt: skip


# The smallest fold that still has a row for each provider


_tallies = Table("bench_tally", MetaData(), Column("stream", String(120), primary_key=True), Column("events", BigInteger))


def tally() -> Projection:
    return Projection("bench_tally", ("providers",), (_tallies,), _count)


def _count(_event: Event, record: Record, session: Session) -> None:
    known = session.get(_tallies, record.subject)
    session.put(_tallies, {"stream": record.subject, "events": known["events"] + 1 if known else 1})


async def _publish(client: Mapping[str, Any]) -> None:
    await create_topics(topics_of(["providers", "liveness"], [], SHARDS), client)
    producer = AIOKafkaProducer(**client, enable_idempotence=True, acks="all", linger_ms=20, max_batch_size=1024 * 1024)
    await producer.start()
    try:
        futures = []
        for record in records(EVENTS, DEVICES):
            future = await producer.send("providers.events", record.value, key=record.key, partition=record.partition)
            futures.append(future)
            if len(futures) == 5_000:
                await asyncio.gather(*futures)
                futures.clear()
        await asyncio.gather(*futures)
    finally:
        await producer.stop()


async def _project(url: str, client: Mapping[str, Any], projection: Projection) -> float:
    """Events a second from the first chunk's commit to the last's."""
    engine = engine_for(url)
    reader = _Counting(ReaderSet(engine, "readers", [Projector(engine, projection)]))
    stop = asyncio.Event()
    group = Group(reader, client, network=f"bench-{time.time_ns()}")
    running = asyncio.create_task(group.run(stop))
    while reader.applied < EVENTS and not running.done():  # noqa: ASYNC110  a look is enough
        await asyncio.sleep(0.02)
    seconds = time.perf_counter() - reader.began_at
    stop.set()
    await running
    return (reader.applied - reader.first) / seconds


class _Counting:
    """A set that is watched: what it has applied, and since when."""

    def __init__(self, reader: ReaderSet) -> None:
        self._reader = reader
        self.name, self.topics = reader.name, reader.topics
        self.claim, self.resume = reader.claim, reader.resume
        self.applied = self.first = 0
        self.began_at = 0.0

    async def apply(self, chunks: Mapping[str, Sequence[Any]]) -> Any:
        applied = await self._reader.apply(chunks)
        self.applied += sum(result.events for result in applied.values())
        if not self.first:
            self.first, self.began_at = self.applied, time.perf_counter()
        return applied


def _parts(url: str, client: Mapping[str, Any], make: Callable[[], Projection]) -> Parts:
    return Parts(engine_for(url), make(), client)


def _rebuild(url: str, client: Mapping[str, Any], make: Callable[[], Projection]) -> float:
    """As `spaceos rebuild` does it: in as many processes as there are cores, their start included."""
    result = asyncio.run(Rebuild(partial(_parts, url, dict(client), make)).verify())
    if not result.equal:
        raise RuntimeError(f"rebuilt is not live: {result}")
    return result.events / result.seconds


async def _consume(client: Mapping[str, Any], url: str | None = None) -> float:
    """A consumer that counts, or keeps the last value of each key in one transaction a poll."""
    engine = engine_for(url) if url is not None else None
    if engine is not None:
        _plain.metadata.create_all(engine)
    count = 0
    async with bare_consumer(client, max_poll_records=10_000) as consumer:
        places = [TopicPartition("providers.events", n) for n in range(SHARDS)]
        consumer.assign(places)
        await consumer.seek_to_beginning(*places)
        started = time.perf_counter()
        while count < EVENTS:
            polled = [record for chunk in (await consumer.getmany(timeout_ms=500)).values() for record in chunk]
            count += len(polled)
            if engine is not None and polled:
                _upsert(engine, {(record.key or b"").decode(): record.value or b"" for record in polled})
        return count / (time.perf_counter() - started)


_plain = Table("plain", MetaData(), Column("key", String, primary_key=True), Column("value", LargeBinary))


def _upsert(engine: Engine, rows: Mapping[str, bytes]) -> None:
    insert = (postgresql.insert if engine.dialect.name == "postgresql" else sqlite.insert)(_plain)
    upsert = insert.on_conflict_do_update(index_elements=["key"], set_={"value": insert.excluded.value})
    with engine.begin() as connection:
        connection.execute(upsert, [{"key": key, "value": value} for key, value in rows.items()])
