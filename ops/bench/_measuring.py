"""One rate of one deployment: the generator and the observer as processes beside it, and what the log says afterwards."""

import asyncio
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import quantiles
from typing import Any, Literal, TypeVar

import orjson
from aiokafka import TopicPartition
from pydantic import BaseModel
from sqlalchemy import Column

from adapters.kafka.bare import bare_consumer
from contracts import instant
from ops.bench._crowd import MEASURED
from ops.bench._deployment import NETWORK, Running
from ops.bench._observing import Look, Seen
from ops.bench._sending import Sent
from ops.bench._signing import Order
from ops.bench._usage import cpu_seconds, machine_seconds
from projections.inference import decisions
from projections.providers import providers

STAGES = {
    "log": "sent → acknowledged by the broker",
    "decided": "→ decided: the time that the event bears",
    "published": "→ published: the broker's time of the event",
    "view": "→ in the view",
}
HALF_A_TICK = 0.0005
"""The broker's times are whole milliseconds, cut off."""

LATE_MS = 250.0
"""A generator that is further behind its rhythm did not send what was asked."""
OTHERS_PERCENT = 20.0
"""Of a core: where something else took more, what is slow says nothing of us."""

M = TypeVar("M", bound=BaseModel)
Ends = Mapping[TopicPartition, int]


@dataclass(frozen=True)
class Percentiles:
    """In milliseconds."""

    p50: float
    p90: float
    p99: float

    @classmethod
    def of(cls, seconds: Sequence[float]) -> "Percentiles":
        if len(seconds) < 2:
            return cls(*[1000 * sum(seconds)] * 3)
        cuts = quantiles(seconds, n=100, method="inclusive")
        return cls(*(round(1000 * cuts[n], 2) for n in (49, 89, 98)))


@dataclass
class Rate:
    """What one rate came to."""

    asked: float
    achieved: float
    """Commands a second that the broker has acknowledged."""
    commands: int
    samples: int
    unseen: int
    """Samples whose row never came."""
    stages: dict[str, Percentiles] = field(default_factory=dict)
    """From the stage before."""
    whole: Percentiles = field(default_factory=lambda: Percentiles(0.0, 0.0, 0.0))
    """From sending to the row."""
    slowest_ms: float = 0.0
    cpu_ms: dict[str, float] = field(default_factory=dict)
    """A command, by process of the deployment."""
    generator_cpu_ms: float = 0.0
    observer_cpu_ms: float = 0.0
    late_p99_ms: float = 0.0
    others_percent: float = 0.0
    """Of a core, by whatever else ran on the machine, the kernel's own work among it."""
    restarts: int = 0

    @property
    def is_whole(self) -> bool:
        """All was sent in its rhythm and seen, by processes that lived."""
        return not self.unseen and not self.restarts and self.late_p99_ms <= LATE_MS

    @property
    def cpu_ms_of_all(self) -> float:
        """A command, without generator and observer."""
        return sum(self.cpu_ms.values())


@dataclass(frozen=True)
class Load:
    """What is sent, and where its row is seen."""

    kind: Literal["standings", "requests"]
    context: str
    rows: Column[Any]
    """Of the view: it names the last part of the command's subject."""


STANDINGS = Load("standings", MEASURED, providers.c.device)
REQUESTS = Load("requests", "inference", decisions.c.request)


async def measure(found: Running, load: Load, rate: float, warming: float, seconds: float, seed: int) -> Rate:
    """Raises RuntimeError when a process of ours fails."""
    settings = found.settings
    scratch, restarts = settings.home / f"rate-{seed}", found.supervisor.restarts
    scratch.mkdir()
    order = Order(
        client=settings.kafka_client_options(), partitions=settings.partitions, network=NETWORK, keys=settings.keys,
        kind=load.kind, rate=rate, warming=warming, seconds=seconds, seed=seed,
        observer=scratch / "inbox", results=scratch / "sent",
    )  # fmt: skip
    look = Look(
        url=settings.views, table=load.rows.table.name, column=load.rows.name, inbox=scratch / "inbox", results=scratch / "seen"
    )
    places = [TopicPartition(f"{load.context}.events", n) for n in range(settings.partitions)]
    begin = await _ends(found, places)
    async with _Child("ops.bench._observing", look) as observer, _Child("ops.bench._sending", order) as generator:
        backend = (await observer.answer())["backend"]
        await generator.answer()
        cpu = _Watch(found, backend)
        await generator.go()
        await asyncio.sleep(warming)
        cpu.begin()
        await generator.ended()
        cpu.end()
        await observer.ended()
    sent, seen = _read(Sent, order.results), _read(Seen, look.results)
    recorded = await _recorded(found, begin)
    return _summed(rate, sent, seen, recorded, cpu, found.supervisor.restarts - restarts)


def _summed(
    rate: float, sent: Sent, seen: Seen, recorded: Mapping[str, tuple[float, float]], cpu: "_Watch", restarts: int
) -> Rate:
    count = len(sent.name)
    found = Rate(
        rate, round(count / (max(sent.acknowledged) - sent.began), 2), count, len(seen.sent),
        len(seen.sent.keys() - seen.seen.keys()), restarts=restarts,
    )  # fmt: skip
    steps: dict[str, list[float]] = {stage: [] for stage in STAGES}
    for name, sent_at, acknowledged in zip(sent.name, sent.sent, sent.acknowledged, strict=True):
        if name not in recorded:
            continue
        decided, published = recorded[name]
        steps["log"].append(acknowledged - sent_at)
        # A worker may read a command before its sender hears that it is there.
        steps["decided"].append(max(0.0, decided - acknowledged))
        steps["published"].append(max(0.0, published - decided))
        if name in seen.seen:
            steps["view"].append(max(0.0, seen.seen[name] - published))
    found.stages = {stage: Percentiles.of(taken) for stage, taken in steps.items()}
    ways = [at - seen.sent[name] for name, at in seen.seen.items()]
    found.whole, found.slowest_ms = Percentiles.of(ways), round(1000 * max(ways, default=0.0), 1)
    found.cpu_ms = {name: round(1000 * taken / count, 4) for name, taken in cpu.taken.items()}
    found.generator_cpu_ms = round(1000 * sent.cpu_seconds / count, 4)
    found.observer_cpu_ms = round(1000 * (seen.cpu_seconds + cpu.of_backend) / count, 4)
    ours = sum(cpu.taken.values()) + cpu.of_backend + sent.cpu_seconds + seen.cpu_seconds
    found.others_percent = round(100 * (cpu.of_machine - ours) / (sent.ended - sent.began), 1)
    found.late_p99_ms = Percentiles.of(sent.late).p99
    return found


class _Watch:
    """What the deployment's processes took between two moments; what the observer's own asking cost the server is taken off."""

    def __init__(self, found: Running, backend: int | None) -> None:
        self._found, self._backend = found, backend
        self._before: dict[tuple[str, int], float] = {}
        self.taken: dict[str, float] = {}
        self.of_backend = self.of_machine = 0.0

    def begin(self) -> None:
        self._before, self.of_backend, self.of_machine = self._found.cpu(), self._backend_seconds(), machine_seconds()

    def end(self) -> None:
        self.taken = self._found.cpu_since(self._before)
        self.of_backend = self._backend_seconds() - self.of_backend
        self.of_machine = machine_seconds() - self.of_machine
        if "database" in self.taken:
            self.taken["database"] -= self.of_backend

    def _backend_seconds(self) -> float:
        # A server elsewhere has its processes elsewhere.
        return cpu_seconds(self._backend) if self._backend is not None and "database" in self._found.pids() else 0.0


async def _ends(found: Running, places: Sequence[TopicPartition]) -> Ends:
    async with bare_consumer(found.settings.kafka_client_options()) as consumer:
        return dict(await consumer.end_offsets(places))


async def _recorded(found: Running, begin: Ends) -> dict[str, tuple[float, float]]:
    """Of each event since: when it was decided and when it was published, by the last part of its stream."""
    known: dict[str, tuple[float, float]] = {}
    async with bare_consumer(found.settings.kafka_client_options(), max_poll_records=10_000) as consumer:
        for place in begin:
            consumer.assign([place])
            end = (await consumer.end_offsets([place]))[place]
            consumer.seek(place, begin[place])
            while await consumer.position(place) < end:
                for record in (await consumer.getmany(place, timeout_ms=500)).get(place, []):
                    name = (record.key or b"").decode().rpartition("/")[2]
                    decided = instant(orjson.loads(record.value or b"")["time"]).timestamp()
                    # What is repeated was published before.
                    known.setdefault(name, (decided, record.timestamp / 1000 + HALF_A_TICK))
    return known


class _Child:
    """A process of the benchmark's own: takes one line, answers one, and ends when its work is done, or with us."""

    def __init__(self, module: str, asked: BaseModel) -> None:
        self._module, self._asked = module, asked

    async def __aenter__(self) -> "_Child":
        pipe = asyncio.subprocess.PIPE
        # A session of its own: Ctrl-C is for us, and we end it.
        self._process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", self._module, stdin=pipe, stdout=pipe, start_new_session=True
        )
        await self._write(self._asked.model_dump_json().encode() + b"\n")
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._process.returncode is None:
            self._process.kill()
            await self._process.wait()

    async def answer(self) -> dict[str, int | None]:
        assert self._process.stdout is not None
        line = await self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"{self._module} ended with code {await self._process.wait()}")
        answered: dict[str, int | None] = orjson.loads(line)
        return answered

    async def go(self) -> None:
        await self._write(b"go\n")

    async def ended(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        if code := await self._process.wait():
            raise RuntimeError(f"{self._module} ended with code {code}")

    async def _write(self, line: bytes) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(line)
        await self._process.stdin.drain()


def _read(kind: type[M], path: Path) -> M:
    return kind.model_validate_json(path.read_bytes())
