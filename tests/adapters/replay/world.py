"""A signed log of several shards, as the audit log and as Kafka's topic hold it, and the projection that tells all of it."""

import asyncio
import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any

from aiokafka import AIOKafkaProducer

from adapters.audit import Sequencer
from adapters.kafka.topics import Topic, create_topics
from adapters.keys import Signer, ed25519_signer, verify
from adapters.replay.logged import LogSource
from adapters.sql import engine_for
from adapters.vouching import vouched_by
from contracts import ZERO_HASH, Record, event_id, rfc3339, shard_name
from contracts.identity import KeyRevoked
from tests.adapters.shards import KEY, START, Delivery, _asked
from tests.databases import upgrade

NETWORK = "test"
WRITER = ed25519_signer(bytes([7]) * 32)
REASONS = ("retired", "amend", "retired", "close")


@dataclass(frozen=True)
class Signed:
    """A record as a client delivers it."""

    offset: int
    value: bytes
    headers: Sequence[tuple[str, bytes]]


@dataclass
class SignedShard:
    """One shard that grows. A stream lives in one shard, so its name has the shard's number."""

    topic: str
    partition: int
    records: list[Signed] = field(default_factory=list)
    times: list[datetime] = field(default_factory=list)
    ids: list[str] = field(default_factory=list)
    _hash: str = ZERO_HASH
    _versions: dict[str, int] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return shard_name(self.topic, self.partition)

    def append(self, stream: str, reason: str, at: datetime, signer: Signer = WRITER) -> None:
        """The next record."""
        n, subject = len(self.records), f"tally/key/{stream}-{self.partition}"
        self._versions[subject] = self._versions.get(subject, 0) + 1
        asked = _asked(subject, f"{self.partition:08x}{n:024x}")
        asked.network = NETWORK
        value = Record.encode(
            KeyRevoked(key=KEY, reason=reason), command=asked, id=event_id(KEY, asked.id, 0), source=signer.did,
            time=rfc3339(at), shard=self.name, sequence=n, streamversion=self._versions[subject], prevhash=self._hash,
        )  # fmt: skip
        self._hash = sha256(value).hexdigest()
        self.times.append(at)
        self.ids.append(event_id(KEY, asked.id, 0))
        self.records.append(Signed(n, value, [("signature", signer.sign(value).encode())]))

    def deliveries(self, start: int = 0, end: int | None = None) -> list[Delivery]:
        return [Delivery(record.offset, record.value) for record in self.records[start:end]]


@dataclass
class World:
    """Shards whose clocks are not each other's: one stands still now and then, one is an hour ahead."""

    context: str = "tally"
    shards: list[SignedShard] = field(default_factory=list)

    @property
    def topic(self) -> str:
        return f"{self.context}.events"

    @property
    def topics(self) -> list[str]:
        return [self.topic]

    def fill(self, count: int = 60, partitions: int = 3, seed: int = 1) -> "World":
        chance = random.Random(seed)
        self.shards = [SignedShard(self.topic, n) for n in range(partitions)]
        for shard in self.shards:
            now = START + timedelta(hours=shard.partition == 2)
            for _ in range(count + shard.partition):
                now += timedelta(milliseconds=chance.choice((0, 0, 7, 40)))
                shard.append(f"s{chance.randrange(6)}", chance.choice(REASONS), now)
        return self

    def whole(self) -> dict[str, int]:
        return {shard.name: len(shard.records) for shard in self.shards}

    def into_log(self, folder: Path, batches: int = 4, name: str = "audit") -> LogSource:
        """The audit log of it, sealed in so many batches."""
        engine = engine_for(f"sqlite:///{folder}/{name}.db")
        upgrade(engine, "audit")
        sequencer = Sequencer(engine, NETWORK, vouched_by(NETWORK, [WRITER.did], verify))
        sequencer.claim([shard.name for shard in self.shards])
        for n in range(batches):
            sequencer.apply({s.name: _part(s.records, n, batches) for s in self.shards})
        return LogSource(engine)

    def publish(self, kafka: str, chosen: Sequence[tuple[int, Signed]] | None = None) -> dict[str, Any]:
        """To the topic, in this order (else shard by shard); the client's options."""
        client = {"bootstrap_servers": kafka}
        records = chosen if chosen is not None else [(s.partition, record) for s in self.shards for record in s.records]

        async def send() -> None:
            await create_topics([Topic(self.topic, len(self.shards))], client)
            async with AIOKafkaProducer(**client, enable_idempotence=True, linger_ms=2) as producer:
                sent = [
                    await producer.send(
                        self.topic, record.value, key=b"k", partition=partition, headers=list(record.headers)
                    )
                    for partition, record in records
                ]  # fmt: skip
                await asyncio.gather(*sent)

        asyncio.run(send())
        return client


def _part(records: list[Signed], n: int, parts: int) -> list[Signed]:
    return records[len(records) * n // parts : len(records) * (n + 1) // parts]
