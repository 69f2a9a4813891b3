"""The audit log: durable leaves, proofs, a check of all of it, growth to a million, and how fresh its heads are."""

import asyncio
import hashlib
import random
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from aiokafka import AIOKafkaProducer
from sqlalchemy import Engine

from adapters.audit import AuditLog, Sequencer, check_log
from adapters.audit.reader import GATHER_SECONDS, Clock, SequencerReader
from adapters.audit.signing import sign_head
from adapters.faust.group import Group
from adapters.garbage import collect_rarely
from adapters.kafka.topics import create_topics, topics_of
from adapters.keys import Signer, ed25519_signer, verify
from adapters.sql import engine_for
from adapters.sql.schema import upgrade
from adapters.tlog.notes import NoteSigner
from adapters.tlog.tree import leaf_hash, verify_inclusion
from adapters.vouching import vouched_by
from ops.bench import Measure, judged
from ops.bench._events import SHARDS
from ops.bench._servers import broker, postgres
from ops.bench._signed import TOPIC, Delivered, signed_records

BATCH = 1_000
LEAVES = 50_000
MANY = 1_000_000
PROOFS = 2_000
ROUNDS = 3
PACE = 500
"""Records a second while the freshness of heads is measured."""
NOTES = NoteSigner.of("audit.example/bench/1", bytes(32))

Verify = Callable[[str, bytes, str], bool]


def measures() -> Iterator[Measure]:
    """Records of half a kilobyte in four shards, batches of a thousand, a seal each."""
    collect_rarely()
    signer = ed25519_signer(bytes(range(32)))
    with TemporaryDirectory() as folder, postgres() as create:
        records = list(signed_records(LEAVES, signer))
        for name, make in (("SQLite", lambda n: f"sqlite:///{folder}/{n}.db"), ("PostgreSQL", create)):
            yield from _appended(name, make, records, signer)
        yield from _grown(Path(folder), signer)
    with broker() as client, TemporaryDirectory() as folder:
        yield asyncio.run(_fresh(client, Path(folder), signer))


def _appended(name: str, make: Callable[[str], str], records: Sequence[Delivered], signer: Signer) -> Iterator[Measure]:
    hashed, verified, bare = [], [], []
    for n in range(ROUNDS):
        hashed.append(_append(_open(make(f"hashed{n}")), records, signer, _believe))
        verified.append(_append(_open(make(f"verified{n}")), records[: LEAVES // 2], signer, verify))
        bare.append(_bare_verify(records[:10_000], signer))
    yield judged(
        f"durable leaves on {name}, hashed and not verified / 50,000 a second",
        hashed, [50_000.0] * ROUNDS, unit="leaves/s", goal="≥ 1", is_met=lambda ratio, _: ratio >= 1,
    )  # fmt: skip
    yield judged(
        f"durable leaves on {name}, every signature verified / bare verify",
        verified, bare, unit="leaves/s", goal="≥ 0.5", is_met=lambda ratio, _: ratio >= 0.5,
    )  # fmt: skip


def _grown(folder: Path, signer: Signer) -> Iterator[Measure]:
    """One log of a million: how its first and last leaves compare, what its proofs cost, how long all of it takes to check."""
    engine = _open(f"sqlite:///{folder}/million.db")
    sequencer, stream = _claimed(engine, signer, _believe), signed_records(MANY, signer)
    first = last = _rate(sequencer, list(islice(stream, 10_000)))
    while len(chunk := list(islice(stream, 10_000))) == 10_000:
        last = _rate(sequencer, chunk)
    yield judged(
        "durable leaves, the last 10,000 of a million / the first 10,000", [last], [first], unit="leaves/s",
        goal="≥ 0.8", is_met=lambda ratio, _: ratio >= 0.8,
    )  # fmt: skip
    sign_head(engine, NOTES, folder / "last-signed")
    yield from _proved(engine)
    yield _checked(engine, list(signed_records(10_000, signer)), signer)


def _proved(engine: Engine) -> Iterator[Measure]:
    log, chance = AuditLog(engine), random.Random(7)  # noqa: S311  which entries are asked for is no secret
    indices = [chance.randrange(log.checkpoint()[0]) for _ in range(PROOFS)]
    served, checked, floor = [], [], []
    size, root = log.checkpoint()[0], log.root(log.checkpoint()[0])
    for index in indices:
        began = time.perf_counter()
        proof = log.prove(index)
        served.append((time.perf_counter() - began) * 1e6)
        entry = leaf_hash(log.entry(index))
        began = time.perf_counter()
        verify_inclusion(entry, index, size, proof.path, root)
        checked.append((time.perf_counter() - began) * 1e6)
        began = time.perf_counter()
        for sibling in proof.path:
            entry = hashlib.sha256(b"\1" + entry + sibling).digest()
        floor.append((time.perf_counter() - began) * 1e6)
    yield judged(
        "proof of an entry of a million, from SQL, median / 1 ms", [statistics.median(served)], [1_000.0], unit="µs",
        goal="≤ 1", is_met=lambda ratio, _: ratio <= 1,
    )  # fmt: skip
    yield judged(
        "verifying it, median / its bare hashes", [statistics.median(checked)], [statistics.median(floor)], unit="µs",
        goal="≤ 30 µs", is_met=lambda _, ours: ours <= 30,
    )  # fmt: skip


def _checked(engine: Engine, records: Sequence[Delivered], signer: Signer) -> Measure:
    began = time.perf_counter()
    if found := next(check_log(engine, NOTES.key, verify), None):
        raise RuntimeError(f"the log does not fit: {found}")
    ours = MANY / (time.perf_counter() - began)
    return judged(
        "check of a million entries, signatures, chains, seals, tree and tiles / bare verify",
        [ours], [_bare_verify(records, signer)], unit="entries/s", goal="≥ 0.5", is_met=lambda ratio, _: ratio >= 0.5,
    )  # fmt: skip


def _open(url: str) -> Engine:
    engine = engine_for(url)
    upgrade(engine, "audit")
    return engine


def _believe(did: str, value: bytes, signature: str) -> bool:
    del did, value, signature
    return True


def _claimed(engine: Engine, signer: Signer, verified_by: Verify) -> Sequencer:
    sequencer = Sequencer(engine, "bench", vouched_by("bench", [signer.did], verified_by))
    sequencer.claim([f"{TOPIC}/{n}" for n in range(SHARDS)])
    return sequencer


def _append(engine: Engine, records: Sequence[Delivered], signer: Signer, verified_by: Verify) -> float:
    return _rate(_claimed(engine, signer, verified_by), records)


def _rate(sequencer: Sequencer, records: Sequence[Delivered]) -> float:
    batches = [_by_shard(records[start : start + BATCH]) for start in range(0, len(records), BATCH)]
    began = time.perf_counter()
    for _ in sequencer.apply_each(batches):
        pass
    return len(records) / (time.perf_counter() - began)


def _by_shard(records: Sequence[Delivered]) -> Mapping[str, Sequence[Delivered]]:
    return {shard: [record for record in records if record.shard == shard] for shard in {record.shard for record in records}}


def _bare_verify(records: Sequence[Delivered], signer: Signer) -> float:
    signatures = [record.headers[0][1].decode() for record in records]
    began = time.perf_counter()
    for record, signature in zip(records, signatures, strict=True):
        verify(signer.did, record.value, signature)
    return len(records) / (time.perf_counter() - began)


async def _fresh(client: Mapping[str, Any], folder: Path, signer: Signer) -> Measure:
    """From the moment a record is handed to Kafka to the signed head that covers it, at PACE records a second."""
    await create_topics(topics_of(["providers"], [], SHARDS), client)
    engine = _open(f"sqlite:///{folder}/fresh.db")
    sequencer = Sequencer(engine, "bench", vouched_by("bench", [signer.did], verify))
    reader, sent, ages = SequencerReader(sequencer, [TOPIC]), dict[tuple[str, int], float](), list[float]()

    async def signed(note: str) -> None:
        del note
        now, positions = time.perf_counter(), AuditLog(engine).positions()
        covered = [place for place in sent if place[1] < positions.get(place[0], 0)]
        ages.extend(now - sent.pop(place) for place in covered)

    clock, stop = Clock(reader, sequencer, NOTES, folder / "last-signed", on_signed=signed), asyncio.Event()
    group = Group(reader, client, network="bench", gather=GATHER_SECONDS)
    tasks = [asyncio.create_task(group.run(stop)), asyncio.create_task(clock.run())]
    producer = AIOKafkaProducer(**client, acks="all")
    await producer.start()
    try:
        await _send(producer, signed_records(PACE * 15, signer), sent)
        while sent and not any(task.done() for task in tasks):  # noqa: ASYNC110  a look is enough
            await asyncio.sleep(0.1)
    finally:
        await producer.stop()
        stop.set()
        tasks[1].cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    p99 = statistics.quantiles(ages, n=100)[98]
    return judged(
        f"event to signed head at {PACE} a second, p99 / 2 s", [p99], [2.0], unit="s", goal="≤ 1",
        is_met=lambda ratio, _: ratio <= 1,
    )  # fmt: skip


async def _send(producer: AIOKafkaProducer, records: Iterator[Delivered], sent: dict[tuple[str, int], float]) -> None:
    began = time.perf_counter()
    for n, record in enumerate(records):
        if (ahead := n / PACE - (time.perf_counter() - began)) > 0.005:
            await asyncio.sleep(ahead)
        sent[record.shard, record.offset] = time.perf_counter()
        partition = int(record.shard.rpartition("/")[2])
        await producer.send(TOPIC, record.value, key=record.key, partition=partition, headers=list(record.headers))
