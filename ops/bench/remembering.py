"""Credits to an account that knows very many references, against the same to one that knows few; a reference is for ever."""

import os
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import count
from tempfile import TemporaryDirectory

from adapters.garbage import collect_rarely
from adapters.kafka.commands import sign_command
from adapters.keys import ed25519_signer
from adapters.sql import engine_for
from adapters.sql.schema import upgrade
from adapters.sql.store import Store
from commands import Grant
from contracts import Amount, AssetName, Command
from contracts.treasury import AccountId, Credit, LedgerAccount, OpenAccount, Reference, account_stream
from ops.bench import Measure, judged
from ops.bench._load import NETWORK, begin, sent
from ops.bench._servers import postgres
from ops.worker.checking import Door
from ops.worker.deciding import Chunk, Decider

FEW, MANY = 1_000, int(os.environ.get("SPACEOS_BENCH_REFERENCES", "100000"))
COMMANDS = 2_000
BATCH = 500
ROUNDS = 5


def measures() -> Iterator[Measure]:
    """SPACEOS_BENCH_REFERENCES=1000000 for an account that a gateway has used for a day."""
    collect_rarely()
    with TemporaryDirectory() as folder, postgres() as create:
        for name, url in (("SQLite", f"sqlite:///{folder}/store.db"), ("PostgreSQL", create("remembering"))):
            yield from _measured(name, _Bench(url))


def _measured(name: str, bench: "_Bench") -> Iterator[Measure]:
    large, small = bench.open(MANY), ""
    many, few = list[float](), list[float]()
    written_many, written_few = list[float](), list[float]()
    for _ in range(ROUNDS):
        small = bench.open(FEW)
        few.append(bench.credit(small, COMMANDS))
        written_few.append(bench.written)
        many.append(bench.credit(large, COMMANDS))
        written_many.append(bench.written)
    at = f"an account with {MANY:,} references, one worker, {name} / {FEW:,} references"
    yield judged(
        f"credits to {at}", many, few, unit="commands/s", goal="≥ 0.8", is_met=lambda ratio, _: ratio >= 0.8
    )  # fmt: skip
    yield judged(
        f"bytes that snapshots write for each of {COMMANDS:,} credits to {at}", written_many, written_few, unit="bytes/command",
        goal="≤ 1.1", is_met=lambda ratio, _: ratio <= 1.1,
    )  # fmt: skip
    begun = [(bench.begin(large), bench.begin(small)) for _ in range(ROUNDS)]
    yield judged(
        f"from nothing at hand to the first credit to {at}", [many for many, _ in begun], [few for _, few in begun], unit="ms",
        goal="shown", is_met=lambda _ratio, _ours: True,
    )  # fmt: skip


class _Bench:
    def __init__(self, url: str) -> None:
        self._signer = ed25519_signer(os.urandom(32))
        self._store = Store(engine_for(url))
        upgrade(self._store.engine, "store")
        until = datetime.now(UTC) + timedelta(days=1)
        begin(self._store, self._signer, [Grant(self._signer.did, "treasury.process", "treasury/", until)])
        self._decider = Decider(self._store, self._signer, NETWORK, 1)
        self._shard = self._store.shard("treasury", 0)
        self._door = Door("treasury", 0, 1, NETWORK)
        self._names = count()
        self.written = 0.0
        """Bytes that the snapshots of the last credits wrote, for each of them."""

    def open(self, references: int) -> str:
        """An account that knows so many."""
        owner = AccountId(f"did:example:{os.urandom(8).hex()}")
        stream = account_stream(owner, "USD.s")
        self._decide([OpenAccount(owner=owner, asset=AssetName("USD.s"))], stream)
        self.credit(stream, references)
        return stream

    def credit(self, stream: str, many: int) -> float:
        """Commands a second, from bytes to commit."""
        seconds, bytes_ = 0.0, 0
        for start in range(0, many, BATCH):
            commands = [self._credit() for _ in range(min(BATCH, many - start))]
            spent, written = self._decide(commands, stream)
            seconds, bytes_ = seconds + spent, bytes_ + written
        self.written = bytes_ / many
        return many / seconds

    def begin(self, stream: str) -> float:
        """Milliseconds of a worker that knows nothing, to its first commit."""
        self._decider.forget()
        spent, _ = self._decide([self._credit()], stream)
        return spent * 1_000

    def _credit(self) -> Command:
        reference = Reference(f"0x{next(self._names):064x}:0")
        return Credit(amount=Amount.of("USD.s", 1), counter=LedgerAccount("deposits:evm"), reference=reference)

    def _decide(self, commands: list[Command], stream: str) -> tuple[float, int]:
        """Seconds, and the bytes that its snapshots wrote."""
        records = [sent(n, sign_command(command, stream, self._signer, NETWORK)) for n, command in enumerate(commands)]
        started = time.perf_counter()
        sealed = self._decider.commit([Chunk(self._shard, [self._door.check(record) for record in records])])
        seconds = time.perf_counter() - started
        self._shard = sealed.shards[0][1]
        if len(sealed.events) < len(commands):
            raise RuntimeError(f"only {len(sealed.events)} events of {len(commands)} commands: the load is refused")
        whole = sum(len(row.state) for row in sealed.snapshots)
        return seconds, whole + sum(len(row.key) + len(row.state) for row in sealed.shelved)
