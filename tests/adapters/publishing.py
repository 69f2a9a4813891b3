"""A context on a real store and a real broker, for what publishes and compares."""

import asyncio
import json
from collections.abc import AsyncIterator, Collection, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from sqlalchemy import Engine, select, text

from adapters.kafka.authentic import signed_by
from adapters.kafka.bare import bare_consumer
from adapters.kafka.publisher import Publisher
from adapters.kafka.topics import create_topics, topics_of
from adapters.keys import Signer, ed25519_signer
from adapters.sql import reading, tables
from adapters.sql.outbox import Mark, Outbox
from adapters.sql.store import CommandRow, Decided, EventRow, Sealed, Shard, Store
from tests.databases import upgrade

PARTITIONS = 3
PATIENCE_SECONDS = 30.0
WRITER, STRANGER = ed25519_signer(b"w" * 32), ed25519_signer(b"s" * 32)


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

    def commit(
        self,
        partition: int = 0,
        events: int = 3,
        commands: int = 2,
        again: Collection[int] = (),
        sizes: Mapping[int, int] | None = None,
    ) -> Sealed:
        """A batch; the outcomes with the numbers `again` are to be repeated. Events are larger by the bytes in `sizes`."""

        def padded(number: int) -> bytes:
            return value(number) + b" " * (sizes or {}).get(number, 0)

        before = self.rows[partition]
        first, number = before.next_sequence, before.next_outcome
        after = replace(
            before, next_sequence=first + events, next_outcome=number + commands, position=before.position + commands
        )
        sealed = Sealed(
            shards=[(before, after)],
            events=[
                EventRow(before.id, n, f"{self.context}/{partition}", n + 1, "T", padded(n), "signed", None)
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
        return Publisher(outbox or self.outbox, self.client, signed_by({WRITER.did}, "test"))

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

    async def is_published_in(self, partition: int) -> bool:
        found, stored = await self.published(), self.stored()
        return all(distinct(found[place]) == stored[place] for place in stored if place[1] == partition)

    async def send(self, kind: str, *values: bytes, partition: int = 0) -> None:
        """As a publisher would have."""
        async with AIOKafkaProducer(**self.client) as producer:
            key, headers = self.context, []
            if kind == "events":
                key, headers = f"{self.context}/{partition}", [("signature", b"signed")]
            for record in values:
                await producer.send(f"{self.context}.{kind}", record, key=key.encode(), partition=partition, headers=headers)

    def made(self, kind: str, number: int, signer: Signer = WRITER, **other: Any) -> tuple[bytes, list[tuple[str, bytes]]]:
        """A record of shard 0 that the store does not have, and its headers."""
        shard = f"{self.context}.{kind}/0"
        document = {
            "sequence": f"{number:020d}", "shard": shard, "network": "test", "source": signer.did,
            "subject": f"{self.context}/key/k", "time": "2026-01-01T00:00:00.000000Z", **other,
        }  # fmt: skip
        record = json.dumps(document).encode()
        return record, [("signature", signer.sign(record).encode())]

    async def leave(self, kind: str, *records: tuple[bytes | None, list[tuple[str, bytes]]]) -> None:
        """On the topic of shard 0."""
        async with AIOKafkaProducer(**self.client) as producer:
            for record, headers in records:
                await producer.send_and_wait(f"{self.context}.{kind}", record, key=b"k", partition=0, headers=headers)

    def mark(self, events: Mark, outcomes: Mark) -> None:
        """Shard 0, as an owner before would have."""
        shard = self.rows[0].id
        self.outbox.mark({shard: (events, outcomes)}, self.outbox.claim([shard]))

    def repeat(self, number: int) -> None:
        """An outcome of shard 0 is asked for again."""
        with self.engine.begin() as connection:
            connection.execute(tables.repeats.insert().values(shard=self.rows[0].id, number=number))

    def repeats(self) -> int:
        """Those that are not answered."""
        with reading(self.engine) as connection:
            return int(connection.execute(text("select count(*) from repeats")).scalar_one())

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
