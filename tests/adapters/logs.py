"""A log on a real broker, the processes that read it, and what they must come to."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient
from sqlalchemy import Engine
from sqlalchemy.exc import DBAPIError

from adapters.kafka.topics import Topic, create_topics
from adapters.sql import engine_for, reading
from adapters.views import Projector, digest, positions_of
from tests.adapters.shards import VIEW, Shard, tally_projection
from tests.databases import upgrade


@dataclass
class Log:
    """A context's events topic, some of whose records are published."""

    kafka: str
    context: str
    partitions: int = 2
    shards: list[Shard] = field(init=False)

    def __post_init__(self) -> None:
        self.shards = [Shard(self.topic, partition) for partition in range(self.partitions)]
        self.make()

    @property
    def topic(self) -> str:
        return f"{self.context}.events"

    @property
    def client(self) -> dict[str, Any]:
        return {"bootstrap_servers": self.kafka}

    def make(self) -> None:
        asyncio.run(create_topics([Topic(self.topic, self.partitions)], self.client))

    def wipe(self) -> None:
        """Delete the topic and make it anew, empty."""

        async def delete() -> None:
            admin = AIOKafkaAdminClient(**self.client)
            await admin.start()
            try:
                await admin.delete_topics([self.topic])
                while self.topic in await admin.list_topics():  # noqa: ASYNC110  the broker tells nobody
                    await asyncio.sleep(0.05)
            finally:
                await admin.close()

        asyncio.run(delete())
        self.make()

    def fill(self, events: int, streams: int = 20) -> list[tuple[int, bytes]]:
        """New events in every shard: partition and value, ready to be published."""
        found = []
        for shard in self.shards:
            start = len(shard.values)
            for n in range(start, start + events // self.partitions):
                shard.append(f"p{shard.partition}-{n * n % streams}", ("retired", "amend", "retired", "close")[n % 4])
            found += [(shard.partition, value) for value in shard.values[start:]]
        return found

    def publish(self, records: Iterable[tuple[int, bytes]], pause_seconds: float = 0.0) -> None:
        """In this order; with a pause after every hundredth."""

        async def send() -> None:
            async with AIOKafkaProducer(**self.client, linger_ms=2, enable_idempotence=True) as producer:
                sent = []
                for count, (partition, value) in enumerate(records):
                    sent.append(await producer.send(self.topic, value, key=b"tally/key/x", partition=partition))
                    if pause_seconds and count % 100 == 99:
                        await asyncio.sleep(pause_seconds)
                await asyncio.gather(*sent)

        asyncio.run(send())

    def is_applied(self, engine: Engine, reader: str = "tally") -> bool:
        try:
            with reading(engine) as connection:
                found = positions_of(connection, reader)
        except DBAPIError:
            return False
        return all(shard.name in found and found[shard.name].next == len(shard.values) for shard in self.shards)

    def lasts(self) -> dict[str, str]:
        return {shard.name: sha256(shard.values[-1]).hexdigest() for shard in self.shards}


def open_views(url: str) -> Engine:
    engine = engine_for(url)
    upgrade(engine, "views")
    VIEW.create_all(engine)
    return engine


def view_digest(engine: Engine) -> str:
    with reading(engine) as connection:
        return digest(connection, tally_projection()).sha256


def folded_digest(shards: Sequence[Shard], folder: Path) -> str:
    """What the view must be: the shards' values folded one after the other into a database of their own."""
    engine = open_views(f"sqlite:///{folder}/expected-{time.time_ns()}.db")
    projector = Projector(engine, tally_projection())
    projector.claim([shard.name for shard in shards])
    for shard in shards:
        projector.apply({shard.name: shard.deliveries()})
    found = view_digest(engine)
    engine.dispose()
    return found


def eventually(holds: Callable[[], bool], seconds: float = 30.0) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, f"not so within {seconds} s"
        time.sleep(0.05)


class Process:
    """A projector process; what it logs is kept."""

    def __init__(self, log: Log, views: str, folder: Path, *options: str, **environment: str) -> None:
        self.output = folder / f"reader-{time.time_ns()}.log"
        with self.output.open("wb") as file:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.adapters.tally_reader", log.kafka, views, log.context, *options],
                stdout=file, stderr=subprocess.STDOUT, env={**os.environ, **environment},
            )  # fmt: skip

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()
        if error is not None:
            print(f"--- {self.output.name}\n{self.text()[-4000:]}")

    def signal(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    def code(self, seconds: float = 30.0) -> int:
        return self._process.wait(seconds)

    def text(self) -> str:
        return self.output.read_text(errors="replace")

    def says(self, words: str, seconds: float = 30.0) -> None:
        eventually(lambda: words in self.text(), seconds)

    @property
    def has_ended(self) -> bool:
        return self._process.poll() is not None

    @property
    def is_suspended(self) -> bool:
        return Path(f"/proc/{self._process.pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"
