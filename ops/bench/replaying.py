"""Replay: a view folded again from its log, and one stream as it was then, each against a bare loop over the same records."""

import asyncio
import time
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import orjson
from aiokafka import TopicPartition
from sqlalchemy import Engine

from adapters.audit import Sequencer
from adapters.garbage import collect_rarely
from adapters.kafka.bare import bare_consumer
from adapters.replay.kafka import kafka_source, records_between
from adapters.replay.logged import LogSource
from adapters.replay.sources import Source
from adapters.replay.streams import aggregate_at
from adapters.sql import engine_for
from adapters.sql.schema import upgrade
from adapters.views import Projector
from adapters.views.folding import Parts
from adapters.views.rebuild import Rebuild
from adapters.vouching import vouched_by
from contracts import partition_of, shard_name
from ops.bench import Measure, judged
from ops.bench._events import SHARDS, Delivered, records
from ops.bench._servers import broker
from ops.bench.exporting import TOPIC, publish
from projections.providers import routing_table

EVENTS = 100_000
DEVICES = 10_000
ROUNDS = 5
CUT = {shard_name(TOPIC, n): EVENTS // SHARDS for n in range(SHARDS)}
HALF = {shard: end // 2 for shard, end in CUT.items()}
"""The position that is asked about: the middle of the log."""


def measures() -> Iterator[Measure]:
    """Standings, drains and resumptions of 0.9 kB by 10,000 providers, over four shards."""
    collect_rarely()
    with TemporaryDirectory() as folder, broker() as client:
        asyncio.run(publish(client, EVENTS))
        yield _rebuilt(Path(folder), client)
        yield from _asked(Path(folder), client)


def _rebuilt(folder: Path, client: Mapping[str, Any]) -> Measure:
    url = f"sqlite:///{folder}/views.db"
    asyncio.run(_fold_live(url, client))
    ours, bare = [], []
    for _ in range(ROUNDS):
        ours.append(_rebuild(url, client))
        bare.append(EVENTS / asyncio.run(_parse(client, CUT)))
    return judged(
        "rebuild of the routing table on SQLite, chain verified and digests compared / bare loop that parses the same JSON",
        ours, bare, unit="events/s", goal="≥ 0.25", is_met=lambda ratio, _: ratio >= 0.25,
    )  # fmt: skip


def _asked(folder: Path, client: Mapping[str, Any]) -> Iterator[Measure]:
    stream, shard = _one_stream()
    engine = _logged(folder)
    kafka, log, bare = [], [], []
    for _ in range(ROUNDS):
        kafka.append(asyncio.run(_ask_kafka(client, stream)))
        log.append(asyncio.run(_ask(LogSource(engine), stream)))
        bare.append(asyncio.run(_parse(client, {shard: HALF[shard]})))
    for name, ours in (("Kafka", kafka), ("the audit log", log)):
        yield judged(
            f"a stream's state in the middle of {EVENTS:,} events, from {name} / bare loop that parses its shard's JSON",
            ours, bare, unit="s", goal="≤ 1 s", is_met=lambda _, seconds: seconds <= 1,
        )  # fmt: skip


def _one_stream() -> tuple[str, str]:
    """A provider whose records are where the partitioner would have put them."""
    for n, record in enumerate(records(DEVICES, DEVICES)):
        if partition_of(stream := record.key.decode(), SHARDS) == n % SHARDS:
            return stream, shard_name(TOPIC, n % SHARDS)
    raise LookupError("the partitioner puts none where the events are")


async def _fold_live(url: str, client: Mapping[str, Any]) -> None:
    """The view as readers would have made it."""
    engine = engine_for(url)
    upgrade(engine, "views")
    projector = Projector(engine, routing_table())
    projector.claim(list(CUT))
    async with kafka_source(client) as source:
        for shard, end in CUT.items():
            async for piece in source.read(shard, 0, end):
                projector.apply({shard: [Delivered(record.offset, record.value) for record in piece]})
    engine.dispose()


def _parts(url: str, client: Mapping[str, Any]) -> Parts:
    return Parts(engine_for(url), routing_table(), client)


def _rebuild(url: str, client: Mapping[str, Any]) -> float:
    """Events a second, as `spaceos rebuild --verify` does it."""
    result = asyncio.run(Rebuild(partial(_parts, url, dict(client))).verify())
    if not result.equal or result.events != EVENTS:
        raise RuntimeError(f"rebuilt is not live: {result}")
    return result.events / result.seconds


async def _parse(client: Mapping[str, Any], cut: Mapping[str, int]) -> float:
    """Seconds. Nothing is verified, and nothing kept."""
    async with bare_consumer(client, max_poll_records=10_000) as consumer:
        began = time.perf_counter()
        for shard, end in cut.items():
            topic, _, partition = shard.rpartition("/")
            place = TopicPartition(topic, int(partition))
            consumer.assign([place])
            async for record in records_between(consumer, place, 0, end):
                orjson.loads(record.value)
        return time.perf_counter() - began


async def _ask_kafka(client: Mapping[str, Any], stream: str) -> float:
    async with kafka_source(client) as source:
        return await _ask(source, stream)


async def _ask(source: Source, stream: str) -> float:
    """Seconds."""
    began = time.perf_counter()
    found = await aggregate_at(source, stream, HALF, SHARDS)
    if not found:
        raise RuntimeError(f"nothing is known of {stream}")
    return time.perf_counter() - began


def _logged(folder: Path) -> Engine:
    """The audit log of as many such records. Whether they are signed is not what is measured here."""
    engine = engine_for(f"sqlite:///{folder}/audit.db")
    upgrade(engine, "audit")
    stream = list(records(EVENTS, DEVICES))
    writer = orjson.loads(stream[0].value)["source"]
    sequencer = Sequencer(engine, "bench", vouched_by("bench", [writer], _believe))
    sequencer.claim(list(CUT))
    for batch in (stream[start : start + 1_000] for start in range(0, EVENTS, 1_000)):
        chunks: dict[str, list[Delivered]] = {}
        for record in batch:
            chunk = chunks.setdefault(shard_name(TOPIC, record.partition), [])
            chunk.append(Delivered(sequencer.position(shard_name(TOPIC, record.partition)).next + len(chunk), record.value))
        sequencer.apply(chunks)
    return engine


def _believe(did: str, value: bytes, signature: str) -> bool:
    del did, value, signature
    return True
