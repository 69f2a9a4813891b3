"""The read side: chunks through Faust into SQL, and a rebuild with the chain verified, against bare consumers."""

import asyncio
import hashlib
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from aiokafka import AIOKafkaProducer, TopicPartition
from sqlalchemy import Column, LargeBinary, MetaData, String, Table, insert

from adapters.faust.group import Group
from adapters.kafka.bare import bare_consumer
from adapters.kafka.topics import create_topics, topics_of
from adapters.keys import ed25519_signer
from adapters.sql import engine_for
from adapters.sql.schema import upgrade
from adapters.views import Projector
from adapters.views.folding import Parts
from adapters.views.readers import ProjectionReader
from adapters.views.rebuild import Rebuild
from contracts import ZERO_HASH, CommandRecord, Event, EventId, Record, event_id, uuid7
from contracts.providers import ProviderDraining, ProviderResumed, StandingNoted
from ops.bench import Measure, judged
from ops.bench._servers import broker
from projections import Projection
from projections.providers import routing_table

EVENTS = 200_000
DEVICES = 10_000
ROUNDS = 3
SHARDS = 4


def measures() -> Iterator[Measure]:
    """Standings, drains and resumptions of 10,000 providers: 10,000 rows that change all the time."""
    with TemporaryDirectory() as folder, broker() as client:
        asyncio.run(_publish(client))
        rebuilt: list[float] = []
        chunked: list[float] = []
        bare: list[float] = []
        upserted: list[float] = []
        for n in range(ROUNDS):
            where = f"sqlite:///{folder}/views{n}.db"
            upgrade(engine_for(where), "views")
            chunked.append(asyncio.run(_project(where, client)))
            upserted.append(asyncio.run(_consume(client, Path(folder) / f"bare{n}.db")))
            rebuilt.append(_rebuild(where, client))
            bare.append(asyncio.run(_consume(client)))
    yield judged(
        "projection through Faust into SQLite, chain verified / bare consume + insert of the same bytes",
        chunked, upserted, unit="events/s", goal="≥ 0.3", is_met=lambda ratio, _: ratio >= 0.3,
    )  # fmt: skip
    yield judged(
        "rebuild on SQLite, chain verified / bare consumer of the same bytes",
        rebuilt, bare, unit="events/s", goal="≥ 0.3", is_met=lambda ratio, _: ratio >= 0.3,
    )  # fmt: skip
    yield judged(
        "rebuild on SQLite, chain verified, small fold / 100,000 events a second",
        rebuilt, [100_000.0] * ROUNDS, unit="events/s", goal="≥ 1", is_met=lambda ratio, _: ratio >= 1,
    )  # fmt: skip


@dataclass
class _Shard:
    name: str
    sequence: int = 0
    last_hash: str = ZERO_HASH


async def _publish(client: Mapping[str, Any]) -> None:
    """The events of a network that was busy for a while, chained as a worker chains them. Readers check the chain."""
    await create_topics(topics_of(["providers", "liveness"], [], SHARDS), client)
    producer = AIOKafkaProducer(**client, enable_idempotence=True, acks="all", linger_ms=20, max_batch_size=1024 * 1024)
    await producer.start()
    shards = [_Shard(f"providers.events/{n}") for n in range(SHARDS)]
    devices = [f"did:key:z6Mk{hashlib.sha256(str(n).encode()).hexdigest()[:44].replace('0', 'x')}" for n in range(DEVICES)]
    writer, now = ed25519_signer(os.urandom(32)).did, datetime.now(UTC)
    try:
        futures = []
        for n in range(EVENTS):
            partition, device = n % SHARDS, devices[(n // SHARDS * SHARDS + n % SHARDS) % DEVICES]
            value = _record(_event(n), device, shards[partition], writer, now, n // DEVICES + 1)
            key = f"providers/provider/{device}".encode()
            futures.append(await producer.send("providers.events", value, key=key, partition=partition))
            if len(futures) == 5_000:
                await asyncio.gather(*futures)
                futures.clear()
        await asyncio.gather(*futures)
    finally:
        await producer.stop()


def _event(n: int) -> Event:
    turn = n // DEVICES
    if turn % 3 == 0:
        cause = EventId(event_id("bench", "standing", turn))
        return StandingNoted(tier="pro", bonded=True, suspended=False, from_epoch=turn, cause=cause)
    return ProviderDraining() if turn % 3 == 1 else ProviderResumed()


def _record(event: Event, device: str, shard: _Shard, writer: str, now: datetime, version: int) -> bytes:
    command = CommandRecord(
        value=b"", signature="", hash="0" * 64, id=uuid7(), source=device, type="", subject=f"providers/provider/{device}",
        network="bench", dataschema="", time=now, expires=None, correlationid=None, causationid=None, streamversion=None,
        data={},
    )  # fmt: skip
    value = Record.encode(
        event, id=event_id(device, command.id, 0), command=command, source=writer, time=now.strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
        shard=shard.name, sequence=shard.sequence, streamversion=version, prevhash=shard.last_hash,
    )  # fmt: skip
    shard.sequence, shard.last_hash = shard.sequence + 1, hashlib.sha256(value).hexdigest()
    return value


async def _project(url: str, client: Mapping[str, Any]) -> float:
    """Events a second from the first chunk's commit to the last's."""
    reader = _Counting(ProjectionReader(Projector(engine_for(url), routing_table())))
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
    """A reader that is watched: what it has applied, and since when."""

    def __init__(self, reader: ProjectionReader) -> None:
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


def _parts(url: str, client: Mapping[str, Any]) -> Parts:
    projection: Projection = routing_table()
    return Parts(engine_for(url), projection, client)


def _rebuild(url: str, client: Mapping[str, Any]) -> float:
    result = asyncio.run(Rebuild(partial(_parts, url, dict(client)), processes=1).verify())
    if not result.equal:
        raise RuntimeError(f"rebuilt is not live: {result}")
    return result.events / result.seconds


async def _consume(client: Mapping[str, Any], database: Path | None = None) -> float:
    """A consumer that counts, or keeps what it reads in one transaction a poll."""
    metadata = MetaData()
    table = Table("plain", metadata, Column("key", String, primary_key=True), Column("value", LargeBinary))
    upsert = insert(table).prefix_with("or replace")
    engine = engine_for(f"sqlite:///{database}") if database is not None else None
    if engine is not None:
        metadata.create_all(engine)
    count = 0
    async with bare_consumer(client, max_poll_records=10_000) as consumer:
        places = [TopicPartition("providers.events", n) for n in range(SHARDS)]
        consumer.assign(places)
        await consumer.seek_to_beginning(*places)
        started = time.perf_counter()
        while count < EVENTS:
            polled = [record for records in (await consumer.getmany(timeout_ms=500)).values() for record in records]
            count += len(polled)
            if engine is not None and polled:
                with engine.begin() as connection:
                    connection.execute(upsert, [{"key": (r.key or b"").decode(), "value": r.value} for r in polled])
        return count / (time.perf_counter() - started)
