"""Signed commands to durable events, against the library's own recorder and against bare cryptography."""

import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from tempfile import TemporaryDirectory
from uuid import uuid4

from eventsourcing.persistence import ApplicationRecorder, StoredEvent
from eventsourcing.sqlite import SQLiteApplicationRecorder, SQLiteDatastore
from sqlalchemy import make_url

from adapters import keys
from adapters.garbage import collect_rarely
from adapters.sql import engine_for
from adapters.sql.schema import upgrade
from adapters.sql.store import Store
from ops.bench import Measure, judged
from ops.bench._load import Load, begin, requests, standings
from ops.bench._servers import postgres
from ops.worker.checking import Door
from ops.worker.deciding import Chunk, Decider

COMMANDS = 4_000
BATCH = 1_000
ROUNDS = 7


def measures() -> Iterator[Measure]:
    """Ratios of one run: to saving the same events unsigned one by one, and to one verify and one sign a command."""
    collect_rarely()
    load, large = standings(COMMANDS * ROUNDS), requests(COMMANDS * ROUNDS)
    with TemporaryDirectory() as folder:
        yield from _measured("SQLite", load, f"sqlite:///{folder}/store.db", _sqlite_recorder(f"{folder}/theirs.db"))
        found = _rounds(large, f"sqlite:///{folder}/large.db", _sqlite_recorder(f"{folder}/large-theirs.db"))
    yield judged(
        "requests of 2 kB to two durable events each, one worker, SQLite / bare verify + two signs",
        found.ours, found.crypto, unit="commands/s", goal="shown", is_met=lambda _ratio, _ours: True,
    )  # fmt: skip
    with postgres() as create:
        yield from _measured("PostgreSQL", load, create("ours"), _postgres_recorder(create("theirs")))


def _measured(name: str, load: Load, url: str, theirs: ApplicationRecorder) -> Iterator[Measure]:
    found = _rounds(load, url, theirs)
    yield judged(
        f"signed commands to durable events, one worker, {name} / eventsourcing's recorder, the same events one by one",
        found.ours, found.one_by_one, unit="commands/s", goal="≥ 5", is_met=lambda ratio, _: ratio >= 5,
    )  # fmt: skip
    yield judged(
        f"signed commands to durable events, one worker, {name} / bare verify + sign",
        found.ours, found.crypto, unit="commands/s", goal="≥ 0.5", is_met=lambda ratio, _: ratio >= 0.5,
    )  # fmt: skip


def _sqlite_recorder(path: str) -> ApplicationRecorder:
    recorder = SQLiteApplicationRecorder(SQLiteDatastore(db_name=path))
    recorder.create_table()
    return recorder


def _postgres_recorder(url: str) -> ApplicationRecorder:
    """With its pool of connections, as it is used."""
    from eventsourcing.postgres import PostgresApplicationRecorder, PostgresDatastore

    at = make_url(url)
    datastore = PostgresDatastore(
        dbname=at.database or "", host=at.host or "", port=str(at.port or ""), user=at.username or "",
        password=at.password or "",
    )  # fmt: skip
    recorder = PostgresApplicationRecorder(datastore)
    recorder.create_table()
    return recorder


@dataclass
class _Rounds:
    ours: list[float]
    one_by_one: list[float]
    crypto: list[float]


def _rounds(load: Load, url: str, theirs: ApplicationRecorder) -> _Rounds:
    found = _Rounds([], [], [])
    bench = _Bench(load, url, theirs)
    for n in range(ROUNDS):
        found.ours.append(bench.decide(n))
        found.one_by_one.append(bench.save_one_by_one())
        found.crypto.append(bench.verify_and_sign(n))
    return found


class _Bench:
    def __init__(self, load: Load, url: str, theirs: ApplicationRecorder) -> None:
        self._load, self._theirs = load, theirs
        self._store = Store(engine_for(url))
        upgrade(self._store.engine, "store")
        self._writer = keys.ed25519_signer(os.urandom(32))
        begin(self._store, self._writer, load.grants)
        self._decider = Decider(self._store, self._writer, load.network, 1)
        self._shard = self._store.shard(load.context, 0)
        self._door = Door(load.context, 0, 1, load.network)
        self._values: list[bytes] = []
        self._events_a_command = 1

    def decide(self, n: int) -> float:
        """Commands a second from bytes to commit."""
        mine = self._load.records[n * COMMANDS : (n + 1) * COMMANDS]
        self._values = []
        started = time.perf_counter()
        for start in range(0, COMMANDS, BATCH):
            chunk = Chunk(self._shard, [self._door.check(record) for record in mine[start : start + BATCH]])
            sealed = self._decider.commit([chunk])
            self._shard = sealed.shards[0][1]
            self._values += [row.value for row in sealed.events]
            self._events_a_command = len(sealed.events) // len(sealed.commands)
        seconds = time.perf_counter() - started
        if len(self._values) < COMMANDS:
            raise RuntimeError(f"only {len(self._values)} events of {COMMANDS} commands: the load is refused")
        return COMMANDS / seconds

    def save_one_by_one(self) -> float:
        """The same events, unsigned and unchecked, through the library's recorder; a transaction each, as it is used."""
        values = self._values[: COMMANDS // 4]
        started = time.perf_counter()
        for value in values:
            self._theirs.insert_events([StoredEvent(uuid4(), 1, "bench.Event", value)])
        return len(values) / (time.perf_counter() - started)

    def verify_and_sign(self, n: int) -> float:
        """One Ed25519 verification, and a signature for each event, over the same bytes."""
        mine = self._load.records[n * COMMANDS : n * COMMANDS + COMMANDS // 2]
        started = time.perf_counter()
        for record in mine:
            assert keys.verify(record.source, record.value, record.signature)
            for _ in range(self._events_a_command):
                self._writer.sign(record.value)
        return len(mine) / (time.perf_counter() - started)
