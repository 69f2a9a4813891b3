"""Readers that are new catch up with a log together, and one alone, as `spaceos projector` runs them; against a bare loop."""

import asyncio
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson
from aiokafka import AIOKafkaProducer, TopicPartition
from sqlalchemy import Engine, func, select

from adapters.kafka.bare import bare_consumer
from adapters.keys import Signer, read_key
from adapters.replay.kafka import records_between
from adapters.sql import reading
from adapters.views.tables import positions
from ops.bench import Asked, Measure, Report, judged
from ops.bench._crowd import MEASURED, Crowd, Crowded
from ops.bench._deployment import Setting, another_views, prepared, processes
from ops.bench._events import SHARDS, records
from ops.compose import open_engine
from ops.settings import InvalidSettings

TOPIC = f"{MEASURED}.events"
EVENTS = 100_000
DEVICES = 10_000
READERS = 10
VIEW = "routing_table"
"""Of the readers this one is real; the others listen, and every other one of them writes a row an event."""
LOOK_SECONDS = 0.05
PATIENCE_SECONDS = 600.0
TOGETHER, ALONE = 0.10, 0.19
"""Shares of the bare loop: three times what ten readers with a consumer each took in, and what one of them did alone."""


async def measured(asked: Asked, report: Report) -> AsyncIterator[Measure]:
    """Standings, drains and resumptions of 0.9 kB by 10,000 providers, signed by the network's writer, over four shards."""
    setting = Setting(Crowd(only=VIEW, readers=READERS), 1, asked.postgresql, asked.store)
    if asked.store is not None:
        raise InvalidSettings("--store: each run begins with an empty database; --postgresql makes them")
    together: list[_Caught] = []
    alone: list[_Caught] = []
    bare: list[float] = []
    async with prepared(setting) as deployment:
        report.progress(f"writing {EVENTS:,} events")
        client = deployment.settings.kafka_client_options()
        await _publish(client, read_key(deployment.settings.keys / "writer.key"))
        for run in range(asked.runs):
            for found, readers in ((together, READERS), (alone, 1)):
                report.progress(f"{readers} readers from the beginning, run {run + 1} of {asked.runs}")
                crowd = Crowd(only=VIEW, readers=readers)
                fresh = Crowded(another_views(deployment.settings, f"views_{run}_{readers}"), crowd)
                found.append(await _catch_up(fresh, setting))
                document = {"readers": readers, "run": run + 1, "events_a_second": round(found[-1].rate, 1)}
                report.document({"bench": "catching_up", "database": setting.database, **document, "cpu": found[-1].cpu})
            bare.append(await _parse(client))
            report.document(
                {"bench": "catching_up", "what": "bare loop", "run": run + 1, "events_a_second": round(bare[-1], 1)}
            )
    rows = [
        (f"{readers} readers", f"{each.rate:,.0f}", f"{each.rate * readers:,.0f}", f"{each.cpu:.3f}")
        for found, readers in ((together, READERS), (alone, 1)) for each in found
    ]  # fmt: skip
    report.table(f"Catching up on {setting.database}", ("", "events/s", "× readers", "CPU, ms an event"), rows)
    yield _judged(f"{READERS} readers together", together, bare, TOGETHER, setting)
    yield _judged("one reader alone", alone, bare, ALONE, setting)


def _judged(who: str, found: Sequence["_Caught"], bare: list[float], goal: float, setting: Setting) -> Measure:
    name = f"events a second, {who} from the beginning on {setting.database} / bare loop that parses the same JSON"
    rates = [each.rate for each in found]
    return judged(name, rates, bare, unit="events/s", goal=f"≥ {goal:g}", is_met=lambda ratio, _: ratio >= goal)


@dataclass(frozen=True)
class _Caught:
    rate: float
    """Events a second of the log, for all readers: from the first that is in to the last of the slowest."""
    cpu: float
    """Milliseconds of the readers' process an event, its start among them."""


async def _catch_up(deployment: Crowded, setting: Setting) -> _Caught:
    views = open_engine(deployment.settings.views, "views")
    deployment.make_tables(views)
    wanted = EVENTS * sum(MEASURED in getattr(stream, "contexts", ()) for stream in deployment.streams)
    first: tuple[float, int] | None = None
    deadline = time.monotonic() + PATIENCE_SECONDS
    try:
        async with processes(deployment, setting, only=("projector",)) as found:
            done = 0
            while time.monotonic() < deadline:
                now = time.monotonic()
                done = await asyncio.to_thread(_done, views)
                if done and first is None:
                    first = (now, done)
                if done >= wanted:
                    assert first is not None
                    readers = wanted // EVENTS
                    return _Caught(
                        (done - first[1]) / (now - first[0]) / readers, found.cpu_since({})["projectors"] * 1000 / EVENTS
                    )
                await asyncio.sleep(LOOK_SECONDS)
            raise TimeoutError(f"{done:,} of {wanted:,} after {PATIENCE_SECONDS:.0f} s; {found.complaints()}")
    finally:
        views.dispose()


def _done(views: Engine) -> int:
    with reading(views) as connection:
        statement = select(func.sum(positions.c.next)).where(positions.c.shard.startswith(f"{TOPIC}/"))
        return int(connection.execute(statement).scalar_one() or 0)


async def _publish(client: Mapping[str, Any], writer: Signer) -> None:
    async with AIOKafkaProducer(**client, enable_idempotence=True, linger_ms=20, max_batch_size=1024 * 1024) as producer:
        futures = []
        for record in records(EVENTS, DEVICES, writer.did):
            signature = [("signature", writer.sign(record.value).encode())]
            sent = producer.send(TOPIC, record.value, key=record.key, partition=record.partition, headers=signature)
            futures.append(await sent)
            if len(futures) == 5_000:
                await asyncio.gather(*futures)
                futures.clear()
        await asyncio.gather(*futures)


async def _parse(client: Mapping[str, Any]) -> float:
    """Events a second: nothing is verified, and nothing kept."""
    async with bare_consumer(client, max_poll_records=10_000) as consumer:
        began = time.perf_counter()
        for place in (TopicPartition(TOPIC, n) for n in range(SHARDS)):
            consumer.assign([place])
            async for record in records_between(consumer, place, 0, EVENTS // SHARDS):
                orjson.loads(record.value)
        return EVENTS / (time.perf_counter() - began)
